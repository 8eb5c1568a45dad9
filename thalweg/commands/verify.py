"""``thalweg verify``: read a data directory of a stopped process and report damage."""

from __future__ import annotations

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="what --data of the process was")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(options: argparse.Namespace) -> int:
    from thalweg.verify import main

    return main(options.directory, options.json)
