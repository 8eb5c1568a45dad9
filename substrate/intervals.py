"""A set of positions kept as ranges: what was removed of a stream.

Ascending, disjoint, never adjacent (adjacent ones are joined), in blocks of at most ``BLOCK`` ranges, so that a range costs
16 bytes and a change moves one block, not all of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator

BLOCK = 512


class Intervals:
    """Half-open ranges [start, end)."""

    __slots__ = ("_blocks", "_firsts", "_sums", "total")

    def __init__(self) -> None:
        self._blocks: list[tuple[array[int], array[int]]] = []  # starts, ends
        self._firsts: list[int] = []
        """The first start of each block; and the positions in it."""
        self._sums: list[int] = []
        self.total = 0
        """Positions in the set."""

    def __len__(self) -> int:
        """How many ranges."""
        return sum(len(starts) for starts, _ in self._blocks)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for starts, ends in self._blocks:
            yield from zip(starts, ends, strict=True)

    def last_end(self) -> int:
        """Where the last range ends; 0: there is none."""
        return self._blocks[-1][1][-1] if self._blocks else 0

    def __contains__(self, position: int) -> bool:
        return self.beyond(position) != position

    def beyond(self, position: int) -> int:
        """The first position at or after this one that is not in the set."""
        at = bisect_right(self._firsts, position) - 1
        if at < 0:
            return position
        starts, ends = self._blocks[at]
        return max(position, ends[bisect_right(starts, position) - 1])

    def before(self, position: int) -> int:
        """The last position at or before this one that is not in the set; -1 if there is none."""
        at = bisect_right(self._firsts, position) - 1
        if at < 0:
            return position
        starts, ends = self._blocks[at]
        found = bisect_right(starts, position) - 1
        return starts[found] - 1 if ends[found] > position else position

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges that meet [start, end), cut to it."""
        found: list[tuple[int, int]] = []
        for at in range(max(bisect_right(self._firsts, start) - 1, 0), len(self._blocks)):
            starts, ends = self._blocks[at]
            if starts[0] >= end:
                break
            for index in range(max(bisect_right(starts, start) - 1, 0), len(starts)):
                if starts[index] >= end:
                    return found
                if ends[index] > start:
                    found.append((max(starts[index], start), min(ends[index], end)))
        return found

    def meets(self, start: int, end: int) -> bool:
        """Whether any position of [start, end) is in the set."""
        at = bisect_left(self._firsts, end) - 1
        if at < 0:
            return False
        starts, ends = self._blocks[at]
        return ends[bisect_left(starts, end) - 1] > start

    def count(self, start: int, end: int) -> int:
        """How many positions of [start, end) are in the set."""
        if not self._blocks or end <= start:
            return 0
        return self._below(end) - self._below(start)

    def _below(self, position: int) -> int:
        at = bisect_left(self._firsts, position) - 1
        if at < 0:
            return 0
        if at == len(self._blocks) - 1:  # the usual question is about the end: counted from there
            found = self.total - self._sums[at]
        else:
            found = sum(self._sums[:at])
        starts, ends = self._blocks[at]
        last = bisect_left(starts, position)
        if last == len(starts) and ends[-1] <= position:
            return found + self._sums[at]
        return found + sum(ends[:last]) - sum(starts[:last]) - max(ends[last - 1] - position, 0)

    def add(self, start: int, end: int) -> int:
        """Put [start, end) in; how many positions are new."""
        if end <= start:
            return 0
        before = self.total
        first = self._block_of(start)
        if first is None:
            self._blocks.append((array("q", (start,)), array("q", (end,))))
            self._firsts.append(start)
            self._sums.append(end - start)
            self.total = end - start
            return end - start
        starts, ends = self._blocks[first]
        low = bisect_left(ends, start)
        high = bisect_right(starts, end)
        last = first
        while high == len(starts) and last + 1 < len(self._blocks) and self._firsts[last + 1] <= end:
            last += 1
            starts, ends = self._blocks[last]
            high = bisect_right(starts, end)
        self._replace(first, low, last, high, start, end)
        return self.total - before

    def _block_of(self, start: int) -> int | None:
        """The block in which a range that begins at ``start`` belongs, or one that it touches."""
        if not self._blocks:
            return None
        return max(bisect_right(self._firsts, start) - 1, 0)

    def _replace(self, first: int, low: int, last: int, high: int, start: int, end: int) -> None:
        """Put one range in the place of those from ``low`` of block ``first`` to below ``high`` of block ``last``."""
        if first == last:
            starts, ends = self._blocks[first]
            if low < high:
                start, end = min(start, starts[low]), max(end, ends[high - 1])
            gone = sum(ends[low:high]) - sum(starts[low:high])
            if high - low == 1:
                starts[low], ends[low] = start, end
            else:
                starts[low:high] = array("q", (start,))
                ends[low:high] = array("q", (end,))
        else:
            starts, ends = self._blocks[first]
            last_starts, last_ends = self._blocks[last]
            if low < len(starts):
                start = min(start, starts[low])
                end = max(end, ends[-1])
            if high:
                end = max(end, last_ends[high - 1])
            gone = sum(self._sums[first : last + 1])
            starts = starts[:low] + array("q", (start,)) + last_starts[high:]
            ends = ends[:low] + array("q", (end,)) + last_ends[high:]
            gone -= sum(ends) - sum(starts) - (end - start)
            self._blocks[first : last + 1] = [(starts, ends)]
            del self._firsts[first + 1 : last + 1]
            del self._sums[first + 1 : last + 1]
            self._sums[first] = sum(ends) - sum(starts) - (end - start) + gone
        self._firsts[first] = starts[0]
        self._sums[first] += end - start - gone
        self.total += end - start - gone
        if len(starts) > BLOCK:
            self._split(first)

    def _split(self, at: int) -> None:
        starts, ends = self._blocks[at]
        parts = [
            (starts[index : index + BLOCK // 2], ends[index : index + BLOCK // 2])
            for index in range(0, len(starts), BLOCK // 2)
        ]
        self._blocks[at : at + 1] = parts
        self._firsts[at : at + 1] = [part[0][0] for part in parts]
        self._sums[at : at + 1] = [sum(part[1]) - sum(part[0]) for part in parts]

    def cut_below(self, position: int) -> None:
        """Take everything below ``position`` out."""
        self._keep(lambda start, end: (max(start, position), end))

    def cut_from(self, position: int) -> None:
        """Take ``position`` and everything above it out."""
        self._keep(lambda start, end: (start, min(end, position)))

    def _keep(self, cut: Callable[[int, int], tuple[int, int]]) -> None:
        kept = [cut(start, end) for start, end in self]
        self._blocks, self._firsts, self._sums, self.total = [], [], [], 0
        self.extend([(start, end) for start, end in kept if start < end])

    def extend(self, ranges: list[tuple[int, int]]) -> None:
        """Ranges in order, disjoint and beyond all that are there."""
        for first in range(0, len(ranges), BLOCK // 2):
            some = ranges[first : first + BLOCK // 2]
            starts, ends = array("q", [start for start, _ in some]), array("q", [end for _, end in some])
            self._blocks.append((starts, ends))
            self._firsts.append(starts[0])
            self._sums.append(sum(ends) - sum(starts))
            self.total += self._sums[-1]
