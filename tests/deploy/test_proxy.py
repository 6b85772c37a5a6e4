"""The proxies' files as they stand there, in front of something that tells what got through."""

from __future__ import annotations

import http.client
import http.server
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.support.sandbox import free_port
from tests.support.waiting import until

FILES = Path(__file__).parents[2] / "deploy" / "proxy"
NAME = "mail-events.example.com"
LIMIT = 512 * 1024


class Upstream(http.server.ThreadingHTTPServer):
    """Stands where the webhook listens."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, str, int]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, len(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_HEAD = _answer  # noqa: N815  the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def nginx_files(directory: Path, authority: trustme.CA, port: int, upstream_port: int) -> Path:
    """A whole nginx around our file, as a user without privileges can run it."""
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "all.pem")
    text = (FILES / "nginx.conf").read_text()
    text = text.replace("listen [::]:443 ssl;", "").replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    for file in ("fullchain", "privkey"):
        text = text.replace(f"/etc/letsencrypt/live/{NAME}/{file}.pem", str(directory / "all.pem"))
    text = text.replace("127.0.0.1:8024", f"127.0.0.1:{upstream_port}")
    (directory / "sesgate.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory / kind};\n" for kind in kinds)
    main = directory / "nginx.conf"
    main.write_text(
        f"pid {directory}/pid;\nerror_log stderr;\ndaemon off;\nworker_processes 1;\nmaster_process off;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}include {directory}/sesgate.conf;\n}}\n"
    )
    return main


def caddy_file(directory: Path, authority: trustme.CA, port: int, upstream_port: int) -> Path:
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "all.pem")
    text = (FILES / "Caddyfile").read_text()
    text = text.replace("127.0.0.1:8024", f"127.0.0.1:{upstream_port}")
    tls = f"\n\tbind 127.0.0.1\n\ttls {directory}/all.pem {directory}/all.pem\n"
    text = text.replace(f"{NAME} {{\n", f"https://{NAME}:{port} {{{tls}")
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers", 1)
    file = directory / "Caddyfile"
    file.write_text(text)
    return file


@contextmanager
def running(arguments: list[str], directory: Path, port: int) -> Iterator[None]:
    environ = {**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)
    try:
        until(lambda: listens(port) or process.poll() is not None, what="the proxy listens")
        assert process.poll() is None, (directory / "log").read_text()
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=20)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request, tmp_path, upstream, authority) -> Iterator[int]:
    """The port on which the proxy speaks TLS."""
    found, port = program(request.param), free_port()
    if request.param == "nginx":
        file = nginx_files(tmp_path, authority, port, upstream.server_port)
        arguments = [found, "-e", "stderr", "-c", str(file)]
    else:
        file = caddy_file(tmp_path, authority, port, upstream.server_port)
        arguments = [found, "run", "--adapter", "caddyfile", "--config", str(file)]
    with running(arguments, tmp_path, port):
        yield port


@pytest.fixture
def ask(proxy, authority):
    """Asks the proxy as SNS does; the status."""
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def ask(method: str, path: str, body: bytes = b"") -> int:
        with socket.create_connection(("127.0.0.1", proxy), timeout=30) as plain:
            connection = http.client.HTTPConnection(NAME)
            connection.sock = context.wrap_socket(plain, server_hostname=NAME)
            try:
                connection.request(method, path, body)
                return connection.getresponse().status
            finally:
                connection.close()

    return ask


def test_a_notification_gets_through(ask, upstream):
    assert ask("POST", "/sns", b"{}") == 200
    assert upstream.seen == [("POST", "/sns", 2)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/sns"),
        ("PUT", "/sns"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("POST", "/sns/"),
        ("POST", "/sns/../healthz"),
        ("POST", "/SNS/x"),
        ("POST", "//metrics"),
    ],
)
def test_nothing_else_does(ask, upstream, method, path):
    assert ask(method, path) in {404, 405}
    assert upstream.seen == []


def test_what_the_gateway_takes_is_not_too_large_for_the_proxy(ask, upstream):
    assert ask("POST", "/sns", b"x" * LIMIT) == 200
    assert upstream.seen == [("POST", "/sns", LIMIT)]


def test_more_than_the_gateway_takes_does_not_reach_it(ask, upstream):
    assert ask("POST", "/sns", b"x" * (LIMIT + 1)) in {413, 502}
    assert ("POST", "/sns", LIMIT + 1) not in upstream.seen


def test_nginx_accepts_the_file(tmp_path, authority):
    file = nginx_files(tmp_path, authority, free_port(), 8024)
    done = subprocess.run(
        [program("nginx"), "-t", "-e", "stderr", "-c", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_caddy_accepts_the_file_as_it_stands(tmp_path):
    done = subprocess.run(
        [program("caddy"), "validate", "--adapter", "caddyfile", "--config", str(FILES / "Caddyfile")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert '"level":"warn"' not in done.stderr
