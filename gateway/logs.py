"""Logging: a constant event name, the data in fields, and never the content of a mail.

A line costs a tenth of the accepting of a mail if every layer is passed, so it passes only those that somebody needs:
where no handler but ours listens there is no record of the standard library, and a line without an exception, for no
terminal, is put together here and not by structlog. Both look the same.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_LONG_FIELDS = frozenset({"event", "exception", "stack"})
_ADDRESS_FIELDS = ("address", "reverse_path", "forward_path", "recipient")
# A word, and the domain that makes it an address: wherever SES, a database or a library quotes one, also in a URL.
# Words without one are matched too, so that a long text is looked through in one pass.
_WORD = re.compile(
    r"""(?:(?:[^\s<>()\[\]",;:@%]|%(?!40))++|"(?:[^"\\]|\\.){1,64}+"(?=@|%40))"""
    r"(?:(?:@|%40)(?P<domain>\[[^\]\s]{1,64}\]|\w(?:[\w.-]*\w)?))?"
)


_BEGIN = frozenset(("timestamp", "level", "event", "logger"))
_BY_STRUCTLOG = frozenset(("logger_name", "stack", "exception", "exc_info"))
_IN_QUOTES = re.compile(r"""[ \t=\r\n"']""")
_EVENT_WIDTH = 24
_LEVEL_WIDTH = 9


def configure_logs(log_format: Literal["console", "json"], addresses: Literal["full", "domain", "none"]) -> None:
    """Send every record, ours and the libraries', to standard error in one format."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=_logger_factory,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    rendering: list[Processor] = [
        structlog.processors.format_exc_info,
        _AddressFilter(addresses),
        _escape_controls,
        _renderer(log_format),
    ]
    handler = _Output(sys.stderr, rendering)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # aiosmtpd writes addresses at INFO and every content line at DEBUG; botocore writes requests at DEBUG.
    for name in ("mail.log", "botocore", "boto3", "urllib3", "werkzeug"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _renderer(log_format: str) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer()
    plain, colors = structlog.dev.plain_traceback, sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=_EVENT_WIDTH, exception_formatter=plain)
    return renderer if colors else _PlainRenderer(renderer)


class _PlainRenderer:
    """Lines as structlog's renderer for consoles writes them, without its work on columns and colours."""

    def __init__(self, renderer: Processor) -> None:
        self._renderer = renderer

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> Any:
        if not event.keys() >= _BEGIN or not _BY_STRUCTLOG.isdisjoint(event):
            return self._renderer(logger, method, event)
        begin = f"{event['timestamp']} [{event['level']:<{_LEVEL_WIDTH}}] {event['event']!s:<{_EVENT_WIDTH}}"
        fields = [f"{name}={_shown(event[name])}" for name in sorted(event.keys() - _BEGIN)]
        return " ".join((begin, f"[{event['logger']}]", *fields)).rstrip(" ")


def _shown(value: object) -> str:
    return value if isinstance(value, str) and not _IN_QUOTES.search(value) else repr(value)


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A text may quote what a stranger sent; no control character of it reaches the terminal.

    Only what a library says may have several lines, such as its banner: a line break in a field of ours would let a
    stranger write a line of the log.
    """
    for field, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[field] = _printable(value, keep="\n\t" if field in _LONG_FIELDS else "")
    return event


def _printable(text: str, keep: str) -> str:
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


class _AddressFilter:
    """Shortens addresses to their domain, or leaves them out, as `SESGATE_LOG_ADDRESSES` says.

    In the fields that are one, and by their look in every other text: what SES, a far server, a database or a library
    wrote may quote one wherever it stands.
    """

    def __init__(self, addresses: Literal["full", "domain", "none"]) -> None:
        self._addresses = addresses

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if self._addresses == "full":
            return event
        for field in _ADDRESS_FIELDS:
            if isinstance(event.get(field), str):
                event[field] = self._shown(event[field].rpartition("@")[2])
        for field, value in event.items():
            event[field] = self._without(value)
        return event

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return _WORD.sub(self._masked, value) if "@" in value or "%40" in value else value
        if isinstance(value, dict):
            return {self._without(name): self._without(item) for name, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._without(item) for item in value]
        return value

    def _masked(self, word: re.Match[str]) -> str:
        return word[0] if word["domain"] is None else self._shown(word["domain"])

    def _shown(self, domain: str) -> str:
        return f"***@{domain}" if self._addresses == "domain" else "***"


class _Output(logging.StreamHandler[TextIO]):
    """Where all lines go. `rendering` makes a line of one of our events."""

    def __init__(self, stream: TextIO, rendering: Sequence[Processor]) -> None:
        super().__init__(stream)
        self._rendering = rendering
        self._held_back = threading.local()

    def take(self, method: str, event: EventDict) -> None:
        """Write an event that no other handler is to see."""
        line: Any = event
        try:
            for process in self._rendering:
                line = process(None, method, line)
        except Exception:  # noqa: BLE001  as any handler does: a line that cannot be written ends nothing
            self._failed(event)
            return
        held_back: list[str] | None = getattr(self._held_back, "lines", None)
        if held_back is None:
            self._write(f"{line}\n")
        else:
            held_back.append(f"{line}\n")

    def hold_back(self) -> None:
        self._held_back.lines = []

    def write_held_back(self) -> None:
        lines, self._held_back.lines = self._held_back.lines, None
        if lines:
            self._write("".join(lines))

    def _write(self, text: str) -> None:
        self.acquire()
        try:
            self.stream.write(text)
            self.stream.flush()
        except Exception:  # noqa: BLE001  the same
            self._failed(text)
        finally:
            self.release()

    def _failed(self, message: object) -> None:
        self.handleError(logging.LogRecord("gateway", logging.ERROR, __file__, 0, message, (), None))


class Together:
    """What this thread logs within is written by one call at its end: for a burst that is answered after it."""

    def __enter__(self) -> None:
        self._output = _only_output()
        if self._output is not None:
            self._output.hold_back()

    def __exit__(self, *_: object) -> None:
        if self._output is not None:
            self._output.write_held_back()


def _only_output() -> _Output | None:
    """Ours, if no other handler gets every record."""
    handlers = logging.root.handlers
    return handlers[0] if len(handlers) == 1 and isinstance(handlers[0], _Output) else None


class _Logger:
    """A logger of the standard library, which is left out where only our own output listens to it."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.name = logger.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)

    def info(self, event: EventDict, *, extra: Mapping[str, Any]) -> None:
        self._log(logging.INFO, "info", event, extra)

    def warning(self, event: EventDict, *, extra: Mapping[str, Any]) -> None:
        self._log(logging.WARNING, "warning", event, extra)

    def error(self, event: EventDict, *, extra: Mapping[str, Any]) -> None:
        self._log(logging.ERROR, "error", event, extra)

    def _log(self, level: int, method: str, event: EventDict, extra: Mapping[str, Any]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        output = self._output()
        if output is None:
            self._logger.log(level, event, extra=extra)
        else:
            output.take(method, event)

    def _output(self) -> _Output | None:
        """Ours, if nothing else has a hand in what is logged here."""
        logger: logging.Logger | None = self._logger
        while logger is not None and logger is not logging.root:
            if logger.handlers or logger.filters or not logger.propagate:
                return None
            logger = logger.parent
        return _only_output()


_loggers = structlog.stdlib.LoggerFactory()


def _logger_factory(*names: str) -> WrappedLogger:
    return _Logger(_loggers(*names))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
