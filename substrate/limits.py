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
from collections.abc import Sequence
from typing import TYPE_CHECKING

from substrate.api import Address, Rejected, StreamConfig
from substrate.engine import EngineError
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


def limits(config: StreamConfig) -> bool:
    """Whether something is to be done when something is appended."""
    front = config.retention_records >= 0 or config.retention_bytes >= 0
    if config.address_records_max >= 0 or (front and (config.discard_new or config.exact_limits)):
        return True
    return config.exact_limits and config.retention_ms >= 0


def limits_of(config: StreamConfig) -> Limits | None:
    """None: there is nothing to enforce."""
    return Limits(config) if limits(config) else None


class Limits:
    """Of one stream. The layer calls ``refuse`` before it appends and ``appended`` after."""

    def __init__(self, config: StreamConfig) -> None:
        self.config = config
        self.active = limits(config)
        """There is something to enforce; else only the bytes are kept, for who asks."""
        self._bytes = -1
        """Of the records that are there below ``_bytes_end``; -1: not known."""
        self._bytes_end = 0
        self._front: deque[tuple[int, int, int]] = deque()
        """Position, bytes and time of some of the oldest records."""
        self._front_end = -1
        self._addresses: OrderedDict[Address, list[int]] = OrderedDict()
        """How many there are, and a position below which there is none."""

    def refuse(
        self, layer: StreamLayer, found: Stream, by_address: Sequence[tuple[bytes, int, int]]
    ) -> Rejected | None:
        """Whether these are too many: of each address how many records more, and their bytes."""
        config = self.config
        replaced = 0
        if config.address_records_max >= 0:
            for address, count, _ in by_address:
                over = self._of(layer, found, Address(address))[0] + count - config.address_records_max
                if over > 0 and config.address_discard_new:
                    return Rejected("address_records", config.address_records_max)
                replaced += max(over, 0)
        if not config.discard_new:
            return None
        if 0 <= config.retention_records < live(found) + sum(one[1] for one in by_address) - replaced:
            return Rejected("records", config.retention_records)
        size = 0 if replaced else sum(one[2] for one in by_address)
        if 0 <= config.retention_bytes < self.bytes(layer, found) + size:
            return Rejected("bytes", config.retention_bytes)
        return None

    def appended(
        self, layer: StreamLayer, found: Stream, base: int, by_address: Sequence[tuple[bytes, int, int]]
    ) -> None:
        """Keep up with what was appended, and take what is too much; where the log is rotten that is left."""
        config = self.config
        if self._bytes >= 0 and self._bytes_end == base:
            self._bytes += sum(one[2] for one in by_address)
            self._bytes_end = found.next
        for address, count, _ in by_address:
            if config.address_records_max >= 0 and Address(address) in self._addresses:
                self._addresses[Address(address)][0] += count
        try:
            if config.address_records_max >= 0:
                for address, _, _ in by_address:
                    self._bound(layer, found, Address(address))
            if config.exact_limits and not config.discard_new:
                self._bound_front(layer, found)
        except EngineError:
            return

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
                self._forward(layer, found, beyond_oldest(found, excess), -1)
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
        known = self._bytes >= 0
        total = self.bytes(layer, found) if known else 0
        while True:
            position, size, time_ms = self._oldest(layer, found, start)
            if position < 0 or time_ms + config.retention_ms > now_ms:
                break
            start = position + 1
            total -= size
        self._forward(layer, found, start, total if known else -1)
        return time_ms + config.retention_ms if position >= 0 else -1

    def _forward(self, layer: StreamLayer, found: Stream, start: int, total: int) -> None:
        if start > found.start:
            self._bytes = total
            self._addresses.clear()
            layer.removal.forward(found, start)

    def bytes(self, layer: StreamLayer, found: Stream) -> int:
        """Of all records that are there: each is read once at most."""
        if self._bytes < 0:
            self._bytes, self._bytes_end = 0, found.start
        if self._bytes_end < found.next:
            gone = found.gone
            more = layer.each(found, max(self._bytes_end, found.start))
            self._bytes += sum(size_of(one) for one in more if one.position not in gone)
            self._bytes_end = found.next
        return self._bytes

    def unread(self, found: Stream) -> int:
        """Positions that ``bytes`` would read."""
        return found.next - (max(self._bytes_end, found.start) if self._bytes >= 0 else found.start)

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
        ranges = [(start, min(end, self._bytes_end)) for start, end in ranges if start < self._bytes_end]
        if self._bytes < 0 or not ranges:
            return
        if sum(end - start for start, end in ranges) > SUBTRACT_MAX:
            self._bytes = -1
            return
        try:
            self._bytes -= sum(self._bytes_of(layer, found, start, end) for start, end in ranges)
        except EngineError:
            self._bytes = -1

    def _bytes_of(self, layer: StreamLayer, found: Stream, start: int, end: int) -> int:
        total = 0
        at = start
        while at < end:
            records = layer.records_at(found, at)
            total += sum(size_of(one) for one in records if one.position < end and one.position not in found.gone)
            at = records[-1].position + 1 if records else layer.batch_end(found, at)
        return total


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
