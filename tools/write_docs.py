"""Writes the generated parts of the documentation: ``python tools/write_docs.py`` (``--check`` only compares).

A generated part stands between ``<!-- generated: name -->`` and ``<!-- end -->``; tests/docs holds it to the code.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from conformance.matrix.table import NAMES, TO_EXPLAIN, kept  # noqa: E402
from thalweg import config, metrics  # noqa: E402
from thalweg.cli import parser  # noqa: E402
from thalweg.config import keys  # noqa: E402

PART = re.compile(r"(<!-- generated: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
FILES = (
    "README.md",
    "docs/conformance.md",
    "docs/configuration.md",
    "docs/cli.md",
    "docs/metrics.md",
    "docs/errors.md",
    "docs/substrate-protocol.md",
)


def keys_table() -> str:
    """Every key, its variable, its default, its meaning, under its section's heading."""
    described = config.schema()
    lines: list[str] = []
    current = None
    for key, variable, default in keys():
        section, _, name = key.rpartition(".")
        shape = described["$defs"][section.capitalize()] if section else described
        if section != current:
            current = section
            lines += ["", f"### `[{section}]`" if section else "### At the top", ""]
            lines += [shape["description"], ""] if section else []
            lines += ["| key | variable | default | meaning |", "|---|---|---|---|"]
        entry = shape["properties"][name]
        words = entry.get("description", "Directory of everything that is kept; `:memory:` keeps nothing.")
        limits = [
            f"{sign} {entry[word]}" for word, sign in (("minimum", "at least"), ("maximum", "at most")) if word in entry
        ]
        choices = [f"one of {', '.join(f'`{choice}`' for choice in entry['enum'])}"] if "enum" in entry else []
        extra = f" ({'; '.join([*limits, *choices])})" if limits or choices else ""
        shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default != "" else "empty"
        lines.append(f"| `{key}` | `{variable}` | {shown} | {' '.join(words.split())}{extra} |")
    return "\n".join(lines).strip() + "\n"


def variables_table() -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in config.NOT_KEYS.items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows]) + "\n"


def flags_table() -> str:
    """Every command with its flags, as the command line itself describes them."""
    lines = ["| command | argument | meaning |", "|---|---|---|"]

    def walk(command: argparse.ArgumentParser, name: str) -> None:
        for action in command._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, inner in action.choices.items():
                    walk(inner, f"{name} {word}")
            elif not isinstance(action, argparse._HelpAction):
                shown = " ".join([*action.option_strings[:1], *([str(action.metavar)] if action.metavar else [])])
                lines.append(f"| `{name}` | `{shown}` | {action.help or ''} |")

    walk(parser(), "thalweg")
    return "\n".join(lines) + "\n"


def metrics_table() -> str:
    rows = [f"| `thalweg_{name}` | {words} |" for name, words in metrics.meanings().items()]
    return "\n".join(["| metric | meaning |", "|---|---|", *rows]) + "\n"


def errors_table() -> str:
    """The substrate's closed set of errors, each in four protocols' words."""
    from protocols.kafka import errors as kafka
    from protocols.mqtt import errors as mqtt
    from protocols.nats import errors as nats
    from protocols.resp import errors as resp
    from substrate.api import ErrorCode

    reasons = {value: name for name, value in vars(mqtt).items() if name.isupper() and isinstance(value, int)}
    lines = ["| error | Kafka | JetStream | MQTT 5 | Redis |", "|---|---|---|---|---|"]
    for code in ErrorCode:
        mapped, answer, reason = kafka.code_of(code), nats.STREAM_ERRORS[code], mqtt.REASONS[code]
        lines.append(
            f"| {code.name}: {code.value} | {mapped.name} ({mapped.value}) | {answer.err_code} {answer.description} "
            f"| 0x{reason:02X} {reasons[reason]} | `{resp.STREAM_ERRORS[code]}` |"
        )
    return "\n".join(lines) + "\n"


def frames_table() -> str:
    from substrate.remote.frames import describe

    return describe()


def values_table() -> str:
    """How each type is written, from the codec's own account."""
    from substrate.remote import codec

    return (codec.__doc__ or "").partition("\n\n")[2].strip() + "\n"


def conformance_run() -> dict[str, Any]:
    """What ``make conformance`` kept last."""
    found: dict[str, Any] = json.loads((ROOT / "docs" / "conformance.json").read_text())
    return found


def conformance_table() -> str:
    """A row for each client: how many of its cells pass, and how they compare with the real server's."""
    run = conformance_run()
    lines = [
        "| protocol | client | cells | pass | as the real server | otherwise | beside |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    totals = [0, 0, 0, 0]
    for column in run["columns"]:
        cells = [cell for cell in column["cells"] if cell["verdict"] != "skipped"]
        passed = sum(cell["ours"] == "passed" for cell in cells)
        same = sum(cell["verdict"] == "same" for cell in cells)
        other = sum(cell["verdict"] in TO_EXPLAIN for cell in cells)
        totals = [total + count for total, count in zip(totals, (len(cells), passed, same, other), strict=True)]
        name = " ".join(
            word
            for word in (column["client"], column["version"], column["variant"] and f"({column['variant']})")
            if word
        )
        beside = run["servers"][column["protocol"]][-1]
        lines.append(
            f"| {NAMES[column['protocol']]} | {name} | {len(cells)} | {passed} | {same} | {other} | {beside} |"
        )
    lines.append(
        f"| all | {len(run['columns'])} clients and variants | {totals[0]} | {totals[1]} | {totals[2]} | {totals[3]} | |"
    )
    return "\n".join(lines) + "\n"


def cells_table() -> str:
    """Every cell of the last run, a table for each protocol."""
    run = conformance_run()
    cells = kept(run)
    lines: list[str] = []
    for protocol, servers in run["servers"].items():
        columns = [entry for entry in run["columns"] if entry["protocol"] == protocol]
        marks = {
            (cell.column.client, cell.column.variant, cell.feature): cell.mark
            for cell in cells
            if cell.column.protocol == protocol
        }
        heads = [f"{entry['client']} {entry['variant']}".strip() for entry in columns]
        lines += [
            "",
            f"### {NAMES[protocol]}: {' beside '.join(servers)}",
            "",
            f"| cell | {' | '.join(heads)} |",
            "|---|" + ":-:|" * len(heads),
        ]
        for feature in sorted({feature for _, _, feature in marks}):
            row = [marks.get((entry["client"], entry["variant"], feature), ".") for entry in columns]
            lines.append(f"| {feature} | {' | '.join(f'`{mark}`' for mark in row)} |")
    return "\n".join(lines).strip() + "\n"


def rdma_line() -> str:
    """What ``make test-rdma`` found last."""
    found = json.loads((ROOT / "docs" / "rdma.json").read_text())
    one, two = found["one_guest"], found["two_guests"]
    return (
        f"RDMA was last checked by `make test-rdma` on soft-RoCE in QEMU (Linux {found['kernel']}, {found['seconds']} s): "
        f"verbs, links and fan-out between queue pairs of one guest ({one['mb_per_s']} MB/s emulated), "
        f"{two['frames']} frames there and back between two guests with {two['loss_percent']} % of the packets lost.\n"
    )


PARTS = {
    "rdma": rdma_line,
    "conformance": conformance_table,
    "cells": cells_table,
    "frames": frames_table,
    "values": values_table,
    "errors": errors_table,
    "metrics": metrics_table,
    "keys": keys_table,
    "variables": variables_table,
    "flags": flags_table,
}


def rendered(text: str) -> str:
    """The page with its generated parts as the code has them."""
    return PART.sub(lambda match: match[1] + PARTS[match["name"]]() + match[3], text)


def main() -> int:
    outdated = 0
    for name in FILES:
        path = ROOT / name
        text = path.read_text()
        if rendered(text) != text:
            outdated += 1
            print(f"docs: {name} {'is not what the code says' if '--check' in sys.argv else 'written'}")
            if "--check" not in sys.argv:
                path.write_text(rendered(text))
    return outdated if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
