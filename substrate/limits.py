"""Limits that are exact to the message: of a stream and of one address in it, the oldest discarded or the new one rejected.

Rules:

* A stream that asks for none of this has no ``Limits``: its appends pay for one look at an attribute.
* What a limit takes from the front moves the stream's logical start (``Marks``, the same commit); what it takes from within
  (limits per address) is marked.
* No append costs more than what it adds or takes: the bytes of all are summed once, when first needed, then kept up; the
  front is read a batch at a time; of an address the number kept and where the oldest may be are cached.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from substrate.api import Address, Rejected, StreamConfig
from substrate.intervals import Intervals

if TYPE_CHECKING:
    from substrate.api import Record
    from substrate.layer import StreamLayer
    from substrate.streams import Stream

ADDRESSES_MAX = 1 << 16
"""Cached."""
SUBTRACT_MAX = 4096
"""Removals of more positions at once are not subtracted one by one: the bytes are summed anew."""


def record_bytes(address_bytes: int, value_bytes: int, headers: tuple[tuple[bytes, bytes | None], ...] = ()) -> int:
    """What a JetStream file store counts for a message (nats-server server/filestore.go fileStoreMsgSize, behaviour)."""
    size = 30 + address_bytes + value_bytes
    if headers:
        size += 16 + sum(len(name) + len(value or b"") + 4 for name, value in headers)
    return size


def size_of(record: Record) -> int:
    """The same of a record that was read."""
    return record_bytes(len(record.address), len(record.value or b""), record.headers)


def limits_of(config: StreamConfig) -> Limits | None:
    """None: nothing is to be done when something is appended."""
    front = config.retention_records >= 0 or config.retention_bytes >= 0
    if config.address_records_max >= 0 or (front and (config.discard_new or config.exact_limits)):
        return Limits(config)
    return Limits(config) if config.exact_limits and config.retention_ms >= 0 else None


class Limits:
    """Of one stream. The layer calls ``refuse`` before it appends and ``appended`` after."""

    def __init__(self, config: StreamConfig) -> None:
        self.config = config
        self._bytes = -1
        """Of all records that are there; -1: not known."""
        self._front: deque[tuple[int, int, int]] = deque()
        """Position, bytes and time of some of the oldest records."""
        self._front_end = -1
        self._addresses: OrderedDict[Address, list[int]] = OrderedDict()
        """How many there are, and a position below which there is none."""

    def refuse(self, layer: StreamLayer, found: Stream, address: bytes, count: int, size: int) -> Rejected | None:
        """Whether ``count`` more records of ``size`` bytes in all are too many."""
        config = self.config
        replaced = 0
        if config.address_records_max >= 0:
            there = self._of(layer, found, Address(address))[0]
            if there + count > config.address_records_max:
                if config.address_discard_new:
                    return Rejected("address_records", config.address_records_max)
                replaced = there + count - config.address_records_max
        if config.discard_new:
            if 0 <= config.retention_records < live(found) + count - replaced:
                return Rejected("records", config.retention_records)
            if 0 <= config.retention_bytes < self.bytes(layer, found) + size - (size if replaced else 0):
                return Rejected("bytes", config.retention_bytes)
        return None

    def appended(self, layer: StreamLayer, found: Stream, address: bytes, base: int, count: int, size: int) -> None:
        """Keep up with what was appended, and take what is too much."""
        if self._bytes >= 0:
            self._bytes += size
        config = self.config
        if config.address_records_max >= 0:
            if Address(address) in self._addresses:
                self._addresses[Address(address)][0] += count
            self._bound(layer, found, Address(address))
        if config.exact_limits and not config.discard_new:
            self._bound_front(layer, found)

    def settle(self, layer: StreamLayer, found: Stream) -> None:
        """Take what is too much under limits that have changed."""
        if self.config.address_records_max >= 0:
            for address in layer.indexes.ask(found, lambda index: [one for one, _ in index.entries()]):
                self._bound(layer, found, address)
        if self.config.exact_limits:
            self._bound_front(layer, found)

    def _of(self, layer: StreamLayer, found: Stream, address: Address) -> list[int]:
        known = self._addresses.get(address)
        if known is None:
            there = layer.indexes.ask(found, lambda index: index.count(address, found.start, found.next, found.gone))
            known = [there, found.start]
            self._addresses[address] = known
            if len(self._addresses) > ADDRESSES_MAX:
                self._addresses.popitem(last=False)
        else:
            self._addresses.move_to_end(address)
        return known

    def _bound(self, layer: StreamLayer, found: Stream, address: Address) -> None:
        known = self._of(layer, found, address)
        taken = []
        while known[0] > self.config.address_records_max:
            oldest = self._first(layer, found, address, max(known[1], found.start))
            if oldest < 0:
                break
            taken.append((oldest, oldest + 1))
            known[0] -= 1
            known[1] = oldest + 1
        if taken:
            self._subtract(layer, found, taken)
            layer.removal.mark(found, taken)

    def _first(self, layer: StreamLayer, found: Stream, address: Address, start: int) -> int:
        return layer.indexes.ask(found, lambda index: index.first(address, start, found.next, found.gone))

    def _bound_front(self, layer: StreamLayer, found: Stream) -> None:
        config = self.config
        excess = live(found) - config.retention_records if config.retention_records >= 0 else 0
        if config.retention_bytes < 0 and self._bytes < 0:
            if excess > 0:
                layer.removal.forward(found, beyond_oldest(found, excess))
            return
        start = found.start
        total = self.bytes(layer, found)
        while excess > 0 or 0 <= config.retention_bytes < total:
            position, size, _ = self._oldest(layer, found, start)
            if position < 0:
                break
            total -= size
            excess -= 1
            start = position + 1
        self._forward(layer, found, start, total)

    def expire(self, layer: StreamLayer, found: Stream, now_ms: int) -> int:
        """Take what is too old; when the next one is due (unix ms), -1: none there is."""
        config = self.config
        if config.retention_ms < 0 or not config.exact_limits:
            return -1
        start = found.start
        total = self._bytes
        while True:
            position, size, time_ms = self._oldest(layer, found, start)
            if position < 0 or time_ms + config.retention_ms > now_ms:
                break
            start = position + 1
            total -= size
        self._forward(layer, found, start, total)
        return time_ms + config.retention_ms if position >= 0 else -1

    def _forward(self, layer: StreamLayer, found: Stream, start: int, total: int) -> None:
        if start > found.start:
            self._bytes = max(total, 0) if self._bytes >= 0 else -1
            self._addresses.clear()
            layer.removal.forward(found, start)

    def bytes(self, layer: StreamLayer, found: Stream) -> int:
        """Of all records that are there."""
        if self._bytes < 0:
            gone = found.gone
            self._bytes = sum(size_of(one) for one in layer.each(found, found.start) if one.position not in gone)
        return self._bytes

    def _oldest(self, layer: StreamLayer, found: Stream, start: int) -> tuple[int, int, int]:
        """Position, bytes and time of the first record at or after ``start``; position -1: there is none."""
        front = self._front
        while True:
            while front and (front[0][0] < start or front[0][0] in found.gone):
                front.popleft()
            if front:
                return front[0]
            at = found.gone.beyond(max(start, self._front_end))
            if at >= found.next:
                return -1, 0, 0
            records = layer.records_at(found, at)
            front.extend((one.position, size_of(one), one.timestamp_ms) for one in records)
            self._front_end = records[-1].position + 1 if records else layer.batch_end(found, at)

    def trimmed(self, layer: StreamLayer, found: Stream, before: int) -> None:
        """The stream is about to begin at ``before``, by somebody else."""
        self.removed(layer, found, [(found.start, before)])

    def removed(self, layer: StreamLayer, found: Stream, ranges: list[tuple[int, int]]) -> None:
        """These half-open ranges are about to be marked by somebody else."""
        self._subtract(layer, found, ranges)
        self._addresses.clear()

    def _subtract(self, layer: StreamLayer, found: Stream, ranges: list[tuple[int, int]]) -> None:
        if self._bytes < 0:
            return
        if sum(end - start for start, end in ranges) > SUBTRACT_MAX:
            self._bytes = -1
            return
        gone = found.gone
        for start, end in ranges:
            at = start
            while at < end:
                records = layer.records_at(found, at)
                self._bytes -= sum(size_of(one) for one in records if one.position < end and one.position not in gone)
                at = records[-1].position + 1 if records else layer.batch_end(found, at)


def live(found: Stream) -> int:
    """Records that are there."""
    return found.next - found.start - found.gone.count(found.start, found.next)


def beyond_oldest(found: Stream, count: int) -> int:
    """The position behind the ``count`` oldest records."""
    gone: Intervals = found.gone
    if count <= 0:
        return found.start
    if not gone:
        return found.start + count
    position = found.start
    for _ in range(count):
        position = gone.beyond(position) + 1
    return position
