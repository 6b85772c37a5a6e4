"""Taking what a dead-letter queue holds into the store. Started by `python -m webhook.redrive QUEUE_URL`.

It may be the one behind the SQS consumer's queue or the one behind the webhook's subscription: in both each body is the
envelope that SNS could not get rid of.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.cli.progress import bar, ending_between_steps
from gateway.queue_urls import QueueUrlError, check_queue
from gateway.setting_values import QueueUrl, parse_queue_url
from gateway.settings import Settings, SettingsError
from gateway.sns_topics import TopicsError
from gateway.store.errors import StoreError, StoreUnavailableError
from gateway.store.schema import stamp_of_environment
from gateway.store.stores import Stores
from webhook.composition import load, make_inbox
from webhook.inbox import Inbox, Outcome, Verdict
from webhook.sqs import BATCH, Queue, QueueError, SqsMessage

_FAILED = 1
_BAD_USAGE = 2
_WAIT = 2  # seconds; a long poll asks all of SQS's servers, so that an empty answer means an empty queue
_VISIBILITY = 900  # seconds in which what is left does not come a second time


class Redrive:
    """One walk through a queue. `say` gets a line for each message that is left."""

    def __init__(self, queue: Queue, inbox: Inbox, say: Callable[[str], None], *, wait: int = _WAIT) -> None:
        self._queue = queue
        self._inbox = inbox
        self._say = say
        self._wait = wait
        self._left: dict[str, SqsMessage] = {}
        self.verdicts: Counter[Verdict] = Counter()
        self.is_complete = False

    @property
    def left(self) -> int:
        return len(self._left)

    def run(self, advance: Callable[[int], None], ending: Callable[[], bool]) -> None:
        """Until nothing new comes or the end is asked for; what was left can be received by others again.

        QueueError when SQS cannot be asked any more, StoreError when the database cannot take more.
        """
        try:
            while not ending():
                if not self._step(advance):
                    self.is_complete = True
                    return
        finally:
            self._release()

    def _step(self, advance: Callable[[int], None]) -> bool:
        """Whether there may be more."""
        received = self._queue.receive(wait=self._wait, visibility=_VISIBILITY)
        new = [message for message in received if message.id not in self._left]
        self._left.update((message.id, message) for message in received)  # each came with a new receipt
        outcomes = self._inbox.read_and_take_all([message.octets for message in new])
        self._tell(new, outcomes)
        self._delete([message for message, outcome in zip(new, outcomes, strict=True) if outcome.is_done])
        advance(len(new))
        if any(outcome.verdict is Verdict.NOT_STORED for outcome in outcomes):
            raise StoreUnavailableError("The database cannot take more now; start this again when it can.")
        return bool(new)

    def _tell(self, messages: Sequence[SqsMessage], outcomes: Sequence[Outcome]) -> None:
        for message, outcome in zip(messages, outcomes, strict=True):
            self.verdicts[outcome.verdict] += 1
            if not outcome.is_done:
                self._say(f"left: {message.id}: {outcome.reason}")

    def _delete(self, messages: Sequence[SqsMessage]) -> None:
        self._queue.delete(messages)
        for message in messages:
            del self._left[message.id]

    def _release(self) -> None:
        held = [(message, 0) for message in self._left.values()]
        for start in range(0, len(held), BATCH):
            try:
                self._queue.hide(held[start : start + BATCH])
            except QueueError:  # they come back by themselves, later
                return


def main(arguments: Sequence[str]) -> int:
    """Take everything in; 0 when nothing was left, 1 when something was, 2 for a queue that cannot be meant."""
    try:
        url = parse_queue_url(" ".join(arguments))
    except ValueError as error:
        return _give_up(f"{error}.", _BAD_USAGE)
    try:
        redrive, queue = load(lambda settings, stores: _compose(url, settings, stores))
        _walk(redrive, queue)
    except (SettingsError, TopicsError, QueueUrlError) as error:
        return _give_up(str(error), _BAD_USAGE)
    except (StoreError, QueueError) as error:
        return _give_up(str(error), _FAILED)
    return 0 if redrive.is_complete and not redrive.left else _FAILED


def _compose(url: QueueUrl, settings: Settings, stores: Stores) -> tuple[Redrive, Queue]:
    check_queue(url, stamp_of_environment(os.environ))
    queue = Queue(url, os.environ)
    return Redrive(queue, make_inbox(settings, stores, "queue", max_age=None), _say), queue


def _walk(redrive: Redrive, queue: Queue) -> None:
    try:
        with ending_between_steps() as ending, bar("Redriving", queue.count()) as advance:
            redrive.run(advance, ending)
    finally:
        _say(_summary(redrive))


def _summary(redrive: Redrive) -> str:
    counts = redrive.verdicts
    other = counts[Verdict.CONFIRMED] + counts[Verdict.NOTED]
    told = f", {other} about subscriptions" if other else ""
    early = "" if redrive.is_complete else " There may be more: it ended before the queue was empty."
    return f"{counts[Verdict.STORED]} stored, {counts[Verdict.KNOWN]} known already{told}, {redrive.left} left.{early}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _give_up(reason: str, code: int) -> int:
    sys.stderr.write(f"{reason}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
