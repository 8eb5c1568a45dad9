"""Scripts on one connection and on several: order, limits, what Produce refuses, what Fetch waits for."""

from __future__ import annotations

import random
import struct

import pytest
from crc32c import crc32c

from conformance.harness import Harness
from protocols.kafka.errors import Code
from tests.kafka.scripts import Script, batch, frame, harness


@pytest.fixture(params=[False, True], ids=["at-once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    """Every script also runs with all answers late and out of order between owners."""
    return harness(delayed=request.param)


@pytest.fixture
def script(gateway: Harness) -> Script:
    made = Script(gateway)
    made.create("orders", 2)
    return made


def offsets(records: bytes) -> list[int]:
    """Base offset of each batch."""
    found, at = [], 0
    while at < len(records):
        base, length = struct.unpack_from(">qi", records, at)
        found.append(base)
        at += 12 + length
    return found


# order


def test_answers_leave_in_the_order_of_the_requests(script: Script) -> None:
    script.send("Fetch", 11, **script.fetching("orders", wait=1000))
    partitions = [{"index": 1, "records": batch(b"x")}]
    script.send("Produce", 9, acks=-1, topic_data=[{"name": "orders", "partition_data": partitions}])
    script.send("ApiVersions", 0)
    assert script.take() is None, "the fetch waits, and so do the others' answers"
    other = Script(script.gateway)
    stored = other.ask(
        "ListOffsets", 1, topics=[{"name": "orders", "partitions": [{"partition_index": 1, "timestamp": -1}]}]
    )
    assert stored.topics[0].partitions[0].offset == 1, "the produce behind a waiting fetch is stored at once"
    script.gateway.advance(1001)
    assert script.take().responses[0].partitions[0].error_code == 0
    assert script.take().responses[0].partition_responses[0].base_offset == 0
    assert script.take().error_code == 0


def test_bytes_cut_anywhere_give_the_same_answers(gateway: Harness) -> None:
    chance = random.Random(5)
    requests = [
        frame("ApiVersions", 3, 1, client_software_name="a", client_software_version="1"),
        frame("Metadata", 9, 2, topics=[{"name": "cut"}], allow_auto_topic_creation=True),
        frame("Produce", 9, 3, acks=-1, topic_data=[{"name": "cut", "partition_data": [{"index": 0, "records": batch(b"x" * 300)}]}]),
        frame("Heartbeat", 4, 4, group_id="g"),
        frame("FindCoordinator", 4, 5, coordinator_keys=["g"]),
    ]  # fmt: skip
    found = []
    for _ in range(10):
        client = harness().connect("kafka")
        data = b"".join(requests)
        while data:
            cut = chance.choice((1, 2, 3, 7, 50, 1000))
            client.send(data[:cut])
            data = data[cut:]
        found.append(client.read())
    # the topic's id and the producer's clock are the gateway's own chance: same seed, same bytes
    assert len(set(found)) == 1


# versions


def test_api_versions_of_the_future_gets_a_body_of_version_0(script: Script) -> None:
    frame_of_99 = (18).to_bytes(2, "big") + (99).to_bytes(2, "big") + (7).to_bytes(4, "big") + b"\xff\xff\x00garbage"
    script.client.send(len(frame_of_99).to_bytes(4, "big") + frame_of_99)
    answer = script.client.read()
    assert answer[4:10] == (7).to_bytes(4, "big") + (35).to_bytes(2, "big")
    count = int.from_bytes(answer[10:14], "big")
    keys = {struct.unpack_from(">hhh", answer, 14 + 6 * index) for index in range(count)}
    assert (18, 0, 4) in keys and len(answer) == 14 + 6 * count


def test_api_versions_tells_produce_from_0_and_join_group_from_0(script: Script) -> None:
    ranges = {one.api_key: (one.min_version, one.max_version) for one in script.ask("ApiVersions", 2).api_keys}
    assert ranges[0] == (0, 11) and ranges[11][0] == 0 and ranges[1] == (4, 12)


def test_a_software_name_that_is_none_is_refused(script: Script) -> None:
    answer = script.ask("ApiVersions", 3, client_software_name="not a name", client_software_version="1")
    assert answer.error_code == Code.INVALID_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"\x7f\xff\xff\xff\x00\x00",
        b"\xff\xff\xff\xff" + bytes(20),
        b"\x00\x00\x00\x02\x00\x00",
        (5 << 20).to_bytes(4, "big") + (3).to_bytes(2, "big"),
        frame("ApiVersions", 0)[:4] + (999).to_bytes(2, "big") + frame("ApiVersions", 0)[6:],
        (12).to_bytes(4, "big") + struct.pack(">hhihh", 0, 2, 1, -1, 0),
        (14).to_bytes(4, "big") + struct.pack(">hhihi", 3, 1, 1, -1, 1 << 30),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["2 GiB", "negative", "no header", "5 MiB of metadata", "unknown api", "produce 2", "count", "http"],
)
def test_a_frame_that_is_none_costs_its_connection(script: Script, data: bytes) -> None:
    script.client.send(data)
    assert script.client.closed and script.client.error is not None
    assert Script(script.gateway).ask("ApiVersions", 0).error_code == 0


def test_a_peer_silent_within_a_frame_is_closed_before_an_idle_one(gateway: Harness) -> None:
    idle, half = Script(gateway), Script(gateway)
    half.client.send(frame("ApiVersions", 0)[:7])
    gateway.advance(61_000)
    assert half.client.closed and not idle.client.closed
    gateway.advance(600_000)
    assert idle.client.closed


def test_a_waiting_fetch_is_not_idleness(gateway: Harness) -> None:
    script = Script(gateway)
    script.create("t")
    script.send("Fetch", 11, **script.fetching("t", wait=59_000))
    gateway.advance(58_000)
    assert not script.client.closed


def test_a_peer_that_does_not_read_is_not_read_from(gateway: Harness) -> None:
    script = Script(gateway)
    script.create("t")
    value = bytes(900_000)
    assert script.produce("t", batch(value)).error_code == 0
    script.client.reads = False
    for _ in range(50):
        script.send("Fetch", 11, **script.fetching("t"))
    assert script.client.outbox.size() < 8 << 20
    assert script.client.session.blocked
    script.client.reads = True
    for _ in range(60):
        script.client.outbox.mark()
        gateway.run()
    for _ in range(50):
        assert len(script.take().responses[0].partitions[0].records) > 900_000


# produce


def patched(data: bytes, at: int, form: str, value: int, seal: bool = True) -> bytes:
    """One field of a batch changed; ``seal``: with a CRC that fits."""
    made = bytearray(data)
    struct.pack_into(form, made, at, value)
    if seal:
        struct.pack_into(">I", made, 17, crc32c(bytes(made[21:])))
    return bytes(made)


GOOD = batch(b"a", b"b")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.INVALID_RECORD),
        (GOOD + GOOD, Code.INVALID_RECORD),
        (GOOD[:-1], Code.INVALID_RECORD),
        (GOOD[:40], Code.INVALID_RECORD),
        (patched(GOOD, 0, ">q", 5), Code.INVALID_RECORD),
        (patched(GOOD, 16, ">b", 1), Code.INVALID_RECORD),
        (patched(GOOD, 17, ">I", 1, seal=False), Code.CORRUPT_MESSAGE),
        (patched(GOOD, 21, ">h", 0x20), Code.INVALID_RECORD),
        (patched(GOOD, 21, ">h", 0x08), Code.INVALID_TIMESTAMP),
        (patched(GOOD, 21, ">h", 0x10), Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (patched(GOOD, 21, ">h", 0x100), Code.INVALID_RECORD),
        (patched(GOOD, 21, ">h", 5), Code.INVALID_RECORD),
        (patched(GOOD, 23, ">i", 7), Code.INVALID_RECORD),
        (patched(GOOD, 57, ">i", 0), Code.INVALID_RECORD),
        (patched(patched(GOOD, 57, ">i", 0), 23, ">i", -1), Code.INVALID_RECORD),
        (patched(GOOD, 43, ">q", 9), Code.INVALID_RECORD),
        (batch(bytes(1 << 20)), Code.MESSAGE_TOO_LARGE),
    ],
)
def test_a_batch_that_may_not_be_stored_is_refused_by_its_own_code(script: Script, data: bytes, code: Code) -> None:
    answer = script.produce("orders", data)
    assert (answer.error_code, answer.base_offset) == (code, -1)
    assert script.produce("orders", GOOD).base_offset == 0


def test_each_partition_of_a_produce_gets_its_own_answer(script: Script) -> None:
    bad = patched(GOOD, 17, ">I", 1, seal=False)
    partitions = [{"index": 0, "records": GOOD}, {"index": 1, "records": bad}, {"index": 9, "records": GOOD}]
    unknown = [{"index": 0, "records": GOOD}]
    answer = script.ask(
        "Produce", 9, acks=-1,
        topic_data=[{"name": "orders", "partition_data": partitions}, {"name": "nobody", "partition_data": unknown}],
    )  # fmt: skip
    codes = [[one.error_code for one in topic.partition_responses] for topic in answer.responses]
    assert codes == [
        [Code.NONE, Code.CORRUPT_MESSAGE, Code.UNKNOWN_TOPIC_OR_PARTITION],
        [Code.UNKNOWN_TOPIC_OR_PARTITION],
    ]


def test_zstd_needs_version_7(script: Script) -> None:
    data = patched(GOOD, 21, ">h", 4)
    assert script.produce("orders", data, version=6).error_code == Code.UNSUPPORTED_COMPRESSION_TYPE
    assert script.produce("orders", data, version=7).error_code == Code.NONE


def test_acks_that_mean_nothing_are_refused(script: Script) -> None:
    assert script.produce("orders", GOOD, acks=2).error_code == Code.INVALID_REQUIRED_ACKS


def test_without_acknowledgement_nothing_is_answered_and_an_error_closes(script: Script) -> None:
    def fields(data: bytes) -> dict[str, object]:
        return {"acks": 0, "topic_data": [{"name": "orders", "partition_data": [{"index": 0, "records": data}]}]}

    script.silent("Produce", 9, **fields(GOOD))
    assert script.fetch("orders").high_watermark == 2
    script.silent("Produce", 9, **fields(b""))
    assert script.client.closed


def test_an_idempotent_batch_sent_again_answers_its_first_offset(script: Script) -> None:
    first = batch(b"a", b"b", producer=(5, 0, 0))
    second = batch(b"c", producer=(5, 0, 2))
    assert script.produce("orders", first).base_offset == 0
    assert script.produce("orders", second).base_offset == 2
    for _ in range(2):
        assert script.produce("orders", first).base_offset == 0
        assert script.produce("orders", second).base_offset == 2
    assert script.fetch("orders").high_watermark == 3


def test_a_gap_and_an_old_epoch_of_a_producer_are_refused(script: Script) -> None:
    assert script.produce("orders", batch(b"a", producer=(5, 1, 0))).error_code == 0
    gap = script.produce("orders", batch(b"b", producer=(5, 1, 2)))
    assert gap.error_code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    old = script.produce("orders", batch(b"b", producer=(5, 0, 1)))
    assert old.error_code == Code.INVALID_PRODUCER_EPOCH
    new = script.produce("orders", batch(b"b", producer=(5, 2, 1)))
    assert new.error_code == Code.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert script.produce("orders", batch(b"b", producer=(5, 2, 0))).base_offset == 1


def test_each_producer_gets_an_id_of_its_own(script: Script) -> None:
    ids = [
        script.ask("InitProducerId", 4, transaction_timeout_ms=1000, transactional_id=None).producer_id
        for _ in range(250)
    ]
    assert len(set(ids)) == 250 and min(ids) >= 0


# fetch


def test_a_fetch_within_a_batch_gets_the_whole_batch_as_stored(script: Script) -> None:
    data = batch(b"a", b"b", b"c")
    script.produce("orders", data)
    script.produce("orders", data)
    found = script.fetch("orders", 4)
    assert offsets(found.records) == [3]
    assert found.records[16:] == data[16:] and found.high_watermark == 6


def test_the_first_batch_comes_however_large_it_is(script: Script) -> None:
    for _ in range(3):
        script.produce("orders", batch(bytes(5000)))
    assert offsets(script.fetch("orders", most=100).records) == [0]
    assert offsets(script.fetch("orders", partition_most=100).records) == [0]
    assert offsets(script.fetch("orders", most=11_000).records) == [0, 1]


def test_an_offset_out_of_range_is_told_with_the_range(script: Script) -> None:
    script.produce("orders", batch(b"a", b"b"))
    script.ask("DeleteRecords", 1, topics=[{"name": "orders", "partitions": [{"partition_index": 0, "offset": 1}]}])
    for offset in (0, 3, 100):
        found = script.fetch("orders", offset, wait=10_000)
        assert (found.error_code, found.high_watermark, found.log_start_offset) == (Code.OFFSET_OUT_OF_RANGE, 2, 1)
    assert script.fetch("orders", 2).error_code == 0


def test_a_fetch_waits_for_enough_bytes_or_its_time(script: Script) -> None:
    other = Script(script.gateway)
    data = batch(bytes(100))
    script.send("Fetch", 11, **script.fetching("orders", wait=500, least=len(data) + 1))
    assert script.take() is None
    other.produce("orders", data)
    assert script.take() is None
    other.produce("orders", data)
    assert offsets(script.take().responses[0].partitions[0].records) == [0, 1]
    script.send("Fetch", 11, **script.fetching("orders", 2, wait=500))
    script.gateway.advance(499)
    assert script.take() is None
    script.gateway.advance(2)
    assert script.take().responses[0].partitions[0].records == b""


def test_a_fetch_waits_for_all_its_partitions_at_once(script: Script) -> None:
    script.create("other")
    topics = [
        {"topic": name, "partitions": [{"partition": index, "fetch_offset": 0, "partition_max_bytes": 1000} for index in range(count)]}
        for name, count in (("orders", 2), ("other", 1))
    ]  # fmt: skip
    script.send("Fetch", 11, max_wait_ms=1000, min_bytes=1, max_bytes=10_000, topics=topics)
    assert script.take() is None
    Script(script.gateway).produce("orders", batch(b"x"), partition=1)
    answer = script.take()
    sizes = [[len(one.records) for one in topic.partitions] for topic in answer.responses]
    assert sizes[0][0] == 0 and sizes[0][1] > 61 and sizes[1] == [0]


def test_a_deleted_topic_ends_the_wait(script: Script) -> None:
    script.send("Fetch", 11, **script.fetching("orders", wait=60_000))
    Script(script.gateway).ask("DeleteTopics", 5, topic_names=["orders"])
    assert script.take().responses[0].partitions[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


def test_a_connection_that_ends_gives_its_watches_back(script: Script) -> None:
    script.send("Fetch", 11, **script.fetching("orders", wait=60_000))
    script.client.close()
    assert all(not stream.watchers for stream in script.gateway.sequencer.layer.streams.values())


def test_a_fetch_session_is_declined(script: Script) -> None:
    fields = script.fetching("orders")
    assert script.ask("Fetch", 11, session_id=0, session_epoch=0, **fields).session_id == 0
    assert (
        script.ask("Fetch", 11, session_id=5, session_epoch=1, **fields).error_code == Code.FETCH_SESSION_ID_NOT_FOUND
    )


def test_a_leader_epoch_of_another_time_is_refused(script: Script) -> None:
    metadata = script.ask("Metadata", 9, topics=[{"name": "orders"}])
    epoch = metadata.topics[0].partitions[0].leader_epoch
    assert script.fetch("orders", epoch=epoch).error_code == 0
    assert script.fetch("orders", epoch=epoch - 1).error_code == Code.FENCED_LEADER_EPOCH
    assert script.fetch("orders", epoch=epoch + 1).error_code == Code.UNKNOWN_LEADER_EPOCH


# names


def test_reserved_names_are_neither_listed_nor_found_nor_created(script: Script) -> None:
    names = {topic.name for topic in script.ask("Metadata", 9, topics=None).topics}
    assert names == {"orders"}
    for name in ("_thalweg", "_thalweg.control", "_thalweg.groups"):
        asked = script.ask("Metadata", 9, topics=[{"name": name}], allow_auto_topic_creation=True)
        assert asked.topics[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
        assert script.produce(name, GOOD).error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
        assert script.fetch(name).error_code == Code.UNKNOWN_TOPIC_OR_PARTITION
        made = script.ask("CreateTopics", 4, topics=[{"name": name, "num_partitions": 1, "replication_factor": 1}])
        assert made.topics[0].error_code == Code.INVALID_TOPIC_EXCEPTION


def test_metadata_creates_what_it_may_and_says_of_the_rest_why_not(script: Script) -> None:
    asked = [{"name": name} for name in ("new.one", "bad name", ".", "orders", "new.one")]
    answer = script.ask("Metadata", 9, topics=asked, allow_auto_topic_creation=True)
    found = {topic.name: topic.error_code for topic in answer.topics}
    assert found == {"new.one": 0, "bad name": 17, ".": 17, "orders": 0}
    without = script.ask("Metadata", 9, topics=[{"name": "another"}], allow_auto_topic_creation=False)
    assert without.topics[0].error_code == Code.UNKNOWN_TOPIC_OR_PARTITION


def test_one_request_creates_so_many_topics_and_no_more(script: Script) -> None:
    asked = [{"name": f"many{number}"} for number in range(130)]
    for left in (30, 0):
        answer = script.ask("Metadata", 9, topics=asked, allow_auto_topic_creation=True)
        codes = [topic.error_code for topic in answer.topics]
        assert codes.count(Code.LEADER_NOT_AVAILABLE) == left and codes.count(0) == 130 - left
    large = [{"name": f"large{number}", "num_partitions": 6000, "replication_factor": 1} for number in range(2)]
    made = script.ask("CreateTopics", 4, topics=large, validate_only=True)
    assert [topic.error_code for topic in made.topics] == [0, Code.INVALID_PARTITIONS]


def test_a_topic_is_found_by_its_id_and_a_new_one_has_another(script: Script) -> None:
    def of(name: str) -> bytes:
        return script.ask("Metadata", 12, topics=[{"name": name}]).topics[0].topic_id

    first = of("orders")
    by_id = script.ask("Metadata", 12, topics=[{"topic_id": first, "name": None}])
    assert by_id.topics[0].name == "orders"
    script.ask("DeleteTopics", 6, topics=[{"topic_id": first, "name": None}])
    script.create("orders")
    assert of("orders") != first
    gone = script.ask("Metadata", 12, topics=[{"topic_id": first, "name": None}])
    assert gone.topics[0].error_code == Code.UNKNOWN_TOPIC_ID


# offsets


def test_offsets_are_found_by_time_and_the_largest_timestamp(script: Script) -> None:
    script.produce("orders", batch(b"a", b"b", b"c", timestamp=100))
    script.produce("orders", batch(b"d", timestamp=50))

    def at(time_ms: int, version: int = 7) -> tuple[int, int, int]:
        partitions = [{"partition_index": 0, "timestamp": time_ms}]
        answer = script.ask("ListOffsets", version, topics=[{"name": "orders", "partitions": partitions}])
        found = answer.topics[0].partitions[0]
        return found.error_code, found.offset, found.timestamp

    assert at(-1) == (0, 4, -1) and at(-2) == (0, 0, -1)
    assert at(0) == (0, 0, 100) and at(101) == (0, 1, 101) and at(102) == (0, 2, 102) and at(103) == (0, -1, -1)
    assert at(-3) == (0, 2, 102)
    assert at(-3, version=6)[0] == Code.UNSUPPORTED_VERSION
    assert at(-4, version=8) == (0, 0, -1) and at(-5, version=9) == at(-6, version=11) == (0, -1, -1)
    for special, version in ((-4, 7), (-5, 8), (-6, 10), (-7, 11)):
        assert at(special, version)[0] == Code.UNSUPPORTED_VERSION


def test_the_end_of_an_epoch_is_told(script: Script) -> None:
    script.produce("orders", batch(b"a", b"b"))
    epoch = script.ask("Metadata", 9, topics=[{"name": "orders"}]).topics[0].partitions[0].leader_epoch
    partitions = [{"partition": 0, "leader_epoch": wanted} for wanted in (epoch, epoch + 5)]
    answer = script.ask("OffsetForLeaderEpoch", 3, topics=[{"topic": "orders", "partitions": partitions}])
    found = [(one.leader_epoch, one.end_offset) for one in answer.topics[0].partitions]
    assert found == [(epoch, 2), (-1, -1)]


# what is not spoken


def test_transactions_are_refused_by_name(script: Script) -> None:
    refused = Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    assert script.ask("InitProducerId", 4, transactional_id="t", transaction_timeout_ms=1).error_code == refused
    assert (
        script.ask("InitProducerId", 4, transactional_id="", transaction_timeout_ms=1).error_code
        == Code.INVALID_REQUEST
    )
    assert script.ask("FindCoordinator", 4, key_type=1, coordinator_keys=["t"]).coordinators[0].error_code == refused


def test_what_was_asked_before_the_end_is_answered(script: Script) -> None:
    script.send("Fetch", 11, **script.fetching("orders", wait=60_000))
    script.gateway.stop()
    assert script.take().responses[0].partitions[0].error_code == 0
    assert script.client.closed


@pytest.mark.parametrize("version", range(3, 12))
def test_a_stored_batch_is_answered_in_every_version(script: Script, version: int) -> None:
    script.create("stamped", message_timestamp_type="LogAppendTime")
    for topic, stamped in (("orders", False), ("stamped", True), ("orders", False)):
        found = script.produce(topic, GOOD, version=version, partition=0)
        assert found.error_code == 0 and found.index == 0
        assert (found.log_append_time_ms > 0) is stamped
    assert script.produce("orders", GOOD, version=version).base_offset == 4
    assert script.produce("orders", GOOD, version=version, partition=1).base_offset == 0
