"""Users and their rights on topics: at CONNECT, PUBLISH and SUBSCRIBE, at delivery, for wills and retained messages.

mosquitto 2.0 answers the same packets alike where it has an access list (``acl_file``), but never refuses a SUBSCRIBE.
"""

from __future__ import annotations

import pytest

from conformance.harness import Harness, user, users
from protocols.identity import Users
from protocols.mqtt import packets as p
from protocols.mqtt.sessions import Limits
from protocols.mqtt.wire import encode, properties_of
from tests.mqtt.peers import Peer, harness
from tests.mqtt.test_session import codes, published

WRITER, READER, ROOT = (b"writer", b"w"), (b"reader", b"r"), (b"root", b"x")


def everybody() -> Users:
    return users(
        user("writer", "w", write=["orders/#", "jobs/#"], deny_write=["orders/secret/#"]),
        user("reader", "r", read=["orders/#", "jobs/#"], deny_read=["orders/secret/#"]),
        user("root", "x"),
    )


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    made = harness(seed=3, delayed=request.param)
    made.users = everybody()
    return made


def login(gateway: Harness, who: tuple[bytes, bytes], level: int = 5, client_id: str = "", clean: bool = True, **more: object) -> Peer:  # fmt: skip
    peer = Peer(gateway, level)
    name = client_id or f"{who[0].decode()}{level}"
    assert peer.connect(name, clean, login=who, **more).code == 0  # type: ignore[arg-type]
    return peer


@pytest.mark.parametrize("level, code", [(3, 5), (4, 5), (5, 0x87)])
def test_a_wrong_password_an_unknown_user_and_nobody_are_not_let_in(gateway: Harness, level: int, code: int) -> None:
    """mosquitto 2.0.11 answers these codes."""
    for who in [(b"writer", b"no"), (b"nobody", b"w"), (b"writer", None), (None, None)]:
        peer = Peer(gateway, level)
        assert peer.connect("c", login=who).code == code and peer.wire.closed
    assert gateway.counters["mqtt_logins_refused"] == 4
    assert login(gateway, WRITER, level).send(p.Ping(p.PINGREQ)) == [p.Ping(p.PINGRESP)]


def test_a_user_named_anonymous_is_who_gives_no_name(gateway: Harness) -> None:
    gateway.users = users(everybody(), user("anonymous", None, read=["public/#"]))
    peer = Peer(gateway)
    assert peer.connect("c").code == 0
    assert peer.subscribe("public/#", "orders/#") == [p.Suback(1, (0, 0x80))]


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_what_a_user_may_not_publish_reaches_nobody(gateway: Harness, level: int, qos: int) -> None:
    """mosquitto 2.0.11: PUBACK and PUBREC 0x87 at 5.0; at 3.1.1 acknowledged and dropped."""
    watcher = login(gateway, ROOT, client_id="watcher")
    watcher.subscribe("#", options=2)
    pub = login(gateway, WRITER, level)
    for number, topic in enumerate(["orders/1", "orders/secret", "orders/secret/1", "other", "orders"]):
        answers = pub.publish(topic, topic.encode(), qos, packet_id=number + 1)
        refused = topic not in ("orders", "orders/1")
        kind = p.PUBREC if qos == 2 else p.PUBACK
        assert codes(answers, kind) == ([0x87 if refused and level == 5 else 0] if qos else [])
        if qos == 2:
            pub.send(p.Acknowledge(p.PUBREL, number + 1))
    assert watcher.take() == [("orders/1", b"orders/1", qos), ("orders", b"orders", qos)]
    assert gateway.counters["mqtt_publishes_refused"] == 3


def test_a_retained_message_that_may_not_be_published_is_not_kept(gateway: Harness) -> None:
    pub = login(gateway, WRITER, 5)
    assert codes(pub.publish("other", b"x", 1, retain=True), p.PUBACK) == [0x87]
    pub.publish("other", b"x", 0, retain=True)
    watcher = login(gateway, ROOT)
    watcher.subscribe("#", options=1)
    assert watcher.take() == []


@pytest.mark.parametrize("level", [3, 4, 5])
def test_what_a_user_may_not_read_is_refused_at_subscribe(gateway: Harness, level: int) -> None:
    """0x80 at every level, which Eclipse's suite asks for; mosquitto with a plugin that refuses: 0x87 at 5.0."""
    no = 0x80
    peer = login(gateway, READER, level)
    filters = [
        "orders/#",
        "#",
        "+/x",
        "orders/secret/1",
        "orders/+",
        "$share/g/other",
        "$share/g/jobs/#",
        "_thalweg/#",
        "$SYS/#",
    ]
    assert peer.subscribe(*filters, options=1) == [p.Suback(1, (1, no, no, no, 1, no, 1, no, no))]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("published_qos", [0, 1, 2])
def test_what_a_deny_rule_hides_is_not_delivered_and_not_owed(gateway: Harness, qos: int, published_qos: int) -> None:
    peer = login(gateway, READER)
    peer.subscribe("orders/#", options=qos)
    root = login(gateway, ROOT)
    for number, topic in enumerate(["orders/secret", "orders/1", "orders/secret/x", "orders/2"]):
        root.publish(topic, b"x", published_qos, packet_id=number + 1)
        root.send(p.Acknowledge(p.PUBREL, number + 1))
    least = min(qos, published_qos)
    assert peer.take() == [("orders/1", b"x", least), ("orders/2", b"x", least)]


def test_retained_messages_are_judged_when_they_are_delivered(gateway: Harness) -> None:
    root = login(gateway, ROOT)
    for topic in ("orders/secret/1", "orders/1"):
        root.publish(topic, b"kept", 1, retain=True)
    peer = login(gateway, READER)
    assert [one.topic for one in published(peer.subscribe("orders/#", options=1))] == [b"orders/1"]


def test_rights_taken_away_hold_for_subscriptions_and_messages_that_a_session_kept(gateway: Harness) -> None:
    """CVE-2018-12546 and CVE-2021-34434 in mosquitto: what was subscribed before was still served."""
    peer = login(gateway, ROOT, client_id="kept", clean=False, expiry_s=600)
    peer.subscribe("orders/#", "other/#", options=1)
    peer.send(p.Disconnect())
    root = login(gateway, ROOT, client_id="root2")
    for number, topic in enumerate(["other/1", "orders/secret/1", "orders/1"]):
        root.publish(topic, b"queued", 1, packet_id=number + 1)
    peer = Peer(gateway, 5)
    assert peer.connect("kept", False, login=READER, expiry_s=600).session_present
    assert peer.take() == [("orders/1", b"queued", 1)]
    for number, topic in enumerate(["other/1", "orders/secret/1", "orders/1"]):
        root.publish(topic, b"live", 0)
        root.publish(topic, b"live", 1, packet_id=number + 9)
    assert sorted(peer.take()) == [("orders/1", b"live", 0), ("orders/1", b"live", 1)]


def test_a_member_of_a_shared_subscription_is_not_chosen_for_what_it_may_not_read(gateway: Harness) -> None:
    members = [login(gateway, who, client_id=f"m{number}") for number, who in enumerate([READER, ROOT])]
    for member in members:
        member.subscribe("$share/g/orders/#", options=1)
    root = login(gateway, ROOT, client_id="boss")
    for number in range(10):
        root.publish("orders/secret/1", b"%d" % number, 1, packet_id=number + 1)
    assert members[0].take() == []
    assert [payload for _, payload, _ in members[1].take()] == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("level, code", [(4, 5), (5, 0x87)])
def test_a_will_that_may_not_be_published_costs_the_connection(gateway: Harness, level: int, code: int) -> None:
    """mosquitto 2.0.11 lets it in and drops the will in silence."""
    peer = Peer(gateway, level)
    assert peer.connect("c", will=p.Will(b"other", b"x", 0, False), login=WRITER).code == code
    peer = Peer(gateway, level)
    assert peer.connect("c", will=p.Will(b"orders/x", b"x", 0, False), login=WRITER).code == 0


def test_accounts_do_not_see_one_another() -> None:
    gateway = harness()
    gateway.users = users(
        user("a", "x", account="one", read=["#"], write=["#"]), user("b", "x", account="two", read=["#"], write=["#"])
    )
    one, two = login(gateway, (b"a", b"x")), login(gateway, (b"b", b"x"))
    for peer in (one, two):
        peer.subscribe("#", options=1)
    got = one.publish("t", b"mine", 1, retain=True) + one.publish("t", b"mine", 0)
    assert len(published(got)) == 2 and two.take() == []


def test_the_session_expiry_is_bounded_and_told() -> None:
    gateway = harness(limits=Limits(session_expiry_max_s=60))
    peer = Peer(gateway, 5)
    assert dict(properties_of(peer.connect("c", False, expiry_s=3600).properties))[p.SESSION_EXPIRY] == 60
    peer.wire.send(encode(p.Disconnect(), 5))
    gateway.advance(59_000)
    assert Peer(gateway, 5).connect("c", False, expiry_s=3600).session_present
    old = Peer(gateway, 4)
    old.connect("old", False)
    old.wire.close()
    gateway.advance(61_000)
    assert not Peer(gateway, 4).connect("old", False).session_present
