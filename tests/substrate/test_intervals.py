"""Ranges against a set of positions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from substrate import intervals
from substrate.intervals import Intervals

CHANGE = st.tuples(st.sampled_from(["add"] * 12 + ["below", "from"]), st.integers(0, 150), st.integers(1, 30))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK", 4)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(CHANGE, max_size=60), st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), min_size=1, max_size=5)
)
def test_ranges_are_a_set_of_positions(changes, questions):
    ranges = Intervals()
    want: set[int] = set()
    for kind, at, size in changes:
        if kind == "add":
            new = set(range(at, at + size)) - want
            assert ranges.add(at, at + size) == len(new)
            want |= new
        elif kind == "below":
            ranges.cut_below(at // 3)
            want = {one for one in want if one >= at // 3}
        else:
            ranges.cut_from(at + 20)
            want = {one for one in want if one < at + 20}
    found = list(ranges)
    assert {one for start, end in found for one in range(start, end)} == want
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
    assert (ranges.total, len(ranges), ranges.last_end()) == (len(want), len(found), max(want, default=-1) + 1)
    for start, size in questions:
        end = start + size
        assert ranges.count(start, end) == len(want & set(range(start, end)))
        assert ranges.meets(start, end) == bool(want & set(range(start, end)))
        assert ranges.beyond(start) == next(one for one in range(start, 1000) if one not in want)
        assert ranges.before(start) == next((one for one in range(start, -1, -1) if one not in want), -1)
        inside = ranges.within(start, end)
        assert {one for first, last in inside for one in range(first, last)} == want & set(range(start, end))
