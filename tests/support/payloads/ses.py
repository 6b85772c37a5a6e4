"""Builders of SES events: `event` gives the configuration-set form, `notification` the identity form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTEMPT_ID = "0123456789abcdef0123456789abcdef"
MESSAGE_ID = "010001936a2c1b7e-5d3f0c7a-8b5e-4c1d-9a44-2f1e7d6c5b4a-000000"
FEEDBACK_ID = "010001936a2c1f00-7e6d5c4b-3a29-4817-8605-f4e3d2c1b0a9-000000"
RECIPIENT = "recipient@example.com"
OTHER_RECIPIENT = "other@example.net"

CONFIRMED_TOPIC_JSON = (
    '{"notificationType":"AmazonSnsSubscriptionSucceeded","message":"You have successfully subscribed your Amazon SNS '
    "topic 'arn:aws:sns:us-east-1:123456789012:sesgate' to receive 'Bounce' notifications from Amazon SES for identity "
    "'example.org'.\"}"
)
CONFIRMED_TOPIC_TEXT = "Successfully validated SNS topic for Amazon SES event publishing."

Json = dict[str, Any]


def mail(*, tags: Mapping[str, list[str]] | None = None, headers: list[Json] | None = None, **members: Any) -> Json:
    """The member `mail`; its destination names somebody whom no event speaks about, for nobody may act on it."""
    return {
        "timestamp": "2026-11-21T22:10:00.000Z",
        "messageId": MESSAGE_ID,
        "source": '"A Shop" <shop@example.org>',
        "sourceArn": "arn:aws:ses:us-east-1:123456789012:identity/example.org",
        "sendingAccountId": "123456789012",
        "destination": ["bystander@example.com", RECIPIENT],
        "headersTruncated": False,
        "headers": [{"name": "From", "value": "shop@example.org"}] if headers is None else headers,
        "commonHeaders": {
            "from": ["shop@example.org"],
            "to": [RECIPIENT],
            "messageId": " <1@example.org>",
            "subject": "Your order",
        },
        **({} if tags is None else {"tags": dict(tags)}),
        **members,
    }


def event(kind: str, **members: Any) -> Json:
    """A configuration-set event: with tags and headers, our own among them."""
    tags = {
        "ses:configuration-set": ["sesgate"],
        "ses:from-domain": ["example.org"],
        "ses:operation": ["SendEmail"],
        "sesgate-attempt": [ATTEMPT_ID],
    }
    headers = [{"name": "X-Sesgate-Attempt", "value": ATTEMPT_ID}, {"name": "From", "value": "shop@example.org"}]
    return {"eventType": kind, "mail": mail(tags=tags, headers=headers), **members}


def notification(kind: str, **members: Any) -> Json:
    """An identity notification: no tags, no headers, some members more."""
    plain = mail(sourceIp="192.0.2.1", callerIdentity="sesgate")
    for name in ("headers", "headersTruncated", "commonHeaders"):
        del plain[name]
    return {"notificationType": kind, "mail": plain, **members}


def bounce(bounce_type: str = "Permanent", sub_type: str = "General", **members: Any) -> Json:
    return {
        "bounceType": bounce_type,
        "bounceSubType": sub_type,
        "bouncedRecipients": [
            {
                "emailAddress": RECIPIENT,
                "action": "failed",
                "status": "5.1.1",
                "diagnosticCode": "smtp; 550 5.1.1 user unknown",
            }
        ],
        "timestamp": "2026-11-21T22:10:03.250Z",
        "feedbackId": FEEDBACK_ID,
        "reportingMTA": "dns; a8-50.smtp-out.amazonses.com",
        **members,
    }


def complaint(feedback_type: str | None = "abuse", **members: Any) -> Json:
    return {
        "complainedRecipients": [{"emailAddress": RECIPIENT}],
        "timestamp": "2026-11-21T23:00:00.000Z",
        "feedbackId": FEEDBACK_ID,
        "complaintSubType": None,
        "userAgent": "AnyCompany Feedback Loop (V0.01)",
        **({} if feedback_type is None else {"complaintFeedbackType": feedback_type}),
        "arrivalDate": "2026-11-21T15:00:00.000-07:00",
        **members,
    }


def delivery(**members: Any) -> Json:
    return {
        "timestamp": "2026-11-21T22:10:02.000Z",
        "processingTimeMillis": 546,
        "recipients": [RECIPIENT],
        "smtpResponse": "250 ok:  Message 64111812 accepted",
        "reportingMTA": "a8-70.smtp-out.amazonses.com",
        **members,
    }


def delivery_delay(**members: Any) -> Json:
    return {
        "timestamp": "2026-11-21T22:40:00.000+0000",
        "delayType": "MailboxFull",
        "expirationTime": "2026-11-22T12:10:00.000Z",
        "reportingMTA": "a8-70.smtp-out.amazonses.com",
        "delayedRecipients": [
            {"emailAddress": RECIPIENT, "status": "4.2.2", "diagnosticCode": "smtp; 452 4.2.2 mailbox full"}
        ],
        **members,
    }


OPEN = {"ipAddress": "192.0.2.7", "timestamp": "2026-11-21T22:12:00.000Z", "userAgent": "Mozilla/5.0"}
CLICK = {**OPEN, "link": "https://example.org/", "linkTags": {"place": ["top"]}}
RENDERING_FAILURE = {"templateName": "welcome", "errorMessage": "Attribute 'name' is not present."}
SUBSCRIPTION = {
    "contactList": "customers",
    "timestamp": "2026-11-21T22:13:00.000Z",
    "source": "UnsubscribeHeader",
    "newTopicPreferences": {"unsubscribeAll": True, "topicSubscriptionStatus": []},
    "oldTopicPreferences": {"unsubscribeAll": False, "topicSubscriptionStatus": []},
}
