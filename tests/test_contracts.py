"""Names that live in two places, and what must hold for the project as a whole."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings

ROOT = Path(__file__).parents[1]


def test_the_state_diagram_is_the_one_that_the_table_draws() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "state_diagram.py"))["document"]()
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = text.partition("<!-- state diagram: begin -->\n")[2].partition("\n<!-- state diagram: end -->")[0]
    assert shown == drawn, "run docs/state_diagram.py and put what it prints into docs/architecture.md"


def test_every_setting_stands_in_the_readme_and_every_one_there_exists() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Settings")[2].partition("\n## ")[0]
    named = set(re.findall(r"`SESGATE_([A-Z_]+[A-Z])`", table))
    for first, rest in re.findall(r"`SESGATE_([A-Z_]+)`, `\.\.\.(_[A-Z_]+)`", table):
        prefix = first.partition("_")[0]
        named.add(prefix + rest)
    assert named == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("module", ["gateway.cli.main", "gateway.settings", "tasks.app", "webhook.app"])
def test_a_module_reads_no_environment_and_opens_nothing_when_it_is_imported(module: str) -> None:
    program = f"import {module}"
    subprocess.run([sys.executable, "-c", program], env={"SESGATE_NONSENSE": "1"}, check=True, timeout=60, cwd=ROOT)


def test_the_lock_names_no_index() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")
