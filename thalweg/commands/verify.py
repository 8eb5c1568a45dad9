"""``thalweg verify``: read a data directory of a stopped process and report damage."""

from __future__ import annotations

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="what --data of the process was")
    parser.add_argument("-o", dest="output", choices=("text", "json"), default="text", help="json: the report as JSON")
    parser.add_argument("--json", dest="output", action="store_const", const="json", help="as -o json")


def run(options: argparse.Namespace) -> int:
    from thalweg.verify import main

    return main(options.directory, options.output == "json")
