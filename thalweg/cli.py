"""The command line: a table of commands, of which only the one asked for is imported.

Exit status: 0 done, 1 it could not be done (or ``verify`` found damage), 2 the command line or the configuration is wrong,
130 ended by Ctrl-C, 141 whoever read the output closed it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

LISTENERS = ("kafka", "nats", "mqtt", "resp", "http")
COMMANDS = {
    "serve": ("thalweg.commands.serve", "run the gateway until SIGTERM or Ctrl-C"),
    "role": ("thalweg.commands.role", "run one process of several: a sequencer, or a gateway that links to one"),
    "fleet": ("thalweg.commands.fleet", "gateways over one JetStream cluster: a trial on this machine"),
    "ps": ("thalweg.commands.ps", "show the processes of `serve --workers` and what happened to them"),
    "pub": ("thalweg.commands.pub", "publish messages: arguments, or what comes on standard input"),
    "sub": ("thalweg.commands.sub", "follow messages live, by a pattern of addresses"),
    "cat": ("thalweg.commands.cat", "print a stream's records from a position or time on"),
    "streams": ("thalweg.commands.streams", "list, make or delete streams"),
    "groups": ("thalweg.commands.groups", "list consumer groups, consumers and sessions with their lag"),
    "top": ("thalweg.commands.top", "watch streams, rates and connections"),
    "conformance": (
        "thalweg.commands.conformance",
        "run real clients feature by feature, on this server and on the real ones",
    ),
    "bench": ("thalweg.commands.bench", "put a quick load on a server and print its rate and latencies"),
    "config": ("thalweg.commands.config", "look at the configuration"),
    "user": ("thalweg.commands.user", "write and check the user file"),
    "verify": ("thalweg.commands.verify", "read a data directory (of a stopped process) and report damage"),
}
"""Name -> the module that has its ``add(parser)`` and ``run(options) -> int``, and its line in ``--help``."""
INTERRUPTED = 130
CLOSED = 141
"""As of a program that SIGPIPE ended."""


def parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """Every command by name; with the arguments of the one that is wanted, or of all."""
    top = argparse.ArgumentParser(
        prog="thalweg", description="Kafka, NATS, MQTT and Redis clients on one append-only stream."
    )
    top.add_argument("--version", action="store_true", help="print the version and end")
    commands = top.add_subparsers(dest="command", metavar="command")
    for name, (module, words) in COMMANDS.items():
        command = commands.add_parser(name, allow_abbrev=False, help=words, description=f"{words}.")
        if wanted in (None, name):
            importlib.import_module(module).add(command)
    return top


def add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", help="TOML file (or the variable THALWEG_CONFIG)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of one command."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    top = parser(given[0] if given else "")
    options, unknown = top.parse_known_args(given)
    if unknown:
        top.error(f"no such argument: {unknown[0]}{nearest(unknown[0], options.command)}")
    if options.version:
        import thalweg

        print(f"thalweg {thalweg.__version__}")
        return 0
    if options.command is None:
        top.print_help()
        return 2
    try:
        status: int = importlib.import_module(COMMANDS[options.command][0]).run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def nearest(word: str, command: str | None) -> str:
    """A hint for a mistyped flag."""
    import difflib

    found = difflib.get_close_matches(word.partition("=")[0], flags(parser(command or ""), command), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def flags(top: argparse.ArgumentParser, command: str | None) -> list[str]:
    """Every flag of a command, those of the words beneath it included."""
    found = []
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                if command in (None, word) or top.prog != "thalweg":
                    found += flags(inner, command)
        else:
            found += [option for option in action.option_strings if option.startswith("--")]
    return found


def complain(mistake: object) -> None:
    print(f"thalweg: {mistake}", file=sys.stderr)
