"""The record-batch codec against aiokafka's, against its own uncompiled twin, and against garbage."""

from __future__ import annotations

import importlib.util
import pathlib
import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate import batch as batches
from substrate.batch import MARK, BatchBuilder, BatchError
from substrate.group import Group


def _uncompiled():
    """The same file as plain Python, whatever lies compiled beside it."""
    spec = importlib.util.spec_from_file_location(
        "uncompiled_batch", pathlib.Path(batches.__file__).parent / "batch.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pure = _uncompiled()
HEADERS = st.lists(st.tuples(st.text(max_size=5).map(str.encode), st.none() | st.binary(max_size=9)), max_size=3)
RECORDS = st.lists(
    st.tuples(
        st.integers(0, 1 << 45),
        st.none() | st.binary(max_size=12),
        st.none() | st.binary(max_size=200),
        HEADERS.map(tuple),
    ),
    min_size=1,
    max_size=20,
)
BASE = st.integers(0, 1 << 60)
EPOCH = st.integers(0, (1 << 31) - 1)
EVERY_CODEC = [0, 1, 2, 3, 4]


def ours(records, base=0, epoch=0, module=batches) -> bytes:
    builder = module.BatchBuilder()
    for timestamp_ms, key, value, headers in records:
        builder.add(timestamp_ms, key, value, headers)
    return bytes(builder.finish(base, epoch))


def theirs(records, codec=0, **producer) -> bytearray:
    fields = {"is_transactional": 0, "producer_id": -1, "producer_epoch": -1, "base_sequence": -1} | producer
    builder = DefaultRecordBatchBuilder(magic=2, compression_type=codec, batch_size=1 << 24, **fields)
    for offset, (timestamp_ms, key, value, headers) in enumerate(records):
        named = [(name.decode(), content) for name, content in headers]
        assert builder.append(offset, timestamp_ms, key, value, named) is not None
    return bytearray(builder.build())


def told(record) -> tuple:
    return record.timestamp_ms, record.key, record.value, record.headers


def sealed(batch: bytearray) -> bytearray:
    """The batch with a CRC that fits what it has become."""
    struct.pack_into(">I", batch, 17, crc32c(bytes(batch[21:])))
    return batch


@settings(max_examples=80)
@given(RECORDS, BASE, EPOCH)
def test_what_we_encode_aiokafka_reads_whatever_our_mark_says(records, base, epoch):
    batch = ours(records, base, epoch)
    read = DefaultRecordBatch(bytearray(batch))
    assert read.validate_crc()
    assert read.base_offset == base and read.magic == 2 and not read.is_control_batch and not read.is_transactional
    assert [(r.offset, r.timestamp, r.key, r.value, tuple((n.encode(), c) for n, c in r.headers)) for r in read] == [
        (base + index, *record) for index, record in enumerate(records)
    ]
    assert batches.header(batch).attributes & MARK


@settings(max_examples=80)
@given(RECORDS, BASE, st.sampled_from(EVERY_CODEC))
def test_what_aiokafka_encodes_we_read_with_every_compression(records, base, codec):
    batch = theirs(records, codec)
    batches.check(batch)
    batches.patch(batch, base, 7)
    batches.check(batch)
    found = batches.decode(batch, b"orders")
    assert [told(record) for record in found] == list(records)
    assert [record.position for record in found] == list(range(base, base + len(records)))
    assert all(record.address == b"orders" for record in found)


@settings(max_examples=80)
@given(RECORDS, BASE, EPOCH)
def test_compiled_and_uncompiled_give_equal_bytes_and_records(records, base, epoch):
    batch = ours(records, base, epoch)
    assert batch == ours(records, base, epoch, pure)
    assert batches.decode(batch, b"a") == pure.decode(batch, b"a")
    assert batches.check(batch) == pure.check(batch)


@settings(max_examples=80)
@given(RECORDS, st.data())
def test_a_group_is_encoded_as_its_messages_one_by_one_would_be(records, data):
    buffer = bytearray(b"noise")
    group = Group(b"orders/eu", buffer)
    wanted = []
    for _, _, value, headers in records:
        value = value or b""
        buffer += value + data.draw(st.binary(max_size=3))
        start = buffer.rindex(value) if value else 0
        if headers:
            group.add_with_headers(start, len(value), headers)
        else:
            group.add(start, len(value))
        wanted.append((9, b"orders/eu", value, headers))
    builder = BatchBuilder(1)
    cut = data.draw(st.integers(0, len(records)))
    builder.add_group(group, 9, 0, cut)
    builder.add_group(group, 9, cut, len(records))
    assert bytes(builder.finish(5, 1)) == ours(wanted, 5, 1)


@settings(max_examples=100)
@given(RECORDS, st.integers(0, 30))
def test_decoding_from_a_position_gives_the_records_from_there_on(records, start):
    batch = ours(records, 100)
    assert batches.decode(batch, b"a", 100 + start) == batches.decode(batch, b"a")[start:]


def test_only_in_a_marked_batch_is_the_key_an_address():
    marked = ours([(0, b"orders/eu", b"x", ())])
    assert batches.decode(marked, b"orders")[0].address == b"orders/eu"
    plain = theirs([(0, b"orders/eu", b"x", ())])
    assert batches.decode(plain, b"orders")[0].address == b"orders"
    named = theirs([(0, b"k", b"x", ((b"thalweg-address", b"orders/us"),))])
    assert batches.decode(named, b"orders")[0].address == b"orders/us"


@settings(max_examples=150)
@given(RECORDS, st.sampled_from(EVERY_CODEC), st.data())
def test_a_changed_batch_is_refused_by_check(records, codec, data):
    batch = theirs(records, codec)
    at = data.draw(st.sampled_from([*range(8, 12), 16, *range(17, len(batch))]))
    batch[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BatchError):
        batches.check(batch)


@settings(max_examples=100)
@given(RECORDS, st.data())
def test_a_truncated_batch_is_refused(records, data):
    batch = ours(records)
    cut = batch[: data.draw(st.integers(0, len(batch) - 1))]
    with pytest.raises(BatchError):
        batches.check(cut)
    with pytest.raises(BatchError):
        batches.split(batch + (cut or b"x"))


@settings(max_examples=200)
@given(RECORDS, st.sampled_from(EVERY_CODEC), st.data())
def test_garbage_behind_a_good_checksum_raises_batch_error_or_gives_records_in_order(records, codec, data):
    batch = theirs(records, codec)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(batches.HEADER_BYTES, len(batch) - 1))
        batch[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(batches.HEADER_BYTES, len(batch)))
        batch = batch[:cut]
        struct.pack_into(">i", batch, 8, len(batch) - 12)
    batches.check(sealed(batch))
    _decodes_alike_or_not_at_all(batch)


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            [
                b"\xff" * 9 + b"\x01",
                b"\xfe" + b"\xff" * 8 + b"\x01",
                b"\xff\xff\xff\xff\x0f",
                b"\x80" * 12,
                b"\x0e",
                b"\x00",
                b"\x01",
            ]
        )
        | st.binary(max_size=6),
        max_size=12,
    ).map(b"".join),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, 1 << 62),
)
def test_numbers_at_the_edge_of_64_bits_cannot_lead_outside_the_batch(body, base_timestamp, start):
    batch = bytearray(ours([(0, None, b"", ())]))[: batches.HEADER_BYTES] + body
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    struct.pack_into(">q", batch, 27, base_timestamp)
    _decodes_alike_or_not_at_all(sealed(batch), start)


def _decodes_alike_or_not_at_all(batch: bytearray, start: int = 0) -> None:
    outcomes = []
    for module in (batches, pure):
        try:
            outcomes.append([(record.position, *told(record)) for record in module.decode(batch, b"a", start)])
        except (BatchError, pure.BatchError) as error:
            outcomes.append(error.reason)
    assert outcomes[0] == outcomes[1]
    if isinstance(outcomes[0], list):
        positions = [record[0] for record in outcomes[0]]
        assert positions == sorted(set(positions))


@pytest.mark.parametrize("codec", [1, 3, 4])
def test_a_compression_bomb_costs_bounded_memory_and_is_refused(codec):
    bomb = theirs([(0, None, bytes(70_000_000), ())], codec)
    assert len(bomb) < 500_000
    with pytest.raises(BatchError, match="inflates beyond"):
        batches.decode(bomb, b"a")


def test_a_snappy_block_that_claims_four_gigabytes_is_refused():
    batch = bytearray(ours([(0, None, b"", ())]))[: batches.HEADER_BYTES] + b"\xff\xff\xff\xff\x0fabc"
    struct.pack_into(">ih", batch, 8, len(batch) - 12, 0)
    struct.pack_into(">b", batch, 16, 2)
    struct.pack_into(">h", batch, 21, 2)
    with pytest.raises(BatchError, match="inflates beyond"):
        batches.decode(sealed(batch), b"a")


def test_a_control_batch_has_no_records_for_readers():
    batch = theirs([(0, b"\0\0\0\1", b"\0\0\0\0\0\0", ())])
    struct.pack_into(">h", batch, 21, batches.CONTROL)
    assert batches.decode(sealed(batch), b"a") == []


@settings(max_examples=60)
@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_concatenated_batches_come_apart_where_they_were_joined(many):
    made = [ours(records, 10 * index) for index, records in enumerate(many)]
    assert [bytes(part) for part in batches.split(b"".join(made))] == made


@settings(max_examples=60)
@given(RECORDS, st.integers(0, 1 << 45))
def test_log_append_time_is_what_every_record_then_says(records, now_ms):
    batch = theirs(records)
    batches.stamp(batch, now_ms)
    batches.check(batch)
    assert {record.timestamp_ms for record in batches.decode(batch, b"a")} == {now_ms}
    assert {record.timestamp for record in DefaultRecordBatch(batch)} == {now_ms}


def test_a_batch_of_eight_mebibytes_passes():
    value = bytes(range(256)) * (8 * 4096)
    batch = ours([(1, b"big", value, ())])
    batches.check(batch)
    assert batches.decode(batch, b"a")[0].value == value


def test_the_producer_of_a_batch_is_read_from_its_header():
    found = batches.check(theirs([(5, None, b"x", ())] * 3, producer_id=77, producer_epoch=4, base_sequence=45))
    assert (found.producer_id, found.producer_epoch, found.base_sequence, found.count) == (77, 4, 45, 3)
