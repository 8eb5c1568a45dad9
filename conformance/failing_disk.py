"""A disk that says no: EIO and ENOSPC at every write, fsync, rename, creation and removal of a trace, once each.

For each operation of a seeded trace (``conformance.crash_points.Trace``) the trace is run again with that one failing, and:

* nothing that was not durable is reported durable afterwards; the engine refuses writes, reads go on;
* ``reopen`` with the disk well again makes a new epoch over a prefix that holds all that was reported;
* life goes on, and a power cut then still finds every promise kept.

    python -m conformance.failing_disk --seed 1 --rounds 1
"""

from __future__ import annotations

import argparse
import errno
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from conformance.crash_points import Listener, Trace, Violation, check_streams, check_survivor, read_all
from conformance.disk_faults import Operation, SimulatedFiles
from substrate.api import Durability, ErrorCode, StreamId
from substrate.disk.engine import FAILED, DiskEngine
from substrate.engine import EngineError

_CODES = {errno.EIO: ErrorCode.UNAVAILABLE, errno.ENOSPC: ErrorCode.NO_SPACE}


@dataclass(slots=True)
class Result:
    failures: int = 0
    operations: int = 0


def operations_of(seed: int, steps: int) -> list[Operation]:
    """What the trace does to its disk."""
    files = SimulatedFiles(seed)
    found: list[Operation] = []
    files.watch = found.append
    Trace(seed, files).run(steps)
    files.run()
    return found


def fail_once(seed: int, steps: int, number: int, code: int, lasting: int = 1) -> bool:
    """Run the trace with ``lasting`` operations failing from ``number`` on, also those of a recovery; whether the engine
    noticed (some failures cost nothing).

    Raises:
        Violation: a promise was broken.
    """
    files = SimulatedFiles(seed)
    files.fault = lambda operation: code if number <= operation.number < number + lasting else 0
    trace = Trace(seed, files)
    for _ in range(lasting + 1):
        try:
            trace.open()
            break
        except EngineError as error:
            _expect(error, code)
    noticed = False
    for _ in range(steps):
        try:
            trace.step()
        except EngineError as error:
            if files.operations < number:
                raise
            _expect(error, code)
            noticed = True
            _recover(trace)
        else:
            if trace.life.failed:
                noticed = True
                _recover(trace)
    files.run()
    if trace.life.failed:
        noticed = True
        _recover(trace)
    trace.life.epoch = max(trace.life.epoch, 1)
    check_survivor(trace.life, files.killed(), power_cut=False)
    check_survivor(trace.life, files.crashed(seed ^ number), power_cut=True)
    return noticed


def _expect(error: EngineError, code: int) -> None:
    if error.code not in (_CODES[code], ErrorCode.UNAVAILABLE):
        raise Violation(f"{error}, for errno {code}") from error


def _recover(trace: Trace) -> None:
    """The epoch has ended: hold the broken engine to its word, then reopen."""
    life, engine = trace.life, trace.engine
    reported = life.durable
    if engine.reserve(1):
        raise Violation("a broken engine promises room")
    for stream in list(life.configs):
        try:
            read_all(engine, StreamId(stream))
        except EngineError as error:
            if error.code is not ErrorCode.NO_STREAM:
                raise Violation(f"reads do not go on: {error}") from error
    trace.files.run()
    if life.durable != reported:
        raise Violation(f"commit {life.durable} reported durable after the failure, {reported} before")
    opened = None
    while opened is None:
        before = trace.files.operations
        try:
            if trace.engine.is_open:
                opened = trace.engine.reopen(0)
            else:  # it failed while it was closed or opened
                if FAILED not in trace.files.names(""):
                    life.unwarned.update(
                        stream for stream, config in life.configs.items() if config.durability is not Durability.SYNC
                    )
                trace.engine = DiskEngine(trace.files, options=trace.options)
                opened = trace.engine.open(Listener(life), 0)
        except EngineError as error:
            if trace.files.operations == before:
                raise Violation(f"it does not come back: {error}") from error
    engine = trace.engine
    if opened.commit < reported:
        raise Violation(f"reopened with commit {opened.commit}, {reported} was reported durable")
    check_streams(life, engine, opened, power_cut=False)
    life.failed = False
    life.epoch = opened.epoch
    life.commit = opened.commit
    life.durable = max(life.durable, opened.commit)
    life.synced = [commit for commit in life.synced if commit <= opened.commit]
    life.promised = max([life.promised, *life.synced])
    life.synced.clear()
    for stream, batches in life.appended.items():
        life.appended[stream] = [one for one in batches if one[0] <= opened.commit]
    for stream in list(life.configs):
        found = opened.streams.get(StreamId(stream))
        if found is None:
            life.deleting.add(stream)
            if stream in life.asked or life.appended[stream]:
                life.deleted.add(stream)
        else:
            life.starts[stream] = int(found.start)
            life.deleting.discard(stream)


def explore(seed: int, steps: int = 40, every: int = 1, both: bool = True) -> Result:
    """Each ``every``-th operation of one trace fails, once with EIO and once with ENOSPC; without ``both`` with either.

    Raises:
        Violation: its text replays it.
    """
    result = Result()
    operations = operations_of(seed, steps)
    result.operations = len(operations)
    for operation in operations[:: max(every, 1)]:
        for code in list(_CODES) if both else [list(_CODES)[operation.number % 2]]:
            lasting = 1 if (operation.number + code) % 3 else 1 + operation.number % 30
            try:
                fail_once(seed, steps, operation.number, code, lasting)
            except (Violation, EngineError) as fault:
                raise Violation(
                    f"{fault} (seed {seed}, {steps} steps, {errno.errorcode[code]} at {lasting} operations from {operation.number}"
                    f" {operation.kind} {operation.path})"
                ) from fault
            result.failures += 1
    return result


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="failing_disk", description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args(argv)
    began = time.perf_counter()
    failures = operations = 0
    for seed in range(options.seed, options.seed + options.rounds):
        try:
            result = explore(seed)
        except Violation as fault:
            print(f"VIOLATION: {fault}")
            return 1
        failures += result.failures
        operations += result.operations
    took = time.perf_counter() - began
    print(f"failing disk: {failures} failures at {operations} operations, 0 violations, {took:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
