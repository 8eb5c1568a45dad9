"""``thalweg role``: one process of several over one substrate."""

from __future__ import annotations

import argparse
import os
import pathlib

from thalweg.cli import LISTENERS, add_config, complain


def add(parser: argparse.ArgumentParser) -> None:
    roles = parser.add_subparsers(dest="role", required=True, metavar="role")
    sequencer = roles.add_parser("sequencer", allow_abbrev=False, help="engine and executors; gateways link to it")
    sequencer.add_argument(
        "--listen", metavar="URL", required=True, help="unix:///path, tcp://, tls:// or rdma://host:port"
    )
    sequencer.add_argument("--data", metavar="DIR", help="directory of everything that is kept")
    sequencer.add_argument("--http", metavar="ADDR", help="operators' listener")
    gateway = roles.add_parser("gateway", allow_abbrev=False, help="clients' listeners over a sequencer elsewhere")
    gateway.add_argument("--substrate", metavar="URL", required=True, help="where the sequencer listens")
    for name in LISTENERS:
        gateway.add_argument(f"--{name}", metavar="ADDR", help=f"{name} listener: host:port or off")
    for one in (sequencer, gateway):
        add_config(one)
        one.add_argument(
            "--key", metavar="FILE", required=True, help="the fleet's key: 16 bytes or more, for its owner only"
        )
        one.add_argument("--users", metavar="FILE", help="who may come in and what each may do")
        one.add_argument(
            "--ready-file", metavar="FILE", type=pathlib.Path, help="JSON with pid and addresses, when ready"
        )

        one.add_argument("--supervised", action="store_true", help="stop when standard input ends: with the supervisor")


def run(options: argparse.Namespace) -> int:
    from thalweg.config import ConfigError, load

    off = {f"{name}.listen": "off" for name in LISTENERS}
    given = {f"{name}.listen": getattr(options, name, None) for name in LISTENERS}
    given |= {"data": getattr(options, "data", None), "users": options.users}
    flags = off | {key: value for key, value in given.items() if value is not None}
    try:
        config = load(options.config or os.environ.get("THALWEG_CONFIG") or None, os.environ, flags)
    except ConfigError as error:
        for mistake in error.mistakes:
            complain(mistake)
        return 2
    from thalweg.roles import GatewayRole, RoleError, SequencerRole, read_key
    from thalweg.serve import CannotServe, serve

    try:
        key = read_key(options.key)
        if options.role == "sequencer":
            return serve(config, options.ready_file, SequencerRole(config, options.listen, key), options.supervised)
        return serve(config, options.ready_file, GatewayRole(config, options.substrate, key), options.supervised)
    except (CannotServe, RoleError) as error:
        for line in str(error).splitlines():
            complain(line)
        return 1
