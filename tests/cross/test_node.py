"""The stock JavaScript clients are there, or the machine says why not."""

from __future__ import annotations

import pytest

from conformance import node_clients


@pytest.mark.peer
def test_stock_javascript_clients_load() -> None:
    try:
        found = node_clients.run("hello", timeout_s=60)
    except node_clients.NoNode as why:
        pytest.skip(str(why))
    assert {"kafkajs", "nats", "mqtt", "ioredis", "redis"} <= set(found)
