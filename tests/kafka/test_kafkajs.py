"""KafkaJS against the real process: administration, idempotence, compression, a group of two members, SASL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance import node_clients
from conformance.process import GatewayProcess
from protocols.identity import Secret
from tests.kafka.clients import fresh


def run(address: str, *more: str) -> dict[str, int]:
    try:
        node_clients.modules()
    except node_clients.NoNode as reason:
        pytest.skip(str(reason))
    said: dict[str, int] = node_clients.run("kafka_client", address, fresh("js"), *more)
    return said


EXPECTED = {"partitions": 6, "brokers": 1, "members": 2, "committed": 360}


def test_kafkajs_works_unchanged(gateway: GatewayProcess) -> None:
    assert run(gateway.kafka) == EXPECTED


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256"])
def test_kafkajs_works_with_either_mechanism(
    start_gateway: Callable[..., GatewayProcess], tmp_path_factory: pytest.TempPathFactory, mechanism: str
) -> None:
    users = tmp_path_factory.mktemp("users") / "users.toml"
    users.write_text(f'[users.ann]\nsecret = "{Secret.of(b"secret", b"some salt")}"\nall = true\n')
    users.chmod(0o600)
    server = start_gateway(data=":memory:", flags=["--users", str(users)])
    assert run(server.kafka, mechanism, "ann", "secret") == EXPECTED
