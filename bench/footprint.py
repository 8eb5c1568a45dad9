"""What the process costs before anybody does anything: start time, idle memory, memory per idle connection."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.idle import Idle, weigh
from conformance.meters import cpu_s, resident_bytes
from conformance.process import GatewayProcess

STARTS = 5
SETTLE_S = 0.5
GREETINGS = {
    "kafka": b"\x00\x00\x00\x0d\x00\x12\x00\x00\x00\x00\x00\x07\x00\x03gen",  # ApiVersions v0
    "nats": b'CONNECT {"verbose":false,"protocol":1,"lang":"py"}\r\nPING\r\n',
    "mqtt": b"",  # made by `open_idle`: each with its own client id
    "resp": b"*1\r\n$4\r\nPING\r\n",
}


def measure_footprint(serve: Sequence[str], folder: Path, connections: int, env: Mapping[str, str]) -> dict[str, float]:
    """Figures by name: start in seconds, memory in MB, bytes per idle connection of each protocol."""
    figures: dict[str, float] = {}
    times = []
    for number in range(STARTS):
        gateway = GatewayProcess(serve, folder / f"start-{number}", env=env)
        with gateway:
            times.append(gateway.ready_s)
    figures["exec until all listeners accept, s (goal 0.5)"] = round(statistics.median(times), 3)
    with GatewayProcess(serve, folder / "idle", env=env) as running:
        assert isinstance(running, GatewayProcess)
        time.sleep(SETTLE_S)
        figures["idle memory, MB (goal 60)"] = round(resident_bytes(running.pid) / 1e6, 1)
        before = cpu_s(running.pid)
        time.sleep(2.0)
        figures["idle CPU, ms per s"] = round((cpu_s(running.pid) - before) * 1000 / 2.0, 3)
        for protocol in GREETINGS:
            each = measure_connections(running, protocol, connections // len(GREETINGS))
            figures[f"bytes per idle {protocol} connection (goal 10240)"] = round(each)
        figures |= measure_many(running)
    return figures


def measure_many(gateway: GatewayProcess, connections: int = 10_000) -> dict[str, float]:
    """Idle connections of four protocols at once, each with a subscription or a name: bytes for each, seconds for all."""
    began = time.monotonic()
    with Idle({protocol: ("127.0.0.1", gateway.port(protocol)) for protocol in GREETINGS}) as idle:
        each = weigh(gateway.pid, idle, connections // len(GREETINGS))
        opened_s = time.monotonic() - began
        idle.ask_all()
    return {
        f"bytes per idle connection of {connections} over four protocols (goal 10240)": round(each),
        f"opening these {connections}, s (goal 10)": round(opened_s, 1),
    }


def measure_connections(gateway: GatewayProcess, protocol: str, count: int) -> float:
    """Growth of the process's memory per connection that said hello and then nothing."""
    warm = [open_idle(gateway, protocol, n) for n in range(10)]
    time.sleep(SETTLE_S)
    before = resident_bytes(gateway.pid)
    idle = [open_idle(gateway, protocol, 1000 + n) for n in range(count)]
    time.sleep(SETTLE_S)
    grown = resident_bytes(gateway.pid) - before
    for connection in (*warm, *idle):
        connection.close()
    return grown / count


def open_idle(gateway: GatewayProcess, protocol: str, number: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", gateway.port(protocol)), 10)
    greeting = GREETINGS[protocol]
    if protocol == "mqtt":
        name = b"idle%05d" % number
        greeting = (
            b"\x10" + bytes([12 + len(name)]) + b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
        )
    connection.sendall(greeting)
    if not connection.recv(65536):
        raise ConnectionError(f"{protocol}: the gateway closed an idle connection")
    return connection
