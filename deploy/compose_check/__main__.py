"""`python -m deploy.compose_check [ROOT]`: a line a check, a sentence a finding; ends with 1 when there is one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.compose_check.composefile import read_compose
from deploy.compose_check.dockerfile import check_dockerfile, read_dockerfile
from deploy.compose_check.outcome import NotReadableError, Outcome
from deploy.compose_check.programs import check_commands
from deploy.compose_check.services import check_exposure, check_references, check_secrets
from deploy.compose_check.tools import check_schema, check_with_compose, check_with_hadolint
from deploy.compose_check.variables import check_variables


def check(root: Path) -> Iterator[Outcome]:
    """Every check of the files in `root`."""
    yield check_schema(root)
    yield check_with_compose(root)
    yield check_with_hadolint(root)
    yield from check_against_the_code(root)


def check_against_the_code(root: Path) -> Iterator[Outcome]:
    """What nobody but us can know: whether the files name what there is."""
    try:
        compose, dockerfile = read_compose(root), read_dockerfile(root)
        yield _outcome("services, networks and volumes that are named exist", check_references(compose))
        yield _outcome("secrets are made, declared, and given to whom reads them", check_secrets(compose))
        yield _outcome(
            "ports are published on loopback, and containers have no rights to spare", check_exposure(compose)
        )
        yield _outcome("variables exist, and the programs take their values", check_variables(compose, dockerfile))
        yield _outcome("commands and health checks exist, with these options", check_commands(compose, dockerfile))
        yield _outcome(
            "the Dockerfile copies what is there and does not run as root", check_dockerfile(dockerfile, root)
        )
    except NotReadableError as error:
        yield Outcome("the files can be read", (str(error),))


def _outcome(name: str, findings: Iterable[str]) -> Outcome:
    return Outcome(name, tuple(findings))


def report(outcomes: Iterable[Outcome]) -> int:
    """Print them; the exit code."""
    failed = 0
    for outcome in outcomes:
        verdict = "failed" if outcome.findings else "skipped" if outcome.skipped else "ok"
        sys.stdout.write(f"{verdict:<8} {outcome.name}{f' ({outcome.skipped})' if outcome.skipped else ''}\n")
        sys.stdout.writelines(f"         {finding}\n" for finding in outcome.findings)
        failed += len(outcome.findings)
    return 1 if failed else 0


def main(arguments: list[str]) -> int:
    return report(check(Path(arguments[0] if arguments else ".").resolve()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
