"""The commands as they are typed."""

from __future__ import annotations

import json
import re
import socket

import pytest
from ulid import ULID

from gateway.addresses import parse_mailbox
from gateway.content import ContentFacts
from gateway.envelope import LOCAL_CREDENTIAL, Envelope, Origin
from tests.support.sandbox import free_port

_ADDRESSES = ("LISTENERS", "WEBHOOK_LISTEN", "ADMIN_LISTEN", "FLOWER_LISTEN", "SANDBOX_LISTEN")
_COMMANDS = [
    [],
    ["up"],
    ["smtp"],
    ["webhook"],
    ["admin"],
    ["sandbox"],
    ["sandbox", "run"],
    ["sandbox", "env"],
    ["migrate"],
    ["provision"],
    ["credentials"],
    *(["credentials", name] for name in ("list", "show", "add", "change", "rotate", "disable", "enable", "remove")),
    ["suppressions"],
    ["suppressions", "list"],
    ["suppressions", "show"],
    ["suppressions", "add"],
    ["suppressions", "remove"],
    ["suppressions", "import"],
    ["suppressions", "export"],
    ["messages"],
    ["messages", "list"],
    ["messages", "show"],
    ["messages", "retry"],
    ["messages", "cancel"],
    ["settings"],
    ["queue"],
    ["queue", "status"],
    ["queue", "pause"],
    ["queue", "resume"],
    ["backup"],
    ["restored"],
    ["erase"],
]


def free_addresses():
    return {f"SESGATE_{name}": f"127.0.0.1:{free_port()}" for name in _ADDRESSES}


def accept(stores, *recipients, subject="hello"):
    """An accepted message; its ULID."""
    content = f"Subject: {subject}\r\n\r\nhello\r\n".encode()
    envelope = Envelope(
        reverse_path=parse_mailbox("app@example.com"),
        forward_paths=tuple(map(parse_mailbox, recipients)),
        content=content,
        origin=Origin(LOCAL_CREDENTIAL, "192.0.2.7", "app.example.com", "ESMTP"),
    )
    facts = ContentFacts(subject, "app@example.com", "<1@example.com>", len(content))
    return stores.messages.submit(envelope, facts).result(timeout=30)


def failed(result, code, *sentences):
    """One line on standard error, none on standard output, and no traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    for sentence in sentences:
        assert sentence in result.stderr


@pytest.mark.parametrize("command", _COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(sesgate, command):
    result = sesgate(*command, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Example:\n.*sesgate {' '.join(command)}", result.stdout)


def test_the_version_is_told(sesgate):
    assert re.fullmatch(r"sesgate, version \d+\.\d+\.\d+\n", sesgate("--version").stdout)


def test_an_unknown_command_is_bad_usage(sesgate):
    assert sesgate("frobnicate").exit_code == 2


@pytest.mark.parametrize("command", [["up"], ["smtp"], ["migrate"], ["messages", "list"], ["sandbox", "env"]])
def test_an_unknown_setting_stops_every_command_with_one_sentence(sesgate, command):
    failed(sesgate(*command, SESGATE_LISTNERS="127.0.0.1:25"), 2, "SESGATE_LISTNERS is not a setting")


def test_a_malformed_setting_in_dotenv_is_found(sesgate, tmp_path):
    (tmp_path / ".env").write_text("SESGATE_ADMIN_LISTEN=nowhere\n")
    failed(sesgate("migrate"), 2, "SESGATE_ADMIN_LISTEN")


def test_migrate_creates_the_schema_and_then_has_nothing_to_do(sesgate, tmp_path):
    first = sesgate("migrate", "--json")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["applied"]
    assert json.loads(sesgate("migrate", "--json").stdout) == {"applied": []}
    assert sesgate("migrate").stdout == "The schema is up to date.\n"
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700


def test_a_database_of_the_simulation_is_not_migrated_for_real(sesgate):
    assert sesgate("migrate", "--stamp", "sandbox").exit_code == 0
    failed(sesgate("migrate"), 1, "SESGATE_DATA_DIR")


def test_a_command_on_no_database_is_one_sentence(sesgate):
    failed(sesgate("messages", "list"), 1)


def test_up_without_a_region_names_the_way_to_try_without_aws(sesgate, tmp_path):
    failed(sesgate("up"), 2, "AWS_REGION", "--sandbox")
    assert not (tmp_path / "var").exists()


def test_up_without_a_configuration_set_is_refused(sesgate):
    failed(sesgate("up", AWS_REGION="eu-west-1"), 2, "SESGATE_SES_CONFIGURATION_SET", "--sandbox")


def test_the_sandboxs_data_is_not_sent_for_real(sesgate, tmp_path):
    assert sesgate("migrate", "--stamp", "sandbox").exit_code == 0
    result = sesgate("up", AWS_REGION="eu-west-1", SESGATE_SES_CONFIGURATION_SET="main", **free_addresses())
    failed(result, 1, "SESGATE_DATA_DIR")
    assert not (tmp_path / "var" / "redis.sock").exists()


def test_no_answer_from_a_sandbox_is_one_sentence(sesgate):
    failed(sesgate("sandbox", "env", SESGATE_SANDBOX_LISTEN="127.0.0.1:9"), 1, "127.0.0.1:9", "sesgate up --sandbox")


def test_messages_are_listed_newest_first(sesgate, stores):
    first, second = accept(stores, "ann@example.com"), accept(stores, "bob@example.com", "eve@example.com")
    lines = [line.split("\t") for line in sesgate("messages", "list").stdout.splitlines()]
    assert [line[0] for line in lines] == ["ID", second, first]
    assert lines[1][3:5] == ["bob@example.com and 1 more", "2 QUEUED"]
    assert lines[2][3:5] == ["ann@example.com", "QUEUED"]


def test_messages_are_found_by_status_and_address(sesgate, stores):
    first, _ = accept(stores, "ann@example.com"), accept(stores, "bob@example.com")
    found = json.loads(
        sesgate("messages", "list", "--json", "--status", "queued", "--address", "ANN@example.com").stdout
    )
    assert [message["ulid"] for message in found] == [first]
    assert json.loads(sesgate("messages", "list", "--json", "--status", "BOUNCED").stdout) == []


def test_messages_go_on_where_the_list_ended(sesgate, stores):
    first, second = accept(stores, "ann@example.com"), accept(stores, "bob@example.com")
    page = sesgate("messages", "list", "--limit", "1")
    assert f"--before {second}" in page.stderr
    rest = json.loads(sesgate("messages", "list", "--json", "--before", second).stdout)
    assert [message["ulid"] for message in rest] == [first]


def test_a_message_is_shown_with_its_recipients_and_history(sesgate, stores):
    ulid = accept(stores, "ann@example.com")
    shown = sesgate("messages", "show", ulid.lower())
    assert shown.exit_code == 0, shown.output
    for part in (ulid, "app@example.com", "ann@example.com\tQUEUED", "192.0.2.7", "accepted"):
        assert part in shown.stdout
    detail = json.loads(sesgate("messages", "show", ulid, "--json").stdout)
    assert detail["recipients"][0]["address"] == "ann@example.com"


def test_a_subject_cannot_take_over_the_terminal(sesgate, stores):
    ulid = accept(stores, "ann@example.com", subject="\x1b]0;owned\x07hello")
    for command in (["list"], ["show", ulid]):
        output = sesgate("messages", *command).stdout
        assert "hello" in output
        assert "\x1b" not in output


def test_no_such_message_fails_and_no_message_id_is_bad_usage(sesgate, stores):
    failed(sesgate("messages", "show", str(ULID())), 1, "There is no message")
    failed(sesgate("messages", "show", "12"), 2, "'12' is no message id")


def test_a_front_that_cannot_listen_is_one_sentence(sesgate, stores):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = sesgate("smtp", SESGATE_LISTENERS=address)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: The SMTP front cannot listen on {address}")


def test_a_data_directory_that_may_not_be_made_is_one_sentence(sesgate):
    failed(sesgate("migrate", SESGATE_DATA_DIR="/proc/sesgate"), 2, "/proc/sesgate cannot be used", "SESGATE_DATA_DIR")
