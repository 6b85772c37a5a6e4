from __future__ import annotations

import os
import stat
import threading

import pytest

from gateway.cli import whole_files
from gateway.cli.env_files import set_variables
from gateway.cli.whole_files import replacing


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_of_variables_is_for_its_owner_only(tmp_path):
    set_variables(tmp_path / ".env", {"A": "1"})
    assert mode(tmp_path / ".env") == 0o600


def test_a_service_that_could_read_the_variables_can_read_them_still(tmp_path):
    file = tmp_path / ".env"
    file.write_text("A=1\n")
    file.chmod(0o640)
    set_variables(file, {"A": "2"})
    assert (file.read_text(), mode(file)) == ("A=2\n", 0o640)


def test_where_the_owner_cannot_be_kept_nobody_else_is_let_in(tmp_path, monkeypatch):
    def denied(*_arguments):
        raise PermissionError

    file = tmp_path / ".env"
    file.write_text("A=1\n")
    file.chmod(0o640)
    monkeypatch.setattr(whole_files.os, "fchown", denied)
    set_variables(file, {"A": "2"})
    assert mode(file) == 0o600


def test_a_link_to_the_variables_stays_one(tmp_path):
    shared = tmp_path / "shared.env"
    shared.write_text("A=1\n")
    link = tmp_path / ".env"
    link.symlink_to(shared)
    set_variables(link, {"A": "2"})
    assert link.is_symlink()
    assert shared.read_text() == "A=2\n"


def test_what_fails_on_the_way_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    file = tmp_path / "list.csv"
    file.write_bytes(b"before")

    def write_half():
        with replacing(file) as stream:
            stream.write(b"half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write_half()
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with replacing(pipe) as stream:
        stream.write(b"list")
    reader.join(timeout=10)
    assert read == [b"list"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
