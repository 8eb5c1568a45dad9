"""HTTP for operators: ``/livez``, ``/readyz``, ``/metrics``. GET only, one request a connection, everything bounded.

``/livez`` answers while the loop turns; ``/readyz`` answers 200 while every listener accepts, 503 before and during the stop;
``/metrics`` is Prometheus' text format 0.0.4: names that end in ``_total`` are counters, the others gauges.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

from thalweg.metrics import meanings

HEAD_BYTES_MAX = 8 * 1024
HEAD_WAIT_S = 5.0
CONNECTIONS_MAX = 64
REQUEST = re.compile(rb"([A-Z]{1,16}) (/[!-~]{0,1024}) HTTP/1\.[01]\r\n")
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
PLAIN = "text/plain; charset=utf-8"
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Ops:
    """The operators' listener of one gateway."""

    def __init__(self, ready: Callable[[], bool], metrics: Callable[[], Mapping[str, int | float]]) -> None:
        self._ready = ready
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self.connections: set[OpsConnection] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; the address that it got."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: OpsConnection(self), host, port)
        name = self._server.sockets[0].getsockname()
        return str(name[0]), int(name[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in tuple(self.connections):
            connection.close()

    def answer(self, method: bytes, path: bytes) -> tuple[int, str, str]:
        """Status, content type and body for one request."""
        route = path.partition(b"?")[0]
        if route not in (b"/livez", b"/readyz", b"/metrics"):
            return 404, PLAIN, "there are /livez, /readyz and /metrics\n"
        if method != b"GET":
            return 405, PLAIN, "GET only\n"
        if route == b"/livez":
            return 200, PLAIN, "ok\n"
        if route == b"/readyz":
            return (200, PLAIN, "ok\n") if self._ready() else (503, PLAIN, "not ready\n")
        return 200, PROMETHEUS, exposition(self._metrics())


class OpsConnection(asyncio.Protocol):
    """One request, one answer, closed."""

    def __init__(self, ops: Ops) -> None:
        self._ops = ops
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]
        if len(self._ops.connections) >= CONNECTIONS_MAX:
            self.reply(503, PLAIN, "too many connections\n")
            return
        self._ops.connections.add(self)
        self._timer = asyncio.get_running_loop().call_later(HEAD_WAIT_S, self.reply, 408, PLAIN, "no request\n")

    def data_received(self, data: bytes) -> None:
        self._head += data
        if len(self._head) > HEAD_BYTES_MAX:
            self.reply(431, PLAIN, f"head of more than {HEAD_BYTES_MAX} bytes\n")
        elif b"\r\n\r\n" in self._head:
            request = REQUEST.match(self._head)
            if request is None:
                self.reply(400, PLAIN, "not an HTTP/1.1 request\n")
            else:
                self.reply(*self._ops.answer(request[1], request[2]))

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()

    def reply(self, status: int, kind: str, body: str) -> None:
        """Answer and close; what comes after the first answer is nobody's."""
        if self._transport is None:
            return
        payload = body.encode()
        allow = "Allow: GET\r\n" if status == 405 else ""
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n"
            f"{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + payload)
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._forget()

    def _forget(self) -> None:
        self._transport = None
        self._head = b""
        self._ops.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def exposition(metrics: Mapping[str, int | float]) -> str:
    """Prometheus' text format. A key is a name, or a name with its labels: ``connections{protocol="nats"}``."""
    lines: list[str] = []
    described = ""
    known = meanings()
    for key in sorted(metrics):
        name, brace, labels = key.partition("{")
        words = known.get(name)
        name = "thalweg_" + re.sub(r"[^a-zA-Z0-9_]", "_", name)
        if name != described:
            lines += [f"# HELP {name} {words}"] if words else []
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            described = name
        lines.append(f"{name}{brace}{labels} {metrics[key]}")
    return "\n".join(lines) + "\n"
