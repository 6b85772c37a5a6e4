from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from gateway.sns_certificates import (
    CertificateStore,
    CertificateUnavailableError,
    PinnedCertificate,
    fetch_certificate,
)
from tests.support.sns import Signer
from tests.support.waiting import until

PEM = Signer.make().certificate_pem
URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Amazon:
    """Answers fetches, and counts them."""

    def __init__(self, pem: bytes | None = PEM) -> None:
        self.pem = pem
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        if self.pem is None:
            raise CertificateUnavailableError("its server answered 500")
        return self.pem


class TestStore:
    def setup_method(self):
        self.clock = Clock()
        self.amazon = Amazon()
        self.store = CertificateStore(self.amazon, self.clock)

    def test_a_certificate_is_fetched_once_a_day(self):
        for _ in range(3):
            assert self.store(URL) == PEM
        assert self.amazon.asked == [URL]
        self.clock.now += 24 * 3600 + 1
        assert self.store(URL) == PEM
        assert self.amazon.asked == [URL, URL]

    def test_no_more_than_eight_are_kept(self):
        for number in range(9):
            self.clock.now += 60
            self.store(f"{URL}{number}")
        self.store(f"{URL}8")
        assert len(self.amazon.asked) == 9
        self.store(f"{URL}0")
        assert len(self.amazon.asked) == 10

    def test_a_failure_is_remembered_for_a_moment_only(self):
        self.amazon.pem = None
        for _ in range(5):
            with pytest.raises(CertificateUnavailableError):
                self.store(URL)
        assert len(self.amazon.asked) == 1
        self.amazon.pem = PEM
        self.clock.now += 11
        assert self.store(URL) == PEM

    def test_what_is_no_certificate_is_not_kept(self):
        self.amazon.pem = b"<html>Welcome to the wireless network of this hotel</html>"
        with pytest.raises(CertificateUnavailableError, match="not a certificate"):
            self.store(URL)
        self.amazon.pem = PEM
        self.clock.now += 11
        assert self.store(URL) == PEM

    def flood(self, urls=1000):
        """So many URLs that somebody has made up, one after the other."""
        for number in range(urls):
            with pytest.raises(CertificateUnavailableError):
                self.store(f"{URL}-{number}")

    def test_a_thousand_made_up_urls_cause_at_most_six_fetches_in_any_minute(self):
        self.amazon.pem = None
        moments = []
        for _ in range(150):
            before = len(self.amazon.asked)
            self.flood(7)
            moments += [self.clock.now] * (len(self.amazon.asked) - before)
            self.clock.now += 1.7
        assert moments
        assert all(sum(0 <= later - start < 60 for later in moments) <= 6 for start in moments)

    def test_fetches_that_succeed_count_too(self):
        got = []
        for number in range(20):
            with suppress(CertificateUnavailableError):
                got.append(self.store(f"{URL}{number}"))
        assert len(got) == len(self.amazon.asked) <= 6
        self.clock.now += 60
        assert self.store(f"{URL}19") == PEM

    def test_a_flood_does_not_keep_us_from_renewing_a_certificate(self):
        self.store(URL)
        self.clock.now += 24 * 3600 + 1
        self.amazon.pem = None
        self.flood()
        with pytest.raises(CertificateUnavailableError):
            self.store(URL)
        self.clock.now += 11
        self.amazon.pem = PEM
        assert self.store(URL) == PEM
        assert len(self.amazon.asked) - 1 <= 6

    def test_an_unforeseen_error_blocks_nobody(self):
        def broken(url):
            raise RuntimeError

        store = CertificateStore(broken, self.clock)
        with pytest.raises(RuntimeError):
            store(URL)
        with pytest.raises(CertificateUnavailableError, match="a moment ago"):
            store(URL)


@pytest.mark.parametrize("outcome", [PEM, None])
def test_many_threads_share_one_fetch_of_one_url(outcome):
    started, finish = threading.Event(), threading.Event()
    asked = []

    def slow(url):
        asked.append(url)
        started.set()
        assert finish.wait(30)
        if outcome is None:
            raise CertificateUnavailableError("its server answered 500")
        return outcome

    store = CertificateStore(slow)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(store, URL)
        assert started.wait(30)
        others = [pool.submit(store, URL) for _ in range(7)]
        until(lambda: all(future.running() for future in others), what="seven threads that wait")
        finish.set()
        for future in (first, *others):
            assert (future.exception() is None) == (outcome is not None)
    assert asked == [URL]


class TestPinned:
    def test_it_may_appear_later_and_change(self, tmp_path):
        file = tmp_path / "cert.pem"
        pinned = PinnedCertificate(file)
        with pytest.raises(CertificateUnavailableError, match=r"cert\.pem"):
            pinned()
        file.write_bytes(PEM)
        assert pinned() == PEM
        renewed = Signer.make().certificate_pem
        file.write_bytes(renewed)
        assert pinned() == renewed

    def test_a_file_that_stays_is_read_once_and_one_that_goes_is_missed(self, tmp_path, monkeypatch):
        file, reads, read = tmp_path / "cert.pem", [], Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read(path))
        file.write_bytes(PEM)
        pinned = PinnedCertificate(file)
        assert [pinned() for _ in range(3)] == [PEM] * 3
        assert reads == [file]
        file.unlink()
        with pytest.raises(CertificateUnavailableError):
            pinned()

    def test_half_a_file_is_no_certificate(self, tmp_path):
        file = tmp_path / "cert.pem"
        file.write_bytes(PEM[:200])
        with pytest.raises(CertificateUnavailableError, match="not a certificate"):
            PinnedCertificate(file)()


AUTHORITY = trustme.CA()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        status, headers, content = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up is what these tests are about."""


@contextmanager
def https_server(status=200, content=PEM, **headers) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    server.answer = (status, headers, content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}/SimpleNotificationService-0.pem"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestFetch:
    def test_a_certificate_comes_over_https(self):
        with https_server() as url:
            assert fetch_certificate(url, trusting()) == PEM

    def test_no_proxy_of_the_environment_is_used(self, monkeypatch):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
        with https_server() as url:
            assert fetch_certificate(url, trusting()) == PEM

    def test_a_server_that_is_not_who_it_says_is_refused(self):
        with https_server() as url, pytest.raises(CertificateUnavailableError, match="SSLCertVerificationError"):
            fetch_certificate(url)
        with https_server() as url, pytest.raises(CertificateUnavailableError, match="SSLCertVerificationError"):
            fetch_certificate(url.replace("localhost", "127.0.0.1"), trusting())

    @pytest.mark.parametrize("status", [204, 301, 302, 307, 403, 404, 500])
    def test_nothing_but_200_is_believed_and_no_redirect_followed(self, status):
        with (
            https_server() as elsewhere,
            https_server(status, b"", Location=elsewhere) as url,
            pytest.raises(CertificateUnavailableError, match=str(status)),
        ):
            fetch_certificate(url, trusting())

    def test_a_large_answer_is_not_read_to_its_end(self):
        with (
            https_server(content=PEM + b"x" * 100_000) as url,
            pytest.raises(CertificateUnavailableError, match="larger"),
        ):
            fetch_certificate(url, trusting())

    def test_plain_http_is_not_used(self):
        with pytest.raises(CertificateUnavailableError, match="HTTPS"):
            fetch_certificate("http://localhost:1/SimpleNotificationService-0.pem")

    def test_nobody_at_home_is_a_failure(self):
        with pytest.raises(CertificateUnavailableError, match="ConnectionRefusedError"):
            fetch_certificate("https://localhost:1/SimpleNotificationService-0.pem")
