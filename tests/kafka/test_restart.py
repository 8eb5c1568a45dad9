"""What a producer was told, and what it retries, over kill -9."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, Message

from conformance.process import GatewayProcess
from tests.kafka.clients import WAIT_S, create, fresh, producer, read_all

ROUNDS = 3
EACH = 300


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_an_idempotent_producer_writes_once_and_in_order_over_kill_9(
    start_gateway: Callable[..., GatewayProcess], durability: str
) -> None:
    gateway = start_gateway()
    topic = create(gateway.kafka, fresh(), thalweg_durability=durability)
    delivered: list[bytes] = []

    def told(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        delivered.append(message.value())

    made = producer(
        gateway.kafka, enable_idempotence=True, batch_num_messages=10, reconnect_backoff_max_ms=300, retry_backoff_ms=20
    )
    sent: list[bytes] = []
    for number in range(ROUNDS):
        for _ in range(EACH):
            value = b"%d" % len(sent)
            sent.append(value)
            made.produce(topic, value, on_delivery=told)
            made.poll(0)
        while len(delivered) < EACH * number + EACH // 3:
            made.poll(0.01)
        gateway.restart(kill=True)
    assert made.flush(WAIT_S) == 0
    assert delivered == sent
    assert [message.value() for message in read_all(gateway.kafka, topic, len(sent))] == sent
