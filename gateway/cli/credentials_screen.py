"""How credentials look: as a table, one by one, and as JSON. Secrets and their digests are in none of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.cli.output import show_pairs, show_table, spoken_time
from gateway.cli.settings import spell_size
from gateway.credentials import Credential, Secret
from gateway.store.credentials import Standing

_NOTHING = "-"


def show_all(standings: Sequence[Standing], now: datetime) -> None:
    show_table(
        ("NAME", "APPLICATION", "STATE", "SECRETS", "NETWORKS", "CAPS", "LAST USED"),
        [
            (
                standing.credential.name,
                standing.credential.application,
                _state(standing),
                _secrets(standing.credential, now),
                _list(standing.credential.networks),
                _caps(standing),
                _moment(standing.last_used_at),
            )
            for standing in standings
        ],
    )


def show(standing: Standing, now: datetime) -> None:
    credential = standing.credential
    size = credential.max_message_bytes
    show_pairs(
        (
            ("name", credential.name),
            ("application", credential.application),
            ("state", _state(standing)),
            ("created", spoken_time(standing.created_at)),
            ("last used", _moment(standing.last_used_at)),
            *(_secret_line(secret, now) for secret in credential.secrets),
            ("networks", _list(credential.networks)),
            ("senders", _list(credential.senders) if credential.senders else "any"),
            ("largest message", "as everybody" if size is None else spell_size(size)),
            ("caps", _caps(standing)),
            ("configuration set", credential.configuration_set or "as everybody"),
            ("tags", _list([f"{name}={value}" for name, value in credential.tags])),
            ("suppressed", credential.suppressed_recipients or "as everybody"),
        )
    )


def as_json(standing: Standing, now: datetime) -> dict[str, Any]:
    credential = standing.credential
    return {
        "name": credential.name,
        "application": credential.application,
        "enabled": credential.enabled,
        "disabled_at": standing.disabled_at,
        "held_at": standing.held_at,
        "held_reason": standing.held_reason or None,
        "created_at": standing.created_at,
        "last_used_at": standing.last_used_at,
        "secrets": [
            {
                "created_at": secret.created_at,
                "expires_at": secret.expires_at,
                "last_used_at": secret.last_used_at,
                "live": secret.is_live(now),
            }
            for secret in credential.secrets
        ],
        "networks": list(map(str, credential.networks)),
        "senders": list(credential.senders),
        "max_message_bytes": credential.max_message_bytes,
        "per_minute": credential.per_minute,
        "per_day": credential.per_day,
        "used": standing.used,
        "configuration_set": credential.configuration_set,
        "tags": dict(credential.tags),
        "suppressed_recipients": credential.suppressed_recipients,
    }


def _state(standing: Standing) -> str:
    state = "enabled" if standing.disabled_at is None else f"disabled since {spoken_time(standing.disabled_at)}"
    return state if standing.held_at is None else f"{state}, held ({standing.held_reason})"


def _secrets(credential: Credential, now: datetime) -> str:
    live = credential.live_secrets(now)
    ending = [secret.expires_at for secret in live if secret.expires_at is not None]
    return f"{len(live)}, one until {spoken_time(ending[0])}" if ending else str(len(live))


def _secret_line(secret: Secret, now: datetime) -> tuple[str, str]:
    end = ""
    if secret.expires_at is not None:
        end = f", {'good until' if secret.is_live(now) else 'ended'} {spoken_time(secret.expires_at)}"
    return "secret", f"made {spoken_time(secret.created_at)}, last used {_moment(secret.last_used_at)}{end}"


def _caps(standing: Standing) -> str:
    credential = standing.credential
    caps = [("minute", credential.per_minute), ("day", credential.per_day)]
    return _list([f"{cap} a {period} ({standing.used[period]} used)" for period, cap in caps if cap is not None])


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values)) or _NOTHING


def _moment(moment: datetime | None) -> str:
    return "never" if moment is None else spoken_time(moment)
