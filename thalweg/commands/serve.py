"""``thalweg serve``: run the gateway until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import os
import pathlib

from thalweg.cli import LISTENERS, add_config, complain


def add(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument("--data", metavar="DIR", help="directory of everything that is kept; :memory: keeps nothing")
    parser.add_argument(
        "--engine",
        metavar="URL",
        help="disk, or jetstream://host:port,... for a NATS JetStream cluster (docs/fleet.md)",
    )
    parser.add_argument(
        "--fleet-key", metavar="FILE", help="the key of gateways that share a cluster: one of them is the sequencer"
    )
    parser.add_argument("--fleet-listen", metavar="URL", help="where this one accepts the others when it is")
    for name in LISTENERS:
        parser.add_argument(
            f"--{name}", metavar="ADDR", help=f"{name} listener: host:port, port 0 for any, off for none"
        )
    parser.add_argument(
        "--users", metavar="FILE", help="who may come in and what each may do; without it everybody everything"
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, help="gateways in processes of their own, over one sequencer; 0: all in one"
    )
    parser.add_argument(
        "--ready-file", metavar="FILE", type=pathlib.Path, help="JSON with pid and addresses, written when all accept"
    )


def run(options: argparse.Namespace) -> int:
    from thalweg.config import ConfigError, load

    flags = {f"{name}.listen": getattr(options, name) for name in LISTENERS} | {
        "data": options.data,
        "users": options.users,
        "workers": options.workers,
        "engine": options.engine,
        "fleet_key": options.fleet_key,
        "fleet_listen": options.fleet_listen,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        config = load(options.config or os.environ.get("THALWEG_CONFIG") or None, os.environ, given)
    except ConfigError as error:
        for mistake in error.mistakes:
            complain(mistake)
        return 2
    from thalweg.serve import CannotServe, serve

    try:
        if config.workers:
            from thalweg.supervisor import supervise

            return supervise(config, config.workers, options.ready_file, config.pinned)
        return serve(config, options.ready_file)
    except CannotServe as error:
        for line in str(error).splitlines():
            complain(line)
        return 1
