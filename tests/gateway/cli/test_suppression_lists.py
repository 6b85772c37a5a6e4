"""`sesgate suppressions import` and `export` as they are typed."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta

import pytest

from gateway.subjects import parse_subject
from gateway.suppression_policy import Reason
from tests.support.mail import rows
from tests.support.stores import sqlite_stores

SOON = datetime.now(UTC).replace(microsecond=123456) + timedelta(days=30)


@pytest.fixture
def file(tmp_path):
    """Writes a file, and gives its name."""

    def write(text, name="list.csv"):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    return write


def entries(stores):
    return [
        (one.key, one.address, one.reason, one.source, one.detail, one.note, one.since, one.expires_at)
        for one in stores.suppressions.list(limit=10_000)
    ]


def test_a_list_is_imported_and_again_is_there_already(sesgate, stores, file):
    stores.suppressions.add(parse_subject("b@example.com"), Reason.BOUNCE, source="SES", detail="", actor="op")
    name = file("a@example.com,BOUNCE\r\nb@example.com,COMPLAINT\r\n@example.org\r\n")
    done = sesgate("suppressions", "import", name, "--note", "from the shop")
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "3 rows read: 2 new, 1 changed, 0 were there already.\n",
        "",
    )
    assert sesgate("suppressions", "import", name).stdout == "3 rows read: 0 new, 0 changed, 3 were there already.\n"
    found = {one.address: one for one in stores.suppressions.list()}
    assert {address: one.reason for address, one in found.items()} == {
        "@example.org": "manual",
        "a@example.com": "bounce",
        "b@example.com": "complaint",
    }
    assert {one.note for one in found.values()} == {"from the shop"}


def test_json_lines_are_read_from_standard_input(sesgate, stores, monkeypatch):
    lines = '{"EmailAddress": "a@example.com", "Reason": "COMPLAINT", "LastUpdateTime": "2026-01-02T03:04:05Z"}\n'
    command = ("suppressions", "import", "-", "--json")
    assert "add --format csv or --format jsonl" in sesgate(*command, stdin=lines).stderr
    done = sesgate(*command, "--format", "jsonl", stdin=lines)
    assert json.loads(done.stdout) == {
        "file": "standard input",
        "read": 1,
        "bad": 0,
        "repeated": 0,
        "expired": 0,
        "new": 1,
        "changed": 0,
        "known": 0,
        "dry_run": False,
    }
    (one,) = stores.suppressions.list()
    assert (one.address, one.reason, one.since) == (
        "a@example.com",
        "complaint",
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def test_one_bad_row_keeps_a_whole_list_out(sesgate, stores, file):
    name = file("a@example.com\njane\nb@example.com,bouncy\n")
    done = sesgate("suppressions", "import", name)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        'line 2: "jane" is no address, for it has no @.',
        'line 3: "bouncy" is no reason; there are soft-bounce, global-list, bounce, manual, unsubscribe, complaint.',
        "Error: 2 bad rows of 3; nothing was imported. Mend them, or add --skip-bad to import the others.",
    ]
    assert stores.suppressions.list() == []
    done = sesgate("suppressions", "import", name, "--skip-bad")
    assert (done.exit_code, done.stdout) == (0, "3 rows read (2 bad): 1 new, 0 changed, 0 were there already.\n")
    assert done.stderr.endswith("2 bad rows of 3; left out.\n")


def test_of_many_bad_rows_some_are_shown_and_all_are_counted(sesgate, stores, file):
    name = file("".join(f"a{n}@example.com\nbad{n}\n" for n in range(3000)))
    done = sesgate("suppressions", "import", name)
    *told, last = done.stderr.splitlines()
    assert len(told) == 20
    assert last.startswith("Error: 3000 bad rows of 6000, of which the first 20 are shown; nothing was imported.")


def test_a_dry_run_reads_and_changes_nothing(sesgate, stores, file):
    done = sesgate("suppressions", "import", file("a@example.com\n"), "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "1 row read; nothing was imported.\n")
    assert sesgate("suppressions", "import", file("jane\n@example.com\n"), "--dry-run").exit_code == 1
    assert stores.suppressions.list() == []


def test_an_empty_list_leaves_no_trail(sesgate, stores, file):
    done = sesgate("suppressions", "import", file("address,reason\n"))
    assert (done.exit_code, done.stdout) == (0, "0 rows read: 0 new, 0 changed, 0 were there already.\n")
    assert rows(stores, "SELECT 1 FROM audit UNION ALL SELECT 1 FROM suppression_imports") == []


def test_what_is_repeated_or_over_is_told(sesgate, stores, file):
    name = file("address,expires\na@example.com,\nA@example.com,\nb@example.com,2020-01-01\n")
    done = sesgate("suppressions", "import", name)
    assert done.stdout == "3 rows read (1 repeated, 1 expired): 1 new, 0 changed, 0 were there already.\n"


def test_rows_without_an_end_end_as_the_settings_say(sesgate, stores, file):
    began = SOON - timedelta(days=60)
    since = began.isoformat()
    name = file(f"address,reason,since\na@example.com,bounce,{since}\nb@example.com,manual,{since}\n")
    assert sesgate("suppressions", "import", name, SESGATE_SUPPRESS_BOUNCE="90d").exit_code == 0
    ends = {one.address: one.expires_at for one in stores.suppressions.list()}
    assert ends == {"a@example.com": began + timedelta(days=90), "b@example.com": None}


def test_rows_may_be_for_one_credential(sesgate, stores, file):
    stores.credentials.add("shop", actor="op")
    name = file("address,scope\na@example.com,\nb@example.com,erp\n")
    done = sesgate("suppressions", "import", name, "--credential", "shop")
    assert (done.exit_code, done.stderr) == (0, "Some entries are for credentials that are not here: erp.\n")
    assert [one.key for one in stores.suppressions.list()] == ["a@example.com/shop", "b@example.com/erp"]
    done = sesgate("suppressions", "import", name, "--credential", "nobody")
    assert (done.exit_code, done.stderr) == (1, "Error: There is no credential nobody.\n")
    done = sesgate("suppressions", "export", "--credential", "shop")
    assert [line.partition(",")[0] for line in done.stdout.splitlines()] == ["address", "a@example.com"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("address,colour\n", 'Unknown columns: "colour"'),
        ("\ufeffaddress\n".encode("utf-16-le"), "The file is in UTF-16; save it as UTF-8; nothing was imported."),
    ],
)
def test_a_file_of_another_kind_is_refused(sesgate, stores, file, text, told):
    done = sesgate("suppressions", "import", file(text))
    assert done.exit_code == 1
    assert told in done.stderr
    assert sesgate("suppressions", "import", file(text, "list.txt")).exit_code == 2
    assert "No such file" in sesgate("suppressions", "import", "gone.csv").stderr


def fill(stores):
    stores.credentials.add("shop", actor="op")
    notes = ["", 'she said "no", twice', "one\ntwo\r\nthree\rfour", "=1+1", "Zoë 🙂", " spaced "]
    for number, note in enumerate(notes):
        for address in (f"=A{number}@Example.com", f"@D{number}.example.com"):
            for scope, expires_at in (("", None), ("shop", SOON)):
                stores.suppressions.add(
                    parse_subject(address),
                    list(Reason)[number % len(Reason)],
                    source="operator",
                    detail=note,
                    note=note,
                    actor="op",
                    scope=scope,
                    expires_at=expires_at,
                )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_is_the_same_in_another_database(sesgate, stores, tmp_path, form):
    fill(stores)
    file = tmp_path / f"all.{form}"
    file.write_text("old")
    done = sesgate("suppressions", "export", "--output", str(file))
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"24 entries in {file}.\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == sesgate("suppressions", "export", "--format", form).stdout_bytes
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    theirs = sqlite_stores(other)
    done = sesgate("suppressions", "import", str(file), SESGATE_DATA_DIR=str(other))
    assert done.stdout == "24 rows read: 24 new, 0 changed, 0 were there already.\n"
    assert entries(theirs) == entries(stores)
    theirs.close()


def test_an_export_is_one_reason_only_and_in_pages(sesgate, stores, file, monkeypatch):
    monkeypatch.setattr("gateway.cli.suppressions_export._AT_ONCE", 7)
    listed = "".join(f"a{n:03}@example.com,{'bounce' if n % 3 else 'complaint'}\n" for n in range(100))
    sesgate("suppressions", "import", file(listed))
    done = sesgate("suppressions", "export", "--format", "jsonl", "--reason", "complaint")
    assert [json.loads(line)["address"] for line in done.stdout.splitlines()] == [
        f"a{n:03}@example.com" for n in range(0, 100, 3)
    ]


def test_an_export_that_fails_leaves_the_file_that_was_there(sesgate, stores, tmp_path):
    file = tmp_path / "all.csv"
    file.write_text("old")
    stores.db.write(lambda sql: sql.run("ALTER TABLE suppressions RENAME TO elsewhere"))
    assert sesgate("suppressions", "export", "--output", str(file)).exit_code == 1
    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir() if "all.csv" in one.name] == ["all.csv"]
