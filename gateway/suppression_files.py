"""Lists of suppressions in files: CSV and JSON lines, ours and those of SES.

A row that cannot be understood is told with its line and never guessed. What is written reads back as the same value.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from gateway import strict_json
from gateway.addresses import AddressError
from gateway.bounded_lines import Feed, FileError, Line, UnreadableLineError, numbered
from gateway.credentials import CredentialError, check_name
from gateway.subjects import Subject, entry_key, parse_subject
from gateway.suppression_policy import Reason

FIELDS = ("address", "reason", "scope", "source", "detail", "note", "since", "expires")
SOURCE = "import"  # of what says nothing else

# How `ListSuppressedDestinations` of SES, and its import jobs, name them.
_OTHER_NAMES = {"emailaddress": "address", "lastupdatetime": "since"}
_WITHOUT_HEADER = ("address", "reason")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OTHER_CLOCK = timedelta(days=1)  # how far that of whoever wrote the file may be ahead, with its zone
_MOST_SHOWN = 60
_MOST_GIVEN_BACK = 1_000_000  # lines that are read a second time: else a file could have each read thousands of times

Value = str | float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A suppression as a file holds it. `scope` is a credential's name or empty, `expires` None for ever."""

    address: str
    reason: Reason
    scope: str
    source: str
    detail: str
    note: str
    since: datetime
    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Row:
    """An entry, and the key under which it is stored: the same for all spellings of its address."""

    line: int
    key: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no entry. `line` is the one it begins with; `why` goes on behind it."""

    line: int
    why: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a row gets that says nothing itself; `expires` is asked where the file has no place for an end."""

    now: datetime
    expires: Callable[[Reason, datetime], datetime | None]
    reason: Reason = Reason.MANUAL
    scope: str = ""
    note: str = ""


class _BadRowError(ValueError):
    """Why a row is no entry."""


def read_csv(stream: BinaryIO, defaults: Defaults) -> Iterator[Row | BadRow]:
    """With a header in any order, or without one: `address` or `address,reason`, as SES's import jobs have it.

    FileError when the file is none of these.
    """
    feed = Feed(numbered(stream))
    columns: tuple[str, ...] | None = None
    for number, cells in _records(feed):
        if isinstance(cells, BadRow):
            yield cells
        elif any(cell.strip() for cell in cells):
            if columns is None:
                columns, is_header = _columns(cells)
                if is_header:
                    continue
            yield _csv_row(number, columns, cells, defaults)


def read_json_lines(stream: BinaryIO, defaults: Defaults) -> Iterator[Row | BadRow]:
    """An object a line. FileError when the file is no text."""
    for line in numbered(stream):
        if line.data.strip():
            yield _attempt(line.number, lambda line=line: _json_values(line), defaults)  # type: ignore[misc]  # its default


def csv_header() -> str:
    return ",".join(FIELDS) + "\r\n"


def csv_text(entries: Iterable[Entry]) -> str:
    """Rows as RFC 4180 writes them."""
    text = io.StringIO()
    # With this end of a line, the writer quotes both of its characters wherever they stand in a value.
    csv.writer(text, lineterminator="\r\n").writerows(
        [value or "" for value in _written(entry).values()] for entry in entries
    )
    return text.getvalue()


def json_text(entries: Iterable[Entry]) -> str:
    return "".join(json.dumps(_written(entry), ensure_ascii=False) + "\n" for entry in entries)


def _written(entry: Entry) -> dict[str, str | None]:
    return {
        "address": entry.address,
        "reason": entry.reason.value,
        "scope": entry.scope,
        "source": entry.source,
        "detail": entry.detail,
        "note": entry.note,
        "since": _time_text(entry.since),
        "expires": None if entry.expires is None else _time_text(entry.expires),
    }


def _time_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _records(feed: Feed) -> Iterator[tuple[int, list[str] | BadRow]]:
    """The cells of each record, or what is wrong, with the number of its first line: values may span several."""
    reader = csv.reader(feed, strict=True)
    given_back = 0
    while given_back < _MOST_GIVEN_BACK:
        feed.begin_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except UnreadableLineError as error:
            yield feed.number, BadRow(feed.number, f"{error}.")
            given_back += feed.give_back()
        except csv.Error as error:
            yield feed.number, BadRow(feed.number, f"it is malformed CSV ({error}).")
            given_back += feed.give_back()
        else:
            yield feed.number, cells
    raise FileError(f"Quotes are opened and not closed all over the file, last in line {feed.number}; is it CSV?")


def _columns(cells: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Which field each column holds, and whether these cells are the header that says so. FileError when unclear."""
    names = tuple(_field(cell) for cell in cells)
    if "address" not in names:
        if "@" in cells[0]:
            return _WITHOUT_HEADER, False
        raise FileError(
            f"The file begins with {_shown(cells[0])}, which is no address and no header with the column address."
        )
    unknown = [_shown(cell) for cell, name in zip(cells, names, strict=True) if name not in FIELDS]
    if unknown:
        raise FileError(f"Unknown columns: {', '.join(unknown)}. There are {', '.join(FIELDS)}.")
    if len(set(names)) < len(names):
        raise FileError("The header names a column twice.")
    return names, True


def _field(name: str) -> str:
    folded = name.strip().casefold()
    return _OTHER_NAMES.get(folded, folded)


def _csv_row(number: int, columns: Sequence[str], cells: Sequence[str], defaults: Defaults) -> Row | BadRow:
    def values() -> dict[str, Value]:
        if columns is _WITHOUT_HEADER and len(cells) == 1:
            return {"address": cells[0]}
        if len(cells) != len(columns):
            raise _BadRowError(f"it has {len(cells)} values, and there are {len(columns)} columns")
        return dict(zip(columns, cells, strict=True))

    return _attempt(number, values, defaults)


def _json_values(line: Line) -> dict[str, Value]:
    members = strict_json.loads(line.text())
    if not isinstance(members, dict):
        raise _BadRowError("it is no JSON object")
    named = {_field(name): value for name, value in members.items()}
    unknown = [_shown(name) for name in members if _field(name) not in FIELDS]
    if unknown:
        raise _BadRowError(f"unknown keys: {', '.join(unknown)}")
    if len(named) < len(members):
        raise _BadRowError("it gives a key twice")
    return named


def _attempt(number: int, values: Callable[[], Mapping[str, Value]], defaults: Defaults) -> Row | BadRow:
    try:
        return _row(number, values(), defaults)
    except (_BadRowError, UnreadableLineError, strict_json.JsonError) as error:
        return BadRow(number, f"{error}.")


def _row(number: int, values: Mapping[str, Value], defaults: Defaults) -> Row:
    subject = _subject(_text(values, "address").strip())
    scope = _scope(_text(values, "scope").strip()) or defaults.scope
    reason = _reason(_text(values, "reason").strip()) or defaults.reason
    since = _since(values.get("since"), defaults.now)
    entry = Entry(
        address=subject.address,
        reason=reason,
        scope=scope,
        source=_text(values, "source") or SOURCE,
        detail=_text(values, "detail"),
        note=_text(values, "note") or defaults.note,
        since=since,
        expires=_moment(values["expires"]) if "expires" in values else defaults.expires(reason, since),
    )
    return Row(number, entry_key(subject.key, scope), entry)


def _text(values: Mapping[str, Value], field: str) -> str:
    value = values.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _BadRowError(f"its {field} is no text")
    if "\0" in value or not _is_encodable(value):
        raise _BadRowError(f"its {field} has a character that cannot be stored")
    return value


def _is_encodable(text: str) -> bool:
    """JSON can spell half of a surrogate pair, which is no character."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _subject(text: str) -> Subject:
    """A bare domain is refused here: in a list of addresses it is more likely half of one than everybody there."""
    if not text:
        raise _BadRowError("it has no address")
    if "@" not in text:
        raise _BadRowError(f"{_shown(text)} is no address, for it has no @")
    try:
        return parse_subject(text)
    except AddressError as error:
        raise _BadRowError(f"{_shown(text)} is no address: {error}") from None


def _scope(text: str) -> str:
    if text:
        try:
            check_name(text)
        except CredentialError:
            raise _BadRowError(f"{_shown(text)} is no name of a credential") from None
    return text


def _reason(text: str) -> Reason | None:
    if not text:
        return None
    try:
        return Reason(text.casefold().replace("_", "-"))
    except ValueError:
        raise _BadRowError(f"{_shown(text)} is no reason; there are {', '.join(Reason)}") from None


def _since(value: Value, now: datetime) -> datetime:
    since = _moment(value) or now
    if since > now + _OTHER_CLOCK:
        raise _BadRowError("its since lies in the future")
    return since


def _moment(value: Value) -> datetime | None:
    """ISO 8601, in UTC when it names no zone; or seconds since 1970, as SES's own JSON has it."""
    try:
        if isinstance(value, str):
            return _from_iso(value.strip())
        if value is None:
            return None
        # JSON has no other numbers, and Python takes a truth value for one.
        return _EPOCH + timedelta(seconds=_refuse_truth(value))
    except (ValueError, OverflowError, TypeError):
        raise _BadRowError(f"{_shown(str(value))} is no time; write it like 2026-11-21T03:00:00Z") from None


def _from_iso(text: str) -> datetime | None:
    if not text or text.casefold() == "never":
        return None
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _refuse_truth(number: float) -> float:
    if isinstance(number, bool):
        raise TypeError("a truth value is no time")
    return number


def _shown(text: str) -> str:
    """In quotes, without what a terminal would obey, and not all of it."""
    safe = "".join(c if c.isprintable() else " " for c in text[: _MOST_SHOWN + 1])
    return f'"{safe[:_MOST_SHOWN]}…"' if len(safe) > _MOST_SHOWN else f'"{safe}"'
