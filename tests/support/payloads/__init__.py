"""SES events as AWS documents them, one function a kind, in both of SES's formats.

Written from the field lists of
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html (events) and
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html (identity notifications).
"""
