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
