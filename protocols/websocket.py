# cython: language_level=3
"""WebSocket (RFC 6455), server side, without a socket: the opening handshake, and frames in both directions.

    frame = FIN, RSV1-3, opcode (4 bits) | MASK, length (7 bits) | length (16 or 64 bits) | masking key (4 bytes) | payload

The payload of binary messages is one stream of bytes: neither frames nor messages are units to the protocols above (MQTT 5.0
section 6.0; nats-server likewise), so that nothing is held back or joined, whatever length a frame announces. Extensions are
never agreed to. A frame that breaks the rules ends the connection with the status code of section 7.4.1: 1002 for what is
not allowed, 1003 for text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

import cython

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
REQUEST_BYTES_MAX = 8192
NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED_DATA = 1000, 1001, 1002, 1003
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Refusal(Exception):
    """The handshake is refused; ``response`` is the whole HTTP answer."""

    def __init__(self, status: str, why: str, more: str = "") -> None:
        super().__init__(why)
        body = why + "\n"
        self.response = (
            f"HTTP/1.1 {status}\r\n{more}Content-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        ).encode()


def answer(request: bytes, subprotocols: Sequence[str], origins: Sequence[str]) -> bytes:
    """The answer to an opening handshake: a request's head, up to and with its empty line.

    The first subprotocol that the client offers and that is known is chosen; one that offers none gets none (as mosquitto
    does). ``origins``: what browsers may come from; empty: anything.

    Raises:
        Refusal: not a handshake, not version 13, no subprotocol in common, a foreign origin.
    """
    line, fields = _parse(request)
    if len(line) != 3 or line[0] != "GET" or line[2] != "HTTP/1.1":
        raise Refusal("400 Bad Request", "only GET of HTTP/1.1 opens a WebSocket")
    if "websocket" not in _tokens(fields, "upgrade") or "upgrade" not in _tokens(fields, "connection"):
        raise Refusal("426 Upgrade Required", "this address speaks WebSocket", "Upgrade: websocket\r\n")
    if fields.get("sec-websocket-version") != "13":
        raise Refusal("426 Upgrade Required", "version 13 is spoken here", "Sec-WebSocket-Version: 13\r\n")
    key = fields.get("sec-websocket-key", "")
    if not _is_key(key):
        raise Refusal("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes in base64")
    origin = fields.get("origin")
    if origin is not None and origins and origin.lower() not in origins:
        raise Refusal("403 Forbidden", "this origin may not connect")
    offered = [name.strip() for name in fields.get("sec-websocket-protocol", "").split(",") if name.strip()]
    chosen = next((name for name in offered if name in subprotocols), None)
    if offered and subprotocols and chosen is None:
        raise Refusal("400 Bad Request", f"spoken here: {', '.join(subprotocols)}")
    accepted = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
    told = f"Sec-WebSocket-Protocol: {chosen}\r\n" if chosen else ""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accepted}\r\n{told}\r\n"
    ).encode()


def _parse(request: bytes) -> tuple[list[str], dict[str, str]]:
    """The request line's words, and the fields; those given twice are joined by a comma."""
    try:
        lines = request.decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise Refusal("400 Bad Request", "not HTTP") from None
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if line and (not colon or not name or name != name.strip()):
            raise Refusal("400 Bad Request", "a header without a name")
        if line:
            key = name.lower()
            fields[key] = f"{fields[key]}, {value.strip()}" if key in fields else value.strip()
    return lines[0].split(" "), fields


def _tokens(fields: dict[str, str], name: str) -> list[str]:
    return [token.strip().lower() for token in fields.get(name, "").split(",")]


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def frame(payload: bytes, opcode: int = BINARY) -> bytes:
    """One whole message from the server, not masked."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int) -> bytes:
    return frame(code.to_bytes(2, "big"), CLOSE)


@cython.cclass
class Decoder:
    """What a client sends, cut anywhere. ``plain`` grows by what its binary messages hold; ``control`` by whole control frames
    (opcode, payload). ``failed``: the status code that ends the connection, once not 0; nothing is taken after it, nor after a
    Close frame (``closed``)."""

    def __init__(self) -> None:
        self.plain = bytearray()
        self.control = []
        self.failed = 0
        self.closed = False
        self._header = bytearray()
        self._payload = bytearray()
        self._left = 0
        self._opcode = -1
        self._fragmented = False
        self._mask = b"\0\0\0\0"
        self._phase = 0

    def feed(self, data: object) -> None:
        """Take all of ``data``."""
        view: cython.const[cython.uchar][::1] = data
        at: cython.Py_ssize_t = 0
        end: cython.Py_ssize_t = len(view)
        part: cython.Py_ssize_t
        while at < end and not self.failed and not self.closed:
            if self._opcode < 0:
                self._header.append(view[at])
                at += 1
                if len(self._header) >= 2:
                    self._begin()
                if self._opcode < 0:
                    continue
            part = min(self._left, end - at)
            if part:
                self._unmask(view, at, part)
                at += part
            if self._left == 0:
                self._complete()

    @cython.cfunc
    @cython.exceptval(-1)
    def _begin(self) -> cython.int:
        """Look at the header so far: what is wrong shows early; whole, it makes ``_opcode`` known."""
        head: bytes = bytes(self._header)
        opcode: cython.int = head[0] & 15
        length: cython.longlong = head[1] & 127
        extended: cython.int = 2 if length == 126 else 8 if length == 127 else 0
        if head[0] & 0x70 or not head[1] & 0x80 or 2 < opcode < 8 or opcode > 10:
            self.failed = PROTOCOL_ERROR
        elif opcode == TEXT:
            self.failed = UNSUPPORTED_DATA
        elif not head[0] & 0x80 or length > 125 if opcode >= 8 else (opcode == CONTINUATION) != self._fragmented:
            self.failed = PROTOCOL_ERROR
        if self.failed or len(head) < 6 + extended:
            return 0
        if extended:
            if head[2] & 0x80 and extended == 8:
                self.failed = PROTOCOL_ERROR
                return 0
            length = int.from_bytes(head[2 : 2 + extended], "big")
            if length < 126 or (extended == 8 and length < 65536):
                self.failed = PROTOCOL_ERROR
                return 0
        self._mask = head[2 + extended :]
        self._phase = 0
        self._left = length
        self._opcode = opcode
        if opcode < 8:
            self._fragmented = not head[0] & 0x80
        self._header.clear()
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _unmask(
        self, view: cython.const[cython.uchar][::1], at: cython.Py_ssize_t, count: cython.Py_ssize_t
    ) -> cython.int:
        target: bytearray = self.plain if self._opcode < 8 else self._payload
        start: cython.Py_ssize_t = len(target)
        key: bytes = self._mask[self._phase :] + self._mask[: self._phase]
        if cython.compiled:
            target.extend(view[at : at + count])
            out: cython.uchar[::1] = target
            index: cython.Py_ssize_t
            for index in range(count):
                out[start + index] ^= key[index & 3]
        else:
            whole = key * (count // 4 + 1)
            number = int.from_bytes(bytes(view[at : at + count]), "big") ^ int.from_bytes(whole[:count], "big")
            target += number.to_bytes(count, "big")
        self._left -= count
        self._phase = (self._phase + count) & 3
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _complete(self) -> cython.int:
        """A frame's payload is there."""
        opcode: cython.int = self._opcode
        self._opcode = -1
        if opcode < 8:
            return 0
        payload: bytes = bytes(self._payload)
        self._payload.clear()
        if opcode == CLOSE:
            if len(payload) == 1 or (payload and not may_close_with(int.from_bytes(payload[:2], "big"))):
                self.failed = PROTOCOL_ERROR
                return 0
            self.closed = True
        self.control.append((opcode, payload))
        return 0


def may_close_with(code: int) -> bool:
    """Whether a peer may send this status code (RFC 6455 section 7.4)."""
    return 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
