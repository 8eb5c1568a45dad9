"""A Kafka client for scripts over a real socket: whole requests out, decoded answers in, one after the other."""

from __future__ import annotations

import socket
from typing import Any

from protocols.kafka.schema import APIS
from tests.kafka.scripts import CODECS, KEYS, frame

CLOSED = "closed"


class Wire:
    """One connection to any broker; it is made anew after the broker closed it."""

    def __init__(self, address: str, timeout_s: float = 30) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            host, _, port = self.address.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def send(self, api: str, version: int, **fields: Any) -> None:
        self._connected().sendall(frame(api, version, 1, **fields))

    def send_bytes(self, data: bytes) -> None:
        self._connected().sendall(data)

    def take(self, api: str, version: int) -> Any:
        """The next answer, or ``CLOSED``."""
        head = self._take_bytes(4)
        data = self._take_bytes(int.from_bytes(head, "big")) if len(head) == 4 else b""
        if not data:
            self.close()
            return CLOSED
        key = KEYS[api]
        offset = 5 if key != 18 and APIS[key].flexible(version) else 4
        message, end = CODECS.decode("response", key, version, memoryview(data), offset)
        assert end == len(data), "more bytes than the message has"
        return message

    def _take_bytes(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self._connected().recv(count - len(data))
            except ConnectionError:
                more = b""
            if not more:
                return b""
            data += more
        return data

    def ask(self, api: str, version: int, **fields: Any) -> Any:
        try:
            self.send(api, version, **fields)
        except ConnectionError:
            self.close()
            self.send(api, version, **fields)
        return self.take(api, version)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def plain(message: Any) -> Any:
    """A message as dicts and lists."""
    if hasattr(message, "__slots__"):
        return {name: plain(getattr(message, name)) for name in message.__slots__ if hasattr(message, name)}
    if isinstance(message, list | tuple):
        return [plain(one) for one in message]
    return bytes(message) if isinstance(message, memoryview) else message
