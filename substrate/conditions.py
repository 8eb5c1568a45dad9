"""What conditions are judged by: message ids in a window, producers' sequences.

Each is a fold of the stream, built from the log when first needed and kept up with the ordered tail. The last position of
an address is ``substrate.index``'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from substrate.api import Appended, Epoch, Position, Record, Rejected
from substrate.batch import Header

if TYPE_CHECKING:
    from substrate.layer import StreamLayer
    from substrate.streams import Stream

MESSAGE_ID = b"Nats-Msg-Id"
BATCHES_KEPT = 5
"""Of each producer, as Kafka keeps them (ProducerStateEntry.NUM_BATCHES_TO_RETAIN)."""


class MessageIds:
    """Message ids seen, with the position of the first of each."""

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[int, int]] = {}
        self._order: deque[tuple[int, bytes]] = deque()
        self.last: bytes | None = None
        """Of the last record; None: look it up."""

    def add(self, message_id: bytes, position: int, now_ms: int) -> None:
        self._seen[message_id] = (position, now_ms)
        self._order.append((now_ms, message_id))
        self.last = message_id

    def find(self, message_id: bytes, since_ms: int) -> int:
        """The position of the record with this id that is not older than ``since_ms``; -1: none."""
        while self._order and self._order[0][0] < since_ms:
            at_ms, gone = self._order.popleft()
            if self._seen.get(gone, (0, 0))[1] == at_ms:
                del self._seen[gone]
        return self._seen.get(message_id, (-1, 0))[0]

    def last_id(self, stream: Stream, layer: StreamLayer) -> bytes:
        """The id of the stream's last record; b"" if it has none."""
        if self.last is None:
            record = layer.record_at(stream, stream.next - 1)
            self.last = (record.header(MESSAGE_ID) if record is not None else None) or b""
        return self.last

    def rebuild(self, records: Iterable[Record]) -> None:
        for record in records:
            message_id = record.header(MESSAGE_ID)
            if message_id is not None:
                self.add(message_id, record.position, record.timestamp_ms)
        self.last = None


class Producers:
    """Kafka's idempotent producers (KIP-98): the last five batches of each, and what may follow them."""

    def __init__(self) -> None:
        self._producers: dict[int, tuple[int, deque[tuple[int, int, int, int]]]] = {}

    def ids(self) -> Iterable[int]:
        return self._producers.keys()

    def listed(self) -> tuple[tuple[int, int, int, int], ...]:
        """(id, epoch, last sequence, last timestamp) of each."""
        return tuple((id, epoch, kept[-1][1], kept[-1][3]) for id, (epoch, kept) in sorted(self._producers.items()))

    def judge(self, header: Header, stream: Stream, layer: StreamLayer) -> Appended | Rejected | None:
        """None: append it. A batch seen before answers its first positions; a gap or an old epoch is rejected."""
        if header.base_sequence < 0:
            return Rejected("sequence", -1)
        known = self._producers.get(header.producer_id)
        if known is None:
            # A producer that nothing is known of may go on anywhere, as in Kafka: its batches may have been trimmed, or the
            # stream is a new one of an old name. If one of its batches was refused, or lost with the storage, what it had
            # sent behind it would leave a gap.
            anywhere = stream.start > 0 or header.producer_id not in layer.doubted.get(stream.id, ())
            return None if header.base_sequence == 0 or anywhere else Rejected("sequence", 0)
        epoch, kept = known
        last_sequence = (header.base_sequence + header.last_offset_delta) & 0x7FFFFFFF
        if header.producer_epoch < epoch:
            return Rejected("epoch", epoch)
        if header.producer_epoch > epoch:
            return None if header.base_sequence == 0 else Rejected("sequence", 0)
        for first, last, base, timestamp_ms in kept:
            if first == header.base_sequence and last == last_sequence:
                commit = layer.commit_of(stream, base)
                return Appended(
                    stream.id, Position(base), Position(base + header.last_offset_delta), timestamp_ms,
                    Epoch(layer.epoch), layer.shard, commit, duplicate=True,
                )  # fmt: skip
        expected = (kept[-1][1] + 1) & 0x7FFFFFFF
        return None if header.base_sequence == expected else Rejected("sequence", expected)

    def add(self, header: Header, base: int) -> None:
        known = self._producers.get(header.producer_id)
        if known is None or known[0] != header.producer_epoch:
            known = (header.producer_epoch, deque(maxlen=BATCHES_KEPT))
            self._producers[header.producer_id] = known
        last = (header.base_sequence + header.last_offset_delta) & 0x7FFFFFFF
        known[1].append((header.base_sequence, last, base, header.max_timestamp))
