"""What a mail leaves in the log on its whole way: its id everywhere, and nothing of what is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import journey

_ROOT = Path(__file__).parents[2]
_ABOUT_ONE_MAIL = {"message.accepted", "send.accepted", "send.failed", "send.suppressed", "feedback.processed"}


@pytest.mark.parametrize("addresses", ["full", "domain", "none"])
def test_a_mails_way_shows_its_id_and_of_its_addresses_what_the_setting_allows(tmp_path, addresses):
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.journey", str(tmp_path), addresses],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = done.stderr
    for marker in (journey.SUBJECT, journey.BODY, journey.SECRET):
        assert marker not in written
    records = [json.loads(line) for line in written.splitlines()]
    about = [record for record in records if record["event"] in _ABOUT_ONE_MAIL]
    assert {record["event"] for record in about} == _ABOUT_ONE_MAIL
    (message_id,) = {record.get("message_id") for record in about}
    assert len(message_id) == 26
    assert not [record for record in records if "message" in record]
    # SES quotes the address it refuses, and so it stands in the reason.
    (reason,) = (record["reason"] for record in records if record.get("reason", "").startswith("SES answered Bad"))
    quoted = {"full": journey.REFUSED, "domain": f"***@{journey.DOMAIN}", "none": "***"}[addresses]
    assert f"not valid: {quoted}, Somebody <{quoted}>" in reason
    assert ("-local" in written) == (addresses == "full")
    assert (journey.DOMAIN in written) == (addresses != "none")
