from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest
import structlog

from gateway import logs

# Logging is configured for a whole process, so each test is one.
_PROGRAM = """
import logging, sys
from gateway.logs import Together, configure_logs, get_logger
log = get_logger("gateway.test")
configure_logs(sys.argv[1], sys.argv[2])
exec(sys.argv[3])
"""


def run(code, log_format="json", addresses="full"):
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, log_format, addresses, code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


def records(code, **options):
    return [json.loads(line) for line in run(code, **options).splitlines()]


def test_a_record_has_an_event_its_fields_a_level_a_name_and_a_time():
    (record,) = records("log.warning('smtp.refused', code=550)")
    assert record.pop("timestamp").endswith("Z")
    assert record == {"event": "smtp.refused", "code": 550, "level": "warning", "logger": "gateway.test"}


@pytest.mark.parametrize("field", ["address", "reverse_path", "forward_path", "recipient"])
@pytest.mark.parametrize(
    ("addresses", "shown"), [("full", "bob@example.com"), ("domain", "***@example.com"), ("none", "***")]
)
def test_addresses_are_shown_as_the_setting_says(field, addresses, shown):
    (record,) = records(f"log.info('x', {field}='bob@example.com')", addresses=addresses)
    assert record[field] == shown


LEAKS = (
    "Email address is not verified. The following identities failed: Shop <bob@example.com>, BOB@Example.Com.",
    "DETAIL: Key (address)=(bob@example.com) already exists.",
    "GET /v2/email/suppression/addresses/bob%40example.com",
    'to <"bob @ \\"home"@example.com>',
    "bob@example.com,bob+tag@example.com;bob/x@example.com/bob%x@example.com|o'bob@bücher.example 'bob'@example.com",
    "bob@[192.0.2.1]",
)


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("addresses", ["domain", "none"])
def test_addresses_within_a_text_are_shown_as_the_setting_says(log_format, addresses):
    code = f"""
for text in {LEAKS!r}:
    log.info('x', reason=text, error=text)
    logging.getLogger('celery').warning('%s', text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception('x')
        logging.getLogger('celery').exception('x')
"""
    written = run(code, log_format, addresses).casefold()
    assert written.count("***") > 5 * len(LEAKS)
    assert "bob" not in written
    assert ("example" in written) == (addresses == "domain")


@pytest.mark.parametrize("addresses", ["domain", "none"])
def test_addresses_are_found_in_any_field_however_deep(addresses):
    code = "log.info('x', diagnostic='to bob@example.com', seen=['bob@example.com', {'to': ('bob@example.com', 1)}])"
    (record,) = records(code, addresses=addresses)
    shown = "***@example.com" if addresses == "domain" else "***"
    assert (record["diagnostic"], record["seen"]) == (f"to {shown}", [shown, {"to": [shown, 1]}])


def test_the_rest_of_a_text_stays_as_it_is():
    text = "Key (address)=(bob@example.com) exists; @ 12:30, a@, see bob@example.com."
    (record,) = records(f"log.info('x', reason={text!r})", addresses="domain")
    assert record["reason"] == "Key (address)=(***@example.com) exists; @ 12:30, a@, see ***@example.com."
    (record,) = records(f"log.info('x', reason={text!r})", addresses="none")
    assert record["reason"] == "Key (address)=(***) exists; @ 12:30, a@, see ***."
    (record,) = records(f"log.info('x', reason={text!r})")
    assert record["reason"] == text


def test_a_long_text_is_looked_through_in_one_pass():
    code = "for text in ('a' * 300_000, 'a@' * 150_000, '\"' * 300_000, '\"\\\\' * 150_000): log.info('x', error=text)"
    assert len(records(code, addresses="none")) == 4


def test_the_records_of_libraries_look_the_same():
    (record,) = records("logging.getLogger('celery').warning('hello %s', 'you')")
    assert (record["event"], record["logger"], record["level"]) == ("hello you", "celery", "warning")


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize(
    "code",
    [
        "logging.getLogger('x').warning('\\x1b[31m a\\rb \\x00 \\u202e')",
        "log.warning('x', reason='\\x1b[31m a\\rb \\x00 \\u202e')",
        "log.warning('x', helo='\\x1b]0;title\\x07')",
        "log.warning('x', nested=['\\x1b[2J'])",
    ],
)
def test_no_control_character_reaches_a_terminal(log_format, code):
    written = run(code, log_format=log_format).rstrip("\n")
    assert not [character for character in written if not character.isprintable()]


@pytest.mark.parametrize("name", ["mail.log", "botocore", "urllib3", "werkzeug"])
def test_what_libraries_say_about_content_is_not_written(name):
    assert run(f"logging.getLogger('{name}').info('the subject of a mail')") == ""


def test_debug_is_not_written_and_an_exception_is():
    assert run("log.debug('x')") == ""
    (record,) = records("try:\n 1/0\nexcept ZeroDivisionError:\n log.exception('x')")
    assert "ZeroDivisionError" in record["exception"]


def test_an_exception_shows_on_the_console_too():
    assert "ZeroDivisionError" in run("try:\n 1/0\nexcept ZeroDivisionError:\n log.exception('x')", "console")


_VALUES = (
    "plain",
    "",
    "two words",
    "a=b",
    "it's",
    'say "x"',
    "tab\t",
    "\u00fc",
    7,
    1.5,
    None,
    True,
    ["a b"],
    {"k": "v"},
    b"x",
)


def events():
    chance = random.Random(8)  # the same in each run
    for _ in range(500):
        names = chance.sample(["reason", "client", "zeta", "alpha", "logger_name", "exception", "stack", "size"], 4)
        event = {
            name: chance.choice(_VALUES if name not in ("exception", "stack") else ("trace\nback",)) for name in names
        }
        event |= {"timestamp": "2026-11-22T09:00:00.000000Z", "level": chance.choice(["info", "warning", "error"])}
        event |= {
            "event": chance.choice(["x", "a.longer.name.than.fits.the.column", "with blanks "]),
            "logger": "gateway.x",
        }
        for name in chance.choice([(), (), ("logger",), ("level", "timestamp")]):
            del event[name]
        yield event


def test_a_plain_line_is_what_structlog_writes():
    structlogs = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=24)
    ours = logs._PlainRenderer(structlogs)
    for event in events():
        assert ours(None, "info", dict(event)) == structlogs(None, "info", dict(event))


@pytest.mark.parametrize("name", ["", "gateway", "gateway.test"])
def test_another_handler_sees_what_is_logged(name):
    code = f"""
class Other(logging.Handler):
    def emit(self, record):
        sys.stderr.write(f"other: {{record.levelname}} {{record.msg['event']}} {{record.msg['code']}}\\n")
logging.getLogger({name!r}).addHandler(Other())
with Together():
    log.warning('smtp.refused', code=550)
"""
    other, own = sorted(run(code).splitlines())
    assert other == "other: WARNING smtp.refused 550"
    assert json.loads(own)["code"] == 550


def test_a_logger_that_is_switched_off_says_nothing():
    assert run("logging.getLogger('gateway').setLevel('ERROR'); log.warning('x')") == ""
    assert run("logging.disable(logging.ERROR); log.error('x')") == ""


_COUNTED = """
class Counted:
    def __init__(self): self.writes = []
    def write(self, text): self.writes.append(text)
    def flush(self): pass
stream = logging.root.handlers[0].stream = Counted()
"""


def test_lines_of_a_burst_are_written_together_and_those_of_other_threads_at_once():
    code = f"""
import threading
{_COUNTED}
with Together():
    log.info('one')
    log.info('two')
    thread = threading.Thread(target=log.info, args=('meanwhile',))
    thread.start(); thread.join()
    assert ['meanwhile' in write for write in stream.writes] == [True]
log.info('three')
for write in stream.writes:
    print(len(write.splitlines()), file=sys.stderr)
assert 'one' in stream.writes[1] and 'two' in stream.writes[1]
"""
    assert run(code).split() == ["1", "2", "1"]


def test_lines_of_a_burst_are_written_when_it_ends_with_an_error():
    code = """
try:
    with Together():
        log.info('one')
        raise OSError
except OSError:
    log.info('two')
"""
    assert [record["event"] for record in records(code)] == ["one", "two"]


def test_a_line_that_cannot_be_written_ends_nothing():
    code = """
class Gone:
    def write(self, text): raise BrokenPipeError
    def flush(self): pass
logging.root.handlers[0].stream = Gone()
log.info('one')
logging.getLogger('celery').info('two')
"""
    assert run(code).count("BrokenPipeError") >= 2


def test_a_value_that_cannot_be_rendered_ends_nothing():
    code = """
class Odd:
    def __repr__(self): raise ValueError
log.info('one', odd=Odd())
log.info('two')
"""
    assert "two" in run(code, "console")
