"""``thalweg groups``: who reads what, and how far behind."""

from __future__ import annotations

import argparse

from thalweg.cli import complain
from thalweg.commands import output
from thalweg.commands.remote import CannotAsk, Server, add_server

COLUMNS = (
    ("kind", "KIND"), ("name", "NAME"), ("state", "STATE"), ("count", "MEMBERS"), ("streams", "STREAMS"), ("lag", "LAG"),
)  # fmt: skip


def add(parser: argparse.ArgumentParser) -> None:
    output.add_rows(parser)
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    try:
        found = Server(options.server).json("GET", "/api/groups")["groups"]
    except CannotAsk as error:
        complain(error)
        return 1
    if options.output == "text":
        for one in found:
            one["count"] = len(one["members"])
            one["streams"] = " ".join(sorted({row["stream"] for row in one["rows"]})) or " ".join(
                map(str, one.get("subscriptions", []))
            )
    output.rows(found, COLUMNS, options.output)
    return 0
