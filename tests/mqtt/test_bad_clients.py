"""A bad client costs one connection, bounded memory, and nobody else anything."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import paho.mqtt.client as paho
import pytest

from conformance.meters import resident_bytes
from conformance.process import GatewayProcess
from protocols.mqtt import packets as p
from protocols.mqtt.session import Settings
from protocols.mqtt.sessions import Limits
from protocols.mqtt.wire import encode, encode_properties, varint
from tests.mqtt.clients import Paho
from tests.mqtt.peers import Peer, harness
from tests.mqtt.test_session import codes, connected, published

CONNECT = encode(p.Connect(4, True, 0, b"bad"))
CONNECT_5 = encode(p.Connect(5, True, 0, b"bad"))


def connect_with(flags: int, rest: bytes, level: int = 4) -> bytes:
    body = b"\0\4MQTT" + bytes((level, flags)) + b"\0\0" + rest
    return b"\x10" + varint(len(body)) + body


BAD_FIRST = {
    "a will without its payload": connect_with(6, b"\0\1w\0\1t"),
    "a will with a wildcard": connect_with(6, b"\0\1w\0\1#\0\1x"),
    "a will with an empty topic": connect_with(6, b"\0\1w\0\0\0\1x"),
    "a will with properties beyond it": connect_with(6, b"\0\0\1w\x7f\0\1t\0\1x", 5),
    "a will property of another packet": connect_with(6, b"\0\0\1w\5\x11\0\0\0\1\0\1t\0\1x", 5),
    "a will of QoS 3": connect_with(0x1E, b"\0\1w\0\1t\0\1x"),
    "a remaining length of 5 bytes": b"\x10\xff\xff\xff\xff\x01",
    "256 MB announced": b"\x10\xff\xff\xff\x7f",
    "PUBLISH first": encode(p.Publish(b"t", b"x")),
    "CONNACK first": b"\x20\2\0\0",
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "TLS": bytes.fromhex("16030100a5010000a10303"),
    "a client identifier that is not UTF-8": connect_with(2, b"\0\2\xff\xfe"),
}
BAD_LATER = {
    "a remaining length of 5 bytes": b"\x30\xff\xff\xff\xff\x01",
    "a frame of 256 MB": b"\x30\xff\xff\xff\x7f",
    "packet identifier 0": b"\x32\5\0\1t\0\0",
    "SUBSCRIBE with identifier 0": b"\x82\6\0\0\0\1t\0",
    "CONNECT again": CONNECT,
    "CONNACK": b"\x20\2\0\0",
    "QoS 3": b"\x36\5\0\1t\0\1",
    "a topic beyond its packet": b"\x30\3\x7f\xfft",
    "a truncated QoS 1 PUBLISH": b"\x32\3\0\1t",
    "NUL in a topic": b"\x30\4\0\2a\0",
    "a topic of 200 levels": encode(p.Publish(b"/" * 200, b"x")),
    "SUBSCRIBE with wrong flags": b"\x80\6\0\1\0\1t\0",
    "packet type 15 below 5.0": b"\xf0\0",
    "packet type 0": b"\0\0",
}


@pytest.mark.parametrize("name", BAD_FIRST)
def test_a_bad_first_packet_costs_its_connection_only(name: str) -> None:
    gateway = harness()
    good = connected(gateway, "good")
    peer = gateway.connect("mqtt")
    peer.send(BAD_FIRST[name])
    assert peer.closed
    assert good.send(p.Ping(p.PINGREQ)) == [p.Ping(p.PINGRESP)]


@pytest.mark.parametrize("name", BAD_LATER)
@pytest.mark.parametrize("level", [4, 5])
def test_a_bad_packet_costs_its_connection_only(name: str, level: int) -> None:
    gateway = harness()
    good = connected(gateway, "good")
    good.subscribe("will", options=1)
    bad = connected(gateway, "bad", level, will=p.Will(b"will", b"x", 1, False))
    data = BAD_LATER[name]
    if level == 5:
        data = data.replace(b"\x82\6\0\0\0\1t\0", b"\x82\7\0\0\0\0\1t\0")
    if level == 5 and name.startswith("packet type 15"):
        data = b"\xf0\1\x18"
    bad.wire.send(data)
    assert bad.wire.closed
    if level == 5:
        said = bad.received()
        assert isinstance(said[-1], p.Disconnect) and said[-1].code >= 0x80
    assert [topic for topic, _, _ in good.take()] == ["will"]
    assert good.send(p.Ping(p.PINGREQ)) == [p.Ping(p.PINGRESP)]


def test_acknowledgements_of_nothing_are_answered_and_forgotten() -> None:
    gateway = harness()
    peer = connected(gateway, "c", 5)
    assert peer.send(p.Acknowledge(p.PUBACK, 9), p.Acknowledge(p.PUBCOMP, 9)) == []
    assert peer.send(p.Acknowledge(p.PUBREL, 9)) == [p.Acknowledge(p.PUBCOMP, 9, 0x92)]
    assert peer.send(p.Acknowledge(p.PUBREC, 9)) == [p.Acknowledge(p.PUBREL, 9, 0x92)]
    old = connected(gateway, "d", 4)
    assert old.send(p.Acknowledge(p.PUBREL, 9)) == [p.Acknowledge(p.PUBCOMP, 9)]


def test_a_wrong_acknowledgement_of_a_qos_2_message_completes_nothing() -> None:
    gateway = harness()
    sub = connected(gateway, "s")
    sub.subscribe("t", options=2)
    connected(gateway, "p").publish("t", b"x", 2)
    one = published(sub.received())[0]
    assert sub.send(p.Acknowledge(p.PUBACK, one.packet_id), p.Acknowledge(p.PUBCOMP, one.packet_id)) == []
    assert sub.send(p.Acknowledge(p.PUBREC, one.packet_id)) == [p.Acknowledge(p.PUBREL, one.packet_id)]


def test_qos_2_messages_never_completed_are_bounded_by_packet_identifiers() -> None:
    gateway = harness()
    peer = connected(gateway, "c", 4)
    for _ in range(3):
        for packet_id in range(1, 200):
            assert codes(peer.publish("t", b"x" * 100, 2, packet_id=packet_id), p.PUBREC) == [0]
    sessions = gateway.sequencer._worlds["mqtt"].executor
    assert sum(len(session.inbound) for session in sessions.state.sessions.values()) == 199


@pytest.mark.parametrize("seed", range(40))
def test_two_clients_of_one_identifier_who_send_garbage_hurt_nobody(seed: int) -> None:
    chance = random.Random(seed)
    gateway = harness(seed)
    good = connected(gateway, "good", 5)
    good.subscribe("safe", options=2)
    frames = [
        *BAD_LATER.values(),
        encode(p.Subscribe(1, ((b"#", 2),))),
        encode(p.Publish(b"t", b"x", 2, True, False, 3)),
        CONNECT,
    ]
    twins: list[Peer] = []
    for _ in range(30):
        if len(twins) < 2:
            twin = Peer(gateway, chance.choice([4, 5]))
            twin.wire.send(
                encode(p.Connect(twin.level, chance.random() < 0.5, 0, b"twin", p.Will(b"t", b"w", 1, True)))
            )
            twins.append(twin)
        data = bytearray(chance.choice(frames))
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        twin = chance.choice(twins)
        twin.wire.send(bytes(data[: chance.randrange(1, len(data) + 1)]))
        twins = [one for one in twins if not one.wire.closed]
    assert [one.payload for one in published(good.publish("safe", b"1", 1))] == [b"1"]


def test_a_slow_reader_loses_qos_0_messages_and_then_its_connection_and_no_memory() -> None:
    gateway = harness(settings=Settings(pending_bytes_max=100_000))
    slow = connected(gateway, "slow")
    slow.subscribe("t")
    slow.wire.reads = False
    fast = connected(gateway, "fast")
    fast.subscribe("t")
    pub = connected(gateway, "p")
    got = 0
    for _ in range(100):
        pub.send(*[p.Publish(b"t", b"x" * 1000) for _ in range(20)])
        got += len(fast.take())
    assert got == 2000
    assert slow.wire.closed or slow.wire.outbox.size() < 400_000


def test_a_subscriber_that_never_acknowledges_holds_a_window_and_a_bounded_queue() -> None:
    gateway = harness(limits=Limits(queue_messages_max=500))
    silent = connected(gateway, "silent", 5, receive_maximum=10)
    silent.subscribe("t", options=1)
    pub = connected(gateway, "p")
    for start in range(0, 2000, 100):
        pub.send(*[p.Publish(b"t", b"x", 1, False, False, start + i + 1) for i in range(100)])
    assert len(published(silent.received())) == 10
    executor = gateway.sequencer._worlds["mqtt"].executor
    session = next(one for one in executor.state.sessions.values() if one.client_id == b"silent")
    assert len(session.queue) <= 500 and gateway.counters["mqtt_queue_full_drops"] >= 1400


def test_many_filters_and_deep_topics_cost_no_stack() -> None:
    gateway = harness()
    peer = connected(gateway, "c", 5)
    deep = "/".join(["a"] * 127)
    assert isinstance(peer.subscribe(deep, deep + "/#", "/".join(["+"] * 127), options=1)[0], p.Suback)
    assert len(published(peer.publish(deep, b"x", 1, retain=True))) == 1
    filters = tuple((b"f/%d" % number, 1) for number in range(5000))
    answers = peer.send(p.Subscribe(7, filters))
    assert answers == [p.Suback(7, (1,) * 5000)]


def test_filters_and_topics_of_many_levels_cost_no_more_than_their_bounds() -> None:
    gateway = harness()
    peer = connected(gateway, "c", 5)
    deep = b"/".join([b"%d"] * 100)
    answers: list[int] = []
    for start in range(0, 600, 100):
        filters = tuple((deep.replace(b"%d", b"%d" % number), 1) for number in range(start, start + 100))
        answers += peer.send(p.Subscribe(7, filters))[0].codes  # type: ignore[attr-defined]
    assert answers.count(1) == 500 and answers.count(0x97) == 100
    large = p.Subscribe(8, tuple((b"x" * 1000, 0) for _ in range(200)))
    assert peer.send(large) == [p.Disconnect(0x95)]


# the real process


@pytest.fixture
def raw(gateway: GatewayProcess) -> Iterator[Callable[[], socket.socket]]:
    """Sockets to the gateway."""
    made: list[socket.socket] = []

    def connect() -> socket.socket:
        made.append(socket.create_connection(("127.0.0.1", gateway.port("mqtt")), timeout=20))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def test_half_a_frame_and_silence_cost_the_keep_alive(raw: Callable[[], socket.socket]) -> None:
    one = raw()
    one.sendall(encode(p.Connect(5, True, 1, b"half")) + b"\x30\x20\0\1t")
    data = b""
    while chunk := one.recv(4096):
        data += chunk
    assert data.endswith(b"\xe0\1\x8d"), "keep alive timeout"


def test_the_reason_of_a_disconnect_arrives_though_the_client_goes_on_sending(raw: Callable[[], socket.socket]) -> None:
    """A close with unread input would reset the connection and destroy the DISCONNECT."""
    one = raw()
    publish = encode(p.Publish(b"t", b"x" * 500, 2, False, False, 1), 5)
    flood = b"".join(publish.replace(b"\0\1t\0\1", b"\0\1t" + number.to_bytes(2, "big")) for number in range(1, 2000))
    one.sendall(CONNECT_5 + flood)
    data = b""
    try:
        while chunk := one.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    assert b"\xe0\1\x93" in data, "receive maximum exceeded"


def test_floods_leave_the_process_small_and_others_served(
    gateway: GatewayProcess, raw: Callable[[], socket.socket]
) -> None:
    good = Paho(gateway.port("mqtt"), "good-among-bad")
    good.subscribe("fine", qos=1)
    before = resident_bytes(gateway.pid)
    chance = random.Random(5)
    for _ in range(100):
        one = raw()
        one.sendall(CONNECT + b"\x30\xf0\xff\x3f\0\1t" + b"x" * chance.randrange(1000))
    for _ in range(50):
        one = raw()
        one.sendall(chance.randbytes(2000))
    for number in range(10):
        good.publish("fine", b"%d" % number, 1)
    assert good.take(10) == [("fine", b"%d" % number, 1) for number in range(10)]
    assert resident_bytes(gateway.pid) - before < 64 * 1024 * 1024
    good.close()


def test_a_client_that_names_too_much_is_told_so(gateway: GatewayProcess) -> None:
    told: list[object] = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "big", protocol=paho.MQTTv5)
    client.on_disconnect = lambda client, data, flags, code, properties: told.append(code.value)
    client.on_connect = lambda client, data, flags, code, properties: client.publish("t", b"x" * (2 << 20))
    client.connect("127.0.0.1", gateway.port("mqtt"))
    for _ in range(200):
        if client.loop(0.1) != paho.MQTT_ERR_SUCCESS:
            break
    assert told == [0x95]


def test_properties_lists_are_bounded_by_their_packet() -> None:
    gateway = harness()
    peer = connected(gateway, "c", 5)
    peer.subscribe("t", options=1)
    many: p.Properties = [(p.USER_PROPERTY, (b"k", b"v"))] * 2000
    assert published(peer.publish("t", b"x", 1, properties=many))[0].properties == encode_properties(many)
