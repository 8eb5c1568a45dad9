"""Crash points of the disk engine: every write, fsync, rename of a trace, and what a power cut there may leave.

A *trace* is a seeded life of an engine over ``SimulatedFiles``: streams of each durability, small and large batches, rolls,
trims, deletions, configurations, checkpoints, idle moments, clean and unclean restarts. Before each operation that changes
the disk, power is cut in several ways (any subset of what was not synced, whole, half, torn by sectors), and an engine
opens what is left. It must then hold:

* nothing reported durable is lost, in streams that promise it; what is there is a prefix of what was appended;
* a commit is there whole or not at all, over all its streams that promise it;
* positions are contiguous, nothing that was not appended is read, ``start`` never moves back;
* the epoch is higher than any before; the engine takes appends, and a second opening finds them.

    python -m conformance.crash_points --states 2000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from conformance.batches import make_batch
from conformance.disk_faults import Operation, SimulatedFiles
from conformance.engines import last_position, sifted
from substrate.api import Commit, Durability, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.disk.engine import DiskEngine
from substrate.disk.options import Options
from substrate.engine import EngineError, Frame, Opened, Part, Segment

SMALL = Options(
    journal_slots=3,
    journal_slot_bytes=24 * 1024,
    reference_bytes=2048,
    checkpoint_bytes=24 * 1024,
    checkpoint_manifests=6,
    tail_cache_bytes=8192,
    open_files_max=4,
    free_bytes_min=0,
)
"""Everything small, so that a short trace meets every limit."""


class Violation(AssertionError):
    """A promise was broken. The text names the seed and the point, which replay it."""


@dataclass(slots=True)
class Life:
    """What was done to an engine, and what it said: the oracle."""

    appended: dict[int, list[tuple[int, int, bytes]]] = field(default_factory=dict)
    """By stream: commit, base and bytes of each batch."""
    configs: dict[int, StreamConfig] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    """Trims that have returned, and (asked) those that were asked for."""
    asked: dict[int, int] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    deleting: set[int] = field(default_factory=set)
    rewritten: dict[int, list[tuple[int, int, list[bytes], bool]]] = field(default_factory=dict)
    """By stream, in order: base and end of a segment, what was written in the place of its batches, whether it must be there."""
    made: dict[int, int] = field(default_factory=dict)
    """By stream: the last commit when it was made."""
    durable: int = 0
    """The last commit reported; promised: the last of them that a stream of durability ``sync`` was in."""
    promised: int = 0
    synced: list[int] = field(default_factory=list)
    epoch: int = 0
    commit: int = 0
    failed: bool = False
    unwarned: set[int] = field(default_factory=set)
    """Streams that were not of durability ``sync`` when a disk failed and took no word of it either: what they held then may
    be found rotten, never wrong."""

    def end(self, stream: int, upto: int | None = None) -> int:
        found = 0
        for commit, base, data in self.appended[stream]:
            if upto is None or commit <= upto:
                found = base + int.from_bytes(data[23:27]) + 1
        return found


class Listener:
    """Writes down what an engine reports."""

    def __init__(self, life: Life) -> None:
        self.life = life

    def durable(self, shard: Shard, commit: Commit) -> None:
        if commit <= self.life.durable:
            raise Violation(f"commit {commit} reported after {self.life.durable}")
        self.life.durable = commit
        while self.life.synced and self.life.synced[0] <= commit:
            self.life.promised = self.life.synced.pop(0)

    def failed(self, shard: Shard, above: Commit, reason: str) -> None:
        self.life.failed = True


class Trace:
    """Drives one engine through a seeded life; ``run`` may be stopped anywhere by an exception of the disk's ``watch``."""

    def __init__(self, seed: int, files: SimulatedFiles, options: Options = SMALL) -> None:
        self.chance = random.Random(seed)
        self.files = files
        options = replace(options, journal_slots=2 + seed % 3, journal_slot_bytes=(8, 24)[seed // 3 % 2] * 1024)
        self.options = options
        self.life = Life()
        self.engine = DiskEngine(files, options=options)
        self._next_stream = 1
        self._now_ms = 1_000

    def open(self) -> Opened:
        opened = self.engine.open(Listener(self.life), self._now_ms)
        self._opened(opened)
        return opened

    def _opened(self, opened: Opened) -> None:
        if opened.epoch <= self.life.epoch:
            raise Violation(f"epoch {opened.epoch} after {self.life.epoch}")
        self.life.epoch = opened.epoch
        self.life.commit = opened.commit

    def run(self, steps: int) -> None:
        self.open()
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        chance = self.chance
        self._now_ms += chance.randrange(1, 400)
        kind = chance.random()
        streams = [stream for stream in self.life.configs if stream not in self.life.deleting]
        if kind < 0.08 or len(streams) < 3:
            self._create()
        elif kind < 0.70:
            self._append(chance.sample(streams, chance.randrange(1, min(4, len(streams)) + 1)))
        elif kind < 0.80:
            for _ in range(chance.randrange(1, 4)):
                self.files.step()
        elif kind < 0.85:
            self.files.elapse(chance.randrange(50, 1_500))
        elif kind < 0.91:
            self._trim(chance.choice(streams))
        elif kind < 0.93:
            self._delete(chance.choice(streams))
        elif kind < 0.94:
            self._configure(chance.choice(streams))
        elif kind < 0.975:
            self._rewrite()
        elif kind < 0.985:
            self.files.run()
        else:
            self._restart()

    def _create(self) -> None:
        stream = self._next_stream
        self._next_stream += 1
        durability = self.chance.choice((Durability.SYNC, Durability.SYNC, Durability.OS, Durability.INTERVAL))
        config = StreamConfig(durability=durability, segment_bytes=self.chance.choice((3_000, 9_000, 1 << 20)))
        self.life.configs[stream] = config
        self.life.appended[stream] = []
        self.life.made[stream] = self.life.commit
        self.engine.create(StreamId(stream), f"default/s{stream}", config)

    def _append(self, streams: Sequence[int]) -> None:
        chance = self.chance
        number = self.life.commit + 1
        parts = []
        added = []
        for stream in streams:
            base = end = self.life.end(stream)
            batches = []
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                size = chance.choice((1, 40, 300, 1500, 3000, 6000))
                count = chance.randrange(1, 5)
                batch = make_batch(end, count, self.life.epoch, chance.randbytes(size), self._now_ms)
                batches.append(batch)
                added.append((stream, number, end, batch))
                end += count
            parts.append(
                Part(StreamId(stream), Position(base), Position(end), batches, sum(map(len, batches)), self._now_ms)
            )
        for stream, commit, base, batch in added:
            self.life.appended[stream].append((commit, base, batch))
        if any(self.life.configs[stream].durability is Durability.SYNC for stream in streams):
            self.life.synced.append(number)
        self.engine.append(Frame(Commit(number), parts))
        self.life.commit = number

    def _trim(self, stream: int) -> None:
        end = self.life.end(stream, self.life.durable)
        start = self.life.starts.get(stream, 0)
        before = self.chance.choice((end, self.chance.randrange(start, end + 1))) if end >= start else start
        if before <= start:
            return
        self.life.asked[stream] = before
        self.engine.trim(StreamId(stream), Position(before))
        self.life.starts[stream] = before

    def _rewrite(self) -> None:
        """Some settled segment is written anew; what happens meanwhile happens beside it."""
        found = {
            number: [one for one in self.engine.segments(number) if self._whole(number, one)]
            for number in (StreamId(one) for one in self.life.configs if one not in self.life.deleting)
        }
        found = {number: segments for number, segments in found.items() if segments}
        if not found:
            return
        number = self.chance.choice(list(found))
        stream = int(number)
        segments = found[number]
        segment = self.chance.choice(segments)
        old = [
            bytes(batch)
            for batch in read_batches(self.engine, number)
            if segment.base <= int.from_bytes(batch[:8]) < segment.end
        ]
        percent = self.chance.choice((0, 30, 80))
        new = sifted(old, lambda position: position * 7919 % 100 < percent)
        told = self.life.rewritten.setdefault(stream, [])
        told.append((int(segment.base), int(segment.end), new, False))
        try:
            rewrite = self.engine.rewrite(number, segment.base)
            rewrite.add(new)
            rewrite.finish()
        except EngineError:
            if not self.engine.reserve(0):
                raise
            told.pop()  # given up: the engine goes on
            return
        for _ in range(self.chance.randrange(4)):
            self.files.step()
        if not rewrite.done:
            self.files.run()
        if rewrite.replaced:
            told[-1] = (*told[-1][:3], True)
        elif self.engine.reserve(0):
            told.pop()

    def _whole(self, stream: StreamId, segment: Segment) -> bool:
        """A settled segment of which nothing was trimmed."""
        return self.engine.ends(stream).start <= segment.base and segment.end <= self.engine.settled(stream)

    def _delete(self, stream: int) -> None:
        self.life.deleting.add(stream)
        self.engine.delete(StreamId(stream))
        self.life.deleted.add(stream)

    def _configure(self, stream: int) -> None:
        config = self.life.configs[stream]
        durability = self.chance.choice((Durability.SYNC, Durability.OS))
        changed = StreamConfig(durability=durability, segment_bytes=config.segment_bytes)
        if durability is Durability.OS:
            self.life.configs[stream] = changed  # from when it was asked, it promises no more than before
            self.engine.configure(StreamId(stream), changed)
        else:
            before = self.life.end(stream)
            self.engine.configure(StreamId(stream), changed)
            if before == self.life.end(stream, self.life.durable):
                self.life.configs[stream] = changed

    def _restart(self) -> None:
        self.engine.close()
        self.engine = DiskEngine(self.files, options=self.options)
        self.open()


def check_survivor(life: Life, files: SimulatedFiles, power_cut: bool, epoch: int = 0) -> None:
    """Open what is left and hold it to the promises. ``epoch``: one that has served since."""
    options = SMALL
    after = Life()
    engine = DiskEngine(files, options=options)
    try:
        opened = engine.open(Listener(after), 0)
    except EngineError as error:
        raise Violation(f"it does not open: {error}") from error
    if opened.epoch <= max(life.epoch, epoch):
        raise Violation(f"epoch {opened.epoch}, there was {max(life.epoch, epoch)}")
    if opened.commit < (life.promised if power_cut else life.durable):
        raise Violation(
            f"commits up to {opened.commit} are there, {life.promised}, {life.durable} were reported durable"
        )
    check_streams(life, engine, opened, power_cut)
    frame_after(engine, opened)
    files.run()
    if after.durable != opened.commit + 1:
        raise Violation("what was appended after the crash does not become durable")
    engine.close()
    again = DiskEngine(files, options=options)
    reopened = again.open(Listener(Life()), 0)
    if reopened.commit != opened.commit + 1 or reopened.epoch <= opened.epoch or again.faults:
        raise Violation(f"after a clean stop: {reopened.commit}, {again.faults}")
    for stream, ends in reopened.streams.items():
        if ends.start < opened.streams[stream].start or ends.end < opened.streams[stream].end:
            raise Violation(f"stream {stream} went from {opened.streams[stream]} to {ends}")
        if stream not in life.unwarned:
            read_all(again, stream)
    again.close()


def check_streams(life: Life, engine: DiskEngine, opened: Opened, power_cut: bool) -> None:
    for stream, batches in life.appended.items():
        found = opened.streams.get(StreamId(stream))
        if found is None:
            if stream not in life.deleting and any(commit <= opened.commit for commit, _, _ in batches):
                raise Violation(f"stream {stream} is gone")
            continue
        if stream in life.deleted:
            raise Violation(f"stream {stream} is there after it was deleted")
        start = life.starts.get(stream, 0)
        if found.start not in (start, life.asked.get(stream, start)):
            raise Violation(f"stream {stream} starts at {found.start}, not at {start}")
        want = life.end(stream, opened.commit)
        promised = life.configs[stream].durability is Durability.SYNC or not power_cut
        if found.end != want and (promised or found.end > want):
            raise Violation(f"stream {stream} ends at {found.end}, not at {want}")
        try:
            data = read_all(engine, StreamId(stream))
        except EngineError as error:
            if stream in life.unwarned and error.code is ErrorCode.CORRUPT:
                continue
            raise
        there = [
            batch
            for commit, base, batch in batches
            if base + int.from_bytes(batch[23:27]) + 1 > found.start and base < found.end
        ]
        if found.start == found.end:
            there = []  # trimmed within a batch that an ``os`` stream then lost
        expected = b"".join(there)
        if stream in life.rewritten:
            if data not in {b"".join(one) for one in rewritten(there, life.rewritten[stream], int(found.start))}:
                raise Violation(f"stream {stream} holds {len(data)} bytes that are none of what was written anew")
        elif data != expected:
            raise Violation(
                f"stream {stream} holds {len(data)} bytes from {found.start} on that differ from {len(expected)}"
            )


def rewritten(
    batches: list[bytes], changes: Sequence[tuple[int, int, list[bytes], bool]], start: int
) -> list[list[bytes]]:
    """What a stream may hold: with every change that must be there, and with or without the one that only may."""
    found = [batches]
    for base, end, new, must in changes:
        changed = [
            [
                *[one for one in old if int.from_bytes(one[:8]) < base],
                *[one for one in new if last_position(one) >= start],
                *[one for one in old if int.from_bytes(one[:8]) >= end],
            ]
            for old in found
            if any(base <= int.from_bytes(one[:8]) < end for one in old)
        ]
        found = (changed or found) if must else found + changed
    return found


def read_batches(engine: DiskEngine, stream: StreamId) -> list[bytes]:
    """Everything from the start on."""
    ends = engine.ends(stream)
    position = int(ends.start)
    found = []
    while position < ends.end:
        for batch in engine.read(stream, Position(position), 4096):
            found.append(bytes(batch))
            position = last_position(batch) + 1
    return found


def read_all(engine: DiskEngine, stream: StreamId) -> bytes:
    """Everything from the start on, read cold and checked against its headers."""
    ends = engine.ends(stream)
    position = int(ends.start)
    parts = []
    while position < ends.end:
        for batch in engine.read(stream, Position(position), 4096):
            parts.append(bytes(batch))
            position = int.from_bytes(batch[:8]) + int.from_bytes(batch[23:27]) + 1
    if [part[:61] for part in parts] != list(engine.headers(stream, ends.start)):
        raise Violation(f"stream {stream}: headers are not those of the batches")
    return b"".join(parts)


def frame_after(engine: DiskEngine, opened: Opened) -> None:
    """Life goes on: one commit to every stream."""
    parts = []
    for stream, ends in opened.streams.items():
        batch = make_batch(ends.end, 1, opened.epoch, b"after", 0)
        parts.append(Part(stream, ends.end, Position(ends.end + 1), [batch], len(batch), 0))
    engine.append(Frame(Commit(opened.commit + 1), parts))


@dataclass(slots=True)
class Result:
    states: int = 0
    operations: int = 0
    traces: int = 0
    slowest_open_s: float = 0.0


def explore(seed: int, states: int, steps: int = 45, ways: int = 4) -> Result:
    """Cut power before each operation of a seeded trace, and before some of many more, in ``ways`` ways (and kill the
    process in one more) until ``states`` were opened. Every third survivor is itself cut during its recovery.

    Raises:
        Violation: its text replays it.
    """
    result = Result()
    while result.states < states:
        trace_seed = seed * 1_000_003 + result.traces
        result.traces += 1
        files = SimulatedFiles(trace_seed)
        trace = Trace(trace_seed, files)
        pick = random.Random(trace_seed)

        def cut(
            operation: Operation,
            files: SimulatedFiles = files,
            trace: Trace = trace,
            pick: random.Random = pick,
            trace_seed: int = trace_seed,
        ) -> None:
            if result.traces > 1 and pick.random() > 0.2:
                return
            result.operations += 1
            for way in range(ways + 1):
                if result.states >= states:
                    return
                survivor_seed = pick.getrandbits(32)
                survivor = files.crashed(survivor_seed) if way < ways else files.killed()
                try:
                    epoch = trace.life.epoch
                    if way < ways and survivor_seed % 3 == 0:
                        survivor, epoch = _cut_recovery(survivor, survivor_seed, trace.life)
                    began = time.perf_counter()
                    check_survivor(trace.life, survivor, way < ways, epoch)
                    result.slowest_open_s = max(result.slowest_open_s, time.perf_counter() - began)
                except Violation as fault:
                    raise Violation(
                        f"{fault} (trace seed {trace_seed}, before operation {operation.number} {operation.kind}"
                        f" {operation.path}, survivor {survivor_seed})"
                    ) from fault
                result.states += 1

        files.watch = cut
        trace.run(steps)
    return result


class _Cut(BaseException):
    pass


def _cut_recovery(files: SimulatedFiles, seed: int, life: Life) -> tuple[SimulatedFiles, int]:
    """Let an engine open the survivor and cut power again somewhere before it serves: what is left, and the highest epoch
    that served (a recovery with fewer operations ends well: then the process is killed)."""
    left = random.Random(seed).randrange(1, 25)
    survivor: list[SimulatedFiles] = []

    def cut(operation: Operation) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            survivor.append(files.crashed(seed + 1))
            raise _Cut

    files.watch = cut
    engine = DiskEngine(files, options=SMALL)
    try:
        opened = engine.open(Listener(Life()), 0)
    except _Cut:
        return survivor[0], life.epoch
    except EngineError as error:
        raise Violation(f"it does not open: {error}") from error
    files.watch = None
    return files.killed(), opened.epoch


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="crash_points", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--states", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    began = time.perf_counter()
    try:
        result = explore(options.seed, options.states)
    except Violation as fault:
        print(f"VIOLATION: {fault}")
        return 1
    print(
        f"crash points: {result.states} states after {result.operations} operations of {result.traces} traces,"
        f" 0 violations, slowest open {result.slowest_open_s:.3f} s, {time.perf_counter() - began:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
