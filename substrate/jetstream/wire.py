"""The little of NATS' client protocol that the engine speaks. Sans-IO (docs.nats.io, Client Protocol).

server: INFO {json}   MSG subject sid [reply] size   HMSG subject sid [reply] header_size size   PING  PONG  +OK  -ERR 'why'
we:     CONNECT {json}   SUB subject sid   HPUB subject reply header_size size   PUB subject reply size   PING  PONG
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LINE_BYTES_MAX = 1 << 20
PAYLOAD_BYTES_MAX = 64 << 20


class WireError(Exception):
    """The server broke the grammar, or said -ERR."""


@dataclass(frozen=True, slots=True)
class Message:
    subject: str
    header: bytes
    """From ``NATS/1.0`` on, empty where there is none."""
    payload: bytes

    @property
    def status(self) -> str:
        """``503`` where nobody listens, ``404`` and ``408`` of direct gets; empty for a message."""
        line = self.header.split(b"\r\n", 1)[0].split()
        return line[1].decode() if len(line) > 1 else ""

    def field(self, name: str) -> str:
        """A header's value, empty where it is not there."""
        for line in self.header.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.decode("latin-1") == name:
                return value.strip().decode("latin-1")
        return ""


@dataclass(frozen=True, slots=True)
class Info:
    fields: dict[str, object]


class Ping:
    pass


class Pong:
    pass


class Parser:
    """Chunks in, what the server said out."""

    def __init__(self) -> None:
        self._data = bytearray()

    def take(self, chunk: bytes) -> Iterator[Message | Info | Ping | Pong]:
        """
        Raises:
            WireError: not the protocol, or the server's -ERR.
        """
        self._data += chunk
        data = self._data
        at = 0
        try:
            while True:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if len(data) - at > LINE_BYTES_MAX:
                        raise WireError(f"a line of more than {LINE_BYTES_MAX} bytes")
                    return
                word, _, rest = bytes(data[at:end]).partition(b" ")
                word = word.upper()
                if word in (b"MSG", b"HMSG"):
                    header_size, size, subject = _sizes(word, rest.split())
                    if len(data) < end + 2 + size + 2:
                        return
                    body = bytes(data[end + 2 : end + 2 + size])
                    at = end + 2 + size + 2
                    yield Message(subject, body[:header_size], body[header_size:])
                    continue
                at = end + 2
                if word == b"PING":
                    yield Ping()
                elif word == b"PONG":
                    yield Pong()
                elif word == b"INFO":
                    yield Info(_object(rest))
                elif word == b"-ERR":
                    raise WireError(rest.decode(errors="replace").strip("' "))
                elif word != b"+OK":
                    raise WireError(f"{word[:20]!r} is not NATS")
        finally:
            del data[:at]


def _sizes(word: bytes, fields: list[bytes]) -> tuple[int, int, str]:
    """Header and whole size, and the subject."""
    least = 3 if word == b"MSG" else 4
    if len(fields) not in (least, least + 1):
        raise WireError(f"{word.decode()} of {len(fields)} fields")
    try:
        size = int(fields[-1])
        header_size = int(fields[-2]) if word == b"HMSG" else 0
    except ValueError:
        raise WireError(f"{word.decode()} with sizes {fields[-2:]}") from None
    if not 0 <= header_size <= size <= PAYLOAD_BYTES_MAX:
        raise WireError(f"{word.decode()} of {header_size} in {size} bytes")
    return header_size, size, fields[0].decode("latin-1")


def _object(data: bytes) -> dict[str, object]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise WireError("not a JSON object")
    return found


def connect(name: str, user: str, password: str) -> bytes:
    fields: dict[str, object] = {
        "verbose": False, "pedantic": False, "tls_required": False, "lang": "python", "version": "1", "protocol": 1,
        "headers": True, "no_responders": True, "name": name,
    }  # fmt: skip
    if user:
        fields |= {"user": user, "pass": password}
    return b"CONNECT " + json.dumps(fields).encode() + b"\r\n"


def subscribe(subject: str) -> bytes:
    return f"SUB {subject} 1\r\n".encode()


def publish(subject: str, reply: str, payload: bytes, headers: Mapping[str, str] | None = None) -> list[bytes]:
    """The message in parts, to be sent one after another."""
    if headers:
        header = ("NATS/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n").encode()
        line = f"HPUB {subject} {reply} {len(header)} {len(header) + len(payload)}\r\n".encode()
        return [line + header, payload, b"\r\n"]
    return [f"PUB {subject} {reply} {len(payload)}\r\n".encode(), payload, b"\r\n"]
