"""The stream layer at a distance keeps its promises over every carrier; what breaks the protocol costs its link only."""

from __future__ import annotations

import asyncio
import enum
import functools
import itertools
import pathlib
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance import stream_layer
from conformance.fake_verbs import FakeVerbs
from conformance.links import Recorder
from conformance.remote_layer import KEY, Carrier, RemoteBench, SimulatedCarrier
from conformance.stream_layer import (
    ORDERS,
    START_MS,
    Check,
    MemoryStorage,
    SimulatedDiskStorage,
    checks_for,
    client_batch,
)
from substrate.api import (
    DEFAULT_ACCOUNT,
    Ack,
    Address,
    Commit,
    Conditions,
    Epoch,
    ErrorCode,
    Level,
    Position,
    Rejected,
    StreamConfig,
    StreamError,
    StreamId,
    StreamKey,
    Tail,
    Unknown,
)
from substrate.group import Group, Record
from substrate.interest import Tokens
from substrate.layer import StreamLayer
from substrate.memory import MemoryEngine
from substrate.remote import frames
from substrate.remote.client import REQUEST_NS, RemoteStreams
from substrate.remote.codec import FrameError, fields_of
from substrate.remote.server import HELLO_NS, StreamServer
from transports.api import FRAME_BYTES_MAX, WINDOW_BYTES, Link, LinkHandler
from transports.rdma import RdmaTransport
from transports.simulated import SimulatedNetwork
from transports.stream import TcpTransport, UnixTransport

AT_HAND = stream_layer.check_a_turn_does_not_end_in_the_middle_of_what_is_one_commit
"""Of one executor's several calls beside the layer; from afar one commit is one request."""
ALL = [check for check in checks_for({"delay", "fail", "lose"}) if check is not AT_HAND]


def name(check: Check) -> str:
    return check.__name__.removeprefix("check_")


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Carrier]], None]:
    def place(carrier: Callable[[], Carrier]) -> None:
        monkeypatch.setattr(stream_layer, "Bench", functools.partial(RemoteBench, carrier=carrier))

    return place


@pytest.mark.parametrize("check", ALL, ids=name)
def test_over_the_simulated_network(check: Check, far: Callable[[Callable[[], Carrier]], None]) -> None:
    far(SimulatedCarrier)
    check(lambda: MemoryStorage(delayed=True))


@pytest.mark.parametrize("check", ALL, ids=name)
def test_over_the_simulated_network_to_a_disk(check: Check, far: Callable[[Callable[[], Carrier]], None]) -> None:
    far(SimulatedCarrier)
    check(SimulatedDiskStorage)


@pytest.mark.parametrize("check", ALL, ids=name)
@pytest.mark.parametrize("scheme", ["tcp", "unix", "rdma"])
def test_over_real_carriers(
    check: Check, scheme: str, far: Callable[[Callable[[], Carrier]], None], tmp_path: pathlib.Path
) -> None:
    numbers = itertools.count()
    carriers: dict[str, Callable[[], Carrier]] = {
        "tcp": lambda: Carrier(TcpTransport, "tcp://127.0.0.1:0"),
        "unix": lambda: Carrier(UnixTransport, f"unix://{tmp_path}/{next(numbers)}"),
        "rdma": lambda: Carrier(lambda: RdmaTransport(FakeVerbs()), "rdma://127.0.0.1:0"),
    }
    far(carriers[scheme])
    check(lambda: MemoryStorage(delayed=True))


# what breaks the protocol


class Ear:
    """A gateway that remembers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.heard: list[object] = []

    def welcomed(self, *what: object) -> None:
        self.heard.append(("welcome", *what))

    def answered(self, token: int, answer: object) -> None:
        self.answers.append((token, answer))

    def advanced(self, token: int) -> None:
        self.heard.append(("advanced", token))

    def durable(self, *what: object) -> None:
        self.heard.append(("durable", *what))

    def failed(self, *what: object) -> None:
        self.heard.append(("failed", *what))

    def said(self, frame: object) -> None:
        raise FrameError(f"{frame} is not the stream layer's")

    def lost(self, reason: str) -> None:
        self.heard.append(("lost", reason))


class World:
    """A sequencer and its network."""

    def __init__(self) -> None:
        self.network = SimulatedNetwork(1)
        self.layer = StreamLayer(
            MemoryEngine(), MemoryEngine(), lambda: None,
            lambda shard, commit: self.server.durable(shard, commit),
            lambda shard, above: self.server.failed(shard, above),
        )  # fmt: skip
        self.layer.open(START_MS)
        self.layer.create(
            ORDERS, StreamKey(DEFAULT_ACCOUNT, Address(b"orders")), StreamConfig(record_bytes_max=1 << 23)
        )
        self.now_ns = 0
        self.server = StreamServer(self.layer, KEY, lambda size: bytes(size), lambda: self.now_ns)
        asyncio.run(self.network.at("there").listen("sim://there/s", self.server.accept))

    def dial(self, handler: LinkHandler) -> None:
        asyncio.run(self.network.at("here").connect("sim://there/s", handler))
        self.network.settle()

    def gateway(self, key: bytes = KEY) -> tuple[RemoteStreams, Ear]:
        ear = Ear()
        client = RemoteStreams(ear, key, bytes(range(32)), self.now_ns)
        self.dial(client)
        return client, ear


@pytest.fixture
def world() -> World:
    return World()


def orders(*values: bytes) -> Group:
    group = Group(b"orders", b"".join(values))
    at = 0
    for value in values:
        group.add(at, len(value))
        at += len(value)
    return group


def test_who_has_not_the_key_is_told_so_and_changes_nothing(world: World) -> None:
    client, ear = world.gateway(b"another key")
    assert not client.ready and ear.heard == [("lost", "not the key of this fleet")]
    client.append(ORDERS, orders(b"x"), Ack.DURABLE, 1)
    assert ear.answers == [(1, StreamError(ErrorCode.UNAVAILABLE, "no link to the sequencer"))]
    assert world.server.counters["strangers"] == 1 and world.layer.streams[ORDERS].next == 0
    assert not world.server.guests
    good, heard = world.gateway()
    assert good.ready and heard.heard[0][0] == "welcome"  # type: ignore[index]


def test_a_sequencer_without_the_key_is_not_believed(world: World) -> None:
    world.server.key = b"not ours"
    client, ear = world.gateway()
    assert not client.ready and "key" in str(ear.heard[-1])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "unknown kind"),
        (b"", "bytes wanted"),
        (frames.encode(frames.Hello(99, b"", bytes(32), bytes(32))), "version 99, here is 1"),
        (frames.encode(frames.Ping(1)), "say hello first"),
        (frames.encode(frames.Hello(1, b"", bytes(32), bytes(32)))[:-1], "broken frame"),
        (frames.encode(frames.Hello(1, b"", bytes(32), bytes(32))) + b"x", "behind the end"),
        (bytes((2,)) + bytes(8) + b"\xff\xff\xff\xff", "broken frame"),
    ],
)
def test_a_stranger_costs_its_link(world: World, said: bytes, why: str) -> None:
    stranger = Recorder()
    world.dial(stranger)
    assert stranger.link is not None
    stranger.link.send(said)
    world.network.settle()
    assert len(stranger.reasons) == 1 and why in stranger.reasons[0]
    refusal = frames.decode(stranger.frames[-1])
    assert isinstance(refusal, frames.Refusal) and why in refusal.reason
    assert not world.server.guests and world.gateway()[0].ready


def test_a_silent_stranger_goes_by_a_deadline(world: World) -> None:
    stranger = Recorder()
    world.dial(stranger)
    world.server.tick(HELLO_NS)
    world.network.settle()
    assert not stranger.reasons
    world.server.tick(HELLO_NS + 1)
    world.network.settle()
    assert stranger.reasons == ["no hello in time"]


def test_a_gateway_that_sends_what_only_sequencers_say_loses_its_link(world: World) -> None:
    client, ear = world.gateway()
    client._out.send(frames.encode(frames.Durable(Commit(1))))
    world.network.settle()
    assert ear.heard[-1] == ("lost", "broken frame: a gateway does not send Durable")


def test_an_append_in_an_old_epoch_is_fenced(world: World) -> None:
    client, ear = world.gateway()
    client.epoch = Epoch(client.epoch - 1)
    client.append(ORDERS, orders(b"late"), Ack.DURABLE, 1)
    client.append(ORDERS, bytearray(client_batch()), Ack.DURABLE, 2)
    client.commit([(ORDERS, orders(b"late"), None)], Ack.DURABLE, 3)
    client.trim(ORDERS, Position(0), 4)
    client.delete(ORDERS, 5)
    world.network.settle()
    assert [token for token, _ in ear.answers] == [1, 2, 3, 4, 5]
    assert all(isinstance(answer, StreamError) and answer.code is ErrorCode.FENCED for _, answer in ear.answers)
    assert world.layer.streams[ORDERS].next == 0


def test_several_streams_are_committed_all_or_nothing(world: World) -> None:
    other = StreamId(2000)
    client, ear = world.gateway()
    client.open(other, StreamKey(DEFAULT_ACCOUNT, Address(b"other")), StreamConfig(), 1)
    client.commit([(ORDERS, orders(b"a"), None), (other, orders(b"b"), Conditions(tail=5))], Ack.DURABLE, 2)
    client.commit([(ORDERS, orders(b"a"), None), (other, orders(b"b"), Conditions(tail=0))], Ack.DURABLE, 3)
    world.network.settle()
    world.layer.commit()
    world.network.settle()
    (_, opened), (_, rejected), (_, kept) = ear.answers
    assert isinstance(opened, Tail) and isinstance(rejected, Rejected) and rejected.condition == "tail"
    assert isinstance(kept, tuple) and [one.base for one in kept] == [0, 0] and kept[0].commit == kept[1].commit
    assert ("durable", 0, kept[0].commit) in ear.heard


def test_what_was_asked_when_the_link_broke_is_answered(world: World) -> None:
    client, ear = world.gateway()
    client.watch(ORDERS, Level.DURABLE, 1)
    world.network.settle()
    world.network.partition("here", "there")
    client.append(ORDERS, orders(b"perhaps"), Ack.DURABLE, 2)
    client.read(ORDERS, Position(0), 1, Level.DURABLE, 3)
    world.network.advance(30_000_000_000)
    answers = dict(ear.answers)
    assert isinstance(answers[2], Unknown), "it may have happened"
    assert isinstance(answers[3], StreamError) and answers[3].code is ErrorCode.UNAVAILABLE
    assert ear.heard[-2:] == [("advanced", 1), ("lost", "the peer does not answer")]


def test_every_request_ends_by_a_deadline_and_a_mute_sequencer_is_given_up(world: World) -> None:
    client, ear = world.gateway()
    client.append(ORDERS, orders(b"perhaps"), Ack.DURABLE, 1)
    client.query("tail", ORDERS, 2)
    client._heard_ns = REQUEST_NS  # it says other things
    client.tick(REQUEST_NS)
    assert isinstance(dict(ear.answers)[1], Unknown)
    late = dict(ear.answers)[2]
    assert isinstance(late, StreamError) and late.code is ErrorCode.TIMEOUT
    world.network.settle()
    assert len(ear.answers) == 2, "an answer that comes later is nobody's"
    client.tick(2 * REQUEST_NS)
    assert not lost(ear), "who stood still itself listens first"
    for step in range(1, 12):
        client.tick(2 * REQUEST_NS + step * 500_000_000)
    assert ear.heard[-1] == ("lost", "the sequencer does not answer")


def lost(ear: Ear) -> bool:
    return any(isinstance(one, tuple) and one[0] == "lost" for one in ear.heard)


def test_a_quiet_link_is_asked_and_answers(world: World) -> None:
    client, ear = world.gateway()
    client.tick(1_500_000_000)
    world.network.settle()
    client.tick(6_000_000_000)
    assert client.ready and not lost(ear)


def test_a_gateway_that_reads_nothing_stops_its_own_requests_within_bounded_memory(world: World) -> None:
    deaf = Deaf()
    world.dial(deaf)
    ear = Ear()
    client = RemoteStreams(ear, KEY, bytes(range(32)), 0)
    deaf.greet(client)
    world.network.settle()
    world.layer.append_group(ORDERS, orders(bytes(4 << 20)))
    world.layer.commit()
    assert deaf.link is not None
    for token in range(1, 2000):
        deaf.link.send(frames.encode(frames.Read(token, ORDERS, Position(0), 8 << 20, Level.ORDERED, None)))
    world.network.settle()
    (guest,) = world.server.guests
    assert guest._out.waiting_bytes <= 2 * WINDOW_BYTES and len(guest._held) > 1900
    deaf.listens = True
    deaf.link.grant(deaf.unread)
    world.network.settle()
    assert deaf.replies == 1999, "and all are answered once it reads"


class Deaf:
    """A peer that says hello and then consumes nothing, until ``listens``."""

    def __init__(self) -> None:
        self.link: Link | None = None
        self.unread = 0
        self.replies = 0
        self.listens = False

    def greet(self, client: RemoteStreams) -> None:
        assert self.link is not None
        proof = frames.proof(KEY, "client", bytes(32), bytes(32))
        self.link.send(frames.encode(frames.Hello(frames.VERSION, b"", bytes(32), proof)))

    def opened(self, link: Link) -> None:
        self.link = link

    def received(self, frame: memoryview) -> None:
        self.replies += frame[0] == frames.Reply.KIND
        if self.listens and self.link is not None:
            self.link.grant(len(frame))
        else:
            self.unread += len(frame)

    def granted(self) -> None: ...

    def closed(self, reason: str) -> None: ...


def test_too_large_and_too_much_are_refused_before_they_leave(world: World) -> None:
    client, ear = world.gateway()
    client.append(ORDERS, orders(bytes(FRAME_BYTES_MAX)), Ack.DURABLE, 1)
    assert isinstance(ear.answers[-1][1], StreamError) and ear.answers[-1][1].code is ErrorCode.TOO_LARGE
    for token in range(2, 12):
        client.append(ORDERS, orders(bytes(7 << 20)), Ack.DURABLE, token)
    refused = [answer for _, answer in ear.answers if isinstance(answer, StreamError)]
    assert refused[-1].code is ErrorCode.BACKPRESSURE
    world.network.settle()
    assert {token for token, _ in ear.answers} == set(range(1, 12)), "each is answered"


@given(st.binary(max_size=200))
def test_garbage_is_a_frame_or_refused_never_worse(data: bytes) -> None:
    try:
        frame = frames.decode(data)
    except FrameError:
        return
    assert frames.decode(frames.encode(frame)) is not None


@given(st.data())
def test_frames_round_trip(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(frames.FRAMES))
    values = {name: data.draw(value_of(of)) for name, of in fields_of(kind)}
    encoded = frames.encode(kind(**values))
    again = frames.encode(frames.decode(encoded))
    assert again == encoded
    for cut in {0, 1, len(encoded) // 2, len(encoded) - 1} - {len(encoded)}:
        with pytest.raises(FrameError):
            frames.decode(encoded[:cut])


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation that the codec knows."""
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    if kind is Group:
        return st.lists(st.binary(max_size=20), min_size=1, max_size=4).map(lambda values: orders(*values))
    if kind is Record:
        return st.builds(
            lambda p, v: Record(p, 1, b"a", None, v, ((b"h", None), (b"i", b"v"))), st.integers(0, 9), st.binary()
        )
    if kind is Tokens:
        return st.builds(Tokens, st.sampled_from([b"a", b"a/%*", b"%>", b"a/%#"]), st.booleans())
    simple = {
        bool: st.booleans(), int: st.integers(-(2**63), 2**63 - 1), bytes: st.binary(max_size=30), str: st.text(max_size=10),
        type(None): st.none(),
    }  # fmt: skip
    if kind in simple:
        return simple[kind]
    origin = typing.get_origin(kind)
    inner = typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([value_of(one) for one in inner if one is not memoryview])
    if origin is tuple and inner[1:] == (Ellipsis,):
        return st.lists(value_of(inner[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(value_of, inner))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    if origin is dict:
        return st.dictionaries(value_of(inner[0]), value_of(inner[1]), max_size=3)
    return st.builds(
        lambda values: kind(**values), st.fixed_dictionaries({name: value_of(of) for name, of in fields_of(kind)})
    )
