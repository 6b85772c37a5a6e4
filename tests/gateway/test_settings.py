from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.setting_values import HostPort, Listener, parse_duration, parse_host_port, parse_listeners, parse_size
from gateway.settings import Settings, SettingsError, load_dotenv_into, read_settings

# The tables of DESIGN section 4.
DEFAULTS = {
    "listeners": (Listener(HostPort("127.0.0.1", 2525), "lan"),),
    "webhook_listen": HostPort("127.0.0.1", 8024),
    "admin_listen": HostPort("127.0.0.1", 8025),
    "flower_listen": HostPort("127.0.0.1", 5555),
    "sandbox_listen": HostPort("127.0.0.1", 4566),
    "data_dir": Path("var"),
    "database_url": "",
    "broker_url": "",
    "trusted_networks": (ip_network("127.0.0.0/8"), ip_network("::1/128")),
    "suppressed_recipients": "reject",
    "max_message_bytes": 28 * 1024 * 1024,
    "sns_topic_arns": (),
    "ses_configuration_set": None,
    "feedback": "configuration-set",
    "rewrite_from": None,
    "capture_only": False,
    "allowed_recipients": (),
    "soft_bounces": 5,
    "soft_bounce_window": timedelta(days=7),
    "suppress_soft_bounce": timedelta(days=14),
    "suppress_global_list": timedelta(days=14),
    "suppress_bounce": None,
    "suppress_complaint": None,
    "max_age": timedelta(days=4),
    "rate_factor": 0.95,
    "dispatcher_lease": timedelta(seconds=5),
    "dispatch_timeout": timedelta(seconds=5),
    "gate_timeout": timedelta(seconds=5),
    "retain_content": timedelta(hours=72),
    "retain_failed_content": timedelta(days=7),
    "retain_notifications": timedelta(days=14),
    "retain_notification_ids": timedelta(days=30),
    "retain_events": timedelta(days=90),
}
DURATIONS = [name for name in Settings.model_fields if isinstance(getattr(Settings(), name), timedelta)]


def one_sentence(environ) -> str:
    with pytest.raises(SettingsError) as refused:
        read_settings(environ)
    text = str(refused.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_defaults(name, value):
    assert getattr(read_settings({}), name) == value


def test_an_empty_variable_means_the_default():
    guards = {"capture_only", "allowed_recipients"}
    assert read_settings({f"SESGATE_{name.upper()}": "" for name in set(Settings.model_fields) - guards}) == Settings()


@pytest.mark.parametrize("name", ["CAPTURE_ONLY", "ALLOWED_RECIPIENTS"])
@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_guard_that_came_out_empty_is_not_switched_off(tmp_path, name, content):
    variable = {f"SESGATE_{name}": ""}
    if content is not None:
        (tmp_path / "value").write_text(content)
        variable = {f"SESGATE_{name}_FILE": str(tmp_path / "value")}
    assert "is set and empty" in one_sentence(variable)


def test_the_claims_of_workers_outlive_a_call_to_ses():
    assert Settings().claim_lease > timedelta(seconds=60)


@pytest.mark.parametrize("name", ["SESGATE_COLOUR", "SESGATE_", "SESGATE_TLS_CERTS", "SESGATE_COLOUR_FILE"])
@pytest.mark.parametrize("value", ["x", ""])
def test_an_unknown_name_is_refused(name, value):
    assert one_sentence({name: value}).startswith(f"{name} is not a setting")


def test_variables_of_others_are_left_alone():
    assert read_settings({"PATH": "/bin", "MYSESGATE_X": "1", "AWS_REGION": "x"}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("LISTENERS", "127.0.0.1", "host:port"),
        ("LISTENERS", ",", "at least one listener"),
        ("LISTENERS", "127.0.0.1:25 strict", "there are lan, modern and antique"),
        ("LISTENERS", "127.0.0.1:25 tls lan", "'lan' is no listener profile"),
        ("LISTENERS", "127.0.0.1:25 min-tls=1.0", "not possible on a lan listener; there are 1.2 and 1.3"),
        ("LISTENERS", "127.0.0.1:25 antique min-tls=1.1", "there are 1.0, 1.2 and 1.3"),
        ("PROXY_NETWORKS", "10.0.0.300", "10.0.0.300"),
        ("WEBHOOK_LISTEN", "127.0.0.1:70000", "host:port"),
        ("TRUSTED_NETWORKS", "10.0.0.0/33", "10.0.0.0/33"),
        ("TRUSTED_NETWORKS", "10.0.0.1/8", "host bits"),
        ("SUPPRESSED_RECIPIENTS", "ignore", "'reject' or 'drop'"),
        ("MAX_MESSAGE_BYTES", "28MB", "no size"),
        ("SNS_TOPIC_ARNS", "sesgate", "no ARN"),
        ("SES_CONFIGURATION_SET", "my set", "no name of a configuration set"),
        ("FEEDBACK", "none", "'configuration-set' or 'identity'"),
        ("REWRITE_FROM", "Shop <shop@example.com>", "write it bare"),
        ("REWRITE_FROM", "example.com", "no address"),
        ("REWRITE_FROM", "grün@example.com", "in ASCII"),
        ("REWRITE_FROM", f"a@{'b' * 63}.{'c' * 63}.{'d' * 63}.{'e' * 63}", "no address"),
        ("CAPTURE_ONLY", "maybe", "valid boolean"),
        ("ALLOWED_RECIPIENTS", ",", "names nobody"),
        ("ALLOWED_RECIPIENTS", "*.example.com", "neither an address nor a domain"),
        ("ALLOWED_RECIPIENTS", "example.com, @example.net", "neither an address nor a domain"),
        ("ALLOWED_RECIPIENTS", "qa@example.com; qa@example.net", "neither an address nor a domain"),
        ("MAX_AGE", "4", "no duration"),
        ("MAX_AGE", "0s", "longer than nothing"),
        ("RATE_FACTOR", "0", "greater than 0"),
        ("RATE_FACTOR", "1.1", "less than or equal to 1"),
        ("RATE_FACTOR", "nan", "finite"),
        ("FRONTS", "0", "greater than or equal to 1"),
        ("WORKERS", "two", "valid integer"),
        ("WORKERS", "0", "greater than or equal to 1"),
        ("WORKER_THREADS", "100000", "less than or equal to"),
        ("LOG_FORMAT", "xml", "'console' or 'json'"),
        ("LOG_ADDRESSES", "some", "'full', 'domain' or 'none'"),
    ],
)
def test_a_malformed_value_is_one_sentence_with_its_name(name, value, says):
    text = one_sentence({f"SESGATE_{name}": value})
    assert text.startswith(f"SESGATE_{name}: ")
    assert says in text


def test_the_staging_guard_is_read():
    environ = {"SESGATE_CAPTURE_ONLY": "true", "SESGATE_ALLOWED_RECIPIENTS": "qa@example.com, example.net,.example.org"}
    settings = read_settings(environ)
    assert settings.capture_only is True
    assert settings.allowed_recipients == ("qa@example.com", "example.net", ".example.org")


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", ["9" * 30 + "d", "40000d", "1", "-1s", "1 s", "s", "1w"])
def test_every_duration_is_checked(name, value):
    assert one_sentence({f"SESGATE_{name.upper()}": value}).startswith(f"SESGATE_{name.upper()}: ")


# Secrets from files


def test_a_value_may_stand_in_a_file(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("redis://:s3cret@broker/0\n")
    assert read_settings({"SESGATE_BROKER_URL_FILE": str(secret)}).broker_url == "redis://:s3cret@broker/0"


def test_an_empty_file_variable_means_the_default():
    assert read_settings({"SESGATE_BROKER_URL_FILE": ""}) == Settings()


def test_a_file_beside_an_empty_variable_is_read(tmp_path):
    secret = tmp_path / "url"
    secret.write_text("redis://broker")
    environ = {"SESGATE_BROKER_URL": "", "SESGATE_BROKER_URL_FILE": str(secret)}
    assert read_settings(environ).broker_url == "redis://broker"


def test_a_value_and_a_file_for_it_contradict_each_other(tmp_path):
    text = one_sentence({"SESGATE_BROKER_URL": "redis://a", "SESGATE_BROKER_URL_FILE": str(tmp_path)})
    assert "SESGATE_BROKER_URL and SESGATE_BROKER_URL_FILE are both set" in text or "cannot be read" in text


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        text = one_sentence({"SESGATE_DATABASE_URL_FILE": str(path)})
        assert text.startswith(f"SESGATE_DATABASE_URL_FILE: {path} cannot be read")


def test_a_secret_does_not_show_when_settings_are_printed():
    assert "s3cret" not in repr(Settings(broker_url="redis://:s3cret@b", database_url="postgresql://u:s3cret@h/d"))


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().workers = 3


# .env


def test_dotenv_adds_and_never_overrides(tmp_path):
    (tmp_path / ".env").write_text("SESGATE_WORKERS=3\nAWS_PROFILE=mail\nSESGATE_MAX_AGE='2d' # comment\nEMPTY\n")
    environ = {"SESGATE_WORKERS": "5"}
    assert load_dotenv_into(environ, tmp_path) == {"AWS_PROFILE", "SESGATE_MAX_AGE"}
    assert environ == {"SESGATE_WORKERS": "5", "AWS_PROFILE": "mail", "SESGATE_MAX_AGE": "2d"}


def test_no_dotenv_is_no_fault(tmp_path):
    environ = {}
    load_dotenv_into(environ, tmp_path)
    assert environ == {}


def test_a_dotenv_that_is_no_text_is_one_sentence(tmp_path):
    (tmp_path / ".env").write_bytes(b"SESGATE_WORKERS=\xff\xfe\n")
    with pytest.raises(SettingsError, match=r"\.env cannot be read"):
        load_dotenv_into({}, tmp_path)


@pytest.mark.parametrize("before", [{}, {"AWS_DEFAULT_REGION": "us-east-1"}])
def test_the_region_of_other_aws_sdks_is_passed_on_to_boto3(tmp_path, before):
    environ = before | {"AWS_REGION": "eu-west-1"}
    load_dotenv_into(environ, tmp_path)
    assert environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_the_region_may_stand_in_dotenv_too(tmp_path):
    (tmp_path / ".env").write_text("AWS_REGION=eu-west-1\n")
    environ = {}
    load_dotenv_into(environ, tmp_path)
    assert environ["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_without_a_region_boto3s_own_variable_stays(tmp_path):
    environ = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": ""}
    load_dotenv_into(environ, tmp_path)
    assert environ["AWS_DEFAULT_REGION"] == "us-east-1"


# Tables of the small languages


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("10m", 600), ("72h", 259_200), ("4d", 345_600), (" 4d ", 345_600)],
)
def test_durations(text, seconds):
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "30", "30 s", "-1s", "s", "1D", "4d2h", "1e3s", ".5s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "octets"), [("0", 0), ("1000", 1000), ("10B", 10), ("1KiB", 1024), ("28 MiB", 29_360_128), ("1GiB", 2**30)]
)
def test_sizes(text, octets):
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "1MB", "1.5MiB", "-1", "MiB", "1 000"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:25", HostPort("127.0.0.1", 25), "127.0.0.1:25"),
        ("[::1]:65535", HostPort("::1", 65535), "[::1]:65535"),
        ("localhost:1", HostPort("localhost", 1), "localhost:1"),
    ],
)
def test_addresses_to_listen_on(text, address, shown):
    assert parse_host_port(text) == address
    assert str(address) == shown


@pytest.mark.parametrize("text", ["", ":25", "h", "h:", "h:0", "h:65536", "h:x", "h:-1", "h:²"])
def test_what_is_no_address_to_listen_on(text):
    with pytest.raises(ValueError, match="host:port"):
        parse_host_port(text)


@pytest.mark.parametrize(
    ("host", "loopback", "wildcard"),
    [
        ("127.0.0.1", True, False),
        ("127.9.9.9", True, False),
        ("::1", True, False),
        ("localhost", True, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("10.0.0.1", False, False),
        ("mail.example.com", False, False),
    ],
)
def test_which_addresses_stay_on_this_machine(host, loopback, wildcard):
    assert (HostPort(host, 1).is_loopback, HostPort(host, 1).is_wildcard) == (loopback, wildcard)


def test_listeners():
    assert parse_listeners("127.0.0.1:2525 lan, 0.0.0.0:587  modern,[::1]:25,") == (
        Listener(HostPort("127.0.0.1", 2525), "lan"),
        Listener(HostPort("0.0.0.0", 587), "modern"),
        Listener(HostPort("::1", 25), "lan"),
    )


def test_listeners_with_options():
    text = "0.0.0.0:465 modern tls min-tls=1.3, 10.0.0.1:2526 antique, 10.0.0.1:2527 tls, [::1]:25 antique min-tls=1.2"
    listeners = parse_listeners(text)
    assert [(one.profile, one.implicit_tls, one.min_tls) for one in listeners] == [
        ("modern", True, "1.3"),
        ("antique", False, "1.0"),
        ("lan", True, "1.2"),
        ("antique", False, "1.2"),
    ]
    assert parse_listeners(", ".join(map(str, listeners))) == listeners
    assert [one.requires_tls and one.requires_auth for one in listeners] == [True, False, False, False]


@pytest.mark.parametrize("missing", ["SESGATE_TLS_CERT_FILE", "SESGATE_TLS_KEY_FILE"])
def test_half_of_a_certificate_names_the_other_half(missing):
    both = {"SESGATE_TLS_CERT_FILE": "/etc/tls/cert.pem", "SESGATE_TLS_KEY_FILE": "/etc/tls/key.pem"}
    assert read_settings(both).tls_key_file == Path("/etc/tls/key.pem")
    del both[missing]
    assert one_sentence(both).startswith(f"{missing} is not set;")


@pytest.mark.parametrize(
    ("given", "expected"),
    [("10.0.0.0/8, fd00::/8", ("10.0.0.0/8", "fd00::/8")), ("192.0.2.7", ("192.0.2.7/32",)), (",", ())],
)
def test_trusted_networks(given, expected):
    assert tuple(map(str, read_settings({"SESGATE_TRUSTED_NETWORKS": given}).trusted_networks)) == expected


def test_topics():
    arns = "arn:aws:sns:eu-west-1:123456789012:a, arn:aws-us-gov:sns:us-gov-west-1:123456789012:b_c-d"
    assert len(read_settings({"SESGATE_SNS_TOPIC_ARNS": arns}).sns_topic_arns) == 2


def test_the_database_is_sqlite_in_the_data_directory_unless_another_is_named(tmp_path):
    assert Settings(data_dir=tmp_path).database == f"sqlite:///{tmp_path / 'sesgate.db'}"
    assert Settings(data_dir=tmp_path, database_url="sqlite:////x/y.db").database == "sqlite:////x/y.db"


@pytest.mark.parametrize(("text", "value"), [("never", None), (" Never ", None), ("36h", timedelta(hours=36))])
def test_what_may_last_for_ever_is_a_duration_or_never(text, value):
    assert read_settings({"SESGATE_SUPPRESS_SOFT_BOUNCE": text}).suppress_soft_bounce == value


@pytest.mark.parametrize("text", ["always", "0s", "99999d"])
def test_what_is_neither_is_refused_in_one_sentence(text):
    assert one_sentence({"SESGATE_SUPPRESS_BOUNCE": text}).startswith("SESGATE_SUPPRESS_BOUNCE: ")


def test_no_soft_bounce_at_all_is_no_limit():
    assert one_sentence({"SESGATE_SOFT_BOUNCES": "0"})
