"""Stock JavaScript clients: installed once inside the tree (``build/node``), run as programs of ``conformance/node``.

A program is CommonJS (``require('kafkajs')``), is given addresses as arguments, prints one JSON value as its last line
and exits 0.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent
PROGRAMS = ROOT / "node"
INSTALL_S = 300


class NoNode(Exception):
    """Why JavaScript clients cannot be run here; the message is for whoever skips for it."""


def modules() -> pathlib.Path:
    """The folder of installed packages; installed at the first call, also if several processes make it at once.

    Raises:
        NoNode: no node or npm, or the registry is not reached.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NoNode("node and npm are not installed")
    home = ROOT.parent / "build" / "node"
    home.mkdir(parents=True, exist_ok=True)
    lock = (PROGRAMS / "package-lock.json").read_bytes()
    installed = home / "installed.json"
    with (home / "lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_bytes() != lock:
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(PROGRAMS / name, home / name)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            try:
                made = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=INSTALL_S)
            except subprocess.TimeoutExpired:
                raise NoNode(f"npm ci did not end within {INSTALL_S} s") from None
            if made.returncode:
                raise NoNode("npm ci failed: " + (made.stderr.strip().splitlines() or ["no message"])[-1])
            installed.write_bytes(lock)
    return home / "node_modules"


def run(program: str, *arguments: str, timeout_s: float = 60) -> Any:
    """What the program of this name (``conformance/node/<program>.cjs``) printed last, parsed.

    Raises:
        NoNode: it cannot be run here.
        AssertionError: it failed; with all that it said.
    """
    environment = {**os.environ, "NODE_PATH": str(modules())}
    command = ["node", str(PROGRAMS / f"{program}.cjs"), *arguments]
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        raise AssertionError(f"{program} did not end within {timeout_s} s: {said}") from None
    lines = ended.stdout.strip().splitlines()
    assert ended.returncode == 0 and lines, f"{program} ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
    return json.loads(lines[-1])
