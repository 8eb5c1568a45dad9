"""``thalweg ps``: the processes of one substrate and what happened to them."""

from __future__ import annotations

import argparse
import json
import pathlib
import time

from thalweg.cli import complain


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", metavar="DIR", default="data", help="what --data of `serve --workers` is (default: data)"
    )
    parser.add_argument("--substrate", metavar="URL", help="where the sequencer listens, if not with the data")
    parser.add_argument("--key", metavar="FILE", help="the fleet's key, if not with the data")
    parser.add_argument(
        "--history", action="store_true", help="every transition kept, not only how each process stands"
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text, or one JSON object a line"
    )


def run(options: argparse.Namespace) -> int:
    import asyncio

    home = pathlib.Path(options.data).absolute() / "run"
    try:
        address = options.substrate or (home / "address").read_text()
    except OSError as error:
        complain(f"{home}: no `serve --workers` ran on this data: {error.strerror}")
        return 1
    try:
        happened = asyncio.run(ask(address, options.key or str(home / "key")))
    except OSError as error:
        complain(f"{address}: {error.strerror or error}")
        return 1
    rows = [{"at_ms": one.at_ms, "process": one.process, "event": one.event, "pid": one.pid, "detail": one.detail}
            for one in happened]  # fmt: skip
    if not options.history:
        rows = list({row["process"]: row for row in rows}.values())
    for row in rows:
        if options.output == "json":
            print(json.dumps(row))
        else:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(row["at_ms"]) / 1000))
            print(f"{at}  {row['process']:12} {row['event']:9} pid {row['pid']:<7} {row['detail']}".rstrip())
    return 0


async def ask(address: str, key: str):  # type: ignore[no-untyped-def]
    from thalweg.asking import Asker
    from thalweg.processes import History
    from thalweg.roles import read_key

    asker = Asker(address, read_key(key))
    await asker.connect()
    try:
        return await asker.ask("proc", History())
    finally:
        asker.close()
