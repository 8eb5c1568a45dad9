"""Runs columns against a target: a process for each, as many at once as there are cores."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance import node_clients
from conformance.matrix.cells import FAILED, SKIPPED
from conformance.matrix.columns import Column

COLUMN_S_MAX = 240.0


@dataclass
class ColumnRun:
    """What one client observed of one server: feature -> ``{"status", "observed", "seconds"}``; or why it was not run."""

    column: Column
    version: str = ""
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    why_not: str = ""


@dataclass
class Run:
    """All columns of one protocol against one server. ``server``: its name and version, for people."""

    protocol: str
    server: str
    columns: list[ColumnRun] = field(default_factory=list)
    why_not: str = ""

    def find(self, column: Column) -> ColumnRun | None:
        return next((found for found in self.columns if found.column == column), None)


def command_of(column: Column, address: str, options: Mapping[str, str], only: str) -> tuple[list[str], dict[str, str]]:
    """The command line and environment of a column's process.

    Raises:
        NoNode: it is a JavaScript client and there is no node.
    """
    rest = [address, column.variant, json.dumps(dict(options)), only]
    if not column.is_javascript:
        return [sys.executable, "-m", "conformance.matrix.column", column.program, *rest], dict(os.environ)
    modules = node_clients.modules()
    program = str(node_clients.PROGRAMS / f"{column.program}.cjs")
    return ["node", program, *rest], {**os.environ, "NODE_PATH": str(modules), "PACKAGE": column.package}


def run_column(column: Column, address: str, options: Mapping[str, str], only: str = "") -> ColumnRun:
    run = ColumnRun(column)
    try:
        command, environment = command_of(column, address, options, only)
    except node_clients.NoNode as why:
        run.why_not = str(why)
        return run
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=COLUMN_S_MAX)
        output, said, ending = done.stdout, done.stderr, f"its process ended with {done.returncode}"
    except subprocess.TimeoutExpired as late:
        output, said, ending = (
            late.stdout or b"",
            late.stderr or b"",
            f"its process did not end in {COLUMN_S_MAX:.0f} s",
        )
    lines = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    if not lines:
        run.why_not = reason_of(said) or ending
        return run
    run.version = lines[0]["version"]
    answers = {line.pop("feature"): line for line in lines[1:]}
    silent = {"status": FAILED, "observed": f"no answer: {ending}", "seconds": 0.0}
    run.cells = {feature: answers.get(feature, silent) for feature in lines[0]["features"]}
    return run


def reason_of(said: bytes) -> str:
    """The last line of a traceback: a package that is missing, mostly."""
    lines = said.decode(errors="replace").strip().splitlines()
    found = [line for line in lines if "Error" in line or "Cannot find module" in line]
    return (found or lines or [""])[-1].strip()


def run_columns(
    columns: Sequence[Column],
    address: str,
    options: Mapping[str, str],
    only: Callable[[Column], str] = lambda column: "",
    jobs: int = 0,
    ended: Callable[[ColumnRun], None] = lambda run: None,
) -> list[ColumnRun]:
    """All of them, in the order given. ``only``: the features wanted of each, by a part of their names."""

    def run(column: Column) -> ColumnRun:
        found = run_column(column, address, options, only(column))
        ended(found)
        return found

    with concurrent.futures.ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        return list(pool.map(run, columns))


def skipped_of(run: ColumnRun) -> int:
    return sum(cell["status"] == SKIPPED for cell in run.cells.values())
