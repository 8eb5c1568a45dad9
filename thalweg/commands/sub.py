"""``thalweg sub``: messages as they are published, by a pattern of addresses."""

from __future__ import annotations

import argparse

from thalweg.cli import complain
from thalweg.commands import output
from thalweg.commands.cat import YEAR_S
from thalweg.commands.remote import CannotAsk, Server, add_server


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", metavar="PATTERN", help="orders/#, orders/+/42, or one address")
    parser.add_argument("-n", dest="count", type=int, metavar="N", help="end after N messages")
    parser.add_argument("--seconds", type=int, metavar="S", default=YEAR_S, help="end after S seconds")
    output.add_records(parser)
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    try:
        server = Server(options.server)
        for lines in server.lines("/api/live", match=options.pattern, limit=options.count, seconds=options.seconds):
            output.records(lines, options)
    except CannotAsk as error:
        complain(error)
        return 1
    return 0
