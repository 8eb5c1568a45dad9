"""``thalweg fleet``: gateways over one cluster. ``fleet trial`` starts a cluster and gateways on this machine to play with."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import secrets
import signal
import sys
import tempfile
from typing import TYPE_CHECKING, NoReturn

from thalweg.cli import LISTENERS, complain

if TYPE_CHECKING:
    from conformance.process import GatewayProcess

NODES_MAX = 5
GATEWAYS_MAX = 8


def add(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="part", required=True, metavar="part")
    trial = parts.add_parser(
        "trial",
        allow_abbrev=False,
        help="a JetStream cluster of three nodes and two gateways on free ports of this machine, until Ctrl-C",
    )
    trial.add_argument("--gateways", metavar="N", type=int, default=2, help="gateways (default: 2)")
    trial.add_argument("--nodes", metavar="N", type=int, default=3, help="nats-server nodes: 1, 3 or 5 (default: 3)")
    trial.add_argument(
        "--folder",
        metavar="DIR",
        type=pathlib.Path,
        help="where all is kept; without it in a folder that goes at the end",
    )
    trial.add_argument(
        "--ready-file", metavar="FILE", type=pathlib.Path, help="JSON with the gateways' addresses, when all accept"
    )


def run(options: argparse.Namespace) -> int:
    if options.nodes not in (1, 3, NODES_MAX) or not 1 <= options.gateways <= GATEWAYS_MAX:
        complain(f"--nodes is 1, 3 or {NODES_MAX}, --gateways 1 to {GATEWAYS_MAX}")
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if folder is None:
            folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thalweg-trial-")))
        return _trial(options, folder, stack)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _trial(options: argparse.Namespace, folder: pathlib.Path, stack: contextlib.ExitStack) -> int:
    from conformance.nats_cluster import NatsCluster, NoServer
    from conformance.process import GatewayProcess, NotReady

    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "fleet.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(secrets.token_hex(32))
    try:
        cluster = stack.enter_context(NatsCluster(folder / "cluster", options.nodes))
        gateways = []
        for number in range(1, options.gateways + 1):
            flags = ["--engine", cluster.url(), "--fleet-key", str(key)]
            gateway = GatewayProcess(
                [sys.executable, "-m", "thalweg", "serve"], folder / f"gateway-{number}", flags=flags
            )
            gateways.append(stack.enter_context(gateway))
    except (NoServer, NotReady) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 0
    _show(cluster.ports, [node.pid for node in cluster.nodes], gateways, folder)
    if options.ready_file is not None:
        from thalweg.serve import write_ready_file

        write_ready_file(
            options.ready_file,
            {f"{name}-{n}": gateway.address(name) for n, gateway in enumerate(gateways, 1) for name in LISTENERS},
        )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            signal.pause()
    return 0


def _show(ports: list[int], pids: list[int], gateways: list[GatewayProcess], folder: pathlib.Path) -> None:
    for number, (port, pid) in enumerate(zip(ports, pids, strict=True)):
        print(f"nats-server node {number}: process {pid}, 127.0.0.1:{port}")
    for number, gateway in enumerate(gateways, 1):
        print(f"gateway {number}: process {gateway.pid}")
        for name in LISTENERS:
            print(f"  {name:5} {gateway.address(name)}")
    print(
        f"everything is in {folder}; kill -9 or kill -STOP any of these processes and watch; Ctrl-C ends all",
        flush=True,
    )
