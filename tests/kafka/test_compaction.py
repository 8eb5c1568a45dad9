"""Compaction and retention as a consumer sees them, end to end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from conformance.process import GatewayProcess
from tests.kafka.clients import WAIT_S, admin, consumer, create, fresh, producer

KEYS = 50
ROUNDS = 40
VALUE = b"v" * 1000


@pytest.fixture(scope="module")
def gateway(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    return start_gateway(env={"THALWEG_DURABILITY__DEFAULT": "os"})


def put(address: str, topic: str, records: list[tuple[str, bytes | None]]) -> None:
    failed: list[object] = []
    made = producer(address, linger_ms=5, batch_num_messages=50)
    for key, value in records:
        made.produce(topic, value, key, on_delivery=lambda error, message: failed.append(error) if error else None)
        made.poll(0)
    assert made.flush(WAIT_S) == 0 and not failed


def all_records(address: str, topic: str) -> list[tuple[int, str, bytes | None]]:
    """(offset, key, value) of everything that is there."""
    reader = consumer(address, enable_partition_eof=True)
    low, high = reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=WAIT_S)
    reader.assign([TopicPartition(topic, 0, low)])
    found: list[tuple[int, str, bytes | None]] = []
    while True:
        message = reader.poll(WAIT_S)
        assert message is not None
        if message.error():
            break  # the partition's end
        found.append((message.offset(), message.key().decode(), message.value()))
    assert [offset for offset, _, _ in found] == sorted({offset for offset, _, _ in found})
    assert not found or found[-1][0] < high
    reader.close()
    return found


def eventually(address: str, topic: str, holds: Callable[[list[tuple[int, str, bytes | None]]], bool]) -> None:
    deadline = time.monotonic() + 2 * WAIT_S
    while not holds(found := all_records(address, topic)):
        assert time.monotonic() < deadline, f"{len(found)} records are left: {found[:5]}"


def test_a_compacted_topic_keeps_the_last_of_each_key(gateway: GatewayProcess) -> None:
    topic = create(
        gateway.kafka, fresh(), cleanup_policy="compact", segment_bytes="1048576", min_cleanable_dirty_ratio="0.01",
        delete_retention_ms="100000",
    )  # fmt: skip
    records = [(f"k{number}", b"%d " % turn + VALUE) for turn in range(ROUNDS) for number in range(KEYS)]
    gone = [(f"k{number}", None) for number in range(0, KEYS, 5)]
    filler = [("filler", VALUE * 100)] * 24
    put(gateway.kafka, topic, [*records, *gone, *filler])
    last: dict[str, bytes | None] = {f"k{number}": b"%d " % (ROUNDS - 1) + VALUE for number in range(KEYS)}
    last |= dict(gone)

    def compacted(found: list[tuple[int, str, bytes | None]]) -> bool:
        kept = [(key, value) for _, key, value in found if key.startswith("k")]
        return dict(kept) == last and len(kept) == len(last)

    def without_tombstones(found: list[tuple[int, str, bytes | None]]) -> bool:
        kept = {key: value for _, key, value in found if key.startswith("k")}
        return kept == {key: value for key, value in last.items() if value is not None}

    eventually(gateway.kafka, topic, compacted)
    before = all_records(gateway.kafka, topic)
    assert before[-1][0] == len(records) + len(gone) + len(filler) - 1, "offsets stay what they were"
    gateway.restart(kill=True)
    after = all_records(gateway.kafka, topic)
    assert {offset for offset, _, _ in after} <= {offset for offset, _, _ in before} and compacted(after)
    change = ConfigEntry("delete.retention.ms", "0", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    client = admin(gateway.kafka)
    assert next(iter(client.incremental_alter_configs([resource]).values())).result(WAIT_S) is None
    put(gateway.kafka, topic, filler)
    eventually(gateway.kafka, topic, without_tombstones)


def test_old_segments_go_by_size_and_by_age(gateway: GatewayProcess) -> None:
    topic = create(gateway.kafka, fresh(), retention_bytes="2000000", segment_bytes="1048576")
    put(gateway.kafka, topic, [(f"k{number}", VALUE * 100) for number in range(60)])
    eventually(gateway.kafka, topic, lambda found: 10 < len(found) < 40 and found[-1][1] == "k59")
    aged = create(gateway.kafka, fresh(), retention_ms="1000", segment_ms="1000")
    put(gateway.kafka, aged, [("old", b"x")] * 10)
    eventually(gateway.kafka, aged, lambda found: not found)
    client = admin(gateway.kafka)
    assert client.list_topics(aged, timeout=WAIT_S).topics[aged].error is None
