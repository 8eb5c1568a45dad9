"""``thalweg pub``: publish what is given, or what comes on standard input."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from thalweg.cli import complain
from thalweg.commands.remote import CannotAsk, Server, add_server

READ_BYTES = 256 * 1024
REQUEST_BYTES = 2 * 1024 * 1024
REQUEST_MESSAGES = 1000
VALUE_BYTES_MAX = 8 * 1024 * 1024


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="orders/eu/42; - with -i json: each record's own")
    parser.add_argument("value", metavar="VALUE", nargs="*", help="a message each; none: standard input is read")
    parser.add_argument(
        "-i",
        dest="input",
        choices=("text", "json", "raw", "length"),
        default="text",
        help="standard input is text: a message a line; json: records as `cat -o json` prints them; raw: one message; length: each behind its length, 4 bytes, big-endian",
    )
    parser.add_argument("--length-prefixed", dest="input", action="store_const", const="length", help="as -i length")
    parser.add_argument(
        "-H", dest="headers", metavar="NAME:VALUE", action="append", default=[], help="a header of each message"
    )
    parser.add_argument(
        "--create", action="store_true", help="make a stream of this name first, if nothing keeps the address"
    )
    parser.add_argument(
        "-o",
        dest="output",
        choices=("text", "json"),
        default="text",
        help="json: where each request's last message went, on standard output",
    )
    add_server(parser)


def run(options: argparse.Namespace) -> int:
    if options.address == "-" and (options.input != "json" or options.value):
        complain("ADDRESS - is for -i json")
        return 2
    for header in options.headers:
        if ":" not in header:
            complain(f"-H {header}: a header is NAME:VALUE")
            return 2
    try:
        return publish(options)
    except (CannotAsk, Malformed) as error:
        complain(error)
        return 1


class Malformed(Exception):
    """Standard input is not what ``-i`` says."""


def publish(options: argparse.Namespace) -> int:
    server = Server(options.server)
    headers = [[name, value.strip()] for name, _, value in (header.partition(":") for header in options.headers)]
    published = stored = 0
    batches = given(options) if options.value else read(options)
    created = not options.create
    for batch in batches:
        if not created:
            created = True
            create(server, options.address)
        lines = []
        for message in batch:
            if options.address != "-":
                message["address"] = options.address
            if headers:
                message["headers"] = [*message.get("headers", []), *headers]
            lines.append(
                json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
            )
        answer = json.loads(server.ask("POST", "/api/publish", b"\n".join(lines), "application/x-ndjson").read())
        if options.output == "json":
            print(json.dumps(answer), flush=True)
        published += answer["published"]
        stored += answer["stored"]
    if stored < published:
        complain(f"{published - stored} of {published} messages were kept by no stream (--create makes one)")
    elif sys.stderr.isatty() and options.output == "text":
        print(f"published {published}", file=sys.stderr)
    return 0


def create(server: Server, address: str) -> None:
    """A stream of this name, unless some stream keeps the address: of that name or one above it."""
    tokens = address.split("/")
    above = {"/".join(tokens[: count + 1]) for count in range(len(tokens))}
    for name in above:
        found = server.json("GET", "/api/streams", match=name, limit=1)
        if found["streams"]:
            return
    server.json("POST", "/api/streams", {"name": tokens[0]})


def given(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    yield [{"value": shown(os.fsencode(value))} for value in options.value]


def shown(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(value).decode()}


def read(options: argparse.Namespace) -> Iterator[list[dict[str, Any]]]:
    """Standard input, as much at a time as has come: what a pipe brings now is published now."""
    if options.input == "raw":
        yield [{"value": shown(sys.stdin.buffer.read())}]
        return
    cut = cut_lengths if options.input == "length" else cut_lines
    rest = b""
    while data := os.read(sys.stdin.fileno(), READ_BYTES):
        whole, rest = cut(rest + data)
        yield from messages(whole, options.input)
    if rest and options.input == "length":
        raise Malformed(f"the input ends within a message: {len(rest)} bytes are left")
    if rest:
        yield from messages([rest], options.input)


def cut_lines(data: bytes) -> tuple[list[bytes], bytes]:
    *whole, rest = data.split(b"\n")
    return whole, rest


def cut_lengths(data: bytes) -> tuple[list[bytes], bytes]:
    whole = []
    at = 0
    while len(data) - at >= 4:
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        if end - at > VALUE_BYTES_MAX:
            raise Malformed(f"a message of {end - at - 4} bytes, limit {VALUE_BYTES_MAX}: is it length-prefixed?")
        if end > len(data):
            break
        whole.append(data[at + 4 : end])
        at = end
    return whole, data[at:]


def messages(values: list[bytes], form: str) -> Iterator[list[dict[str, Any]]]:
    """In requests that the server takes."""
    batch: list[dict[str, Any]] = []
    size = 0
    for value in values:
        if form == "json" and not value.strip():
            continue
        if batch and (size + len(value) > REQUEST_BYTES or len(batch) >= REQUEST_MESSAGES):
            yield batch
            batch, size = [], 0
        batch.append(record(value) if form == "json" else {"value": shown(value)})
        size += len(value)
    if batch:
        yield batch


def record(line: bytes) -> dict[str, Any]:
    """What can be published of a record that was printed."""
    try:
        found = json.loads(line)
        return {name: found[name] for name in ("address", "value", "headers") if name in found}
    except (ValueError, TypeError):
        raise Malformed(f"not a record in JSON: {line[:80].decode(errors='replace')}") from None
