from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from gateway.smtp import replies
from gateway.smtp.admission import Admission, OnlyLocal
from gateway.store.errors import StoreUnavailableError
from tests.gateway.smtp.admitting import (
    LOOPBACK,
    OTHER_SECRET,
    SECRET,
    CredentialDouble,
    authenticated,
    credential,
    local,
    plain,
    secret,
)
from tests.gateway.smtp.running import MESSAGE, running_front
from tests.support.waiting import until

ANYWHERE = "192.0.2.7"


@asynccontextmanager
async def reading(source: CredentialDouble, *, valid_for: float = 300.0) -> AsyncIterator[Admission]:
    admission = Admission(source, read_every=0.01, valid_for=valid_for)
    await admission.start(20)
    try:
        yield admission
    finally:
        source.is_open.set()
        await admission.end()


async def turn(check) -> None:
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110  what is waited for is another's state, which has no event
            await asyncio.sleep(0.01)


class TestReading:
    def test_a_change_is_known_soon(self):
        async def run() -> None:
            source = CredentialDouble(credential())
            async with reading(source) as admission:
                assert admission.authenticated("shop", SECRET, ANYWHERE)
                source.credentials = (credential(enabled=False),)
                await turn(lambda: admission.authenticated("shop", SECRET, ANYWHERE) is None)

        asyncio.run(run())

    def test_what_was_known_counts_while_the_database_is_away(self):
        async def run() -> None:
            source = CredentialDouble(credential())
            async with reading(source) as admission:
                source.error = StoreUnavailableError("The database is away.")
                readings = source.readings
                await turn(lambda: source.readings > readings + 2)
                assert admission.is_known
                assert admission.authenticated("shop", SECRET, ANYWHERE)

        asyncio.run(run())

    def test_but_not_for_ever(self):
        async def run() -> None:
            source = CredentialDouble(credential())
            async with reading(source, valid_for=0.1) as admission:
                source.error = StoreUnavailableError("The database is away.")
                await turn(lambda: not admission.is_known)
                source.error = None
                await turn(lambda: admission.is_known)

        asyncio.run(run())

    def test_a_defect_ends_one_reading_only(self):
        async def run() -> None:
            source = CredentialDouble(credential())
            async with reading(source) as admission:
                source.error = ValueError("a defect")
                readings = source.readings
                await turn(lambda: source.readings > readings + 2)
                source.error, source.credentials = None, (credential("new"),)
                await turn(lambda: admission.authenticated("new", SECRET, ANYWHERE))

        asyncio.run(run())

    def test_a_database_that_hangs_does_not_hold_up_the_start(self):
        async def run() -> None:
            source = CredentialDouble(credential())
            source.is_open.clear()
            admission = Admission(source)
            await admission.start(0.01)
            assert not admission.is_known
            source.is_open.set()
            await turn(lambda: admission.is_known)
            await admission.end()

        asyncio.run(run())


class TestLookingUp:
    @pytest.fixture
    def admission(self):
        admission = Admission(OnlyLocal(LOOPBACK))
        admission.learn(
            [
                local(),
                credential("erp", networks=(ip_network("192.0.2.0/24"),)),
                credential("scanner", networks=(ip_network("192.0.2.8/32"),)),
            ],
            0,
        )
        yield admission
        asyncio.run(admission.end())

    @pytest.mark.parametrize(
        ("address", "name"),
        [("127.0.0.1", "local"), ("192.0.2.7", "erp"), ("192.0.2.8", "scanner"), ("198.51.100.1", None)],
    )
    def test_the_narrowest_network_says_whose_machine_it_is(self, admission, address, name):
        found = admission.of_address(ip_address(address))
        assert (found and found.name) == name

    def test_no_address_is_nobodys(self, admission):
        assert admission.of_address(None) is None

    def test_a_secret_that_was_replaced_is_good_no_more(self, admission):
        ended = secret(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        admission.learn([credential(secrets=(ended, secret(OTHER_SECRET, 2)))], 0)
        assert admission.of_secret("shop", 1) is None
        assert admission.of_secret("shop", 2) is not None
        assert admission.authenticated("shop", SECRET, ANYWHERE) is None


class TestOpenSessions:
    """What is changed counts for sessions that are open already, at their next message."""

    @pytest.mark.parametrize("now", [credential(enabled=False), credential(secrets=(secret(OTHER_SECRET, 2),))])
    def test_a_session_whose_secret_ended_has_to_authenticate_again(self, tmp_path, now):
        source = CredentialDouble(credential())
        with running_front(tmp_path, credentials=source) as front, authenticated(front) as client:
            assert client.mail(MESSAGE).startswith("250 ")
            source.credentials = (now,)
            readings = source.readings
            until(lambda: source.readings > readings + 1)
            client.send(b"MAIL FROM:<a@b.test>\r\n")
            assert client.replies() == [replies.NOT_ADMITTED_ANY_MORE]

    def test_a_network_that_was_taken_away_may_not_send(self, tmp_path):
        source = CredentialDouble(local())
        with running_front(tmp_path, credentials=source) as front, front.connect() as client:
            assert client.mail(MESSAGE).startswith("250 ")
            source.credentials = (local(enabled=False),)
            readings = source.readings
            until(lambda: source.readings > readings + 1)
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.AUTH_REQUIRED

    def test_new_terms_count_for_the_next_message(self, tmp_path):
        source = CredentialDouble(credential())
        with running_front(tmp_path, credentials=source) as front, authenticated(front) as client:
            source.credentials = (credential(senders=("example.com",)),)
            readings = source.readings
            until(lambda: source.readings > readings + 1)
            assert client.say(b"MAIL FROM:<a@b.test>").startswith("550 5.7.1 shop may not send with <a@b.test>")


class TestRemembering:
    def test_a_network_that_is_taken_away_counts_no_more_after_the_next_reading(self):
        async def run() -> None:
            source = CredentialDouble(local())
            async with reading(source) as admission:
                client = ip_address("127.0.0.1")
                assert admission.of_address(client) is admission.of_address(client) is not None
                assert admission.of_address(ip_address(ANYWHERE)) is None
                source.credentials = (local(networks=(ip_network("192.0.2.0/24"),)),)
                await turn(lambda: admission.of_address(client) is None)
                assert admission.of_address(ip_address(ANYWHERE)) is not None

        asyncio.run(run())

    def test_no_more_addresses_are_kept_than_there_is_room_for(self, monkeypatch):
        monkeypatch.setattr("gateway.smtp.admission._KEPT_ADDRESSES", 10)

        async def run() -> None:
            async with reading(CredentialDouble(local())) as admission:
                for number in range(100):
                    assert admission.of_address(ip_address(number)) is None
                    assert len(admission._by_address) <= 10

        asyncio.run(run())

    def test_the_use_of_a_network_is_told_once_between_two_readings(self):
        async def run() -> None:
            source = CredentialDouble(local())
            async with reading(source) as admission:
                readings = source.readings
                for _ in range(100):
                    admission.noted(local())
                assert source.used_names == ["local"]
                await turn(lambda: source.readings > readings + 1)
                admission.noted(local())
                assert source.used_names == ["local"] * 2

        asyncio.run(run())


class TestNotKnown:
    """The database has not been there since the start, or for too long."""

    def test_nobody_is_refused_for_good(self, tmp_path):
        source = CredentialDouble(credential(), local())
        source.error = StoreUnavailableError("The database is away.")
        settings = {"gate_timeout": timedelta(seconds=0.1)}
        with running_front(tmp_path, credentials=source, **settings) as front, front.connect() as client:
            client.say(b"EHLO c")
            assert client.say(b"AUTH PLAIN " + plain()) == replies.AUTH_UNAVAILABLE
            assert client.say(b"MAIL FROM:<a@b.test>") == replies.WHO_UNAVAILABLE
            source.error = None
            until(lambda: client.say(b"AUTH PLAIN " + plain()) == replies.AUTHENTICATED)
