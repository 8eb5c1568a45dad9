"""The codec: round trips, any cut, garbage, and the PyPI package mqtt5 as an oracle for 5.0."""

from __future__ import annotations

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.mqtt import packets as p
from protocols.mqtt import wire
from protocols.mqtt.wire import Malformed, decode, encode

FEW = settings(max_examples=100, deadline=None)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=12).map(str.encode)
topics = st.text(st.characters(exclude_characters="\0+#", exclude_categories=("Cs",)), min_size=1, max_size=12).map(
    str.encode
)
ids = st.integers(1, 65535)
levels = st.sampled_from([3, 4, 5])
pairs = st.lists(st.tuples(texts, texts).map(lambda pair: (p.USER_PROPERTY, pair)), max_size=3)


def some(*choices: st.SearchStrategy) -> st.SearchStrategy:
    """A property list: user properties and each of the choices at most once, in any order."""
    return (
        st.tuples(pairs, *[st.lists(choice, max_size=1) for choice in choices])
        .flatmap(lambda parts: st.permutations([one for part in parts for one in part]))
        .map(wire.encode_properties)
    )


def one(identifier: int, values: st.SearchStrategy) -> st.SearchStrategy:
    return values.map(lambda value: (identifier, value))


u16, u32 = st.integers(1, 65535), st.integers(1, 2**32 - 1)
flags = st.integers(0, 1)
MESSAGE = (
    one(p.PAYLOAD_FORMAT, flags),
    one(p.MESSAGE_EXPIRY, u32),
    one(p.CONTENT_TYPE, texts),
    one(p.RESPONSE_TOPIC, topics),
    one(p.CORRELATION_DATA, st.binary(max_size=9)),
)
reasons = some(one(p.REASON_STRING, texts))


def connects(level: int) -> st.SearchStrategy:
    wills = st.builds(
        p.Will, topics, st.binary(max_size=9), st.integers(0, 2), st.booleans(),
        some(one(p.WILL_DELAY, u32), *MESSAGE) if level == 5 else st.just(b""),
    )  # fmt: skip
    properties = some(
        one(p.SESSION_EXPIRY, u32), one(p.RECEIVE_MAXIMUM, u16), one(p.MAXIMUM_PACKET, u32), one(p.TOPIC_ALIAS_MAXIMUM, u16),
        one(p.REQUEST_PROBLEM, flags), one(p.REQUEST_RESPONSE, flags),
    )  # fmt: skip
    return st.builds(
        p.Connect, st.just(level), st.booleans(), st.integers(0, 65535), texts, st.none() | wills, texts,
        st.none() | st.binary(max_size=5), properties if level == 5 else st.just(b""),
    )  # fmt: skip


def of_level(level: int) -> st.SearchStrategy:
    """Packets that a client sends, and those that a server sends: (level, from_client, packet)."""
    five = level == 5
    none = st.just(b"")
    message = some(*MESSAGE) if five else none
    code = st.sampled_from([0, 0x80, 0x97]) if five else st.just(0)
    publishes = st.builds(
        lambda topic, payload, qos, retain, dup, number, properties: p.Publish(
            topic, payload, qos, retain, dup and qos > 0, number if qos else 0, properties
        ),
        topics, st.binary(max_size=200), st.integers(0, 2), st.booleans(), st.booleans(), ids, message,
    )  # fmt: skip
    acks = st.integers(4, 7).flatmap(
        lambda kind: st.builds(
            p.Acknowledge, st.just(kind), ids, st.sampled_from(([0, 0x97] if kind < 6 else [0, 0x92]) if five else [0]),
            reasons if five else none,
        )
    )  # fmt: skip
    options = st.sampled_from([0, 1, 2, 0x0C, 0x29] if five else [0, 1, 2])
    client = [
        publishes,
        acks,
        connects(level),
        st.builds(
            p.Subscribe, ids, st.lists(st.tuples(texts, options), min_size=1, max_size=3).map(tuple),
            some(one(p.SUBSCRIPTION_ID, st.integers(1, 268435455))) if five else none,
        ),
        st.builds(p.Unsubscribe, ids, st.lists(texts, min_size=1, max_size=3).map(tuple), some() if five else none),
        st.just(p.Ping(p.PINGREQ)),
        st.builds(p.Disconnect, st.just(4) if five else st.just(0), some(one(p.SESSION_EXPIRY, u32)) if five else none),
    ]  # fmt: skip
    connack = some(one(p.ASSIGNED_CLIENT_ID, texts), one(p.SERVER_KEEP_ALIVE, u16), one(p.RECEIVE_MAXIMUM, u16))
    server = [
        publishes,
        acks,
        st.builds(p.Connack, st.booleans(), code, connack if five else none),
        st.builds(p.Suback, ids, st.lists(st.sampled_from([0, 1, 2, 128]), min_size=1).map(tuple), reasons if five else none),
        st.builds(
            p.Unsuback, ids, st.lists(st.sampled_from([0, 17]), min_size=1).map(tuple) if five else st.just(()),
            reasons if five else none,
        ),
        st.just(p.Ping(p.PINGRESP)),
    ]  # fmt: skip
    if five:
        client.append(
            st.builds(p.Auth, st.just(0x18), some(one(p.AUTH_METHOD, texts), one(p.AUTH_DATA, st.binary(max_size=5))))
        )
        server.append(st.builds(p.Disconnect, st.just(0x8E), reasons))
    return st.one_of(
        st.tuples(st.just(level), st.just(True), st.one_of(client)),
        st.tuples(st.just(level), st.just(False), st.one_of(server)),
    )


packets = levels.flatmap(of_level)


@given(packets)
@FEW
def test_every_packet_of_every_version_round_trips(case: tuple) -> None:
    level, from_client, packet = case
    data = encode(packet, level)
    padded = b"junk" + data + b"more"
    assert decode(bytearray(padded), 4, len(padded), level, from_client=from_client) == (packet, 4 + len(data))


@given(packets)
@FEW
def test_no_cut_of_a_packet_is_taken_for_a_packet(case: tuple) -> None:
    level, from_client, packet = case
    data = encode(packet, level)
    for cut in range(len(data)):
        assert decode(data, 0, cut, level, from_client=from_client) is None


@given(st.binary(max_size=60), levels, st.booleans())
@FEW
def test_garbage_is_refused_or_waited_for_and_nothing_else(data: bytes, level: int, from_client: bool) -> None:
    try:
        found = decode(data, 0, len(data), level, 1000, from_client)
    except Malformed as error:
        assert error.code in (0x81, 0x82, 0x84, 0x90, 0x94, 0x95)
    else:
        assert found is None or 2 <= found[1] <= len(data)


@given(packets, st.data())
@FEW
def test_a_changed_byte_is_refused_or_read_as_another_packet(case: tuple, data: st.DataObject) -> None:
    level, from_client, packet = case
    changed = bytearray(encode(packet, level))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(changed, 0, len(changed), level, from_client=from_client)
    except Malformed:
        return
    if found is not None:
        again = encode(found[0], found[0].level if isinstance(found[0], p.Connect) else level)
        reread = decode(again, 0, len(again), level, from_client=from_client)
        assert reread is not None and reread[0] == found[0]


@given(of_level(5))
@settings(max_examples=200, deadline=None)
def test_the_oracle_mqtt5_reads_what_we_write(case: tuple) -> None:
    _, _, packet = case
    data = encode(packet, 5)
    theirs, size = mqtt5.read(memoryview(data))
    assert size == len(data)
    if isinstance(packet, p.Publish):
        assert (theirs.topic.encode(), bytes(theirs.payload), int(theirs.qos)) == (
            packet.topic,
            packet.payload,
            packet.qos,
        )
        named = dict(wire.properties_of(packet.properties))
        assert theirs.message_expiry_interval == named.get(p.MESSAGE_EXPIRY)
        pairs_read = [
            value for identifier, value in wire.properties_of(packet.properties) if identifier == p.USER_PROPERTY
        ]
        assert [(a.encode(), b.encode()) for a, b in theirs.user_properties] == pairs_read
    from_client = case[1]
    if isinstance(packet, p.Connect) and packet.will is not None:
        assert theirs.will.topic.encode() == packet.will.topic
    again = theirs.write()
    found = decode(again, 0, len(again), 5, from_client=from_client)
    assert found is not None and type(found[0]) is type(packet)


@given(st.binary(min_size=2, max_size=40))
@settings(max_examples=200, deadline=None)
def test_what_the_oracle_refuses_in_a_publish_we_refuse(body: bytes) -> None:
    data = b"\x32" + bytes([len(body)]) + body
    try:
        mqtt5.read(memoryview(data))
    except (ValueError, IndexError):
        with pytest.raises(Malformed):
            decode(data, 0, len(data), 5)


BAD = {
    "5-byte remaining length": (4, b"\x30\xff\xff\xff\xff\x01", 0x81),
    "remaining length with needless zero": (5, b"\xc0\x80\x00", 0x81),
    "packet type 0": (4, b"\x00\x00", 0x81),
    "QoS 3": (4, b"\x36\x05\0\1a\0\1", 0x81),
    "DUP with QoS 0": (4, b"\x38\x03\0\1a", 0x81),
    "SUBSCRIBE flags": (4, b"\x80\x06\0\1\0\1a\0", 0x81),
    "PINGREQ flags": (4, b"\xc1\x00", 0x81),
    "packet id 0 in PUBLISH": (4, b"\x32\x05\0\1a\0\0", 0x82),
    "packet id 0 in SUBSCRIBE": (4, b"\x82\x06\0\0\0\1a\0", 0x82),
    "packet id 0 in PUBACK": (4, b"\x40\x02\0\0", 0x82),
    "wildcard in a topic name": (4, b"\x30\x05\0\3a/#", 0x90),
    "empty topic name": (4, b"\x30\x02\0\0", 0x90),
    "empty topic name without alias": (5, b"\x30\x03\0\0\0", 0x82),
    "NUL in a topic name": (4, b"\x30\x05\0\3a\0b", 0x81),
    "surrogate in a topic name": (4, b"\x30\x05\0\3\xed\xa0\x80", 0x81),
    "overlong UTF-8": (4, b"\x30\x04\0\2\xc0\x80", 0x81),
    "topic beyond its packet": (4, b"\x30\x03\0\x09a", 0x81),
    "truncated QoS 1 PUBLISH": (4, b"\x32\x03\0\1a", 0x81),
    "topic alias 0": (5, b"\x30\x07\0\1a\3\x23\0\0", 0x94),
    "subscription identifier from a client": (5, b"\x30\x06\0\1a\2\x0b\1", 0x82),
    "unknown property": (5, b"\x30\x06\0\1a\2\x7f\1", 0x81),
    "property of another packet": (5, b"\x30\x09\0\1a\5\x11\0\0\0\1", 0x81),
    "property twice": (5, b"\x30\x08\0\1a\4\1\1\1\1", 0x82),
    "property of 5-byte identifier": (5, b"\x30\x09\0\1a\5\xff\xff\xff\xff\x01", 0x81),
    "properties beyond the packet": (5, b"\x30\x04\0\1a\x7f", 0x81),
    "payload format 2": (5, b"\x30\x06\0\1a\2\1\2", 0x82),
    "response topic with wildcard": (5, b"\x30\x08\0\1a\4\x08\0\1#", 0x82),
    "SUBSCRIBE without filters": (4, b"\x82\x02\0\1", 0x82),
    "SUBSCRIBE QoS 3": (4, b"\x82\x06\0\1\0\1a\3", 0x81),
    "SUBSCRIBE reserved bits": (4, b"\x82\x06\0\1\0\1a\4", 0x81),
    "retain handling 3": (5, b"\x82\x07\0\1\0\0\1a\x30", 0x82),
    "subscription identifier 0": (5, b"\x82\x09\0\1\2\x0b\0\0\1a\0", 0x82),
    "receive maximum 0": (4, b"\x10\x10\0\4MQTT\5\2\0\0\3\x21\0\0\0\0", 0x82),
    "CONNECT level 6": (4, b"\x10\x0c\0\4MQTT\6\2\0\0\0\0", 0x84),
    "CONNECT of another protocol": (4, b"\x10\x0c\0\4HTTP\4\2\0\0\0\0", 0x84),
    "CONNECT reserved flag": (4, b"\x10\x0c\0\4MQTT\4\3\0\0\0\0", 0x81),
    "CONNECT will QoS 3": (4, b"\x10\x0c\0\4MQTT\4\x1e\0\0\0\0", 0x81),
    "CONNECT will QoS without will": (4, b"\x10\x0c\0\4MQTT\4\x0a\0\0\0\0", 0x81),
    "CONNECT password without user": (4, b"\x10\x0e\0\4MQTT\4\x42\0\0\0\0\0\0", 0x81),
    "CONNECT without its will": (5, b"\x10\x0d\0\4MQTT\5\6\0\0\0\0\0", 0x81),
    "CONNECT with bytes behind": (4, b"\x10\x0d\0\4MQTT\4\2\0\0\0\0X", 0x81),
    "CONNACK from a client": (4, b"\x20\x02\0\0", 0x82),
    "AUTH below 5.0": (4, b"\xf0\x00", 0x82),
    "PINGREQ with a body": (4, b"\xc0\x01\0", 0x81),
    "DISCONNECT with a body below 5.0": (4, b"\xe0\x01\0", 0x81),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_specification_forbids_is_refused_with_its_reason_code(name: str) -> None:
    level, data, code = BAD[name]
    with pytest.raises(Malformed) as caught:
        decode(data, 0, len(data), level)
    assert caught.value.code == code


def test_a_packet_beyond_the_limit_is_refused_as_soon_as_its_length_is_read() -> None:
    head = b"\x30" + wire.varint(5000)
    with pytest.raises(Malformed) as caught:
        decode(head, 0, len(head), 4, 4096)
    assert caught.value.code == 0x95


def test_mqtt_3_1_keeps_its_liberties() -> None:
    dup = b"\x8a\x06\0\1\0\1a\0"
    assert decode(dup, 0, len(dup), 3) is not None
    no_user = b"\x10\x10\0\6MQIsdp\3\xc2\0\0\0\2id"
    found = decode(no_user, 0, len(no_user), 4)
    assert found is not None and found[0].user is None and found[0].level == 3


def test_the_bytes_of_the_specifications_examples() -> None:
    assert encode(p.Connack(False, 0), 4) == b"\x20\x02\0\0"
    assert encode(p.Publish(b"a/b", b"hi"), 4) == b"\x30\x07\0\3a/bhi"
    assert encode(p.Acknowledge(p.PUBREL, 7), 4) == b"\x62\x02\0\7"
    assert encode(p.Acknowledge(p.PUBACK, 7, 0x10), 5) == b"\x40\x03\0\7\x10"
    assert encode(p.Subscribe(10, ((b"a/b", 1),)), 5) == b"\x82\x09\0\x0a\0\0\3a/b\1"
    assert encode(p.Disconnect(), 5) == b"\xe0\0"
