"""The delivery kernel against a plain model: whatever is in the buffer and however it is cut, each sink gets its packets."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.mqtt import packets as p
from protocols.mqtt.delivery import Forwarder, LiveSink, Plan, Target
from protocols.mqtt.wire import decode, encode, encode_properties
from protocols.outbox import Outbox
from substrate.group import Group

IDENTIFIERS = encode_properties([(p.SUBSCRIPTION_ID, 300)])


@dataclass
class Route:
    address: bytes


@dataclass
class FakeLive:
    """Plans every topic but those that begin with ``$``; topics that begin with ``f`` also go to the port."""

    targets: tuple[Target, ...] = ()
    asked: list[bytes] = field(default_factory=list)
    groups: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    given: list[tuple[bytes, bytes]] = field(default_factory=list)

    def plan(self, topic: bytes) -> Plan | None:
        self.asked.append(topic)
        if topic.startswith(b"$"):
            return None
        return Plan(1, Route(topic), self.targets, topic.startswith(b"f"), ())

    def publish(self, route: Route, group: Group) -> None:
        self.groups.append((route.address, [record.value for record in group.records()]))

    def give(self, topic: bytes, payload: bytes, retain: bool, properties: bytes) -> None:
        self.given.append((topic, payload))


topics = st.sampled_from([b"a", b"f", b"fa/b", b"a" * 130, b"$x"])
plain = st.tuples(topics, st.binary(max_size=150)).map(lambda pair: p.Publish(*pair))
others = st.sampled_from(
    [p.Publish(b"a", b"x", 1, False, False, 7), p.Publish(b"a", b"x", 0, True), p.Ping(p.PINGREQ), p.Disconnect()]
)


def packets_of(outbox: Outbox, level: int) -> list[p.Publish]:
    with outbox.peek() as view:
        data = bytes(view)
    found, at = [], 0
    while at < len(data):
        one = decode(data, at, len(data), level, from_client=False)
        assert one is not None
        found.append(one[0])
        at = one[1]
    return found


@given(
    st.sampled_from([4, 5]),
    st.lists(st.one_of(plain, plain, plain, others), max_size=12),
    st.integers(0, 40),
    st.integers(0, 2000),
    st.sampled_from([60, 268_435_460]),
)
@settings(max_examples=200, deadline=None)
def test_every_sink_gets_the_plain_packets_before_the_first_other_one(
    level: int, sent: list[object], offset: int, cut: int, bytes_max: int
) -> None:
    live = FakeLive()
    sinks = []
    for sink_level, identifiers in ((4, b""), (5, b""), (5, IDENTIFIERS)):
        sink = LiveSink(live, live, Outbox(), sink_level, 1 << 30)
        sink.packet_bytes_max = bytes_max
        sinks.append((sink, identifiers))
    aliases = LiveSink(live, live, Outbox(), 5, 1 << 30)
    aliases.aliases = True
    live.targets = tuple([Target(sink, identifiers) for sink, identifiers in [*sinks, (aliases, b"")]])
    forwarder = Forwarder(live, live, level, 1000)
    frames = [encode(one, level) for one in sent]
    data = bytearray(b"\x30" * offset + b"".join(frames))
    end = min(len(data), offset + cut)

    expected, at = [], offset
    for one, frame in zip(sent, frames, strict=True):
        is_plain = isinstance(one, p.Publish) and not one.qos and not one.retain and not one.topic.startswith(b"$")
        if not is_plain or at + len(frame) > end:
            break
        expected.append(one)
        at += len(frame)
    assert forwarder.run(data, offset, end, 1) == at

    for sink, identifiers in sinks:
        wanted = [one._replace(properties=identifiers) for one in expected]
        small = [one for one in wanted if len(encode(one, sink.level)) <= bytes_max]
        assert packets_of(sink.outbox, sink.level) == small
    assert live.given == [(one.topic, one.payload) for one in expected]
    told = [(address, value) for address, values in live.groups for value in values]
    assert told == [(one.topic, one.payload) for one in expected if one.topic.startswith(b"f")]
    runs = sum(1 for i, one in enumerate(expected) if i == 0 or expected[i - 1].topic != one.topic)
    assert len(live.asked) <= runs + 1, "a topic is looked up once a run"


@given(st.binary(max_size=80), st.sampled_from([4, 5]))
@settings(max_examples=200, deadline=None)
def test_garbage_is_left_where_it_is_or_is_a_packet(data: bytes, level: int) -> None:
    live = FakeLive()
    outbox = Outbox()
    live.targets = (Target(LiveSink(live, live, outbox, level, 1 << 30), b""),)
    start = b"\x30" + data
    end = Forwarder(live, live, level, 1000).run(start, 0, len(start), 1)
    assert 0 <= end <= len(start)
    with outbox.peek() as view:
        assert bytes(view) == start[:end]


def test_a_full_outbox_takes_no_more_and_counts_what_it_missed() -> None:
    live = FakeLive()
    sink = LiveSink(live, live, Outbox(), 4, 100)
    live.targets = (Target(sink, b""),)
    frame = encode(p.Publish(b"a", b"x" * 50))
    forwarder = Forwarder(live, live, 4, 1000)
    for _ in range(10):
        forwarder.run(frame * 2, 0, 2 * len(frame), 1)
    assert sink.dropped == 18 and len(packets_of(sink.outbox, 4)) == 2


def test_packets_behind_a_confirmation_that_has_not_left_wait_for_it() -> None:
    live = FakeLive()
    outbox = Outbox()
    sink = LiveSink(live, live, outbox, 4, 1 << 20)
    live.targets = (Target(sink, b""),)
    frame = encode(p.Publish(b"a", b"x"))
    slot = outbox.open()
    sink.held = True
    forwarder = Forwarder(live, live, 4, 1000)
    forwarder.run(frame, 0, len(frame), 1)
    assert outbox.ready() == 0
    outbox.fill(slot, b"\x90\x03\0\1\0")
    forwarder.run(frame, 0, len(frame), 1)
    with outbox.peek() as view:
        assert bytes(view) == b"\x90\x03\0\1\0" + 2 * frame


def test_a_new_generation_asks_for_plans_again() -> None:
    live = FakeLive()
    forwarder = Forwarder(live, live, 4, 1000)
    frame = encode(p.Publish(b"a", b"x"))
    for generation in (1, 1, 2):
        forwarder.run(frame, 0, len(frame), generation)
    assert live.asked == [b"a", b"a"]
