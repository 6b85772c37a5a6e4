"""`sesgate credentials` as it is typed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest

from gateway.credentials import Caps
from gateway.store.times import now_micros
from tests.gateway.cli.test_commands import failed
from tests.support.mail import FACTS, envelope

_SECRET = re.compile(r"sg_[A-Za-z0-9_-]{43}\n")


def secret_of(result):
    """It stands alone on standard output, and nowhere else."""
    assert result.exit_code == 0, result.output
    assert _SECRET.fullmatch(result.stdout)
    assert result.stdout.strip() not in result.stderr
    return result.stdout.strip()


def done(result):
    assert result.exit_code == 0, result.output
    return result.stdout


def now():
    return datetime.now(UTC)


@pytest.fixture
def shop(sesgate, stores):
    return secret_of(sesgate("credentials", "add", "shop"))


def test_a_secret_is_printed_once_for_a_pipe_and_explained_on_standard_error(sesgate, stores):
    result = sesgate("credentials", "add", "shop", "--sender", "X.org")
    secret = secret_of(result)
    assert "shown this once; the user name is shop" in result.stderr
    assert stores.credentials.find("shop").matching(secret, now())
    for shown in (("list",), ("show", "shop"), ("list", "--json"), ("show", "shop", "--json")):
        output = sesgate("credentials", *shown).output
        assert secret not in output
        assert stores.credentials.find("shop").secrets[0].digest.hex() not in output


def test_every_term_can_be_typed(sesgate, stores):
    terms = (
        *("--application", "Web shop", "--network", "10.1.0.0/16", "--network", "10.2.3.4"),
        *("--sender", "App@X.org", "--sender", ".y.org", "--max-size", "5MiB", "--per-minute", "60"),
        *("--per-day", "1000", "--configuration-set", "shop-set", "--tag", "team=shop", "--suppressed", "drop"),
    )
    secret_of(sesgate("credentials", "add", "shop", *terms))
    found = stores.credentials.find("shop")
    assert (found.application, found.networks) == ("Web shop", (ip_network("10.1.0.0/16"), ip_network("10.2.3.4")))
    assert (found.senders, found.max_message_bytes) == (("app@x.org", ".y.org"), 5 * 1024**2)
    assert (found.per_minute, found.per_day, found.configuration_set) == (60, 1000, "shop-set")
    assert (found.tags, found.suppressed_recipients) == ((("team", "shop"),), "drop")
    shown = done(sesgate("credentials", "show", "shop"))
    for line in (
        r"application\s+Web shop",
        r"networks\s+10\.1\.0\.0/16, 10\.2\.3\.4/32",
        r"senders\s+app@x\.org, \.y\.org",
        r"largest message\s+5 MiB",
        r"caps\s+60 a minute \(0 used\), 1000 a day \(0 used\)",
        r"configuration set\s+shop-set",
        r"tags\s+team=shop",
        r"suppressed\s+drop",
    ):
        assert re.search(line, shown), shown


def test_none_takes_a_term_away_and_the_others_stay(sesgate, stores):
    secret_of(
        sesgate(
            *("credentials", "add", "shop", "--application", "Web shop", "--sender", "x.org", "--per-day", "5"),
            *("--tag", "a=b", "--network", "10.0.0.0/8", "--max-size", "1MiB", "--suppressed", "drop"),
        )
    )
    nothing = ("sender", "per-day", "tag", "network", "max-size", "suppressed", "application")
    done(sesgate("credentials", "change", "shop", *(part for name in nothing for part in (f"--{name}", "none"))))
    found = stores.credentials.find("shop")
    assert (found.senders, found.caps, found.tags, found.networks) == ((), None, (), ())
    assert (found.max_message_bytes, found.suppressed_recipients, found.application) == (None, None, "shop")
    assert len(found.secrets) == 1


def test_a_list_is_replaced_as_a_whole(sesgate, stores, shop):
    done(sesgate("credentials", "change", "shop", "--sender", "x.org", "--sender", "y.org"))
    done(sesgate("credentials", "change", "shop", "--sender", "z.org", "--per-day", "7"))
    found = stores.credentials.find("shop")
    assert (found.senders, found.per_day) == (("z.org",), 7)


def test_machines_without_a_secret(sesgate, stores):
    result = sesgate("credentials", "add", "scanner", "--network", "10.1.2.3", "--no-secret")
    assert done(result) == "scanner may send from 10.1.2.3/32, without a secret.\n"
    assert result.stderr == ""
    assert json.loads(
        done(sesgate("credentials", "add", "copier", "--network", "10.1.2.4", "--no-secret", "--json"))
    ) == {
        "name": "copier",
        "secret": None,
    }


def test_a_public_network_is_warned_of(sesgate, stores):
    result = sesgate("credentials", "add", "cloud", "--network", "8.8.8.0/24", "--no-secret")
    assert "Everybody in 8.8.8.0/24 can send without a secret" in result.stderr


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (("add", "a b"), "no name of a credential"),
        (("add", "x", "--no-secret"), "a secret, or networks, or both"),
        (("add", "x", "--network", "10.0.0.1/8"), "is no network"),
        (("add", "x", "--network", "0.0.0.0/0"), "open relay"),
        (("add", "x", "--sender", "*.x.org"), "is no sender"),
        (("add", "x", "--sender", "none", "--sender", "x.org"), "--sender none stands alone"),
        (("add", "x", "--max-size", "5 apples"), "is no size"),
        (("add", "x", "--per-day", "many"), "is no number of recipients"),
        (("add", "x", "--per-minute", "0"), "no use as a cap per minute"),
        (("add", "x", "--tag", "a"), "write name=value"),
        (("add", "x", "--tag", "a=b c"), "cannot be sent to SES"),
        (("add", "x", "--configuration-set", "a b"), "no name of a configuration set"),
        (("add", "x", "--suppressed", "bounce"), "write reject, drop, or none"),
        (("change", "shop"), "Say what to change"),
        (("rotate", "shop", "--overlap", "soon"), "is no duration"),
        (("rotate", "shop", "--overlap", "none"), "is no duration"),
        (("rotate", "shop", "--overlap", "99999999d"), "365 days at most"),
        (("rotate", "shop", "--overlap", "1h", "--finish"), "leave out --overlap"),
        (("rotate", "shop", "--again", "--finish"), "leave out --overlap and --again"),
    ],
)
def test_what_is_typed_wrongly_is_one_sentence(sesgate, stores, shop, typed, reason):
    failed(sesgate("credentials", *typed), 2, reason)
    assert [one.name for one in stores.credentials.all()] == ["local", "shop"]


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        (("add", "Shop"), "There is a credential 'shop' already"),
        (("add", "x", "--network", "127.0.0.0/8"), "127.0.0.0/8 belongs to local"),
        (("change", "local", "--network", "10.0.0.0/8"), "SESGATE_TRUSTED_NETWORKS"),
        (("rotate", "local"), "has no secrets"),
        (("remove", "local"), "built in"),
        (("show", "nobody"), "There is no credential 'nobody'"),
        (("change", "nobody", "--per-day", "1"), "There is no credential 'nobody'"),
        (("rotate", "nobody"), "There is no credential 'nobody'"),
        (("rotate", "nobody", "--finish"), "There is no credential 'nobody'"),
        (("disable", "nobody"), "There is no credential 'nobody'"),
        (("enable", "nobody"), "There is no credential 'nobody'"),
        (("remove", "nobody"), "There is no credential 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(sesgate, stores, shop, typed, reason):
    failed(sesgate("credentials", *typed), 1, reason)


def test_a_rotation_from_its_begin_to_its_end(sesgate, stores, shop):
    result = sesgate("credentials", "rotate", "shop", "--overlap", "2h")
    new = secret_of(result)
    assert "The old one is good until" in result.stderr
    found = stores.credentials.find("shop")
    assert abs(found.matching(shop, now()).expires_at - now() - timedelta(hours=2)) < timedelta(minutes=5)
    (listed,) = (line for line in done(sesgate("credentials", "list")).splitlines() if line.startswith("shop\t"))
    assert "\t2, one until 20" in listed
    failed(sesgate("credentials", "rotate", "shop"), 1, "rotate shop --finish")
    assert done(sesgate("credentials", "rotate", "shop", "--finish")).startswith("The old secret of shop has ended")
    assert "nothing was changed" in done(sesgate("credentials", "rotate", "shop", "--finish"))
    found = stores.credentials.find("shop")
    assert (found.matching(shop, now()), bool(found.matching(new, now()))) == (None, True)


def test_a_leaked_secret_is_replaced_at_once(sesgate, stores, shop):
    result = sesgate("credentials", "rotate", "shop", "--overlap", "0s")
    secret_of(result)
    assert "No other one is good any more." in result.stderr
    assert stores.credentials.find("shop").matching(shop, now()) is None


def test_a_new_secret_that_was_lost_is_replaced_and_the_old_one_stays(sesgate, stores, shop):
    lost = secret_of(sesgate("credentials", "rotate", "shop"))
    new = secret_of(sesgate("credentials", "rotate", "shop", "--again"))
    found = stores.credentials.find("shop")
    assert [bool(found.matching(one, now())) for one in (shop, lost, new)] == [True, False, True]
    stores.credentials.used([found.matching(new, now()).id], now())
    stores.db.write(lambda sql: None)
    failed(sesgate("credentials", "rotate", "shop", "--again"), 1, "is in use", "rotate shop --finish")


def test_a_script_reads_a_rotation_as_json(sesgate, stores, shop):
    made = json.loads(done(sesgate("credentials", "rotate", "shop", "--json")))
    assert stores.credentials.find("shop").matching(made["secret"], now())
    assert made["old_secret_ends_at"].endswith("Z")
    assert json.loads(done(sesgate("credentials", "rotate", "shop", "--finish", "--json"))) == {
        "name": "shop",
        "ended": True,
    }


def test_disabled_and_enabled_again(sesgate, stores, shop):
    disabled = sesgate("credentials", "disable", "shop")
    assert done(disabled) == "Nobody can send under shop any more. What was accepted before still goes out.\n"
    assert "disabled already" in done(sesgate("credentials", "disable", "shop"))
    assert "\tdisabled since " in done(sesgate("credentials", "list"))
    assert done(sesgate("credentials", "enable", "shop")) == "shop may send again.\n"
    assert "enabled already" in done(sesgate("credentials", "enable", "shop"))


def test_disabling_says_whose_wider_network_lets_its_machines_in(sesgate, stores):
    done(sesgate("credentials", "add", "scanner", "--network", "127.0.0.9", "--no-secret"))
    result = sesgate("credentials", "disable", "scanner")
    assert result.stderr == "Clients in 127.0.0.9/32 now send under local, whose networks they are in, too.\n"


def test_enabling_says_that_a_held_credential_stays_held(sesgate, stores, shop):
    stores.reputation.hold("shop", "too many bounces", actor="ann")
    done(sesgate("credentials", "disable", "shop"))
    result = sesgate("credentials", "enable", "shop")
    assert "held (too many bounces)" in result.stderr
    assert "sesgate queue resume --credential shop" in result.stderr
    assert "\tenabled, held (too many bounces)\t" in done(sesgate("credentials", "list"))


def test_a_credential_with_mail_is_not_removed(sesgate, stores, shop):
    secret_of(sesgate("credentials", "add", "unused"))
    stores.messages.submit(envelope(credential="shop"), FACTS).result(timeout=30)
    failed(sesgate("credentials", "remove", "shop"), 1, "sesgate credentials disable shop")
    assert done(sesgate("credentials", "remove", "unused")) == "unused is removed.\n"


def test_the_list_as_json_tells_all_that_a_script_asks(sesgate, stores, shop):
    done(sesgate("credentials", "change", "shop", "--per-day", "5"))
    stores.messages.submit(envelope(credential="shop"), FACTS, Caps(None, 5)).result(timeout=30)
    (secret,) = stores.credentials.find("shop").secrets
    stores.credentials.used([secret.id], now())
    stores.db.write(lambda sql: None)
    local, found = json.loads(done(sesgate("credentials", "list", "--json")))
    assert (local["name"], local["secrets"], local["networks"]) == ("local", [], ["127.0.0.0/8", "::1/128"])
    assert (found["enabled"], found["held_at"], found["per_day"], found["used"]) == (True, None, 5, {"day": 1})
    assert set(found["secrets"][0]) == {"created_at", "expires_at", "last_used_at", "live"}
    assert found["last_used_at"] == found["secrets"][0]["last_used_at"]
    assert json.loads(done(sesgate("credentials", "show", "shop", "--json"))) == found


def test_a_release_before_leaves_credentials_that_can_be_listed(sesgate, stores):
    stores.db.write(
        lambda sql: sql.run("INSERT INTO credentials (name, created_at) VALUES ('old', ?)", (now_micros(),))
    )
    assert "old\told\tenabled\t0\t-\t-\tnever\n" in done(sesgate("credentials", "list"))
