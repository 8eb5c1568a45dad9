"""Runs of QoS 1: the kernel against the codec, lanes against the way that has an object for each message."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.mqtt import packets as p
from protocols.mqtt.mapping import QOS_HEADERS
from protocols.mqtt.runs import (
    Lane,
    copy_of,
    encode_acknowledgements,
    end_of_run,
    frames,
    group_of,
    largest,
    take_acknowledgements,
    take_publishes,
)
from protocols.mqtt.state import Session
from protocols.mqtt.wire import decode, encode, encode_ack
from substrate.api import Group, Record
from tests.mqtt.peers import Peer, harness
from tests.mqtt.test_session import codes, connected, published

SIZED = st.builds(
    lambda size, byte: byte * size, st.integers(0, 200) | st.integers(16_300, 16_400), st.sampled_from([b"x", b"y"])
)
TOPICS = {b"a": b"a", b"a/b": b"a/b", b"no": b""}
PACKETS = st.builds(
    p.Publish,
    st.sampled_from(sorted(TOPICS)) | st.just(b"other"),
    SIZED,
    st.sampled_from([1, 1, 1, 0, 2]),
    st.booleans(),
    st.just(False),
    st.integers(1, 65535),
    st.sampled_from([b"", b"\x01\x01"]),
)  # fmt: skip


def decoded(data: bytes, level: int) -> list[object]:
    found, at = [], 0
    while at < len(data):
        one = decode(data, at, len(data), level, from_client=False)
        assert one is not None
        found.append(one[0])
        at = one[1]
    return found


@given(st.lists(PACKETS, max_size=8), st.booleans(), st.integers(0, 40), st.integers(1, 5))
def test_a_run_holds_what_the_codec_would_have_given(packets: list[p.Publish], five: bool, cut: int, most: int) -> None:
    level = 5 if five else 4
    packets = [one._replace(packet_id=one.packet_id if one.qos else 0) for one in packets]
    data = b"".join(encode(one, level) for one in packets)[: -cut or None]
    run = take_publishes(data, 0, len(data), five, 20_000, most, TOPICS, QOS_HEADERS[1], None)
    expected: list[p.Publish] = []
    for one in packets:
        size = sum(len(encode(other, level)) for other in [*expected, one])
        if (
            one.qos != 1
            or one.retain
            or (five and one.properties)
            or not TOPICS.get(one.topic)
            or (expected and one.topic != expected[0].topic)
            or size > len(data)
            or len(expected) == most
        ):
            break
        expected.append(one)
    if not expected:
        assert run is None
        return
    assert run.topic == expected[0].topic and run.group.address == TOPICS[run.topic]
    assert [run.group.value(index) for index in range(run.group.count)] == [one.payload for one in expected]
    assert list(run.identifiers) == [one.packet_id for one in expected]
    assert run.end == sum(len(encode(one, level)) for one in expected)
    owned = run.own()
    assert [owned.group.value(index) for index in range(owned.group.count)] == [one.payload for one in expected]
    copied = copy_of(run.group)
    assert [copied.value(index) for index in range(copied.count)] == [one.payload for one in expected]
    assert largest(run.group) == max(len(one.payload) for one in expected)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_run_or_none(tail: bytes, five: bool) -> None:
    data = b"\x32" + tail
    run = take_publishes(data, 0, len(data), five, 1000, 1000, {b"": b"", b"a": b"a"}, QOS_HEADERS[1], None)
    if run is not None:
        packet, end = decode(data, 0, len(data), 5 if five else 4)  # type: ignore[misc]
        assert packet.topic == b"a" and packet.payload == run.group.value(0) and end <= run.end


@given(st.lists(st.integers(0, 65535), max_size=20), st.binary(max_size=6))
def test_acknowledgements_are_read_as_the_codec_would(ids: list[int], tail: bytes) -> None:
    data = b"".join(b"\x40\x02" + one.to_bytes(2, "big") for one in ids) + tail
    found = list(take_acknowledgements(data, 0, len(data)))
    whole = [*ids, *([int.from_bytes(tail[2:4], "big")] if tail[:2] == b"\x40\x02" and len(tail) >= 4 else [])]
    assert found == (whole[: whole.index(0)] if 0 in whole else whole)


@pytest.mark.parametrize("level, code", [(4, 0), (4, 0x87), (5, 0), (5, 0x10)])
def test_acknowledgements_are_written_as_the_codec_would(level: int, code: int) -> None:
    ids = take_acknowledgements(b"\x40\x02\1\2\x40\x02\xff\xff", 0, 8)
    expected = b"".join(encode_ack(p.PUBACK, one, code, b"", level) for one in ids)
    assert encode_acknowledgements(p.PUBACK, ids, code, level == 5) == expected


@given(
    st.lists(SIZED, min_size=1, max_size=6),
    st.integers(1, 4),
    st.sampled_from([b"", b"\0", b"\2\x0b\x07"]),
)
def test_a_lane_gives_frames_out_as_its_window_allows(values: list[bytes], window: int, properties: bytes) -> None:
    group = group_of([Record(index, 0, b"a/b", None, value, ()) for index, value in enumerate(values)])
    lane, five = Lane(), bool(properties)
    block = frames(group, b"a/b", properties)
    for _ in range(3):
        lane.add(block, group.count)
    got: list[p.Publish] = []
    while lane.count:
        taken = decoded(lane.take(window - lane.unacknowledged, 10_000, {1: None, 3: None}), 5 if five else 4)
        assert 0 < len(taken) <= window and lane.unacknowledged == len(taken)
        got += taken  # type: ignore[arg-type]
        acks = b"".join(encode_ack(p.PUBACK, one.packet_id, 0, b"", 4) for one in reversed(taken))  # type: ignore[attr-defined]
        assert lane.acknowledge(take_acknowledgements(acks, 0, len(acks))) == []
    assert [one.payload for one in got] == values * 3
    assert lane.unacknowledged == lane.waiting_bytes() == 0
    assert not {one.packet_id for one in got} & {1, 3}
    assert lane.acknowledge(take_acknowledgements(b"\x40\x02\0\1", 0, 4)) == [1], "not one of its own"


def test_packet_identifiers_go_round_and_none_is_in_use_twice() -> None:
    lane = Lane()
    block = frames(Group.of(b"a", b""), b"a", b"")
    lane.add(block, 1)
    (held,) = decoded(lane.take(1, 100, {}), 4)
    seen = []
    for _ in range(66_000):
        lane.add(block, 1)
        (one,) = decoded(lane.take(1, 100, {}), 4)
        seen.append(one.packet_id)  # type: ignore[attr-defined]
        ack = encode_ack(p.PUBACK, seen[-1], 0, b"", 4)
        lane.acknowledge(take_acknowledgements(ack, 0, 4))
    assert set(seen) == set(range(1, 65536)) - {held.packet_id}  # type: ignore[attr-defined]


def test_records_are_runs_while_address_and_headers_are_the_same() -> None:
    kinds = [(b"a", ()), (b"a", ()), (b"a", QOS_HEADERS[1]), (b"b", QOS_HEADERS[1]), (b"b", ((b"thalweg-qos", b"1"),))]
    records = [Record(index, 0, address, None, b"", headers) for index, (address, headers) in enumerate(kinds)]
    assert [end_of_run(records, at) for at in range(5)] == [2, 2, 3, 5, 5]


# lanes in their place


def script(seed: int, laned: bool, monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[tuple[object, ...]]], int]:
    """What every subscriber got, in order, of the same random script; and what is still owed to anybody."""
    if not laned:
        monkeypatch.setattr(Session, "laned", lambda self: False)
    gateway = harness(seed=seed, delayed=seed % 2 == 1)
    chance = random.Random(seed)
    subs = []
    for number in range(4):
        level = chance.choice([4, 5])
        peer = connected(gateway, f"s{number}", level, clean=number != 3, receive_maximum=5) if level == 5 else connected(gateway, f"s{number}", level, clean=number != 3)  # fmt: skip
        for text in ["$share/g/t/#"] if number == 2 else chance.sample(["t/#", "t/a", "+/b", "t/+"], 2):
            peer.subscribe(text, options=chance.choice([0, 1, 1, 2]), **({"identifier": 7} if level == 5 else {}))
        subs.append(peer)
    pubs = [connected(gateway, f"p{number}", 4 + number) for number in range(2)]
    got: list[list[tuple[object, ...]]] = [[] for _ in subs]
    answers: list[list[p.Acknowledge]] = [[] for _ in subs]

    def take(number: int, share: float) -> None:
        """Read all, and answer some of what is not answered yet."""
        peer = subs[number]
        for one in peer.received():
            if isinstance(one, p.Publish):
                got[number].append((one.topic, one.payload, one.qos, one.retain, one.properties))
                if one.qos:
                    answers[number].append(p.Acknowledge(p.PUBACK if one.qos == 1 else p.PUBREC, one.packet_id))
            elif isinstance(one, p.Acknowledge) and one.kind == p.PUBREL:
                answers[number].append(p.Acknowledge(p.PUBCOMP, one.packet_id))
        count = int(len(answers[number]) * share)
        peer.send_quietly(*answers[number][:count])
        del answers[number][:count]

    for step in range(40):
        pub = chance.choice(pubs)
        sent = []
        for index in range(chance.choice([1, 3, 20])):
            plain = chance.random() < 0.9
            properties = b"\x26\0\1k\0\1v" if pub.level == 5 and not plain else b""
            sent.append(
                p.Publish(
                    chance.choice([b"t/a", b"t/b"]), b"%d-%d" % (step, index), 1 if plain else chance.choice([1, 2]),
                    not plain and chance.random() < 0.3, False, index + 1, properties,
                )
            )  # fmt: skip
        pub.send(*sent, *[p.Acknowledge(p.PUBREL, one.packet_id) for one in sent if one.qos == 2])
        take(chance.randrange(4), chance.choice([0.3, 0.7, 1]))
    for _ in range(600):
        for number in range(4):
            take(number, 1)
    for peer in subs[:3]:
        peer.wire.close()
    return got, gateway.sequencer._worlds["mqtt"].executor.state.owed_bytes


@pytest.mark.parametrize("seed", range(24))
def test_lanes_give_what_single_messages_give(seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        slow, _ = script(seed, False, patch)
    with pytest.MonkeyPatch.context() as patch:
        fast, owed = script(seed, True, patch)

    def by_topic(got: list[tuple[object, ...]]) -> dict[object, list[tuple[object, ...]]]:
        return {topic: [one for one in got if one[0] == topic] for topic in (b"t/a", b"t/b")}

    for one, other in zip(fast, slow, strict=True):
        assert by_topic(one) == by_topic(other)
    assert owed == 0


@pytest.mark.parametrize("captured", [False, True])
def test_a_window_of_a_lane_is_the_client_s(captured: bool) -> None:
    gateway = harness()
    if captured:
        from substrate.api import DEFAULT_ACCOUNT, Address, CreateTopic

        gateway.sequencer.calls.call("topics", CreateTopic(DEFAULT_ACCOUNT, Address(b"t")), None, 0)
        gateway.run()
    sub = connected(gateway, "s", 5, receive_maximum=10)
    sub.subscribe("t/#", options=1)
    pub = connected(gateway, "p")
    answers = pub.send(*[p.Publish(b"t/x", b"%d" % i, 1, False, False, i + 1) for i in range(35)])
    assert codes(answers, p.PUBACK) == [0] * 35
    got = []
    while found := published(sub.received()):
        assert len(found) <= 10
        got += [one.payload for one in found]
        sub.send_quietly(*[p.Acknowledge(p.PUBACK, one.packet_id) for one in found])
    assert got == [b"%d" % i for i in range(35)]
    assert gateway.sequencer._worlds["mqtt"].executor.state.owed_bytes == 0


def test_what_a_broken_connection_was_owed_is_forgotten_and_counted_back() -> None:
    gateway = harness()
    sub = connected(gateway, "s", 5, receive_maximum=3)
    sub.subscribe("t", options=1)
    pub = connected(gateway, "p")
    pub.send(*[p.Publish(b"t", b"x" * 100, 1, False, False, i + 1) for i in range(50)])
    state = gateway.sequencer._worlds["mqtt"].executor.state
    assert state.owed_bytes > 4000
    sub.wire.close()
    assert state.owed_bytes == 0


def test_a_message_too_large_for_a_client_is_left_out_of_a_run() -> None:
    gateway = harness()
    small = connected(gateway, "s", 5, packet_bytes_max=100)
    small.subscribe("t", options=1)
    pub = connected(gateway, "p")
    pub.send(*[p.Publish(b"t", b"x" * size, 1, False, False, size) for size in (10, 200, 20)])
    assert [len(one.payload) for one in published(small.received())] == [10, 20]


def test_a_client_s_no_local_holds_for_runs() -> None:
    gateway = harness()
    peer, other = connected(gateway, "c", 5), connected(gateway, "o", 5)
    for one in (peer, other):
        one.subscribe("t", options=1 | 4)
    answers = peer.send(*[p.Publish(b"t", b"%d" % i, 1, False, False, i + 1) for i in range(3)])
    assert published(answers) == [] and len(published(other.received())) == 3


def test_runs_keep_to_the_receive_maximum() -> None:
    gateway = harness()
    pub = connected(gateway, "p", 5)
    pub.publish("t", b"first", 1)  # its address is known from here on
    sent = [p.Publish(b"t", b"", 1, False, False, i + 1) for i in range(150)]
    answers = pub.send(*sent)
    assert codes(answers, p.PUBACK) == [0x10] * 100 and answers[-1] == p.Disconnect(0x93)
    pub = Peer(gateway, 5)
    pub.connect("q")
    for start in range(0, 300, 100):
        assert len(codes(pub.send(*sent[:100]), p.PUBACK)) == 100, start
