"""A dump of PostgreSQL, really made and really restored, as docs/backup.md tells."""

from __future__ import annotations

import json
import subprocess

from gateway.settings import Settings
from gateway.store.schema import migrate
from gateway.store.stores import open_stores
from tests.support.mail import accept, begun, lease_of
from tests.support.postgres import require_postgres


def tool(name, *arguments):
    done = subprocess.run([str(require_postgres() / name), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_restored_dump_sends_nothing_until_a_person_says_so(sesgate, postgres, tmp_path):
    source, restored = postgres.new_database(), postgres.new_database()
    migrate(postgres.url(source), "sandbox")
    running = open_stores(Settings(database_url=postgres.url(source)))
    waiting, in_doubt = accept(running, "a@example.com", "b@example.com")
    running.sending.ambiguous(begun(running, in_doubt), "time-out")
    running.control.beat(lease_of(running))
    tool("pg_dump", "-Fc", "-f", str(tmp_path / "dump"), postgres.url(source))
    # What waited in the dump is sent after it was made.
    running.sending.accepted(begun(running, waiting), "ses-1")
    running.close()

    tool("pg_restore", "--no-owner", "-d", postgres.url(restored), str(tmp_path / "dump"))
    environ = {"SESGATE_DATABASE_URL": postgres.url(restored)}
    told = json.loads(sesgate("restored", "--json", **environ).stdout)
    assert {one["status"]: one["recipients"] for one in told["waiting"]} == {"QUEUED": 1, "AMBIGUOUS": 1}

    stores = open_stores(Settings(database_url=postgres.url(restored)))
    try:
        lease = lease_of(stores)
        assert stores.sending.mark_due(lease, 10) == []
        refused = sesgate("queue", "resume", **environ)
        assert refused.exit_code == 2
        assert "1 recipient from before it will be sent that may have been sent already" in refused.stderr
        assert sesgate("queue", "resume", "--yes", **environ).exit_code == 0
        assert [due.recipient_id for due in stores.sending.mark_due(lease, 10)] == [waiting]
    finally:
        stores.close()
        postgres.drop(source)
        postgres.drop(restored)
