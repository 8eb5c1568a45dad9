"""The core protocol, scripted on sessions in memory: what the transcript does not show."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.harness import Harness, user
from protocols.nats.session import SECOND_NS, Settings
from substrate.api import DEFAULT_ACCOUNT, Address, Group
from substrate.interest import Tokens
from tests.nats.scripts import client, publish, say, world


class Taken:
    """A sink of another protocol."""

    protocol = "other"
    session = None

    def __init__(self) -> None:
        self.records: list[object] = []

    def deliver(self, group: Group) -> None:
        self.records += group.records()


def listen(harness: Harness, pattern: bytes, group: bytes | None = None) -> Taken:
    taken = Taken()
    harness.sequencer.interest.subscribe(DEFAULT_ACCOUNT, Tokens(pattern), taken, group)
    return taken


def tell(harness: Harness, address: bytes, value: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """A message from another protocol."""
    harness.begin()
    route = harness.sequencer.interest.resolve(DEFAULT_ACCOUNT, Address(address))
    harness.sequencer.publish(route, Group.of(address, value, headers), "other", None)
    harness.run()


def test_every_subscriber_gets_every_message_in_order() -> None:
    harness = world()
    readers = [client(harness) for _ in range(3)]
    for index, reader in enumerate(readers):
        reader.send(b"SUB a.%b %d\r\n" % ((b"*", b"b", b">")[index], index))
    publisher = client(harness)
    publisher.send(b"".join(b"PUB a.b %d\r\n%b\r\n" % (len(b"%d" % n), b"%d" % n) for n in range(50)))
    for index, reader in enumerate(readers):
        assert reader.read() == b"".join(b"MSG a.b %d %d\r\n%d\r\n" % (index, len(b"%d" % n), n) for n in range(50))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=12), st.randoms(use_true_random=False))
def test_what_arrives_does_not_depend_on_how_the_stream_was_cut(places: list[int], chance: object) -> None:
    lines = [b"SUB a.* 1\r\n", b"PUB a.x 3\r\nabc\r\n", b"PUB a.x r 0\r\n\r\n", b"HPUB a.y 18 19\r\nNATS/1.0\r\nA: b\r\n\r\nz\r\n",
             b"SUB b q 2\r\n", b"PUB b 1\r\n1\r\n", b"PUB nobody a.z 1\r\n1\r\n", b"UNSUB 1 5\r\n", b"PUB a.x 1\r\n1\r\n", b"PING\r\n"]  # fmt: skip
    data = b"".join(lines)
    whole = say(client(world()), data)
    cut = client(world())
    at = 0
    for place in [*sorted(place % len(data) for place in places), len(data)]:
        cut.send(data[at:place])
        at = max(at, place)
    assert cut.read() == whole


def test_a_queue_member_of_each_group_gets_a_message_and_all_get_some() -> None:
    harness = world(seed=3)
    members = [client(harness) for _ in range(3)]
    for member in members:
        member.send(b"SUB q.> workers 1\r\nSUB q.* others 2\r\n")
    publisher = client(harness)
    publisher.send(b"PUB q.a 1\r\nx\r\n" * 300)
    counts = [(data.count(b"MSG q.a 1 "), data.count(b"MSG q.a 2 ")) for data in (member.read() for member in members)]
    assert sum(first for first, _ in counts) == 300
    assert sum(second for _, second in counts) == 300
    assert all(60 < first < 140 and 60 < second < 140 for first, second in counts)


def test_a_group_of_two_protocols_gets_each_message_once() -> None:
    harness = world(seed=3)
    member = client(harness)
    member.send(b"SUB q.a g 1\r\n")
    other = listen(harness, b"q/a", b"g")
    client(harness).send(b"PUB q.a 1\r\nx\r\n" * 100)
    ours = member.read().count(b"MSG q.a 1 1\r\nx\r\n")
    assert ours + len(other.records) == 100 or ours in (0, 100)


def test_other_protocols_get_records_with_headers_and_reply() -> None:
    harness = world()
    taken = listen(harness, b"a/%*")
    peer = client(harness)
    publish(peer, "a.b", b"1")
    publish(peer, "a.b", b"2", "in.box", {"A": "b"})
    records = [(record.address, record.value, record.headers) for record in taken.records]  # type: ignore[attr-defined]
    assert records == [
        (b"a/b", b"1", ()),
        (b"a/b", b"2", ((b"A", b"b"), (b"thalweg-reply", b"in/box"))),
    ]


def test_messages_of_other_protocols_arrive_as_msg_and_hmsg() -> None:
    harness = world()
    reader, plain = client(harness), client(harness, headers=False, no_responders=False)
    for peer in (reader, plain):
        peer.send(b"SUB a.> 1\r\n")
    tell(harness, b"a/%2F/x", b"v")
    tell(harness, b"a/b", b"v", ((b"K", b"w"), (b"thalweg-reply", b"r/s")))
    block = b"NATS/1.0\r\nK: w\r\n\r\n"
    assert reader.read() == b"MSG a./|.x 1 1\r\nv\r\nHMSG a.b 1 r.s %d %d\r\n%bv\r\n" % (
        len(block), len(block) + 1, block,
    )  # fmt: skip
    assert plain.read() == b"MSG a./|.x 1 1\r\nv\r\nMSG a.b 1 r.s 1\r\nv\r\n"


def test_a_subscription_with_a_maximum_ends_also_by_messages_of_other_protocols() -> None:
    harness = world()
    reader = client(harness)
    reader.send(b"SUB a 1\r\nUNSUB 1 2\r\n")
    for value in (b"1", b"2", b"3"):
        tell(harness, b"a", value)
    assert reader.read().count(b"MSG") == 2
    assert not harness.sequencer.interest.resolve(DEFAULT_ACCOUNT, Address(b"a")).sinks


def test_what_is_reserved_can_neither_be_written_nor_heard() -> None:
    peer = client(world())
    assert (
        say(peer, b"PUB _thalweg.control 1\r\nx\r\n")
        == b"-ERR 'Permissions Violation for Publish to \"_thalweg.control\"'\r\n"
    )
    answer = say(peer, b"SUB _thalweg.> q 1\r\nPING\r\n")
    assert answer == b'-ERR \'Permissions Violation for Subscription to "_thalweg.>" using queue "q"\'\r\nPONG\r\n'


def test_a_silent_client_is_asked_and_then_given_up() -> None:
    harness = world(Settings(ping_ns=10 * SECOND_NS))
    peer = client(harness)
    harness.advance(2_100)
    assert peer.read() == b"PING\r\n"
    harness.advance(40_000)
    assert peer.read() == b"PING\r\n-ERR 'Stale Connection'\r\n"
    assert peer.closed


def test_a_client_that_answers_stays() -> None:
    harness = world(Settings(ping_ns=10 * SECOND_NS))
    peer = client(harness)
    for _ in range(20):
        harness.advance(5_000)
        if b"PING" in peer.read():
            peer.send(b"PONG\r\n")
    assert not peer.closed


def test_a_slow_consumer_is_cut_off_and_the_others_are_not() -> None:
    harness = world(Settings(pending_bytes_max=200_000))
    slow, good = client(harness), client(harness)
    slow.send(b"SUB a 1\r\n")
    good.send(b"SUB a 1\r\n")
    slow.reads = False
    publisher = client(harness)
    got = 0
    for _ in range(40):
        publisher.send(b"PUB a 1000\r\n%b\r\n" % (b"x" * 1000) * 20)
        harness.advance(10)
        got += good.read().count(b"MSG a 1 1000")
    assert slow.closed and not good.closed and not publisher.closed
    assert got == 800
    assert harness.counters["nats_slow_consumers"] == 1


def test_a_publisher_waits_a_little_while_a_receiver_is_nearly_too_slow() -> None:
    harness = world(Settings(pending_bytes_max=100_000))
    slow = client(harness)
    slow.send(b"SUB a 1\r\n")
    slow.reads = False
    publisher = client(harness)
    publisher.send(b"PUB a 80000\r\n%b\r\n" % (b"x" * 80_000))
    assert publisher.session.blocked
    harness.advance(5)
    assert not publisher.session.blocked
    assert say(publisher, b"PING\r\n") == b"PONG\r\n"


def test_lame_duck_is_said_before_the_end() -> None:
    harness = world()
    peer, old = client(harness), client(harness, protocol=0)
    harness.stop()
    assert b'"ldm":true' in peer.read()
    assert old.read() == b""
    assert peer.closed and old.closed


def test_closing_a_connection_ends_its_subscriptions() -> None:
    harness = world()
    reader = client(harness)
    reader.send(b"SUB a 1\r\nSUB b q 2\r\n")
    reader.close()
    route = harness.sequencer.interest.resolve(DEFAULT_ACCOUNT, Address(b"a"))
    assert not route.sinks
    peer = client(harness)
    assert b"503" in say(peer, b"SUB r 1\r\nPUB b r 0\r\n\r\n")


def test_with_users_nothing_is_listened_to_before_connect() -> None:
    harness = world()
    harness.users = user("u", "p")
    stranger = harness.connect("nats")
    assert b'"auth_required":true' in stranger.read()
    assert say(stranger, b"PING\r\n") == b"-ERR 'Authorization Violation'\r\n"
    wrong = harness.connect("nats")
    wrong.read()
    assert say(wrong, b'CONNECT {"user":"u","pass":"x"}\r\n') == b"-ERR 'Authorization Violation'\r\n"
    silent = harness.connect("nats")
    silent.read()
    harness.advance(2_500)
    assert silent.read() == b"-ERR 'Authentication Timeout'\r\n"
    right = harness.connect("nats")
    right.read()
    assert say(right, b'CONNECT {"user":"u","pass":"p","verbose":false}\r\nPING\r\n') == b"PONG\r\n"
    assert stranger.closed and wrong.closed and silent.closed and not right.closed


@pytest.mark.parametrize("prefix", ["_INBOX.", "$JS.ACK.", "x."])
def test_the_match_cache_is_bounded(prefix: str) -> None:
    peer = client(world())
    peer.send(b"".join(b"PUB %b%d 0\r\n\r\n" % (prefix.encode(), n) for n in range(3000)))
    plans = peer.session.delivery.plans_kept()  # type: ignore[attr-defined]
    assert plans == (1024 if prefix == "x." else 0)


def test_a_subscription_made_in_the_same_chunk_hears_what_follows() -> None:
    peer = client(world())
    assert say(peer, b"PUB a 1\r\n1\r\nSUB a 1\r\nPUB a 1\r\n2\r\nUNSUB 1\r\nPUB a 1\r\n3\r\n") == b"MSG a 1 1\r\n2\r\n"


def test_too_many_subscriptions_are_refused() -> None:
    peer = client(world(Settings(subscriptions_max=2)))
    assert (
        say(peer, b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nPING\r\n") == b"-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n"
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"PUB a 1\r\nx\r\n", b"SUB a 1\r\n", b"SUB > 2\r\n", b"UNSUB 1\r\n", b"CONNECT {}\r\n", b"\x00", b"\r\n",
                                 b"PUB $JS.API.STREAM.CREATE.S a 2\r\n{}\r\n", b"PUB $JS.ACK.S.C.1.1.1.1.1 a 4\r\n+NXT\r\n",
                                 b"HPUB a 2 2\r\nxx\r\n", b'CONNECT {"headers":true}\r\n', b"PUB a"]), max_size=12), st.booleans())  # fmt: skip
def test_no_input_escapes_the_session(pieces: list[bytes], delayed: bool) -> None:
    harness = world(delayed=delayed)
    peer = client(harness) if delayed else harness.connect("nats")
    for piece in pieces:
        peer.send(piece)
    other = client(harness)
    assert say(other, b"PING\r\n") == b"PONG\r\n"


def test_a_chunk_full_of_subscriptions_is_taken_in_parts_and_in_order() -> None:
    harness = world()
    peer, other = client(harness), client(harness)
    peer.send(b"".join(b"SUB a.%d %d\r\n" % (n, n) for n in range(2_000)) + b"PUB a.1999 1\r\nx\r\nPING\r\n")
    assert peer.session.blocked and peer.read() == b""
    assert say(other, b"PING\r\n") == b"PONG\r\n"
    harness.advance(1)
    assert peer.read() == b"MSG a.1999 1999 1\r\nx\r\nPONG\r\n"
    peer.send(b"PUB $JS.API.INFO r 0\r\n\r\n" * 100 + b"PING\r\n")
    assert peer.session.blocked
    harness.advance(1)
    assert peer.read() == b"PONG\r\n"
