"""The judge itself: a history that some order of effects explains passes, and each planted fault is found."""

from __future__ import annotations

import random

import pytest

from conformance.histories import (
    Append,
    Read,
    check_counter,
    check_delivered,
    check_log,
    check_register,
    check_same_order,
)


def make_history(seed: int, count: int = 2000, clients: int = 8) -> tuple[list[Append], list[int], list[Read]]:
    """What ``clients`` saw of a log that behaves: one in fifty appends has no answer, half of those landed."""
    chance = random.Random(seed)
    free_ns = [0] * clients
    events = []
    for id in range(count):
        client = chance.randrange(clients)
        called = free_ns[client] + chance.randrange(1, 1000)
        effect = called + chance.randrange(1, 5000)
        returned = effect + chance.randrange(1, 1000)
        free_ns[client] = returned
        events.append((effect, called, returned, id))
    log: list[int] = []
    appends: list[Append] = []
    reads: list[Read] = []
    for _, called, returned, id in sorted(events):
        if chance.random() < 0.3:
            reads.append(Read(called, returned, len(log)))
        elif chance.random() < 0.02:
            appends.append(Append(id, called, None))
            if chance.random() < 0.5:
                log.append(id)
        else:
            appends.append(Append(id, called, returned, len(log)))
            log.append(id)
    return appends, log, reads


@pytest.mark.parametrize("seed", range(20))
def test_a_history_that_an_order_of_effects_explains_has_no_violation(seed: int) -> None:
    assert check_log(*make_history(seed)) == []


@pytest.mark.parametrize("seed", range(10))
def test_an_acknowledged_record_that_is_not_in_the_log_is_found(seed: int) -> None:
    appends, log, _ = make_history(seed)
    gone = next(append for append in appends[len(appends) // 2 :] if append.returned_ns is not None)
    log.remove(gone.id)
    kinds = {violation.kind for violation in check_log(appends, log)}
    assert "lost" in kinds or "position" in kinds


@pytest.mark.parametrize("seed", range(10))
def test_two_records_swapped_against_real_time_are_found_without_positions(seed: int) -> None:
    appends, log, _ = make_history(seed)
    silent = [Append(append.id, append.called_ns, append.returned_ns) for append in appends]
    answered = {append.id for append in appends if append.returned_ns is not None}
    places = [place for place, id in enumerate(log) if id in answered]
    early, late = places[len(places) // 2], places[len(places) // 2 + 100]
    log[early], log[late] = log[late], log[early]
    assert "order" in {violation.kind for violation in check_log(silent, log)}


def test_a_read_that_goes_back_in_time_is_found() -> None:
    appends, log, reads = make_history(3)
    stale = max(reads, key=lambda read: read.end)
    later = [*reads, Read(stale.returned_ns + 10, stale.returned_ns + 20, stale.end - 50)]
    assert check_log(appends, log, later)


def test_a_record_stored_more_often_than_it_was_sent_is_found() -> None:
    appends = [Append("a", 0, 5, sends=2), Append("b", 6, 9)]
    assert check_log(appends, ["a", "a", "b"]) == []
    assert [v.kind for v in check_log(appends, ["a", "a", "b", "b"])] == ["duplicate"]


def test_a_record_nobody_sent_is_found_unless_strangers_are_allowed() -> None:
    appends = [Append("a", 0, 5)]
    assert [v.kind for v in check_log(appends, ["a", "x"])] == ["unexpected"]
    assert check_log(appends, ["a", "x"], strangers=True) == []


def test_readers_that_saw_another_order_or_not_everything_are_named() -> None:
    log = list(range(10))
    assert check_same_order(log, {"kafka": log, "nats": log}) == []
    swapped = [0, 1, 3, 2, *range(4, 10)]
    assert [v.kind for v in check_same_order(log, {"nats": swapped})] == ["swapped"]
    assert [v.kind for v in check_same_order(log, {"mqtt": log[:5]})] == ["missing"]
    assert [v.kind for v in check_same_order(log, {"resp": [*log, 9]})] == ["duplicate"]


def test_deliveries_may_repeat_only_what_was_in_flight() -> None:
    assert check_delivered([1, 2], [1, 2, 2], copies_max=1) == []
    assert [v.kind for v in check_delivered([1, 2, 3], [1, 2, 2], copies_max=0)] == ["lost", "duplicate"]


def test_counters_and_registers_may_be_ahead_only_by_what_had_no_answer() -> None:
    assert check_counter("n", 10, 2, 12) == [] and check_register("r", 5, 7, 6) == []
    assert check_counter("n", 10, 2, 9) and check_counter("n", 10, 2, 13) and check_register("r", 5, 7, 4)
