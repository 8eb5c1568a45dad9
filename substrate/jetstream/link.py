"""One connection to a NATS server: a socket that never blocks, and for whoever prepares it, questions that wait.

Who owns it calls ``send`` and ``receive``; ``ask`` and what builds on it may only be used while nothing is pipelined.
"""

from __future__ import annotations

import binascii
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from substrate.jetstream import wire
from substrate.jetstream.address import Cluster

T = TypeVar("T")
CONNECT_S = 1.0
ASK_S = 1.0
READ_BYTES = 1 << 20


class LinkError(OSError):
    """The server is gone, silent, or refuses."""


class Link:
    """``Link.open`` makes one."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.inbox = "_INBOX." + binascii.hexlify(os.urandom(8)).decode()
        self.out = bytearray()
        self.server: dict[str, object] = {}
        self._parser = wire.Parser()
        self._asked = 0

    @classmethod
    def open(cls, cluster: Cluster, turn: int) -> Link:
        """To the ``turn``-th of the cluster's servers, round and round.

        Raises:
            LinkError: it does not accept, or refuses who we say we are.
        """
        host, port = cluster.servers[turn % len(cluster.servers)]
        where = f"{host}:{port}"
        try:
            connection = socket.create_connection((host, port), CONNECT_S)
        except OSError as error:
            raise LinkError(f"{where}: {error}") from error
        link = cls(connection)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            link._greet(cluster, time.monotonic() + CONNECT_S)
        except OSError as error:
            link.close()
            raise LinkError(f"{where}: {error}") from error
        return link

    def _greet(self, cluster: Cluster, deadline_s: float) -> None:
        self.server = self._next(wire.Info, deadline_s).fields
        if self.server.get("tls_required"):
            raise LinkError("the server asks for TLS, which the engine does not speak")
        if not self.server.get("headers") or not self.server.get("jetstream", True):
            raise LinkError("the server has no headers or no JetStream")
        self.send([wire.connect("thalweg", cluster.user, cluster.password), b"PING\r\n"])
        self._next(wire.Pong, deadline_s)
        self.send([wire.subscribe(f"{self.inbox}.*")])

    def _next(self, kind: type[T], deadline_s: float) -> T:
        while True:
            for found in self._wait(deadline_s):
                if isinstance(found, kind):
                    return found

    def close(self) -> None:
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, parts: Sequence[bytes]) -> None:
        """What the socket does not take at once stays in ``out``: call ``flush`` when it is writable.

        Raises:
            LinkError: the connection is gone.
        """
        for part in parts:
            self.out += part
        self.flush()

    def flush(self) -> None:
        """
        Raises:
            LinkError: the connection is gone.
        """
        try:
            while self.out:
                with memoryview(self.out) as view:
                    sent = self.socket.send(view[: 1 << 20])
                del self.out[:sent]
        except BlockingIOError:
            return
        except OSError as error:
            raise LinkError(str(error)) from error

    def receive(self) -> list[wire.Message]:
        """What has come, without waiting; pings are answered.

        Raises:
            LinkError: the connection is gone, or the server spoke nonsense.
        """
        return [found for found in self._receive() if isinstance(found, wire.Message)]

    def _receive(self) -> list[wire.Message | wire.Info | wire.Ping | wire.Pong]:
        try:
            chunk = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError as error:
            raise LinkError(str(error)) from error
        if not chunk:
            raise LinkError("the server closed the connection")
        try:
            found = list(self._parser.take(chunk))
        except wire.WireError as error:
            raise LinkError(str(error)) from error
        if any(isinstance(one, wire.Ping) for one in found):
            self.send([b"PONG\r\n"])
        return found

    def _wait(self, deadline_s: float) -> list[wire.Message | wire.Info | wire.Ping | wire.Pong]:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise LinkError("no answer in time")
        readable, writable, _ = select.select([self.socket], [self.socket] if self.out else [], [], left_s)
        if writable:
            self.flush()
        return self._receive() if readable else []

    def ask(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, wait_s: float = ASK_S
    ) -> wire.Message:
        """The one answer.

        Raises:
            LinkError: nobody is there to answer, or did not in time.
        """
        return next(self.ask_many(subject, payload, headers, wait_s))

    def ask_many(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None, wait_s: float = ASK_S
    ) -> Iterator[wire.Message]:
        """Its answers, for as long as the caller wants more.

        Raises:
            LinkError: as ``ask``.
        """
        self._asked += 1
        reply = f"{self.inbox}.r{self._asked}"
        self.send(wire.publish(subject, reply, payload, headers))
        deadline_s = time.monotonic() + wait_s
        while True:
            for found in self._wait(deadline_s):
                if isinstance(found, wire.Message) and found.subject == reply:
                    deadline_s = time.monotonic() + wait_s
                    if found.status == "503":
                        raise LinkError(f"nobody answers {subject}")
                    yield found
