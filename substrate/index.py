"""Positions by address: what ``last``, ``next``, ``count`` and ``addresses`` are answered from."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator

from substrate.api import Address
from substrate.intervals import Intervals

Matches = Callable[[Address], bool]
NOTHING = Intervals()


class AddressIndex:
    """Of one stream. Positions are added in order; ``gone`` are those that are not to be found any more."""

    def __init__(self) -> None:
        self._positions: dict[Address, array[int]] = {}

    def add(self, address: Address, base: int, count: int) -> None:
        positions = self._positions.get(address)
        if positions is None:
            positions = self._positions[address] = array("q")
        positions.extend(range(base, base + count))

    def descending(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> Iterator[int]:
        """Its positions in [start, end), the newest first."""
        positions = self._positions.get(address)
        if positions is None:
            return
        for at in range(bisect_left(positions, end) - 1, -1, -1):
            if positions[at] < start:
                return
            if positions[at] not in gone:
                yield positions[at]

    def last(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> int:
        """-1: none."""
        return next(self.descending(address, start, end, gone), -1)

    def count(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> int:
        if not gone:
            positions = self._positions.get(address, ())
            return max(bisect_left(positions, end) - bisect_left(positions, start), 0)
        return sum(1 for _ in self.descending(address, start, end, gone))

    def first(self, address: Address, start: int, end: int, gone: Intervals = NOTHING) -> int:
        """-1: none."""
        positions = self._positions.get(address, ())
        for at in range(bisect_left(positions, start), len(positions)):
            if positions[at] >= end:
                break
            if positions[at] not in gone:
                return positions[at]
        return -1

    def matching(self, matches: Matches) -> Iterator[Address]:
        """Every address ever seen that matches; its positions may be gone."""
        return (address for address in list(self._positions) if matches(address))

    def trim(self, before: int) -> None:
        for address in list(self._positions):
            positions = self._positions[address]
            keep = bisect_left(positions, before)
            if keep == len(positions):
                del self._positions[address]
            elif keep:
                self._positions[address] = positions[keep:]
