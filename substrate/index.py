"""Positions by address: what ``last``, ``next``, ``count`` and ``addresses`` are answered from. Of streams that are asked.

Rules:

* What was appended last is in memory (``memory``), up to ``ADDRESSES_MAX`` addresses; then it is set aside (``frozen``) and,
  once it is durable, written as a run (``substrate.runs``) a little at the end of each turn. ``FANOUT`` runs of one level
  are merged into one of the next, likewise. So a million addresses take some megabytes.
* Runs, frozen and memory follow one another without a gap; together they begin at or below the stream's start.
* What is gone stays here until a merge passes it by: every question names ``start`` and ``gone``.
* A file that is lost or does not fit costs a reading of the log, never an answer.
* An engine without files beside its streams (memory) keeps all in ``memory``, swept of what is gone.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from operator import itemgetter

from substrate.api import Address
from substrate.intervals import Intervals
from substrate.runs import SUFFIX, Asides, BlockCache, Entry, Run, Unsound, Writer

ADDRESSES_MAX = 16 * 1024
POSITIONS_MAX = 64 * 1024
FANOUT = 8
STEP_ENTRIES = 512
NOTHING = Intervals()
Table = dict[Address, "array[int] | int"]


class AddressIndex:
    """Of one stream. Positions are added in order. Reading raises Unsound or OSError where a run's file does not fit."""

    def __init__(
        self, stream: int = 0, asides: Asides | None = None, cache: BlockCache | None = None, base: int = 0
    ) -> None:
        self._stream = stream
        self._asides = asides
        self._cache = cache or BlockCache(0)
        self.runs: list[Run] = []
        self._frozen: Table = {}
        self._frozen_base = base
        self._memory: Table = {}
        self._memory_base = base
        self._positions = 0
        """In memory."""
        self._sweep_at = 2 * POSITIONS_MAX
        self._flushing: Iterator[None] | None = None
        self._merging: Iterator[None] | None = None
        self.end = base
        """Positions below this one were added."""

    # keeping up

    def add(self, address: Address, base: int, count: int) -> None:
        memory = self._memory
        known = memory.get(address)
        if known is None:
            memory[address] = base if count == 1 else array("q", range(base, base + count))
        elif isinstance(known, int):
            memory[address] = array("q", (known, *range(base, base + count)))
        else:
            known.extend(range(base, base + count))
        self._positions += count
        self.end = base + count

    @property
    def pending(self) -> bool:
        """There is something to write or to sweep."""
        return (
            self._merging is not None
            or bool(self._frozen)
            or len(self._memory) > ADDRESSES_MAX
            or self._positions > POSITIONS_MAX
        )

    def work(self, added: int, start: int, durable: int, epochs: list[tuple[int, int]], gone: Intervals) -> None:
        """Do some of what is pending; ``added`` positions came since. Raises: OSError, Unsound: begin anew."""
        if self._asides is None:
            if self._positions > self._sweep_at:
                self._sweep(start, gone)
            return
        if not self._frozen and (len(self._memory) > ADDRESSES_MAX or self._positions > POSITIONS_MAX):
            self._frozen, self._frozen_base = self._memory, self._memory_base
            self._memory, self._memory_base, self._positions = {}, self.end, 0
        left = max(STEP_ENTRIES, 4 * added)
        if self._frozen and self._memory_base <= durable:
            if self._flushing is None:
                self._flushing = self._flush(start, _epoch_at(epochs, self._memory_base - 1), gone)
            full = len(self._memory) > ADDRESSES_MAX or self._positions > POSITIONS_MAX
            if not _go_on(self._flushing, 1 << 60 if full else left):
                self._flushing = None
        if self._merging is None:
            self._merging = self._merge_due(start, gone)
        if self._merging is not None and not _go_on(self._merging, left):
            self._merging = self._merge_due(start, gone)

    def _merge_due(self, start: int, gone: Intervals) -> Iterator[None] | None:
        """The newest ``FANOUT`` runs in a row of one level."""
        for at in range(len(self.runs) - FANOUT, -1, -1):
            if len({run.level for run in self.runs[at : at + FANOUT]}) == 1:
                return self._merge(self.runs[at : at + FANOUT], start, gone)
        return None

    def _flush(self, start: int, epoch: int, gone: Intervals) -> Iterator[None]:
        assert self._asides is not None
        frozen, base, end = self._frozen, self._frozen_base, self._memory_base
        writer = Writer(self._asides, self._stream, base, end, epoch, 0)
        for address in sorted(frozen):
            kept = _kept(_many(frozen[address]), start, gone)
            if kept:
                writer.add(address, kept)
            yield
        self.runs.append(writer.finish())
        self._frozen = {}

    def _merge(self, old: list[Run], start: int, gone: Intervals) -> Iterator[None]:
        assert self._asides is not None
        last = old[-1]
        writer = Writer(self._asides, self._stream, old[0].base, last.end, last.epoch, last.level + 1)
        for address, positions in _together(run.entries() for run in old):
            for some in positions:
                kept = _kept(some, start, gone)
                if kept:
                    writer.add(address, kept)
            yield
        at = self.runs.index(old[0])
        self.runs[at : at + len(old)] = [writer.finish()]
        self._drop(old)

    def stay(self) -> None:
        """The disk takes no runs: what is in memory stays there."""
        self._flushing = self._merging = None
        self._asides = None

    def _drop(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self._cache.forget(run)
            run.remove()

    def _sweep(self, start: int, gone: Intervals) -> None:
        swept: Table = {}
        self._positions = 0
        for address, known in self._memory.items():
            kept = _kept(_many(known), start, gone)
            if kept:
                swept[address] = kept[0] if len(kept) == 1 else array("q", kept)
                self._positions += len(kept)
        self._memory = swept
        self._sweep_at = 2 * max(self._positions, POSITIONS_MAX)

    # opening

    def load(self, start: int, durable: int, epochs: list[tuple[int, int]]) -> int:
        """Open what sound runs there are; from where on the log must be read."""
        if self._asides is None:
            return start
        found = []
        for name in self._asides.names():
            if name.endswith(SUFFIX):
                try:
                    found.append(Run(self._asides, name))
                except (Unsound, OSError):
                    self._asides.remove(name)
        at = start
        kept: list[Run] = []
        for run in sorted(found, key=lambda one: (one.base, -one.end)):
            fits = run.stream == self._stream and run.end <= durable and _epoch_at(epochs, run.end - 1) == run.epoch
            follows = run.base == at if kept else run.base <= start < run.end
            if fits and follows:
                kept.append(run)
                at = run.end
            else:
                run.remove()
        self.runs = kept
        self._frozen_base = self._memory_base = self.end = at
        return at

    def discard(self) -> None:
        """Nothing of it is true any more."""
        self._drop(self.runs)
        self.runs = []

    def trim(self, before: int) -> None:
        """Nothing is asked below ``before`` any more."""
        gone = [run for run in self.runs if run.end <= before]
        if gone and self._merging is None:
            del self.runs[: len(gone)]
            self._drop(gone)

    # asking

    def pieces(self, address: Address) -> Iterator[array[int]]:
        """Its positions, the newest piece first."""
        for table in (self._memory, self._frozen):
            known = table.get(address)
            if known is not None:
                yield _many(known)
        for run in reversed(self.runs):
            yield from reversed(run.find(address, self._cache))

    def descending(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> Iterator[int]:
        """Its positions in [start, end), the newest first."""
        for positions in self.pieces(address):
            for at in range(bisect_left(positions, end) - 1, -1, -1):
                if positions[at] < start:
                    return
                if positions[at] not in gone:
                    yield positions[at]

    def last(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> int:
        """-1: none."""
        return next(self.descending(address, start, end, gone), -1)

    def count(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> int:
        return sum(count_in(positions, start, end, gone) for positions in self.pieces(address))

    def first(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> int:
        """-1: none."""
        for run in self.runs:
            if run.end > start:
                for positions in run.find(address, self._cache):
                    found = first_in(positions, start, end, gone)
                    if found >= 0:
                        return found
        for table in (self._frozen, self._memory):
            known = table.get(address)
            if known is not None:
                found = first_in(_many(known), start, end, gone)
                if found >= 0:
                    return found
        return -1

    def entries(self, prefix: bytes = b"") -> Iterator[tuple[Address, list[array[int]]]]:
        """Every address that begins so, in order, with its positions, ascending; some or all of them may be gone."""
        runs = [run.entries(prefix) for run in self.runs]
        return _together([*runs, _sorted(self._frozen, prefix), _sorted(self._memory, prefix)])


def _sorted(table: Table, prefix: bytes) -> Iterator[Entry]:
    return ((one, _many(table[one])) for one in sorted(one for one in table if one.startswith(prefix)))


def _go_on(work: Iterator[None], most: int) -> bool:
    """Do so much of it; whether there is more."""
    return all(next(work, work) is not work for _ in range(most))


def _together(sources: Iterable[Iterator[Entry]]) -> Iterator[tuple[Address, list[array[int]]]]:
    """Entries of several sorted sources, the older first, by address."""
    address: Address | None = None
    positions: list[array[int]] = []
    for one, some in heapq.merge(*sources, key=itemgetter(0)):
        if one != address:
            if address is not None:
                yield address, positions
            address, positions = one, []
        positions.append(some)
    if address is not None:
        yield address, positions


def _many(known: array[int] | int) -> array[int]:
    return array("q", (known,)) if isinstance(known, int) else known


def _kept(positions: array[int], start: int, gone: Intervals) -> list[int]:
    if not gone:
        return [one for one in positions if one >= start]
    return [one for one in positions if one >= start and one not in gone]


def count_in(positions: array[int], start: int, end: int, gone: Intervals) -> int:
    low, high = bisect_left(positions, start), bisect_left(positions, end)
    if not gone:
        return max(high - low, 0)
    return sum(1 for at in range(low, high) if positions[at] not in gone)


def last_in(positions: array[int], start: int, end: int, gone: Intervals) -> int:
    for at in range(bisect_left(positions, end) - 1, -1, -1):
        if positions[at] < start:
            break
        if positions[at] not in gone:
            return positions[at]
    return -1


def first_in(positions: array[int], start: int, end: int, gone: Intervals) -> int:
    for at in range(bisect_left(positions, start), len(positions)):
        if positions[at] >= end:
            break
        if positions[at] not in gone:
            return positions[at]
    return -1


def _epoch_at(epochs: list[tuple[int, int]], position: int) -> int:
    """The leader epoch that wrote ``position``; -1: not known."""
    found = -1
    for epoch, base in epochs:
        if base > position:
            break
        found = epoch
    return found
