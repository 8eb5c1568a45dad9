"""The operators' listener: which sessions it has, and what ``/metrics`` says.

``/livez`` answers while the loop turns; ``/readyz`` answers 200 while what is appended can be made durable, 503 while it
cannot, and nobody before and after the process serves; ``/metrics`` is Prometheus' text format 0.0.4: names that end in
``_total`` are counters, the others gauges. The other paths are in ``http_routes``.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from substrate.api import Durability, StreamConfig
from thalweg.metrics import meanings

if TYPE_CHECKING:
    from protocols.api import Port, Session
    from protocols.hub import Hub
    from thalweg.config import Config
    from thalweg.http_view import View


def sessions(
    config: Config,
    listeners: Mapping[str, tuple[str, int]],
    hub: Callable[[], Hub | None],
    ready: Callable[[], bool],
    metrics: Callable[[], Mapping[str, int | float]],
) -> dict[str, Callable[[Port], Session]]:
    """A session factory for each HTTP listener. What HTTP needs is imported when the first one connects: 20 ms."""

    made: list[View] = []
    started_ns = time.time_ns()

    def make(port: Port) -> Session:
        from thalweg.http import HttpSession
        from thalweg.http_view import View

        if not made:
            new = StreamConfig(Durability(config.durability.default), interval_ms=config.durability.interval_ms)
            made.append(
                View(hub, ready, metrics, [*config.http.hosts.split(","), socket.gethostname()], new, started_ns)
            )
        return HttpSession(port, made[0])

    return {name: make for name in ("http", "http_tls") if name in listeners}


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
