"""What the client tests share: topics of their own, and stock clients told to be quick."""

from __future__ import annotations

import uuid
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

WAIT_S = 30.0
"""A deadline, not a goal."""


def fresh(prefix: str = "t") -> str:
    """A name nobody used."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def admin(address: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": address})


def create(address: str, name: str, partitions: int = 1, **config: str) -> str:
    """A topic; ``config`` with ``_`` for ``.``."""
    settings = {key.replace("_", "."): value for key, value in config.items()}
    client = admin(address)  # kept while it works: librdkafka ends with its last reference
    client.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(WAIT_S)
    return name


def producer(address: str, **config: Any) -> Producer:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    return Producer({"bootstrap.servers": address, "linger.ms": 0, **settings})


def consumer(address: str, group: str | None = None, **config: Any) -> Consumer:
    settings = {key.replace("_", "."): value for key, value in config.items()}
    return Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group or fresh("g"),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 200,
            "reconnect.backoff.max.ms": 500,
            **settings,
        }
    )


def produce(address: str, topic: str, values: list[Any], **config: Any) -> list[Message]:
    """Messages as delivered, in order."""
    delivered: list[Message] = []

    def told(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        delivered.append(message)

    made = producer(address, **config)
    for value in values:
        made.produce(topic, value, on_delivery=told)
    assert made.flush(WAIT_S) == 0
    return delivered


def read(reader: Consumer, count: int) -> list[Message]:
    """The next so many messages."""
    found: list[Message] = []
    misses = 0
    while len(found) < count:
        message = reader.poll(1.0)
        if message is None:
            misses += 1
            assert misses < WAIT_S, f"{len(found)} of {count} messages came"
            continue
        assert message.error() is None, message.error()
        found.append(message)
    return found


def read_all(address: str, topic: str, count: int, **config: Any) -> list[Message]:
    """The topic's first so many messages."""
    reader = consumer(address, **config)
    reader.subscribe([topic])
    try:
        return read(reader, count)
    finally:
        reader.close()
