"""`$SYS/broker/...`: mosquitto's names, retained, sent when they change, to who asks for them by name."""

from __future__ import annotations

import pytest

from conformance.harness import Harness, user
from protocols.mqtt.sessions import Limits
from protocols.mqtt.system import NAMES
from tests.mqtt.peers import harness
from tests.mqtt.test_session import connected, published


@pytest.fixture(params=[False, True], ids=["at once", "delayed"])
def gateway(request: pytest.FixtureRequest) -> Harness:
    return harness(seed=3, delayed=request.param, limits=Limits(version="thalweg version 1"))


def told(packets: list[object]) -> dict[str, bytes]:
    return {one.topic.decode().removeprefix("$SYS/broker/"): one.payload for one in published(packets)}


def test_a_new_subscription_is_given_all_values(gateway: Harness) -> None:
    connected(gateway, "other").publish("kept", b"x", 1, retain=True)
    peer = connected(gateway, "c")
    packets = peer.subscribe("$SYS/#")
    assert all(one.retain for one in published(packets))
    values = told(packets)
    assert list(values) == [name.decode() for name in NAMES]
    assert values["version"] == b"thalweg version 1" and values["uptime"] == b"0 seconds"
    assert values["clients/connected"] == b"2" and values["subscriptions/count"] == b"1"
    assert values["retained messages/count"] == b"1"
    assert told(peer.subscribe("$SYS/broker/clients/+", options=1)).keys() >= {"clients/connected", "clients/total"}


def test_what_changed_is_sent_at_intervals_while_somebody_listens(gateway: Harness) -> None:
    peer = connected(gateway, "c", 5)
    peer.subscribe("$SYS/broker/clients/connected", "$SYS/broker/uptime", options=1)
    peer.take()
    gateway.advance(9_000)
    assert peer.take() == []
    connected(gateway, "other")
    gateway.advance(1_100)
    assert {topic: payload for topic, payload, _ in peer.take()} == {
        "$SYS/broker/clients/connected": b"2",
        "$SYS/broker/uptime": b"10 seconds",
    }
    gateway.advance(10_000)
    assert [topic for topic, _, _ in peer.take()] == ["$SYS/broker/uptime"]
    peer.wire.close()
    gateway.advance(10_000)
    assert gateway.sequencer._worlds["mqtt"].executor.system._due_ns == 0


def test_no_wildcard_that_does_not_name_it_sees_it(gateway: Harness) -> None:
    peer = connected(gateway, "c")
    connected(gateway, "watch").subscribe("$SYS/#")
    assert published(peer.subscribe("#", "+/broker/uptime")) == []
    gateway.advance(11_000)
    assert peer.take() == []


def test_a_user_without_the_right_and_other_accounts_do_not_see_it(gateway: Harness) -> None:
    gateway.users = user("anonymous", None, account="other", read=["#"])
    assert published(connected(gateway, "c").subscribe("$SYS/#")) == []
    gateway.users = user("anonymous", None, read=["orders/#"])
    assert connected(gateway, "d").subscribe("$SYS/#")[0].codes == (0x80,)  # type: ignore[attr-defined]


def test_an_interval_of_0_means_there_is_none() -> None:
    gateway = harness(limits=Limits(sys_interval_s=0))
    peer = connected(gateway, "c")
    assert published(peer.subscribe("$SYS/#")) == []
    gateway.advance(60_000)
    assert peer.take() == []
