"""Links over byte streams: ``tcp://host:port``, ``tls://host:port``, ``unix:///path``. One class, three carriers.

Received frames are handed up as they come; credit that the layer above grants is told to the peer when it adds up to a
quarter of the window, so that small frames do not cost a control message each. What is sent in one pass of the loop
leaves in one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

from transports import framing
from transports.api import Accept, Frame, Link, LinkError, LinkHandler
from transports.window import Window

COPY_BYTES_MAX = 16 * 1024
"""Frames up to this are joined with their neighbours into one write; larger ones are written by themselves."""


class StreamLink(asyncio.Protocol):
    """One end of a link over a stream; also asyncio's protocol."""

    def __init__(
        self, handler: LinkHandler, scheme: str, joined: Callable[[StreamLink, bool], None] | None = None
    ) -> None:
        self.peer = f"{scheme}://?"
        self._handler = handler
        self._scheme = scheme
        self._joined = joined
        self._receiver = framing.Receiver()
        self._window = Window()
        self._out: list[bytes] = []
        self._flushing = False
        self._closed = False
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        name = transport.get_extra_info("peername") or transport.get_extra_info("sockname")
        self.peer = (
            f"{self._scheme}://{name[0]}:{name[1]}" if isinstance(name, tuple) else f"{self._scheme}://{name or ''}"
        )
        found = transport.get_extra_info("socket")
        if found is not None and self._scheme != "unix":
            with contextlib.suppress(OSError):
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._joined is not None:
            self._joined(self, True)
        self._handler.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._receiver.feed(data):
                if self._closed:
                    return
                if isinstance(message, memoryview):
                    self._handler.received(message)
                elif isinstance(message, framing.Granted):
                    self._granted(message.size)
                else:
                    self._end(message.reason)
                    return
        except framing.FramingError as error:
            self._end(f"the peer broke the framing: {error}", abort=True)

    def _granted(self, size: int) -> None:
        try:
            told = self._window.granted(size)
        except ValueError as error:
            raise framing.FramingError(str(error)) from None
        if told:
            self._handler.granted()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the connection broke: {error}" if error is not None else "the peer went away")

    # the link

    @property
    def credit(self) -> int:
        return 0 if self._closed else self._window.credit

    def send(self, frame: Frame) -> None:
        """See ``transports.api.Link``."""
        if self._closed:
            raise LinkError("closed")
        size = len(frame)
        self._window.spend(size)
        self._put(framing.frame_head(size))
        if size <= COPY_BYTES_MAX:
            self._put(bytes(frame))
        else:
            self._flush()
            assert self._transport is not None
            self._transport.write(bytes(frame))

    def grant(self, size: int) -> None:
        """See ``transports.api.Link``."""
        owed = self._window.consume(size)
        if owed and not self._closed:
            self._receiver.grant(owed)
            self._put(framing.credit(owed))

    def close(self, reason: str = "") -> None:
        """See ``transports.api.Link``."""
        if not self._closed:
            self._put(framing.close(reason))
            self._end(reason)

    def _put(self, data: bytes) -> None:
        self._out.append(data)
        if not self._flushing and self._loop is not None:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _end(self, reason: str, abort: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        if self._joined is not None:
            self._joined(self, False)
        if self._transport is not None:
            if abort:
                self._transport.abort()
            else:
                self._flush()
                self._transport.close()
        self._handler.closed(reason)


class StreamListener:
    """Accepts links until it is closed; then closes those that stand."""

    def __init__(self, scheme: str, accept: Accept) -> None:
        self.address = ""
        self._scheme = scheme
        self._accept = accept
        self._links: set[StreamLink] = set()
        self._server: asyncio.Server | None = None
        self._path = ""

    def made(self) -> StreamLink:
        return StreamLink(self._accept(), self._scheme, self._joined)

    def _joined(self, link: StreamLink, there: bool) -> None:
        (self._links.add if there else self._links.discard)(link)

    def serves(self, server: asyncio.Server, address: str, path: str = "") -> None:
        self._server, self.address, self._path = server, address, path

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for link in list(self._links):
                link.close("the listener closes")
            await self._server.wait_closed()
        if self._path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


class TcpTransport:
    """``tcp://host:port``, or ``tls://host:port`` with contexts."""

    def __init__(self, server: ssl.SSLContext | None = None, client: ssl.SSLContext | None = None) -> None:
        self.scheme = "tls" if server or client else "tcp"
        self._server = server
        self._client = client

    async def listen(self, address: str, accept: Accept) -> StreamListener:
        host, port = _host_port(address, self.scheme)
        listener = StreamListener(self.scheme, accept)
        server = await asyncio.get_running_loop().create_server(listener.made, host, port, ssl=self._server)
        found = server.sockets[0].getsockname()
        listener.serves(server, f"{self.scheme}://{found[0]}:{found[1]}")
        return listener

    async def connect(self, address: str, handler: LinkHandler) -> Link:
        host, port = _host_port(address, self.scheme)
        options: dict[str, Any] = {"ssl": self._client, "server_hostname": host} if self._client else {}
        _, link = await asyncio.get_running_loop().create_connection(
            lambda: StreamLink(handler, self.scheme), host, port, **options
        )
        return link


class UnixTransport:
    """``unix:///path``. A socket file that nobody listens on any more is replaced."""

    scheme = "unix"

    async def listen(self, address: str, accept: Accept) -> StreamListener:
        path = address.removeprefix("unix://")
        _clear(path)
        listener = StreamListener(self.scheme, accept)
        server = await asyncio.get_running_loop().create_unix_server(listener.made, path)
        listener.serves(server, address, path)
        return listener

    async def connect(self, address: str, handler: LinkHandler) -> Link:
        path = address.removeprefix("unix://")
        _, link = await asyncio.get_running_loop().create_unix_connection(
            lambda: StreamLink(handler, self.scheme), path
        )
        return link


def _host_port(address: str, scheme: str) -> tuple[str, int]:
    host, _, port = address.removeprefix(f"{scheme}://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is not {scheme}://host:port")
    return host.strip("[]"), int(port)


def _clear(path: str) -> None:
    if not os.path.exists(path):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            return
    raise OSError(98, f"somebody listens on {path}")
