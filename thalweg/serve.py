"""One process from exec to exit: listeners up, ready file written, signals awaited, everything brought to its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import pathlib
import signal
import sys
import time
from typing import TYPE_CHECKING

from thalweg.config import Config, format_address

if TYPE_CHECKING:
    from thalweg.gateway import Gateway

FILES_MAX = 1 << 18
STOP_S_MAX = 4.5
"""What a clean stop may take; after that the process ends as after a kill, which loses nothing acknowledged."""


class CannotServe(Exception):
    """The process cannot do what its configuration says; the message is for whoever started it."""


def serve(
    config: Config, ready_file: pathlib.Path | None = None, gateway: Gateway | None = None, supervised: bool = False
) -> int:
    """Run until SIGTERM or SIGINT, ``supervised``: or the end of standard input. ``gateway``: a role other than all in one.

    The exit status: 0 after a clean stop, 1 where the stop took too long.

    Raises:
        CannotServe: an address is taken, the data directory cannot be used.
    """
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(config, ready_file, gateway, supervised))


async def run(
    config: Config, ready_file: pathlib.Path | None, gateway: Gateway | None = None, supervised: bool = False
) -> int:
    from thalweg.gateway import CannotStart

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    raise_file_limit()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, Interrupts(stop))
    if supervised:
        loop.add_reader(0, stop.set)
    gateway = gateway or make_gateway(config)
    try:
        await gateway.start()
    except OSError as error:
        await gateway.stop()
        plain = error.errno or isinstance(error, CannotStart)
        raise CannotServe(str(error) if plain else f"data in {config.data}: {error}") from error
    addresses = {name: format_address(*found) for name, found in gateway.listeners.items()}
    loop.add_signal_handler(signal.SIGHUP, reload, gateway)
    gc.collect()
    gc.freeze()  # what start-up made stays: later collections need not look at it
    if ready_file is not None:
        write_ready_file(ready_file, addresses)
    announce(config, addresses)
    await stop.wait()
    return await end(gateway, ready_file)


def make_gateway(config: Config) -> Gateway:
    """All in one process; or a member of a fleet, where the configuration has its key.

    Raises:
        CannotServe: the key cannot be read.
    """
    from thalweg.gateway import Gateway

    if not config.fleet_key:
        return Gateway(config)
    from thalweg.fleet import Member
    from thalweg.roles import RoleError, read_key

    try:
        return Member(config, read_key(config.fleet_key))
    except RoleError as error:
        raise CannotServe(str(error)) from error


def reload(gateway: Gateway) -> None:
    for line in gateway.reload():
        print(f"thalweg: {line}", file=sys.stderr, flush=True)


def raise_file_limit() -> None:
    """Connections and segments are files: take as many as the system allows without asking anybody."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Interrupts:
    """Ctrl-C asks to stop; whoever presses it twice does not want to wait for goodbyes."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._asked = False

    def __call__(self) -> None:
        if self._asked:
            os._exit(130)
        self._asked = True
        self._stop.set()


async def end(gateway: Gateway, ready_file: pathlib.Path | None) -> int:
    """Goodbyes to clients, a last durable commit, closed files."""
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    try:
        await asyncio.wait_for(gateway.stop(), STOP_S_MAX)
    except TimeoutError:
        print(f"thalweg: not stopped after {STOP_S_MAX} s, leaving; nothing acknowledged is lost", file=sys.stderr)
        return 1
    return 0


def write_ready_file(path: pathlib.Path, addresses: dict[str, str]) -> None:
    """Whole or not at all: whoever sees the file can read it."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps({"pid": os.getpid(), "listeners": addresses}))
    os.replace(scratch, path)


def announce(config: Config, addresses: dict[str, str]) -> None:
    from protocols import outbox

    speed = "" if is_compiled(outbox.__file__) else ", kernels uncompiled (slower; make kernels)"
    with contextlib.suppress(BrokenPipeError):
        print(f"thalweg {os.getpid()} ready in {since_exec_s():.2f} s, data in {config.data}{speed}", flush=True)
        width = max(map(len, addresses), default=0)
        for name, address in sorted(addresses.items()):
            print(f"  {name:{width}} {address}", flush=True)


def is_compiled(file: str | None) -> bool:
    return file is not None and not file.endswith(".py")


def since_exec_s() -> float:
    """Seconds since this process began, by the kernel's account (10 ms steps); 0 where it keeps none."""
    try:
        began_ticks = int(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began_ticks / os.sysconf("SC_CLK_TCK")
