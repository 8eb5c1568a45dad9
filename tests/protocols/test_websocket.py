"""The WebSocket codec by itself: any cut, any bytes. tests/mqtt/test_websocket.py has it at work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.websocket import BINARY, CLOSE, CONTINUATION, PING, Decoder, Refusal, answer, frame, may_close_with

PAYLOADS = st.lists(st.binary(max_size=300) | st.binary(min_size=65530, max_size=65540), max_size=5)


def masked(payload: bytes, key: bytes, opcode: int = BINARY, final: bool = True) -> bytes:
    """As a client sends it."""
    data = frame(payload, opcode)
    head = len(data) - len(payload)
    hidden = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes(((0x80 if final else 0) | opcode, data[1] | 0x80)) + data[2:head] + key + hidden


@given(PAYLOADS, st.binary(min_size=4, max_size=4), st.lists(st.integers(1, 2000), min_size=1, max_size=20))
def test_what_a_client_masked_and_cut_comes_out_whole(payloads: list[bytes], key: bytes, cuts: list[int]) -> None:
    wire = b"".join(
        masked(payload[:9], key, BINARY, False) + masked(b"hi", key, PING) + masked(payload[9:], key, CONTINUATION)
        for payload in payloads
    )
    decoder = Decoder()
    at = turn = 0
    while at < len(wire):
        step = cuts[turn % len(cuts)]
        decoder.feed(memoryview(wire)[at : at + step])
        at, turn = at + step, turn + 1
    assert (bytes(decoder.plain), decoder.failed, decoder.closed) == (b"".join(payloads), 0, False)
    assert decoder.control == [(PING, b"hi")] * len(payloads)


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_any_bytes_are_taken_or_end_the_connection(chunks: list[bytes]) -> None:
    decoder = Decoder()
    for chunk in chunks:
        decoder.feed(chunk)
    assert decoder.failed in (0, 1002, 1003)
    assert len(decoder.plain) <= sum(map(len, chunks))


def test_nothing_is_taken_after_a_close_or_a_failure() -> None:
    for end in (masked(b"\x03\xe8", b"abcd", CLOSE), b"\xff\xff"):
        decoder = Decoder()
        decoder.feed(masked(b"before", b"abcd") + end + masked(b"after", b"abcd"))
        assert decoder.plain == b"before" and (decoder.closed or decoder.failed)


@pytest.mark.parametrize("code, allowed", [(999, 0), (1000, 1), (1004, 0), (1005, 0), (1006, 0), (1011, 1), (1015, 0), (2999, 0), (3000, 1), (5000, 0)])  # fmt: skip
def test_status_codes_that_a_peer_may_send(code: int, allowed: int) -> None:
    assert may_close_with(code) == bool(allowed)


@given(st.binary(max_size=200))
def test_any_request_is_answered_or_refused(request: bytes) -> None:
    try:
        answer(request, ("mqtt",), ())
    except Refusal as refusal:
        assert refusal.response.startswith(b"HTTP/1.1 4")
