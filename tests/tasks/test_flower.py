from __future__ import annotations

import pytest

from gateway.setting_values import parse_host_port
from gateway.settings import Settings
from tasks.flower import FlowerOptionsError, flower_environment

OUTSIDE = Settings(flower_listen=parse_host_port("0.0.0.0:5555"))


def test_flower_listens_where_our_setting_says():
    options = flower_environment(Settings(flower_listen=parse_host_port("127.0.0.1:6666")), {})
    assert (options["FLOWER_ADDRESS"], options["FLOWER_PORT"]) == ("127.0.0.1", "6666")
    assert "FLOWER_BASIC_AUTH" not in options


def test_flower_is_not_shown_to_the_network_without_a_password():
    with pytest.raises(FlowerOptionsError, match=r"0\.0\.0\.0:5555.*FLOWER_BASIC_AUTH=user:password"):
        flower_environment(OUTSIDE, {})


def test_flower_may_be_shown_to_the_network_with_a_password():
    options = flower_environment(OUTSIDE, {"FLOWER_BASIC_AUTH": "ops:secret"})
    assert options["FLOWER_ADDRESS"] == "0.0.0.0"
    assert options["FLOWER_BASIC_AUTH"] == "ops:secret"


def test_the_password_may_lie_in_a_file(tmp_path):
    secret = tmp_path / "auth"
    secret.write_text("ops:secret,dev:other\n")
    options = flower_environment(OUTSIDE, {"FLOWER_BASIC_AUTH_FILE": str(secret)})
    assert options["FLOWER_BASIC_AUTH"] == "ops:secret,dev:other"


def test_a_file_and_a_variable_contradict_each_other(tmp_path):
    with pytest.raises(FlowerOptionsError, match="both set"):
        flower_environment(Settings(), {"FLOWER_BASIC_AUTH": "a:b", "FLOWER_BASIC_AUTH_FILE": str(tmp_path / "auth")})


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FlowerOptionsError, match="missing cannot be read"):
        flower_environment(Settings(), {"FLOWER_BASIC_AUTH_FILE": str(tmp_path / "missing")})


@pytest.mark.parametrize("text", ["", "\n", "ops", "ops:", ":secret", "ops:secret,", "ops:secret,dev"])
def test_what_is_no_pair_is_no_protection_and_is_not_quoted(tmp_path, text):
    secret = tmp_path / "auth"
    secret.write_text(text)
    with pytest.raises(FlowerOptionsError) as refused:
        flower_environment(OUTSIDE, {"FLOWER_BASIC_AUTH_FILE": str(secret)})
    assert (
        str(refused.value) == "FLOWER_BASIC_AUTH_FILE does not hold user:password; several of them have commas between."
    )
