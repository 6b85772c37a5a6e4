from __future__ import annotations

import io
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.bounded_lines import MAX_LINE, FileError
from gateway.suppression_files import (
    BadRow,
    Defaults,
    Entry,
    Row,
    csv_header,
    csv_text,
    json_text,
    read_csv,
    read_json_lines,
)
from gateway.suppression_policy import Reason

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


def defaults(**fields):
    return Defaults(now=NOW, expires=lambda reason, since: since + YEAR if reason is Reason.BOUNCE else None, **fields)


def of_csv(text, **fields):
    data = text if isinstance(text, bytes) else text.encode()
    return list(read_csv(io.BytesIO(data), defaults(**fields)))


def of_json(*lines, **fields):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    return list(read_json_lines(io.BytesIO(text.encode()), defaults(**fields)))


def entry(address, reason=Reason.MANUAL, **fields):
    plain = {"scope": "", "source": "import", "detail": "", "note": "", "since": NOW, "expires": None}
    return Entry(address=address, reason=reason, **plain | fields)


def entries(rows):
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.entry for row in rows]


def bad(rows):
    return [(row.line, row.why) for row in rows if isinstance(row, BadRow)]


def test_a_list_of_addresses_is_a_list():
    rows = of_csv("jane@example.com\nBob@Example.com\n\n@example.org\n")
    assert entries(rows) == [entry("jane@example.com"), entry("Bob@Example.com"), entry("@example.org")]
    assert [row.key for row in rows] == ["jane@example.com", "bob@example.com", "@example.org"]
    assert [row.line for row in rows] == [1, 2, 4]


def test_the_file_of_an_import_job_of_ses_is_read():
    rows = of_csv("a@example.com,BOUNCE\r\nb@example.com,COMPLAINT\r\n")
    assert entries(rows) == [
        entry("a@example.com", Reason.BOUNCE, expires=NOW + YEAR),
        entry("b@example.com", Reason.COMPLAINT),
    ]


def test_what_ses_lists_is_read():
    rows = of_json(
        {"EmailAddress": "a@example.com", "Reason": "BOUNCE", "LastUpdateTime": "2026-03-01T10:00:00.5+02:00"},
        {"emailAddress": "b@example.com", "reason": "COMPLAINT", "LastUpdateTime": 1772352000.25},
    )
    bounced = datetime(2026, 3, 1, 8, 0, 0, 500000, tzinfo=UTC)
    complained = datetime(2026, 3, 1, 8, 0, 0, 250000, tzinfo=UTC)
    assert entries(rows) == [
        entry("a@example.com", Reason.BOUNCE, since=bounced, expires=bounced + YEAR),
        entry("b@example.com", Reason.COMPLAINT, since=complained),
    ]


def test_columns_stand_in_any_order():
    rows = of_csv("Note, REASON,expires,address\nold,Soft_Bounce,2027-01-01,a@example.com\n")
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    assert entries(rows) == [entry("a@example.com", Reason.SOFT_BOUNCE, note="old", expires=ends)]


def test_a_place_for_an_end_that_is_empty_means_never():
    assert entries(of_csv("address,reason,expires\na@example.com,bounce,\n"))[0].expires is None
    assert entries(of_csv("address,reason\na@example.com,bounce\n"))[0].expires == NOW + YEAR
    assert entries(of_json({"address": "a@example.com", "reason": "bounce", "expires": None}))[0].expires is None


def test_a_row_that_says_nothing_gets_what_was_asked_for():
    rows = of_csv(
        "address,reason,scope,note\na@example.com,,,\nb@example.com,complaint,erp,theirs\n",
        reason=Reason.UNSUBSCRIBE,
        scope="shop",
        note="moved",
    )
    assert entries(rows) == [
        entry("a@example.com", Reason.UNSUBSCRIBE, scope="shop", note="moved"),
        entry("b@example.com", Reason.COMPLAINT, scope="erp", note="theirs"),
    ]
    assert [row.key for row in rows] == ["a@example.com/shop", "b@example.com/erp"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_mark_at_the_beginning_and_both_ends_of_lines_are_read_over(end):
    data = b"\xef\xbb\xbf" + f"address,note{end}a@example.com,Zoë{end}".encode()
    assert entries(of_csv(data)) == [entry("a@example.com", note="Zoë")]
    data = b"\xef\xbb\xbf" + f'{{"address": "a@example.com"}}{end}{end}'.encode()
    assert [row.entry for row in read_json_lines(io.BytesIO(data), defaults())] == [entry("a@example.com")]


def test_rows_are_numbered_by_their_first_line():
    rows = of_csv('address,note\na@example.com,"one\ntwo\n\nthree"\njane,\n')
    assert rows[0].entry.note == "one\ntwo\n\nthree"
    assert [row.line for row in rows] == [2, 6]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("jane", '"jane" is no address, for it has no @.'),
        ("example.com", '"example.com" is no address, for it has no @.'),
        ("jane@", '"jane@" is no address: an address needs a local part, an @ and a domain.'),
        ("jané@example.com", '"jané@example.com" is no address: only ASCII addresses'),
        ("<jane@example.com>", '"<jane@example.com>" is no address: the local part is malformed.'),
        (" ,bounce", "it has no address."),
        ("jane@example.com,bouncy", '"bouncy" is no reason; there are soft-bounce, global-list, bounce, manual,'),
        ("jane@example.com,bounce,more", "it has 3 values, and there are 2 columns."),
        ('"jane"x@example.com', "it is malformed CSV"),
        ("jane\x00@example.com", "its address has a character that cannot be stored."),
        ("\x1b[31m@example.com", '" [31m@example.com" is no address: control characters'),
        ("a" * 100 + "@example.com", f'"{"a" * 60}…" is no address: the local part is longer'),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_costs_no_other(text, why):
    rows = of_csv(f"first@example.com\n{text}\nlast@example.com\n")
    assert [row.entry.address for row in rows if isinstance(row, Row)] == ["first@example.com", "last@example.com"]
    ((line, found),) = bad(rows)
    assert line == 2
    assert found.startswith(why)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("a@example.com,,yesterday,", '"yesterday" is no time; write it like'),
        ("a@example.com,,,0001-01-01T00:00:00+23:00", '"0001-01-01T00:00:00+23:00" is no time'),
        ("a@example.com,,9999-01-01,", "its since lies in the future."),
        ("a@example.com,a b,,", '"a b" is no name of a credential.'),
        ("a@example.com,,", "it has 3 values, and there are 4 columns."),
    ],
)
def test_a_value_that_is_none_makes_a_bad_row(row, why):
    ((line, found),) = bad(of_csv(f"address,scope,since,expires\n{row}\n"))
    assert line == 2
    assert found.startswith(why)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a@example.com", "it is not JSON."),
        ('["a@example.com"]', "it is no JSON object."),
        ("{}", "it has no address."),
        ('{"address": "a@example.com", "address": "b@example.com"}', "it gives a key twice."),
        ('{"address": "a@example.com", "EmailAddress": "b@example.com"}', "it gives a key twice."),
        ('{"address": "a@example.com", "tenant": "x"}', 'unknown keys: "tenant".'),
        ('{"address": ["a@example.com"]}', "its address is no text."),
        ('{"address": "a@example.com", "note": "\\ud800"}', "its note has a character that cannot be stored."),
        ('{"address": "a@example.com", "since": true}', '"True" is no time'),
        ('{"address": "a@example.com", "since": 1e300}', '"1e+300" is no time'),
        ('{"address": "a@example.com", "since": {}}', '"{}" is no time'),
    ],
)
def test_a_bad_line_of_json_is_told(line, why):
    rows = of_json("", line, {"address": "last@example.com"})
    ((number, found),) = bad(rows)
    assert number == 2
    assert found.startswith(why)
    assert len(rows) == 2


def test_bytes_that_are_no_utf_8_are_told_with_their_line():
    rows = of_csv(b"address,note\na@example.com,Zoe\n" + "b@example.com,Zoë\n".encode("latin-1") + b"c@d.org,\n")
    assert bad(rows) == [(3, "it is not UTF-8 text.")]
    assert len(rows) == 3
    line = b'{"address": "\xff@example.com"}\n'
    assert bad(read_json_lines(io.BytesIO(line), defaults())) == [(1, "it is not UTF-8 text.")]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_a_file_in_utf_16_is_refused_as_that(codec):
    with pytest.raises(FileError, match="UTF-16; save it as UTF-8"):
        of_csv("\ufeffaddress\na@example.com\n".encode(codec))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("address,colour,Size", 'Unknown columns: "colour", "Size". There are address, reason, scope'),
        ("address,Address", "names a column twice"),
        ("address,EmailAddress", "names a column twice"),
        ("email,reason", '"email", which is no address and no header with the column address'),
    ],
)
def test_a_header_that_is_none_of_ours_is_refused(header, why):
    with pytest.raises(FileError, match=why):
        of_csv(f"{header}\na@example.com,x,y\n")


def test_a_file_whose_every_line_opens_a_quote_is_not_read_thousands_of_times():
    with pytest.raises(FileError, match="Quotes are opened and not closed all over the file, last in line"):
        of_csv("address\n" + 'b","\n' * 30_000)


def test_a_quote_that_is_not_closed_costs_its_own_line_only():
    text = 'a@example.com\n"b@example.com\n' + "".join(f"{n}@example.com\n" for n in range(20_000))
    rows = of_csv(text)
    assert bad(rows) == [(2, "a quote is opened in it and not closed.")]
    assert len(rows) == 20_002
    assert [row.line for row in rows[2:]] == list(range(3, 20_003))
    assert bad(of_csv('a@example.com\n"b@example.com\nc@example.com\n'))[0][0] == 2


def test_a_line_without_an_end_is_a_bad_row_and_not_memory():
    class Endless(io.BytesIO):
        largest = 0

        def readline(self, size=-1):
            assert 0 <= size <= MAX_LINE + 1
            return super().readline(size)

    for read in (read_csv, read_json_lines):
        stream = Endless(b"a" * (5 * MAX_LINE) + b"\nb@example.com\n")
        rows = list(read(stream, defaults()))
        assert (rows[0].line, rows[0].why) == (1, "it is longer than 64 KiB.")
        assert rows[1].line == 2


def test_a_long_value_in_many_lines_is_a_bad_row_too():
    folded = '"' + "x\n" * MAX_LINE + '"'
    rows = of_csv(f"address,note\na@example.com,{folded}\nb@example.com,\n")
    assert bad(rows)[0] == (2, "a quote is opened in it and not closed.")
    assert rows[-1].entry.address == "b@example.com"


def test_an_empty_file_has_no_rows():
    assert of_csv("") == of_csv("\n\n") == of_csv(csv_header()) == of_json() == []


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
MOMENT = st.timedeltas(timedelta(0), timedelta(days=2_000_000)).map(lambda age: datetime(1970, 1, 1, tzinfo=UTC) + age)
ADDRESS = st.sampled_from(
    ["jane@example.com", "=cmd@example.com", "+1@example.com", "-x@Example.com", "@Example.com", '"a,\\"b"@example.com']
)
ENTRY = st.builds(
    Entry,
    address=ADDRESS,
    reason=st.sampled_from(Reason),
    scope=st.sampled_from(["", "shop", "erp-2"]),
    source=TEXT.map(lambda text: text or "import"),
    detail=TEXT,
    note=TEXT
    | st.sampled_from(['she said "no", twice', "one\ntwo\r\nthree\rfour", "=1+1", "Zoë 🙂", " spaced ", "\u2028"]),
    since=MOMENT.map(lambda moment: min(moment, NOW)),
    expires=st.none() | MOMENT,
)


@given(st.lists(ENTRY, max_size=5))
def test_what_is_written_reads_back_as_the_same(written):
    assert entries(of_csv(csv_header() + csv_text(written))) == written
    data = io.BytesIO(json_text(written).encode())
    assert entries(list(read_json_lines(data, defaults()))) == written


@given(st.binary(max_size=300))
def test_any_file_is_rows_or_is_refused(data):
    for read in (read_csv, read_json_lines):
        with suppress(FileError):
            rows = list(read(io.BytesIO(data), defaults()))
            assert all(1 <= row.line <= data.count(b"\n") + 1 for row in rows)
