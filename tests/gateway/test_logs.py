from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Logging is configured for a whole process, so each test is one.
_PROGRAM = """
import logging, sys
from gateway.logs import configure_logs, get_logger
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
