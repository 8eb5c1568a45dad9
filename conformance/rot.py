"""Rot: bit flips, lost ends and old copies of files in a directory at rest, each detected, none served.

A seeded trace makes a directory, stopped in order or killed when idle. Then, state by state, one file is damaged and

* ``verify`` (given by the caller) reports a fault, unless the file is a hint (index, time index, epoch checkpoint) or a part
  of the journal that nothing needs any more;
* (of an ``os`` or ``interval`` stream in a killed directory, what had not been synced may also be cut, with a word)
* an engine either refuses to open, because the journal or both ends files are what every stream needs, or opens; then every
  read gives exactly what was appended or raises CORRUPT, and only in the damaged stream.

What cannot be found: a journal file put back to an older state after a kill, if nothing newer names what it lost.

    python -m conformance.rot --states 500 --seed 1        (without verify: ``thalweg`` owns that)
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.crash_points import SMALL, Life, Listener, Trace, Violation, rewritten
from conformance.disk_faults import SimulatedFiles
from conformance.engines import last_position
from substrate.api import ErrorCode, Position, StreamId
from substrate.disk import frames, journal
from substrate.disk.engine import DiskEngine
from substrate.engine import EngineError

Verify = Callable[[SimulatedFiles], list[str]]
HINTS = (".index", ".timeindex", "leader-epoch-checkpoint", ".new", ".rewritten")


@dataclass(slots=True)
class Result:
    states: int = 0
    refused: int = 0
    corrupt_reads: int = 0
    repaired: int = 0


@dataclass(slots=True)
class Directory:
    files: SimulatedFiles
    life: Life
    clean: bool
    old: dict[str, list[bytes]]
    """Earlier contents of each path."""
    ends: dict[int, tuple[int, int]]
    needed: set[tuple[int, int]]
    """Bytes of the journal that a recovery needs: (slot, byte // 64)."""


def make_directory(seed: int, clean: bool, steps: int = 60) -> Directory:
    files = SimulatedFiles(seed)
    trace = Trace(seed, files)
    trace.open()
    old: dict[str, list[bytes]] = {}
    for number in range(steps):
        trace.step()
        if number % 6 == 0:
            files.run()
            for path in files.paths():
                content = files.content(path)
                versions = old.setdefault(path, [])
                if content not in versions:
                    versions.append(content)
    files.run()
    for _ in range(4):
        files.elapse(2_000)
        files.run()
    ends = {}
    for stream in trace.life.configs:
        if stream not in trace.life.deleted:
            found = trace.engine.ends(StreamId(stream))
            ends[stream] = (int(found.start), int(found.end))
    if clean:
        trace.engine.close()
    else:
        files = files.killed()
    needed = set() if clean else _needed(files)
    return Directory(files, trace.life, clean, old, ends, needed)


def _needed(files: SimulatedFiles) -> set[tuple[int, int]]:
    from substrate.disk import recovery

    found = recovery.read_ends(files)
    assert found is not None
    state = found[0]
    slots = [files.content(journal.slot_path(slot)) for slot in range(state.slots)]
    scan = journal.scan(
        slots, state.slot_bytes, state.directory, state.number, state.checksum, state.epoch, state.slot, state.offset
    )
    return {
        (frame.slot, block)
        for frame in scan.kept
        if frame.head.kind != frames.Kind.NOTE
        for block in range(frame.offset // 64, (frame.offset + frame.head.length - 1) // 64 + 1)
        if frame.head.number <= scan.durable
    }


def explore(seed: int, states: int, verify: Verify | None = None) -> Result:
    """Raises: Violation; its text replays it."""
    result = Result()
    chance = random.Random(seed)
    directories = [make_directory(seed * 31 + number, clean=number % 3 != 2) for number in range(6)]
    while result.states < states:
        directory = directories[result.states % len(directories)]
        files = directory.files.killed()
        state_seed = chance.getrandbits(32)
        what, path, expected = _damage(directory, files, random.Random(state_seed))
        if not what:
            continue
        try:
            _judge(directory, files, path, expected, verify, result)
        except Violation as fault:
            raise Violation(f"{fault} (seed {seed}, state {result.states}: {what} of {path})") from fault
        result.states += 1
    return result


def _damage(directory: Directory, files: SimulatedFiles, chance: random.Random) -> tuple[str, str, bool]:
    """What was done to which file, and whether it must be found."""
    paths = files.paths()
    kinds = ([path for path in paths if path.endswith(".log")], [path for path in paths if not path.endswith(".log")])
    path = chance.choice(kinds[0] if chance.random() < 0.6 and kinds[0] else kinds[1])
    content = files.content(path)
    hint = path.endswith(HINTS)
    how = chance.randrange(3)
    if path.startswith("journal/"):
        slot = int(path[-4:])
        bits = [block * 512 + 8 * chance.randrange(64) for number, block in sorted(directory.needed) if number == slot]
        bit = chance.choice(bits) if bits and chance.random() < 0.8 else chance.randrange(64 * 8)
        if bit >= 512 and not _in_frame(directory, slot, bit // 8):
            return "", path, False
        files.flip(path, bit)
        return f"bit {bit}", path, True
    if not content:
        return "", path, False
    if how == 0:
        bit = chance.randrange(len(content) * 8)
        files.flip(path, bit)
        return f"bit {bit}", path, not hint
    if how == 1:
        size = chance.randrange(len(content))
        files.cut(path, size)
        return f"cut to {size} of {len(content)}", path, not hint
    versions = [version for version in directory.old.get(path, []) if version != content]
    if not versions:
        return "", path, False
    files.put(path, chance.choice(versions))
    newest_ends = path.startswith("ends") and not directory.clean
    return "an old copy", path, not hint and not newest_ends


def _in_frame(directory: Directory, slot: int, offset: int) -> bool:
    """Not in the padding between frames, which nothing covers."""
    content = directory.files.content(journal.slot_path(slot))
    block = offset // 64
    while (slot, block) in directory.needed and not content.startswith(frames.MAGIC, block * 64):
        block -= 1
    length = int.from_bytes(content[block * 64 + 8 : block * 64 + 12])
    return offset < block * 64 + length


def _judge(
    directory: Directory, files: SimulatedFiles, path: str, must_be_found: bool, verify: Verify | None, result: Result
) -> None:
    if path.endswith(".log") and not directory.clean:
        must_be_found = False  # recovery may write it anew from the journal
    if verify is not None:
        faults = verify(files.killed())
        if must_be_found and not faults:
            raise Violation("verify finds nothing")
    engine = DiskEngine(files, options=SMALL)
    try:
        engine.open(Listener(Life()), 0)
    except EngineError as error:
        if error.code is not ErrorCode.CORRUPT or not path.startswith("journal/"):
            raise Violation(f"it does not open: {error}") from error
        result.refused += 1
        return
    if path.startswith("journal/"):
        raise Violation("it opens on a rotten journal")
    damaged = _stream_of(path)
    found_rot = _read_everything(directory, engine, damaged)
    result.corrupt_reads += found_rot
    below_start = path.endswith(".log") and int(path[-24:-4]) < directory.ends.get(damaged, (0, 0))[0]
    if must_be_found and not found_rot and not engine.faults and path.endswith(".log") and not below_start:
        raise Violation("a damaged segment is read without a word")
    result.repaired += not found_rot
    engine.close()


def _stream_of(path: str) -> int:
    return int(path.split("/")[1].rpartition(".")[2]) if path.startswith("streams/") else 0


def _read_everything(directory: Directory, engine: DiskEngine, damaged: int) -> int:
    """Read every stream from every batch on; how many reads raised CORRUPT."""
    rotten = 0
    for stream, (start, end) in directory.ends.items():
        found = engine.ends(StreamId(stream))
        if stream == damaged and found.end < end and not directory.clean and engine.faults:
            end = int(found.end)  # of what had not been synced: cut, and said so
            rotten += 1
        if (found.start, found.end) != (start, end):
            raise Violation(f"stream {stream} is {found.start} to {found.end}, was {start} to {end}")
        batches = [batch for _commit, base, batch in directory.life.appended[stream] if base < end]
        for batch in rewritten(batches, directory.life.rewritten.get(stream, ()), 0)[-1]:
            base = int.from_bytes(batch[:8])
            if last_position(batch) < start:
                continue
            try:
                got = engine.read(StreamId(stream), Position(max(base, start)), 1)
            except EngineError as error:
                if error.code is not ErrorCode.CORRUPT:
                    raise Violation(f"stream {stream} at {base}: {error}") from error
                if stream != damaged:
                    raise Violation(f"stream {stream}, a neighbour, cannot be read at {base}: {error}") from error
                rotten += 1
                continue
            if bytes(got[0]) != batch:
                raise Violation(f"stream {stream} at {base}: rot was served")
    return rotten


def main(argv: Sequence[str] | None = None, verify: Verify | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rot", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--states", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    began = time.perf_counter()
    try:
        result = explore(options.seed, options.states, verify)
    except Violation as fault:
        print(f"VIOLATION: {fault}")
        return 1
    print(
        f"rot: {result.states} damaged directories, {result.refused} refused, {result.corrupt_reads} reads CORRUPT,"
        f" {result.repaired} repaired or not touched, none served, {time.perf_counter() - began:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
