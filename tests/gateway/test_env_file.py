from __future__ import annotations

import pytest

from gateway.env_file import read, with_variables

BEFORE = "# ours\nAWS_REGION=eu-west-1\n\nexport SESGATE_WORKERS=4  # two cores\nOTHER='a b'\n"


def test_what_is_not_named_stays_as_it_was_written():
    after = with_variables(BEFORE, {"AWS_REGION": "us-east-1", "SESGATE_LISTENERS": "127.0.0.1:2525 lan"})
    assert after == (
        "# ours\nAWS_REGION=us-east-1\n\nexport SESGATE_WORKERS=4  # two cores\nOTHER='a b'\n"
        "SESGATE_LISTENERS='127.0.0.1:2525 lan'\n"
    )


def test_the_same_again_changes_nothing():
    after = with_variables(BEFORE, {"AWS_REGION": "us-east-1", "NEW": "x"})
    assert with_variables(after, {"AWS_REGION": "us-east-1", "NEW": "x"}) == after


def test_of_several_lines_the_last_one_is_in_force_and_stays():
    assert with_variables("A=1\nB=2\nA=3\n", {"A": "4"}) == "B=2\nA=4\n"


def test_a_file_without_its_last_line_feed_is_a_file():
    assert with_variables("A=1", {"B": "2"}) == "A=1\nB=2\n"
    assert with_variables("", {"B": "2"}) == "B=2\n"


def test_what_is_written_is_read_again():
    values = {
        "A": "127.0.0.1:2525 lan, 0.0.0.0:587 modern",
        "B": "$not # a comment",
        "C": "",
        "D": "https://a.example/sns",
    }
    assert read(with_variables("", values)) == values


@pytest.mark.parametrize("value", ["two\nlines", "it's", "nul\0"])
def test_a_value_that_does_not_fit_a_line_is_refused(value):
    with pytest.raises(ValueError, match="quote or a line break"):
        with_variables("", {"A": value})


def test_a_line_within_a_quoted_value_is_no_variable():
    text = 'MOTTO="first\nAWS_REGION=inside\nlast"\nAWS_REGION=eu-west-1\n'
    after = with_variables(text, {"AWS_REGION": "us-east-1"})
    assert after == 'MOTTO="first\nAWS_REGION=inside\nlast"\nAWS_REGION=us-east-1\n'


def test_a_value_of_several_lines_is_replaced_as_a_whole():
    assert with_variables("A='one\ntwo'\nB=2\n", {"A": "3"}) == "A=3\nB=2\n"


def test_an_export_and_empty_lines_before_it_stay():
    assert with_variables("B=2\n\n  export A=1 # why\nC=3\n", {"A": "4"}) == "B=2\n\n  export A=4\nC=3\n"


def test_lines_keep_the_end_that_they_have():
    assert with_variables("A=1\r\n# why\r\nB=2", {"B": "3", "C": "4"}) == "A=1\r\n# why\r\nB=3\r\nC=4\r\n"


@pytest.mark.parametrize("text", ["A=a\u2028b\nB=2\n", "A=a\x0cb\nB=2\n", "A='open\nB=2\n", "!?\nB=2\n"])
def test_what_cannot_be_read_is_not_touched(text):
    assert with_variables(text, {"B": "3"}) == text.replace("B=2", "B=3")


def test_a_name_within_a_value_is_filled_in_as_the_gateway_does_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ops")
    assert read("SESGATE_DATA_DIR=${HOME}/var\n") == {"SESGATE_DATA_DIR": "/home/ops/var"}
