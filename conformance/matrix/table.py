"""Two runs side by side, and how they are shown: the same table for ours and for a real server.

A cell's *verdict*, where both sides ran it:

    same      both observed the same, be it an answer or a refusal
    differs   both passed, and observed different things
    fails     it passes on the real server and fails on ours
    ahead     it fails on the real server and passes on ours
    alone     there is no other side: passed or failed, as it is
    skipped   it could not be run on ours

``differs``, ``fails`` and ``ahead`` are explained in the protocol's README, under "Cells that differ": a table of feature,
clients and why.
"""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import protocols
from conformance.matrix.cells import FAILED, PASSED, SKIPPED
from conformance.matrix.columns import COLUMNS, PROTOCOLS, Column
from conformance.matrix.runs import ColumnRun

SAME, DIFFERS, FAILS, AHEAD, ALONE = "same", "differs", "fails", "ahead", "alone"
TO_EXPLAIN = (DIFFERS, FAILS, AHEAD)
OBSERVED_CHARS = 600
HEADING = "## Cells that differ"
NAMES = {"kafka": "Kafka", "nats": "NATS", "mqtt": "MQTT", "resp": "Redis"}
MARKS = {SAME: "=", DIFFERS: "#", FAILS: "!", AHEAD: ">", SKIPPED: "-"}
LEGEND = "= as the real server   # otherwise   ! fails on ours only   > fails on the real server only   + passes   x fails   - skipped   . no such cell"


@dataclass(frozen=True)
class Cell:
    """One feature of one column: what each side observed (None: it was not run there), and the verdict."""

    column: Column
    feature: str
    ours: Mapping[str, Any]
    real: Mapping[str, Any] | None
    verdict: str

    @property
    def mark(self) -> str:
        return MARKS.get(self.verdict) or ("+" if self.ours["status"] == PASSED else "x")


def compare(ours: Sequence[ColumnRun], real: Sequence[ColumnRun]) -> list[Cell]:
    """Every cell that ours ran. Without a run of the real server, all are ``alone``."""
    others = {run.column: run.cells for run in real}
    return [
        Cell(run.column, feature, found, other, verdict_of(found, other))
        for run in ours
        for feature, found in run.cells.items()
        for other in (others.get(run.column, {}).get(feature),)
    ]


def verdict_of(ours: Mapping[str, Any], real: Mapping[str, Any] | None) -> str:
    if ours["status"] == SKIPPED:
        return SKIPPED
    if real is None or real["status"] == SKIPPED:
        return ALONE
    if ours["status"] == real["status"]:
        both = ours["status"] == FAILED or ours["observed"] == real["observed"]
        return SAME if both else DIFFERS
    return FAILS if real["status"] == PASSED else AHEAD


# explanations


@dataclass(frozen=True)
class Explanation:
    """A row of a README: a feature (``*`` at its end: all that begin so), the clients it is about (none: all), and why."""

    protocol: str
    feature: str
    clients: frozenset[str]
    why: str

    def covers(self, column: Column, feature: str) -> bool:
        named = feature.startswith(self.feature[:-1]) if self.feature.endswith("*") else feature == self.feature
        return named and column.protocol == self.protocol and (not self.clients or column.client in self.clients)


def explanations() -> list[Explanation]:
    """Of all protocols' READMEs."""
    return [row for protocol in PROTOCOLS for row in explanations_of(protocol)]


def explanations_of(protocol: str) -> list[Explanation]:
    readme = pathlib.Path(protocols.__file__).parent / protocol / "README.md"
    _, found, rest = (readme.read_text() if readme.exists() else "").partition(f"{HEADING}\n")
    rows = re.findall(r"^\| (.+?) \| (.*?) \| (.+?) \|$", rest.partition("\n## ")[0], re.MULTILINE) if found else []
    return [
        Explanation(protocol, feature, frozenset() if clients == "all" else frozenset(clients.split(", ")), why)
        for feature, clients, why in rows
        if feature != "cell" and not feature.startswith("-")
    ]


def unexplained(cells: Sequence[Cell], rows: Sequence[Explanation]) -> list[Cell]:
    return [
        cell
        for cell in cells
        if cell.verdict in TO_EXPLAIN and not any(row.covers(cell.column, cell.feature) for row in rows)
    ]


# as text


def as_text(cells: Sequence[Cell], runs: Sequence[ColumnRun], servers: Mapping[str, Sequence[str]]) -> str:
    """``servers``: protocol -> what was compared, for its heading."""
    lines = []
    for protocol in PROTOCOLS:
        here = [run for run in runs if run.column.protocol == protocol]
        if not here:
            continue
        lines += ["", f"{NAMES[protocol]}: {' beside '.join(servers.get(protocol, ()))}"]
        shown = [run for run in here if not run.why_not]
        for number, run in enumerate(shown, 1):
            counts = count_of(cell for cell in cells if cell.column == run.column)
            lines.append(f"  {number:2} {run.column.name} {run.version}: {counts}")
        lines += [f"   - {run.column.name}: not run: {run.why_not}" for run in here if run.why_not]
        lines += grid(cells, [run.column for run in shown])
    return "\n".join([*lines, "", LEGEND]) + "\n"


def grid(cells: Sequence[Cell], columns: Sequence[Column]) -> list[str]:
    marks = {(cell.column, cell.feature): cell.mark for cell in cells}
    features = list(dict.fromkeys(sorted((cell.feature for cell in cells if cell.column in columns), key=family)))
    width = max((len(feature) for feature in features), default=0)
    lines = [f"  {'':{width}} {''.join(f'{number:3}' for number in range(1, len(columns) + 1))}"]
    for feature in features:
        row = "".join(f"{marks.get((column, feature), '.'):>3}" for column in columns)
        lines.append(f"  {feature:{width}} {row}")
    return lines


def family(feature: str) -> str:
    return feature.partition(":")[0]


def count_of(cells: Any) -> str:
    counts: dict[str, int] = {}
    for cell in cells:
        word = cell.ours["status"] if cell.verdict == ALONE else cell.verdict
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items()) or "no cells"


def differences(cells: Sequence[Cell]) -> str:
    """What each side observed, of the cells given."""
    lines = []
    for cell in cells:
        lines.append(f"{NAMES[cell.column.protocol]}, {cell.column.name}, {cell.feature}: {cell.verdict}")
        for side, found in (("ours", cell.ours), ("real", cell.real)):
            if found is not None:
                lines.append(f"    {side} {found['status']}: {json.dumps(found['observed'])[:OBSERVED_CHARS]}")
    return "\n".join(lines)


# as JSON, and what is kept of a run in docs/conformance.json


def as_json(cells: Sequence[Cell], runs: Sequence[ColumnRun], servers: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    columns = []
    for run in runs:
        entry = {"protocol": run.column.protocol, "client": run.column.client, "variant": run.column.variant}
        entry |= {"version": run.version, **({"why_not": run.why_not} if run.why_not else {})}
        columns.append({**entry, "cells": [cell_as_json(cell) for cell in cells if cell.column == run.column]})
    return {"servers": {protocol: list(names) for protocol, names in servers.items()}, "columns": columns}


def cell_as_json(cell: Cell) -> dict[str, Any]:
    entry: dict[str, Any] = {"feature": cell.feature, "verdict": cell.verdict, "ours": cell.ours["status"]}
    if cell.real is not None:
        entry["real"] = cell.real["status"]
    if cell.verdict in TO_EXPLAIN or cell.ours["status"] in (FAILED, SKIPPED):
        entry["observed"] = json.dumps(cell.ours["observed"])[:OBSERVED_CHARS]
        if cell.real is not None:
            entry["expected"] = json.dumps(cell.real["observed"])[:OBSERVED_CHARS]
    return entry


def kept(run: Mapping[str, Any]) -> list[Cell]:
    """The cells of a run that was kept as JSON."""
    columns = {(column.protocol, column.client, column.variant): column for column in COLUMNS}
    return [
        Cell(
            columns[entry["protocol"], entry["client"], entry["variant"]], cell["feature"],
            {"status": cell["ours"], "observed": cell.get("observed")},
            {"status": cell["real"], "observed": cell.get("expected")} if "real" in cell else None, cell["verdict"],
        )
        for entry in run["columns"] for cell in entry["cells"]
        if (entry["protocol"], entry["client"], entry["variant"]) in columns
    ]  # fmt: skip
