"""``thalweg top``: streams and their rates, connections, durability; again every second until q or Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from thalweg.cli import complain
from thalweg.commands import output
from thalweg.commands.remote import CannotAsk, Server, add_server

COLUMNS = (
    ("name", "STREAM"),
    ("rate", "RECORDS/S"),
    ("bytes_rate", "BYTES/S"),
    ("records", "RECORDS"),
    ("bytes", "BYTES"),
)
HOME, CLEAR_LINE, CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
PLAIN_ROWS = 20


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", dest="count", type=int, metavar="N", help="end after N views")
    parser.add_argument("-d", dest="delay", type=float, metavar="S", default=1.0, help="seconds between two views (1)")
    output.add_rows(parser)
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    screen = options.output == "text" and sys.stdout.isatty()
    try:
        server, other = Server(options.server), Server(options.server)
        with terminal() if screen else contextlib.nullcontext():
            for number, view in enumerate(views(server, other, options), 1):
                show(view, options, screen)
                if number == options.count or (screen and pressed_q()):
                    break
    except CannotAsk as error:
        complain(error)
        return 1
    return 0


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """The other screen, without a cursor, keys as they are pressed; whatever happens, it is left as it was."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin.fileno()) if sys.stdin.isatty() else None
    if before is not None:
        tty.setcbreak(sys.stdin.fileno())
    sys.stdout.write(ENTER)
    try:
        yield
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        if before is not None:
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def pressed_q() -> bool:
    """Whether somebody wants to leave."""
    if not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return False
    return b"q" in os.read(sys.stdin.fileno(), 64)


def views(server: Server, other: Server, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What there is, and then what changed, put together."""
    streams = {
        one["name"]: one | {"rate": 0.0, "bytes_rate": 0} for one in other.json("GET", "/api/streams")["streams"]
    }
    first = True
    every_ms = max(250, min(60_000, int(options.delay * 1000)))
    for lines in server.lines("/api/events", every_ms=every_ms):
        for line in lines:
            event = json.loads(line.removeprefix(b"data: "))
            if first:  # it says where things stand; rates come with the next
                first = False
                continue
            for one in streams.values():
                one["rate"], one["bytes_rate"] = 0.0, 0
            for one in event["streams"]:
                streams[one["name"]] = streams.get(one["name"], {}) | one
            for name in event["gone"]:
                streams.pop(name, None)
            ordered = sorted(streams.values(), key=lambda one: (-one["rate"], one["name"]))
            yield event | {"streams": ordered, "server": server.name}


def show(view: dict[str, Any], options: argparse.Namespace, screen: bool) -> None:
    if options.output == "json":
        output.put(json.dumps(view, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        sys.stdout.buffer.flush()
        return
    size = shutil.get_terminal_size((100, PLAIN_ROWS + 4)) if screen else None
    width, rows = (size.columns, size.lines - 4) if size is not None else (0, PLAIN_ROWS)
    streams = view["streams"]
    shown = [
        one | {"bytes": output.size(one["bytes"]), "bytes_rate": output.size(one["bytes_rate"])}
        for one in streams[: max(rows, 1)]
    ]
    lines = [*heading(view), "", *output.table(shown, COLUMNS, width)]
    if len(streams) > len(shown):
        lines.append(f"... and {len(streams) - len(shown)} more")
    if screen:
        lines = [line[:width] for line in lines[: rows + 4]]
        text = HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in lines[:-1]) + lines[-1] + CLEAR_LINE + CLEAR_BELOW
    else:
        text = "\n".join(lines) + "\n\n"
    sys.stdout.write(text)
    sys.stdout.flush()


def heading(view: dict[str, Any]) -> list[str]:
    total = sum(one["rate"] for one in view["streams"])
    first = f"thalweg {view['server']}  {len(view['streams'])} streams  {total:.1f} records/s"
    if "connections" not in view:
        return [first]
    state = "" if view.get("ready", True) else "  NOT READY"
    connected = "  ".join(f"{name} {count}" for name, count in view["connections"].items())
    return [first + state, f"connections: {connected}"]
