"""The benchmark's own parts work: generators compile, and each kind of run gets through against the gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bench import measures
from bench.measures import Measure, RunFailed, Server
from bench.run import Case, Row, cases
from conformance.process import GatewayProcess, find_command
from conformance.stock_clients import create_topic

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 0.1


@pytest.fixture(scope="module")
def server(gateway: GatewayProcess) -> Server:
    if shutil.which(os.environ.get("CC", "cc").split()[0]) is None or shutil.which("make") is None:
        pytest.skip("the generators are C: no compiler here")
    subprocess.run(["make", "-s", "-C", str(ROOT / "bench")], check=True)
    return Server("thalweg", gateway.pid, {name: gateway.port(name) for name in ("kafka", "nats", "mqtt", "resp")})


@pytest.mark.parametrize(
    "case",
    [case for case in cases() if "in memory" not in case.title and "perf tool" not in case.title],
    ids=lambda case: case.title,
)
def test_each_row_of_the_benchmark_can_be_measured(server: Server, case: Case) -> None:
    if case.group == "resp" and find_command("redis-benchmark") is None:
        pytest.skip("redis-benchmark is not installed (make peers)")
    measured = case.run(server, SECONDS if case.group != "resp" else 0.02)
    assert measured.rate > 0 and measured.cpu_us >= 0


def test_kafka_batches_go_in_and_come_out(server: Server, gateway: GatewayProcess) -> None:
    asyncio.run(create_topic(gateway.kafka, "bench-test"))
    assert measures.kafka_produce(server, "bench-test", 8).rate > 0
    assert measures.kafka_fetch(server, "bench-test", 8).rate > 0


def test_a_run_that_cannot_get_through_says_why(server: Server) -> None:
    with pytest.raises(RunFailed, match="the stream was refused"):
        measures.run_generator("natsgen", "-p", server.ports["nats"], "-m", "js", "-J", "[]")


def test_a_row_tells_whether_its_goal_is_reached() -> None:
    row = Row("nats", "x", "op/s", 3.0, [Measure(30, 1), Measure(50, 1), Measure(40, 1)], [Measure(10, 1)])
    assert row.ratio == 4.0 and row.verdict == "goal 3x: reached"
    row.goal = 5.0
    assert row.verdict == "goal 5x: not reached"
    row.peer = []
    assert row.verdict == "goal 5x: not measured"
