"""The files as they are pass; each way to break them is told in a sentence."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from deploy.compose_check.__main__ import check_against_the_code, main
from deploy.compose_check.composefile import interpolate
from deploy.compose_check.outcome import NotReadableError
from deploy.compose_check.tools import check_schema, check_with_compose, check_with_hadolint

ROOT = Path(__file__).parents[2]
COPIED = ("docker-compose.yml", "Dockerfile", ".dockerignore")


@pytest.fixture
def tree(tmp_path):
    """The three files, to be broken, beside links to everything else."""
    for entry in ROOT.iterdir():
        if entry.name in COPIED:
            shutil.copy(entry, tmp_path)
        else:
            (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def replace(tree, name, old, new):
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))


def findings(tree):
    return "\n".join(finding for outcome in check_against_the_code(tree) for finding in outcome.findings)


def test_the_files_as_they_are_pass(capsys):
    assert main([str(ROOT)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    assert {line.split()[0] for line in lines} <= {"ok", "skipped"}
    assert lines[0].startswith("ok")


def test_a_finding_is_printed_under_its_check_and_fails(tree, capsys):
    replace(tree, "Dockerfile", "USER 10001:10001", "USER root")
    assert main([str(tree)]) == 1
    assert "\n         Dockerfile: the image runs as root; set USER.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('["sesgate", "smtp"]', '["sesgate", "stmp"]', "No such command 'stmp'"),
        ('["sesgate", "admin"]', '["sesgate", "admin", "--port=1"]', "No such option"),
        ('["sesgate", "webhook"]', '["sesgate"]', "it lacks a command"),
        ('["sesgate", "feedback-queue"]', '["sesgate", "feedback-queue", "redriv"]', "No such command 'redriv'"),
        ('"/opt/sesgate/probe.py", "feedback-queue"]', '"/opt/sesgate/probe.py", "queue"]', "is no probe that"),
        ('["sesgate", "webhook"]', '["gunicorn", "webhook.wsgi:app"]', "only sesgate and celery"),
        ("--pool=threads", "--pool=threds", "'threds' is not one of"),
        ("--loglevel=INFO", "--log-level=INFO", "No such option"),
        ("--app=tasks\n", "--app=task\n", "there is no module task.celery"),
        ('"--app=tasks", "flower"', '"--app=tasks", "flowr"', "No such command 'flowr'"),
        ("SESGATE_LOG_FORMAT: json", "SESGATE_LOGFORMAT: json", "SESGATE_LOGFORMAT, which is no setting"),
        ("${SESGATE_FEEDBACK:-", "${SESGATE_FEDBACK:-", "interpolates SESGATE_FEDBACK, which is no setting"),
        ("FLOWER_BASIC_AUTH_FILE:", "FLOWER_BASIC_AUTHS:", "FLOWER_BASIC_AUTHS, which is no setting"),
        ("SESGATE_LOG_FORMAT: json", "SESGATE_LOG_FORMAT: yaml", "would not start: SESGATE_LOG_FORMAT"),
        ("0.0.0.0:2525 lan", "0.0.0.0:2525 wan", "gateway would not start"),
        ("FLOWER_BASIC_AUTH_FILE: /run/secrets/flower_basic_auth\n", "\n", "flower would not start"),
        ("SESGATE_DRAIN_TIMEOUT: 30s", "SESGATE_DRAIN_TIMEOUT: 40s", "gateway is killed 35s after it is asked"),
        ("secrets: [redis_auth]", "secrets: [redis_pass]", "redis_pass, which is not declared"),
        ("secrets: [redis_auth]", "secrets: []", "redis reads the secret redis_auth, which it is not given"),
        ("secrets: [postgres_password]", "secrets: [postgres_password, broker_url]", "which it does not read"),
        ("secrets/redis_auth }", "secrets/redis }", "to deploy/compose/secrets/redis_auth, not to"),
        ("      postgres: { condition", "      postgress: { condition", "depends on postgress, which is no service"),
        ('    restart: "no"\n', "", "waits for migrate to end, which is started again"),
        ("networks: [inside]", "networks: [insides]", "insides, which is not declared"),
        ('["redis:/data"]', '["redis-data:/data"]', "redis-data, which is not declared"),
        ('"127.0.0.1:2525:2525"', '"2525:2525"', "gateway publishes 2525:2525 to the network"),
        ('"127.0.0.1:5555:5555"', '"0.0.0.0:5555:5555"', "flower publishes 0.0.0.0:5555:5555 to the network"),
        ("read_only: true", "read_only: false", "the root of postgres can be written to"),
        ("cap_drop: [ALL]", "cap_drop: [NET_RAW]", "redis keeps capabilities"),
        ("no-new-privileges:true", "no-new-privileges:false", "may gain privileges"),
        ("    user: redis\n", "", "redis runs as root"),
        ('"smtp", "2525"]\n      interval', '"smtp"]\n      interval', "is no probe that probe.py knows"),
        ('"/opt/sesgate/probe.py", "worker"', '"/opt/probe.py", "worker"', "does not call the probe.py"),
        ("$$(sed", "$(sed", "has a dollar sign that begins no variable"),
        ("  redis:\n    <<", "  redis:\n  <<", "docker-compose.yml"),
    ],
)
def test_a_broken_compose_file_is_caught(tree, old, new, sentence):
    replace(tree, "docker-compose.yml", old, new)
    assert sentence in findings(tree)


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("Dockerfile", "WORKDIR /source", "WORKDRI /source", "WORKDRI is no instruction"),
        ("Dockerfile", "COPY tasks tasks", "COPY task tasks", "COPY takes task, which does not exist"),
        ("Dockerfile", "COPY tasks tasks", "COPY tests tests", "COPY takes tests, which .dockerignore keeps out"),
        ("Dockerfile", "--from=wheel", "--from=wheels", "takes from the stage wheels, which is not before it"),
        ("Dockerfile", "USER 10001:10001", "", "the image runs as root"),
        ("Dockerfile", "USER 10001:10001", "USER 0:10001", "the image runs as root"),
        ("Dockerfile", 'CMD ["sesgate", "smtp"]', "", "the last stage has no CMD"),
        ("Dockerfile", 'CMD ["sesgate", "smtp"]', 'CMD ["sesgate", "smpt"]', "No such command 'smpt'"),
        (
            "Dockerfile",
            "SESGATE_LOG_FORMAT=json",
            "SESGATE_DATA=1",
            "the image is given SESGATE_DATA, which is no setting",
        ),
        ("Dockerfile", '"smtp", "2525"]', '"smpt", "2525"]', "is no probe that probe.py knows"),
        ("Dockerfile", "FROM ", "FORM ", "has no FROM"),
        (".dockerignore", "*\n!pyproject", "!pyproject", ".dockerignore does not begin with *"),
        (".dockerignore", "!webhook", "", "COPY takes webhook, which .dockerignore keeps out; add !webhook there."),
    ],
)
def test_a_broken_image_is_caught(tree, name, old, new, sentence):
    replace(tree, name, old, new)
    assert sentence in findings(tree)


@pytest.mark.parametrize("name", COPIED)
def test_a_missing_file_is_one_sentence(tree, name):
    (tree / name).unlink()
    assert f"{name} cannot be read" in findings(tree)


@pytest.mark.parametrize("wrong", ["stop_grace: 60s", "stop_grace_period: [60s]"])
def test_schema_is_that_of_the_specification(tree, wrong):
    replace(tree, "docker-compose.yml", "stop_grace_period: 60s", wrong)
    assert any("stop_grace" in finding for finding in check_schema(tree).findings)


def test_what_is_not_installed_is_skipped_and_not_passed(tree, monkeypatch):
    monkeypatch.setenv("PATH", str(tree))
    assert check_with_compose(tree).skipped == "docker compose is not installed"
    assert check_with_hadolint(tree).skipped == "hadolint is not installed"


def test_judgement_of_an_installed_tool_counts(tree, tmp_path_factory, monkeypatch):
    tools = tmp_path_factory.mktemp("tools")
    for name in ("docker-compose", "hadolint"):
        (tools / name).write_text(f"#!{sys.executable}\nimport sys\nprint('line 1 is odd')\nsys.exit(1)\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert check_with_compose(tree).findings == ("line 1 is odd",)
    assert check_with_hadolint(tree).findings == ("line 1 is odd",)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a $$b", "a $b"),
        ("$SET ${SET}", "x x"),
        ("${SET:-d} ${SET-d} ${SET:?m} ${SET?m}", "x x x x"),
        ("${EMPTY:-d}|${EMPTY-d}|${EMPTY?m}", "d||"),
        ("${MISSING:-d} ${MISSING-d} [${MISSING}]", "d d []"),
    ],
)
def test_variables_are_replaced_as_the_specification_says(text, value):
    assert interpolate(text, {"SET": "x", "EMPTY": ""}) == value


@pytest.mark.parametrize("text", ["${MISSING?m}", "${EMPTY:?m}", "costs $ 5", "${not closed"])
def test_what_has_no_value_is_refused(text):
    with pytest.raises(NotReadableError):
        interpolate(text, {"EMPTY": ""})
