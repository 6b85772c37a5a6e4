from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.sns import (
    MAX_AGE,
    ForgedError,
    MalformedError,
    Notification,
    SnsError,
    SubscriptionConfirmation,
    TryLaterError,
    UnsubscribeConfirmation,
    Verifier,
)
from gateway.sns_certificates import CertificateUnavailableError
from tests.support.sns import TOPIC_ARN, Signer, sns_time, string_to_sign

SIMULATED_ARN = "arn:aws:sns:us-east-1:000000000000:sesgate"
SIMULATED_URL = "http://127.0.0.1:4566/SimpleNotificationService-" + "0" * 32 + ".pem"
SIGNER = Signer.make()


class Certificates:
    """A certificate source that keeps what it was asked for."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        return self.pem


def verifier(signer=SIGNER, *, certificates=None, topics=(TOPIC_ARN,), now=None, pinned=None, max_age=MAX_AGE):
    return Verifier(
        lambda: frozenset(topics),
        certificates or Certificates(signer.certificate_pem),
        (lambda: now) if now else lambda: datetime.now(UTC),
        pinned,
        max_age,
    )


def verify(body, **how):
    return verifier(**how).verify(body)


def changed(body: bytes, **members) -> bytes:
    """The body with members set, or left out where None is given, after it was signed."""
    envelope = {**json.loads(body), **members}
    return json.dumps({name: value for name, value in envelope.items() if value is not None}).encode()


BOTH_VERSIONS = pytest.mark.parametrize("version", ["1", "2"])


class TestGenuine:
    @BOTH_VERSIONS
    @pytest.mark.parametrize("subject", ["Amazon SES Email Event Notification", None])
    def test_a_notification_is_read(self, version, subject):
        body = SIGNER.notification('{"a": "é\\n"}\n', version=version, subject=subject)
        message = verify(body)
        assert isinstance(message, Notification)
        assert message.message == '{"a": "é\\n"}\n'
        assert message.message_id == json.loads(body)["MessageId"]
        assert message.topic.arn == TOPIC_ARN

    @BOTH_VERSIONS
    def test_confirmations_are_read(self, version):
        body = SIGNER.subscription_confirmation(version=version)
        subscription = verify(body)
        assert isinstance(subscription, SubscriptionConfirmation)
        assert subscription.token == json.loads(body)["Token"]
        assert isinstance(verify(SIGNER.unsubscribe_confirmation(version=version)), UnsubscribeConfirmation)

    def test_unsigned_attributes_do_not_matter(self):
        assert verify(SIGNER.notification("x", message_attributes={"a": {"Type": "String", "Value": "b"}}))

    def test_a_subject_that_is_null_is_absent(self):
        body = SIGNER.notification("x", subject=None)
        assert verify(json.dumps({**json.loads(body), "Subject": None}).encode())

    def test_the_time_of_sending_is_read(self):
        moment = datetime.now(UTC).replace(microsecond=123_000)
        assert verify(SIGNER.notification("x", Timestamp=sns_time(moment))).sent_at == moment

    @pytest.mark.parametrize(
        ("partition", "region", "name", "host"),
        [
            ("aws", "eu-south-1", "sns-signing.eu-south-1.amazonaws.com", "sns.eu-south-1.amazonaws.com"),
            ("aws-cn", "cn-north-1", "sns-cn-north-1.amazonaws.com.cn", "sns.cn-north-1.amazonaws.com.cn"),
            ("aws-us-gov", "us-gov-east-1", "sns-us-gov-west-1.amazonaws.com", "sns.us-gov-east-1.amazonaws.com"),
            (
                "aws-eusc",
                "eusc-de-east-1",
                "sns-signing.eusc-de-east-1.amazonaws.eu",
                "sns.eusc-de-east-1.amazonaws.eu",
            ),
        ],
    )
    def test_every_partition_has_its_own_host_and_name(self, partition, region, name, host):
        arn = f"arn:{partition}:sns:{region}:123456789012:mail"
        url = f"https://{host}/SimpleNotificationService-{'0' * 32}.pem"
        signer = Signer.make(common_name=name, topic_arn=arn, signing_cert_url=url)
        assert verify(signer.notification("x"), signer=signer, topics=[arn])


class TestForged:
    @pytest.mark.parametrize(
        "change",
        [
            {"Message": "y"},
            {"Message": "x"},  # what was signed ended in a line feed
            {"MessageId": "another"},
            {"Subject": None},
            {"Subject": "another"},
            {"Timestamp": sns_time(datetime.now(UTC) - timedelta(minutes=1))},
            {"Signature": base64.b64encode(b"x" * 256).decode()},
            {"Signature": "not base64"},
            {"Signature": ""},
            {"SignatureVersion": "1"},
            {"SignatureVersion": "3"},
            {"SignatureVersion": ""},
        ],
    )
    def test_a_notification_changed_after_it_was_signed_is_refused(self, change):
        with pytest.raises(ForgedError):
            verify(changed(SIGNER.notification("x\n"), **change))

    def test_a_subject_added_after_signing_is_refused(self):
        with pytest.raises(ForgedError):
            verify(changed(SIGNER.notification("x", subject=None), Subject="Amazon SES Email Event Notification"))

    def test_version_1_does_not_pass_as_version_2(self):
        with pytest.raises(ForgedError):
            verify(changed(SIGNER.notification("x", version="1"), SignatureVersion="2"))

    @pytest.mark.parametrize("change", [{"Token": "another"}, {"SubscribeURL": "https://evil.example/"}])
    def test_a_confirmation_changed_after_it_was_signed_is_refused(self, change):
        with pytest.raises(ForgedError):
            verify(changed(SIGNER.subscription_confirmation(), **change))

    def test_one_confirmation_does_not_pass_as_the_other(self):
        with pytest.raises(ForgedError):
            verify(changed(SIGNER.unsubscribe_confirmation(), Type="SubscriptionConfirmation"))

    def test_a_signature_of_another_key_is_refused(self):
        with pytest.raises(ForgedError):
            verify(Signer.make().notification("x"), certificates=Certificates(SIGNER.certificate_pem))

    @pytest.mark.parametrize("name", ["sns.evil.example", "sns-signing.us-east-1.amazonaws.com", "s3.amazonaws.com"])
    def test_a_certificate_in_another_name_is_refused(self, name):
        signer = Signer.make(common_name=name)
        with pytest.raises(ForgedError, match="not one of Amazon SNS"):
            verify(signer.notification("x"), signer=signer)

    def test_a_key_that_is_not_rsa_is_refused(self):
        with pytest.raises(ForgedError, match="no RSA key"):
            verify(SIGNER.notification("x"), certificates=Certificates(elliptic_certificate()))


def elliptic_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = certificate.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    return certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


PATH = "/SimpleNotificationService-" + "0" * 32 + ".pem"


@pytest.mark.parametrize(
    "url",
    [
        f"http://sns.us-east-1.amazonaws.com{PATH}",
        f"HTTPS://sns.us-east-1.amazonaws.com.evil.example{PATH}",
        f"https://sns.us-east-1.amazonaws.com.evil.example{PATH}",
        f"https://evil.example/sns.us-east-1.amazonaws.com{PATH}",
        f"https://sns.us-east-1.amazonaws.com@evil.example{PATH}",
        f"https://user:pass@sns.us-east-1.amazonaws.com{PATH}",
        f"https://sns.us-east-1.amazonaws.com:8443{PATH}",
        f"https://sns.us-east-1.amazonaws.com:443@evil.example{PATH}",
        f"https://sns.us-east-1.amazonaws.com\\@evil.example{PATH}",
        f"https://snsXus-east-1.amazonaws.com{PATH}",
        f"https://sns.us-west-2.amazonaws.com{PATH}",
        f"https://sns.s3-us-west-2.amazonaws.com{PATH}",
        f"https://bucket.s3.amazonaws.com{PATH}",
        f"https://sns.us-east-1.amazonaws.com/bucket{PATH}",
        f"https://sns.us-east-1.amazonaws.com/..{PATH}",
        f"https://sns.us-east-1.amazonaws.com/{PATH}",
        f"https://sns.us-east-1.amazonaws.com{PATH}?x=1",
        f"https://sns.us-east-1.amazonaws.com{PATH}#x",
        f"https://sns.us-east-1.amazonaws.com{PATH}/",
        f"https://sns.us-east-1.amazonaws.com{PATH.upper()}",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
        "https://sns.us-east-1.amazonaws.com/anything.pem",
        f" https://sns.us-east-1.amazonaws.com{PATH}",
        f"file://sns.us-east-1.amazonaws.com{PATH}",
        "",
    ],
)
def test_no_certificate_is_fetched_from_anywhere_but_the_sns_of_the_topics_region(url):
    certificates = Certificates(SIGNER.certificate_pem)
    with pytest.raises(ForgedError, match="SigningCertURL"):
        verify(changed(SIGNER.notification("x"), SigningCertURL=url), certificates=certificates)
    assert certificates.asked == []


def test_the_certificate_is_asked_for_by_the_url_of_the_message():
    certificates = Certificates(SIGNER.certificate_pem)
    verify(SIGNER.notification("x"), certificates=certificates)
    assert certificates.asked == [SIGNER.signing_cert_url]


@pytest.mark.parametrize("arn", ["arn:aws:sns:us-east-1:210987654321:sesgate", TOPIC_ARN.upper(), TOPIC_ARN + "2", ""])
def test_a_stranger_with_a_good_signature_is_refused_without_a_network_call(arn):
    certificates = Certificates(SIGNER.certificate_pem)
    for body in (SIGNER.notification("x", TopicArn=arn), SIGNER.subscription_confirmation(TopicArn=arn)):
        with pytest.raises(ForgedError, match="TopicArn"):
            verify(body, certificates=certificates)
    assert certificates.asked == []


class TestMalformed:
    @pytest.mark.parametrize(
        "name", ["Message", "MessageId", "Timestamp", "Type", "Signature", "SignatureVersion", "SigningCertURL"]
    )
    @pytest.mark.parametrize("value", [None, 1, True, ["x"], {"x": 1}])
    def test_every_member_of_a_notification_must_be_there_and_a_text(self, name, value):
        with pytest.raises(MalformedError):
            verify(changed(SIGNER.notification("x"), **{name: value}))

    @pytest.mark.parametrize("name", ["Token", "SubscribeURL"])
    def test_a_confirmation_has_more_members(self, name):
        for body in (SIGNER.subscription_confirmation(), SIGNER.unsubscribe_confirmation()):
            with pytest.raises(MalformedError, match=name):
                verify(changed(body, **{name: None}))

    @pytest.mark.parametrize("value", [1, ["x"], False])
    def test_a_subject_that_is_there_must_be_a_text(self, value):
        with pytest.raises(MalformedError, match="Subject"):
            verify(changed(SIGNER.notification("x"), Subject=value))

    @pytest.mark.parametrize(
        "kind",
        ["notification", "Notification ", "Notification\n", "", "UnsubscriptionConfirmation", "Other"],
    )
    def test_the_type_must_be_exact(self, kind):
        with pytest.raises(MalformedError, match="Type"):
            verify(changed(SIGNER.notification("x"), Type=kind))

    @pytest.mark.parametrize("name", ["MessageId", "Subject", "Timestamp"])
    @pytest.mark.parametrize("line_break", ["\n", "\r"])
    def test_only_the_message_may_have_line_breaks(self, name, line_break):
        with pytest.raises(MalformedError, match="line break"):
            verify(SIGNER.notification("x", **{name: f"a{line_break}b"}))

    @pytest.mark.parametrize("character", ["\0", "\ud800"])
    def test_what_no_database_takes_as_text_is_refused(self, character):
        with pytest.raises(MalformedError, match="no text"):
            verify(changed(SIGNER.notification("x"), Message=f"a{character}b"))

    @pytest.mark.parametrize("message_id", ["", "x" * 101])
    def test_a_message_id_has_a_sane_length(self, message_id):
        with pytest.raises(MalformedError, match="MessageId"):
            verify(SIGNER.notification("x", MessageId=message_id))

    @pytest.mark.parametrize("text", ["yesterday", "2026-11-21T22:18:57.123", "0001-01-01T00:00:00+14:00", ""])
    def test_a_timestamp_must_be_one(self, text):
        with pytest.raises(MalformedError, match="Timestamp"):
            verify(SIGNER.notification("x", Timestamp=text))

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hello",
            b"[]",
            b"null",
            b"1",
            b"\xff",
            b"\xef\xbb\xbf{}",
            b"[" * 100_000,
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": ' + b"9" * 5000 + b"}",
        ],
    )
    def test_what_is_no_envelope_is_refused(self, body):
        with pytest.raises(MalformedError):
            verify(body)

    def test_a_member_given_twice_is_refused(self):
        body = SIGNER.notification("x")
        for twice in (b'{"Type": "Notification", ' + body[1:], body[:-1] + b', "Message": "y"}'):
            with pytest.raises(MalformedError, match="twice"):
                verify(twice)


class TestRecut:
    """Line feeds in a value let one signed string be cut into members in more than one way."""

    FOREIGN = "arn:aws:sns:us-east-1:210987654321:theirs"

    def signed_elsewhere(self):
        """A genuine message of a stranger's topic, whose text imitates the end of one of ours."""
        end = ["MessageId", "forged", "Timestamp", sns_time(datetime.now(UTC)), "TopicArn", TOPIC_ARN]
        message = "\n".join(['{"eventType":"Bounce"}', *end, "Type", "Notification"])
        return json.loads(SIGNER.notification(message, subject=None, TopicArn=self.FOREIGN))

    def recut(self, **members):
        signed = self.signed_elsewhere()
        text = string_to_sign(signed).decode()
        lines = text.removesuffix("\n").split("\n")
        envelope = {
            **signed,
            "Message": lines[1],
            "MessageId": "forged",
            "Timestamp": lines[5],
            "TopicArn": TOPIC_ARN,
            "Type": "\n".join(lines[9:]),
        }
        return envelope, text

    def test_the_attack_is_real(self):
        envelope, text = self.recut()
        names = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")
        assert "".join(f"{name}\n{envelope[name]}\n" for name in names) == text

    def test_it_is_refused(self):
        envelope, _ = self.recut()
        with pytest.raises(SnsError):
            verify(json.dumps(envelope).encode())

    def test_it_is_refused_with_the_remainder_in_another_member(self):
        message = "x\nMessageId\nforged"
        signed = json.loads(SIGNER.notification(message, subject=None))
        envelope = {**signed, "Message": "x", "MessageId": f"forged\nMessageId\n{signed['MessageId']}"}
        assert string_to_sign(envelope) == string_to_sign(signed)
        with pytest.raises(MalformedError, match="line break"):
            verify(json.dumps(envelope).encode())


class TestLater:
    @pytest.mark.parametrize("age", [timedelta(hours=24, minutes=1), timedelta(days=30), timedelta(minutes=-16)])
    def test_an_age_outside_the_window_may_be_our_clock(self, age):
        body = SIGNER.notification("x", Timestamp=sns_time(datetime.now(UTC) - age))
        with pytest.raises(TryLaterError, match="clock"):
            verify(body)

    @pytest.mark.parametrize("age", [timedelta(hours=23, minutes=59), timedelta(minutes=-14)])
    def test_an_age_inside_the_window_is_fine(self, age):
        assert verify(SIGNER.notification("x", Timestamp=sns_time(datetime.now(UTC) - age)))

    def test_the_age_of_a_forged_message_is_not_looked_at(self):
        old = sns_time(datetime.now(UTC) - timedelta(days=30))
        with pytest.raises(ForgedError):
            verify(changed(SIGNER.notification("x"), Timestamp=old))

    @pytest.mark.parametrize("days", [-2, 366])
    def test_a_certificate_that_is_not_valid_now_may_be_our_clock(self, days):
        now = datetime.now(UTC) + timedelta(days=days)
        with pytest.raises(TryLaterError, match=r"expired or not valid yet.*clock"):
            verify(SIGNER.notification("x", Timestamp=sns_time(now)), now=now)

    @pytest.mark.parametrize("hours", [-48, 24 * 400])
    def test_a_clock_far_off_is_told_by_the_age_first(self, hours):
        now = datetime.now(UTC) + timedelta(hours=hours)
        with pytest.raises(TryLaterError, match="The Timestamp is"):
            verify(SIGNER.notification("x"), now=now)

    def test_the_validity_of_a_certificate_is_not_looked_at_for_a_forged_message(self):
        now = datetime.now(UTC) + timedelta(days=366)
        body = SIGNER.notification("x", Timestamp=sns_time(now))
        with pytest.raises(ForgedError, match="does not fit"):
            verify(changed(body, Message="y"), now=now)

    def test_a_certificate_that_is_not_to_be_had_means_later(self):
        def nothing(url):
            raise CertificateUnavailableError("its server answered 500")

        with pytest.raises(TryLaterError, match="answered 500"):
            verify(SIGNER.notification("x"), certificates=nothing)


class TestAnyAge:
    """What reads a queue takes messages that were redriven after days."""

    def test_a_message_may_be_older_than_the_certificate_is_valid_by_now(self):
        now = datetime.now(UTC) + timedelta(days=800)
        assert verify(SIGNER.notification("x"), now=now, max_age=None)

    def test_the_future_is_still_for_later(self):
        ahead = sns_time(datetime.now(UTC) + timedelta(minutes=16))
        with pytest.raises(TryLaterError, match="ahead of the clock"):
            verify(SIGNER.notification("x", Timestamp=ahead), max_age=None)

    @pytest.mark.parametrize("days", [-2, 366])
    def test_a_certificate_must_have_been_valid_when_the_message_was_sent(self, days):
        now = datetime.now(UTC) + timedelta(days=400)
        body = SIGNER.notification("x", Timestamp=sns_time(datetime.now(UTC) + timedelta(days=days)))
        with pytest.raises(TryLaterError, match="not valid at the time"):
            verify(body, now=now, max_age=None)

    def test_another_age_can_be_asked_for(self):
        old = sns_time(datetime.now(UTC) - timedelta(hours=3))
        with pytest.raises(TryLaterError, match="more than 2 hours behind the clock"):
            verify(SIGNER.notification("x", Timestamp=old), max_age=timedelta(hours=2))


class TestSimulatedTopics:
    SIGNER = Signer.make(topic_arn=SIMULATED_ARN, signing_cert_url=SIMULATED_URL)

    def verify(self, body, pinned="the signer's"):
        self.certificates = Certificates(b"never asked for")
        return verify(
            body,
            certificates=self.certificates,
            topics=[SIMULATED_ARN],
            pinned=(lambda: self.SIGNER.certificate_pem) if pinned == "the signer's" else pinned,
        )

    def test_the_pinned_certificate_stands_for_the_fetched_one(self):
        assert self.verify(self.SIGNER.notification("x"))
        assert self.certificates.asked == []

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:4566/other.pem", f"http://a@127.0.0.1{PATH}", f"{SIMULATED_URL}?x", f"file:{PATH}"]
    )
    def test_the_path_of_the_certificate_is_still_checked(self, url):
        with pytest.raises(ForgedError, match="SigningCertURL"):
            self.verify(self.SIGNER.notification("x", SigningCertURL=url))

    def test_another_signature_is_still_refused(self):
        with pytest.raises(ForgedError, match="Signature"):
            self.verify(SIGNER.notification("x", TopicArn=SIMULATED_ARN, SigningCertURL=SIMULATED_URL))

    def test_without_a_pinned_certificate_they_are_refused(self):
        with pytest.raises(ForgedError, match="simulated"):
            self.verify(self.SIGNER.notification("x"), pinned=None)

    def test_the_pinned_certificate_signs_for_no_other_topic(self):
        body = self.SIGNER.notification("x", TopicArn=TOPIC_ARN, SigningCertURL=SIGNER.signing_cert_url)
        with pytest.raises(ForgedError, match="Signature"):
            verify(body, pinned=lambda: self.SIGNER.certificate_pem)


JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.lists(st.text())
    | st.dictionaries(st.text(), st.text())
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
@given(st.dictionaries(st.sampled_from(sorted(json.loads(SIGNER.subscription_confirmation()))), JSON))
def test_an_envelope_with_anything_in_it_causes_no_other_error(members):
    body = json.dumps({**json.loads(SIGNER.subscription_confirmation()), **members}).encode()
    with suppress(SnsError):
        verify(body)


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_refused(body):
    with pytest.raises(SnsError):
        verify(body)
