"""From exec to accepting, and what an idle process weighs: figures are printed, only ten times the goal is asserted."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from conformance.process import LISTENERS, GatewayProcess

READY_S_GOAL = 0.5
IDLE_MB_GOAL = 60


def resident_mb(pid: int) -> float:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def test_all_listeners_accept_soon_after_exec(
    start_gateway: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = start_gateway()
    for name in LISTENERS:
        with socket.create_connection(("127.0.0.1", gateway.port(name)), timeout=10):
            pass
    gateway.restart()
    with capsys.disabled():
        print(f"\nready {gateway.ready_s:.2f} s after exec (goal {READY_S_GOAL} s)", end="")
    assert gateway.ready_s < 10 * READY_S_GOAL


def test_an_idle_process_is_small(gateway: GatewayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    used = resident_mb(gateway.pid)
    with capsys.disabled():
        print(f"\nidle: {used:.0f} MB resident (goal {IDLE_MB_GOAL} MB)", end="")
    assert used < 10 * IDLE_MB_GOAL


def test_the_process_does_not_import_what_it_does_not_need() -> None:
    """Each of these costs start-up time or memory that the goals have no room for."""
    heavy = [
        "pydantic",
        "hypothesis",
        "argparse.ArgumentParser",
        "aiokafka",
        "nats",
        "redis",
        "xml",
        "unittest",
        "http.server",
    ]
    code = f"import sys, thalweg.gateway, thalweg.serve; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
