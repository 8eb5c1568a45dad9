"""One client's cells in a process of its own: ``python -m conformance.matrix.column MODULE ADDRESS``.

Prints lines of JSON: first ``{"version": ..., "features": [...]}``, then each cell as it ends. A client that hangs, crashes
or keeps threads costs its own column only: whoever started this process knows which cells did not answer.
The programs of JavaScript clients (``conformance/node/matrix_*.cjs``) print the same.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import importlib
import inspect
import json
import os
import sys
import threading
import time
from collections.abc import Sequence

from conformance.matrix.cells import FAILED, PASSED, SKIPPED, Cells, Place, Program, Result, Skip, observation, words_of

CELL_S_MAX = 60.0
"""Deadline of one cell, not a goal."""
printing = threading.Lock()


def run_cell(feature: str, program: Program, place: Place) -> Result:
    began = time.monotonic()
    try:
        if inspect.iscoroutinefunction(program):
            value = asyncio.run(within(program, place))
        else:
            value = program(place)
        status, observed = PASSED, observation(value, place)
    except Skip as why:
        status, observed = SKIPPED, str(why)
    except Exception as error:
        status, observed = FAILED, words_of(error, place)
    return Result(feature, status, observed, time.monotonic() - began)


async def within(program: Program, place: Place) -> object:
    async with asyncio.timeout(CELL_S_MAX):
        return await program(place)


def tell(result: Result) -> None:
    with printing:
        print(json.dumps(result.as_json()), flush=True)


def run_all(cells: Cells, features: Sequence[str], place: Place) -> None:
    """Every cell, ``cells.together`` at a time; one that does not end is told as failed and left behind."""
    pool = concurrent.futures.ThreadPoolExecutor(cells.together)
    started: dict[str, float] = {}

    def task(feature: str) -> None:
        started[feature] = time.monotonic()
        tell(run_cell(feature, cells.programs[feature], Place(place.address, place.variant, place.options)))

    waiting = {pool.submit(task, feature): feature for feature in features}
    while waiting:
        done, _ = concurrent.futures.wait(waiting, timeout=1, return_when=concurrent.futures.FIRST_COMPLETED)
        for future in done:
            del waiting[future]
        late = [
            (future, feature)
            for future, feature in waiting.items()
            if feature in started and time.monotonic() - started[feature] > CELL_S_MAX + 2
        ]
        for future, feature in late:
            del waiting[future]
            tell(Result(feature, FAILED, f"did not end within {CELL_S_MAX:.0f} s", CELL_S_MAX))
        if len(late) and not any(feature in started for feature in waiting.values()):
            break  # threads that hang hold the pool


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.matrix.column")
    parser.add_argument("module")
    parser.add_argument("address")
    parser.add_argument("variant", nargs="?", default="")
    parser.add_argument("options", nargs="?", type=json.loads, default={})
    parser.add_argument("only", nargs="?", default="", help="cells whose feature contains this")
    options = parser.parse_args(arguments)
    cells: Cells = importlib.import_module(options.module).cells
    features = [feature for feature in cells.features(options.variant) if options.only in feature]
    print(json.dumps({"version": cells.version(), "features": features}), flush=True)
    run_all(cells, features, Place(options.address, options.variant, options.options))
    sys.stdout.flush()
    os._exit(0)  # threads of clients that hang do not end by themselves


if __name__ == "__main__":
    sys.exit(main())
