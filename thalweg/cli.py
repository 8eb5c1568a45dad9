"""The command line. Each command imports what it needs, so that none pays for another.

Exit status: 0 done, 1 it could not be done (or ``verify`` found damage), 2 the command line or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from collections.abc import Sequence

LISTENERS = ("kafka", "nats", "mqtt", "resp", "http")


def parser() -> argparse.ArgumentParser:
    """Every command and flag."""
    top = argparse.ArgumentParser(
        prog="thalweg", description="Kafka, NATS, MQTT and Redis clients on one append-only stream."
    )
    top.add_argument("--version", action="store_true", help="print the version and end")
    commands = top.add_subparsers(dest="command", metavar="command")

    serve = commands.add_parser("serve", allow_abbrev=False, help="run the gateway until SIGTERM or Ctrl-C")
    add_config(serve)
    serve.add_argument("--data", metavar="DIR", help="directory of everything that is kept; :memory: keeps nothing")
    for name in LISTENERS:
        serve.add_argument(
            f"--{name}", metavar="ADDR", help=f"{name} listener: host:port, port 0 for any, off for none"
        )
    serve.add_argument(
        "--ready-file", metavar="FILE", type=pathlib.Path, help="JSON with pid and addresses, written when all accept"
    )
    serve.set_defaults(run=run_serve)

    config = commands.add_parser("config", allow_abbrev=False, help="look at the configuration").add_subparsers(
        dest="what", required=True, metavar="what"
    )
    schema = config.add_parser("schema", allow_abbrev=False, help="print the JSON Schema of the file")
    schema.set_defaults(run=run_config_schema)
    check = config.add_parser(
        "check", allow_abbrev=False, help="say what is wrong with a file and the environment, and start nothing"
    )
    add_config(check)
    check.set_defaults(run=run_config_check)

    verify = commands.add_parser(
        "verify", allow_abbrev=False, help="read a data directory (of a stopped process) and report damage"
    )
    verify.add_argument("directory", metavar="DIR", help="what --data of the process was")
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    verify.set_defaults(run=run_verify)
    return top


def add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", help="TOML file (or the variable THALWEG_CONFIG)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of one command."""
    top = parser()
    options, unknown = top.parse_known_args(arguments)
    if unknown:
        top.error(f"no such argument: {unknown[0]}{nearest(unknown[0])}")
    if options.version:
        import thalweg

        print(f"thalweg {thalweg.__version__}")
        return 0
    if options.command is None:
        top.print_help()
        return 2
    try:
        status: int = options.run(options)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def nearest(word: str) -> str:
    """A hint for a mistyped flag of ``serve``."""
    import difflib

    known = [f"--{name}" for name in (*LISTENERS, "config", "data", "ready-file")]
    found = difflib.get_close_matches(word.partition("=")[0], known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def complain(mistake: object) -> None:
    print(f"thalweg: {mistake}", file=sys.stderr)


def run_serve(options: argparse.Namespace) -> int:
    from thalweg.config import ConfigError, load

    flags = {f"{name}.listen": getattr(options, name) for name in LISTENERS} | {"data": options.data}
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        config = load(options.config or os.environ.get("THALWEG_CONFIG") or None, os.environ, given)
    except ConfigError as error:
        for mistake in error.mistakes:
            complain(mistake)
        return 2
    from thalweg.serve import CannotServe, serve

    try:
        return serve(config, options.ready_file)
    except CannotServe as error:
        complain(error)
        return 1


def run_config_schema(options: argparse.Namespace) -> int:
    import json

    from thalweg.config import schema

    print(json.dumps(schema(), indent=2))
    return 0


def run_config_check(options: argparse.Namespace) -> int:
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


def run_verify(options: argparse.Namespace) -> int:
    from thalweg.verify import main as verify

    return verify(options.directory, options.json)
