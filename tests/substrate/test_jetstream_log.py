"""The log's format and NATS' wire as the jetstream engine has them: round trips, any cut, what is void, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.batches import make_batch
from substrate.api import Commit, Position, StreamId
from substrate.engine import Frame, Part
from substrate.jetstream import wire
from substrate.jetstream.address import Cluster
from substrate.jetstream.log import (
    PIECE_BYTES,
    Entry,
    Joiner,
    Kind,
    LogError,
    Piece,
    cut,
    pack_frame,
    pack_numbers,
    unpack,
    unpack_frames,
    unpack_numbers,
)


def _frame(number: int, *sizes: int) -> Frame:
    batches = [make_batch(3 * index, 3, 1, b"x" * size, 1_000) for index, size in enumerate(sizes)]
    part = Part(StreamId(7), Position(0), Position(3 * len(sizes)), batches, sum(map(len, batches)), 1_000)
    return Frame(Commit(number), [part, Part(StreamId(9), Position(5), Position(5), [], 0, -1)])


@given(st.lists(st.integers(0, 700_000), min_size=1, max_size=4))
def test_a_frame_comes_back_from_its_pieces(sizes: list[int]) -> None:
    frames = [_frame(3), _frame(4, *sizes)]
    data = cut([part for frame in frames for part in pack_frame(frame.number, frame.parts)])
    assert all(len(one) <= PIECE_BYTES for one in data)
    joiner = Joiner(epoch=3)
    found: list[Entry] = []
    for index, one in enumerate(data):
        packed = Piece(Kind.COMMIT, 10 + index, 3, 4, index, len(data), one).pack()
        assert len(packed) <= 512 * 1024
        found += joiner.take(unpack(packed, 10 + index))
    (entry,) = found
    assert unpack_frames(entry.body) == frames
    assert (joiner.sequence, joiner.commit, joiner.between) == (9 + len(data), 4, True)


@given(st.binary(max_size=100), st.data())
def test_a_message_that_was_changed_or_moved_is_refused(data: bytes, draw: st.DataObject) -> None:
    packed = bytearray(Piece(Kind.COMMIT, 10, 3, 4, 0, 1, data).pack())
    with pytest.raises(LogError):
        unpack(bytes(packed), 11)
    bit = draw.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(LogError):
        unpack(bytes(packed), 10)


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(LogError):
        unpack(data, 1)
    if data:
        with pytest.raises(LogError):
            unpack_frames(data)


def _take(joiner: Joiner, *pieces: tuple[Kind, int, int, int]) -> list[tuple[Kind, int]]:
    """(kind, epoch, index, count) of each; what came out."""
    found: list[Entry] = []
    for kind, epoch, index, count in pieces:
        found += joiner.take(Piece(kind, joiner.sequence + 1, epoch, 5, index, count, b"%d" % epoch))
    return [(entry.kind, entry.epoch) for entry in found]


def test_what_a_fenced_writer_wrote_behind_the_next_epoch_is_void() -> None:
    joiner = Joiner()
    found = _take(
        joiner, (Kind.EPOCH, 1, 0, 1), (Kind.COMMIT, 1, 0, 1), (Kind.COMMIT, 1, 0, 2), (Kind.EPOCH, 2, 0, 1),
        (Kind.COMMIT, 1, 1, 2), (Kind.COMMIT, 2, 0, 2), (Kind.COMMIT, 1, 0, 1), (Kind.COMMIT, 2, 1, 2),
        (Kind.TRIM, 2, 0, 1),
    )  # fmt: skip
    assert found == [(Kind.EPOCH, 1), (Kind.COMMIT, 1), (Kind.EPOCH, 2), (Kind.COMMIT, 2), (Kind.TRIM, 2)]


@pytest.mark.parametrize(
    "piece", [(Kind.COMMIT, 3, 0, 1), (Kind.COMMIT, 2, 1, 2), (Kind.EPOCH, 2, 0, 1)], ids=["no epoch", "hole", "twice"]
)
def test_a_log_with_a_hole_is_refused(piece: tuple[Kind, int, int, int]) -> None:
    with pytest.raises(LogError):
        _take(Joiner(epoch=2), piece)


def test_numbers_come_back() -> None:
    assert unpack_numbers(pack_numbers(1, 1 << 60), 2) == (1, 1 << 60)
    with pytest.raises(LogError):
        unpack_numbers(b"123", 1)


SAID = (
    b'INFO {"headers":true}\r\nPING\r\nPONG\r\n+OK\r\nMSG a.b 1 5\r\nhello\r\nMSG a.b 1 _INBOX.x 0\r\n\r\n'
    b"HMSG a.b 1 30 32\r\nNATS/1.0\r\nNats-Sequence: 7\r\n\r\nhi\r\nHMSG x 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"
)


@given(st.lists(st.integers(0, len(SAID)), max_size=6))
def test_the_wire_is_read_however_it_is_cut(cuts: list[int]) -> None:
    parser = wire.Parser()
    found: list[object] = []
    at = 0
    for end in [*sorted(cuts), len(SAID)]:
        found += parser.take(SAID[at:end])
        at = end
    messages = [one for one in found if isinstance(one, wire.Message)]
    assert [type(one) for one in found[:3]] == [wire.Info, wire.Ping, wire.Pong]
    assert [one.payload for one in messages] == [b"hello", b"", b"hi", b""]
    assert messages[2].field("Nats-Sequence") == "7"
    assert [one.status for one in messages] == ["", "", "", "503"]


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 400\r\n", b"MSG a 1 x\r\n", b"HMSG a 1 9 5\r\n", b"MSG a\r\n", b"INFO [1]\r\n", b"-ERR 'no'\r\n"],
)
def test_what_is_not_nats_is_refused(said: bytes) -> None:
    with pytest.raises(wire.WireError):
        list(wire.Parser().take(said))


def test_an_address_is_read_or_refused() -> None:
    found = Cluster.parse("jetstream://me:secret@a:1,[::1]:2/shop?replicas=1")
    assert found == Cluster((("a", 1), ("::1", 2)), "shop", 1, "me", "secret")
    assert Cluster.parse("jetstream://a:4222") == Cluster((("a", 4222),))
    for wrong in ("jetstream://", "jetstream://a", "nats://a:1", "jetstream://a:1/b c", "jetstream://a:1?replicas=9"):
        with pytest.raises(ValueError, match="is not"):
            Cluster.parse(wrong)
