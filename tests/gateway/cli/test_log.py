from __future__ import annotations

import io
import json

from gateway.cli.up.log import Lines, Log


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_pieces_become_lines():
    lines = Lines()
    assert lines.feed(b"one\ntw") == ["one"]
    assert lines.feed(b"o\r\n\n") == ["two", ""]
    assert lines.flush() == []


def test_a_last_line_without_an_end_is_not_lost():
    lines = Lines()
    assert lines.feed(b"the end") == []
    assert lines.flush() == ["the end"]
    assert lines.flush() == []


def test_a_line_without_end_is_cut_and_not_kept_for_ever():
    assert len(Lines().feed(b"x" * 70_000)[0]) == 70_000


def test_control_characters_do_not_reach_the_terminal():
    assert Lines().feed(b"\x1b[2J\x07 \xff \ttab\n") == ["\\x1b[2J\\x07 \ufffd \ttab"]


def test_a_line_says_where_it_is_from():
    stream = io.StringIO()
    Log(stream, ["smtp", "webhook"], "console").write("smtp", "hello")
    assert stream.getvalue() == "smtp    | hello\n"


def test_a_terminal_gets_a_colour_a_child():
    stream = Terminal()
    log = Log(stream, ["smtp", "webhook"], "console")
    log.write("smtp", "hello")
    log.write("webhook", "hello")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("\x1b[32m")
    assert second.startswith("\x1b[33m")


def test_json_of_a_child_stays_as_it_is_and_everything_else_becomes_json():
    stream = io.StringIO()
    log = Log(stream, ["smtp", "redis"], "json")
    log.write("smtp", '{"event": "smtp.accepted"}')
    log.write("redis", "ready")
    log.say("draining")
    log.banner("two\nlines")
    smtp, redis, own, banner = (json.loads(line) for line in stream.getvalue().splitlines())
    assert smtp == {"event": "smtp.accepted"}
    assert redis == {"child": "redis", "event": "ready"}
    assert own == {"child": "up", "event": "draining"}
    assert banner == {"child": "up", "event": "two\nlines"}


def test_a_reader_that_is_gone_does_not_stop_the_drain():
    log = Log(Gone(), ["smtp"], "console")
    log.write("smtp", "hello")
    log.write("smtp", "hello again")
