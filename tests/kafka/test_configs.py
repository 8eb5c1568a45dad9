"""Configurations: what is accepted holds, what cannot hold is refused; what administrators may look at."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from conformance.harness import START_NS, Harness
from protocols.kafka.compression import recompressed
from protocols.kafka.errors import Code
from protocols.kafka.topic_config import CONFIGS
from substrate.batch import COMPRESSION, check, decode, header
from tests.kafka.scripts import Script, batch, harness

NOW_MS = START_NS // 1_000_000
CODECS = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


@pytest.fixture(params=[False, True], ids=["at-once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    return harness(delayed=request.param)


@pytest.fixture
def script(gateway: Harness) -> Script:
    return Script(gateway)


def keyed(*records: tuple[bytes | None, bytes | None], timestamp: int = NOW_MS, compression: int = 0) -> bytes:
    """A batch of (key, value)."""
    builder = DefaultRecordBatchBuilder(2, compression, False, -1, -1, -1, 1 << 30)
    for number, (key, value) in enumerate(records):
        assert builder.append(number, timestamp, key, value, []) is not None
    return bytes(builder.build())


def described(script: Script, topic: str, *names: str) -> dict[str, tuple[str, int]]:
    """Value and source by name."""
    resource = {"resource_type": 2, "resource_name": topic, "configuration_keys": list(names) or None}
    answer = script.ask("DescribeConfigs", 4, resources=[resource]).results[0]
    assert answer.error_code == 0
    return {one.name: (one.value, one.config_source) for one in answer.configs}


def altered(script: Script, topic: str, *entries: tuple[str, str | None, int]) -> int:
    configs = [{"name": name, "value": value, "config_operation": operation} for name, value, operation in entries]
    resource = {"resource_type": 2, "resource_name": topic, "configs": configs}
    return int(script.ask("IncrementalAlterConfigs", 1, resources=[resource]).responses[0].error_code)


SET, DELETE, APPEND, SUBTRACT = 0, 1, 2, 3


# what holds


def test_every_configuration_is_told_with_its_source(script: Script) -> None:
    script.create("t", retention_ms="1000", cleanup_policy="compact,delete")
    found = described(script, "t")
    assert list(found) == list(CONFIGS)
    assert found["retention.ms"] == ("1000", 1) and found["cleanup.policy"] == ("compact,delete", 1)
    assert found["max.message.bytes"] == ("1048588", 5) and found["min.insync.replicas"] == ("1", 5)
    assert [*described(script, "t", "retention.ms", "no.such")] == ["retention.ms"]


def test_what_was_described_can_be_set_again(script: Script) -> None:
    script.create("t", segment_ms="100000", min_cleanable_dirty_ratio="0.25", compression_type="zstd")
    before = described(script, "t")
    assert altered(script, "t", *((name, value, SET) for name, (value, _) in before.items())) == 0
    assert {name: value for name, (value, _) in described(script, "t").items()} == {
        name: value for name, (value, _) in before.items()
    }


def test_retention_is_kept_while_a_topic_is_only_compacted(script: Script) -> None:
    script.create("t", retention_ms="1000")
    port = script.client.session.port  # type: ignore[attr-defined]

    def held() -> Any:
        return next(topic.config for topic in port.topics("default") if topic.name == b"t")

    assert altered(script, "t", ("cleanup.policy", "compact", SET)) == 0
    assert (held().retention_ms, held().compaction) == (-1, True)
    assert described(script, "t")["retention.ms"] == ("1000", 1)
    assert altered(script, "t", ("retention.ms", "2000", SET)) == 0 and held().retention_ms == -1
    assert altered(script, "t", ("cleanup.policy", "delete", APPEND)) == 0
    assert (held().retention_ms, held().compaction) == (2000, True)
    assert described(script, "t")["cleanup.policy"] == ("compact,delete", 1)
    assert altered(script, "t", ("cleanup.policy", "compact", SUBTRACT)) == 0
    assert (held().retention_ms, held().compaction) == (2000, False)
    assert altered(script, "t", ("cleanup.policy", None, DELETE), ("retention.ms", None, DELETE)) == 0
    assert described(script, "t", "cleanup.policy", "retention.ms") == {
        "cleanup.policy": ("delete", 5),
        "retention.ms": ("604800000", 5),
    }


def test_the_old_form_replaces_all_that_a_topic_says(script: Script) -> None:
    script.create("t", retention_ms="1000", max_message_bytes="500")
    resource = {"resource_type": 2, "resource_name": "t", "configs": [{"name": "max.message.bytes", "value": "600"}]}
    assert script.ask("AlterConfigs", 1, resources=[resource], validate_only=True).responses[0].error_code == 0
    assert described(script, "t")["retention.ms"] == ("1000", 1)
    assert script.ask("AlterConfigs", 1, resources=[resource]).responses[0].error_code == 0
    found = described(script, "t")
    assert found["retention.ms"] == ("604800000", 5) and found["max.message.bytes"] == ("600", 1)


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        ([("retention.ms", "soon", SET)], Code.INVALID_CONFIG),
        ([("retention.ms", "-2", SET)], Code.INVALID_CONFIG),
        ([("retention.ms", None, SET)], Code.INVALID_CONFIG),
        ([("retention.ms", "5", APPEND)], Code.INVALID_CONFIG),
        ([("retention.ms", "5", 7)], Code.INVALID_CONFIG),
        ([("retention.ms", "5", SET), ("retention.ms", "6", SET)], Code.INVALID_CONFIG),
        ([("retention.ms", "5", SET), ("no.such", "6", SET)], Code.INVALID_CONFIG),
        ([("no.such", None, DELETE)], Code.NONE),
        ([("cleanup.policy", "none", SET)], Code.INVALID_CONFIG),
        ([("cleanup.policy", "", SET)], Code.NONE),
        ([("min.cleanable.dirty.ratio", "1.5", SET)], Code.INVALID_CONFIG),
        ([("min.cleanable.dirty.ratio", "nan", SET)], Code.INVALID_CONFIG),
        ([("segment.bytes", "100", SET)], Code.INVALID_CONFIG),
        ([("preallocate", "true", SET)], Code.INVALID_CONFIG),
        ([("preallocate", "false", SET)], Code.NONE),
        ([("remote.storage.enable", "true", SET)], Code.INVALID_CONFIG),
        ([("thalweg.durability", "never", SET)], Code.INVALID_CONFIG),
    ],
)
def test_a_change_is_made_whole_or_not_at_all(script: Script, entries: list[Any], code: Code) -> None:
    script.create("t")
    before = described(script, "t", "retention.ms")
    assert altered(script, "t", *entries) == code
    if code:
        assert described(script, "t", "retention.ms") == before


def test_other_resources_and_unknown_topics_are_refused_by_name(script: Script) -> None:
    def asked(kind: int, name: str) -> int:
        resource = {"resource_type": kind, "resource_name": name, "configs": []}
        return int(script.ask("IncrementalAlterConfigs", 1, resources=[resource]).responses[0].error_code)

    assert [asked(2, "nobody"), asked(2, "bad name")] == [Code.UNKNOWN_TOPIC_OR_PARTITION, Code.INVALID_TOPIC_EXCEPTION]
    assert [asked(kind, "0") for kind in (4, 8, 16, 32, 3)] == [Code.INVALID_REQUEST] * 5
    script.create("t")
    twice = [{"resource_type": 2, "resource_name": "t", "configs": []}] * 2
    answer = script.ask("IncrementalAlterConfigs", 1, resources=twice)
    assert [one.error_code for one in answer.responses] == [Code.INVALID_REQUEST] * 2


# what Produce holds a batch to


def test_a_compacted_topic_takes_no_record_without_a_key(script: Script) -> None:
    script.create("t", cleanup_policy="compact")
    answer = script.produce("t", keyed((b"a", b"1"), (None, b"2"), (b"", b"3"), (None, None)))
    assert (answer.error_code, answer.base_offset) == (Code.INVALID_RECORD, -1)
    assert [one.batch_index for one in answer.record_errors] == [1, 3]
    assert "without key in topic partition t-0" in answer.record_errors[0].batch_index_error_message
    assert script.produce("t", keyed((b"a", b"1"), (b"", None))).base_offset == 0
    for codec in (1, 3):
        assert script.produce("t", keyed((None, b"x"), compression=codec)).error_code == Code.INVALID_RECORD
    spoilt = bytearray(keyed((b"a", b"1")))
    spoilt[-1] ^= 1
    assert script.produce("t", bytes(spoilt)).error_code == Code.CORRUPT_MESSAGE


def test_a_topic_that_is_only_compacted_is_not_deleted_from(script: Script) -> None:
    def deleted(policy: str) -> int:
        assert altered(script, "t", ("cleanup.policy", policy, SET)) == 0
        partitions = [{"partition_index": 0, "offset": -1}]
        answer = script.ask("DeleteRecords", 1, topics=[{"name": "t", "partitions": partitions}])
        return int(answer.topics[0].partitions[0].error_code)

    script.create("t")
    codes = [deleted(policy) for policy in ("compact", "compact,delete", "delete", "")]
    assert codes == [Code.POLICY_VIOLATION, 0, 0, 0]


def test_append_time_is_the_time_of_the_append(script: Script) -> None:
    script.create("t", message_timestamp_type="LogAppendTime")
    answer = script.produce("t", batch(b"a", b"b", timestamp=5))
    assert abs(answer.log_append_time_ms - NOW_MS) < 1000
    stored = script.fetch("t").records
    assert check(stored).max_timestamp == answer.log_append_time_ms
    read = [record.timestamp for record in DefaultRecordBatch(bytes(stored))]
    assert read == [answer.log_append_time_ms] * 2
    script.create("plain")
    assert script.produce("plain", batch(b"a", timestamp=5)).log_append_time_ms == -1


def test_timestamps_out_of_bounds_are_refused_record_by_record(script: Script) -> None:
    script.create("t", message_timestamp_before_max_ms="60000", message_timestamp_after_max_ms="60000")
    assert script.produce("t", batch(b"a", b"b", timestamp=NOW_MS)).error_code == 0
    late = script.produce("t", batch(b"a", b"b", timestamp=NOW_MS + 60_100 - 1))
    assert late.error_code == Code.INVALID_TIMESTAMP and [one.batch_index for one in late.record_errors] == [0, 1]
    early = script.produce("t", batch(b"a", timestamp=NOW_MS - 70_000))
    assert early.error_code == Code.INVALID_TIMESTAMP
    assert script.produce("t", batch(b"a", timestamp=-1)).error_code == 0, "no timestamp is no wrong timestamp"
    script.create("default")
    assert script.produce("default", batch(b"a", timestamp=0)).error_code == 0
    assert script.produce("default", batch(b"a", timestamp=NOW_MS + 3_700_000)).error_code == Code.INVALID_TIMESTAMP
    script.create("stamped", message_timestamp_type="LogAppendTime")
    assert script.produce("stamped", batch(b"a", timestamp=NOW_MS + 3_700_000)).error_code == 0


@pytest.mark.parametrize("wanted", CODECS)
@pytest.mark.parametrize("came", [0, 1, 2, 3, 4])
def test_a_topics_compression_is_what_its_batches_have(script: Script, wanted: str, came: int) -> None:
    script.create("t", compression_type=wanted)
    values = [b"%d" % number * 50 for number in range(2000)]
    data = batch(*values, timestamp=NOW_MS, compression=came, producer=(7, 0, 0))
    assert script.produce("t", data).base_offset == 0
    stored = bytes(script.fetch("t").records)
    head = check(stored)
    assert head.attributes & COMPRESSION == CODECS[wanted]
    assert (head.producer_id, head.count, head.max_timestamp) == (7, 2000, header(data).max_timestamp)
    read = DefaultRecordBatch(stored)
    assert read.validate_crc() and [record.value for record in read] == values
    assert [record.value for record in decode(stored, b"t")] == values
    if CODECS[wanted] == came:
        assert stored[16:] == data[16:]


def test_a_batch_that_grows_beyond_the_limit_is_refused(script: Script) -> None:
    script.create("t", compression_type="uncompressed", max_message_bytes="5000")
    assert (
        script.produce("t", batch(bytes(10_000), timestamp=NOW_MS, compression=1)).error_code == Code.MESSAGE_TOO_LARGE
    )
    assert script.produce("t", batch(bytes(1000), timestamp=NOW_MS, compression=1)).error_code == 0


@pytest.mark.parametrize("size", [0, 1, 100, 32_768, 65_536, 65_537, 200_000])
def test_blocks_of_every_size_come_back(size: int) -> None:
    import random

    noise = random.Random(size).randbytes(size)
    data = batch(noise, b"x" * size, timestamp=NOW_MS)
    for codec in CODECS.values():
        made = recompressed(data, codec)
        assert [record.value for record in DefaultRecordBatch(bytes(made))] == [noise, b"x" * size]
        assert recompressed(made, 0) == data


# what administrators look at


def test_log_directories_tell_the_size_of_each_partition(script: Script) -> None:
    script.create("t", 2)
    script.produce("t", batch(bytes(10_000), timestamp=NOW_MS))
    for topics in (None, [{"topic": "t", "partitions": [0, 1, 9]}, {"topic": "nobody", "partitions": [0]}]):
        answer = script.ask("DescribeLogDirs", 4, topics=topics)
        assert len(answer.results) == 1 and answer.results[0].error_code == 0
        found = {topic.name: [one.partition_size for one in topic.partitions] for topic in answer.results[0].topics}
        assert list(found) == ["t"] and found["t"][1] == 0 and 10_000 < found["t"][0] < 11_000


def test_idempotent_producers_are_described(script: Script) -> None:
    script.create("t", 2)
    script.produce("t", batch(b"a", b"b", timestamp=NOW_MS, producer=(5, 1, 0)))
    topics = [{"name": "t", "partition_indexes": [0, 1, 2]}]
    found = script.ask("DescribeProducers", 0, topics=topics).topics[0].partitions
    assert [one.error_code for one in found] == [0, 0, Code.UNKNOWN_TOPIC_OR_PARTITION]
    told = [(one.producer_id, one.producer_epoch, one.last_sequence) for one in found[0].active_producers]
    assert told == [(5, 1, 1)] and not found[1].active_producers


def test_there_are_never_reassignments(script: Script) -> None:
    answer = script.ask("ListPartitionReassignments", 0, topics=None)
    assert answer.error_code == 0 and not answer.topics
