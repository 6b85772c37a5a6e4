"""`kill -9` and starting again: nothing that was answered 200 is lost, and what was waiting goes on."""

from __future__ import annotations

import stat
import threading

import pytest
from botocore.exceptions import ClientError

from gateway.sandbox import names
from tests.gateway.sandbox.receiver import Receiver
from tests.support.sandbox import Sandbox, free_port
from tests.support.waiting import until

RAW = b"From: a@example.com\r\nTo: b@example.org\r\n\r\nbody \xff\r\n"


def send(sandbox: Sandbox) -> str:
    sent = sandbox.client("sesv2").send_email(Content={"Raw": {"Data": RAW}}, ConfigurationSetName="sesgate")
    return str(sent["MessageId"])


def test_killed_in_the_middle_of_sending_it_keeps_every_accepted_copy():
    with Sandbox() as sandbox:
        accepted: list[str] = []

        def flood() -> None:
            ses = sandbox.client("sesv2")
            while True:
                try:
                    sent = ses.send_email(Content={"Raw": {"Data": RAW}}, ConfigurationSetName="sesgate")
                    accepted.append(sent["MessageId"])
                except Exception:  # noqa: BLE001 - however it shows that the server was killed: an answer cut short, too
                    return

        threads = [threading.Thread(target=flood) for _ in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: len(accepted) > 50)
        sandbox.kill()
        for thread in threads:
            thread.join()
        sandbox.start()

        kept = {found["id"] for found in sandbox.messages()}
        assert kept >= set(accepted)
        assert len(kept) - len(accepted) <= len(threads), "at most one call a thread was cut off after its commit"
        assert all(sandbox.raw(message_id) == RAW for message_id in accepted[-5:])


def test_pending_notifications_and_the_confirmation_go_on_after_a_kill():
    with Receiver(confirms=False) as receiver, Sandbox(webhook_url=receiver.url) as sandbox:
        sent = send(sandbox)
        until(lambda: receiver.envelopes("SubscriptionConfirmation"))
        sandbox.restart()
        receiver.confirms = True

        until(lambda: receiver.event_types(sent) == ["Delivery", "Send"])
        receiver.verified(sandbox.certificate_file)


def test_retries_go_on_after_a_kill():
    with Receiver() as receiver, Sandbox(webhook_url=receiver.url) as sandbox:
        until(sandbox.confirmed)
        receiver.answers = [503] * 4
        sent = send(sandbox)
        until(lambda: len(receiver.answers) < 4)
        sandbox.restart()
        until(lambda: receiver.answers == [], what="the webhook has failed often enough")

        def done() -> bool:
            rows = [row for row in sandbox.notifications() if row["type"] == "Notification"]
            return [row["status"] for row in rows] == ["DELIVERED", "DELIVERED"]

        until(done, what="both are delivered")
        assert set(receiver.event_types(sent)) == {"Delivery", "Send"}


def test_key_wiring_account_and_faults_survive():
    with Receiver() as receiver, Sandbox(webhook_url=receiver.url) as sandbox:
        until(sandbox.confirmed)
        certificate = sandbox.certificate_file.read_bytes()
        sandbox.set_account(max_send_rate=7)
        faults = sandbox.set_faults(throttle=2, drop_events=["Send"])
        sandbox.client("sesv2").create_email_identity(EmailIdentity="example.com")
        with pytest.raises(ClientError):
            send(sandbox)

        sandbox.restart()

        assert sandbox.certificate_file.read_bytes() == certificate
        assert sandbox.confirmed()
        account = sandbox.client("sesv2").get_account()
        assert account["SendQuota"]["MaxSendRate"] == 7
        assert sandbox.client("sesv2").get_email_identity(EmailIdentity="example.com")
        with pytest.raises(ClientError):
            send(sandbox)
        send(sandbox)  # The two throttled calls were counted across the restart.
        assert faults["drop_events"] == ["Send"]


def test_a_webhook_that_moved_gets_a_new_subscription_and_what_was_waiting():
    with Sandbox(webhook_url=f"http://127.0.0.1:{free_port()}/sns") as sandbox:
        sent = send(sandbox)
        sandbox.kill()
        with Receiver() as receiver:
            sandbox.webhook_url = receiver.url
            sandbox.start()

            until(lambda: receiver.event_types(sent) == ["Delivery", "Send"])
            listed = sandbox.client("sns").list_subscriptions_by_topic(TopicArn=names.TOPIC_ARN)["Subscriptions"]
            assert [found["Endpoint"] for found in listed] == [receiver.url]


def test_the_key_is_for_the_owner_only():
    with Sandbox() as sandbox:
        assert stat.S_IMODE((sandbox.directory / names.SIGNING_KEY_FILE).stat().st_mode) == 0o600
        assert b"BEGIN CERTIFICATE" in sandbox.certificate_file.read_bytes()


def test_sigterm_ends_it_cleanly_even_while_a_call_is_stalled():
    with Sandbox(webhook_url=f"http://127.0.0.1:{free_port()}/sns") as sandbox:
        send(sandbox)
        sandbox.set_faults(timeout_after_accept_ms=600_000)
        caught: list[Exception] = []

        def stalled() -> None:
            try:
                send(sandbox)
            except Exception as error:  # noqa: BLE001 - the connection breaks, in whatever way
                caught.append(error)

        thread = threading.Thread(target=stalled)
        thread.start()
        until(lambda: len(sandbox.messages()) == 2)
        assert sandbox.stop() == 0
        thread.join()
        assert "Traceback" not in sandbox.log
