"""The simulated world: 500 seeds, and the same seed twice gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conformance import simulation
from conformance.simulated_peers import Book, Violation

CHUNKS = 10
SEEDS = 500


@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_seed_breaks_a_promise(chunk):
    each = SEEDS // CHUNKS
    for seed in range(1 + chunk * each, 1 + (chunk + 1) * each):
        simulation.run(seed)


@pytest.mark.parametrize("protocol", simulation.PROTOCOLS)
def test_each_protocol_alone_keeps_its_promises(protocol):
    for seed in range(10_000, 10_005):
        simulation.run(seed, [protocol])


def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed():
    told = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "conformance.simulation", "--seed", "7", "--runs", "12"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(done.stdout.splitlines()[0])
    assert told[0] == told[1] and "digest" in told[0]


def test_another_seed_gives_other_bytes():
    assert simulation.run(3) == simulation.run(3) != simulation.run(4)


def test_a_failing_seed_prints_the_command_that_replays_it(monkeypatch, capsys):
    monkeypatch.setattr(simulation.Simulation, "finish", lambda self: (_ for _ in ()).throw(Violation("lost")))
    assert simulation.main(["--seed", "9", "--runs", "2", "--protocols", "nats"]) == 1
    told = capsys.readouterr().out
    assert "replay: python -m conformance.simulation --seed 9 --runs 1 --protocols nats" in told
    assert "failing seeds [9, 10]" in told


# The books themselves: a check that never fails proves nothing.


def book() -> Book:
    made = Book()
    for number, value in enumerate((b"a", b"b", b"c")):
        made.send(value, "peer", number)
    return made


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([(0, b"b"), (1, b"c")], "is lost"),
        ([(0, b"a"), (1, b"a"), (2, b"b")], "2 times"),
        ([(0, b"b"), (1, b"a"), (2, b"c")], "stands behind"),
        ([(0, b"a"), (2, b"b")], "not contiguous"),
        ([(0, b"a"), (1, b"x")], "nobody sent it"),
    ],
)
def test_the_book_finds_what_is_wrong_with_a_log(log, said):
    made = book()
    made.acknowledge(b"a")
    with pytest.raises(Violation, match=said):
        made.check(log)


def test_the_book_holds_positions_to_what_was_seen_there():
    made = book()
    made.acknowledge(b"a", 0)
    made.check([(0, b"a"), (1, b"c")])
    with pytest.raises(Violation):
        made.see(0, b"b")
    made.see(1, b"b")
    with pytest.raises(Violation, match="seen as"):
        made.check([(0, b"a"), (1, b"c")])
