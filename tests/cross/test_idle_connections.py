"""Many connections that say nothing: what each weighs, that all still answer, and what TLS adds. ``bench`` measures 10,000."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.idle import Idle, weigh
from protocols import outbox
from tests.thalweg.certificates import Certificates

EACH = 300
BYTES_GOAL = 10 * 1024
TLS_BYTES_MAX = 40 * 1024
PROTOCOLS = ("kafka", "nats", "mqtt", "resp")
COMPILED = not outbox.__file__.endswith(".py")


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def test_idle_connections_of_four_protocols_are_small_and_alive(
    start_gateway: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = start_gateway()
    with Idle({name: address(gateway.listeners[name]) for name in PROTOCOLS}) as idle:
        each = weigh(gateway.pid, idle, EACH)
        idle.ask_all()
    with capsys.disabled():
        print(f"\n{each:.0f} bytes for each idle connection (goal {BYTES_GOAL})", end="")
    assert each < (BYTES_GOAL if COMPILED else 2 * BYTES_GOAL)


def test_idle_connections_with_tls_are_stated(
    start_gateway: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Certificates.make(tmp_path_factory.mktemp("certificates"))
    env = {f"THALWEG_{name.upper()}__TLS_LISTEN": "127.0.0.1:0" for name in PROTOCOLS}
    env |= {"THALWEG_TLS__CERTIFICATE": made.path("server.pem"), "THALWEG_TLS__KEY": made.path("server.key")}
    gateway = start_gateway(env=env)
    with Idle({name: address(gateway.listeners[f"{name}_tls"]) for name in PROTOCOLS}, made.client()) as idle:
        each = weigh(gateway.pid, idle, EACH // 3)
        idle.ask_all()
    with capsys.disabled():
        print(f"\n{each:.0f} bytes for each idle TLS connection", end="")
    assert each < TLS_BYTES_MAX
