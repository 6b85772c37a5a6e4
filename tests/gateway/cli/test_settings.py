from __future__ import annotations

import json
from datetime import timedelta

import pytest

from gateway.cli.settings import describe, masked, spell_duration, spell_size
from gateway.setting_values import parse_duration, parse_size
from gateway.settings import Settings, read_settings, sources


def shown(sesgate, **environ):
    result = sesgate("settings", "--json", **environ)
    assert result.exit_code == 0, result.output
    return {one["name"]: one for one in json.loads(result.stdout)}


def test_every_setting_is_shown(sesgate):
    assert list(shown(sesgate)) == [f"SESGATE_{field.upper()}" for field in Settings.model_fields]


def test_what_is_shown_can_be_set_again(sesgate):
    environ = {
        "SESGATE_LISTENERS": "127.0.0.1:2525 lan, [::1]:587 modern",
        "SESGATE_TRUSTED_NETWORKS": "10.0.0.0/8,::1/128",
        "SESGATE_MAX_AGE": "36h",
        "SESGATE_GATE_TIMEOUT": "250ms",
        "SESGATE_MAX_MESSAGE_BYTES": "10MiB",
        "SESGATE_RATE_FACTOR": "0.5",
        "SESGATE_SES_CONFIGURATION_SET": "main",
    }
    # What has no value is left out: an empty variable of the staging guard is an error.
    first = {name: one["value"] for name, one in shown(sesgate, **environ).items() if one["value"]}
    assert read_settings(first).model_dump(exclude={"database_url"}) == read_settings(environ).model_dump(
        exclude={"database_url"}
    )


def test_each_value_says_where_it_came_from(sesgate, tmp_path):
    secret = tmp_path / "database-url"
    secret.write_text("postgresql://sesgate:hunter2@db/sesgate\n")
    (tmp_path / ".env").write_text(
        f"SESGATE_WORKERS=5\nSESGATE_MAX_AGE=1d\nSESGATE_DATABASE_URL_FILE={secret}\nSESGATE_FEEDBACK=\n"
    )
    found = shown(sesgate, SESGATE_MAX_AGE="2d", SESGATE_LOG_FORMAT="json")
    assert {name: (one["value"], one["source"]) for name, one in found.items() if one["source"] != "default"} == {
        "SESGATE_WORKERS": ("5", ".env"),
        "SESGATE_MAX_AGE": ("2d", "environment"),
        "SESGATE_LOG_FORMAT": ("json", "environment"),
        "SESGATE_DATABASE_URL": ("postgresql://sesgate:***@db/sesgate", "file"),
    }
    assert found["SESGATE_DATABASE_URL"]["origin"] == f"file {secret} (SESGATE_DATABASE_URL_FILE in .env)"


def test_an_empty_variable_is_the_default(sesgate):
    found = shown(sesgate, SESGATE_WORKERS="", SESGATE_BROKER_URL_FILE="")
    assert found["SESGATE_WORKERS"]["source"] == "default"
    assert found["SESGATE_BROKER_URL"]["source"] == "default"


def test_the_database_that_is_used_is_shown_and_not_an_empty_setting(sesgate, tmp_path):
    assert shown(sesgate)["SESGATE_DATABASE_URL"]["value"].endswith(f"{tmp_path}/var/sesgate.db")


def test_the_redis_of_a_running_up_is_found(sesgate, tmp_path):
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "broker.url").write_text("redis+socket:///tmp/redis.sock\n")
    broker = shown(sesgate)["SESGATE_BROKER_URL"]
    assert broker["value"] == "redis+socket:///tmp/redis.sock"
    assert "sesgate up" in broker["origin"]


def test_no_password_is_on_the_screen(sesgate):
    result = sesgate(
        "settings",
        SESGATE_DATABASE_URL="postgresql://sesgate:hunter2@db/sesgate",
        SESGATE_BROKER_URL="redis://:hunter2@redis:6379/0",
    )
    assert result.exit_code == 0
    assert "hunter2" not in result.output
    assert "redis://:***@redis:6379/0" in result.stdout


def test_an_unknown_name_is_refused(sesgate):
    result = sesgate("settings", SESGATE_WROKERS="3")
    assert result.exit_code == 2
    assert "SESGATE_WROKERS is not a setting" in result.stderr


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("", ""),
        ("hunter2", "***"),
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@localhost:6379/0", "redis://:***@localhost:6379/0"),
        ("postgresql://u:hunter/2@x@db/s", "postgresql://u:***@db/s"),
        (
            "postgresql://db/s?user=u&password=hunter2&sslmode=require",
            "postgresql://db/s?user=u&password=***&sslmode=require",
        ),
        ("postgresql://db/s?sslpassword=hunter2", "postgresql://db/s?sslpassword=***"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url, safe):
    assert masked(url) == safe


@pytest.mark.parametrize(
    ("text", "spelled"),
    [("4d", "4d"), ("72h", "3d"), ("90m", "90m"), ("120s", "2m"), ("1.5s", "1.5s"), ("250ms", "250ms"), ("25h", "25h")],
)
def test_a_duration_is_spelled_as_it_is_typed(text, spelled):
    assert spell_duration(parse_duration(text)) == spelled
    assert parse_duration(spelled) == parse_duration(text)


@pytest.mark.parametrize(("octets", "spelled"), [(0, "0"), (1000, "1000"), (1024, "1 KiB"), (28 * 1024**2, "28 MiB")])
def test_a_size_is_spelled_as_it_is_typed(octets, spelled):
    assert spell_size(octets) == spelled
    assert parse_size(spelled) == octets


def test_a_long_odd_duration_keeps_all_its_digits():
    assert parse_duration(spell_duration(timedelta(seconds=1234567.5))) == timedelta(seconds=1234567.5)


def test_the_default_needs_no_variable():
    assert {one.source for one in describe(Settings(), sources({}), ())} == {"default"}


def test_what_lasts_for_ever_is_shown_as_it_is_set():
    shown = {one.name: one.value for one in describe(Settings(), {}, ())}
    assert (shown["SESGATE_SUPPRESS_BOUNCE"], shown["SESGATE_SUPPRESS_SOFT_BOUNCE"]) == ("never", "14d")
