"""The units as systemd reads them, and the environment file as our programs read it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.setting_values import parse_duration
from gateway.settings import PREFIX, Settings, read_settings, sources
from tasks.services import read_timeout

FILES = Path(__file__).parents[2] / "deploy" / "systemd"
COMMON = FILES / "sesgate-.service.d" / "common.conf"
SERVICES = sorted(FILES.glob("*.service"))
INSTALLED = "/opt/sesgate/.venv/bin"
ASSIGNMENT = re.compile(r"^#?([A-Z_]+)=(.*)$", re.MULTILINE)
# 10 is the whole scale of `systemd-analyze security`; a service without any hardening has 9.6.
MOST_EXPOSED = "20"


def directives(file: Path) -> dict[str, str]:
    """What stands in a unit file, the last of each name."""
    lines = [line for line in file.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The files as they would be installed, with this environment's programs."""
    directory = tmp_path / "units"
    shutil.copytree(FILES, directory)
    for file in directory.glob("*.service"):
        file.write_text(file.read_text().replace(INSTALLED, str(Path(sys.executable).parent)))
    return directory


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("systemd-analyze"), *arguments],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:", "SYSTEMD_LOG_LEVEL": "notice"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_systemd_accepts_every_unit(units):
    names = [file.name.replace("@.", "@1.") for file in (*units.glob("*.service"), *units.glob("*.target"))]
    done = analyze(units, "verify", *(str(units / name) for name in names))
    # It also looks at units of this machine that ours name; those are not ours to mend.
    ours = [line for line in done.stderr.splitlines() if "sesgate" in line or str(units) in line]
    assert (ours, done.returncode) == ([], 0), done.stderr


@pytest.mark.parametrize("service", SERVICES, ids=lambda file: file.name)
def test_every_service_is_hardened(units, service):
    name = service.name.replace("@.", "@1.")
    done = analyze(units, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_target_starts_every_service_but_further_fronts():
    wanted = (FILES / "sesgate.target").read_text()
    for service in set(SERVICES) - {FILES / "sesgate-smtp@.service"}:
        assert service.name.replace("@.", "@1.") in wanted


@pytest.mark.parametrize("service", SERVICES, ids=lambda file: file.name)
def test_every_program_is_there_and_takes_what_it_is_given(service, tmp_path):
    program, *arguments = directives(service)["ExecStart"].removeprefix(f"{INSTALLED}/").replace("%%", "%").split()
    module = {"sesgate": "gateway.cli", "celery": "celery"}[program]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    ["sesgate-smtp", "sesgate-smtp@", "sesgate-webhook", "sesgate-feedback-queue", "sesgate-admin", "sesgate-worker@"],
)
def test_a_drain_is_not_cut_short(name):
    patience = parse_duration(directives(FILES / f"{name}.service")["TimeoutStopSec"])
    assert patience > Settings().drain_timeout
    if name == "sesgate-worker@":
        # A call to SES, and a minute in which its outcome is written to a busy database.
        assert patience.total_seconds() > read_timeout(Settings().claim_lease) + 60


def test_workers_have_names_of_their_own():
    assert "-n worker%i@%%h" in directives(FILES / "sesgate-worker@.service")["ExecStart"]


@pytest.mark.parametrize("service", SERVICES, ids=lambda file: file.name)
def test_what_ends_is_started_again_but_not_with_a_wrong_setting(service):
    merged = directives(COMMON) | directives(service)
    assert merged["Restart"] in {"always", "on-failure"}
    assert "2" in merged["RestartPreventExitStatus"].split()
    assert merged["StartLimitIntervalSec"] == "0"


def test_the_environment_file_holds_known_settings_only():
    text = (FILES / "sesgate.env").read_text()
    names = {name: "x" for name, _ in ASSIGNMENT.findall(text) if name.startswith(PREFIX)}
    assert len(names) > 10
    sources(names)


@pytest.mark.parametrize("commented", [False, True])
def test_the_values_of_the_environment_file_are_taken(commented):
    environ = {}
    for line in (FILES / "sesgate.env").read_text().splitlines():
        match = ASSIGNMENT.match(line)
        if match and (commented or not line.startswith("#")) and not match[1].endswith("_FILE"):
            environ[match[1]] = match[2].strip('"')
    settings = read_settings(environ)
    assert str(settings.data_dir) == "/var/lib/sesgate"


def test_user_and_directories_are_made(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can give directories to another user")
    sysusers, tmpfiles = tool("systemd-sysusers"), tool("systemd-tmpfiles")
    (tmp_path / "etc").mkdir()
    subprocess.run([sysusers, f"--root={tmp_path}", str(FILES / "sesgate.sysusers")], check=True, timeout=60)
    subprocess.run(
        [tmpfiles, "--create", f"--root={tmp_path}", str(FILES / "sesgate.tmpfiles")], check=True, timeout=60
    )
    assert "sesgate:" in (tmp_path / "etc" / "passwd").read_text()
    assert (tmp_path / "var/lib/sesgate").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "etc/sesgate").stat().st_mode & 0o777 == 0o750
