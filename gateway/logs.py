"""Logging: a constant event name, the data in fields, and never the content of a mail."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, Literal

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


def configure_logs(log_format: Literal["console", "json"], addresses: Literal["full", "domain", "none"]) -> None:
    """Send every record, ours and the libraries', to standard error in one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _AddressFilter(addresses),
                _escape_controls,
                _renderer(log_format),
            ],
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
    plain = structlog.dev.plain_traceback
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24, exception_formatter=plain)


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


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
