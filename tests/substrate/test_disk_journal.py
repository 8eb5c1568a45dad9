"""Frames and the journal's chain: what follows, what is old space, what is a torn tail and what is corruption."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.disk_faults import SimulatedFiles
from substrate.api import Durability, StreamConfig
from substrate.disk import frames, journal
from substrate.disk.ends import EndsState, StreamRecord, UnknownVersion, Unsound, decode, encode, pack_record
from substrate.disk.frames import Entry, Kind

DIRECTORY = 0x1234_5678_9ABC_DEF0
SLOT_BYTES = 4096
_U64 = st.integers(0, 2**63)
_ENTRY = st.builds(
    Entry,
    stream=_U64,
    base=st.integers(0, 2**60),
    end=st.integers(0, 2**60),
    segment=st.integers(0, 2**60),
    offset=st.integers(0, 2**60),
    size=st.integers(0, 200),
    batches=st.integers(0, 2**31),
    flags=st.integers(0, 3),
    epoch=st.integers(-1, 2**31 - 1),
    max_timestamp_ms=st.integers(-1, 2**62),
    chain=st.binary(min_size=16, max_size=16),
)


def _frame(entries: list[Entry], number: int = 1, previous: int = 0) -> bytes:
    body = [frames.ENTRY.pack(*entry) for entry in entries]
    body += [b"d" * entry.size for entry in entries if not entry.flags & frames.REFERENCE]
    data, _checksum = frames.encode(Kind.COMMIT, DIRECTORY, number, 7, 3, number - 1, previous, len(entries), body)
    return data


@settings(max_examples=100, deadline=None)
@given(st.lists(_ENTRY, max_size=6))
def test_a_frame_comes_back_as_it_was(entries: list[Entry]) -> None:
    data = _frame(entries)
    head = frames.decode(b"x" * 64 + data, 64, DIRECTORY)
    assert head is not None
    assert (head.number, head.commit, head.epoch, head.kind) == (1, 7, 3, Kind.COMMIT)
    found = frames.entries_of(b"x" * 64 + data, 64, head)
    assert [entry for entry, _at in found] == entries
    for entry, at in found:
        assert (at < 0) == bool(entry.flags & frames.REFERENCE)
        assert at < 0 or (b"x" * 64 + data)[at : at + entry.size] == b"d" * entry.size


@settings(max_examples=150, deadline=None)
@given(st.lists(_ENTRY, max_size=4), st.data())
def test_a_cut_or_changed_frame_is_no_frame(entries: list[Entry], data: st.DataObject) -> None:
    frame = bytearray(_frame(entries))
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert frames.decode(bytes(frame[:cut]), 0, DIRECTORY) is None
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert frames.decode(bytes(frame), 0, DIRECTORY) is None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_is_no_frame(data: bytes) -> None:
    assert frames.decode(data, 0, DIRECTORY) is None
    assert frames.decode(frames.MAGIC + data, 0, DIRECTORY) is None


def test_a_frame_of_another_directory_is_no_frame_here() -> None:
    assert frames.decode(_frame([]), 0, DIRECTORY + 1) is None


def test_a_sound_frame_of_another_version_is_refused_not_cut() -> None:
    data = bytearray(_frame([]))
    data[12:14] = (9).to_bytes(2)
    from crc32c import crc32c

    data[4:8] = crc32c(bytes(data[8:])).to_bytes(4)
    with pytest.raises(frames.UnknownVersion, match="version 9"):
        frames.decode(bytes(data), 0, DIRECTORY)


def _journal(count: int) -> tuple[journal.Journal, SimulatedFiles]:
    files = SimulatedFiles(1)
    files.make_folder("")
    log = journal.Journal(files, DIRECTORY, 0, SLOT_BYTES)
    log.make(3)
    for number in range(count):
        size = 64 + 300
        if not log.fits(size):
            log.advance()
        log.write(Kind.COMMIT, number, 1, max(0, number - 1), 0, [b"p" * 300])
    return log, files


def _slots(files: SimulatedFiles) -> list[bytes]:
    return [files.content(journal.slot_path(slot)) for slot in range(3)]


def test_the_chain_is_followed_over_the_slots() -> None:
    _log, files = _journal(25)
    found = journal.scan(_slots(files), SLOT_BYTES, DIRECTORY, 0, 0, 1, 0, 64)
    assert [kept.head.number for kept in found.kept] == list(range(1, 26))
    assert {kept.slot for kept in found.kept} == {0, 1, 2}
    assert not found.faults


def test_what_was_there_before_does_not_follow() -> None:
    log, files = _journal(40)  # the ring has been used again
    oldest = log.number - 20
    slots = _slots(files)
    found = journal.scan(slots, SLOT_BYTES, DIRECTORY, log.number, log.checksum, 1, log.slot, log.offset)
    assert found.kept == []
    assert not found.faults
    assert oldest > 0


def test_a_bad_frame_below_the_durable_end_named_is_corruption() -> None:
    _log, files = _journal(10)
    slots = _slots(files)
    where = slots[0].index(frames.MAGIC, 64 + 3 * 384)
    slots[0] = slots[0][: where + 100] + b"!" + slots[0][where + 101 :]
    found = journal.scan(slots, SLOT_BYTES, DIRECTORY, 0, 0, 1, 0, 64)
    assert len(found.kept) == 3
    assert "frames up to 8 were durable" in found.faults[0]


def test_a_bad_frame_above_the_durable_end_is_a_torn_tail() -> None:
    _log, files = _journal(10)
    slots = _slots(files)
    where = slots[0].rindex(frames.MAGIC)
    slots[0] = slots[0][: where + 100] + b"!" + slots[0][where + 101 :]
    found = journal.scan(slots, SLOT_BYTES, DIRECTORY, 0, 0, 1, 0, 64)
    assert len(found.kept) == 9
    assert not found.faults


_RECORD = st.builds(
    StreamRecord,
    stream=_U64,
    label=st.text(max_size=30),
    config=st.builds(StreamConfig, durability=st.sampled_from(Durability), retention_ms=st.integers(-1, 2**60)),
    start=st.integers(0, 2**60),
    end=st.integers(0, 2**60),
    first=st.integers(0, 2**60),
    first_chain=st.binary(min_size=16, max_size=16),
    active=st.integers(0, 2**60),
    active_bytes=st.integers(0, 2**60),
    chain=st.binary(min_size=16, max_size=16),
    max_timestamp_ms=st.integers(-1, 2**60),
    generation=st.integers(0, 2**31),
    epochs=st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**60)), max_size=5),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(_RECORD, max_size=5), st.data())
def test_the_ends_file_comes_back_as_it_was_or_not_at_all(records: list[StreamRecord], data: st.DataObject) -> None:
    state = EndsState(DIRECTORY, 0, 5, 4, 3, 77, 1, 640, 3, SLOT_BYTES, 9, 1)
    file = encode(state, [pack_record(record) for record in records])
    assert decode(file) == (state, records)
    bit = data.draw(st.integers(0, len(file) * 8 - 1))
    changed = bytearray(file)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Unsound):
        decode(bytes(changed))
    with pytest.raises(Unsound):
        decode(file[: data.draw(st.integers(0, len(file) - 1))])


def test_an_ends_file_of_another_version_is_refused() -> None:
    from crc32c import crc32c

    file = bytearray(encode(EndsState(DIRECTORY), []))
    file[12:16] = (2).to_bytes(4)
    file[8:12] = crc32c(bytes(file[12:])).to_bytes(4)
    with pytest.raises(UnknownVersion, match="version 2; known: 1"):
        decode(bytes(file))
