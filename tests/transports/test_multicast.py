"""Numbered, lossy, one to many: whatever the network does to packets, a subscriber delivers everything once, in order."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.fanouts import FanoutCase, check_fanout
from transports import mold
from transports.api import Fanout, Frame, SubscriberHandler
from transports.gaps import GapSettings, GapTracker
from transports.multicast import MulticastFanout, MulticastSubscriber, RepairServer
from transports.simulated import SimulatedNetwork

SESSION = b"S000000001"
DEADLINE_S = 20


class Log:
    """The publisher's log: its retransmit buffer."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages

    def fetch(self, session: bytes, start: int, count: int) -> Sequence[Frame]:
        return self.messages[start - 1 : start - 1 + count] if session == SESSION else []


class Collector:
    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.start = 1
        self.behinds: list[tuple[int, int]] = []
        self.is_over = False

    def messages(self, start: int, messages: Sequence[memoryview]) -> None:
        assert start == self.start + len(self.got), "in order, each once"
        self.got += [bytes(message) for message in messages]

    def behind(self, next_wanted: int, next_sent: int) -> None:
        self.behinds.append((next_wanted, next_sent))

    def ended(self) -> None:
        self.is_over = True


@given(st.lists(st.binary(max_size=1500), max_size=30), st.integers(1, 2**63))
def test_packets_round_trip_and_never_exceed_their_size(messages: list[bytes], first: int) -> None:
    got: list[bytes] = []
    for packet in mold.encode(SESSION, first, messages):
        assert len(packet) <= mold.PACKET_BYTES_MAX
        found = mold.decode(packet)
        assert (found.session, found.sequence) == (SESSION, first + len(got))
        got += [bytes(message) for message in found.messages]
    assert len(got) == len(messages)
    for coded, message in zip(got, messages, strict=True):
        if len(message) <= mold.MESSAGE_BYTES_MAX:
            assert coded == mold.WHOLE + message
        else:
            assert coded == mold.STUB + len(message).to_bytes(4, "big")


@given(st.binary(max_size=120))
def test_garbage_is_a_packet_or_counted_never_worse(data: bytes) -> None:
    tracker = GapTracker(SESSION, 1, 1, random.Random(0))
    tracker.packet(data, 0)
    tracker.packet(mold.HEADER.pack(SESSION, 1, 3) + data, 0)
    assert tracker.wanted <= 4


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.01, 0.05, 0.2, 0.5]),
    duplication=st.sampled_from([0.0, 0.1]),
    reordering=st.sampled_from([0.0, 0.2]),
)
def test_everything_is_delivered_in_order_whatever_is_lost(
    seed: int, loss: float, duplication: float, reordering: float
) -> None:
    network = SimulatedNetwork(seed)
    network.weather.loss, network.weather.duplication, network.weather.reordering = loss, duplication, reordering
    log = [b"%d" % index * (1 + index % 40) for index in range(400)]
    tracker = GapTracker(SESSION, 1, 2, network.chance, GapSettings(tries_max=1000))
    got: list[bytes] = []

    def receive(data: bytes, source: str) -> None:
        found = tracker.packet(data, network.now_ns, source != "sender")
        if found is not None:
            assert found[0] == len(got) + 1
            got.extend(found[1])

    def repair(data: bytes, source: str) -> None:
        session, start, count = mold.HEADER.unpack(data)
        for packet in mold.encode(session, start, log[start - 1 : start - 1 + count]):
            network.packet("repairer", "back", packet)

    network.join("live", "receiver", receive)
    network.join("back", "receiver", receive)
    network.join("requests", "repairer", repair)
    for at in range(0, 400, 7):
        for packet in mold.encode(SESSION, at + 1, log[at : at + 7]):
            network.packet("sender", "live", packet)
        network.advance(100_000)
    for _ in range(60_000):  # two minutes of the simulated clock; half of all packets lost makes pauses long
        network.packet("sender", "live", mold.heartbeat(SESSION, len(log) + 1))
        for _, packet in tracker.due(network.now_ns):
            network.packet("receiver", "requests", packet)
        network.advance(2_000_000)
        if len(got) == len(log):
            break
    assert got == log
    assert tracker.held == 0


def test_a_foreign_session_and_a_forged_sequence_are_dropped_and_counted() -> None:
    tracker = GapTracker(SESSION, 1, 1, random.Random(0))
    assert tracker.packet(mold.encode(b"X" * 10, 1, [b"no"])[0], 0) is None
    assert tracker.packet(mold.encode(SESSION, 1 << 60, [b"no"])[0], 0) is None
    assert tracker.packet(mold.heartbeat(SESSION, 1 << 50), 0) is None
    assert tracker.packet(mold.encode(SESSION, 1, [b"yes"])[0], 0) == (1, [b"yes"])
    assert tracker.packet(mold.encode(SESSION, 1, [b"yes"])[0], 0) is None
    assert (tracker.counters["foreign"], tracker.counters["implausible"], tracker.counters["duplicate"]) == (1, 2, 1)
    assert tracker.due(1 << 60) == []


def test_a_record_larger_than_a_packet_is_caught_up_over_a_link_and_merged_with_the_live_feed() -> None:
    tracker = GapTracker(SESSION, 1, 1, random.Random(0))
    large = b"L" * 100_000
    delivered: list[bytes] = []
    for packet in mold.encode(SESSION, 1, [b"a", large, b"b"]):
        found = tracker.packet(packet, 0)
        delivered += found[1] if found else []
    assert delivered == [b"a"]
    assert tracker.behind() == (2, 4)
    assert tracker.supply(2, [large]) == (2, [large, b"b"])
    assert tracker.behind() is None
    assert tracker.packet(mold.encode(SESSION, 4, [b"c"])[0], 0) == (4, [b"c"])


def test_repair_that_does_not_come_ends_in_a_catch_up() -> None:
    tracker = GapTracker(SESSION, 1, 3, random.Random(0), GapSettings(tries_max=4))
    tracker.packet(mold.encode(SESSION, 5, [b"e"])[0], 0)
    asked: set[int] = set()
    now_ns = 0
    for _ in range(100):
        now_ns += 1_000_000_000
        asked |= {which for which, _ in tracker.due(now_ns)}
    assert asked == {0, 1, 2}, "every repairer was asked"
    assert tracker.behind() == (1, 6)
    assert tracker.supply(1, [b"a", b"b", b"c", b"d"]) == (1, [b"a", b"b", b"c", b"d", b"e"])


def test_messages_cross_real_sockets_with_losses_repaired() -> None:
    log = Log([b"%06d" % index + b"x" * (index % 700) for index in range(20_000)])

    async def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        repair = RepairServer(log, "127.0.0.1")
        handler = Collector()
        try:
            subscriber = MulticastSubscriber("239.77.7.7", port, "127.0.0.1", SESSION, handler, [repair.address])
            fanout = MulticastFanout("239.77.7.7", port, "127.0.0.1", SESSION)
        except OSError as error:
            pytest.skip(f"no multicast on the loopback interface: {error}")
        chance = random.Random(5)
        for at in range(0, len(log.messages), 200):
            packets = mold.encode(SESSION, at + 1, log.messages[at : at + 200])
            fanout.send([packet for packet in packets if chance.random() > 0.2])
            await asyncio.sleep(0)
        fanout._next = len(log.messages) + 1
        async with asyncio.timeout(DEADLINE_S):
            while len(handler.got) < len(log.messages):
                fanout.heartbeat()
                await asyncio.sleep(0.005)
            assert handler.got == log.messages
            while not handler.is_over:
                with_end = mold.end(SESSION, fanout.next)
                fanout.send([with_end])
                await asyncio.sleep(0.005)
        assert subscriber.tracker.counters["repaired"] > 0
        subscriber.close()
        fanout.close()
        repair.close()

    asyncio.run(run())


def test_multicast_fanout_keeps_every_promise() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def start(session: bytes) -> MulticastFanout:
        return MulticastFanout("239.77.7.8", port, "127.0.0.1", session)

    def subscribe(
        fanout: Fanout, session: bytes, handler: SubscriberHandler, repairers: Sequence[tuple[str, int]], wanted: int
    ) -> MulticastSubscriber:
        return MulticastSubscriber("239.77.7.8", port, "127.0.0.1", session, handler, repairers, wanted)

    try:
        asyncio.run(check_fanout(FanoutCase(start, subscribe)))
    except TimeoutError:
        raise
    except OSError as error:
        pytest.skip(f"no multicast on the loopback interface: {error}")
