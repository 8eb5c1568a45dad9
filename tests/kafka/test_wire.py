"""Frames and headers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.api import WireError
from protocols.kafka.codec import read_unsigned, write_unsigned
from protocols.kafka.wire import frame_bytes, read_header
from tests.kafka.scripts import frame

LIMITS = (1000, 100)


def cut(data: bytes) -> int:
    return frame_bytes(bytearray(data), 0, len(data), *LIMITS)


def test_a_frames_size_is_known_with_its_length_and_a_large_ones_with_its_api() -> None:
    assert [cut((50).to_bytes(4, "big")[:size]) for size in range(5)] == [0, 0, 0, 0, 54]
    large = (500).to_bytes(4, "big")
    assert [cut(large), cut(large + b"\0"), cut(large + b"\0\0")] == [0, 0, 504]
    with pytest.raises(WireError, match="500 bytes, limit 100"):
        cut(large + b"\0\1")


@pytest.mark.parametrize("length", [1001, -1, 0, 9, 0x7FFFFFFF, -0x80000000])
def test_a_length_outside_its_limits_is_refused_before_the_frame_comes(length: int) -> None:
    with pytest.raises(WireError, match="limit 1000"):
        cut(length.to_bytes(4, "big", signed=True))


def test_both_forms_of_the_header_are_read_with_or_without_a_client_id() -> None:
    for version in (0, 4):
        data = memoryview(frame("Heartbeat", version, 77, "mine"))[4:]
        header = read_header(data)
        assert header[:4] == (12, version, 77, "mine")
        assert header.body == (15 if version == 4 else 14)
    anonymous = bytearray(frame("Heartbeat", 0, 1, ""))
    anonymous[12:14] = b"\xff\xff"
    assert read_header(memoryview(anonymous)[4:]).client_id == ""


def test_tagged_fields_of_the_header_are_skipped() -> None:
    data = frame("Heartbeat", 4, 1, "c")[4:]
    tagged = data[:11] + b"\x01\x05\x02ab" + data[12:]
    assert read_header(memoryview(tagged)).body == 16
    with pytest.raises(WireError):
        read_header(memoryview(data[:11] + b"\x01\x05\x7fab"))


def test_a_version_that_is_not_spoken_has_no_body() -> None:
    assert read_header(memoryview(bytes.fromhex("0012 0063 00000007 ffff"))).body == -1
    with pytest.raises(WireError, match="unknown api"):
        read_header(memoryview(bytes.fromhex("0fff 0000 00000007 ffff")))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_varints_come_back(number: int) -> None:
    data = write_unsigned(number)
    assert read_unsigned(memoryview(data), 0) == (number, len(data))


@given(st.binary(max_size=60))
@settings(max_examples=200)
def test_garbage_is_a_header_or_a_wire_error(data: bytes) -> None:
    try:
        header = read_header(memoryview(data))
    except WireError:
        return
    assert header.body <= len(data)
