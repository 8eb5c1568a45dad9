"""The newest batches of all streams of an engine in memory, so that who reads at the tail reads no file."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from substrate.disk.stream import DiskStream
from substrate.engine import Batch

SPARE_ENTRIES_MAX = 64


class TailCache:
    """Bounded by bytes; the oldest batch of all goes first."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._bytes = 0
        self._order: deque[tuple[DiskStream, int]] = deque()

    def add(self, stream: DiskStream, base: int, batch: Batch) -> None:
        """``batch`` is the stream's next; it is kept, not copied."""
        size = len(batch)
        stream.tail_bases.append(base)
        stream.tail_batches.append(batch)
        self._order.append((stream, base))
        self._bytes += size
        while self._bytes > self.bytes_max and self._order:
            self._evict()

    def _evict(self) -> None:
        stream, base = self._order.popleft()
        first = stream.tail_first
        if first >= len(stream.tail_bases) or stream.tail_bases[first] != base:
            return  # dropped before
        self._bytes -= len(stream.tail_batches[first])
        stream.tail_batches[first] = b""
        stream.tail_first = first = first + 1
        if first >= SPARE_ENTRIES_MAX and 2 * first >= len(stream.tail_bases):
            del stream.tail_bases[:first], stream.tail_batches[:first]
            stream.tail_first = 0

    def drop(self, stream: DiskStream) -> None:
        """Forget a stream's batches."""
        self._bytes -= sum(map(len, stream.tail_batches[stream.tail_first :]))
        stream.drop_tail()

    def read(self, stream: DiskStream, start: int, bytes_max: int) -> list[Batch] | None:
        """As the engine's ``read``; None: not all of it is here."""
        bases = stream.tail_bases
        first = stream.tail_first
        if first >= len(bases) or start < bases[first]:
            return None
        found: list[Batch] = []
        room = bytes_max
        batches = stream.tail_batches
        for index in range(bisect_right(bases, start, first) - 1, len(bases)):
            batch = batches[index]
            room -= len(batch)
            if room < 0 and found:
                break
            found.append(batch)
        return found

    def clear(self) -> None:
        self._order.clear()
        self._bytes = 0
