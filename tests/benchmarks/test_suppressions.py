from __future__ import annotations

from click.testing import CliRunner

from benchmarks.suppressions import main


def test_a_small_measurement_prints_its_tables_and_leaves_nothing(tmp_path):
    done = CliRunner().invoke(main, ["--rows", "1000", "--import-rows", "1000", "--directory", str(tmp_path)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    for database in ("SQLite", *(() if "left out" in done.stderr else ("PostgreSQL",))):
        assert [line.split("|")[2].strip() for line in lines if line.startswith(f"| {database} |")] == [
            "new",
            "there already",
            "changed",
        ]
        begins = lines.index(f"Look-up at RCPT over 1,000 suppressions in {database}:")
        assert [line.split("|")[1].strip() for line in lines[begins + 4 : begins + 8]] == [
            "cold, hits",
            "cold, misses",
            "warm, hits",
            "warm, misses",
        ]
    assert "Measured on " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_measurement_that_would_fill_the_disk_is_not_begun(tmp_path):
    done = CliRunner().invoke(main, ["--rows", "1000000000000", "--directory", str(tmp_path)])
    assert done.exit_code == 1
    assert "name another place with --directory, or fewer rows" in done.stderr
    assert list(tmp_path.iterdir()) == []
