"""``thalweg conformance``: real clients, feature by feature, on ours and on the real servers."""

from __future__ import annotations

import argparse
import pathlib


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        metavar="TARGET",
        help="thalweg, or kafka://, nats://, mqtt://, redis:// with host:port, or without: the real server (default: ours beside the real ones)",
    )
    parser.add_argument(
        "--only", metavar="WORD", default="", help="a protocol, a client, or cells whose name contains this"
    )
    parser.add_argument("--smoke", action="store_true", help="one cell of each client")
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=0, help="clients that run at once (default: one a core)"
    )
    parser.add_argument("--save", metavar="FILE", type=pathlib.Path, help="keep the run as JSON")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="text or json")


def run(options: argparse.Namespace) -> int:
    from conformance.matrix import matrix

    return matrix.run(options)
