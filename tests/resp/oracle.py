"""What the tests of this folder share: a keyspace in the in-process gateway, replies decoded, a real redis-server."""

from __future__ import annotations

import contextlib
import pathlib
import socket
from collections.abc import Iterator
from typing import Any

import hiredis

from conformance.harness import Client, Harness
from conformance.process import ServerProcess, find_command, free_port
from protocols.resp.keyspace import Keyspace
from protocols.resp.session import RespSession, Settings
from protocols.resp.wire import request

REDIS = find_command("redis-server")


def make_harness(seed: int = 1, settings: Settings | None = None, **more: Any) -> Harness:
    chosen = settings or Settings()
    return Harness(
        seed=seed,
        executors=[lambda: Keyspace(chosen)],
        factories={"resp": lambda port: RespSession(port, chosen)},
        **more,
    )


def keyspace_of(harness: Harness) -> Keyspace:
    found = harness.sequencer._worlds["resp"].executor
    assert isinstance(found, Keyspace)
    return found


def words_of(text: str | tuple[str | bytes, ...] | list[bytes]) -> list[bytes]:
    words = text.split() if isinstance(text, str) else text
    return [word.encode() if isinstance(word, str) else word for word in words]


def decode(data: bytes) -> list[Any]:
    """Replies as values; an error as its text after ``-``."""
    reader = hiredis.Reader(replyError=lambda text: f"-{text}", errors=None)
    reader.feed(data)
    found = []
    while True:
        reply = reader.gets()
        if reply is False and not reader.has_data():
            return found
        found.append(reply)
        if not reader.has_data():
            return found


class Peer:
    """A connection to the in-process gateway that asks and reads."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.client: Client = harness.connect("resp")

    def raw(self, data: bytes) -> bytes:
        self.client.send(data)
        while self.client.session.deadline_ns:  # something was held behind a wait that is over
            self.harness.advance(2)
        return self.client.read()

    def ask(self, *commands: str | tuple[str | bytes, ...]) -> Any:
        """The reply of a command; the list of replies where there are several of either."""
        found = decode(self.raw(b"".join([request(*words_of(command)) for command in commands])))
        return found[0] if len(commands) == 1 and len(found) == 1 else found

    def read(self) -> list[Any]:
        data = self.client.read()
        return decode(data) if data else []


@contextlib.contextmanager
def redis_server(folder: pathlib.Path) -> Iterator[int]:
    """A real redis-server; its port."""
    assert REDIS is not None
    port = free_port()
    process = ServerProcess(
        [REDIS, "--port", str(port), "--save", "", "--appendonly", "no", "--bind", "127.0.0.1"], folder
    )
    with process:
        process.wait_until_accepting(port)
        yield port


class RedisPeer:
    """A connection to a real Redis: the commands of a sequence in one write, their replies decoded."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(self, commands: list[list[bytes]]) -> list[Any]:
        self.socket.sendall(b"".join([request(*words) for words in commands]))
        reader = hiredis.Reader(replyError=lambda text: f"-{text}")
        found: list[Any] = []
        while len(found) < len(commands):
            reply = reader.gets()
            if reply is False:
                data = self.socket.recv(65536)
                assert data, "redis-server closed the connection"
                reader.feed(data)
            else:
                found.append(reply)
        return found

    def close(self) -> None:
        self.socket.close()
