"""Draws the state diagram of a recipient from the lifecycle's table, as Mermaid text.

    python docs/state_diagram.py

prints what stands between the markers in docs/architecture.md; a test compares the two.
"""

from __future__ import annotations

from itertools import product

from gateway.lifecycle import AFTER_SES, BEFORE_SES, ENDED_BEFORE_SES, TRANSITIONS, Happening, Status

OURS = (*BEFORE_SES, *ENDED_BEFORE_SES)


def arrows() -> dict[tuple[Status, Status], list[Happening]]:
    """Every change the table knows: from, to, and what makes it."""
    found: dict[tuple[Status, Status], list[Happening]] = {}
    for (current, happening), become in TRANSITIONS.items():
        if become is not current:
            found.setdefault((current, become), []).append(happening)
    return found


def steps() -> list[tuple[Status, Status, list[Happening]]]:
    """The arrows among the statuses before SES has the mail."""
    return [(a, b, why) for (a, b), why in arrows().items() if a in OURS and b in OURS]


def entries() -> dict[Status, Happening]:
    """The events that lead to a status behind SES; they must be the same for every status before it."""
    known = arrows()
    doors = {b: why[0] for (a, b), why in known.items() if a is Status.QUEUED and b in AFTER_SES}
    for status, (target, happening) in product(OURS, doors.items()):
        if known.get((status, target)) != [happening]:
            raise ValueError(f"{status} has no arrow of its own for {happening}; the diagram must be drawn otherwise")
    return doors


def climbs() -> list[tuple[Status, Status, list[Happening]]]:
    """The arrows behind SES, without those that only skip statuses in between."""
    known = {pair: why for pair, why in arrows().items() if pair[0] in AFTER_SES}
    return [
        (a, b, why)
        for (a, b), why in known.items()
        if not any((a, middle) in known and (middle, b) in known for middle in AFTER_SES)
    ]


def mermaid() -> str:
    lines = ["stateDiagram-v2", "    direction LR", "    [*] --> QUEUED : accepted with 250"]
    lines += [f"    {a} --> {b} : {', '.join(why)}" for a, b, why in steps()]
    lines += ['    state "SES has it" as SES {', "        direction LR"]
    lines += [f"        {a} --> {b} : {', '.join(why)}" for a, b, why in climbs()]
    lines += ["    }", "    SENDING --> SES : SES accepts it, or an event says so"]
    lines += ["    AMBIGUOUS --> SES : an event carries the attempt id"]
    return "\n".join(lines)


def rank_table() -> str:
    """What every event makes of every status, as a Markdown table."""
    doors = entries()
    lines = ["| event | becomes | from every status of ours, and from |", "|---|---|---|"]
    for status, happening in doors.items():
        lower = [s for s in AFTER_SES if TRANSITIONS[s, happening] is status and s is not status]
        lines.append(f"| {happening} | {status} | {', '.join(lower) or '—'} |")
    return "\n".join(lines)


def document() -> str:
    return f"```mermaid\n{mermaid()}\n```\n\n{rank_table()}"


if __name__ == "__main__":
    print(document())  # noqa: T201  it is a program
