"""Channels and addresses, entries and records: there and back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.resp.mapping import address_of, fields_of, first_position, id_of, last_position, name_of, record_of
from substrate.address import join
from substrate.api import Record


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_channel_comes_back_from_its_address(channel: bytes) -> None:
    assert name_of(address_of(channel)) == channel


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_an_address_comes_back_from_its_channel(tokens: list[bytes]) -> None:
    address = join(tokens)
    assert address_of(name_of(address)) == address


def test_colons_separate_tokens() -> None:
    assert address_of(b"orders:eu:42") == b"orders/eu/42"
    assert name_of(b"orders/eu/42") == b"orders:eu:42"


@given(
    st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), min_size=1, max_size=5),
    st.binary(min_size=1, max_size=9),
)
@settings(max_examples=200, deadline=None)
def test_an_entry_that_ends_in_data_comes_back_from_its_record(pairs: list[tuple[bytes, bytes]], value: bytes) -> None:
    fields = [word for pair in pairs for word in pair] + [b"data", value]
    found, headers = record_of(fields)
    assert fields_of(Record(0, 0, b"s", b"s", found, headers)) == fields


@given(st.lists(st.tuples(st.binary(min_size=5, max_size=7), st.binary(max_size=5)), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_an_entry_without_data_comes_back_from_its_record(pairs: list[tuple[bytes, bytes]]) -> None:
    fields = [word for pair in pairs for word in pair]
    found, headers = record_of(fields)
    assert (found, fields_of(Record(0, 0, b"s", b"s", found, headers))) == (b"", fields)


@given(st.integers(0, 2**40))
@settings(max_examples=50, deadline=None)
def test_ids_are_positions_plus_one(position: int) -> None:
    assert first_position(id_of(position)) == last_position(id_of(position)) == position
    assert first_position((position + 1, 1)) == position + 1
    assert last_position((position, 5)) == position - 1
