"""Two gateways and one sequencer: live messages cross by interest, state has one owner, a lost link costs connections."""

from __future__ import annotations

import inspect
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.far_harness import FarHarness
from conformance.harness import Client
from conformance.simulated_peers import PRODUCE, Book, KafkaPeer, _batch
from protocols.guests import GatewayGuest
from protocols.local import LocalPort
from protocols.mqtt import packets as mqtt
from protocols.mqtt.wire import encode
from protocols.remote import RemotePort
from substrate.address import RESP
from substrate.api import DEFAULT_ACCOUNT, Called, CreateTopic, ErrorCode, StreamError
from substrate.group import Group
from substrate.interest import Glob, Tokens
from substrate.memory import MemoryEngine
from substrate.remote.codec import FrameError
from substrate.remote.frames import GONE_NS
from substrate.remote.objects import Objects
from thalweg.travellers import objects

TRAVELLING = objects()


@pytest.fixture
def two() -> tuple[FarHarness, FarHarness]:
    one = FarHarness(TRAVELLING)
    return one, FarHarness(TRAVELLING, beside=one)


def nats(gateway: FarHarness, options: bytes = b"") -> Client:
    client = gateway.connect("nats")
    client.send(b'CONNECT {"verbose":false,"headers":true,"no_responders":true%s}\r\nPING\r\n' % options)
    assert b"PONG" in client.read()
    return client


def ask(client: Client, data: bytes) -> bytes:
    client.send(data)
    return client.read()


def resp(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


def tell(client: Client, *packets: object, level: int = 5) -> bytes:
    return ask(client, b"".join(encode(packet, level) for packet in packets))


def test_messages_cross_gateways_and_protocols_once(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    here, there = nats(one), nats(other)
    assert ask(there, b"SUB a.> 1\r\nSUB a.b 2\r\nPING\r\n") == b"PONG\r\n"
    listener = other.connect("resp")
    assert b"psubscribe" in ask(listener, resp("PSUBSCRIBE", "a:*"))
    assert ask(here, b"SUB a.b 9\r\nPUB a.b 2\r\nhi\r\n") == b"MSG a.b 9 2\r\nhi\r\n"
    assert there.read() == b"MSG a.b 1 2\r\nhi\r\nMSG a.b 2 2\r\nhi\r\n"
    assert b"a:b" in listener.read()
    assert ask(there, b"UNSUB 1\r\nUNSUB 2\r\nPING\r\n") == b"PONG\r\n"
    ask(listener, resp("PUNSUBSCRIBE"))
    assert ask(here, b"UNSUB 9\r\nPUB a.b r 2\r\nyo\r\nPING\r\n").count(b"MSG") == 0
    assert b"NATS/1.0 503" in ask(here, b"SUB r 3\r\nPUB a.b r 2\r\nyo\r\n"), "nobody anywhere"


def test_who_is_answered_there_is_found(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    server, asker = nats(one), nats(other)
    ask(server, b"SUB help 1\r\nPING\r\n")
    ask(asker, b"SUB _INBOX.x.* 2\r\nPING\r\n")
    assert ask(asker, b"PUB help _INBOX.x.1 1\r\n?\r\n") == b""
    assert server.read() == b"MSG help 1 _INBOX.x.1 1\r\n?\r\n"
    ask(server, b"PUB _INBOX.x.1 1\r\n!\r\n")
    assert asker.read() == b"MSG _INBOX.x.1 2 1\r\n!\r\n"


def test_of_a_queue_group_over_gateways_one_gets_each_message(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    members = [nats(one), nats(one), nats(other)]
    for member in members:
        ask(member, b"SUB work q 1\r\nPING\r\n")
    sender = nats(one)
    got = [0, 0, 0]
    for _ in range(60):
        ask(sender, b"PUB work 1\r\nx\r\n")
        counts = [member.read().count(b"MSG work") for member in members]
        assert sum(counts) == 1
        got = [before + now for before, now in zip(got, counts, strict=True)]
    assert all(got), f"each takes its share: {got}"
    members[2].close()
    for _ in range(10):
        ask(sender, b"PUB work 1\r\nx\r\n")
    assert sum(member.read().count(b"MSG work") for member in members[:2]) == 10


def test_captured_messages_reach_everybody_in_order_and_nobody_his_own_who_does_not_want_it(
    two: tuple[FarHarness, FarHarness],
) -> None:
    one, other = two
    config = b'{"name":"orders","subjects":["orders.>"]}'
    here, there = nats(one, b',"echo":false'), nats(other)
    ask(here, b"PUB $JS.API.STREAM.CREATE.orders 0\r\n\r\n".replace(b"0\r\n", b"%d\r\n%s" % (len(config), config)))
    ask(here, b"SUB orders.> 1\r\nPING\r\n")
    ask(there, b"SUB orders.> 1\r\nPING\r\n")
    ask(here, b"".join(b"PUB orders.%d 1\r\n%d\r\n" % (n, n) for n in range(5)) + b"PING\r\n")
    assert there.read() == b"".join(b"MSG orders.%d 1 1\r\n%d\r\n" % (n, n) for n in range(5))
    assert ask(there, b"PUB orders.9 1\r\n9\r\n") == b"MSG orders.9 1 1\r\n9\r\n"
    one.run()
    assert here.read().endswith(b"MSG orders.9 1 1\r\n9\r\n")
    assert one.centre.sequencer.layer.streams[one.sequencer.topics[DEFAULT_ACCOUNT, b"orders"].streams[0]].next == 6


def test_the_keyspace_is_one_and_a_blocked_command_is_woken_from_elsewhere(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    here, there = one.connect("resp"), other.connect("resp")
    assert ask(here, resp("SET", "k", "v") + resp("INCR", "n")) == b"+OK\r\n:1\r\n"
    assert ask(there, resp("GET", "k") + resp("INCR", "n")) == b"$1\r\nv\r\n:2\r\n"
    assert ask(here, resp("BLPOP", "q", "0")) == b""
    assert ask(there, resp("RPUSH", "q", "x")) == b":1\r\n"
    one.run()
    assert here.read() == b"*2\r\n$1\r\nq\r\n$1\r\nx\r\n"


def test_an_mqtt_session_moves_to_the_gateway_where_its_client_comes_back(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    first = one.connect("mqtt")
    properties = mqtt.Connect(5, False, 30, b"c", properties=b"\x11\x00\x00\x0e\x10")
    assert tell(first, properties)[0] == 0x20
    tell(first, mqtt.Subscribe(1, ((b"t/#", 1),), b""))
    sender = other.connect("mqtt")
    tell(sender, mqtt.Connect(5, True, 30, b"s"))
    assert tell(sender, mqtt.Publish(b"t/1", b"one", 1, packet_id=1))[0] == 0x40
    one.run()
    assert b"one" in first.read()
    again = other.connect("mqtt")
    answer = tell(again, properties)
    assert answer[:3] == b"\x20" + answer[1:2] + b"\x01", "the session is present"
    assert b"one" in answer + again.read(), "what was not acknowledged comes again"
    one.run()
    assert first.read()[0] == 0xE0 and first.closed, "it is told that another took over"


def test_a_gateway_that_is_gone_takes_its_sessions_along(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    dying = other.connect("mqtt")
    tell(dying, mqtt.Connect(5, True, 30, b"d", mqtt.Will(b"will", b"gone", 0, False)))
    watcher = nats(one)
    ask(watcher, b"SUB will 1\r\nPING\r\n")
    one.network.partition("gateway2", "centre")
    server = one.centre.server
    assert server is not None
    now_ns = one.centre.now_ns + GONE_NS
    for guest in server.guests:
        guest.heard_ns = now_ns - (GONE_NS if is_of(guest, other) else 0)
    server.tick(now_ns)
    one.run()
    assert b"gone" in watcher.read()
    one.network.advance(60_000_000_000)
    assert dying.closed and other.reasons


def is_of(guest: GatewayGuest, gateway: FarHarness) -> bool:
    return guest._out.link is not None and guest._out.link.peer == f"sim://{gateway.name}"


def test_a_topic_is_known_before_its_creation_is_answered(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    seen: list[object] = []

    class Asker:
        outbox = None

        def answered(self, token: int, answer: object) -> None:
            assert isinstance(answer, Called)
            seen.append((answer.answer, one.sequencer.topics.get((DEFAULT_ACCOUNT, b"t"))))

    port = one.sequencer.port(lambda: None)
    port.session = Asker()  # type: ignore[assignment]
    port.call("topics", CreateTopic(DEFAULT_ACCOUNT, b"t"), 1)  # type: ignore[arg-type]
    port.call("topics", CreateTopic(DEFAULT_ACCOUNT, b"t"), 2)  # type: ignore[arg-type]
    one.run()
    (made, known), (refused, _) = seen
    assert known is not None and made == known
    assert isinstance(refused, StreamError) and refused.code is ErrorCode.EXISTS
    assert other.sequencer.topics[DEFAULT_ACCOUNT, b"t"] == made  # type: ignore[index]


def test_what_matches_is_what_travels() -> None:
    """Interest decides what a gateway is sent: nothing else."""
    one = FarHarness(TRAVELLING)
    other = FarHarness(TRAVELLING, beside=one)
    idle = nats(other)
    ask(idle, b"SUB wanted.* 1\r\nPING\r\n")
    (guest, _) = sorted(one.centre.server.guests, key=lambda guest: len(guest._interests), reverse=True)  # type: ignore[union-attr]
    sent: list[bytes] = []
    deliver = guest.deliver
    guest.deliver = lambda account, group, queue: (sent.append(group.address), deliver(account, group, queue))
    sender = nats(one)
    ask(sender, b"PUB unwanted.x 1\r\nx\r\nPUB wanted.x 1\r\nx\r\nPUB wanted 1\r\nx\r\n")
    assert sent == [b"wanted/x"] and idle.read().count(b"MSG") == 1


def kafka_script(gateway: FarHarness) -> list[bytes]:
    """Three records by a real codec."""
    asker = KafkaPeer("asker", Book(), random.Random(0))
    client = gateway.connect("kafka")
    said = bytearray()
    asker.say = said.__iadd__  # type: ignore[assignment,method-assign]

    def tell() -> bytes:
        data = bytes(said)
        said.clear()
        return ask(client, data)

    asker.ask(3, 5, asker.make(3, topics=[asker.make(3, "topics", name="ev")], allow_auto_topic_creation=True))
    told = [tell()]
    partition = asker.make(PRODUCE, "topic_data", "partition_data", index=0, records=_batch([b"a", b"b", b"c"], -1, -1))
    topic = asker.make(PRODUCE, "topic_data", name="ev", partition_data=[partition])
    asker.ask(PRODUCE, 8, asker.make(PRODUCE, transactional_id=None, acks=-1, timeout_ms=100, topic_data=[topic]))
    return [*told, tell()]


def test_a_kafka_batch_reaches_subscribers_of_another_gateway(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    listener = nats(other)
    ask(listener, b"SUB ev 1\r\nPING\r\n")
    told = kafka_script(one)
    assert told
    assert listener.read().count(b"MSG ev 1") >= 3


def test_messages_of_one_turn_are_spread_over_a_queue_group(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    members = [nats(one), nats(other), nats(other)]
    for member in members:
        ask(member, b"SUB work q 1\r\nPING\r\n")
    sender = nats(one)
    ask(sender, b"PUB work 1\r\nx\r\n" * 90)
    counts = [member.read().count(b"MSG work") for member in members]
    assert sum(counts) == 90 and all(counts), counts


# objects

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.binary(max_size=20)
    | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value: object) -> None:
    assert TRAVELLING.decode(TRAVELLING.encode(value)) == value


@given(st.binary(max_size=80))
def test_garbage_is_an_object_or_refused(data: bytes) -> None:
    try:
        TRAVELLING.decode(data)
    except FrameError:
        pass


def test_only_registered_classes_travel() -> None:
    class Mine:
        pass

    with pytest.raises(TypeError):
        TRAVELLING.encode(Mine())
    assert Objects([]).digest != TRAVELLING.digest


def test_groups_and_patterns_travel() -> None:
    group = Group(b"a/b", b"xxabcd")
    group.add(2, 2)
    group.add_with_headers(4, 2, ((b"h", None),))
    again = TRAVELLING.decode(TRAVELLING.encode(group))
    assert (again.address, again.count, again.value(0), again.value(1)) == (b"a/b", 2, b"ab", b"cd")
    assert again.headers == [(), ((b"h", None),)]
    assert TRAVELLING.decode(TRAVELLING.encode(Tokens(b"a/%>", True))).text == b"a/%>"
    assert Glob(b"a:*", RESP.text).matches(b"a/b")  # type: ignore[arg-type]


# the sequencer's disk


def test_a_full_disk_at_the_sequencer_refuses_writes_and_goes_on_reading(two: tuple[FarHarness, FarHarness]) -> None:
    one, other = two
    client, streams = one.connect("resp"), nats(other)
    assert ask(client, resp("SET", "k", "v")) == b"+OK\r\n"
    config = b'{"name":"orders","subjects":["orders.>"]}'
    ask(streams, b"PUB $JS.API.STREAM.CREATE.orders %d\r\n%s\r\n" % (len(config), config))
    engine = one.centre.sequencer.layer.engine
    reserve = engine.reserve
    engine.reserve = lambda size: False  # type: ignore[method-assign]
    one.centre.begin()
    one.centre.sequencer.calls.checked = False
    assert ask(client, resp("SET", "k", "w")).startswith(b"-")
    assert b"err_code" in ask(streams, b"SUB r 1\r\nPUB orders.1 r 1\r\nx\r\n")
    engine.reserve = reserve  # type: ignore[method-assign]
    assert ask(client, resp("GET", "k")) == b"$1\r\nv\r\n"
    assert ask(client, resp("SET", "k", "w")) == b"+OK\r\n"
    assert b'"seq":1' in ask(streams, b"PUB orders.1 r 1\r\nx\r\n")


def test_what_was_not_durable_when_the_disk_failed_is_answered_by_nobody() -> None:
    """Its connections end, at every gateway; the others go on in the new epoch."""
    engine = MemoryEngine(delayed=True)
    one = FarHarness(TRAVELLING, engine=engine)
    engine.flush()
    one.run()
    waiting, idle = nats(one), nats(one)
    config = b'{"name":"orders","subjects":["orders.>"]}'
    ask(idle, b"SUB made 1\r\nPUB $JS.API.STREAM.CREATE.orders made %d\r\n%s\r\n" % (len(config), config))
    engine.flush()
    one.run()
    assert b"stream_create_response" in idle.read()
    assert ask(waiting, b"SUB r 1\r\nPUB orders.1 r 1\r\nx\r\nPING\r\n").count(b'"seq"') == 0
    engine.fail("told to")
    one.run()
    assert waiting.closed and not idle.closed
    one.centre.advance(3_000)
    engine.flush()
    one.run()
    answer = ask(idle, b"SUB r 2\r\nPUB orders.1 r 1\r\nx\r\nPING\r\n")
    engine.flush()
    one.run()
    assert b'"seq":1' in answer + idle.read()


def test_a_far_port_may_be_asked_all_that_a_port_may() -> None:
    """Every method of the port, with the same parameters as beside the sequencer."""
    for name, method in inspect.getmembers(LocalPort, inspect.isfunction):
        if not name.startswith("_"):
            here = list(inspect.signature(method).parameters)
            there = list(inspect.signature(getattr(RemotePort, name)).parameters)
            assert here == there, name
