"""Ours answers the exchanges of the transcript as nats-server 2.15.1 does: in process, and over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from conformance.harness import Client, Harness
from conformance.process import GatewayProcess
from protocols.nats.jetstream import JetStream
from protocols.nats.session import NatsSession, Settings
from tests.nats import transcript
from tests.nats.transcript import CORE, DRAWN, EOF, JETSTREAM, OPTIONS, Exchange

REAL = transcript.blocks()


def harness(**options: Any) -> Harness:
    return Harness(executors=[JetStream], factories={"nats": lambda port: NatsSession(port, Settings())}, **options)


class Wire:
    """A connection over a real socket; an exchange ends with a PONG that was asked for, or with the end."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.greeting = self._until(lambda data: data.endswith(b"\r\n"))

    def _until(self, done: Callable[[bytes], bool]) -> bytes:
        data = b""
        while not done(data):
            try:
                more = self.socket.recv(65536)
            except ConnectionError:
                more = b""
            if not more:
                return data + EOF
            data += more
        return data

    def exchange(self, sent: bytes) -> bytes:
        """Everything up to the PONG of a PING put behind, which is taken away again."""
        pings = 1 + sum(1 for word in sent.lower().replace(b"\r", b"").split(b"\n") if word == b"ping")
        try:
            self.socket.sendall(sent + b"PING\r\n")
        except ConnectionError:
            return EOF
        data = self._until(lambda found: found.count(b"PONG\r\n") >= pings and found.endswith(b"\r\n"))
        head, mark, tail = data.rpartition(b"PONG\r\n")
        return head + tail if mark and not data.endswith(EOF) else data


class InMemory:
    """The same over the harness."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.greeting = client.read()

    def exchange(self, sent: bytes) -> bytes:
        self.client.send(sent)
        return self.client.read() + (EOF if self.client.closed else b"")


def play(exchange: Exchange, connect: Callable[[], Wire | InMemory]) -> bytes:
    """What the compared connection is sent from its step on."""
    peers = {name: connect() for name in exchange.options}
    hello = {
        name: b"" if options is None else b"CONNECT " + json.dumps(options).encode() + b"\r\n"
        for name, options in exchange.options.items()
    }
    if not exchange.steps:
        return peers[exchange.shown].greeting
    shown = b""
    for index, (name, sent) in enumerate(exchange.steps):
        answer = peers[name].exchange(hello.pop(name, b"") + sent)
        if index >= exchange.since and name == exchange.shown:
            shown += answer
    return shown


def expect(exchange: Exchange, ours: bytes, second_info: bool = True) -> None:
    real = REAL[exchange.title]
    if exchange.title in DRAWN:
        real, ours = transcript.undrawn(real), transcript.undrawn(ours)
    told, wanted = (
        sorted(repr(frame) for frame in transcript.frames(data) if second_info or "connect_info" not in repr(frame))
        for data in (ours, real)
    )
    assert told == wanted


@pytest.mark.parametrize("exchange", CORE, ids=lambda exchange: exchange.title)
@pytest.mark.parametrize("delayed", [False, True], ids=["at once", "delayed"])
def test_a_session_answers_as_the_real_server_did(exchange: Exchange, delayed: bool) -> None:
    world = harness(delayed=delayed)
    expect(exchange, play(exchange, lambda: InMemory(world.connect("nats"))))


def test_a_real_process_answers_as_the_real_server_did(gateway: GatewayProcess) -> None:
    """When the second INFO comes is not compared: the PING that ends a read is one more than the transcript's client sent."""
    for exchange in CORE:
        expect(exchange, play(exchange, lambda: Wire(gateway.nats)), second_info=False)


@pytest.mark.parametrize("delayed", [False, True], ids=["at once", "delayed"])
def test_the_jetstream_api_answers_as_the_real_server_did(delayed: bool) -> None:
    world = harness(delayed=delayed)
    for title, sent, after_ms in JETSTREAM:
        client = world.connect("nats")
        client.read()
        client.send(b"CONNECT " + json.dumps(OPTIONS).encode() + b"\r\n" + sent)
        world.advance(after_ms)
        ours, real = (sorted(map(repr, transcript.frames(data))) for data in (client.read(), REAL[title]))
        assert ours == real, title


def test_every_block_of_the_transcript_is_compared_or_left_out_with_a_reason() -> None:
    compared = {exchange.title for exchange in CORE} | {title for title, _, _ in JETSTREAM}
    compared |= {f"HTTP {path}" for path in transcript.MONITORING}
    assert {title.removesuffix(transcript.answered(title)) for title in REAL} == compared | set(transcript.LEFT_OUT)
