from __future__ import annotations

import pytest

from gateway.sns_endpoints import masked_endpoint


@pytest.mark.parametrize(
    ("endpoint", "shown"),
    [
        ("https://user:s3cret@mail.example.com/sns", "https://user:****@mail.example.com/sns"),
        ("https://user:a@b:c@mail.example.com/sns", "https://user:****@mail.example.com/sns"),
        ("https://user:****@mail.example.com/sns", "https://user:****@mail.example.com/sns"),
        ("https://user@mail.example.com/sns", "https://user@mail.example.com/sns"),
        ("https://mail.example.com/sns?a@b", "https://mail.example.com/sns?a@b"),
        ("arn:aws:sqs:eu-west-1:1:q", "arn:aws:sqs:eu-west-1:1:q"),
    ],
)
def test_a_password_is_masked_and_nothing_else(endpoint, shown):
    assert masked_endpoint(endpoint) == shown
