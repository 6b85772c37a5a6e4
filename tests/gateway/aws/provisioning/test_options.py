from __future__ import annotations

import pytest

from gateway.aws.provisioning.options import Options, OptionsError

URL = "https://mail.example.com/sns"


def test_what_is_made_is_called_after_name_and_environment():
    assert Options(webhook_url=URL).scope == "sesgate-production"
    assert Options(queue=True, name="mail", environment="test").scope == "mail-test"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "--webhook-url https://mail.example.com/sns for a webhook"),
        ({"webhook_url": "http://mail.example.com/sns"}, "is not encrypted"),
        ({"webhook_url": "mail.example.com/sns"}, "is no URL"),
        ({"webhook_url": "ftp://mail.example.com/sns"}, "is no URL"),
        ({"webhook_url": "https:///sns"}, "is no URL"),
        ({"webhook_url": "https://mail.example.com:99999/sns"}, "is no URL"),
        ({"webhook_url": "https://mail.example.com/s ns"}, "percent-encode"),
        ({"webhook_url": "https://mail.example.com/sns\n"}, "percent-encode"),
        ({"webhook_url": "https://bücher.example/sns"}, "percent-encode"),
        ({"webhook_url": "https://mail.example.com/sns#top"}, "fragment"),
        ({"queue": True, "name": "a b"}, "--name 'a b'"),
        ({"queue": True, "environment": "-x"}, "--environment '-x'"),
        ({"queue": True, "name": "n" * 60}, "longer than 57"),
        ({"queue": True, "identities": ("example.com",)}, "belongs to --classic"),
        ({"queue": True, "classic": True}, "--identity example.com"),
        (
            {"queue": True, "classic": True, "identities": ("a.example",), "tracks_opens_and_clicks": True},
            "leave --classic out",
        ),
    ],
)
def test_what_cannot_be_made_is_refused_with_a_sentence(given, sentence):
    with pytest.raises(OptionsError) as raised:
        Options(**given)
    assert sentence in str(raised.value)
    assert str(raised.value).endswith(".")


def test_an_unencrypted_webhook_is_for_the_simulated_aws_only():
    assert Options(webhook_url="http://127.0.0.1:8024/sns", may_be_plain=True).webhook_url


def test_a_password_is_in_no_sentence_and_no_repr():
    url = "https://user:s3cret@mail.example.com/sns"
    assert "s3cret" not in repr(Options(webhook_url=url))
    with pytest.raises(OptionsError) as raised:
        Options(webhook_url="http://user:s3cret@mail.example.com/sns")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cret/1@mail.example.com/sns",
        "https://user:12/s3cret@mail.example.com/sns",
        "https://user:s3cret?1@mail.example.com/sns",
        "https://user:12#s3cret@mail.example.com/sns",
        "https://user:s3cret",
        "user:s3cret@mail.example.com/sns",
        "ftp://user:s3cret@mail.example.com/sns",
        "https://user:s3cret@[mail.example.com/sns",
    ],
)
def test_a_password_that_is_not_read_as_one_is_refused_and_not_shown(url):
    with pytest.raises(OptionsError) as raised:
        Options(webhook_url=url)
    assert "s3cret" not in str(raised.value)
