"""What outlives connections: over crashes, restarts, captured streams, and as a fold that replays to the same state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.harness import Harness
from protocols.mqtt import packets as p
from protocols.mqtt.mapping import pattern_of
from protocols.mqtt.records import pack, unpack
from protocols.mqtt.retained import Retained
from protocols.mqtt.sessions import Sessions
from protocols.mqtt.state import Message
from protocols.mqtt.wire import encode
from substrate.api import (
    DEFAULT_ACCOUNT,
    Address,
    CreateTopic,
    DeleteTopic,
    Durability,
    Group,
    StreamConfig,
    TrimTopic,
)
from substrate.memory import MemoryEngine
from tests.mqtt.peers import Peer, harness
from tests.mqtt.test_session import codes, connected, published


class World:
    """A gateway that can crash; its engine is its disk."""

    def __init__(self, delayed: bool = False) -> None:
        self.engine = MemoryEngine()
        self.delayed = delayed
        self.gateway = harness(engine=self.engine, delayed=delayed)

    def crash(self) -> Harness:
        """Everything but what was durable is gone; the clock goes on."""
        self.engine.lose()
        self.gateway = harness(engine=self.engine, delayed=self.delayed, now_ns=self.gateway.now_ns + 1_000_000_000)
        return self.gateway

    def executor(self) -> Sessions:
        found = self.gateway.sequencer._worlds["mqtt"].executor
        assert isinstance(found, Sessions)
        return found

    def topic(self, name: str) -> None:
        answer = self.ask("topics", CreateTopic(DEFAULT_ACCOUNT, Address(name.encode())))
        assert answer is not None

    def ask(self, executor: str, request: object) -> object:
        answer = self.gateway.sequencer.call(executor, request, self, 1)
        self.gateway.run()
        return answer

    def answered(self, token: int, answer: object) -> None:
        """Parked calls are not made here."""

    def append(self, name: str, *values: bytes, headers: tuple[tuple[bytes, bytes | None], ...] = ()) -> None:
        """As another protocol does: to the stream that captures the address."""
        self.gateway.begin()
        for value in values:
            route = self.gateway.sequencer.interest.resolve(DEFAULT_ACCOUNT, Address(name.encode()))
            assert route.stream
            self.gateway.sequencer.publish(route, Group.of(name.encode(), value, headers), "", None)
        self.gateway.run()


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_a_session_survives_a_crash_with_all_that_was_acknowledged(world: World) -> None:
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("t/#", options=2)
    sub.wire.close()
    pub = connected(world.gateway, "p")
    for number in range(1, 21):
        qos = 1 + number % 2
        answers = pub.publish("t/x", b"%d" % number, qos, packet_id=number)
        assert codes(answers, p.PUBACK if qos == 1 else p.PUBREC) == [0]
    sub = Peer(world.crash())
    assert sub.connect("s", clean=False).session_present
    assert [(payload, qos) for _, payload, qos in sub.take()] == [(b"%d" % n, 1 + n % 2) for n in range(1, 21)]
    sub.wire.close()
    sub = Peer(world.crash())
    assert sub.connect("s", clean=False).session_present and sub.take() == []
    connected(world.gateway, "q").publish("t/y", b"after", 1)
    assert [payload for _, payload, _ in sub.take()] == [b"after"]


def test_qos_2_from_a_client_is_taken_once_over_a_crash(world: World) -> None:
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("t", options=2)
    sub.wire.close()
    pub = connected(world.gateway, "p", clean=False)
    pub.publish("t", b"x", 2, packet_id=5)
    pub = Peer(world.crash())
    assert pub.connect("p", clean=False).session_present
    assert codes(pub.publish("t", b"x", 2, packet_id=5, dup=True), p.PUBREC) == [0]
    assert codes(pub.send(p.Acknowledge(p.PUBREL, 5)), p.PUBCOMP) == [0]
    pub = Peer(world.crash())
    pub.connect("p", clean=False)
    assert codes(pub.publish("t", b"y", 2, packet_id=5), p.PUBREC) == [0]
    sub = connected(world.gateway, "s", clean=False)
    assert [payload for _, payload, _ in sub.take()] == [b"x", b"y"]


def test_qos_2_to_a_client_keeps_its_packet_identifier_over_a_crash(world: World) -> None:
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("t", options=2)
    pub = connected(world.gateway, "p")
    pub.publish("t", b"a", 2, packet_id=1)
    pub.publish("t", b"b", 2, packet_id=2)
    first = published(sub.received())
    sub.send(p.Acknowledge(p.PUBREC, first[1].packet_id))
    sub = connected(world.crash(), "s", clean=False)
    assert sub.received() == [first[0]._replace(dup=True), p.Acknowledge(p.PUBREL, first[1].packet_id)]
    assert sub.send(p.Acknowledge(p.PUBCOMP, first[1].packet_id)) == []
    sub = connected(world.crash(), "s", clean=False)
    assert sub.received() == [first[0]._replace(dup=True)]


def test_retained_messages_survive_a_crash_and_their_deletion_too(world: World) -> None:
    pub = connected(world.gateway, "p", 5)
    listed: p.Properties = [(p.USER_PROPERTY, (b"a", b"1"))]
    pub.publish("r/1", b"one", 1, retain=True, properties=listed)
    pub.publish("r/2", b"two", 1, retain=True)
    pub.publish("r/2", b"", 1, retain=True)
    pub.publish("r/3", b"three", 0, retain=True)
    sub = connected(world.crash(), "s", 5)
    found = published(sub.subscribe("r/#", options=1))
    assert [(one.topic, one.payload, one.qos) for one in found] == [(b"r/1", b"one", 1), (b"r/3", b"three", 0)]
    assert found[0].properties == p_user(listed)


def p_user(listed: p.Properties) -> bytes:
    from protocols.mqtt.wire import encode_properties

    return encode_properties(listed)


def test_wills_of_connections_that_a_crash_ended_are_published(world: World) -> None:
    watcher = connected(world.gateway, "w", clean=False)
    watcher.subscribe("will/#", options=1)
    connected(world.gateway, "now", will=p.Will(b"will/now", b"1", 1, False))
    delay = b"\x18\0\0\0\x0a"
    connected(world.gateway, "later", 5, clean=False, expiry_s=100, will=p.Will(b"will/later", b"2", 1, False, delay))
    connected(world.gateway, "clean", will=p.Will(b"will/clean", b"3", 1, False)).send(p.Disconnect())
    watcher = connected(world.crash(), "w", clean=False)
    assert [topic for topic, _, _ in watcher.take()] == ["will/now"]
    world.gateway.advance(11_000)
    assert [topic for topic, _, _ in watcher.take()] == ["will/later"]
    watcher = connected(world.crash(), "w", clean=False)
    assert watcher.take() == []


def test_sessions_expire_over_a_crash(world: World) -> None:
    connected(world.gateway, "s", 5, clean=False, expiry_s=10).wire.close()
    world.crash()
    world.gateway.advance(9_500)
    assert not Peer(world.gateway, 5).connect("s", clean=False, expiry_s=10).session_present


def test_sessions_that_end_with_their_connection_leave_no_record(world: World) -> None:
    before = world.gateway.sequencer.layer.appended_records
    sub = connected(world.gateway, "s")
    sub.subscribe("t", options=2)
    pub = connected(world.gateway, "p")
    for number in range(1, 10):
        pub.publish("t", b"x", 2, packet_id=number)
        pub.send(p.Acknowledge(p.PUBREL, number))
    assert len(sub.take()) == 9
    sub.send(p.Disconnect())
    pub.wire.close()
    assert world.gateway.sequencer.layer.appended_records == before
    assert world.executor().state.sessions == {}


def test_a_failure_of_the_storage_takes_back_what_was_not_acknowledged_and_nothing_else() -> None:
    engine = MemoryEngine(delayed=True)
    gateway = harness(engine=engine)

    came: list[p.Publish] = []

    def connect(name: str) -> Peer:
        peer = Peer(gateway)
        peer.wire.send(encode(p.Connect(4, False, 0, name.encode())))
        engine.flush()
        gateway.run()
        first, *rest = peer.received()
        assert isinstance(first, p.Connack)
        came.extend(published(rest))
        return peer

    sub, pub = connect("sub"), connect("pub")
    sub.send(p.Subscribe(1, ((b"t", 2),)))
    engine.flush()
    gateway.run()
    sub.wire.close()
    pub.publish("t", b"kept", 2, packet_id=1)
    engine.flush()
    gateway.run()
    assert codes(pub.received(), p.PUBREC) == [0]
    assert codes(pub.publish("t", b"lost", 1, packet_id=2), p.PUBACK) == []
    engine.fail("broken")
    gateway.run()
    assert pub.wire.closed and pub.received() == []
    gateway.advance(5_000)
    engine.flush()
    connect("sub")
    assert [one.payload for one in came] == [b"kept"]
    pub = connect("pub")
    assert codes(pub.send(p.Acknowledge(p.PUBREL, 1)), p.PUBCOMP) == []
    engine.flush()
    gateway.run()
    assert codes(pub.received(), p.PUBCOMP) == [0]


# captured streams


def test_a_stream_s_records_reach_sessions_with_qos_1_whoever_wrote_them(world: World) -> None:
    world.topic("orders")
    sub = connected(world.gateway, "s", 5, clean=False, expiry_s=100)
    sub.subscribe("orders/#", options=1)
    world.append("orders/eu", b"1", b"2", headers=((b"k", b"v"),))
    connected(world.gateway, "p").publish("orders/eu", b"3", 0)
    connected(world.gateway, "q").publish("orders/eu", b"4", 1)
    found = published(sub.received())
    assert [(one.topic, one.payload, one.qos) for one in found] == [
        (b"orders/eu", b"1", 1),
        (b"orders/eu", b"2", 1),
        (b"orders/eu", b"3", 0),
        (b"orders/eu", b"4", 1),
    ]
    assert found[0].properties == p_user([(p.USER_PROPERTY, (b"k", b"v"))])


def test_a_captured_message_comes_once_live_or_owed(world: World) -> None:
    world.topic("orders")
    both = connected(world.gateway, "both")
    both.subscribe("orders/#", options=0)
    both.subscribe("orders/+", options=2)
    live = connected(world.gateway, "live")
    live.subscribe("#", options=0)
    pub = connected(world.gateway, "p")
    for qos in (0, 1, 2):
        pub.publish("orders/x", b"%d" % qos, qos, packet_id=qos)
    assert [(payload, qos) for _, payload, qos in both.take()] == [(b"0", 0), (b"1", 1), (b"2", 2)]
    assert [(payload, qos) for _, payload, qos in live.take()] == [(b"0", 0), (b"1", 0), (b"2", 0)]


def test_records_written_while_a_client_was_away_wait_for_it_over_a_crash(world: World) -> None:
    world.topic("orders")
    sub = connected(world.gateway, "s", clean=False)
    world.append("orders/x", b"before the subscription")
    sub.subscribe("orders/#", options=2)
    sub.wire.close()
    world.append("orders/x", *[b"%d" % number for number in range(50)])
    connected(world.gateway, "p").publish("orders/y", b"mqtt", 2)
    world.crash()
    world.append("orders/x", b"after")
    sub = connected(world.gateway, "s", clean=False)
    assert [payload for _, payload, _ in sub.take()] == [*[b"%d" % number for number in range(50)], b"mqtt", b"after"]
    sub = connected(world.crash(), "s", clean=False)
    assert sub.take() == []


def test_a_stream_made_after_the_subscription_is_read_from_its_beginning(world: World) -> None:
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("new/#", options=1)
    sub.wire.close()
    world.topic("new")
    world.append("new/a", b"1", b"2")
    world.crash()
    world.append("new/b", b"3")
    sub = connected(world.gateway, "s", clean=False)
    assert [payload for _, payload, _ in sub.take()] == [b"1", b"2", b"3"]


def test_what_retention_took_away_is_not_owed_any_more(world: World) -> None:
    world.topic("orders")
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("orders/#", options=1)
    sub.wire.close()
    world.append("orders/x", b"1", b"2", b"3")
    world.ask("topics", TrimTopic(DEFAULT_ACCOUNT, Address(b"orders"), 0, 2))
    world.crash()
    sub = connected(world.gateway, "s", clean=False)
    assert [payload for _, payload, _ in sub.take()] == [b"3"]


def test_a_deleted_topic_is_forgotten_and_its_successor_read_anew(world: World) -> None:
    world.topic("orders")
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("orders/#", options=1)
    world.append("orders/x", b"1")
    assert [payload for _, payload, _ in sub.take()] == [b"1"]
    world.ask("topics", DeleteTopic(DEFAULT_ACCOUNT, Address(b"orders")))
    world.topic("orders")
    world.append("orders/x", b"2")
    assert [payload for _, payload, _ in sub.take()] == [b"2"]
    sub = connected(world.crash(), "s", clean=False)
    world.append("orders/x", b"3")
    assert [payload for _, payload, _ in sub.take()] == [b"3"]


@pytest.mark.parametrize("away", [False, True])
def test_a_topic_in_memory_begins_anew_over_a_crash(away: bool) -> None:
    """What a session was owed of it is gone, and what comes then comes once."""
    world = World()
    world.ask("topics", CreateTopic(DEFAULT_ACCOUNT, Address(b"m"), config=StreamConfig(Durability.MEMORY)))
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("m/#", options=2)
    if away:
        sub.wire.close()
    pub = connected(world.gateway, "p", clean=False)
    for number in range(1, 6):
        assert codes(pub.publish("m/x", b"before", 2, packet_id=number), p.PUBREC) == [0]
    if not away:
        assert len(sub.take()) == 5
    sub, pub = connected(world.crash(), "s", clean=False), connected(world.gateway, "p", clean=False)
    for number in range(6, 9):
        assert codes(pub.publish("m/x", b"%d" % number, 2, packet_id=number), p.PUBREC) == [0]
    assert [payload for _, payload, _ in sub.take()] == [b"6", b"7", b"8"]
    assert connected(world.crash(), "s", clean=False).take() == []


def test_no_local_holds_for_captured_addresses_too(world: World) -> None:
    world.topic("orders")
    one, two = connected(world.gateway, "1", 5), connected(world.gateway, "2", 5)
    for peer in (one, two):
        peer.subscribe("orders/#", options=4 | 1)
    for qos in (0, 1):
        one.publish("orders/x", b"%d" % qos, qos)
    assert [payload for _, payload, _ in two.take()] == [b"0", b"1"]
    assert published(one.received()) == []


def test_shared_subscriptions_share_captured_records(world: World) -> None:
    world.topic("orders")
    members = [connected(world.gateway, f"m{i}", 5, clean=False, expiry_s=100) for i in range(2)]
    for peer in members:
        peer.subscribe("$share/g/orders/#", options=1)
    world.append("orders/x", *[b"%d" % number for number in range(10)])
    shares = [[payload for _, payload, _ in peer.take()] for peer in members]
    assert sorted([one for share in shares for one in share], key=int) == [b"%d" % number for number in range(10)]
    assert all(shares)


def test_a_stream_that_nobody_wants_any_more_is_not_read(world: World) -> None:
    world.topic("orders")
    sub = connected(world.gateway, "s")
    sub.subscribe("orders/#", options=1)
    assert world.executor().state.followed
    sub.send(p.Unsubscribe(2, (b"orders/#",)))
    world.append("orders/x", b"1")
    assert not world.executor().state.followed


def test_a_stream_that_is_far_behind_is_read_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protocols.mqtt.captured.READ_BYTES", 2000)
    monkeypatch.setattr("protocols.mqtt.captured.PROGRESS_RECORDS", 50)
    world.topic("orders")
    sub = connected(world.gateway, "s", clean=False)
    sub.subscribe("orders/wanted", options=1)
    for number in range(100):
        world.append("orders/other", *[b"x" * 500] * 5)
        if number % 10 == 0:
            world.append("orders/wanted", b"%d" % number)
    assert [payload for _, payload, _ in sub.take()] == [b"%d" % number for number in range(0, 100, 10)]
    stream, (_, position) = next(iter(world.executor().state.followed.items()))
    world.crash()
    assert world.executor().state.followed[stream][1] >= position - 50
    world.append("orders/wanted", b"after")
    world.gateway.advance(100)
    sub = connected(world.gateway, "s", clean=False)
    assert [payload for _, payload, _ in sub.take()] == [b"after"]


# the fold


def test_a_replay_lands_in_the_state_that_a_dump_gives_back(world: World) -> None:
    world.topic("orders")
    for name in ("a", "b"):
        sub = connected(world.gateway, name, 5, clean=False, expiry_s=100)
        sub.subscribe("t/#", "orders/#", "$share/g/x", options=2, identifier=3)
    pub = connected(world.gateway, "p", 5, clean=False, expiry_s=50)
    for number in range(1, 8):
        pub.publish("t/x", b"%d" % number, number % 3, packet_id=number, retain=number % 2 == 0)
        world.append("orders/x", b"%d" % number)
    sub.take()
    sub.wire.close()
    world.crash()
    world.gateway.advance(1)
    live = world.executor().dump()
    loaded = Sessions()
    loaded.load(live)
    assert loaded.dump() == live
    world.crash()
    assert len(world.executor().state.sessions) == 3


@given(
    st.recursive(
        st.none() | st.integers(-(2**60), 2**60) | st.binary(max_size=9),
        lambda some: st.lists(some, max_size=4).map(tuple),
        max_leaves=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_values_of_records_round_trip(value: object) -> None:
    assert unpack(pack(value)) == value


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    try:
        value = unpack(data)
    except ValueError:
        return
    assert unpack(pack(value)) == value


topics = st.lists(st.sampled_from(["a", "b", "", "$x", "c"]), min_size=1, max_size=4).map("/".join)
filters = st.lists(st.sampled_from(["a", "b", "+", "", "$x"]), min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from(["/".join(parts), "/".join([*parts, "#"])])
)


@given(st.lists(topics, max_size=12), st.lists(topics, max_size=4), filters)
@settings(max_examples=200, deadline=None)
def test_the_tree_of_retained_messages_finds_what_a_filter_matches(
    kept: list[str], deleted: list[str], text: str
) -> None:
    tree = Retained()
    for topic in kept:
        tree.set(topic.encode(), Message(topic.encode(), b"x", 0, True, b"", 0))
    for topic in deleted:
        tree.set(topic.encode(), None)
    left = set(kept) - set(deleted)
    assert tree.count == len(left) == len(tree.all())
    pattern = pattern_of(text.encode())
    assert sorted(one.topic.decode() for one in tree.match(pattern)) == sorted(
        topic for topic in left if pattern.matches(Address(topic.encode()))
    )
    for topic in left:
        assert tree.get(topic.encode()) is not None
    for topic in list(left):
        tree.set(topic.encode(), None)
    assert not tree._root.children


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("online", [False, True])
def test_a_run_of_qos_1_outlives_a_crash_in_its_order(captured: bool, online: bool) -> None:
    world = World()
    if captured:
        world.topic("run")
    sub = connected(world.gateway, "kept", 4, clean=False)
    sub.subscribe("run/#", options=1)
    if not online:
        sub.wire.close()
    pub = connected(world.gateway, "p", 4)
    pub.publish("run/a", b"first", 1)  # from here on the topic's address is known, and runs are runs
    sent = [p.Publish(b"run/a", b"%d" % number, 1, False, False, number + 2) for number in range(50)]
    assert codes(pub.send(*sent), p.PUBACK) == [0] * 50
    expected = [b"first", *(b"%d" % number for number in range(50))]
    if online:
        assert [one.payload for one in published(sub.received())] == expected
    world.crash()
    again = Peer(world.gateway, 4)
    assert again.connect("kept", False).session_present
    assert [payload for _, payload, _ in again.take()] == expected
    again.wire.close()
    world.crash()
    last = Peer(world.gateway, 4)
    assert last.connect("kept", False).session_present
    assert last.take() == []
