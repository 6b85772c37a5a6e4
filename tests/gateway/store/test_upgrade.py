"""An upgrade from release 0.1, with rows in every state, tasks in flight, and its programs still running."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.lifecycle import Status
from gateway.store import schema
from gateway.store.db import Database
from gateway.store.errors import StoreError
from gateway.store.opening import open_database
from gateway.store.schema import check_schema, migrate
from gateway.store.times import now_micros
from tests.gateway.store import release_0_1
from tests.support.redis import Redis
from tests.support.sandbox import Sandbox
from tests.support.stores import sqlite_settings
from tests.support.waiting import until
from tests.support.worker import Worker

TABLES = (
    *("credentials", "messages", "contents", "recipients", "attempts", "notifications", "events", "suppressions"),
    *("control", "audit"),
)
# An attempt stands written down: SES may have the mail, so it waits for evidence and is not sent again at once.
WAIT = {"calling": "AMBIGUOUS", "lapsed-call": "AMBIGUOUS", "AMBIGUOUS": "AMBIGUOUS", "later": "QUEUED"}
TO_BE_SENT = ("due", "marked", "lapsed-mark", "claimed", "lapsed-claim")

# Of each migration that was released: SHA-256 of its file.
RELEASED = {"0001_initial": "46a77f51b02b90ab0059070b36c3a17b693813b29da51557f1c8c6c935a58cc8"}


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield sqlite_settings(tmp_path).database
        return
    postgres = request.getfixturevalue("postgres")
    name = postgres.new_database()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def old_release(tmp_path, monkeypatch):
    """A `with` block in which the schema that is known is the one of release 0.1."""
    directory = tmp_path / "migrations-0.1"
    directory.mkdir()
    shutil.copy(schema._DIRECTORY / f"{release_0_1.MIGRATION}.py", directory)

    @contextmanager
    def within() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(schema, "_DIRECTORY", directory)
            yield

    return within


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(url, gate_timeout=30)
    try:
        yield database
    finally:
        database.close()


def run_on(database: Database) -> release_0_1.Run:
    """Each statement in a transaction of its own, as a long-running program makes them."""

    def run(statement, values):
        gives_rows = statement.startswith("SELECT") or statement.endswith("RETURNING id")
        return database.write(lambda sql: sql.all(statement, values) if gives_rows else [(sql.run(statement, values),)])

    return run


def columns_of(database: Database) -> dict[str, list[str]]:
    with database.read():
        return {table: sorted(column.name for column in database.peewee.get_columns(table)) for table in TABLES}


def dump(database: Database, columns: dict[str, list[str]]) -> dict[str, list[tuple[object, ...]]]:
    """Every value of these columns; the order of the tables is by their first key."""
    found = {}
    with database.read() as sql:
        for table, names in columns.items():
            rows = sql.all(f"SELECT {', '.join(names)} FROM {table}")
            found[table] = sorted((tuple(map(plain, row)) for row in rows), key=repr)
    return found


def plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


def test_a_released_migration_does_not_change():
    for name, expected in RELEASED.items():
        found = hashlib.sha256((schema._DIRECTORY / f"{name}.py").read_bytes()).hexdigest()
        assert found == expected, f"{name} was released: databases have it as it was; write another migration"


def test_a_migration_changes_no_value_of_any_row(url, old_release):
    with old_release():
        migrate(url, "sandbox")
    with opened(url) as database:
        release_0_1.fill(run_on(database), now_micros())
        columns = columns_of(database)
        before = dump(database, columns)
        assert {row[columns["recipients"].index("status")] for row in before["recipients"]} == set(Status)
    assert migrate(url, "sandbox") == sorted(schema._known() - {release_0_1.MIGRATION})
    with opened(url) as database:
        assert dump(database, columns) == before
        check_schema(database)


def test_programs_of_the_old_release_go_on_over_the_new_schema(url, old_release):
    """What the new release adds has a value when nobody gives one, and their connections live through the change."""
    now = now_micros()
    with old_release():
        migrate(url, "sandbox")
    with opened(url) as old_program:
        run = run_on(old_program)
        writer = release_0_1.Writer(run, now)
        for number in range(8):  # PostgreSQL's client prepares a statement that it meets often
            writer.begin(writer.recipient(f"before-{number}"), f"before-{number}", now)
        migrate(url, "sandbox")
        before = dump(old_program, {"attempts": ["attempt_id"]})
        writer.begin(writer.recipient("after"), "after", now)
        assert len(dump(old_program, {"attempts": ["attempt_id"]})["attempts"]) == len(before["attempts"]) + 1


def test_the_old_release_writes_the_same_rows_over_the_new_schema(url, old_release, tmp_path):
    now = now_micros()
    beside = sqlite_settings(tmp_path / "old").database
    (tmp_path / "old").mkdir()
    with old_release():
        migrate(beside, "sandbox")
    with opened(beside) as database:
        release_0_1.fill(run_on(database), now)
        columns = {table: names for table, names in columns_of(database).items() if table != "credentials"}
        expected = dump(database, columns)
    migrate(url, "sandbox")
    with opened(url) as database:
        release_0_1.fill(run_on(database), now)
        found = dump(database, columns)
    for table in columns:
        if table != "control":  # the stamp has a time of its own
            assert found[table] == expected[table]


def test_a_program_of_the_old_release_that_starts_again_says_why_it_cannot(url, old_release):
    migrate(url, "sandbox")
    newer = ", ".join(sorted(schema._known() - {release_0_1.MIGRATION}))
    with old_release(), opened(url) as database, pytest.raises(StoreError, match=f"newer release \\({newer} is"):
        check_schema(database)
    with old_release(), pytest.raises(StoreError, match="newer release"):
        migrate(url, "sandbox")


# What goes on


@contextmanager
def old_dispatcher(database: Database) -> Iterator[None]:
    """A dispatcher of the old release that holds its lease, marks nothing any more, and then ends in order."""
    ended = threading.Event()
    run = run_on(database)
    writer = release_0_1.Writer(run, now_micros())

    def beat() -> None:
        while not ended.wait(0.2):
            writer.beat()

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        run("UPDATE control SET holder = '', beat = beat + 1 WHERE key = ? AND holder = ?", ("dispatcher", "old"))


def statuses(database: Database, ids: dict[str, int]) -> dict[str, str]:
    with database.read() as sql:
        found = dict(sql.all("SELECT id, status FROM recipients"))
    return {name: found[id_] for name, id_ in ids.items()}


@pytest.mark.timeout(240)
def test_new_workers_take_the_tasks_of_the_old_release_and_finish_what_it_began(url, old_release, tmp_path):
    with old_release():
        migrate(url, "sandbox")
    with opened(url) as database, Redis() as redis, Sandbox() as sandbox:
        left = release_0_1.fill(run_on(database), now_micros())
        migrate(url, "sandbox")
        before = statuses(database, left.recipients)
        publish(redis, "sesgate.send", [left.recipients["marked"], left.recipients["due"], 4711])
        publish(redis, "sesgate.feedback", [left.notifications["unprocessed"], left.notifications["parked"]])
        settings = {"SESGATE_DATABASE_URL": url, "SESGATE_BROKER_URL": redis.url, "SESGATE_DISPATCHER_LEASE": "15s"}
        with Worker(tmp_path, sandbox, "-P", "threads", "-c", "4", **settings) as worker:
            with old_dispatcher(database):
                taken = before | {"marked": "SENT", "SENT": "BOUNCED"}
                until(lambda: statuses(database, left.recipients) == taken, seconds=60, what=f"the tasks\n{worker.log}")
            done = taken | dict.fromkeys(TO_BE_SENT, "SENT") | WAIT
            until(lambda: statuses(database, left.recipients) == done, seconds=60, what=f"the rest\n{worker.log}")
            assert worker.stop() == 0
            assert "Traceback" not in worker.log
        copies = Counter(address for copy in sandbox.messages() for address in copy["recipients"])
        assert copies == Counter(f"{name}@example.com" for name in TO_BE_SENT)
        assert reasons(database, left) == {}


def publish(redis: Redis, name: str, ids: list[int]) -> None:
    with redis.client() as client:
        client.lpush(*release_0_1.task(name, ids))


def reasons(database: Database, left: release_0_1.Rows) -> dict[str, str]:
    """Of the notifications that are not understood yet, but for the one that release 0.1 had parked."""
    with database.read() as sql:
        rows = sql.all("SELECT id, error FROM notifications WHERE processed_at IS NULL")
    names = {id_: name for name, id_ in left.notifications.items()}
    return {names[id_]: error for id_, error in rows if names[id_] != "parked"}
