"""The HTTP edge in memory: the harness with one more listener, and requests over it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from conformance.harness import Client, Harness, default_factories
from protocols.identity import Users
from thalweg.http import HttpSession
from thalweg.http_view import View


class Edge:
    """``delayed``: every answer of the port comes later and in another order."""

    def __init__(self, delayed: bool = False, users: Users | None = None, ready: bool = True) -> None:
        self.ready = ready
        self.view = View(lambda: self.harness, lambda: self.ready, lambda: {"commits_total": 7}, ["Broker.Example"])
        factories = {**default_factories(), "http": lambda port: HttpSession(port, self.view)}
        self.harness = Harness(factories=factories, delayed=delayed)
        self.harness.users = users

    def connect(self, protocol: str = "http") -> Client:
        return self.harness.connect(protocol)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Any = b"",
        headers: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Host": "localhost", "Content-Length": str(len(data)), **(headers or {})}
        if data and "Content-Type" not in told:
            told["Content-Type"] = "application/json"
        client = client or self.connect()
        client.send(raw(method, path, told) + data)
        self.harness.advance(100)
        return parsed(client.read())

    def json(self, method: str, path: str, body: bytes | Any = b"", **more: Any) -> tuple[int, Any]:
        status, _, answer = self.ask(method, path, body, **more)
        return status, json.loads(answer)

    def follow(self, path: str, headers: Mapping[str, str] | None = None) -> Client:
        """A client that is being streamed to."""
        client = self.connect()
        client.send(raw("GET", path, {"Host": "localhost", **(headers or {})}))
        self.harness.advance(50)
        return client

    def records(self, path: str, **more: Any) -> list[dict[str, Any]]:
        status, _, body = self.ask("GET", path, **more)
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines() if line]


def raw(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def parsed(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """One answer; a chunked body is joined."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = joined(body)
    return int(first.split(" ")[1]), headers, body


def joined(chunks: bytes) -> bytes:
    whole = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        whole += rest[: int(size, 16)]
        chunks = rest[int(size, 16) + 2 :]
    return whole


def lines_of(client: Client) -> list[dict[str, Any]]:
    """What a stream brought since the last look, its head and its beats left out."""
    data = client.read()
    body = parsed(data)[2] if data.startswith(b"HTTP/") else joined(data)
    return [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line]
