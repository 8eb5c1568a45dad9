"""What it means to be an engine: every check runs on every engine.

A *stage* makes engines over one storage and lets time pass: ``make()`` gives a new engine object over the same storage,
``settle(engine)`` finishes what is under way, ``crash()`` is a power cut after which ``make`` finds what was durable.

    for name, check in CHECKS.items():
        check(MemoryStage())
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from conformance.batches import fewer, make_batch
from conformance.disk_faults import SimulatedFiles
from substrate.api import Commit, Durability, Epoch, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.batch import empty
from substrate.disk.engine import DiskEngine
from substrate.disk.options import Options
from substrate.engine import Batch, Engine, EngineError, Frame, Opened, Part, Segment
from substrate.files import RealFiles
from substrate.memory import MemoryEngine

HEADER_BYTES = 61
SMALL = Options(journal_slots=3, journal_slot_bytes=256 * 1024, free_bytes_min=0, tail_cache_bytes=16 * 1024)


class Stage(Protocol):
    crashes: bool
    """Whether ``crash`` forgets what was not durable; else it only drops the engine."""

    def make(self) -> Engine: ...

    def settle(self, engine: Engine) -> None: ...

    def crash(self) -> None: ...


@dataclass(slots=True)
class Told:
    """A listener that writes down what it is told."""

    durables: list[int] = field(default_factory=list)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def durable(self, shard: Shard, commit: Commit) -> None:
        self.durables.append(commit)

    def failed(self, shard: Shard, above: Commit, reason: str) -> None:
        self.failures.append((above, reason))


class MemoryStage:
    """The memory engine is its own storage."""

    crashes = True

    def __init__(self, delayed: bool = True) -> None:
        self.engine = MemoryEngine(delayed=delayed)

    def make(self) -> Engine:
        return self.engine

    def settle(self, engine: Engine) -> None:
        self.engine.flush()

    def crash(self) -> None:
        self.engine.lose()


class SimulatedStage:
    """The disk engine over the simulated disk."""

    crashes = True

    def __init__(self, seed: int = 0, options: Options = SMALL) -> None:
        self.seed = seed
        self.options = options
        self.files = SimulatedFiles(seed)

    def make(self) -> Engine:
        return DiskEngine(self.files, options=self.options)

    def settle(self, engine: Engine) -> None:
        self.files.run()

    def crash(self) -> None:
        self.seed += 1
        self.files = self.files.crashed(self.seed)


class FolderStage:
    """The disk engine in a real folder. A crash here is the process's: the system keeps what was written."""

    crashes = False

    def __init__(self, root: str, options: Options = SMALL) -> None:
        self.root = root
        self.options = options
        self.files: list[RealFiles] = []

    def make(self) -> Engine:
        self.files.append(RealFiles(self.root))
        return DiskEngine(self.files[-1], options=self.options)

    def settle(self, engine: Engine) -> None:
        while self.files[-1].wait():
            pass

    def crash(self) -> None:
        self.files[-1].shut()


class Writer:
    """Appends to an engine and remembers what it appended."""

    def __init__(self, engine: Engine, told: Told, opened: Opened) -> None:
        self.engine = engine
        self.told = told
        self.epoch = opened.epoch
        self.commit = int(opened.commit)
        self.ends = {int(stream): int(ends.end) for stream, ends in opened.streams.items()}
        self.batches: dict[int, list[bytes]] = {}

    def create(self, stream: int, config: StreamConfig | None = None) -> None:
        self.engine.create(StreamId(stream), f"default/stream-{stream}", config or StreamConfig())
        self.ends.setdefault(stream, 0)

    def part(self, stream: int, *sizes: int, records: int = 3) -> Part:
        base = end = self.ends[stream]
        batches = []
        for size in sizes:
            batch = make_batch(end, records, self.epoch, bytes([stream % 256]) * size, 1_000 + end)
            batches.append(batch)
            end += records
        self.batches.setdefault(stream, []).extend(batches)
        self.ends[stream] = end
        return Part(StreamId(stream), Position(base), Position(end), batches, sum(map(len, batches)), 1_000 + end)

    def append(self, *parts: Part) -> int:
        self.commit += 1
        self.engine.append(Frame(Commit(self.commit), parts))
        return self.commit


def opened(stage: Stage) -> Writer:
    engine = stage.make()
    told = Told()
    return Writer(engine, told, engine.open(told, 0))


def read_all(engine: Engine, stream: int, start: int | None = None, bytes_max: int = 1000) -> list[Batch]:
    """Every batch from ``start`` (the stream's) to the end."""
    ends = engine.ends(StreamId(stream))
    position = int(ends.start) if start is None else start
    found = []
    while position < ends.end:
        batches = engine.read(StreamId(stream), Position(position), bytes_max)
        _must(bool(batches), f"nothing at {position} of {ends}")
        found.extend(batches)
        position = last_position(batches[-1]) + 1
    return found


def last_position(batch: Batch) -> int:
    return int.from_bytes(batch[:8]) + int.from_bytes(batch[23:27])


def _must(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def refused(call: Callable[[], object], *codes: ErrorCode) -> EngineError:
    """``call`` must raise one of these."""
    try:
        call()
    except EngineError as error:
        _must(error.code in codes, f"{error.code}, want one of {codes}")
        return error
    raise AssertionError(f"not refused; want {codes}")


def check_read_back(stage: Stage) -> None:
    """What was appended is read at once, byte for byte, from any position and in any portion, before and after a restart."""
    writer = opened(stage)
    for stream in (1, 2):
        writer.create(stream, StreamConfig(segment_bytes=9_000))
    for size in (1, 50, 3_000, 100_000, 7, 20_000, 12):
        writer.append(writer.part(1, size, size // 2 + 1), writer.part(2, 5))
    engine = writer.engine
    for restarted in (False, True):
        if restarted:
            stage.settle(engine)
            engine.close()
            engine = opened(stage).engine
        for stream in (1, 2):
            for portion in (1, 5_000, 1 << 20):
                _must(
                    b"".join(read_all(engine, stream, bytes_max=portion)) == b"".join(writer.batches[stream]),
                    "bytes differ",
                )
            for position in range(writer.ends[stream]):
                first = engine.read(StreamId(stream), Position(position), 1)
                _must(len(first) == 1, "one batch at least, no more than asked for")
                _must(int.from_bytes(first[0][:8]) <= position <= last_position(first[0]), "it holds the position")
            headers = [bytes(header) for header in engine.headers(StreamId(stream), Position(0))]
            _must(headers == [batch[:HEADER_BYTES] for batch in writer.batches[stream]], "headers")
            _must(engine.read(StreamId(stream), Position(writer.ends[stream]), 100) == [], "nothing at the end")
    engine.close()


def check_portions(stage: Stage) -> None:
    """A read gives whole batches, at least one, and not beyond ``bytes_max`` otherwise."""
    writer = opened(stage)
    writer.create(1)
    writer.append(writer.part(1, *[500] * 20))
    size = 500 + HEADER_BYTES
    for room, want in ((1, 1), (size, 1), (2 * size, 2), (2 * size + 1, 2), (5 * size, 5)):
        _must(len(writer.engine.read(StreamId(1), Position(0), room)) == want, f"{room} bytes")
    stage.settle(writer.engine)
    writer.engine.close()


def check_durable_in_order(stage: Stage) -> None:
    """Commits become durable in order, each at most once, and all of them without anybody asking twice."""
    writer = opened(stage)
    writer.create(1)
    writer.create(2, StreamConfig(durability=Durability.OS))
    for number in range(60):
        writer.append(*([writer.part(1, 30)] if number % 3 else [writer.part(2, 70_000), writer.part(1, 70_000)]))
        if number % 7 == 0:
            stage.settle(writer.engine)
        writer.append(writer.part(2, 30))
    stage.settle(writer.engine)
    told = writer.told.durables
    _must(told == sorted(set(told)), f"out of order: {told}")
    _must(told[-1] == writer.commit, f"{told[-1]} of {writer.commit} reported")
    writer.engine.close()


def check_crash_keeps_a_prefix(stage: Stage) -> None:
    """After a crash the commits kept are a prefix that holds all that was reported, whole over all streams."""
    writer = opened(stage)
    for stream in (1, 2, 3):
        writer.create(stream)
    history: list[dict[int, int]] = [dict(writer.ends)]
    for number in range(30):
        writer.append(*[writer.part(stream, 10 + 40 * number) for stream in (1, 2, 3) if (number + stream) % 3])
        history.append(dict(writer.ends))
        if number == 20:
            stage.settle(writer.engine)
    reported = max(writer.told.durables, default=0)
    stage.crash()
    engine = stage.make()
    found = engine.open(Told(), 0)
    _must(found.commit >= reported, f"{found.commit} kept, {reported} reported")
    _must(found.epoch > writer.epoch, "the epoch is raised")
    for stream, end in history[found.commit].items():
        _must(found.streams[StreamId(stream)].end == end, f"stream {stream} of commit {found.commit}: {found.streams}")
        batches = (
            [batch for batch in writer.batches[stream] if last_position(batch) < end]
            if stream in writer.batches
            else []
        )
        _must(b"".join(read_all(engine, stream)) == b"".join(batches), f"stream {stream}")
    engine.close()


def check_epochs(stage: Stage) -> None:
    """Every open raises the epoch; the table says where each epoch's first batch is."""
    writer = opened(stage)
    writer.create(1)
    epochs = []
    for _ in range(3):
        epochs.append((writer.epoch, writer.ends[1]))
        writer.append(writer.part(1, 10))
        writer.append(writer.part(1, 10))
        stage.settle(writer.engine)
        writer.engine.close()
        writer = opened(stage)
        _must(writer.epoch > epochs[-1][0], "the epoch is raised")
    _must(writer.engine.ends(StreamId(1)).epochs == tuple(epochs), f"{writer.engine.ends(StreamId(1))}, want {epochs}")
    writer.engine.trim(StreamId(1), Position(7))
    _must(writer.engine.ends(StreamId(1)).epochs == tuple(epochs[1:]), "epochs below the start are gone")
    writer.engine.close()


def check_refusals(stage: Stage) -> None:
    """What does not fit is refused and changes nothing."""
    writer = opened(stage)
    engine = writer.engine
    stream = StreamId(1)
    refused(lambda: engine.read(stream, Position(0), 10), ErrorCode.NO_STREAM)
    writer.create(1)
    writer.create(1)
    writer.append(writer.part(1, 10))
    refused(lambda: engine.read(stream, Position(4), 10), ErrorCode.OUT_OF_RANGE)
    refused(lambda: engine.headers(stream, Position(4)), ErrorCode.OUT_OF_RANGE)
    refused(lambda: engine.trim(stream, Position(4)), ErrorCode.OUT_OF_RANGE)
    batch = make_batch(3, 3, writer.epoch, b"x", 0)

    def append(number: int, base: int, end: int, batches: list[bytes], to: int = 1) -> Callable[[], None]:
        size = sum(map(len, batches))
        part = Part(StreamId(to), Position(base), Position(end), batches, size, 0)
        return lambda: engine.append(Frame(Commit(number), [part]))

    refused(append(3, 3, 6, [batch]), ErrorCode.INVALID)
    refused(append(1, 3, 6, [batch]), ErrorCode.INVALID)
    refused(append(2, 4, 7, [batch]), ErrorCode.INVALID)
    refused(append(2, 3, 7, [batch]), ErrorCode.INVALID)
    refused(append(2, 3, 6, [batch[:-1]]), ErrorCode.INVALID)
    refused(append(2, 3, 6, [batch[:40]]), ErrorCode.INVALID)
    refused(append(2, 3, 9, [batch, batch]), ErrorCode.INVALID)
    refused(append(2, 0, 3, [make_batch(0, 3, 1, b"x", 0)], to=9), ErrorCode.NO_STREAM)
    _must(engine.ends(stream).end == 3, "nothing was appended")
    append(2, 3, 6, [batch])()
    writer.commit = 2
    writer.ends[1] = 6
    stage.settle(engine)
    _must(writer.told.durables[-1] == 2, "and life goes on")
    engine.close()


def check_trim(stage: Stage) -> None:
    """``start`` moves forward only, exact to one record, at once and for good; whole segments below it go."""
    writer = opened(stage)
    writer.create(1, StreamConfig(segment_bytes=2_000))
    for _ in range(20):
        writer.append(writer.part(1, 500))
    stage.settle(writer.engine)
    before = writer.engine.segments(StreamId(1))
    writer.engine.trim(StreamId(1), Position(31))
    writer.engine.trim(StreamId(1), Position(10))
    stage.crash()
    writer = opened(stage)
    engine = writer.engine
    ends = engine.ends(StreamId(1))
    _must((ends.start, ends.end) == (31, 60), f"{ends}")
    refused(lambda: engine.read(StreamId(1), Position(30), 10), ErrorCode.OUT_OF_RANGE)
    _must(int.from_bytes(engine.read(StreamId(1), Position(31), 10)[0][:8]) == 30, "the batch that holds it")
    segments = engine.segments(StreamId(1))
    _must(len(segments) < len(before), "segments went")
    _must(segments[0].base <= 31 < segments[0].end, f"{segments}")
    _must([one.base for one in segments[1:]] == [one.end for one in segments[:-1]], "contiguous")
    engine.trim(StreamId(1), Position(60))
    _must(list(engine.segments(StreamId(1))) == [], "an empty stream keeps no bytes")
    writer.append(writer.part(1, 10))
    _must(len(read_all(engine, 1)) == 1, "and goes on where it was")
    stage.settle(engine)
    engine.close()
    _must(opened(stage).ends[1] == 63, "after a restart too")
    stage.crash()


def sifted(batches: Sequence[Batch], keep: Callable[[int], bool]) -> list[bytes]:
    """The batches with as many records less as ``keep`` refuses; of those with nothing left, runs become one."""
    made: list[bytes] = []
    for batch in batches:
        base, last = int.from_bytes(batch[:8]), last_position(batch)
        kept = sum(keep(position) for position in range(base, last + 1))
        one = fewer(batch, kept)
        before = made[-1] if made else b""
        if (
            before
            and not int.from_bytes(one[57:61])
            and not int.from_bytes(before[57:61])
            and one[12:16] == before[12:16]
        ):
            made[-1] = empty(before, last)
        else:
            made.append(one)
    return made


def rewrite_all(stage: Stage, engine: Engine, stream: int, keep: Callable[[int], bool]) -> int:
    """Write every settled segment anew; how many there were."""
    number = StreamId(stream)
    engine.settled(number)
    stage.settle(engine)
    settled = engine.settled(number)
    segments = [one for one in engine.segments(number) if one.end <= settled]
    for segment in segments:
        old = [
            batch
            for batch in read_all(engine, stream, max(segment.base, engine.ends(number).start))
            if segment.base <= int.from_bytes(batch[:8]) < segment.end
        ]
        if int.from_bytes(old[0][:8]) != segment.base:
            continue  # trimmed within
        rewrite = engine.rewrite(number, segment.base)
        rewrite.add(sifted(old, keep))
        rewrite.finish()
        stage.settle(engine)
        _must(rewrite.done and rewrite.replaced, "in place")
    return len(segments)


def check_rewrite(stage: Stage) -> None:
    """A settled segment written anew holds what was given for it, for good; positions, epochs and all else stay."""
    writer = opened(stage)
    writer.create(1, StreamConfig(segment_bytes=4_000))
    writer.create(2, StreamConfig(segment_bytes=4_000))
    for size in (1, 500, 3_000, 20_000, 7, 900) * 2:
        writer.append(writer.part(1, size, size // 2 + 1), writer.part(2, 50))
    stage.settle(writer.engine)
    engine = writer.engine
    sizes = sum(one.bytes for one in engine.segments(StreamId(1)))
    before = engine.segments(StreamId(1))

    def keep(position: int) -> bool:
        return position % 5 == 0 or position > 60

    _must(rewrite_all(stage, engine, 1, keep) > 2, "settled segments")
    last = engine.segments(StreamId(1))[-1].base
    want = [batch for batch in writer.batches[1] if int.from_bytes(batch[:8]) < last]
    rest = [batch for batch in writer.batches[1] if int.from_bytes(batch[:8]) >= last]
    for again in range(3):
        now = engine.segments(StreamId(1))
        _must([(one.base, one.end) for one in now] == [(one.base, one.end) for one in before], f"{now}")
        _must(sum(one.bytes for one in now) < sizes, "smaller")
        found = read_all(engine, 1)
        _must([*found[: -len(rest)]] == _by_segment(want, now, keep), f"what was given, {again}")
        _must([*found[-len(rest) :]] == rest, "the active segment as it was")
        for one in now:
            there = sum(
                int.from_bytes(batch[57:61]) for batch in found if one.base <= int.from_bytes(batch[:8]) < one.end
            )
            _must(one.records == there, f"{one.records} records, {there} are there")
        for position in range(writer.ends[1]):
            first = engine.read(StreamId(1), Position(position), 1)[0]
            _must(int.from_bytes(first[:8]) <= position <= last_position(first), "every position is in a batch")
        _must(
            [bytes(one) for one in engine.headers(StreamId(1), Position(0))] == [bytes(one[:61]) for one in found],
            "headers",
        )
        _must(read_all(engine, 2) == writer.batches[2], "the neighbour")
        if again == 0:
            stage.crash()
        elif again == 1:
            engine.close()
        if again < 2:
            engine = opened(stage).engine
    refused(lambda: engine.rewrite(StreamId(1), last), ErrorCode.INVALID)
    refused(lambda: engine.rewrite(StreamId(1), Position(1)), ErrorCode.INVALID)
    engine.close()


def _by_segment(batches: list[bytes], segments: Sequence[Segment], keep: Callable[[int], bool]) -> list[bytes]:
    found = []
    for segment in segments:
        found += sifted([one for one in batches if segment.base <= int.from_bytes(one[:8]) < segment.end], keep)
    return found


def check_a_rewrite_given_up_changes_nothing(stage: Stage) -> None:
    """Not until all of it is there, and not where its stream or segment is gone meanwhile."""
    writer = opened(stage)
    for stream in (1, 2, 3):
        writer.create(stream, StreamConfig(segment_bytes=1_000))
    for _ in range(6):
        writer.append(*[writer.part(stream, 600) for stream in (1, 2, 3)])
    stage.settle(writer.engine)
    engine = writer.engine
    for stream in (1, 2, 3):
        engine.settled(StreamId(stream))
    stage.settle(engine)
    begun = [engine.rewrite(StreamId(stream), Position(0)) for stream in (1, 2, 3)]
    first = sifted([writer.batches[1][0]], lambda position: position == 1)
    refused(lambda: begun[0].add([writer.batches[1][1]]), ErrorCode.INVALID)
    refused(begun[0].finish, ErrorCode.INVALID)
    begun[0].abandon()
    for rewrite in begun[1:]:
        rewrite.add(sifted([writer.batches[2][0]], lambda position: position == 1))
    engine.trim(StreamId(2), Position(4))
    engine.delete(StreamId(3))
    for rewrite in begun[1:]:
        rewrite.finish()
    stage.settle(engine)
    _must(all(rewrite.done and not rewrite.replaced for rewrite in begun), "none took its place")
    _must(read_all(engine, 1) == writer.batches[1], "as it was")
    again = engine.rewrite(StreamId(1), Position(0))
    again.add(first)
    again.finish()
    stage.settle(engine)
    _must(again.replaced and read_all(engine, 1)[0] == first[0], "and it may be tried again")
    engine.roll(StreamId(1))
    engine.settled(StreamId(1))
    stage.settle(engine)
    _must(engine.settled(StreamId(1)) == writer.ends[1], "rolled")
    writer.append(writer.part(1, 10))
    _must(engine.segments(StreamId(1))[-1].base == writer.ends[1] - 3, "another segment")
    stage.settle(engine)
    engine.close()
    engine = opened(stage).engine
    _must(engine.segments(StreamId(1))[-1].base == writer.ends[1] - 3, "for good")
    engine.close()


def check_delete(stage: Stage) -> None:
    """A deleted stream is gone for good; its neighbours stay."""
    writer = opened(stage)
    writer.create(1)
    writer.create(2)
    writer.append(writer.part(1, 10), writer.part(2, 100_000))
    stage.settle(writer.engine)
    writer.engine.delete(StreamId(2))
    refused(lambda: writer.engine.read(StreamId(2), Position(0), 10), ErrorCode.NO_STREAM)
    refused(lambda: writer.engine.delete(StreamId(2)), ErrorCode.NO_STREAM)
    writer.append(writer.part(1, 10))
    stage.settle(writer.engine)
    stage.crash()
    writer = opened(stage)
    _must(sorted(writer.ends) == [1], f"{writer.ends}")
    _must(len(read_all(writer.engine, 1)) == 2, "the neighbour")
    writer.engine.close()


def check_created_streams_survive(stage: Stage) -> None:
    """A stream made before a commit that became durable is there with it, empty or not."""
    writer = opened(stage)
    for stream in range(1, 30):
        writer.create(stream, StreamConfig(segment_bytes=1_000 + stream))
    writer.append(writer.part(7, 10))
    stage.settle(writer.engine)
    stage.crash()
    writer = opened(stage)
    _must(sorted(writer.ends) == list(range(1, 30)), f"{sorted(writer.ends)}")
    _must(writer.ends[7] == 3 and writer.ends[8] == 0, f"{writer.ends}")
    writer.engine.close()


def check_memory_streams(stage: Stage) -> None:
    """A stream of durability ``memory`` takes part in commits and begins anew at every open."""
    writer = opened(stage)
    writer.create(1, StreamConfig(durability=Durability.MEMORY))
    writer.create(2)
    for _ in range(5):
        writer.append(writer.part(1, 100), writer.part(2, 100))
        writer.append(writer.part(1, 100))
    stage.settle(writer.engine)
    _must(writer.told.durables[-1] == 10, "reported as the others")
    _must(len(read_all(writer.engine, 1)) == 10, "read back")
    writer.engine.close()
    writer = opened(stage)
    _must(writer.ends == {1: 0, 2: 15}, f"{writer.ends}")
    writer.engine.close()


def check_large_batches(stage: Stage) -> None:
    """A batch of 8 MiB passes, and becomes durable."""
    writer = opened(stage)
    writer.create(1)
    writer.append(writer.part(1, 10), writer.part(1, 8 << 20))
    writer.append(writer.part(1, *[40_000] * 30))
    stage.settle(writer.engine)
    _must(writer.told.durables[-1] == 2, "durable")
    stage.crash()
    writer = opened(stage)
    found = read_all(writer.engine, 1)
    _must([len(batch) - HEADER_BYTES for batch in found] == [10, 8 << 20, *[40_000] * 30], "all of it")
    writer.engine.close()


def check_closing(stage: Stage) -> None:
    """What was appended is durable when ``close`` returns; a closed engine refuses; closing twice is nothing."""
    writer = opened(stage)
    writer.create(1)
    for _ in range(10):
        writer.append(writer.part(1, 100))
    writer.engine.close()
    writer.engine.close()
    refused(lambda: writer.append(writer.part(1, 1)), ErrorCode.UNAVAILABLE)
    again = opened(stage)
    _must((again.commit, again.ends) == (10, {1: 30}), f"{again.commit}, {again.ends}")
    again.engine.close()


def check_segments(stage: Stage) -> None:
    """Segments tell base, end, bytes and newest timestamp of all that is kept: what retention needs."""
    writer = opened(stage)
    writer.create(1, StreamConfig(segment_bytes=2_000))
    for _ in range(12):
        writer.append(writer.part(1, 500))
    segments = writer.engine.segments(StreamId(1))
    _must(len(segments) == 4, f"{segments}")
    _must(sum(one.bytes for one in segments) == 12 * (500 + HEADER_BYTES), "bytes")
    _must([one.max_timestamp_ms for one in segments] == [1_006, 1_015, 1_024, 1_033], f"{segments}")
    stage.settle(writer.engine)
    writer.engine.close()
    again = opened(stage)
    _must(list(again.engine.segments(StreamId(1))) == list(segments), "the same after a restart")
    again.engine.close()


def check_configure(stage: Stage) -> None:
    """A configuration holds from the next append on, and after a crash."""
    writer = opened(stage)
    writer.create(1, StreamConfig(durability=Durability.OS))
    writer.append(writer.part(1, 100))
    writer.append(writer.part(1, 80_000))
    writer.engine.configure(StreamId(1), StreamConfig(segment_bytes=1_500))
    end = writer.ends[1]
    stage.settle(writer.engine)
    stage.crash()
    writer = opened(stage)
    _must(writer.ends[1] == end, f"synced before its durability was raised: {writer.ends}")
    for _ in range(6):
        writer.append(writer.part(1, 1_000))
    _must(len(writer.engine.segments(StreamId(1))) >= 6, "segments of the new size")
    stage.settle(writer.engine)
    writer.engine.close()


def check_reserve(stage: Stage) -> None:
    """There is room for a turn, and an engine that is closed promises none."""
    writer = opened(stage)
    _must(writer.engine.reserve(1 << 20), "room")
    writer.engine.close()
    _must(not writer.engine.reserve(1), "closed")


def check_many_streams(stage: Stage) -> None:
    """A commit over 1,000 streams, and reading each of them."""
    writer = opened(stage)
    streams = range(1, 1_001)
    for stream in streams:
        writer.create(stream)
    for _ in range(2):
        writer.append(*[writer.part(stream, 20) for stream in streams])
    stage.settle(writer.engine)
    _must(writer.told.durables[-1] == 2, "durable")
    writer.engine.close()
    writer = opened(stage)
    for stream in streams:
        _must(len(read_all(writer.engine, stream)) == 2, f"stream {stream}")
    writer.engine.close()


CHECKS: dict[str, Callable[[Stage], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_") and callable(check)
}


def check_engine(make_stage: Callable[[], Stage]) -> None:
    """Every check, each on a stage of its own. Raises: AssertionError."""
    for check in CHECKS.values():
        check(make_stage())


__all__ = [
    "CHECKS",
    "Epoch",
    "FolderStage",
    "MemoryStage",
    "SimulatedStage",
    "Stage",
    "Told",
    "Writer",
    "check_engine",
    "opened",
]
