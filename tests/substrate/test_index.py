"""The address index against a list of all that was appended, over runs, merges, restarts and rot."""

from __future__ import annotations

import random

import pytest

from conformance.index_trial import measure
from conformance.stream_layer import ORDERS, Bench, MemoryStorage, SimulatedDiskStorage
from substrate import index
from substrate.api import Address, Found, Position
from substrate.interest import Tokens
from substrate.runs import SUFFIX


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(index, "ADDRESSES_MAX", 12)
    monkeypatch.setattr(index, "POSITIONS_MAX", 40)
    monkeypatch.setattr(index, "FANOUT", 3)
    monkeypatch.setattr(index, "STEP_ENTRIES", 4)
    monkeypatch.setattr("substrate.runs.BLOCK_BYTES", 100)
    monkeypatch.setattr("substrate.runs.POSITIONS_MAX", 5)


class Model:
    """What was appended and what of it is there."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.log: list[bytes] = []
        self.start = 0
        self.gone: set[int] = set()

    def there(self, matches, start: int, end: int) -> list[int]:
        return [
            position
            for position in range(max(start, self.start), min(end, len(self.log)))
            if position not in self.gone and matches(self.log[position])
        ]

    def compare(self, chance: random.Random) -> None:
        ask = self.bench.layer.query
        start, end = sorted((chance.randrange(len(self.log) + 2), chance.randrange(len(self.log) + 2)))
        address = Address(b"a/%d" % chance.randrange(30))
        pattern = Tokens(chance.choice((b"a/%*", b"%>", b"b/%#", b"a/1", b"%*/2", b"c/%>")))
        for given, matches in (
            ({"address": address}, lambda one: one == address),
            ({"pattern": pattern}, lambda one: pattern.matches(Address(one))),
        ):
            want = self.there(matches, start, end)
            range_ = {"start": start, "end": end}
            assert ask("count", ORDERS, **given, **range_) == len(want)
            assert ask("last", ORDERS, **given, **range_) == Found(Position(want[-1] if want else -1))
            assert ask("next", ORDERS, **given, **range_) == Found(Position(want[0] if want else -1))
            table: dict[bytes, list[int]] = {}
            for position in want:
                table.setdefault(self.log[position], []).append(position)
            assert ask("addresses", ORDERS, **given, **range_) == tuple(
                (Address(one), len(table[one]), table[one][-1]) for one in sorted(table)
            )


@pytest.mark.parametrize("storage", ["disk", "memory"])
@pytest.mark.parametrize("seed", range(6))
def test_it_answers_as_a_list_of_everything_would(seed, storage, small):
    chance = random.Random(seed)
    kept = SimulatedDiskStorage(seed) if storage == "disk" else MemoryStorage(delayed=True)
    bench = Bench(kept)
    bench.create(segment_bytes=3000)
    model = Model(bench)
    durable = 0
    for _ in range(160):
        kind = chance.random()
        if kind < 0.6:
            for _ in range(chance.randrange(1, 12)):
                address = b"%s/%d" % (chance.choice((b"a", b"a", b"b")), int(30 * chance.random() ** 2))
                count = chance.choice((1, 1, 1, 6))
                bench.ordered(*[b"v"] * count, address=address)
                model.log += [address] * count
            bench.turn(settle=chance.random() < 0.7)
        elif kind < 0.7:
            first = chance.randrange(len(model.log) + 1)
            bench.layer.remove(ORDERS, [(first, first + 3)])
            model.gone |= set(range(first, min(first + 4, len(model.log))))
            bench.turn()
        elif kind < 0.74:
            model.start = max(model.start, min(len(model.log), model.start + chance.randrange(40)))
            bench.layer.trim(ORDERS, Position(model.start))
            bench.turn()
        elif kind < 0.8:
            bench.turn()
            bench.layer.close()
            if storage == "disk" and chance.random() < 0.5:
                runs = [path for path in kept.files.paths() if path.endswith(SUFFIX)]
                if runs:
                    path = chance.choice(runs)
                    kept.files.flip(path, chance.randrange(8 * len(kept.files.content(path))))
            bench._open()
            bench.create(segment_bytes=3000)
        elif kind < 0.83:
            bench.turn()
            kept.lose()
            bench._open()
            bench.create(segment_bytes=3000)
        else:
            model.compare(chance)
        durable = max(durable, len(model.log))
    model.compare(chance)


def test_runs_are_written_and_used(small):
    kept = SimulatedDiskStorage()
    bench = Bench(kept)
    bench.create()
    assert bench.layer.query("last", ORDERS, Address(b"a")) == Found(Position(-1))
    for number in range(600):
        bench.ordered(b"v", address=b"a/%d" % number)
        bench.turn()
    made = bench.layer.streams[ORDERS].index
    assert made is not None and len(made.runs) >= 3 and {run.level for run in made.runs} >= {0, 1, 2}
    assert made.runs[0].base == 0 and made.runs[-1].end > 500
    bench.layer.close()
    bench._open()
    bench.create()
    read = []
    engine_read = bench.layer.engine.read
    bench.layer.engine.read = lambda stream, start, size: read.append(start) or engine_read(stream, start, size)
    assert bench.layer.query("last", ORDERS, Address(b"a/3")) == Found(Position(3))
    assert read and min(read) >= made.runs[-1].end


def test_a_lost_end_takes_its_runs_with_it(small):
    """Of what a power cut took, others may be appended in its place: the epoch tells."""
    for seed in range(4):
        kept = SimulatedDiskStorage(seed)
        bench = Bench(kept)
        bench.create()
        bench.layer.query("last", ORDERS, Address(b"a"))
        for number in range(30):
            bench.ordered(b"v", address=b"a/%d" % number)
            bench.turn()
        made = bench.layer.streams[ORDERS].index
        for number in range(60):
            bench.ordered(b"w", address=b"b/%d" % number)
            bench.layer.streams[ORDERS].durable = bench.layer.streams[ORDERS].next  # as an ``os`` stream would say
            bench.turn(settle=False)
        assert made.runs[-1].end > 30
        kept.lose()
        bench._open()
        bench.create()
        end = bench.tail().ordered
        bench.ordered(*[b"x"] * 90, address=b"c")
        bench.turn()
        want = end + 90
        assert bench.layer.query("count", ORDERS, Address(b"c")) == 90
        assert bench.layer.query("count", ORDERS, pattern=Tokens(b"%>")) == want
        assert len(bench.layer.query("addresses", ORDERS)) == end + 1


def test_twenty_thousand_addresses_take_little_memory(tmp_path):
    """A short version of ``python -m conformance.index_trial``, which takes a million."""
    figures = measure(str(tmp_path), 20_000, turn=400)
    assert figures["runs"] >= 1
    assert figures["resident_mb"] < 60, figures
    assert figures["last_cold_us"] < 20_000 and figures["reopened_first_ms"] < 20_000, figures
