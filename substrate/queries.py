"""What may be asked of a stream: by address, by pattern, by time. See ``protocols.api.Port.query``."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from substrate import batch as batches
from substrate.api import Address, ErrorCode, Found, Level, Pattern, Position, StreamError
from substrate.batch import BatchError
from substrate.index import AddressIndex, count_in, first_in, last_in
from substrate.interest import ANY, ONE, SOME, Tokens
from substrate.limits import Limits

if TYPE_CHECKING:
    from substrate.layer import StreamLayer
    from substrate.streams import Stream

READ_MAX = 100_000
"""Records that are read to sum their bytes; of more, in a stream without limits, the answer is an estimate."""
NEAR_BYTES = 64 * 1024
"""``next`` by pattern reads so much of the log before it asks the index: what is looked for is mostly near."""


def query(
    layer: StreamLayer, found: Stream, kind: str, address: Address | None, time_ms: int, pattern: Pattern | None,
    start: int, end: int, level: Level,
) -> object:  # fmt: skip
    """Raises: EngineError."""
    if kind == "find_time":
        limit = found.next if level is Level.ORDERED else layer.limit(found, level)
        position = find_time(layer, found, time_ms, limit)
        record = layer.record_at(found, position) if position < limit else None
        return Found(Position(-1)) if record is None else Found(Position(position), record.timestamp_ms)
    if kind == "max_time":
        return _max_time(layer, found, found.next if level is Level.ORDERED else layer.limit(found, level))
    start = max(start, found.start)
    end = found.next if end < 0 else min(end, found.next)
    if isinstance(pattern, Tokens):
        address = address or pattern.literal()
    if kind == "removed":
        return found.gone.count(start, end)
    if kind == "bytes":
        if found.limits is None:
            found.limits = Limits(found.config)  # from here on it is kept up
        if not found.limits.active and found.limits.unread(found) > READ_MAX:
            return _bytes_about(layer, found)
        return found.limits.bytes(layer, found)
    if kind == "last":
        return Found(Position(_last(layer, found, address, pattern, start, end)))
    if kind == "next":
        return Found(Position(_next(layer, found, address, pattern, start, end)))
    if kind == "count":
        return _count(layer, found, address, pattern, start, end)
    if kind == "addresses":
        return _addresses(layer, found, address, pattern, start, end)
    return StreamError(ErrorCode.UNSUPPORTED, kind)


def _bytes_about(layer: StreamLayer, found: Stream) -> int:
    """By what the segments take, less the part that is gone."""
    held = sum(segment.bytes for segment in layer.segments(found))
    there = max(found.next - found.start, 1)
    return held * (there - found.gone.count(found.start, found.next)) // there


def _last(
    layer: StreamLayer, found: Stream, address: Address | None, pattern: Pattern | None, start: int, end: int
) -> int:
    gone = found.gone
    if address is not None:
        return layer.indexes.ask(found, lambda index: index.last(address, start, end, gone))
    if pattern is not None:
        return layer.indexes.ask(
            found,
            lambda index: max(
                (last_in(some, start, end, gone) for one in _matching(index, pattern) for some in one[1]), default=-1
            ),
        )
    last = gone.before(end - 1)
    return last if last >= start else -1


def _matching(index: AddressIndex, pattern: Pattern | None) -> Iterator[tuple[Address, list[array[int]]]]:
    """The index's entries whose address the pattern matches."""
    if pattern is None:
        return index.entries()
    return (one for one in index.entries(_prefix(pattern)) if pattern.matches(one[0]))


def _prefix(pattern: Pattern) -> bytes:
    """What every address that matches begins with."""
    if not isinstance(pattern, Tokens):
        return b""
    wild = next((at for at, part in enumerate(pattern.parts) if part in (ONE, SOME, ANY)), len(pattern.parts))
    prefix = b"/".join(pattern.parts[:wild])
    return prefix + b"/" if 0 < wild < len(pattern.parts) and pattern.parts[wild] != ANY else prefix


def _next(
    layer: StreamLayer, found: Stream, address: Address | None, pattern: Pattern | None, start: int, end: int
) -> int:
    if address is not None:
        return layer.indexes.ask(found, lambda index: index.first(address, start, end, found.gone))
    if pattern is None and not _compacted(found):
        first = found.gone.beyond(start)
        return first if first < end else -1
    if pattern is None:
        there = (one.position for one in layer.each(found, start) if one.position not in found.gone)
        first = next(there, end)
        return first if first < end else -1
    at = start
    for batch in layer.near(found, start, NEAR_BYTES):
        try:
            records = batches.decode(batch, found.key.name, start)
        except BatchError:
            records = []
        for record in records:
            if record.position >= end:
                return -1
            if record.position not in found.gone and pattern.matches(Address(record.address)):
                return int(record.position)
        header = batches.header(batch)
        at = header.base_offset + header.last_offset_delta + 1
    if at >= end:
        return -1
    return layer.indexes.ask(
        found,
        lambda index: min(
            (
                first
                for one in _matching(index, pattern)
                for some in one[1]
                if (first := first_in(some, at, end, found.gone)) >= 0
            ),
            default=-1,
        ),
    )


def _count(
    layer: StreamLayer, found: Stream, address: Address | None, pattern: Pattern | None, start: int, end: int
) -> int:
    if address is not None:
        return layer.indexes.ask(found, lambda index: index.count(address, start, end, found.gone))
    if pattern is not None:
        return layer.indexes.ask(
            found,
            lambda index: sum(
                count_in(some, start, end, found.gone) for one in _matching(index, pattern) for some in one[1]
            ),
        )
    if _compacted(found):
        return _count_compacted(layer, found, start, end)
    return max(end - start, 0) - found.gone.count(start, end)


def _compacted(found: Stream) -> bool:
    """Whether there may be positions without a record that no mark names."""
    return found.config.compaction or (found.marked is not None and bool(found.marked.cleaned))


def _count_compacted(layer: StreamLayer, found: Stream, start: int, end: int) -> int:
    """Compaction has left positions without a record: batches say how many they hold."""
    total = 0
    for raw in layer.headers(found, start) if start < end else ():
        header = batches.header(raw)
        base, last = header.base_offset, header.base_offset + header.last_offset_delta
        if base >= end:
            break
        if header.count and (base < start or last >= end or found.gone.meets(base, last + 1)):
            there = [one.position for one in layer.records_at(found, max(base, start))]
            total += sum(1 for one in there if one < end and one not in found.gone)
        else:
            total += header.count
    return total


def _addresses(
    layer: StreamLayer, found: Stream, address: Address | None, pattern: Pattern | None, start: int, end: int
) -> tuple[tuple[Address, int, int], ...]:

    def table(index: AddressIndex) -> tuple[tuple[Address, int, int], ...]:
        made = []
        matching = _matching(index, pattern) if address is None else [(address, list(index.pieces(address)))]
        for one, pieces in matching:
            count = sum(count_in(some, start, end, found.gone) for some in pieces)
            if count:
                made.append((one, count, max(last_in(some, start, end, found.gone) for some in pieces)))
        return tuple(made)

    return layer.indexes.ask(found, table)


def find_time(layer: StreamLayer, found: Stream, time_ms: int, limit: int) -> int:
    """The first position below ``limit`` whose record's timestamp is at or after ``time_ms``; ``limit``: there is none."""
    start = max(found.start, found.written)
    for segment in layer.segments(found):
        if segment.max_timestamp_ms >= time_ms:
            start = max(found.start, segment.base)
            break
    for raw in layer.headers(found, start):
        header = batches.header(raw)
        if header.base_offset >= limit:
            break
        if header.max_timestamp >= time_ms:
            for record in layer.records_at(found, max(header.base_offset, found.start)):
                if record.timestamp_ms >= time_ms and record.position not in found.gone:
                    return min(int(record.position), limit)
    return limit


def _max_time(layer: StreamLayer, found: Stream, limit: int) -> Found:
    best = Found(Position(-1))
    for raw in layer.headers(found, found.start):
        header = batches.header(raw)
        if header.base_offset >= limit:
            break
        if header.max_timestamp > best.timestamp_ms:
            for record in layer.records_at(found, max(header.base_offset, found.start)):
                if record.timestamp_ms > best.timestamp_ms and record.position not in found.gone:
                    best = Found(Position(record.position), record.timestamp_ms)
    return best
