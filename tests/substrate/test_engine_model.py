"""The disk engine against the memory engine: the same calls, the same answers, also over restarts."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from conformance.batches import make_batch
from conformance.engines import MemoryStage, SimulatedStage, Told
from substrate.api import Commit, Durability, Position, StreamConfig, StreamId
from substrate.disk.options import Options
from substrate.engine import Engine, EngineError, Frame, Part

SMALL = Options(
    journal_slots=2,
    journal_slot_bytes=16 * 1024,
    reference_bytes=1_500,
    checkpoint_bytes=20_000,
    checkpoint_manifests=3,
    tail_cache_bytes=4_000,
    open_files_max=3,
    free_bytes_min=0,
)


def _answer(call: Callable[[], object]) -> object:
    try:
        return call()
    except EngineError as error:
        return error.code


class _Pair:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.stages = (MemoryStage(delayed=True), SimulatedStage(seed, SMALL))
        self.engines: list[Engine] = []
        self.ends: dict[int, int] = {}
        self.epoch = 0
        self.commit = 0
        self.open()

    def open(self) -> None:
        self.engines = [stage.make() for stage in self.stages]
        found = [engine.open(Told(), 0) for engine in self.engines]
        assert found[0] == found[1]
        self.epoch, self.commit = found[0].epoch, found[0].commit

    def same(self, call: Callable[[Engine], object]) -> object:
        first, second = (_answer(lambda engine=engine: call(engine)) for engine in self.engines)  # type: ignore[misc]
        assert first == second
        return first

    def step(self) -> None:
        chance = self.chance
        kind = chance.randrange(20)
        streams = list(self.ends)
        if kind < 2 or not streams:
            stream = len(self.ends) + 1
            self.ends[stream] = 0
            durability = chance.choice((Durability.SYNC, Durability.OS))
            config = StreamConfig(durability=durability, segment_bytes=chance.choice((2_000, 10_000)))
            self.same(lambda engine: engine.create(StreamId(stream), f"s{stream}", config))
        elif kind < 12:
            self.append(chance.sample(streams, chance.randrange(1, len(streams) + 1)))
        elif kind < 13:
            stream = chance.choice(streams)
            before = chance.randrange(self.ends[stream] + 2)
            self.same(lambda engine: engine.trim(StreamId(stream), Position(before)))
        elif kind < 14:
            for stage, engine in zip(self.stages, self.engines, strict=True):
                stage.settle(engine)
                engine.close()
            self.open()
        else:
            self.look(chance.choice(streams))

    def append(self, streams: list[int]) -> None:
        chance = self.chance
        parts = []
        for stream in streams:
            base = end = self.ends[stream]
            batches = []
            for _ in range(chance.randrange(1, 4)):
                count = chance.randrange(1, 9)
                batches.append(
                    make_batch(end, count, self.epoch, chance.randbytes(chance.choice((3, 200, 2_000))), end)
                )
                end += count
            self.ends[stream] = end
            parts.append(Part(StreamId(stream), Position(base), Position(end), batches, sum(map(len, batches)), end))
        self.commit += 1
        self.same(lambda engine: engine.append(Frame(Commit(self.commit), parts)))

    def look(self, stream: int) -> None:
        number = StreamId(stream)
        position = Position(self.chance.randrange(self.ends[stream] + 2))
        room = self.chance.choice((1, 500, 5_000))
        self.same(lambda engine: engine.ends(number))
        self.same(lambda engine: engine.segments(number))
        self.same(lambda engine: [bytes(header) for header in engine.headers(number, position)])
        first, second = (
            _answer(lambda engine=engine: [bytes(one) for one in engine.read(number, position, room)])  # type: ignore[misc]
            for engine in self.engines
        )
        if isinstance(first, list) and isinstance(second, list):  # a disk may stop early, at a segment's end
            assert second == first[: len(second)]
            assert bool(second) == bool(first)
        else:
            assert first == second


@pytest.mark.parametrize("seed", range(12))
def test_disk_and_memory_answer_alike(seed: int) -> None:
    pair = _Pair(seed)
    for _ in range(150):
        pair.step()
