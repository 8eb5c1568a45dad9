"""Scripts for JetStream that are sent to ours and to the real nats-server, and what each of them told, comparable.

A script is a list of steps over one connection: bytes (sent, then everything up to the PONG of a PING behind them), an
``Ask`` (also its answer has come), or a number (so many messages have come on the subscription ``d``, or the one named, those
of earlier steps included). What is told is one list of messages a subscription: deliveries and answers of
different subscriptions have no order between them.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.nats import transcript

WAIT_S = 10.0
"""Deadline, not a goal."""
OPTIONS = {**transcript.OPTIONS}
Step = bytes | int | tuple[str, int] | Callable[["Peer"], None]


class Ask(bytes):
    """What is answered on the subscription that it names."""

    sid = b"api"


class Put(Ask):
    sid = b"ack"


MASKED = {"created", "ts", "time", "first_ts", "last_ts", "last_active", "pause_remaining", "id", "timestamp", "server",
          "client", "api", "total_bytes"}  # fmt: skip
ABSENT = {"cluster"}  # README.md
STAMP = re.compile(rb"(Nats-(?:Time-Stamp|Expected-Time)): \S+")
ACKS = re.compile(rb"(\$JS\.ACK\.(?:[^.]+\.){5})\d+(\.\d+)")
FLOWS = re.compile(rb"(\$JS\.FC\.[^.]+\.)[^.]+\.\w+")
DRAWN = re.compile(rb"\b[A-Za-z0-9]{8}\b(?=\"|\.)")


def api(subject: str, body: object = b"") -> Ask:
    """A request to ``$JS.API.<subject>``."""
    return Ask(pub(f"$JS.API.{subject}", body if isinstance(body, bytes) else json.dumps(body).encode(), "r.a"))


def put(subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> Put:
    """A publication and its acknowledgement."""
    return Put(pub(subject, payload, "r.p", headers))


def pull(consumer: str, body: object = b"", reply: str = "r.n") -> bytes:
    """A request for messages, which come to ``d``."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return pub(f"$JS.API.CONSUMER.MSG.NEXT.{consumer}", payload, reply)


def pub(subject: str, payload: bytes = b"", reply: str = "r.p", headers: dict[str, str] | None = None) -> bytes:
    where = f"{subject} {reply}".strip().encode()
    if headers is None:
        return b"PUB %b %d\r\n%b\r\n" % (where, len(payload), payload)
    block = b"NATS/1.0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items()) + b"\r\n"
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (where, len(block), len(block) + len(payload), block, payload)


def sub(subject: str, sid: str, queue: str = "") -> bytes:
    return " ".join(word for word in ("SUB", subject, queue, sid) if word).encode() + b"\r\n"


class Peer:
    """One connection to one server."""

    def __init__(self, address: str, number: int = 0) -> None:
        """``number`` tells apart the inboxes (``r.``) of scripts that run at the same time."""
        self._inboxes = b" r%d." % number
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT_S)
        self._data = b""
        self._pongs = 0
        self.told: dict[bytes, list[tuple[Any, ...]]] = {}
        self.raw: dict[bytes, list[list[bytes]]] = {}
        """The words of each message's first line, unmasked: where a delivery is acknowledged is the fourth."""
        self.socket.sendall(b"CONNECT " + json.dumps(OPTIONS).encode() + b"\r\n")
        self.step(sub("r.a", "api") + sub("r.p", "ack"))

    def step(self, step: Step) -> None:
        if callable(step):
            step(self)
        elif isinstance(step, tuple):
            self._until(step[0].encode(), step[1])
        elif isinstance(step, int):
            self._until(b"d", step)
        else:
            sid = step.sid if isinstance(step, Ask) else b""
            heard = len(self.told.get(sid, ()))
            self.send(step + b"PING\r\n")
            wanted = self._pongs + 1
            while self._pongs < wanted:
                self._read()
            if sid:
                self._until(sid, heard + 1)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data.replace(b" r.", self._inboxes))

    def until(self, sid: bytes, done: Callable[[list[tuple[Any, ...]]], bool]) -> None:
        """Until what came on a subscription is enough."""
        while not done(self.told.get(sid, [])):
            self._read()

    def _until(self, sid: bytes, count: int) -> None:
        while len(self.told.get(sid, ())) < count:
            self._read()

    def _read(self) -> None:
        more = self.socket.recv(1 << 20)
        assert more, f"closed by the server; {self._data!r}"
        self._data += more
        while b"\r\n" in self._data:
            line, _, rest = self._data.partition(b"\r\n")
            words = line.split(b" ")
            if words[0] not in (b"MSG", b"HMSG"):
                self._data = rest
                self._pongs += line == b"PONG"
                if line.startswith(b"-ERR"):
                    self.told.setdefault(b"", []).append((line,))
                continue
            size = int(words[-1])
            if len(rest) < size + 2:
                return
            payload, self._data = rest[:size], rest[size + 2 :]
            shown = line.replace(self._inboxes, b" r.").split(b" ")
            names = [word for word in shown[1 : -2 if words[0] == b"HMSG" else -1] if word]
            self.raw.setdefault(names[1], []).append([words[0], *names])
            self.told.setdefault(names[1], []).append((words[0], *map(masked, names), masked_payload(payload)))


def masked(word: bytes) -> bytes:
    return FLOWS.sub(rb"\1#", ACKS.sub(rb"\1#\2", word))


def masked_payload(payload: bytes) -> bytes:
    if payload.startswith(b"{"):
        try:
            return json.dumps(_masked(json.loads(payload))).encode()
        except ValueError:
            pass
    if len(payload) > 1000:
        return b"%d bytes from %b" % (len(payload), payload[:20])
    return FLOWS.sub(rb"\1#", STAMP.sub(rb"\1: #", payload))


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("deleted") == [0]:  # nats-server counts a message 0 in an empty stream
            value = {n: v for n, v in value.items() if n not in ("deleted", "num_deleted")}
        return {n: "#" if n in MASKED else _masked(inner) for n, inner in value.items() if n not in ABSENT}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value


MOVED = {"delivered", "ack_floor"}


def unmoved(found: dict[bytes, list[tuple[Any, ...]]]) -> dict[bytes, list[tuple[Any, ...]]]:
    """Without what a purge or a roll-up makes of a consumer's marks at once here, or only when it is next served."""
    kept = dict(found)
    kept[b"api"] = [
        (*one[:-1], json.dumps({n: v for n, v in json.loads(one[-1]).items() if n not in MOVED}).encode())
        for one in found.get(b"api", [])
    ]
    return kept


def told(address: str, script: Sequence[Step], number: int = 0) -> dict[bytes, list[tuple[Any, ...]]]:
    """What this server told."""
    peer = Peer(address, number)
    try:
        for step in script:
            try:
                peer.step(step)
            except TimeoutError as error:
                raise AssertionError(f"after {step!r}: {peer.told}") from error
    finally:
        peer.socket.close()
    return peer.told


def settle(milliseconds: int) -> Callable[[Peer], None]:
    """Nothing is sent for a while: what time alone brings."""
    return lambda peer: time.sleep(milliseconds / 1000)
