"""Tells the log when SES has fallen silent, again each hour while it lasts, and when reports come again."""

from __future__ import annotations

from gateway.logs import get_logger
from gateway.silence import FIX_NEVER, FIX_SILENT
from gateway.store.silence import Hearing, Quiet

log = get_logger(__name__)

_AGAIN_AFTER = 3600.0
_ALL = "all"
_INSTALLATION = "that of the installation"


class SilenceAlarm:
    """Remembers of which configuration sets it has told, and when."""

    def __init__(self) -> None:
        self._told: dict[str | None, float] = {}

    def tell(self, hearing: Hearing, now: float) -> None:
        """`now` is in seconds on a clock that never jumps."""
        quiet = {one.configuration_set: one for one in hearing.quiet}
        for name, one in quiet.items():
            if name not in self._told or now - self._told[name] >= _AGAIN_AFTER:
                _warn(one)
                self._told[name] = now
        for name in [name for name in self._told if name not in quiet]:
            del self._told[name]
            # Where all of it is silent, nothing is known of a single set; and the other way round it is told above.
            if not quiet:
                log.info("housekeeping.feedback_back", configuration_set=_spoken(name))


def _warn(quiet: Quiet) -> None:
    log.warning(
        "housekeeping.feedback_silent",
        configuration_set=_spoken(quiet.configuration_set),
        since=f"{quiet.since:%Y-%m-%dT%H:%M:%SZ}",
        reason="SES took mail and has reported nothing on it"
        if quiet.has_ever
        else "SES took mail, and no report has ever come",
        fix=FIX_SILENT if quiet.has_ever else FIX_NEVER,
    )


def _spoken(configuration_set: str | None) -> str:
    return _ALL if configuration_set is None else configuration_set or _INSTALLATION
