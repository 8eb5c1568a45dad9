"""One run of the matrix, as ``thalweg conformance`` is asked for.

Without ``--target``: ours beside the real server of each protocol. With it: that one alone, the same table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

from conformance import targets
from conformance.matrix import table
from conformance.matrix.cells import FAILED, PASSED
from conformance.matrix.columns import COLUMNS, PROTOCOLS, Column
from conformance.matrix.runs import ColumnRun, run_columns


def run(options: argparse.Namespace) -> int:
    """1: a cell that passes on the real server does not on ours, or differs, and no README explains it; or fails alone."""
    began = time.monotonic()
    if options.target is not None:
        try:
            targets.check(options.target)
        except ValueError as mistake:
            print(f"conformance: {mistake}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="thalweg-conformance-") as folder, contextlib.ExitStack() as until:
        chosen, features = chosen_columns(options.only)
        only = {column: column.smoke if options.smoke else features for column in chosen}
        main_target = opened(options.target or "thalweg", pathlib.Path(folder), until)
        chosen = [column for column in chosen if column.protocol in main_target.addresses]
        servers = {
            protocol: [main_target.versions[protocol]] for protocol in dict.fromkeys(each.protocol for each in chosen)
        }
        others: list[ColumnRun] = []
        if options.target is None:
            others = run_real_ones(chosen, only, pathlib.Path(folder), options.jobs, servers)
        runs = run_on(main_target, chosen, only, options.jobs)
    runs = [found for found in runs if found.cells or found.why_not]
    cells = table.compare(runs, others)
    rows = table.explanations()
    left = table.unexplained(cells, rows) if others else [cell for cell in cells if cell.ours["status"] == FAILED]
    report = table.as_json(cells, runs, servers)
    if options.save:
        options.save.write_text(json.dumps(report, indent=1) + "\n")
    if options.output == "json":
        print(json.dumps(report, indent=1))
    else:
        print(table.as_text(cells, runs, servers), end="")
        if left:
            print("\nNot explained in the protocols' READMEs:" if others else "\nFailed:")
            print(table.differences(left))
        passed = sum(cell.ours["status"] == PASSED for cell in cells)
        print(
            f"\n{len(cells)} cells of {len(runs)} clients in {time.monotonic() - began:.0f} s: {passed} pass; {table.count_of(cells)}; {len(left)} unexplained"
        )
    return 1 if left else 0


def chosen_columns(word: str) -> tuple[list[Column], str]:
    """The columns that the word names, and what it leaves of their features: by protocol or client, else by feature."""
    if word in PROTOCOLS or word in table.NAMES.values():
        return [each for each in COLUMNS if word in (each.protocol, table.NAMES[each.protocol])], ""
    named = [each for each in COLUMNS if word and word in each.name]
    return (named, "") if named else (list(COLUMNS), word)


def opened(spec: str, folder: pathlib.Path, until: contextlib.ExitStack) -> targets.Target:
    try:
        return targets.opened(spec, folder, until)
    except targets.Unavailable as why:
        raise SystemExit(f"conformance: {why}") from None


def run_on(target: targets.Target, columns: Sequence[Column], only: dict[Column, str], jobs: int) -> list[ColumnRun]:
    found: list[ColumnRun] = []
    for protocol in PROTOCOLS:
        here = [column for column in columns if column.protocol == protocol]
        if here:
            address, options = target.addresses[protocol], target.options.get(protocol, {})
            found += run_columns(here, address, options, only.__getitem__, jobs, tell)
    return found


def tell(run: ColumnRun) -> None:
    if sys.stderr.isatty():
        print(f"  {run.column.name}: {run.why_not or len(run.cells)}", file=sys.stderr)


def run_real_ones(
    columns: Sequence[Column], only: dict[Column, str], folder: pathlib.Path, jobs: int, servers: dict[str, list[str]]
) -> list[ColumnRun]:
    """Each protocol's real server, one after the other: started, asked, stopped."""
    found: list[ColumnRun] = []
    for protocol in servers:
        with contextlib.ExitStack() as until:
            try:
                target = targets.real(protocol, folder / "real" / protocol, until)
            except targets.Unavailable as why:
                servers[protocol].append(f"nothing ({why})")
                continue
            servers[protocol].append(target.versions[protocol])
            found += run_on(target, [column for column in columns if column.protocol == protocol], only, jobs)
    return found
