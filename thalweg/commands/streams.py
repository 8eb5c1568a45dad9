"""``thalweg streams``: what there is; makes and deletes one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from thalweg.cli import complain
from thalweg.commands import output
from thalweg.commands.remote import CannotAsk, Server, add_server

PAGE = 500
COLUMNS = (
    ("name", "NAME"), ("records", "RECORDS"), ("shown_bytes", "BYTES"), ("parts", "PARTITIONS"), ("first", "FIRST"),
    ("end", "END"), ("kept", "KEPT"), ("durability", "DURABILITY"),
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", metavar="PATTERN", nargs="?", help="only these: orders, sensors/#")
    parser.add_argument("--internal", action="store_true", help="also the server's own, beneath _thalweg")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--create", metavar="NAME", help="make one")
    what.add_argument("--delete", metavar="NAME", help="delete one and all that it holds")
    parser.add_argument("--partitions", type=int, metavar="N", default=1, help="of the one that is made")
    parser.add_argument("--keep", metavar="TIME", help="how long it keeps a record: 12h, 7d")
    output.add_rows(parser)
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    try:
        server = Server(options.server)
        if options.create is not None:
            wanted: dict[str, Any] = {"name": options.create, "partitions": options.partitions}
            if options.keep is not None:
                from thalweg.commands.cat import AGO, LENGTHS_S

                found = AGO.fullmatch(options.keep)
                if found is None:
                    complain(f"--keep {options.keep}: how long? (12h, 7d)")
                    return 2
                wanted["retention_ms"] = int(float(found[1]) * LENGTHS_S[found[2]] * 1000)
            output.rows([row(server.json("POST", "/api/streams", wanted))], COLUMNS, options.output)
        elif options.delete is not None:
            server.json("DELETE", "/api/streams", name=options.delete)
        else:
            output.rows(listed(server, options), COLUMNS, options.output)
    except CannotAsk as error:
        complain(error)
        return 1
    return 0


def listed(server: Server, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        page = server.json(
            "GET", "/api/streams", match=options.pattern, after=after, limit=PAGE, internal=int(options.internal)
        )
        yield from (row(one) if options.output == "text" else one for one in page["streams"])
        after = page["next"]
        if after is None:
            return


def row(stream: dict[str, Any]) -> dict[str, Any]:
    """With what the table shows."""
    kept = [output.span(stream["retention_ms"])] if stream["retention_ms"] >= 0 else []
    kept += [output.size(stream["retention_bytes"])] if stream["retention_bytes"] >= 0 else []
    kept += [f"{stream['retention_records']} records"] if stream["retention_records"] >= 0 else []
    return stream | {
        "shown_bytes": output.size(stream["bytes"]),
        "parts": len(stream["partitions"]),
        "first": min(one["start"] for one in stream["partitions"]),
        "end": max(one["end"] for one in stream["partitions"]),
        "kept": " or ".join(kept) or "all",
    }
