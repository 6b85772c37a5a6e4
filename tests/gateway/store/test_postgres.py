"""What only PostgreSQL has: row locks, lost connections, and sessions that the server ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from gateway.settings import Settings
from gateway.store import postgres as module
from gateway.store import sending
from gateway.store.control import Lease, require_lease
from gateway.store.errors import NoSpaceError, OutcomeUnknownError, StoreError, StoreUnavailableError
from gateway.store.opening import open_database
from gateway.store.schema import _known, migrate
from gateway.store.stores import open_stores
from gateway.store.times import now_micros
from tests.support.mail import accept, claimed, lease_of, rows
from tests.support.waiting import until


def another(stores):
    """The same database as another process has it."""
    return open_stores(Settings(database_url=url_of(stores)))


def url_of(stores) -> str:
    name, parameters = stores.db._name, stores.db._parameters
    return f"postgresql://{parameters['user']}@/{name}?host={parameters['host']}"


def end_sessions(postgres, stores) -> None:
    postgres.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE datname = '{stores.db._name}' AND pid <> pg_backend_pid()"
    )


def test_a_session_is_durable_and_cannot_hang(postgres_stores):
    with postgres_stores.db.read() as sql:
        assert sql.value("SHOW synchronous_commit") == "on"
        assert sql.value("SHOW idle_in_transaction_session_timeout") == "5s"
        assert sql.value("SHOW lock_timeout") == "4s"


def test_the_url_may_name_what_we_set_and_makes_nothing_less_durable(postgres_stores):
    url = f"{url_of(postgres_stores)}&connect_timeout=9&application_name=orders"
    options = quote("-c synchronous_commit=off -c work_mem=9MB")
    other = open_stores(Settings(database_url=f"{url}&options={options}"))
    with other.db.read() as sql:
        shown = [sql.value(f"SHOW {name}") for name in ("application_name", "work_mem", "synchronous_commit")]
    other.close()
    assert shown == ["orders", "9MB", "on"]


def test_a_statement_without_an_index_is_not_compiled_for_it(postgres_stores):
    with postgres_stores.db.read() as sql:
        plan = "\n".join(row[0] for row in sql.all("EXPLAIN ANALYZE SELECT count(*) FROM audit WHERE subject = 'x'"))
    assert "JIT" not in plan


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM messages WHERE ulid = '0'",
        "SELECT status FROM recipients WHERE id IN (1, 2)",
        "SELECT outcome FROM attempts WHERE attempt_id = '0'",
        "SELECT data FROM contents WHERE message_id = 1",
    ],
)
def test_a_statement_that_is_prepared_while_its_table_is_small_does_not_read_all_of_it_later(
    postgres_stores, statement
):
    """Its plan stays until the next ANALYZE, however many rows come until then."""
    accept(postgres_stores, "a@example.com")
    with postgres_stores.db.exclusive() as database:
        database.execute_sql("ANALYZE")
    with postgres_stores.db.read() as sql:
        plan = "\n".join(row[0] for row in sql.all(f"EXPLAIN {statement}"))
    assert "Index" in plan
    assert "Seq Scan" not in plan


def test_two_migrations_at_once_make_one_schema(postgres):
    url = postgres.url(postgres.new_database())
    with ThreadPoolExecutor(2) as pool:
        applied = list(pool.map(lambda _: migrate(url, "aws"), range(2)))
    assert sorted(map(len, applied)) == [0, len(_known())]


def test_a_full_disk_of_the_server_is_no_room(postgres_stores):
    """As the server says it; a real full disk would end other tests of the same server."""
    with pytest.raises(NoSpaceError, match="no room"):
        postgres_stores.db.write(lambda sql: sql.run(raising("disk_full")))
    assert accept(postgres_stores, "later@b.example")


def raising(condition: str) -> str:
    return f"DO $$ BEGIN RAISE EXCEPTION 'as the server says it' USING ERRCODE = '{condition}'; END $$"


def test_a_deadlock_is_done_again_piece_by_piece(postgres_stores):
    accept(postgres_stores, "one@b.example")
    accept(postgres_stores, "two@b.example")
    other = another(postgres_stores)
    first, second = (row[0] for row in rows(postgres_stores, "SELECT id FROM recipients ORDER BY id"))
    meeting = threading.Barrier(2, timeout=20)
    met = [False, False]

    def change_both(sql, me, here, there):
        sql.run("UPDATE recipients SET attempts = attempts + 1 WHERE id = ?", (here,))
        if not met[me]:
            met[me] = True
            meeting.wait()
        sql.run("UPDATE recipients SET attempts = attempts + 1 WHERE id = ?", (there,))

    try:
        one = postgres_stores.db.submit(lambda sql: change_both(sql, 0, first, second))
        two = other.db.submit(lambda sql: change_both(sql, 1, second, first))
        one.result(timeout=30)
        two.result(timeout=30)
    finally:
        other.close()
    assert rows(postgres_stores, "SELECT attempts FROM recipients") == [(2,), (2,)]


def test_a_lost_connection_fails_one_call_and_the_next_one_goes_on(postgres, postgres_stores):
    accept(postgres_stores)
    end_sessions(postgres, postgres_stores)
    until(lambda: succeeds(postgres_stores.messages.list))
    end_sessions(postgres, postgres_stores)
    until(lambda: succeeds(lambda: postgres_stores.control.put("fact", {"a": 1})))
    assert postgres_stores.control.get("fact") == {"a": 1}


def succeeds(call) -> bool:
    try:
        call()
    except StoreUnavailableError:
        return False
    return True


def test_a_server_that_is_away_is_unavailable_and_not_an_error_of_ours(postgres):
    database = open_database(postgres.url("no_such_database"), gate_timeout=5)
    try:
        with pytest.raises(StoreUnavailableError), database.read() as sql:
            sql.value("SELECT 1")
        with pytest.raises(StoreUnavailableError):
            database.write(lambda sql: sql.value("SELECT 1"))
    finally:
        database.close()


def test_a_commit_whose_answer_is_lost_is_looked_up_and_kept(postgres, postgres_stores, monkeypatch):
    """The session ends between the work and the answer to COMMIT: first before the commit, then after it."""
    database = postgres_stores.db
    lose_the_answer_of_a_commit(monkeypatch, database, postgres, commit_first=True)
    postgres_stores.control.put("kept", {"a": 1})
    assert postgres_stores.control.get("kept") == {"a": 1}


def test_a_commit_that_did_not_come_through_is_not_said_to_be_kept(postgres, postgres_stores, monkeypatch):
    database = postgres_stores.db
    lose_the_answer_of_a_commit(monkeypatch, database, postgres, commit_first=False)
    with pytest.raises(StoreUnavailableError) as failure:
        postgres_stores.control.put("gone", {"a": 1})
    assert not isinstance(failure.value, OutcomeUnknownError)
    assert postgres_stores.control.get("gone") is None


def test_an_outcome_that_cannot_be_looked_up_is_called_unknown(postgres, postgres_stores, monkeypatch):
    monkeypatch.setattr(module, "_OUTCOME_PATIENCE", 0.0)
    lose_the_answer_of_a_commit(monkeypatch, postgres_stores.db, postgres, commit_first=True)
    with pytest.raises(OutcomeUnknownError):
        postgres_stores.control.put("who knows", {"a": 1})


def deadlocked_once(runs, statement="SELECT 1"):
    """A piece of work that the server ends the first time; then it executes the statement."""

    def work(sql):
        runs.append(statement)
        sql.run(statement if len(runs) > 1 else raising("deadlock_detected"))

    return work


def test_an_unknown_outcome_after_a_deadlock_is_told_and_nothing_is_done_a_second_time(
    postgres, postgres_stores, monkeypatch
):
    runs = []
    monkeypatch.setattr(module, "_OUTCOME_PATIENCE", 0.0)
    lose_the_answer_of_a_commit(monkeypatch, postgres_stores.db, postgres, commit_first=True)
    with pytest.raises(OutcomeUnknownError):
        postgres_stores.db.write(deadlocked_once(runs))
    assert len(runs) == 2


def test_a_full_disk_after_a_deadlock_is_no_room_and_no_reason_to_go_on_trying(postgres_stores):
    runs = []
    with pytest.raises(NoSpaceError, match="no room"):
        postgres_stores.db.write(deadlocked_once(runs, raising("disk_full")))
    assert len(runs) == 2


def lose_the_answer_of_a_commit(monkeypatch, database, postgres, *, commit_first: bool) -> None:
    """Once: the server ends our session as the commit is asked for."""
    commit = database.peewee.commit
    left = [True]

    def lossy(*arguments, **options):
        if left:
            left.clear()
            if commit_first:
                commit(*arguments, **options)
            own = database.peewee.execute_sql("SELECT pg_backend_pid()").fetchone()[0]
            postgres.sql(f"SELECT pg_terminate_backend({own})")
            return database.peewee.execute_sql("SELECT 1")
        return commit(*arguments, **options)

    monkeypatch.setattr(database.peewee, "commit", lossy)


def test_a_take_over_waits_for_a_marking_transaction_and_a_stale_holder_marks_nothing(postgres_stores):
    accept(postgres_stores)
    other = another(postgres_stores)
    try:
        lease = postgres_stores.control.take_lease("first", postgres_stores.control.read_lease())
        assert lease is not None
        inside, go_on = threading.Event(), threading.Event()

        def mark(sql):
            require_lease(sql, lease)
            inside.set()
            go_on.wait(timeout=20)

        marking = postgres_stores.db.submit(mark)
        inside.wait(timeout=20)
        taking = threading.Thread(target=lambda: taken.append(other.control.take_lease("second", lease)))
        taken: list[Lease | None] = []
        taking.start()
        until(lambda: waits_for_a_lock(postgres_stores))
        assert taken == []
        go_on.set()
        marking.result(timeout=20)
        taking.join(timeout=20)
        assert taken[0] is not None
        with pytest.raises(Exception, match="taken over"):
            postgres_stores.sending.mark_due(lease, 10)
    finally:
        other.close()


def waits_for_a_lock(stores) -> bool:
    return rows(stores, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != [(0,)]


def test_twelve_claims_of_one_recipient_are_one(postgres_stores):
    accept(postgres_stores)
    lease = postgres_stores.control.take_lease("me", postgres_stores.control.read_lease())
    assert lease is not None
    (due,) = postgres_stores.sending.mark_due(lease, 10)
    others = [another(postgres_stores) for _ in range(3)]
    try:
        with ThreadPoolExecutor(12) as pool:
            claims = list(pool.map(lambda number: others[number % 3].sending.claim(due.recipient_id), range(12)))
    finally:
        for other in others:
            other.close()
    assert sum(claim is not None for claim in claims) == 1


def test_a_child_of_a_fork_has_connections_of_its_own(postgres_stores):
    accept(postgres_stores)
    program = f"""
import os
from gateway.settings import Settings
from gateway.store.stores import open_stores
stores = open_stores(Settings(database_url={url_of(postgres_stores)!r}))
stores.control.put("parent", {{}})
child = os.fork()
stores.control.put("child" if child == 0 else "parent again", {{}})
assert len(stores.messages.list()) == 1
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
stores.close()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=dict(os.environ))
    assert {"parent", "child", "parent again"} <= {key for (key,) in rows(postgres_stores, "SELECT key FROM control")}


@pytest.mark.parametrize(
    ("url", "reason"),
    [("postgresql://localhost", "names no database"), ("postgresql://localhost:port/name", "no number")],
)
def test_a_malformed_url_is_one_sentence(url, reason):
    with pytest.raises(StoreError, match=reason):
        open_database(url, gate_timeout=5)


def test_a_sweep_leaves_out_a_claim_whose_attempt_is_being_begun(postgres_stores):
    accept(postgres_stores)
    other = another(postgres_stores)
    try:
        (id_,) = (row[0] for row in rows(postgres_stores, "SELECT id FROM recipients"))
        claim = claimed(postgres_stores, id_)
        lease = lease_of(postgres_stores)
        inside, go_on = threading.Event(), threading.Event()

        def begin(sql):
            sql.run("UPDATE recipients SET claimed_until = claimed_until + 1000000000 WHERE id = ?", (id_,))
            inside.set()
            go_on.wait(timeout=20)

        beginning = other.db.submit(begin)
        inside.wait(timeout=20)
        postgres_stores.db.write(lambda sql: None)
        with ThreadPoolExecutor(1) as pool:
            swept = pool.submit(sweep_as_if_lapsed, postgres_stores, lease)
            assert swept.result(timeout=20) == (0, 0)
            go_on.set()
        beginning.result(timeout=20)
        assert claim.attempt_id == rows(postgres_stores, "SELECT attempt_id FROM recipients")[0][0]
    finally:
        go_on.set()
        other.close()


def sweep_as_if_lapsed(stores, lease):
    """Every claim looks lapsed to it: its own clock is an hour ahead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "now_micros", lambda: now_micros() + 3_600_000_000)
        return stores.sweeping.sweep_lapsed(lease)


def test_a_clock_that_differs_from_the_servers_is_told(postgres_stores, monkeypatch):
    assert abs(postgres_stores.db.clock_skew()) < 1
    monkeypatch.setattr(module.time, "time", lambda: 0.0)
    assert postgres_stores.db.clock_skew() < -1_000_000_000
    with capture_logs() as logs:
        another(postgres_stores).close()
    assert [entry["event"] for entry in logs] == ["store.clock_skew"]
