"""Two clients that keep the rules, over connections that break and a gateway that crashes at any point.

What a publisher was told is kept arrives; QoS 2 arrives once, QoS 1 at least once, each in its order. The clients are
models of MQTT 3.1.1 section 4.3: they keep their half of the state over reconnects, as a durable client library does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.harness import Harness
from conformance.process import GatewayProcess
from conformance.stock_clients import KafkaReader, create_topic
from protocols.mqtt import packets as p
from protocols.mqtt.captured import Everything
from protocols.mqtt.sessions import Sessions
from protocols.mqtt.wire import encode, encode_properties
from substrate.api import DEFAULT_ACCOUNT, Address, Batches, CreateTopic, Level, Position
from substrate.memory import MemoryEngine
from tests.mqtt.clients import Paho
from tests.mqtt.peers import Peer, harness
from tests.mqtt.test_session import codes, published

TOPIC = "t/x"


class Durable:
    """The state that a client keeps over its connections."""

    def __init__(self, name: str, level: int) -> None:
        self.name = name
        self.level = level
        self.peer: Peer | None = None
        # as a publisher: packet id -> (payload, qos, PUBREC seen)
        self.sent: dict[int, tuple[bytes, int, bool]] = {}
        self.kept: dict[bytes, int] = {}
        self.next_id = 1
        # as a subscriber
        self.known: set[int] = set()
        self.got: list[tuple[bytes, int]] = []

    def connect(self, gateway: Harness, engine: MemoryEngine) -> None:
        self.peer = Peer(gateway, self.level)
        expiry = encode_properties([(p.SESSION_EXPIRY, 10_000)] if self.level == 5 else [])
        self._send(p.Connect(self.level, False, 0, self.name.encode(), None, None, None, expiry))
        engine.flush()  # the CONNACK waits for it
        gateway.run()
        packets = self.peer.received()
        assert isinstance(packets[0], p.Connack) and packets[0].code == 0
        self.answer(packets[1:])
        for packet_id, (payload, qos, received) in list(self.sent.items()):
            if received:
                self._send(p.Acknowledge(p.PUBREL, packet_id))
            else:
                self._send(p.Publish(TOPIC.encode(), payload, qos, False, True, packet_id))

    def publish(self, payload: bytes, qos: int) -> None:
        while self.next_id in self.sent:
            self.next_id = self.next_id % 10 + 1
        self.sent[self.next_id] = payload, qos, False
        self._send(p.Publish(TOPIC.encode(), payload, qos, False, False, self.next_id))
        self.next_id = self.next_id % 10 + 1  # few, so that they are soon used again

    def _send(self, packet: object) -> None:
        if self.peer is not None and not self.peer.wire.closed:
            self.peer.wire.send(encode(packet, self.level))

    def read(self) -> bool:
        """Take and answer what came; whether there was anything."""
        if self.peer is None:
            return False
        packets = self.peer.received()
        self.answer(packets)
        return bool(packets)

    def answer(self, packets: list[object]) -> None:
        for one in packets:
            if isinstance(one, p.Publish):
                if one.qos == 2:
                    if one.packet_id not in self.known:
                        self.got.append((one.payload, 2))
                    self.known.add(one.packet_id)
                    self._send(p.Acknowledge(p.PUBREC, one.packet_id))
                else:
                    self.got.append((one.payload, one.qos))
                    if one.qos:
                        self._send(p.Acknowledge(p.PUBACK, one.packet_id))
            elif isinstance(one, p.Acknowledge):
                self._acknowledged(one)

    def _acknowledged(self, one: p.Acknowledge) -> None:
        if one.kind == p.PUBREL:
            self.known.discard(one.packet_id)
            self._send(p.Acknowledge(p.PUBCOMP, one.packet_id))
        elif one.kind == p.PUBREC:
            payload, qos, _ = self.sent[one.packet_id]
            self.kept[payload] = qos
            self.sent[one.packet_id] = payload, qos, True
            self._send(p.Acknowledge(p.PUBREL, one.packet_id))
        else:
            payload, qos, _ = self.sent.pop(one.packet_id)
            self.kept[payload] = qos


class Play:
    """``captured``: a topic stands where they publish."""

    def __init__(self, seed: int, captured: bool) -> None:
        self.chance = random.Random(seed)
        self.engine = MemoryEngine(delayed=True)
        self.seed = seed
        self.gateway = self.begin()
        if captured:
            create = CreateTopic(DEFAULT_ACCOUNT, Address(b"t"))
            self.gateway.sequencer.call("topics", create, self, 1)
        level = self.chance.choice([4, 5])
        self.pub, self.sub = Durable("pub", level), Durable("sub", self.chance.choice([4, 5]))
        self.sub.connect(self.gateway, self.engine)
        assert self.sub.peer is not None
        self.sub.peer.send(p.Subscribe(1, ((b"t/#", 2),)))
        self.pub.connect(self.gateway, self.engine)
        self.settle()
        self.count = 0

    def begin(self, now_ns: int = 0) -> Harness:
        return harness(self.seed, engine=self.engine, now_ns=now_ns)

    def settle(self) -> None:
        """Until nobody has anything to say."""
        while True:
            self.engine.flush()
            self.gateway.run()
            if not (self.pub.read() | self.sub.read()):
                return

    def crash(self) -> None:
        self.engine.lose()
        self.gateway = self.begin(self.gateway.now_ns + 1_000_000)
        for client in (self.pub, self.sub):
            client.peer = None

    def stored(self) -> list[bytes]:
        """The values that stand in the topic."""
        sequencer = self.gateway.sequencer
        stream = sequencer.interest.resolve(DEFAULT_ACCOUNT, Address(b"t/x")).stream
        read = sequencer.layer.read(stream, Position(0), 1 << 20, Level.DURABLE, Everything())
        assert isinstance(read, Batches)
        return [record.value or b"" for record in read.records]

    def step(self) -> None:
        do = self.chance.choices(
            ["publish", "flush", "read pub", "read sub", "drop pub", "drop sub", "crash"], [6, 4, 3, 3, 1, 1, 0.5]
        )[0]
        client = self.pub if do.endswith("pub") else self.sub
        if do == "publish" and len(self.pub.sent) < 5 and self.pub.peer is not None:
            self.count += 1
            self.pub.publish(b"%d" % self.count, self.chance.choice([1, 2]))
        elif do == "flush":
            self.engine.flush()
            self.gateway.run()
        elif do.startswith("read"):
            client.read()
        elif do.startswith("drop") and client.peer is not None:
            client.peer.wire.close()
            client.connect(self.gateway, self.engine)
        elif do == "crash":
            self.crash()
            for one in (self.pub, self.sub):
                one.connect(self.gateway, self.engine)


@pytest.mark.parametrize("captured", [False, True], ids=["not captured", "captured"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_what_was_acknowledged_arrives_once_or_at_least_once(captured: bool, seed: int) -> None:
    play = Play(seed, captured)
    for _ in range(120):
        play.step()
    play.settle()
    got = play.sub.got
    for payload, qos in play.pub.kept.items():
        times = sum(1 for one, _ in got if one == payload)
        assert times == 1 if qos == 2 else times >= 1, (payload, qos, times)
    assert not play.pub.sent
    if captured:
        stored = play.stored()
        assert [one for one in stored if play.pub.kept[one] == 2 and stored.count(one) != 1] == []
    seen = [int(payload) for payload, qos in got if qos == 2]
    assert seen == sorted(seen), "QoS 2 keeps its order"
    executor = play.gateway.sequencer._worlds["mqtt"].executor
    assert isinstance(executor, Sessions)
    for session in executor.state.sessions.values():
        assert not session.entries and not session.inflight and not session.inbound, "nothing is left behind"
        assert session.owed_bytes == 0


class Steps:
    """A gateway whose commits become durable one by one, and crash after so many of them."""

    def __init__(self) -> None:
        self.play = Play(0, True)
        self.left = 0

    def until(self, commits: int) -> bool:
        """Let so many commits become durable, the clients reading and answering in between; whether there were as many."""
        engine, play = self.play.engine, self.play
        for _ in range(commits):
            if engine._durable == engine._written:
                return False
            engine.flush(engine._durable + 1)
            play.gateway.run()
            play.pub.read()
            play.sub.read()
        return True

    def crash(self) -> None:
        self.play.crash()
        for client in (self.play.pub, self.play.sub):
            client.connect(self.play.gateway, self.play.engine)
        self.play.settle()


@pytest.mark.parametrize("together", [True, False], ids=["in one read", "one by one"])
@pytest.mark.parametrize("away", [True, False], ids=["subscriber away", "subscriber there"])
def test_a_crash_after_any_commit_leaves_qos_2_stored_and_given_once(together: bool, away: bool) -> None:
    after = 0
    again = True
    while again:
        steps = Steps()
        play = steps.play
        if away:
            assert play.sub.peer is not None
            play.sub.peer.wire.close()
        assert play.pub.peer is not None
        wire = play.pub.peer.wire
        expected = [b"%d" % number for number in range(5)]
        for payload in expected:
            play.pub.sent[int(payload) + 1] = payload, 2, False
        packets = [encode(p.Publish(b"t/x", one, 2, False, False, int(one) + 1), play.pub.level) for one in expected]
        for data in [b"".join(packets)] if together else packets:
            wire.send(data)
        again = steps.until(after)
        steps.crash()
        assert play.stored() == expected, after
        assert [payload for payload, _ in play.sub.got] == expected, after
        assert not play.pub.sent
        after += 1
    assert after > 4, "there is more than the PUBLISHes' commit"


@pytest.mark.parametrize("broken", [True, False], ids=["connection lost", "process lost"])
def test_a_crash_after_any_commit_leaves_a_will_stored_once(broken: bool) -> None:
    """Of QoS 2, to be retained, on an address that a topic captures."""
    after = 0
    again = True
    while again:
        steps = Steps()
        play = steps.play
        owner = Peer(play.gateway)
        owner.send_quietly(p.Connect(4, False, 0, b"owner", p.Will(b"t/x", b"will", 2, True), None, None, b""))
        play.settle()
        assert isinstance(owner.received()[0], p.Connack)
        if broken:
            owner.wire.close()
            again = steps.until(after)
        else:
            play.crash()
            again = steps.until(after)
        steps.crash()
        assert play.stored() == [b"will"], after
        assert [payload for payload, _ in play.sub.got] == [b"will"], after
        late = Peer(play.gateway)
        late.connect("late")
        assert [(one.payload, one.retain) for one in published(late.subscribe("t/x"))] == [(b"will", True)]
        after += 1


def test_qos_2_of_a_captured_address_needs_one_commit_to_where_it_is_owed() -> None:
    """Message, received packet identifier, reference and given packet identifier: durable together."""
    steps = Steps()
    play = steps.play
    assert play.pub.peer is not None and play.sub.peer is not None
    before = play.engine._written
    packets = [encode(p.Publish(b"t/x", b"%d" % number, 2, False, False, number), play.pub.level) for number in (1, 2)]
    play.pub.peer.wire.send(b"".join(packets))
    assert play.engine._written == before + 1
    assert play.sub.peer.received() == [] and play.pub.peer.received() == [], "nothing leaves before it is durable"
    play.engine.flush()
    play.gateway.run()
    assert [(one.payload, one.qos) for one in published(play.sub.peer.received())] == [(b"1", 2), (b"2", 2)]
    assert codes(play.pub.peer.received(), p.PUBREC) == [0, 0]
    assert play.engine._written == before + 1


def test_paho_s_qos_2_is_stored_once_in_a_topic_over_kill_9(start_gateway: Callable[..., GatewayProcess]) -> None:
    server = start_gateway()
    asyncio.run(create_topic(server.kafka, "once"))
    pub = Paho(server.port("mqtt"), "once", "3.1.1", 600, again=False)
    told = [pub.client.publish("once/x", b"%d" % number, 2) for number in range(1500)]
    for killed in (told[300], told[900]):
        killed.wait_for_publish(60)
        server.restart(kill=True)
        pub.reconnect()
        assert pub.present
    for one in told:
        one.wait_for_publish(60)
    pub.close()
    assert sorted(asyncio.run(stored(server.kafka, "once")), key=int) == [b"%d" % number for number in range(len(told))]


async def stored(kafka: str, topic: str) -> list[bytes]:
    """All values of a topic, whoever wrote them."""
    reader = KafkaReader(kafka, topic)
    try:
        _, end = await asyncio.to_thread(reader.consumer.get_watermark_offsets, reader.consumer.assignment()[0], 20)
        return [message.payload for message in await reader.read(end)]
    finally:
        await reader.close()
