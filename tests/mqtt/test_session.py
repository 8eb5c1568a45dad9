"""Scripts on connections: what goes in, what comes out, in order. Each also with every answer delayed and reordered."""

from __future__ import annotations

import pytest

from conformance.harness import Harness
from protocols.mqtt import errors
from protocols.mqtt import packets as p
from protocols.mqtt.session import Settings
from protocols.mqtt.wire import Malformed, encode, encode_properties, properties_of
from tests.mqtt.peers import Peer, harness


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    return harness(seed=3, delayed=request.param)


def connected(gateway: Harness, client_id: str, level: int = 4, clean: bool = True, **more: object) -> Peer:
    peer = Peer(gateway, level)
    assert peer.connect(client_id, clean, **more).code == 0  # type: ignore[arg-type]
    return peer


def codes(packets: list[object], kind: int) -> list[int]:
    return [one.code for one in packets if isinstance(one, p.Acknowledge) and one.kind == kind]


def published(packets: list[object]) -> list[p.Publish]:
    return [one for one in packets if isinstance(one, p.Publish)]


# CONNECT


@pytest.mark.parametrize("level", [3, 4, 5])
def test_a_client_of_each_version_connects_publishes_and_is_published_to(gateway: Harness, level: int) -> None:
    peer = connected(gateway, "c", level)
    assert peer.subscribe("a/+", options=2) == [p.Suback(1, (2,))]
    for qos in (0, 1, 2):
        answers = peer.publish("a/b", b"%d" % qos, qos, packet_id=10 + qos)
        if qos == 2:
            answers += peer.send(p.Acknowledge(p.PUBREL, 12))
        found = published(answers)
        assert [(one.topic, one.payload, one.qos) for one in found] == [(b"a/b", b"%d" % qos, qos)]


def test_connack_says_the_limits_in_mosquitto_s_order(gateway: Harness) -> None:
    peer = Peer(gateway, 5)
    listed = properties_of(peer.connect("c").properties)
    assert listed == [(p.TOPIC_ALIAS_MAXIMUM, 10), (p.MAXIMUM_PACKET, 1024 * 1024), (p.RECEIVE_MAXIMUM, 100)]


def test_a_client_without_an_identifier_is_given_one(gateway: Harness) -> None:
    first, second = Peer(gateway, 5), Peer(gateway, 5)
    names = [dict(properties_of(peer.connect("").properties))[p.ASSIGNED_CLIENT_ID] for peer in (first, second)]
    assert names[0] != names[1] and all(names)
    assert Peer(gateway, 4).connect("", clean=True).code == 0
    assert Peer(gateway, 4).connect("", clean=False).code == 2
    assert Peer(gateway, 3).connect("", clean=True).code == 2


def test_the_first_packet_must_be_connect_and_only_the_first(gateway: Harness) -> None:
    peer = Peer(gateway)
    peer.send(p.Ping(p.PINGREQ))
    assert peer.wire.closed and isinstance(peer.wire.error, Malformed)
    peer = connected(gateway, "c", 5)
    assert peer.send(p.Connect(5, True, 0, b"c")) == [p.Disconnect(0x82)]
    assert peer.wire.closed


def test_an_unknown_protocol_level_is_told_so(gateway: Harness) -> None:
    peer = Peer(gateway)
    peer.wire.send(b"\x10\x0c\0\4MQTT\x09\2\0\0\0\0")
    assert peer.wire.read() == b"\x20\2\0\1" and peer.wire.closed


def test_enhanced_authentication_is_refused_with_its_own_code(gateway: Harness) -> None:
    peer = Peer(gateway, 5)
    answers = peer.send(p.Connect(5, True, 0, b"c", None, None, None, encode_properties([(p.AUTH_METHOD, b"SCRAM")])))
    assert answers == [p.Connack(False, 0x8C)] and peer.wire.closed
    peer = connected(gateway, "c", 5)
    assert peer.send(p.Auth(0x19, encode_properties([(p.AUTH_METHOD, b"x")]))) == [p.Disconnect(0x8C)]


def test_who_does_not_say_connect_in_time_is_closed(gateway: Harness) -> None:
    peer = Peer(gateway)
    gateway.advance(9_900)
    assert not peer.wire.closed
    gateway.advance(200)
    assert peer.wire.closed


def test_keep_alive_is_one_and_a_half_times_what_was_said(gateway: Harness) -> None:
    peer = connected(gateway, "c", 5, keep_alive_s=10)
    gateway.advance(14_000)
    assert peer.send(p.Ping(p.PINGREQ)) == [p.Ping(p.PINGRESP)]
    gateway.advance(14_900)
    assert not peer.wire.closed
    gateway.advance(200)
    assert peer.received() == [p.Disconnect(0x8D)] and peer.wire.closed


def test_the_server_may_shorten_keep_alive() -> None:
    gateway = harness(settings=Settings(keep_alive_max_s=60))
    peer = Peer(gateway, 5)
    assert dict(properties_of(peer.connect("c", keep_alive_s=0).properties))[p.SERVER_KEEP_ALIVE] == 60
    gateway.advance(90_100)
    assert peer.wire.closed


def test_two_connections_of_one_client_identifier_end_the_older(gateway: Harness) -> None:
    old = connected(gateway, "same", 5)
    new = connected(gateway, "same", 5)
    assert old.received() == [p.Disconnect(0x8E)] and old.wire.closed
    assert new.send(p.Ping(p.PINGREQ)) == [p.Ping(p.PINGRESP)]
    older = connected(gateway, "three", 4)
    connected(gateway, "three", 4)
    assert older.received() == [] and older.wire.closed


def test_the_server_says_goodbye_when_it_stops(gateway: Harness) -> None:
    five, four = connected(gateway, "a", 5), connected(gateway, "b", 4)
    gateway.stop()
    assert five.received() == [p.Disconnect(0x8B)] and four.received() == []


# PUBLISH


def test_a_run_of_qos_0_messages_reaches_every_version(gateway: Harness) -> None:
    peers = [connected(gateway, f"s{level}", level) for level in (3, 4, 5)]
    for peer in peers:
        peer.subscribe("t/#")
    for level in (4, 5):
        sender = connected(gateway, f"p{level}", level)
        sender.send(*[p.Publish(b"t/%d" % (i // 5), b"%d" % i) for i in range(20)])
        for peer in peers:
            found = published(peer.received())
            assert [(one.topic, one.payload) for one in found] == [(b"t/%d" % (i // 5), b"%d" % i) for i in range(20)]


def test_packets_arrive_whole_however_they_are_cut(gateway: Harness) -> None:
    sub = connected(gateway, "s")
    sub.subscribe("#", options=2)
    pub = connected(gateway, "p")
    data = b"".join(
        encode(one) for one in (p.Publish(b"a", b"0"), p.Publish(b"a", b"1", 1, False, False, 1), p.Publish(b"b", b"2"))
    )
    for byte in data:
        pub.wire.send(bytes((byte,)))
    assert [one.payload for one in published(sub.received())] == [b"0", b"1", b"2"]


def test_the_quality_of_service_is_the_lesser_of_both(gateway: Harness) -> None:
    for wanted in (0, 1, 2):
        sub = connected(gateway, f"s{wanted}")
        sub.subscribe("q", options=wanted)
        pub = connected(gateway, f"p{wanted}")
        for qos in (0, 1, 2):
            pub.publish("q", b"%d" % qos, qos, packet_id=qos)
        assert [(one.payload, one.qos) for one in published(sub.received())] == [
            (b"%d" % qos, min(qos, wanted)) for qos in (0, 1, 2)
        ]
        sub.wire.close()


def test_a_qos_2_publish_sent_again_is_taken_once(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    sub.subscribe("t", options=2)
    pub = connected(gateway, "p", 5)
    assert codes(pub.publish("t", b"x", 2, packet_id=7), p.PUBREC) == [0]
    assert codes(pub.publish("t", b"x", 2, packet_id=7, dup=True), p.PUBREC) == [0]
    assert [one[1] for one in sub.take()] == [b"x"]
    assert codes(pub.send(p.Acknowledge(p.PUBREL, 7)), p.PUBCOMP) == [0]
    assert codes(pub.send(p.Acknowledge(p.PUBREL, 7)), p.PUBCOMP) == [0x92]
    assert codes(pub.publish("t", b"y", 2, packet_id=7), p.PUBREC) == [0]
    assert [one[1] for one in sub.take()] == [b"y"]


def test_a_publish_that_nobody_wants_says_so_to_a_5_0_client(gateway: Harness) -> None:
    assert codes(connected(gateway, "a", 5).publish("nobody", b"", 1), p.PUBACK) == [0x10]
    assert codes(connected(gateway, "b", 4).publish("nobody", b"", 1), p.PUBACK) == [0]


def test_properties_pass_through_in_order(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    sub.subscribe("t", options=2, identifier=9)
    old = connected(gateway, "old", 4)
    old.subscribe("t")
    listed: p.Properties = [
        (p.USER_PROPERTY, (b"b", b"1")), (p.CONTENT_TYPE, b"text"), (p.USER_PROPERTY, (b"a", b"2")), (p.PAYLOAD_FORMAT, 1),
        (p.USER_PROPERTY, (b"b", b"3")), (p.RESPONSE_TOPIC, b"r/s"), (p.CORRELATION_DATA, b"\0\xff"),
    ]  # fmt: skip
    pub = connected(gateway, "p", 5)
    for qos in (0, 1, 2):
        pub.publish("t", b"x", qos, packet_id=qos, properties=listed)
    found = published(sub.received())
    assert len(found) == 3
    for one in found:
        assert properties_of(one.properties) == [*listed, (p.SUBSCRIPTION_ID, 9)]
    assert [one.properties for one in published(old.received())] == [b""] * 3


def test_a_message_s_life_shrinks_and_ends_in_the_queue(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5, clean=False, expiry_s=1000)
    sub.subscribe("t", options=1)
    sub.wire.close()
    pub = connected(gateway, "p", 5)
    pub.publish("t", b"short", 1, properties=[(p.MESSAGE_EXPIRY, 5)])
    pub.publish("t", b"long", 1, properties=[(p.MESSAGE_EXPIRY, 100)])
    gateway.advance(10_000)
    sub = connected(gateway, "s", 5, clean=False, expiry_s=1000)
    found = published(sub.received())
    assert [one.payload for one in found] == [b"long"]
    assert dict(properties_of(found[0].properties))[p.MESSAGE_EXPIRY] in (90, 91)


def test_topic_aliases_of_the_client_are_kept_for_its_connection(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    sub.subscribe("#", options=1)
    pub = connected(gateway, "p", 5)
    alias: p.Properties = [(p.TOPIC_ALIAS, 3)]
    pub.publish("some/topic", b"1", properties=alias)
    pub.publish("", b"2", properties=alias)
    pub.publish("", b"3", 1, properties=alias)
    pub.publish("other", b"4", properties=alias)
    pub.publish("", b"5", properties=alias)
    assert [(topic, payload) for topic, payload, _ in sub.take()] == [
        ("some/topic", b"1"), ("some/topic", b"2"), ("some/topic", b"3"), ("other", b"4"), ("other", b"5"),
    ]  # fmt: skip
    assert pub.publish("x", b"", properties=[(p.TOPIC_ALIAS, 11)]) == [p.Disconnect(0x94)]
    pub = connected(gateway, "p", 5)
    assert pub.publish("", b"", properties=alias) == [p.Disconnect(0x82)]


def test_more_than_receive_maximum_unacknowledged_is_refused() -> None:
    gateway = harness(settings=Settings(receive_maximum=3))
    pub = connected(gateway, "p", 5)
    for packet_id in (1, 2, 3):
        assert codes(pub.publish("t", b"", 2, packet_id=packet_id), p.PUBREC) == [0x10]
    pub.publish("t", b"", 2, packet_id=3, dup=True)
    pub.send(p.Acknowledge(p.PUBREL, 1))
    assert codes(pub.publish("t", b"", 2, packet_id=1), p.PUBREC) == [0x10]
    assert pub.publish("t", b"", 2, packet_id=4)[-1] == p.Disconnect(0x93)


def test_clients_may_not_publish_to_the_server_s_topics(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    sub.subscribe("$SYS/#", "#", options=1)
    for level in (4, 5):
        pub = connected(gateway, "p", level)
        for topic in ("$SYS/x", "$JS/API/x", "_thalweg/mqtt"):
            assert codes(pub.publish(topic, b"x", 1), p.PUBACK) == [0x87 if level == 5 else 0]
            pub.publish(topic, b"x", 0, retain=True)
        assert pub.send(p.Ping(p.PINGREQ)) == [p.Ping(p.PINGRESP)]
    assert sub.take() == []
    assert sub.subscribe("_thalweg/#") == [p.Suback(1, (0x80,))]


# SUBSCRIBE


def test_overlapping_subscriptions_give_one_copy_with_the_greatest_qos(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    sub.subscribe("a/#", options=0, identifier=1)
    sub.subscribe("a/+", options=2, identifier=2)
    sub.subscribe("a/b", options=1, identifier=3)
    pub = connected(gateway, "p", 5)
    for qos in (0, 1, 2):
        pub.publish("a/b", b"x", qos, packet_id=qos)
    found = published(sub.received())
    assert [one.qos for one in found] == [0, 1, 2]
    for one in found:
        assert sorted(value for _, value in properties_of(one.properties)) == [1, 2, 3]


def test_no_local_keeps_a_client_s_own_messages_from_it(gateway: Harness) -> None:
    one, two = connected(gateway, "1", 5), connected(gateway, "2", 5)
    for peer in (one, two):
        peer.subscribe("t", options=4 | 2)
    for qos in (0, 1, 2):
        one.publish("t", b"x", qos, packet_id=qos, retain=qos == 1)
    assert [qos for _, _, qos in two.take()] == [0, 1, 2]
    assert [packet for packet in one.received() if isinstance(packet, p.Publish)] == []


def test_retain_as_published_keeps_the_flag(gateway: Harness) -> None:
    kept, cleared = connected(gateway, "k", 5), connected(gateway, "c", 5)
    kept.subscribe("t", options=8 | 1)
    cleared.subscribe("t", options=1)
    pub = connected(gateway, "p")
    pub.publish("t", b"x", 1, retain=True)
    pub.publish("t", b"y", 0, retain=True)
    assert [one.retain for one in published(kept.received())] == [True, True]
    assert [one.retain for one in published(cleared.received())] == [False, False]


def test_retained_messages_come_with_a_subscription_as_retain_handling_says(gateway: Harness) -> None:
    pub = connected(gateway, "p")
    for topic, qos in (("r/1", 0), ("r/2", 1), ("r/3", 2)):
        pub.publish(topic, topic.encode(), qos, retain=True, packet_id=5)
        if qos == 2:
            pub.send(p.Acknowledge(p.PUBREL, 5))
    sub = connected(gateway, "s", 5)
    answers = sub.subscribe("r/#", options=1)
    assert isinstance(answers[0], p.Suback)
    assert [(one.topic, one.qos, one.retain) for one in published(answers)] == [
        (b"r/1", 0, True), (b"r/2", 1, True), (b"r/3", 1, True)
    ]  # fmt: skip
    assert len(published(sub.subscribe("r/#", options=0x10))) == 0
    assert len(published(sub.subscribe("r/+", options=0x10))) == 3
    assert len(published(sub.subscribe("r/+", options=0x20))) == 0
    assert len(published(sub.subscribe("r/+", options=0))) == 3
    pub.publish("r/2", b"", 1, retain=True)
    assert [one.topic for one in published(connected(gateway, "n").subscribe("#"))] == [b"r/1", b"r/3"]


def test_retained_messages_that_expired_are_gone(gateway: Harness) -> None:
    pub = connected(gateway, "p", 5)
    pub.publish("r", b"x", 1, retain=True, properties=[(p.MESSAGE_EXPIRY, 5)])
    assert len(published(connected(gateway, "a").subscribe("r"))) == 1
    gateway.advance(6_000)
    assert len(published(connected(gateway, "b").subscribe("r"))) == 0


def test_many_retained_messages_come_as_the_client_takes_them(gateway: Harness) -> None:
    pub = connected(gateway, "p")
    for start in range(0, 3000, 100):
        pub.send(*[p.Publish(b"many/%d" % (start + i), b"x" * 400, 1, True, False, i + 1) for i in range(100)])
    slow = connected(gateway, "slow", 5, clean=False, expiry_s=100)
    slow.wire.reads = False
    slow.subscribe("many/#", options=0)
    gateway.advance(100)
    assert slow.wire.outbox.size() < 1_000_000
    slow.wire.reads = True
    got = []
    for _ in range(50):
        gateway.advance(10)
        got += [one.topic for one in published(slow.received())]
    assert len(set(got)) == len(got) == 3000
    broken = connected(gateway, "broken", 5, clean=False, expiry_s=100, receive_maximum=10)
    first = published(broken.subscribe("many/+", options=1))
    assert len(first) == 10
    broken.wire.close()
    rest = connected(gateway, "broken", 5, clean=False, expiry_s=100)
    assert len({topic for topic, _, _ in rest.take()}) == 3000


def test_invalid_filters_are_refused_one_by_one(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    assert sub.subscribe("a/#/b", "ok", "a+", "$share/ab", "$share//x", options=1) == [
        p.Suback(1, (0x8F, 1, 0x8F, 0x8F, 0x8F))
    ]
    assert connected(gateway, "o").subscribe("a/#/b", "ok", "$share/ab") == [p.Suback(1, (0x80, 0, 0x80))]
    assert sub.subscribe("$share/g/x", options=4) == [p.Disconnect(0x82)]


def test_unsubscribe_says_what_was_there(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5)
    sub.subscribe("a", "b", options=1)
    assert sub.send(p.Unsubscribe(9, (b"a", b"c"))) == [p.Unsuback(9, (0, 0x11))]
    pub = connected(gateway, "p")
    pub.publish("a", b"x", 1)
    pub.publish("b", b"y", 1)
    assert [topic for topic, _, _ in sub.take()] == ["b"]
    assert connected(gateway, "o").send(p.Unsubscribe(9, (b"a",))) == [p.Unsuback(9, ())]


def test_a_shared_subscription_gives_each_message_to_one_member(gateway: Harness) -> None:
    members = [connected(gateway, f"m{i}", 5) for i in range(3)]
    for peer in members:
        peer.subscribe("$share/g/work/#", options=2)
    alone = connected(gateway, "alone", 5)
    alone.subscribe("$share/h/work/#", options=1)
    pub = connected(gateway, "p", 5)
    for number in range(30):
        pub.publish("work/x", b"%d" % number, number % 3, packet_id=number + 1)
        pub.send(p.Acknowledge(p.PUBREL, number + 1))
    shares = [[payload for _, payload, _ in peer.take()] for peer in members]
    assert sorted([one for share in shares for one in share], key=int) == [b"%d" % number for number in range(30)]
    assert all(len(share) >= 5 for share in shares)
    assert len(alone.take()) == 30


def test_what_a_leaving_member_never_saw_goes_to_the_others(gateway: Harness) -> None:
    first = connected(gateway, "first", 5, receive_maximum=1)
    first.subscribe("$share/g/work", options=1)
    pub = connected(gateway, "p", 5)
    for number in range(5):
        pub.publish("work", b"%d" % number, 1, packet_id=number + 1)
    second = connected(gateway, "second", 5)
    second.subscribe("$share/g/work", options=1)
    assert len(published(first.received())) == 1
    first.wire.close()
    assert sorted(payload for _, payload, _ in second.take()) == [b"1", b"2", b"3", b"4"]


# the client's limits


def test_no_more_is_sent_than_the_client_s_receive_maximum(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5, receive_maximum=2)
    sub.subscribe("t", options=2)
    pub = connected(gateway, "p")
    for number in range(6):
        pub.publish("t", b"%d" % number, 1 + number % 2, packet_id=number + 1)
    first = published(sub.received())
    assert len(first) == 2
    rest = []
    for one in first:
        kind = p.PUBACK if one.qos == 1 else p.PUBREC
        rest += sub.send(p.Acknowledge(kind, one.packet_id))
        if one.qos == 2:
            assert len(published(rest)) == 1, "a PUBREC frees nothing"
            rest += sub.send(p.Acknowledge(p.PUBCOMP, one.packet_id))
    assert len(published(rest)) == 2


def test_a_packet_larger_than_the_client_takes_is_not_sent(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5, packet_bytes_max=100)
    sub.subscribe("t", options=2)
    pub = connected(gateway, "p")
    for qos in (0, 1, 2):
        pub.publish("t", b"x" * 200, qos, packet_id=7)
        pub.publish("t", b"y", qos, packet_id=8)
    assert [payload for _, payload, _ in sub.take()] == [b"y"] * 3


def test_a_packet_beyond_our_limit_is_refused_before_it_is_whole() -> None:
    gateway = harness(settings=Settings(packet_bytes_max=1000))
    peer = connected(gateway, "c", 5)
    peer.wire.send(b"\x30\xff\x7f")
    assert peer.received() == [p.Disconnect(0x95)] and peer.wire.closed


# wills


def will(qos: int = 1, retain: bool = False, delay_s: int = 0) -> p.Will:
    return p.Will(b"will", b"gone", qos, retain, encode_properties([(p.WILL_DELAY, delay_s)] if delay_s else []))


def test_a_will_is_published_when_the_connection_breaks_and_not_after_disconnect(gateway: Harness) -> None:
    watcher = connected(gateway, "w")
    watcher.subscribe("will", options=1)
    connected(gateway, "a", will=will()).send(p.Disconnect())
    assert watcher.take() == []
    connected(gateway, "b", will=will()).wire.close()
    assert watcher.take() == [("will", b"gone", 1)]
    connected(gateway, "c", 5, will=will(retain=True)).send(p.Disconnect(4))
    assert watcher.take() == [("will", b"gone", 1)]
    assert len(published(connected(gateway, "late").subscribe("will"))) == 1
    connected(gateway, "d", will=will()).wire.send(b"\x00\x00")
    assert watcher.take() == [("will", b"gone", 1)]


def test_a_will_waits_for_its_delay_and_is_withdrawn_by_a_new_connection(gateway: Harness) -> None:
    watcher = connected(gateway, "w")
    watcher.subscribe("will", options=1)
    peer = connected(gateway, "a", 5, clean=False, will=will(delay_s=10), expiry_s=100)
    peer.wire.close()
    gateway.advance(9_000)
    assert watcher.take() == []
    peer = connected(gateway, "a", 5, clean=False, will=will(delay_s=10), expiry_s=100)
    gateway.advance(20_000)
    assert watcher.take() == []
    peer.wire.close()
    gateway.advance(10_100)
    assert watcher.take() == [("will", b"gone", 1)]


def test_a_session_s_end_brings_its_will_forward(gateway: Harness) -> None:
    watcher = connected(gateway, "w")
    watcher.subscribe("will", options=1)
    connected(gateway, "a", 5, will=will(delay_s=1000), expiry_s=5).wire.close()
    gateway.advance(5_100)
    assert watcher.take() == [("will", b"gone", 1)]
    connected(gateway, "b", 5, will=will(delay_s=1000)).wire.close()
    assert watcher.take() == [("will", b"gone", 1)]


def test_a_take_over_publishes_the_older_connection_s_will(gateway: Harness) -> None:
    watcher = connected(gateway, "w")
    watcher.subscribe("will", options=1)
    connected(gateway, "a", will=will())
    connected(gateway, "a")
    assert watcher.take() == [("will", b"gone", 1)]


# sessions


def test_a_session_keeps_subscriptions_and_messages_while_its_client_is_away(gateway: Harness) -> None:
    sub = Peer(gateway)
    assert not sub.connect("s", clean=False).session_present
    sub.subscribe("t", options=2)
    sub.send(p.Disconnect())
    pub = connected(gateway, "p")
    for qos in (0, 1, 2):
        pub.publish("t", b"%d" % qos, qos, packet_id=qos)
    sub = Peer(gateway)
    assert sub.connect("s", clean=False).session_present
    assert [(payload, qos) for _, payload, qos in sub.take()] == [(b"1", 1), (b"2", 2)]
    pub.publish("t", b"live", 0)
    assert [payload for _, payload, _ in sub.take()] == [b"live"]
    sub.send(p.Disconnect())
    assert not Peer(gateway).connect("s", clean=True).session_present
    assert not Peer(gateway).connect("s", clean=False).session_present


def test_unacknowledged_messages_go_out_again_under_their_identifiers(gateway: Harness) -> None:
    sub = connected(gateway, "s", clean=False)
    sub.subscribe("t", options=2)
    pub = connected(gateway, "p")
    for number in (1, 2, 3):
        pub.publish("t", b"%d" % number, 1 if number == 1 else 2, packet_id=number)
    first = published(sub.received())
    answers = sub.send(p.Acknowledge(p.PUBREC, first[2].packet_id))
    assert answers == [p.Acknowledge(p.PUBREL, first[2].packet_id)]
    sub.wire.close()
    again = connected(gateway, "s", clean=False).received()
    assert again == [
        first[0]._replace(dup=True), first[1]._replace(dup=True), p.Acknowledge(p.PUBREL, first[2].packet_id)
    ]  # fmt: skip


def test_a_session_expires_when_it_said(gateway: Harness) -> None:
    sub = connected(gateway, "s", 5, clean=False, expiry_s=10)
    sub.subscribe("t", options=1)
    sub.wire.close()
    gateway.advance(9_000)
    sub = Peer(gateway, 5)
    assert sub.connect("s", clean=False, expiry_s=10).session_present
    sub.wire.close()
    gateway.advance(10_100)
    assert not Peer(gateway, 5).connect("s", clean=False, expiry_s=10).session_present


def test_disconnect_may_change_the_session_s_expiry_but_not_from_none(gateway: Harness) -> None:
    peer = connected(gateway, "a", 5, expiry_s=100)
    peer.send(p.Disconnect(0, encode_properties([(p.SESSION_EXPIRY, 0)])))
    assert not Peer(gateway, 5).connect("a", clean=False).session_present
    peer = connected(gateway, "b", 5)
    assert peer.send(p.Disconnect(0, encode_properties([(p.SESSION_EXPIRY, 10)]))) == [p.Disconnect(0x82)]


def test_a_session_s_expiry_has_a_limit_that_the_client_is_told(gateway: Harness) -> None:
    peer = Peer(gateway, 5)
    told = dict(properties_of(peer.connect("s", expiry_s=0xFFFFFFFF).properties))
    assert told[p.SESSION_EXPIRY] == 7 * 24 * 3600


def test_reason_codes_of_the_table_are_those_of_the_specification() -> None:
    assert errors.return_code(errors.BAD_USER_OR_PASSWORD) == 4 and errors.return_code(errors.SERVER_BUSY) == 3


def test_topic_aliases_are_given_to_clients_that_take_them(gateway: Harness) -> None:
    sub = Peer(gateway, 5)
    listed = encode_properties([(p.TOPIC_ALIAS_MAXIMUM, 2)])
    sub.send(p.Connect(5, True, 0, b"s", None, None, None, listed))
    sub.subscribe("#", options=2)
    pub = connected(gateway, "p", 5)
    for number, topic in enumerate(("a", "b", "c")):
        for qos in (0, 1, 2):
            pub.publish(
                topic,
                b"%d" % qos,
                qos,
                packet_id=10 * number + qos,
                properties=[(p.CONTENT_TYPE, b"t")] if qos == 0 else [],
            )
    names: dict[int, bytes] = {}
    got = []
    for one in published(sub.received()):
        alias = dict(properties_of(one.properties)).get(p.TOPIC_ALIAS, 0)
        assert alias <= 2
        if alias and one.topic:
            names[alias] = one.topic
        got.append((one.topic or names[alias], one.payload))
    assert sorted(got) == sorted((topic, b"%d" % qos) for topic in (b"a", b"b", b"c") for qos in (0, 1, 2))
    assert sorted(names.values()) == [b"a", b"b"]


@pytest.mark.parametrize("level, told", [(3, False), (4, True), (5, True)])
def test_connack_says_that_a_session_was_there_but_not_at_3_1(gateway: Harness, level: int, told: bool) -> None:
    more = {"expiry_s": 600} if level == 5 else {}
    first = connected(gateway, "c", level, clean=False, **more)
    first.subscribe("t", options=1)
    first.wire.close()
    again = Peer(gateway, level)
    assert again.connect("c", False, **more).session_present is told  # type: ignore[arg-type]
    assert [one.payload for one in published(again.publish("t", b"x", 1))] == [b"x"]
