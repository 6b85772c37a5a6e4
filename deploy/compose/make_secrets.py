"""Makes the passwords of docker-compose.yml, each in a file of its own.

    python3 deploy/compose/make_secrets.py [DIRECTORY]

Two of the files hold the same password in different words, for the server and for those who log in; that is why they
are made together. Nothing is ever overwritten: PostgreSQL keeps the password that its volume was made with.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

DIRECTORY = Path(__file__).with_name("secrets")
_PASSWORD_OCTETS = 32


def make_secrets() -> dict[str, str]:
    """What each file holds. The passwords need no escaping in a URL."""
    postgres, redis, flower = (secrets.token_urlsafe(_PASSWORD_OCTETS) for _ in range(3))
    return {
        "postgres_password": postgres,
        "database_url": f"postgresql://sesgate:{postgres}@postgres:5432/sesgate",
        "redis_auth": f"requirepass {redis}",
        "broker_url": f"redis://:{redis}@redis:6379/0",
        "flower_basic_auth": f"sesgate:{flower}",
    }


def write_secrets(directory: Path, contents: Mapping[str, str]) -> None:
    """Write one file each; FileExistsError, and nothing is written, when one of them is there already.

    The engine shows a file to the user of the container with the mode that it has here, and that user is none of this
    machine's: so the files may be read by everybody, and the directory around them by its owner alone.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in contents:
        if (directory / name).exists():
            raise FileExistsError(str(directory / name))
    for name, text in contents.items():
        with (directory / name).open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o444)
            file.write(f"{text}\n")


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0]) if arguments else DIRECTORY
    contents = make_secrets()
    try:
        write_secrets(directory, contents)
    except FileExistsError as error:
        sys.stderr.write(
            f"{error} is there already, so nothing was changed."
            " Remove all secrets to make new ones; PostgreSQL must then be told its new password too.\n"
        )
        return 1
    except OSError as error:
        sys.stderr.write(f"The secrets could not be written to {directory} ({error.strerror}).\n")
        return 1
    sys.stdout.write(f"Wrote {', '.join(contents)} into {directory}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
