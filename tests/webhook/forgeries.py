"""Envelopes that must never be believed, each made of a genuine one by one change: row 24 of the acceptance table."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.payloads import ses
from tests.support.sns import TOPIC_ARN, Signer, sns_time, string_to_sign
from tests.webhook.amazon import HOST, Page

NOW = datetime.now(UTC)
EVENT = ses.event("Bounce", bounce=ses.bounce())
STRANGERS_TOPIC = "arn:aws:sns:us-east-1:210987654321:theirs"
NAME = f"/SimpleNotificationService-{'0' * 32}.pem"

AMAZON = Signer.make(not_before=NOW - timedelta(days=60))
STRANGER = Signer.make()  # with a key of his own, whose certificate he cannot have on Amazon's host
MISNAMED = Signer.make(common_name="sns.evil.example")
OF_ANOTHER_REGION = Signer.make(common_name="sns-signing.eu-south-1.amazonaws.com")
EXPIRED = Signer.make(not_before=NOW - timedelta(days=30), not_after=NOW - timedelta(days=1))
NOT_YET_VALID = Signer.make(not_before=NOW + timedelta(days=1))
TO_THE_STRANGER = f"/SimpleNotificationService-{'1' * 32}.pem"
TO_METADATA = f"/SimpleNotificationService-{'2' * 32}.pem"
NO_CERTIFICATE = f"/SimpleNotificationService-{'3' * 32}.pem"

# What Amazon's host has. All these certificates are there, so that it is the gateway that refuses them.
PAGES = {
    **{
        signer.signing_cert_url.removeprefix(f"https://{HOST}"): Page(signer.certificate_pem)
        for signer in (AMAZON, MISNAMED, OF_ANOTHER_REGION, EXPIRED, NOT_YET_VALID)
    },
    TO_THE_STRANGER: Page(status=302, headers={"Location": f"https://evil.example{NAME}"}),
    TO_METADATA: Page(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
    NO_CERTIFICATE: Page(STRANGER.certificate_pem.replace(b"CERTIFICATE", b"PUBLIC KEY")),
}


@dataclass(frozen=True)
class Forgery:
    """A body and its headers; `in_queue` is False where only HTTP could carry it, or only the webhook refuses it."""

    name: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    in_queue: bool = True


def changed(body: bytes, **members: Any) -> bytes:
    """The body with members set after it was signed; None leaves one out."""
    envelope = {**json.loads(body), **members}
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


def notification(signer: Signer = AMAZON, **how: Any) -> bytes:
    return signer.notification(EVENT, **how)


def _certificate_urls() -> Iterator[Forgery]:
    """A stranger's message, and where he says that his certificate is."""
    urls = {
        "plain HTTP": f"http://{HOST}{NAME}",
        "another scheme": f"ftp://{HOST}{NAME}",
        "a file": f"file://{HOST}{NAME}",
        "no URL": "",
        "a host that begins like Amazon's": f"https://{HOST}.evil.example{NAME}",
        "a host that ends like Amazon's": f"https://evil-{HOST}{NAME}",
        "a host with any character for a dot": f"https://snsXus-east-1.amazonaws.com{NAME}",
        "Amazon's host as a path": f"https://evil.example/{HOST}{NAME}",
        "Amazon's host as a user": f"https://{HOST}@evil.example{NAME}",
        "Amazon's host as user and password": f"https://{HOST}:443@evil.example{NAME}",
        "Amazon's host before a backslash": f"https://{HOST}\\@evil.example{NAME}",
        "Amazon's host before a fragment": f"https://evil.example#@{HOST}{NAME}",
        "a user at Amazon's host": f"https://user:password@{HOST}{NAME}",
        "a port": f"https://{HOST}:8443{NAME}",
        "the usual port": f"https://{HOST}:443{NAME}",
        "the host of another region": f"https://sns.us-west-2.amazonaws.com{NAME}",
        "the host of another partition": f"https://sns.cn-north-1.amazonaws.com.cn{NAME}",
        "a bucket": f"https://bucket.s3.amazonaws.com{NAME}",
        "a bucket named like SNS": f"https://sns.us-east-1.s3.amazonaws.com{NAME}",
        "a bucket that looks like a region": f"https://sns.s3-us-west-2.amazonaws.com{NAME}",
        "a bucket as a path": f"https://{HOST}/bucket{NAME}",
        "a path that climbs": f"https://{HOST}/x/..{NAME}",
        "a path with two slashes": f"https://{HOST}/{NAME}",
        "a path with more behind it": f"https://{HOST}{NAME}/x",
        "a path in capitals": f"https://{HOST}{NAME.upper()}",
        "another name of a file": f"https://{HOST}/certificate.pem",
        "a query": f"https://{HOST}{NAME}?x=1",
        "a query instead of a path": f"https://{HOST}/?{NAME}",
        "a fragment": f"https://{HOST}{NAME}#x",
        "a line feed at the end": f"https://{HOST}{NAME}\n",
        "a blank before": f" https://{HOST}{NAME}",
        "a full-width dot": f"https://sns.us-east-1.amazonaws\uff0ecom{NAME}",
        "loopback": f"https://127.0.0.1{NAME}",
        "loopback of IPv6": f"https://[::1]{NAME}",
        "this machine by name": f"http://localhost:8025{NAME}",
        "the metadata service": "http://169.254.169.254/latest/meta-data/",
    }
    for name, url in urls.items():
        yield Forgery(f"certificate: {name}", changed(notification(STRANGER), SigningCertURL=url))


def _certificates() -> Iterator[Forgery]:
    """On Amazon's host, and yet not to be believed."""
    for name, path in (
        ("redirects to the stranger", TO_THE_STRANGER),
        ("redirects to the metadata service", TO_METADATA),
        ("is none", NO_CERTIFICATE),
        ("is not there", NAME),
    ):
        body = changed(notification(STRANGER), SigningCertURL=f"https://{HOST}{path}")
        yield Forgery(f"certificate: {name}", body)
    yield Forgery("certificate: in another name", notification(MISNAMED))
    yield Forgery("certificate: of another region", notification(OF_ANOTHER_REGION))
    yield Forgery("certificate: expired", notification(EXPIRED))
    yield Forgery("certificate: not valid yet", notification(NOT_YET_VALID))
    yield Forgery(
        "certificate: of somebody else's key",
        changed(notification(STRANGER), SigningCertURL=AMAZON.signing_cert_url),
    )


def _signatures() -> Iterator[Forgery]:
    first, second = notification(version="1"), notification(version="2")
    for name, body in (
        ("version 1 called 2", changed(first, SignatureVersion="2")),
        ("version 2 called 1", changed(second, SignatureVersion="1")),
        ("version 3", changed(second, SignatureVersion="3")),
        ("no version", changed(second, SignatureVersion=None)),
        ("the version as a number", changed(second, SignatureVersion=2)),
        ("empty", changed(second, Signature="")),
        ("missing", changed(second, Signature=None)),
        ("no base64", changed(second, Signature="no base64!")),
        ("base64 with a line break", changed(second, Signature=json.loads(second)["Signature"] + "\n")),
        ("of nothing", changed(second, Signature=base64.b64encode(bytes(256)).decode())),
        ("of another message", changed(second, Signature=json.loads(notification())["Signature"])),
    ):
        yield Forgery(f"signature: {name}", body)


def _topics() -> Iterator[Forgery]:
    """Each genuinely signed, as any customer of AWS can have it."""
    for name, arn in {
        "of another account": STRANGERS_TOPIC,
        "of another name": f"{TOPIC_ARN}-2",
        "in another region": TOPIC_ARN.replace("us-east-1", "eu-west-1"),
        "in another partition": TOPIC_ARN.replace("arn:aws:", "arn:aws-cn:"),
        "in capitals": TOPIC_ARN.upper(),
        "with a subscription's id": f"{TOPIC_ARN}:2bcfbf39-05c3-41de-beaa-fcfcc21c8f55",
        "with a line feed": f"{TOPIC_ARN}\n",
        "of the simulated AWS": "arn:aws:sns:us-east-1:000000000000:sesgate",
        "none": "",
    }.items():
        yield Forgery(f"topic: {name}", notification(TopicArn=arn))
        yield Forgery(f"topic of a confirmation: {name}", AMAZON.subscription_confirmation(TopicArn=arn))
    yield Forgery("topic: set after signing", changed(notification(TopicArn=STRANGERS_TOPIC), TopicArn=TOPIC_ARN))
    yield Forgery("topic: a list", changed(notification(), TopicArn=[TOPIC_ARN]))


def _ages() -> Iterator[Forgery]:
    def at(moment: datetime) -> bytes:
        return notification(Timestamp=sns_time(moment))

    yield Forgery("age: old", at(NOW - timedelta(hours=25)), in_queue=False)
    yield Forgery("age: very old", at(NOW - timedelta(days=40)), in_queue=False)
    yield Forgery("age: older than the certificate", at(NOW - timedelta(days=400)))
    yield Forgery("age: in the future", at(datetime.now(UTC) + timedelta(hours=1)))
    yield Forgery("age: set back after signing", changed(at(NOW + timedelta(days=1)), Timestamp=sns_time(NOW)))
    yield Forgery("age: no time", notification(Timestamp="yesterday"))
    yield Forgery("age: a time without its offset", notification(Timestamp="2026-11-21T22:18:57.123"))


def _altered() -> Iterator[Forgery]:
    for name, value in {
        "Message": "{}",
        "MessageId": "another",
        "Subject": "another",
        "Timestamp": sns_time(NOW - timedelta(minutes=1)),
        "Type": "SubscriptionConfirmation",
    }.items():
        yield Forgery(f"altered: {name}", changed(notification(), **{name: value}))
    for name, value in {
        "Message": "another",
        "MessageId": "another",
        "SubscribeURL": "https://evil.example/",
        "Timestamp": sns_time(NOW - timedelta(minutes=1)),
        "Token": "mine",
        "Type": "UnsubscribeConfirmation",
    }.items():
        body = changed(AMAZON.subscription_confirmation(), **{name: value})
        yield Forgery(f"altered in a confirmation: {name}", body)
    message = json.loads(notification())["Message"]
    yield Forgery("altered: the line feed at the end of Message", changed(notification(), Message=message.rstrip("\n")))
    yield Forgery("altered: Subject removed", changed(notification(), Subject=None))
    yield Forgery("altered: Subject added", changed(notification(subject=None), Subject="Amazon SES"))
    for host in ("169.254.169.254/latest/meta-data/", "127.0.0.1:8025/metrics", "[::1]:4566/", "localhost:5555/"):
        body = changed(AMAZON.subscription_confirmation(), SubscribeURL=f"http://{host}")
        yield Forgery(f"altered: SubscribeURL to {host}", body)
    body = changed(AMAZON.unsubscribe_confirmation(), Type="SubscriptionConfirmation")
    yield Forgery("altered: an end called a beginning", body)


def _malformed() -> Iterator[Forgery]:
    for kind in ("notification", "Notification ", "Notification\n", "UnsubscriptionConfirmation", "", "Other"):
        yield Forgery(f"type: {kind!r}", changed(notification(), Type=kind))
    for value in (["Notification"], {"Type": "Notification"}, 1, None):
        yield Forgery(f"type: {value!r}", changed(notification(), Type=value))
    for name, wrong in (("Message", 1), ("MessageId", ["x"]), ("Timestamp", 0), ("Subject", {"x": 1})):
        yield Forgery(f"no text: {name}", changed(notification(), **{name: wrong}))
    for name in ("Token", "SubscribeURL", "Message", "MessageId"):
        yield Forgery(f"missing: {name}", changed(AMAZON.subscription_confirmation(), **{name: None}))
    for name in ("NUL", "half a surrogate pair"):
        character = "\0" if name == "NUL" else "\ud800"
        yield Forgery(f"no character: {name} in Message", changed(notification(), Message=f"a{character}b"))
        yield Forgery(f"no character: {name} in MessageId", changed(notification(), MessageId=f"a{character}b"))
    envelope = json.loads(notification())
    lambdas = {"SigningCertURL": "SigningCertUrl", "UnsubscribeURL": "UnsubscribeUrl"}
    spelled = {lambdas.get(name, name): value for name, value in envelope.items()}
    yield Forgery("spelling: Lambda's", json.dumps(spelled).encode())


def _documents() -> Iterator[Forgery]:
    body = notification()
    for name, document in {
        "nothing": b"",
        "no JSON": b"hello",
        "a list": b"[" + body + b"]",
        "two documents": body + body,
        "nested too deeply": b"[" * 100_000,
        "a number that JSON does not know": b'{"TopicArn": NaN}',
        "a form": b"Type=Notification&TopicArn=" + TOPIC_ARN.encode(),
        "Message twice": body[:-1] + b', "Message": "{}"}',
        "Type twice": b'{"Type": "SubscriptionConfirmation", ' + body[1:],
        "TopicArn twice": b'{"TopicArn": "' + STRANGERS_TOPIC.encode() + b'", ' + body[1:],
        "an envelope in an envelope": json.dumps({"Message": body.decode()}).encode(),
        "what SES says, without an envelope": json.dumps(EVENT).encode(),
    }.items():
        yield Forgery(f"document: {name}", document)
    yield Forgery("document: not UTF-8", body.replace(b"Amazon", b"\xff"), in_queue=False)
    yield Forgery("document: UTF-16", body.decode().encode("utf-16"), in_queue=False)


def _headers() -> Iterator[Forgery]:
    raw = {"x-amz-sns-rawdelivery": "true"}
    yield Forgery("header: raw delivery", json.dumps(EVENT).encode(), raw, in_queue=False)
    yield Forgery("header: raw delivery of an envelope", notification(), raw, in_queue=False)
    other = {"x-amz-sns-message-type": "SubscriptionConfirmation"}
    yield Forgery("header: another type than the body", notification(), other, in_queue=False)
    arn = {"x-amz-sns-topic-arn": TOPIC_ARN, "x-amz-sns-message-type": "Notification"}
    yield Forgery("header: our topic over another's", notification(TopicArn=STRANGERS_TOPIC), arn, in_queue=False)


def _recut() -> Iterator[Forgery]:
    """One signed string, cut into members in another way: ses-facts §4.2."""
    end = ["MessageId", "forged", "Timestamp", sns_time(NOW), "TopicArn", TOPIC_ARN, "Type", "Notification"]
    text = "\n".join(['{"eventType":"Bounce"}', *end])
    signed = json.loads(AMAZON.notification(text, subject=None, TopicArn=STRANGERS_TOPIC))
    lines = string_to_sign(signed).decode().removesuffix("\n").split("\n")
    members = {"Message": lines[1], "MessageId": lines[3], "Timestamp": lines[5], "TopicArn": lines[7]}
    cut = {**signed, **members, "Type": "\n".join(lines[9:])}
    yield Forgery("re-cut: another topic's message into ours", json.dumps(cut).encode())
    yield Forgery("re-cut: with an exact Type", json.dumps({**cut, "Type": "Notification"}).encode())
    ours = json.loads(AMAZON.notification("x\nMessageId\nforged", subject=None))
    moved = {**ours, "Message": "x", "MessageId": f"forged\nMessageId\n{ours['MessageId']}"}
    yield Forgery("re-cut: into the MessageId", json.dumps(moved).encode())


FORGERIES = (
    *_certificate_urls(),
    *_certificates(),
    *_signatures(),
    *_topics(),
    *_ages(),
    *_altered(),
    *_malformed(),
    *_documents(),
    *_headers(),
    *_recut(),
)
