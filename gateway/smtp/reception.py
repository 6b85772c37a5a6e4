"""What a connection passes before SMTP begins: the PROXY header, the limits on connections, the handshake of TLS.

The loop's own servers make a protocol of each socket at once. Here octets may have to be read off the socket first, and
a place be taken before the work of a handshake is done.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Network, IPv6Network

from gateway.logs import get_logger
from gateway.setting_values import Listener
from gateway.smtp import policy, proxy, replies
from gateway.smtp.protocol import GatewaySMTP
from gateway.smtp.tls import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT, Certificates, why_failed

log = get_logger(__name__)

_BACKLOG = 4096  # the kernel makes it less where it must; a flood that overflows it keeps others out for seconds
_AT_ONCE = 32  # connections, before others get a turn
_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_RESOURCES_RETRY = 1.0


class Reception:
    """Accepts the connections of one listener until `close`, and makes each a protocol."""

    def __init__(
        self,
        listener: Listener,
        make_protocol: Callable[[], GatewaySMTP],
        proxy_networks: Sequence[IPv4Network | IPv6Network],
        certificates: Certificates | None,
    ) -> None:
        self._make_protocol = make_protocol
        self._listener = listener
        self._proxy_networks = proxy_networks
        self._certificates = certificates
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._handing_over: set[asyncio.Task[None]] = set()
        self.sockets: list[socket.socket] = []

    async def open(self) -> None:
        """Listen on every address that the listener's host has; OSError when one cannot be had."""
        address = self._listener.address
        found = await self._loop.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, sockaddr in dict.fromkeys((family, sockaddr) for family, *_, sockaddr in found):
            # Several fronts of one user share a port: for more than one core, and to replace one without a gap.
            listening = socket.create_server(sockaddr[:2], family=family, backlog=_BACKLOG, reuse_port=True)
            self.sockets.append(listening)
            listening.setblocking(False)  # noqa: FBT003  the standard library's signature
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def close(self) -> None:
        """Take no more, and leave who has not come as far as SMTP. Who is just about to is not held up."""
        for listening in self.sockets:
            if listening.fileno() >= 0:
                self._loop.remove_reader(listening.fileno())
                listening.close()
        for task in self._arriving - self._handing_over:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no connection is on its way to its protocol any more."""
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            connection.setblocking(False)  # noqa: FBT003
            task = self._loop.create_task(self._receive(connection, peer))
            self._arriving.add(task)
            task.add_done_callback(partial(self._gone, connection))

    def _gone(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        if task.cancelled() and task not in self._handing_over:
            connection.close()  # a task that is cancelled before its first step runs no `finally`
        self._arriving.discard(task)
        self._handing_over.discard(task)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        if error.errno not in _OUT_OF_RESOURCES:
            raise error
        log.error("smtp.out_of_resources", reason=f"No connection can be taken for a moment: {error.strerror}.")
        self._loop.remove_reader(listening.fileno())
        self._loop.call_later(_RESOURCES_RETRY, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    async def _receive(self, connection: socket.socket, peer: object) -> None:
        """Hand the connection to a protocol, or close it."""
        protocol = self._make_protocol()
        handed_over = False
        try:
            client = await self._client_of(connection, peer)
            if protocol.arrive(client):
                await self._hand_over(connection, protocol)
                handed_over = True
            elif not self._listener.implicit_tls:
                connection.send(replies.TOO_MANY_CONNECTIONS.encode("ascii") + b"\r\n")
        except proxy.ProxyError as error:
            log.warning("smtp.proxy_header_refused", proxy=_spoken(peer), reason=f"The connection is closed: {error}.")
        except OSError as error:
            log.info("smtp.not_received", client=_spoken(peer), reason=why_failed(error))
        finally:
            if not handed_over:
                protocol.abort()
                connection.close()

    async def _client_of(self, connection: socket.socket, peer: object) -> object:
        """The address of the client's socket, or of what the proxy says is the client; None if it does not know."""
        address = policy.client_address(peer)
        if not policy.is_within(address, self._proxy_networks):
            return peer
        try:
            async with asyncio.timeout(proxy.HEADER_TIMEOUT):
                client = await proxy.read_header(partial(self._read_exactly, connection))
        except TimeoutError:
            raise proxy.ProxyError("no PROXY header came in time") from None
        believed = proxy.believed_client(client, address)
        return None if believed is None else (str(believed),)

    async def _read_exactly(self, connection: socket.socket, octets: int) -> bytes:
        read = b""
        while len(read) < octets:
            block = await self._loop.sock_recv(connection, octets - len(read))
            if not block:
                raise ConnectionResetError
            read += block
        return read

    async def _hand_over(self, connection: socket.socket, protocol: GatewaySMTP) -> None:
        implicit = self._certificates if self._listener.implicit_tls else None
        if implicit is None:
            # The loop makes the connection in a moment, and would also do so after a cancellation.
            if (task := asyncio.current_task()) is not None:
                self._handing_over.add(task)
            await self._loop.connect_accepted_socket(lambda: protocol, connection)
            return
        await self._loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=implicit.context(self._listener),
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
            ssl_shutdown_timeout=SHUTDOWN_TIMEOUT,
        )


def _spoken(peer: object) -> str:
    return str(policy.client_address(peer) or "")
