"""Crash points of what is taken out of streams: removals, limits and compaction of a stream layer over a disk.

A *trace* is a seeded life of a stream layer: appends to a stream with limits, to one that is compacted and to one of which
ranges are removed, trims, compaction in between, clean restarts. What readers may see is written down after each turn, by
commit. Before operations that change the disk power is cut; a layer opens what is left. It must then show

* exactly what was there after the commit that it kept, which is no less than the last one reported durable;
* of the compacted stream: for each key the same last value, and nothing that was not appended.

    python -m conformance.removal_points --states 300 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.disk_faults import Operation, SimulatedFiles
from conformance.stream_layer import Bench, SimulatedDiskStorage, keyed
from substrate.api import StreamId
from substrate.limits import record_bytes

LIMITED, COMPACTED, PLAIN, MARKED = (StreamId(1024 + index) for index in range(4))
CONFIGS: dict[StreamId, dict[str, Any]] = {
    LIMITED: {
        "retention_records": 20,
        "retention_bytes": 15 * record_bytes(1, 60),
        "exact_limits": True,
        "segment_bytes": 2000,
    },
    COMPACTED: {"compaction": True, "compaction_percent": 20, "tombstone_ms": 1 << 40, "segment_bytes": 700},
    PLAIN: {"segment_bytes": 1500},
    MARKED: {"address_records_max": 2, "segment_bytes": 1500},
}
Shown = dict[StreamId, dict[int, tuple[bytes, bytes | None]]]
"""By stream and position: address or key, and value."""


class Violation(AssertionError):
    """A promise was broken. The text names the seeds, which replay it."""


class _Files(SimulatedDiskStorage):
    def __init__(self, files: SimulatedFiles) -> None:
        self.files = files
        self._seed = 0


@dataclass(slots=True)
class Life:
    shown: dict[int, Shown] = field(default_factory=dict)
    """What there was after each commit."""
    appended: Shown = field(default_factory=dict)
    durable: int = 0


class Trace:
    def __init__(self, seed: int, files: SimulatedFiles) -> None:
        self.chance = random.Random(seed)
        self.life = Life()
        self.bench = opened(files)
        self._note(int(self.bench.layer.commit_next) - 1)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        chance, bench = self.chance, self.bench
        kind = chance.random()
        for _ in range(chance.randrange(1, 4)):
            self._act()
        for _ in range(chance.choice((0, 0, 1, 4))):
            bench.layer.compact(bench.now_ms)
        if kind > 0.8:
            bench.layer.removal.retain(bench.now_ms)
        bench.now_ms += chance.randrange(100)
        self._note(int(bench.layer.commit_next))
        bench.turn(settle=False)
        self._told()
        for _ in range(chance.choice((0, 1, 5, 20, 20, 1000))):
            bench.storage.files.step()  # type: ignore[attr-defined]
        self._told()
        if kind < 0.04:
            self.bench.layer.close()
            self.bench = opened(bench.storage.files)  # type: ignore[attr-defined]
            self.bench.now_ms = bench.now_ms
            self._note(int(self.bench.layer.commit_next) - 1)

    def _act(self) -> None:
        chance, bench = self.chance, self.bench
        what = chance.randrange(5)
        if what < 2:
            for stream in (LIMITED, PLAIN, MARKED):
                address = b"a%d" % chance.randrange(4)
                bench.put(chance.randbytes(chance.randrange(90)), stream=stream, address=address)
        elif what == 2:
            pairs = [
                (b"k%d" % chance.randrange(6), None if chance.random() < 0.2 else chance.randbytes(30))
                for _ in range(chance.randrange(1, 5))
            ]
            bench.layer.append_batch(COMPACTED, keyed(*pairs, at_ms=bench.now_ms))
        elif what == 3:
            found = bench.layer.streams[PLAIN]
            first = chance.randrange(found.start, found.next + 1)
            bench.layer.remove(PLAIN, [(first, first + chance.choice((0, 0, 3, 12)))])
        else:
            found = bench.layer.streams[chance.choice((LIMITED, MARKED))]
            bench.layer.remove(found.id, [(chance.randrange(found.start, found.next + 1),) * 2])

    def _note(self, commit: int) -> None:
        now = shown(self.bench)
        for stream in (LIMITED, PLAIN, MARKED):
            held = sum(record_bytes(len(address), len(value or b"")) for address, value in now[stream].values())
            if self.bench.layer.query("bytes", stream) != held:
                raise Violation(f"stream {stream}: {self.bench.layer.query('bytes', stream)} bytes, {held} are there")
        self.life.shown[commit] = now
        for stream, records in now.items():
            self.life.appended.setdefault(stream, {}).update(records)

    def _told(self) -> None:
        self.life.durable = max([self.life.durable, *map(int, self.bench.durable)])


def opened(files: SimulatedFiles) -> Bench:
    bench = Bench(_Files(files))
    for stream, config in CONFIGS.items():
        bench.create(stream, b"s%d" % stream, **config)
    bench.layer.removal.settle()
    return bench


def shown(bench: Bench) -> Shown:
    """Everything that a reader sees, at the level of what was written."""
    made: Shown = {}
    for stream in CONFIGS:
        found = bench.layer.streams[stream]
        made[stream] = {
            one.position: ((one.key or b"") if stream == COMPACTED else one.address, one.value)
            for one in bench.layer.each(found, found.start)
            if one.position not in found.gone
        }
    return made


def check_survivor(life: Life, files: SimulatedFiles) -> None:
    bench = opened(files)
    layer = bench.layer
    kept = int(layer.durable_commit)
    if kept < life.durable:
        raise Violation(f"commit {kept} was kept, {life.durable} was reported durable")
    there, want = shown(bench), life.shown.get(kept)
    if want is None:
        raise Violation(f"commit {kept} was never made")
    for stream in CONFIGS:
        if stream != COMPACTED:
            if there[stream] != want[stream]:
                raise Violation(
                    f"stream {stream}: {sorted(there[stream])} at commit {kept}, want {sorted(want[stream])}"
                )
            continue
        if not there[stream].items() <= life.appended[stream].items():
            raise Violation("the compacted stream holds what was not appended")
        if _latest(there[stream]) != _latest(want[stream]):
            raise Violation(f"last values {_latest(there[stream])}, want {_latest(want[stream])}")
    for stream in CONFIGS:
        tail = bench.tail(stream)
        bench.put(b"after", stream=stream, address=b"a0")
        bench.turn()
        if bench.tail(stream).durable != tail.ordered + 1:
            raise Violation(f"stream {stream} does not go on")
    layer.close()
    again = shown(opened(files))
    if again[PLAIN] != {**want[PLAIN], layer.streams[PLAIN].next - 1: (b"a0", b"after")}:
        raise Violation("a second opening finds something else")


def _latest(records: dict[int, tuple[bytes, bytes | None]]) -> dict[bytes, bytes | None]:
    return {key: value for _, (key, value) in sorted(records.items())}


def explore(seed: int, states: int, steps: int = 90) -> int:
    """How many segments were rewritten meanwhile.

    Raises:
        Violation: its text replays it.
    """
    done = traces = rewritten = 0
    while done < states:
        trace_seed = seed * 1_000_003 + traces
        traces += 1
        files = SimulatedFiles(trace_seed)
        files_pick = random.Random(trace_seed)
        holder: list[Trace] = []

        def cut(operation: Operation, files: SimulatedFiles = files, pick: random.Random = files_pick,
                holder: list[Trace] = holder, trace_seed: int = trace_seed) -> None:  # fmt: skip
            nonlocal done
            if not holder or pick.random() > 0.1 or done >= states:
                return
            survivor = pick.getrandbits(32)
            trace = holder[0]
            trace._told()
            life = trace.life
            try:
                check_survivor(life, files.crashed(survivor))
            except (Violation, AssertionError) as fault:
                raise Violation(
                    f"{fault} (trace seed {trace_seed}, before operation {operation.number} {operation.kind} {operation.path},"
                    f" survivor {survivor})"
                ) from fault
            done += 1

        files.watch = cut
        trace = Trace(trace_seed, files)
        holder.append(trace)
        trace.run(steps)
        rewritten += trace.bench.layer.compaction.rewritten
    return rewritten


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="removal_points", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--states", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    began = time.perf_counter()
    try:
        rewritten = explore(options.seed, options.states)
    except Violation as fault:
        print(f"VIOLATION: {fault}")
        return 1
    print(
        f"removal points: {options.states} states, {rewritten} segments rewritten, 0 violations,"
        f" {time.perf_counter() - began:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
