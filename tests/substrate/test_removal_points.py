"""Power cuts while records are removed, limited and compacted."""

from __future__ import annotations

from conformance.removal_points import explore


def test_what_was_removed_stays_removed_and_nothing_else_is():
    assert explore(seed=1, states=250) > 0
