"""Broken builds: each takes one safeguard away, and the rig must see it.

    python -m tests.chaos.mutants no-sweep -- python -m celery -A tasks worker

patches the program from outside and then runs it. There is no such switch in the product.
"""

from __future__ import annotations

import os
import runpy
import secrets
import sys
from collections.abc import Callable
from typing import Any


def _replace(owner: Any, name: str, defect: Any) -> None:
    """A name that is not there any more would make a mutant that is none, and seem to be caught by nothing."""
    if not hasattr(owner, name):
        raise SystemExit(f"{owner} has no {name} any more: the mutant must be told where it went")
    setattr(owner, name, defect)


def wal_normal() -> None:
    """COMMIT answers before the write-ahead log is on the disk: a power cut takes acknowledged mail along."""
    from gateway.store import sqlite  # noqa: PLC0415 - only what the mutant is about is imported

    pragmas = tuple((name, "normal" if name == "synchronous" else value) for name, value in sqlite._PRAGMAS)
    _replace(sqlite, "_PRAGMAS", pragmas)


def boto_retries() -> None:
    """botocore tries again by itself, as it does by default: one lost answer becomes several mails."""
    from botocore.config import Config  # noqa: PLC0415

    from tasks import ses  # noqa: PLC0415

    def with_defaults(**options: Any) -> Config:
        return Config(**{name: value for name, value in options.items() if name != "retries"})

    _replace(ses, "Config", with_defaults)


def no_shield() -> None:
    """The front gives up on a slow store without calling the commit off: it answers 451, and the mail is sent."""
    import asyncio  # noqa: PLC0415

    from gateway.smtp.commits import Commits  # noqa: PLC0415
    from gateway.store.errors import StoreUnavailableError  # noqa: PLC0415

    async def accept(self: Any, envelope: Any, facts: Any, caps: Any) -> str:
        outcome = asyncio.wrap_future(self._messages.submit(envelope, facts, caps))
        try:
            async with asyncio.timeout(self._patience._seconds):
                return str(await asyncio.shield(outcome))
        except TimeoutError:
            raise StoreUnavailableError("The store is slow.") from None

    _replace(Commits, "accept", accept)


def no_sweep() -> None:
    """What a worker had claimed when it was killed is never given back."""
    from gateway.store.sweeping import Sweeping  # noqa: PLC0415

    _replace(Sweeping, "sweep_lapsed", lambda *_, **__: (0, 0))


def claim_without_compare() -> None:
    """Whoever asks for a recipient gets it, in whatever status it is."""
    from gateway.store import group_sending, sending  # noqa: PLC0415
    from gateway.store.times import now_micros  # noqa: PLC0415

    take = (
        "UPDATE recipients SET status = 'SENDING', attempt_id = ?, claimed_until = ?, dispatched_until = NULL,"
        " changed_at = ? WHERE id = ?"
    )

    def claim(self: Any, recipient_id: int) -> Any:
        def work(sql: Any) -> Any:
            now = now_micros()
            sql.run(take, (secrets.token_hex(16), now + self._dispatch_timeout, now, recipient_id))
            return sending._claim(sql, recipient_id)

        return self._db.write(work)

    def claim_all(sql: Any, candidates: Any, now: int, until: int) -> Any:
        claims = [one.claim for one in candidates]
        sql.many(take, [(one.attempt_id, until, now, one.recipient_id) for one in claims])
        sql.many(
            "INSERT INTO attempts (attempt_id, recipient_id, started_at, detail) VALUES (?, ?, ?, '')",
            [(one.attempt_id, one.recipient_id, now) for one in claims],
        )
        return claims

    _replace(sending.Sending, "claim", claim)
    _replace(group_sending, "_claim_all", claim_all)
    _replace(group_sending, "_is_marked", lambda *_: True)


def stock_data() -> None:
    """aiosmtpd reads the content, and what it hands over is accepted as it is: bare CR, LF and NUL reach SES."""
    from aiosmtpd.smtp import SMTP  # noqa: PLC0415

    from gateway.content import ContentFacts  # noqa: PLC0415
    from gateway.smtp import handler, replies  # noqa: PLC0415
    from gateway.smtp.protocol import GatewaySMTP  # noqa: PLC0415

    async def hook(server: Any, session: Any, transaction: Any) -> str:
        content = bytes(transaction.content)
        facts = ContentFacts("", "", None, len(content))
        envelope = handler._frozen(session, transaction, content)
        return replies.queued(await server._handler._commits.accept(envelope, facts, None))

    async def smtp_data(self: Any, arg: str) -> None:
        self.envelope.rcpt_tos = list(self.envelope.forward_paths)
        self._handle_hooks = {"DATA": hook}
        await SMTP.smtp_DATA(self, arg)

    _replace(GatewaySMTP, "smtp_DATA", smtp_data)
    _replace(GatewaySMTP, "_set_post_data_state", GatewaySMTP._set_rset_state)


MUTANTS: dict[str, Callable[[], None]] = {
    "wal-normal": wal_normal,
    "boto-retries": boto_retries,
    "no-shield": no_shield,
    "no-sweep": no_sweep,
    "claim-without-compare": claim_without_compare,
    "stock-data": stock_data,
}


def main(arguments: list[str]) -> None:
    name, dashes, *program = arguments
    if dashes != "--" or name not in MUTANTS:
        raise SystemExit(f"usage: python -m tests.chaos.mutants {'|'.join(MUTANTS)} -- python -m MODULE ARGUMENTS")
    if os.path.basename(program[0]).startswith("python") and program[1] == "-m":  # noqa: PTH119 - no file is meant
        program = program[2:]
    MUTANTS[name]()
    sys.argv = program
    runpy.run_module(program[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
