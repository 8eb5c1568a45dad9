"""Names and messages go to the substrate and come back as they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.nats import errors, mapping
from protocols.nats.jetstream_wire import format_time, parse_duration, parse_time
from protocols.nats.mapping import (
    delivery_of,
    header_block,
    header_tuple,
    pattern_of,
    subject_address,
    subject_of_address,
    subject_of_pattern,
)
from protocols.nats.wire import valid_subject
from substrate.address import join
from substrate.api import QOS, REPLY, ErrorCode, Record
from substrate.interest import Tokens

FEW = settings(max_examples=200, deadline=None)
tokens = st.binary(max_size=6) | st.sampled_from([b"", b"*", b">", b".", b"/", b"//", b"/s", b"a b", b"%", b"/*"])
subjects = st.lists(st.text("ab*>/|%s.$", min_size=1, max_size=5).map(str.encode), min_size=1, max_size=3).map(
    b".".join
)
names = st.text("abcABC-_", min_size=1, max_size=8).filter(lambda name: not name.startswith("thalweg-")).map(str.encode)
values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=8).map(
    lambda v: v.strip().encode()
)


@FEW
@given(st.lists(tokens, min_size=1, max_size=4))
def test_every_address_has_one_subject_that_gives_it_back(parts: list[bytes]) -> None:
    address = join(parts)
    subject = subject_of_address(address)
    assert valid_subject(subject)
    assert subject_address(subject) == address


@FEW
@given(subjects)
def test_every_valid_subject_has_one_address_that_gives_it_back(subject: bytes) -> None:
    if valid_subject(subject):
        assert subject_of_address(subject_address(subject)) == subject


@FEW
@given(subjects, subjects)
def test_patterns_match_the_subjects_that_nats_would_match(pattern: bytes, subject: bytes) -> None:
    if not valid_subject(pattern, True) or not valid_subject(subject):
        return
    want, have = pattern.split(b"."), subject.split(b".")
    matches = len(want) == len(have) or (want[-1] == b">" and len(have) >= len(want))
    matches = matches and all(w in (b"*", b">", h) for w, h in zip(want, have, strict=False))
    assert pattern_of(pattern).matches(subject_address(subject)) == matches
    assert subject_of_pattern(pattern_of(pattern).text) == pattern


def test_literal_stars_of_other_protocols_are_not_wildcards() -> None:
    assert subject_of_address(join([b"x", b"*", b"y"])) == b"x./*.y"
    assert pattern_of(b"x./*.y").matches(join([b"x", b"*", b"y"]))
    assert not pattern_of(b"x./*.y").matches(join([b"x", b"z", b"y"]))


@FEW
@given(st.lists(st.tuples(names, values), max_size=5), st.sampled_from([b"", b" 503", b" 503 No Responders"]))
def test_header_blocks_come_back_in_order_with_duplicates(pairs: list[tuple[bytes, bytes]], status: bytes) -> None:
    block = b"NATS/1.0" + status + b"\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in pairs) + b"\r\n"
    headers = header_tuple(block)
    assert header_block(headers) == block
    assert [pair for pair in headers if not pair[0].startswith(b"thalweg-")] == pairs


@FEW
@given(st.binary(max_size=60) | st.binary(max_size=30).map(lambda rest: b"NATS/1.0\r\n" + rest + b"\r\n\r\n"))
def test_any_block_at_all_comes_back_byte_by_byte(block: bytes) -> None:
    if block:
        assert header_block(header_tuple(block)) == block


def test_a_record_of_another_protocol_is_shown_with_its_headers() -> None:
    record = Record(7, 1, b"orders/eu%2F1", None, None, ((b"A", b"b"), (b"A", None), (QOS, b"1"), (REPLY, b"in/box")))
    assert delivery_of(record) == (
        b"orders.eu/1", b"in.box", b"NATS/1.0\r\nA: b\r\nA: \r\nNmqtt-Pub: 1\r\n\r\n", b"",
    )  # fmt: skip


def test_headers_that_would_break_the_block_are_left_out() -> None:
    headers = ((b"a:b", b"x"), (b"ok", b"1\r\nInjected: 2"), (b"", b"x"), (b"bin", b"\xff"), (b"good", b"y"))
    assert header_block(headers) == b"NATS/1.0\r\ngood: y\r\n\r\n"


def test_a_client_cannot_set_headers_that_are_ours() -> None:
    block = b"NATS/1.0\r\nthalweg-retain: 1\r\nthalweg-correlation: 7\r\n\r\n"
    headers = header_tuple(block)
    assert dict(headers).keys() == {b"thalweg-correlation", mapping.BLOCK}
    assert header_block(headers) == block


def test_rest_wildcards_that_match_nothing_have_no_subject() -> None:
    assert subject_of_pattern(Tokens(b"a/%#").text) is None


@pytest.mark.parametrize("code", ErrorCode)
def test_every_substrate_error_has_a_jetstream_error(code: ErrorCode) -> None:
    error = errors.STREAM_ERRORS[code]
    assert error.code >= 400 and error.err_code >= 10000 and "{" not in error.description


@FEW
@given(st.integers(0, 4_000_000_000 * 10**9))
def test_times_come_back(nanoseconds: int) -> None:
    assert parse_time(format_time(nanoseconds)) == nanoseconds


def test_times_as_go_writes_them() -> None:
    assert format_time(1_795_176_999_681_229_691) == "2026-11-20T12:16:39.681229691Z"
    assert format_time(951_782_400_000_000_000) == "2000-02-29T00:00:00Z"
    assert parse_time("2026-11-20T13:16:39.5+01:00") == 1_795_176_999_500_000_000
    assert parse_duration("1h2m3.5s") == 3_723_500_000_000
    for text in ("", "5", "1x", "s"):
        with pytest.raises(ValueError):
            parse_duration(text)
