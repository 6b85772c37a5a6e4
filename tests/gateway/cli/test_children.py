from __future__ import annotations

from pathlib import Path

from gateway.cli.up.children import Stage, child_environ, plan
from gateway.cli.up.redis import OwnRedis
from gateway.settings import Settings, load_dotenv_into, read_settings

_REDIS = OwnRedis(Path("/usr/bin/redis-server"), Path("/data/redis.sock"))


def test_everything_runs_with_the_sandbox():
    children = plan(Settings(workers=3), {}, sandbox=True, redis=_REDIS)
    names = [child.name for child in children]
    assert names == ["redis", "sandbox", "smtp", "worker1", "worker2", "worker3", "webhook", "admin", "flower"]


def test_neither_a_sandbox_nor_a_redis_is_started_unasked():
    names = [child.name for child in plan(Settings(workers=1), {}, sandbox=False, redis=None)]
    assert names == ["smtp", "worker1", "webhook", "admin", "flower"]


def test_several_fronts_end_together_before_everything_else():
    children = {child.name: child for child in plan(Settings(fronts=2), {}, sandbox=False, redis=None)}
    fronts = [children["smtp1"], children["smtp2"]]
    assert "smtp" not in children
    assert [one.stage for one in fronts] == [Stage.FRONT, Stage.FRONT]
    assert fronts[0].argv == fronts[1].argv


def test_the_feedback_queue_is_read_exactly_when_one_is_set():
    settings = read_settings({"SESGATE_FEEDBACK_QUEUE_URL": "http://127.0.0.1:4566/000000000000/sesgate-feedback"})
    children = {child.name: child for child in plan(settings, {}, sandbox=True, redis=None)}
    assert children["feedback-queue"].stage == children["webhook"].stage == Stage.HTTP
    assert children["feedback-queue"].argv[1:] == ("-m", "webhook.queue")


def test_mail_stops_coming_in_before_the_workers_end_and_these_before_what_they_stand_on():
    stages = {child.name: child.stage for child in plan(Settings(workers=1), {}, sandbox=True, redis=_REDIS)}
    assert stages["smtp"] < stages["webhook"] == stages["admin"] == stages["flower"] < stages["worker1"]
    assert stages["worker1"] < stages["redis"] == stages["sandbox"] == Stage.GROUND


def test_children_know_the_broker_and_the_absolute_data_directory():
    environ = child_environ({"PATH": "/bin"}, Settings(data_dir=Path("var")), redis=_REDIS)
    assert environ["SESGATE_BROKER_URL"] == "redis+socket:///data/redis.sock"
    assert environ["SESGATE_DATA_DIR"] == str(Path.cwd() / "var")
    assert environ["PATH"] == "/bin"


def test_a_configured_broker_is_left_alone():
    environ = child_environ({"SESGATE_BROKER_URL": "redis://broker/0"}, Settings(), redis=None)
    assert environ["SESGATE_BROKER_URL"] == "redis://broker/0"


def test_the_sandbox_sets_and_unsets():
    given = {"AWS_PROFILE": "real", "AWS_ENDPOINT_URL": "x", "SESGATE_SES_CONFIGURATION_SET_FILE": "/secret"}
    overrides = {"AWS_PROFILE": None, "AWS_ENDPOINT_URL": "http://sandbox", "SESGATE_SES_CONFIGURATION_SET": "sesgate"}
    environ = child_environ(given, Settings(), redis=None, overrides=overrides)
    assert "AWS_PROFILE" not in environ
    assert environ["AWS_ENDPOINT_URL"] == "http://sandbox"
    assert "SESGATE_SES_CONFIGURATION_SET_FILE" not in environ


def test_redis_has_no_tcp_port_and_writes_nothing():
    argv = _REDIS.argv(Path("/data"))
    options = dict(zip(argv[1::2], argv[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--save"] == ""
    assert options["--appendonly"] == "no"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--unixsocket"] == "/data/redis.sock"


def test_what_the_sandbox_unsets_does_not_come_back_from_dotenv(tmp_path):
    (tmp_path / ".env").write_text("AWS_PROFILE=real\nSESGATE_WORKERS=1\n")
    environ = {}
    load_dotenv_into(environ, tmp_path)
    child = child_environ(environ, Settings(), redis=None, overrides={"AWS_PROFILE": None})
    load_dotenv_into(child, tmp_path)
    assert child["SESGATE_WORKERS"] == "1"
    assert "AWS_PROFILE" not in child
