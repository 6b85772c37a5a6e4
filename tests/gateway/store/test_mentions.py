from __future__ import annotations

import pytest

from gateway.store.mentions import Mentions

ANN = Mentions("ann@example.com")


@pytest.mark.parametrize(
    ("text", "erased"),
    [
        ("ann@example.com", "(erased)"),
        ("smtp; 550 5.1.1 <Ann@Example.COM>: unknown", "smtp; 550 5.1.1 <(erased)>: unknown"),
        ("to=ann@example.com, ann@example.com.", "to=(erased), (erased)."),
        (r"{\"diagnosticCode\":\"no\r\nann@example.com\"}", r"{\"diagnosticCode\":\"no\r\n(erased)\"}"),
        ("mailto:ann@example.com?x", "mailto:(erased)?x"),
    ],
)
def test_an_address_is_taken_out_wherever_it_stands(text, erased):
    assert ANN.stand_in(text)
    assert ANN.erased(text) == erased


@pytest.mark.parametrize(
    "text", ["joann@example.com", "j.ann@example.com", "ann@example.com.au", "ann@example.community", "Ann", "", None]
)
def test_another_address_is_left_alone(text):
    assert not ANN.stand_in(text)


def test_what_like_takes_for_a_pattern_is_escaped():
    assert Mentions("a_n%n!@example.com").like == "%a!_n!%n!!@example.com%"
