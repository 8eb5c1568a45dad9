"""``thalweg cat``: a stream's records from a position or a time on, to the end or for ever."""

from __future__ import annotations

import argparse
import re
import time

from thalweg.cli import complain
from thalweg.commands import output
from thalweg.commands.remote import CannotAsk, Server, add_server

AGO = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
YEAR_S = 365 * 86_400
LENGTHS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stream", metavar="STREAM", help="its name: orders")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--from",
        dest="start",
        metavar="POSITION",
        default="earliest",
        help="a position, -N before the end, earliest, latest",
    )
    where.add_argument(
        "--since", metavar="TIME", help="2026-11-20T10:00, seconds since 1970, or how long ago: 10m, 2h, 1d"
    )
    parser.add_argument("-f", dest="follow", action="store_true", help="go on with what comes")
    parser.add_argument("-n", dest="count", type=int, metavar="N", help="end after N records")
    parser.add_argument("--partition", type=int, metavar="P", help="only this one")
    parser.add_argument("--match", metavar="PATTERN", help="only of these addresses: orders/eu/#")
    output.add_records(parser)
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    start = options.start
    if options.since is not None:
        found = time_ms(options.since)
        if found is None:
            complain(f"--since {options.since}: neither a time such as 2026-11-20T10:00 nor how long ago, such as 10m")
            return 2
        start = f"time:{found}"
    query = {
        "stream": options.stream, "from": start, "format": "ndjson", "follow": int(options.follow), "limit": options.count,
        "partition": options.partition, "match": options.match, "seconds": YEAR_S if options.follow else None,
    }  # fmt: skip
    try:
        for lines in Server(options.server).lines("/api/records", **query):
            output.records(lines, options)
    except CannotAsk as error:
        complain(error)
        return 1
    return 0


def time_ms(text: str) -> int | None:
    """Unix milliseconds of a time, or of how long ago it was; None: it is neither."""
    ago = AGO.fullmatch(text)
    if ago is not None:
        return int((time.time() - float(ago[1]) * LENGTHS_S[ago[2]]) * 1000)
    if text.replace(".", "", 1).isdigit():
        return int(float(text) * 1000)
    import datetime

    try:
        return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
