"""Groups: messages kept as spans of a buffer, decoded once, owned when they must outlive it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate.group import Group, Record

HEADERS = st.lists(st.tuples(st.binary(max_size=4), st.none() | st.binary(max_size=6)), max_size=3).map(tuple)
MESSAGES = st.lists(st.tuples(st.binary(max_size=30), HEADERS, st.binary(max_size=5)), max_size=12)


def built(messages) -> tuple[Group, bytearray]:
    buffer = bytearray()
    group = Group(b"orders", buffer, source="me")
    for value, headers, noise in messages:
        start = len(buffer) + len(noise)
        buffer += noise + value
        if headers:
            group.add_with_headers(start, len(value), headers)
        else:
            group.add(start, len(value))
    group.buffer = buffer
    return group, buffer


@settings(max_examples=150)
@given(MESSAGES)
def test_records_are_the_messages_in_their_order(messages):
    group, _ = built(messages)
    group.base, group.timestamp_ms = 7, 99
    assert [(r.value, r.headers) for r in group.records()] == [(value, headers) for value, headers, _ in messages]
    assert [r.position for r in group.records()] == list(range(7, 7 + len(messages)))
    assert all(r.address == r.key == b"orders" and r.timestamp_ms == 99 for r in group.records())
    assert group.count == len(messages) and group.value_bytes == sum(len(value) for value, _, _ in messages)


@settings(max_examples=150)
@given(MESSAGES)
def test_what_is_owned_outlives_the_buffer(messages):
    group, buffer = built(messages)
    group.base = 3
    owned = group.own()
    buffer[:] = b"\xee" * len(buffer)
    assert [(r.position, r.value, r.headers) for r in owned.records()] == [
        (3 + index, value, headers) for index, (value, headers, _) in enumerate(messages)
    ]
    assert (owned.count, owned.value_bytes, owned.address, owned.source) == (
        group.count,
        group.value_bytes,
        b"orders",
        "me",
    )
    assert [owned.value(index) for index in range(owned.count)] == [value for value, _, _ in messages]


def test_records_are_decoded_once_for_all_who_ask():
    group, _ = built([(b"x", (), b"")])
    assert group.records() is group.records()


def test_messages_that_have_no_position_say_so():
    group, _ = built([(b"x", (), b""), (b"y", (), b"")])
    assert [record.position for record in group.records()] == [-1, -1]


def test_a_span_outside_its_buffer_gives_no_bytes_of_others():
    group = Group(b"a", b"abc")
    group.add(2, 10)
    assert group.value(0) == b"c"


def test_records_are_compared_by_what_they_hold():
    one = Record(1, 2, b"a", b"a", b"v", ((b"h", None),))
    assert one == Record(1, 2, b"a", b"a", b"v", ((b"h", None),))
    assert one != Record(2, 2, b"a", b"a", b"v", ())
    assert one != "something else"
    assert (one.header(b"h"), one.header(b"x")) == (None, None)
    with pytest.raises(TypeError):
        hash(one)


def test_a_group_of_one_and_a_group_of_records():
    assert Group.of(b"a", b"v", ((b"h", b"1"),)).records()[0].headers == ((b"h", b"1"),)
    records = [Record(5, 6, b"a", None, b"v", ())]
    group = Group.of_records(b"a", records)
    assert (group.records(), group.base, group.count, group.timestamp_ms) == (records, 5, 1, 6)
    assert Group.of_records(b"a", []).records() == []


@given(MESSAGES.filter(len), st.data())
def test_a_part_is_those_messages_in_that_order(messages, data):
    group, _ = built(messages)
    group.base, group.timestamp_ms = 7, 99
    indices = sorted(data.draw(st.sets(st.integers(0, len(messages) - 1), min_size=1)))
    part = group.part(indices)
    assert [(r.value, r.headers) for r in part.records()] == [(messages[i][0], messages[i][1]) for i in indices]
    assert (part.source, part.timestamp_ms) == ("me", 99)
    together = indices[-1] - indices[0] == len(indices) - 1
    assert part.base == (7 + indices[0] if together else -1)
    decoded = Group.of_records(b"orders", group.records()).part(indices)
    assert decoded.records() == [group.records()[i] for i in indices]
