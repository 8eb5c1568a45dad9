"""Stream keys that are topics, and channels that a stream captures: what Redis clients share with the other protocols."""

from __future__ import annotations

import pytest

from conformance.harness import Harness
from protocols.resp.keyspace import Keyspace
from protocols.resp.session import Settings
from substrate.api import (
    DEFAULT_ACCOUNT,
    Ack,
    Address,
    CreateTopic,
    DeleteTopic,
    StreamConfig,
)
from substrate.group import Group
from substrate.interest import Tokens
from tests.resp.oracle import Peer, keyspace_of, make_harness
from tests.resp.test_effects import replayed


class Listener:
    """A live subscriber of another protocol."""

    protocol = "nats"
    session = None

    def __init__(self) -> None:
        self.got: list[tuple[bytes, bytes | None, tuple[tuple[bytes, bytes | None], ...]]] = []

    def deliver(self, group: Group) -> None:
        self.got += [(record.address, record.value, record.headers) for record in group.records()]


def create(harness: Harness, name: bytes, partitions: int = 1) -> None:
    harness.begin()
    request = CreateTopic(DEFAULT_ACCOUNT, Address(name), partitions, config=StreamConfig())
    harness.sequencer.call("topics", request, None, 0)
    harness.run()


def publish(harness: Harness, address: bytes, value: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """As another protocol does."""
    world = keyspace_of(harness).world
    harness.begin()
    world.publish(
        world.resolve(DEFAULT_ACCOUNT, Address(address)), Group.of(Address(address), value, headers), "", Ack.DURABLE, 0
    )
    harness.run()


@pytest.fixture
def harness() -> Harness:
    made = make_harness(3)
    create(made, b"orders")
    return made


def test_a_key_that_names_a_topic_shows_its_records_of_all_protocols(harness: Harness) -> None:
    publish(harness, b"orders", b"one")
    publish(harness, b"orders/eu", b"two", ((b"kind", b"b"),))
    peer = Peer(harness)
    assert peer.ask("XLEN orders") == 2
    assert peer.ask("XRANGE orders - +") == [
        [b"1-0", [b"data", b"one"]],
        [b"2-0", [b"kind", b"b", b"data", b"two"]],
    ]
    assert peer.ask("XREVRANGE orders + - COUNT 1") == [[b"2-0", [b"kind", b"b", b"data", b"two"]]]
    assert peer.ask("XREAD COUNT 1 STREAMS orders 1") == [[b"orders", [[b"2-0", [b"kind", b"b", b"data", b"two"]]]]]
    assert peer.ask("XREAD STREAMS orders $") is None
    assert peer.ask("XRANGE orders (1-0 + COUNT 5") == [[b"2-0", [b"kind", b"b", b"data", b"two"]]]
    assert peer.ask("XRANGE orders 2-1 9") == []


def test_xadd_appends_to_the_topic_and_gives_the_position_as_the_id(harness: Harness) -> None:
    live = Listener()
    harness.sequencer.interest.subscribe(DEFAULT_ACCOUNT, Tokens(b"orders/%#"), live)
    publish(harness, b"orders", b"zero")
    peer = Peer(harness)
    assert peer.ask("XADD orders * kind a data x", "XADD orders * f v") == [b"2-0", b"3-0"]
    assert live.got[1:] == [(b"orders", b"x", ((b"kind", b"a"),)), (b"orders", b"", ((b"f", b"v"),))]
    assert [entry[0] for entry in peer.ask("XRANGE orders - +")] == [b"1-0", b"2-0", b"3-0"]
    assert peer.ask("TYPE orders") == b"stream"


def test_a_topic_gives_its_own_ids_and_is_trimmed_by_itself(harness: Harness) -> None:
    peer = Peer(harness)
    peer.ask("XADD orders * f v")
    assert peer.ask("XADD orders 5-1 f v") == "-ERR this stream is a topic, which gives the ids: only * is allowed"
    for command in (
        "XADD orders MAXLEN 1 * f v",
        "XTRIM orders MAXLEN 1",
        "XDEL orders 1-0",
        "XSETID orders 9-0",
        "COPY orders o",
    ):
        assert peer.ask(command).startswith("-ERR this stream is a topic"), command
    assert peer.ask("XLEN orders") == 1


def test_a_key_that_was_there_before_stays_ordinary() -> None:
    harness = make_harness(3)
    peer = Peer(harness)
    peer.ask("XADD orders 7-1 f v", "SET fills 1")
    create(harness, b"orders")
    create(harness, b"fills")
    assert peer.ask("XADD orders * f v") != b"1-0"
    assert peer.ask("XLEN orders") == 2
    assert peer.ask("GET fills", "XADD fills * f v") == [
        b"1",
        "-WRONGTYPE Operation against a key holding the wrong kind of value",
    ]
    assert peer.ask("SELECT 1", "XADD fills 3-0 f v") == [b"OK", b"3-0"]


def test_the_binding_is_an_effect_and_outlives_a_topic_of_the_same_name(harness: Harness) -> None:
    peer = Peer(harness)
    peer.ask("XADD orders * f v")
    live = keyspace_of(harness)
    assert replayed(live).dump() == live.dump()
    loaded = Keyspace(Settings())
    loaded.load(live.dump())
    assert loaded.dump() == live.dump()
    harness.begin()
    harness.sequencer.call("topics", DeleteTopic(DEFAULT_ACCOUNT, Address(b"orders")), None, 0)
    harness.run()
    assert peer.ask("XADD orders * f v") == "-ERR the topic of this stream is gone"
    create(harness, b"orders")
    assert peer.ask("XADD orders * f v") == "-ERR the topic of this stream is gone"
    assert peer.ask("DEL orders", "XADD orders * f v") == [1, b"1-0"]


def test_xread_waits_for_what_another_protocol_publishes(harness: Harness) -> None:
    peer = Peer(harness)
    assert peer.ask("XREAD BLOCK 5000 STREAMS plain orders 0 $") == []
    publish(harness, b"orders/eu", b"news")
    assert peer.read() == [[[b"orders", [[b"1-0", [b"data", b"news"]]]]]]
    assert peer.ask("XREAD BLOCK 100 STREAMS orders $") == []
    harness.advance(200)
    assert peer.read() == [None]


def test_publish_reaches_the_stream_that_captures_the_channel(harness: Harness) -> None:
    peer, listener = Peer(harness), Peer(harness)
    listener.ask("PSUBSCRIBE orders:*")
    assert peer.ask("PUBLISH orders:eu:42 hello") == 1
    assert listener.read() == [[b"pmessage", b"orders:*", b"orders:eu:42", b"hello"]]
    assert peer.ask("XRANGE orders - +") == [[b"1-0", [b"data", b"hello"]]]


def test_messages_of_other_protocols_come_under_the_channel_of_their_address(harness: Harness) -> None:
    listener = Peer(harness)
    listener.ask("SUBSCRIBE a:b")
    publish(harness, b"a/b", b"x\r\ny")
    assert listener.read() == [[b"message", b"a:b", b"x\r\ny"]]


def test_reserved_addresses_are_not_written_by_publish(harness: Harness) -> None:
    assert Peer(harness).ask("PUBLISH _thalweg:resp x").startswith("-NOPERM")


def test_a_large_topic_is_read_in_pieces(harness: Harness) -> None:
    peer = Peer(harness)
    for _ in range(5):
        peer.ask(*["XADD orders * data " + "x" * 2000] * 1000)
    got = peer.ask("XRANGE orders - +")
    assert [entry[0] for entry in got] == [b"%d-0" % (number + 1) for number in range(5000)]
    got = peer.ask("XREVRANGE orders + - COUNT 2500")
    assert [entry[0] for entry in got] == [b"%d-0" % (5000 - number) for number in range(2500)]
    assert peer.ask("MULTI", "XADD orders * data z", "XLEN orders", "EXEC")[-1][0] == b"5001-0"


def test_a_topic_of_several_partitions_is_the_one_its_name_goes_to() -> None:
    harness = make_harness(3)
    create(harness, b"wide", partitions=4)
    peer = Peer(harness)
    assert peer.ask("XADD wide * f v", "XADD wide * f v") == [b"1-0", b"2-0"]
    assert len(peer.ask("XRANGE wide - +")) == 2
