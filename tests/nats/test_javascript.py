"""nats.js 2 and 3, push consumers: the same against ours and the real nats-server (the matrix has their other features)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance import node_clients
from conformance.process import GatewayProcess


@pytest.mark.parametrize("version", ["2", "3"])
def test_push_queue_and_ordered_consumers(gateway: GatewayProcess, peer: Callable[[str], str], version: str) -> None:
    try:
        ours = node_clients.run("nats_push", version, gateway.nats)
    except node_clients.NoNode as reason:
        pytest.skip(str(reason))
    assert len(ours["durable"]) == len(ours["ordered"]) == 100 and ours["queue"] == [str(n) for n in range(5)]
    assert ours == node_clients.run("nats_push", version, peer("nats-server"))
