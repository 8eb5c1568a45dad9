"""WebSocket between a socket's bytes and a session's: a channel like ``thalweg.tls.Channel``, over one of those for ``wss``."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from protocols.websocket import (
    CLOSE,
    NORMAL,
    PING,
    PONG,
    REQUEST_BYTES_MAX,
    Decoder,
    Refusal,
    answer,
    close_frame,
    frame,
)
from thalweg import tls

READ_BYTES = 64 * 1024
SUBPROTOCOLS: dict[str, tuple[str, ...]] = {"mqtt": ("mqtt", "mqttv3.1"), "nats": ()}
"""By protocol. Empty: clients offer none."""


class WebSocketError(ssl.SSLError):
    """The peer broke the rules of WebSocket; a channel's errors are known to the driver as TLS's are."""

    event = "websocket_errors"


class Channel:
    """See ``thalweg.tls.Channel``. Handshake, then frames; every write is one message."""

    __slots__ = ("_decoder", "_ended", "_inner", "_opening", "_out", "_rules", "ready")

    def __init__(self, rules: WebSocket) -> None:
        self._rules = rules
        self._inner = rules.inner.channel() if rules.inner is not None else None
        self._decoder = Decoder()
        self._opening = bytearray()
        self._out = bytearray()
        self._ended = False  # a Close frame was sent
        self.ready = False
        """The handshake is done."""

    def feed(self, data: memoryview) -> None:
        if self._inner is not None:
            self._inner.feed(data)
            if self._inner.ready:
                self._decrypt(self._inner)
        else:
            self._take(data)

    def _decrypt(self, inner: tls.Channel) -> None:
        scratch = memoryview(bytearray(READ_BYTES))
        while (count := inner.read(scratch)) > 0:
            self._take(scratch[:count])

    def _take(self, data: memoryview) -> None:
        if self.ready:
            self._decoder.feed(data)
        else:
            self._opening += data

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        if self._inner is not None and not self._inner.ready:
            if not self._inner.handshake():
                return False
            self._decrypt(self._inner)
        head, end, rest = self._opening.partition(b"\r\n\r\n")
        try:
            if len(head) > REQUEST_BYTES_MAX:
                raise Refusal("431 Request Header Fields Too Large", f"the limit is {REQUEST_BYTES_MAX} bytes")
            if not end:
                return False
            self._out += answer(bytes(head + end), self._rules.subprotocols, self._rules.origins)
        except Refusal as refusal:
            self._out += refusal.response
            raise WebSocketError(str(refusal)) from None
        self.ready = True
        self._opening.clear()
        self._decoder.feed(bytes(rest))
        return True

    def read(self, into: memoryview) -> int:
        """Plain bytes; 0: it needs more of the socket's; -1: the peer says no more."""
        decoder = self._decoder
        self._control()
        if decoder.plain:
            count = min(len(into), len(decoder.plain))
            into[:count] = memoryview(decoder.plain)[:count]
            del decoder.plain[:count]
            return count
        if decoder.failed:
            self._end(decoder.failed)
            raise WebSocketError(f"a frame that is not allowed: closed with {decoder.failed}")
        return -1 if decoder.closed else 0

    def _control(self) -> None:
        for opcode, payload in self._decoder.control:
            if opcode == PING and not self._ended:
                self._out += frame(payload, PONG)
            elif opcode == CLOSE:
                self._end(int.from_bytes(payload[:2], "big") if payload else NORMAL)
        self._decoder.control.clear()

    def _end(self, code: int) -> None:
        if not self._ended:
            self._ended = True
            self._out += close_frame(code)

    def write(self, data: memoryview) -> int:
        """One message; all of it."""
        if not self._ended:
            self._out += frame(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What is to be sent to the socket."""
        out = bytes(self._out)
        self._out.clear()
        if self._inner is None:
            return out
        if out:
            self._inner.write(memoryview(out))
        return self._inner.take()

    def pending(self) -> int:
        """Bytes that ``take`` would give, about."""
        return len(self._out) + (self._inner.pending() if self._inner is not None else 0)

    def close(self) -> None:
        """Say Close; the peer's is not waited for."""
        self._end(NORMAL)
        if self._inner is not None:
            out = bytes(self._out)
            self._out.clear()
            self._inner.write(memoryview(out))
            self._inner.close()


class WebSocket:
    """What a listener's new connections become: in ``tls.Secure``'s place. ``inner``: TLS around it all."""

    __slots__ = ("after", "either", "inner", "origins", "subprotocols")

    def __init__(self, subprotocols: Sequence[str], origins: Sequence[str], inner: tls.Secure | None) -> None:
        self.subprotocols = subprotocols
        self.origins = [origin.strip().lower() for origin in origins if origin.strip()]
        self.inner = inner
        self.after = self.either = False

    def channel(self) -> Channel:
        return Channel(self)
