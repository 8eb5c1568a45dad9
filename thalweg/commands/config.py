"""``thalweg config schema | check``: look at the configuration, and start nothing."""

from __future__ import annotations

import argparse
import os

from thalweg.cli import add_config, complain


def add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True, metavar="what")
    commands.add_parser("schema", allow_abbrev=False, help="print the JSON Schema of the file")
    check = commands.add_parser(
        "check", allow_abbrev=False, help="say what is wrong with a file and the environment, and start nothing"
    )
    add_config(check)


def run(options: argparse.Namespace) -> int:
    return print_schema() if options.what == "schema" else check(options)


def print_schema() -> int:
    import json

    from thalweg.config import schema

    print(json.dumps(schema(), indent=2))
    return 0


def check(options: argparse.Namespace) -> int:
    from thalweg.config import ConfigError, keys, load

    file = options.config or os.environ.get("THALWEG_CONFIG") or None
    try:
        config = load(file, os.environ)
    except ConfigError as error:
        for mistake in error.mistakes:
            complain(mistake)
        return 2
    for key, _, default in keys():
        section, _, name = key.rpartition(".")
        value = getattr(getattr(config, section) if section else config, name)
        print(f"{key} = {value!r}{'' if value == default else '  # default ' + repr(default)}")
    return 0
