"""How the commands for people print: records in four forms, rows as a table or as ndjson."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from thalweg.commands.remote import bytes_of

CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
"""What would move a terminal's cursor, colour it, or worse."""
NUMBER = re.compile(r"-|\d+(\.\d+)?[KMGTP]?")
UNITS = ("", "K", "M", "G", "T", "P")


def add_records(parser: argparse.ArgumentParser) -> None:
    """``-o`` of what prints records."""
    parser.add_argument(
        "-o",
        dest="output",
        choices=("text", "json", "raw", "length"),
        default="text",
        help="text: a value a line; json: a record a line; raw: values as they are; length: each behind its length, 4 bytes, big-endian",
    )
    parser.add_argument("--length-prefixed", dest="output", action="store_const", const="length", help="as -o length")
    parser.add_argument("-k", dest="keys", action="store_true", help="text: address and a tab before each value")


def add_rows(parser: argparse.ArgumentParser) -> None:
    """``-o`` of what prints a table."""
    parser.add_argument(
        "-o", dest="output", choices=("text", "json"), default="text", help="text: a table; json: a row a line"
    )


def put(data: bytes) -> None:
    sys.stdout.buffer.write(data)


def records(lines: Iterable[bytes], options: argparse.Namespace) -> int:
    """Print lines of the API as the options say; how many records there were. What is no record goes to stderr."""
    count = 0
    shielded = sys.stdout.isatty()
    for line in lines:
        shown = json.loads(line)
        if "position" not in shown:
            print(f"thalweg: {notice(shown)}", file=sys.stderr)
            continue
        count += 1
        if options.output == "json":
            put(line + b"\n")
            continue
        value = bytes_of(shown["value"])
        if options.output == "raw":
            put(value)
        elif options.output == "length":
            put(len(value).to_bytes(4, "big") + value)
        else:
            if options.keys:
                value = shown["address"].encode() + b"\t" + value
            put((shield(value) if shielded else value) + b"\n")
    sys.stdout.buffer.flush()
    return count


def notice(shown: dict[str, Any]) -> str:
    if "dropped" in shown:
        return f"{shown['dropped']} messages were not shown: this reads too slowly"
    if "skipped" in shown:
        return f"{shown['skipped']} records are gone: retention was faster"
    return str(shown.get("error", shown))


def shield(value: bytes) -> bytes:
    """What a terminal may be shown: control bytes as ``\\xNN``."""
    return CONTROL.sub(lambda found: b"".join(b"\\x%02x" % byte for byte in found[0]), value)


def rows(found: Iterable[dict[str, Any]], columns: Sequence[tuple[str, str]], output: str) -> None:
    """``columns``: (field, heading); numbers stand right."""
    if output == "json":
        for one in found:
            put(json.dumps(one, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()
        return
    for line in table(list(found), columns):
        put(line.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def table(found: list[dict[str, Any]], columns: Sequence[tuple[str, str]], width_max: int = 0) -> list[str]:
    """Lines of a table; of at most ``width_max`` characters, where that is given."""
    cells = [[cell(one.get(field)) for field, _ in columns] for one in found]
    widths = [
        max(len(heading), *(len(row[at]) for row in cells)) if cells else len(heading)
        for at, (_, heading) in enumerate(columns)
    ]
    numeric = [bool(cells) and all(NUMBER.fullmatch(row[at]) for row in cells) for at in range(len(columns))]
    if width_max:
        widths[0] = max(8, min(widths[0], width_max - sum(widths[1:]) - 2 * (len(widths) - 1)))
    lines = []
    for row in [[heading for _, heading in columns], *cells]:
        parts = [fitted(text, width, right) for text, width, right in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return lines


def cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}"
    text = value if isinstance(value, str) else str(value)
    return shield(text.encode("utf-8", "replace")).decode("utf-8", "replace").replace("\n", "\\n").replace("\t", "\\t")


def fitted(text: str, width: int, right: bool) -> str:
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)


def size(count: float) -> str:
    """``1536`` as ``1.5K``."""
    for unit in UNITS:
        if abs(count) < 1024 or unit == UNITS[-1]:
            return f"{count:.0f}{unit}" if unit == "" or count >= 100 else f"{count:.1f}{unit}"
        count /= 1024
    return ""


def span(milliseconds: int) -> str:
    """A retention time as people write it; ``-`` for none."""
    if milliseconds < 0:
        return "-"
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds >= length and milliseconds % length == 0:
            return f"{milliseconds // length}{unit}"
    return f"{milliseconds}ms"
