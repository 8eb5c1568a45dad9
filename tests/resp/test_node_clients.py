"""ioredis and node-redis as they are installed from npm, over the real process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance import node_clients
from conformance.process import GatewayProcess


@pytest.fixture(scope="module")
def server(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    return start_gateway(flags=["--kafka", "off", "--mqtt", "off", "--nats", "off"])


def run(program: str, *arguments: str) -> Any:
    try:
        return node_clients.run(program, *arguments)
    except node_clients.NoNode as why:
        pytest.skip(str(why))


WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


@pytest.mark.peer
def test_ioredis_does_its_daily_work(server: GatewayProcess) -> None:
    seen = run("ioredis", f"127.0.0.1:{server.port('resp')}")
    assert seen == {
        "set": "OK",
        "pipeline": [2, "2"],
        "multi": ["OK", 2],
        "hash": {"x": "1", "y": "2"},
        "zset": ["m", "1", "n", "2"],
        "entries": [["k", "v"]],
        "acked": 1,
        "blpop": ["q", "job"],
        "heard": ["news:io", "hello"],
        "keys": ["a", "b", "h", "s", "z"],
        "bits": [0, 1],
        "geo": ["p"],
        "error": WRONG_TYPE,
    }


@pytest.mark.peer
@pytest.mark.parametrize("protocol", ["2", "3"])
def test_node_redis_does_its_daily_work(server: GatewayProcess, protocol: str) -> None:
    seen = run("redis", f"127.0.0.1:{server.port('resp')}", protocol)
    assert seen == {
        "set": "OK",
        "pipeline": [2, "2"],
        "multi": ["OK", 2],
        "hash": {"x": "1", "y": "2"},
        "zset": [["m", 1], ["n", 2]],
        "entries": [{"k": "v"}],
        "acked": 1,
        "blpop": "job",
        "heard": ["news:node", "hello"],
        "keys": ["a", "b", "h", "s", "z"],
        "geo": ["p"],
        "error": WRONG_TYPE,
    }
