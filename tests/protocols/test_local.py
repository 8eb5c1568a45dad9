"""The sequencer's process: ports, worlds, executors, live sinks; what a failure of the storage leaves of them."""

from __future__ import annotations

import pytest

from conformance.harness import Harness
from conformance.stream_layer import client_batch
from protocols.local import LocalPort
from protocols.outbox import Outbox
from substrate.api import (
    DEFAULT_ACCOUNT,
    Ack,
    Address,
    Appended,
    Called,
    Conditions,
    CreateTopic,
    ErrorCode,
    Failed,
    Group,
    Level,
    Position,
    Rejected,
    StreamError,
)
from substrate.engine import EngineError
from substrate.interest import Tokens
from substrate.memory import MemoryEngine

ORDERS = Address(b"orders")


class Told:
    """A session that remembers its answers."""

    protocol = "test"

    def __init__(self, port: LocalPort) -> None:
        self.port = port
        self.outbox = Outbox()
        self.deadline_ns = 0
        self.closing = self.blocked = False
        self.wants_bytes = 0
        self.answers: list[tuple[int, object]] = []
        self.ended = 0

    def opened(self, peer, now_ns): ...
    def tick(self, now_ns): ...

    def receive(self, data, start, end, now_ns):
        return end

    def answered(self, token, answer):
        self.answers.append((token, answer))

    def eof(self, now_ns):
        self.ended += 1

    def stop(self, now_ns):
        self.closing = True


class Sink:
    def __init__(self, protocol="nats", then=lambda group: None):
        self.protocol = protocol
        self.session = None
        self.got: list[bytes] = []
        self.then = then

    def deliver(self, group):
        self.got += [record.value for record in group.records()]
        self.then(group)


class Counter:
    """An executor: numbers are added up; it also publishes, watches and parks."""

    name = "counter"
    version = 1
    made: list[Counter] = []

    def __init__(self):
        self.total = 0
        self.parked: list[int] = []
        self.gone_sessions: list[object] = []
        self.delivered = 0
        self.advances = 0
        Counter.made.append(self)

    def start(self, world):
        self.world = world
        sink = Sink("counter")
        sink.deliver = self._deliver
        self.handle = world.subscribe(DEFAULT_ACCOUNT, Tokens(b"counted/%>"), sink)

    def _deliver(self, group):
        self.delivered += group.count
        self.world.record(b"1")
        self.total += 1

    def advanced(self, stream):
        self.advances += 1

    def apply(self, record):
        self.total += int(record.value)

    def execute(self, request, token, session):
        if request == "park":
            self.parked.append(token)
            return None
        if request == "watch":
            self.world.watch(self.world.topic(DEFAULT_ACCOUNT, ORDERS).streams[0], Level.DURABLE, self)
            return Called(None)
        if request == "both":
            commit = self.world.record(b"1")
            self.total += 1
            self.world.publish(
                self.world.resolve(DEFAULT_ACCOUNT, ORDERS), Group.of(ORDERS, bytes(3_000_000)), "", Ack.DURABLE, 0
            )
            return Called(commit, commit)
        commit = self.world.record(b"%d" % request)
        self.total += request
        return Called(self.total, commit)

    def gone(self, session):
        self.gone_sessions.append(session)

    def answered(self, token, answer): ...
    def tick(self, now_ns): ...
    def dump(self):
        return b""

    def load(self, data): ...


def gateway(delayed_engine: bool = False, **more) -> Harness:
    Counter.made.clear()
    engine = MemoryEngine(delayed=delayed_engine)
    harness = Harness(executors=[Counter], factories={"test": Told}, engine=engine, **more)
    harness.sequencer.call("topics", CreateTopic(DEFAULT_ACCOUNT, ORDERS), None, 1)
    harness.run()
    if delayed_engine:
        engine.flush()
    harness.run()
    return harness


def publish(client, address=b"orders", *values, served="", when=None, ack=Ack.DURABLE, token=1):
    port = client.session.port
    group = Group(address, b"".join(values))
    at = 0
    for value in values:
        group.add(at, len(value))
        at += len(value)
    port.publish(port.resolve(DEFAULT_ACCOUNT, Address(address)), group, served, ack, token, when)
    return client.session.answers[-1][1] if token and client.session.answers else None


def stream_of(harness):
    return harness.sequencer.topics.topics[DEFAULT_ACCOUNT, ORDERS].streams[0]


def test_an_uncaptured_message_goes_to_live_sinks_and_nowhere_else():
    harness = gateway()
    client = harness.connect("test")
    sink = Sink()
    client.session.port.subscribe(DEFAULT_ACCOUNT, Tokens(b"chat/%>"), sink)
    answer = publish(client, b"chat/1", b"a", b"b")
    assert (answer.stream, answer.base, answer.commit) == (0, -1, 0) and sink.got == [b"a", b"b"]
    assert harness.sequencer.uncaptured == 2


def test_a_captured_message_is_stored_and_delivered_with_its_position():
    harness = gateway()
    client = harness.connect("test")
    seen = []
    client.session.port.subscribe(
        DEFAULT_ACCOUNT,
        Tokens(b"orders/%#"),
        Sink(then=lambda group: seen.append([r.position for r in group.records()])),
    )
    assert publish(client, b"orders/eu", b"a", b"b").base == 0
    assert publish(client, b"orders/us", b"c").base == 2
    assert seen == [[0, 1], [2]]


def test_whom_the_callers_kernel_served_gets_nothing_twice():
    harness = gateway()
    client = harness.connect("test")
    nats, mqtt = Sink("nats"), Sink("mqtt")
    for sink in (nats, mqtt):
        client.session.port.subscribe(DEFAULT_ACCOUNT, Tokens(b"a"), sink)
    publish(client, b"a", b"x", served="nats")
    assert (nats.got, mqtt.got) == ([], [b"x"])


def test_of_each_group_one_member_gets_each_message():
    harness = gateway()
    client = harness.connect("test")
    members = [Sink("nats") for _ in range(3)] + [Sink("mqtt") for _ in range(2)]
    for sink in members:
        client.session.port.subscribe(DEFAULT_ACCOUNT, Tokens(b"a"), sink, b"g")
    for _ in range(30):
        publish(client, b"a", b"x")
    assert sum(len(sink.got) for sink in members[:3]) == 30 and sum(len(sink.got) for sink in members[3:]) == 30
    assert all(sink.got for sink in members)


def test_a_rejected_message_reaches_no_sink():
    harness = gateway()
    client = harness.connect("test")
    sink = Sink()
    client.session.port.subscribe(DEFAULT_ACCOUNT, Tokens(b"orders"), sink)
    assert publish(client, b"orders", b"a", when=Conditions(tail=5)) == Rejected("tail", 0)
    duplicate = Conditions(message_id=b"1")
    publish(client, b"orders", b"b", when=duplicate)
    assert publish(client, b"orders", b"b", when=duplicate).duplicate
    assert sink.got == [b"b"]


def test_reserved_addresses_are_not_for_customers():
    harness = gateway()
    client = harness.connect("test")
    answer = publish(client, b"_thalweg/control", b"x")
    assert isinstance(answer, StreamError) and answer.code is ErrorCode.DENIED


def test_a_stale_route_is_resolved_again():
    harness = gateway()
    client = harness.connect("test")
    port = client.session.port
    route = port.resolve(DEFAULT_ACCOUNT, Address(b"late"))
    sink = Sink()
    port.subscribe(DEFAULT_ACCOUNT, Tokens(b"late"), sink)
    port.publish(route, Group.of(b"late", b"x"), "", Ack.NONE, 0)
    assert sink.got == [b"x"]


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, lambda data: memoryview(bytearray(data)), lambda data: memoryview(bytes(data))]
)
def test_a_clients_batch_reaches_live_sinks_decoded_with_its_positions(kind):
    harness = gateway()
    client = harness.connect("test")
    positions = []
    client.session.port.subscribe(
        DEFAULT_ACCOUNT,
        Tokens(b"orders"),
        Sink(then=lambda group: positions.extend(r.position for r in group.records())),
    )
    publish(client, b"orders", b"x")
    client.session.port.append(stream_of(harness), kind(client_batch(3)), Ack.DURABLE, 2)
    assert client.session.answers[-1][1].base == 1 and positions == [0, 1, 2, 3]


def test_an_ordered_ack_waits_for_nothing():
    harness = gateway(delayed_engine=True)
    client = harness.connect("test")
    assert publish(client, b"orders", b"x", ack=Ack.ORDERED).commit == 0
    assert publish(client, b"orders", b"x", ack=Ack.DURABLE).commit > 0


def test_a_commit_of_several_streams_is_all_or_nothing():
    harness = gateway()
    harness.sequencer.call("topics", CreateTopic(DEFAULT_ACCOUNT, Address(b"other")), None, 1)
    client = harness.connect("test")
    orders = stream_of(harness)
    other = harness.sequencer.topics.topics[DEFAULT_ACCOUNT, b"other"].streams[0]
    port, told = client.session.port, client.session.answers

    def commit(*appends):
        port.commit(list(appends), Ack.DURABLE, 9)
        return told[-1][1]

    big = Group.of(b"other", bytes(2_000_000))  # above the stream's record_bytes_max
    one = Group.of(b"orders", b"x")
    assert commit((orders, one, None), (other, Group.of(b"other", b"y"), Conditions(tail=3))) == Rejected("tail", 0)
    assert commit((orders, one, None), (other, big, None)).code is ErrorCode.TOO_LARGE
    assert commit((orders, one, None), (999, one, None)).code is ErrorCode.NO_STREAM
    assert harness.sequencer.layer.streams[orders].next == 0
    answers = commit((orders, one, Conditions(message_id=b"1")), (other, Group.of(b"other", b"y"), None))
    assert [type(answer) for answer in answers] == [Appended, Appended] and len(
        {answer.commit for answer in answers}
    ) == 1
    again = commit((orders, one, Conditions(message_id=b"1")))
    assert isinstance(again, Appended) and again.duplicate, "a message id of a commit is remembered too"


def test_what_an_executor_records_and_publishes_in_one_step_is_one_commit():
    harness = gateway(delayed_engine=True)
    client = harness.connect("test")
    alter = harness.sequencer.layer
    alter.streams[stream_of(harness)].config = type(alter.streams[stream_of(harness)].config)(record_bytes_max=1 << 30)
    before = harness.sequencer.layer.commit_next
    for _ in range(8):  # 24 MB: the turn is larger than a turn should be
        client.session.port.call("counter", "both", 5)
    harness.run()
    engine = harness.sequencer.layer.engine
    engine.flush(before)
    state = harness.sequencer.layer.streams[harness.sequencer._worlds["counter"].stream]
    data = harness.sequencer.layer.streams[stream_of(harness)]
    assert state.durable == data.durable > 0


def test_parked_calls_are_answered_once_and_forgotten_with_their_connection():
    harness = gateway()
    one, two = harness.connect("test"), harness.connect("test")
    one.session.port.call("counter", "park", 7)
    two.session.port.call("counter", "park", 8)
    counter = Counter.made[-1]
    assert one.session.answers == [] and len(set(counter.parked)) == 2
    two.close()
    assert counter.gone_sessions == [two.session]
    for token in counter.parked * 2:
        counter.world.answer(token, "now", 0)
    assert [(token, answer.answer) for token, answer in one.session.answers] == [(7, "now")]
    assert two.session.answers == []


def test_an_executor_that_is_not_there_fails_the_call():
    harness = gateway()
    client = harness.connect("test")
    client.session.port.call("nobody", 1, 3)
    assert isinstance(client.session.answers[-1][1], Failed)


def test_state_is_replayed_at_the_next_start():
    harness = gateway()
    client = harness.connect("test")
    for number in (3, 4):
        client.session.port.call("counter", number, number)
    publish(client, b"counted/x", b"!")
    harness.run()
    assert Counter.made[-1].total == 8
    harness.sequencer.close()
    Harness(executors=[Counter], factories={}, engine=harness.sequencer.layer.engine)
    assert Counter.made[-1].total == 8


def test_after_a_failure_executors_are_new_and_the_former_see_nothing_more():
    harness = gateway(delayed_engine=True)
    engine = harness.sequencer.layer.engine
    client, parked = harness.connect("test"), harness.connect("test")
    client.session.port.call("counter", "watch", 1)
    client.session.port.call("counter", 5, 2)
    harness.run()
    engine.flush()
    harness.run()
    client.session.port.call("counter", 90, 3)
    parked.session.port.call("counter", "park", 4)
    harness.run()
    former = Counter.made[-1]
    engine.fail("told to")
    harness.run()
    client.session.port.call("counter", 1, 5)
    assert isinstance(client.session.answers[-1][1], Failed)
    harness.advance(5_000)
    new = Counter.made[-1]
    assert new is not former and new.total == 5 and not harness.sequencer.layer.broken
    assert isinstance(parked.session.answers[-1][1], Failed), "what was parked ends in a retriable error"
    before = former.delivered, former.advances
    publish(client, b"counted/x", b"!")
    publish(client, b"orders", b"x")
    harness.run()
    engine.flush()
    harness.run()
    assert (former.delivered, former.advances) == before and new.delivered == 1
    assert new.total == 6
    engine.lose()
    Harness(executors=[Counter], factories={}, engine=engine)
    assert Counter.made[-1].total == 6


def test_nothing_is_recorded_while_nothing_can_be_made_durable():
    harness = gateway(delayed_engine=True)
    engine = harness.sequencer.layer.engine
    client = harness.connect("test")
    engine.fail("told to")
    publish(client, b"counted/x", b"!")
    harness.run()
    assert not harness.sequencer.layer.dirty
    answer = publish(client, b"orders", b"x")
    assert isinstance(answer, StreamError) and answer.code is ErrorCode.UNAVAILABLE


def test_a_full_disk_refuses_calls_and_appends_and_ends_no_epoch():
    harness = gateway()
    engine = harness.sequencer.layer.engine
    client = harness.connect("test")
    publish(client, b"orders", b"before")
    harness.run()
    engine.room = 1000
    assert publish(client, b"orders", b"x").code is ErrorCode.NO_SPACE
    client.session.port.call("counter", 1, 3)
    assert isinstance(client.session.answers[-1][1], Failed)
    harness.run()
    assert not harness.sequencer.layer.broken
    client.session.port.read(stream_of(harness), Position(0), 1, Level.DURABLE, 4)
    assert len(client.session.answers[-1][1].data) == 1, "reads go on"
    engine.room = None
    assert publish(client, b"orders", b"y").base == 1
    client.session.port.call("counter", 1, 3)
    assert client.session.answers[-1][1].answer == 1


def test_two_sinks_that_feed_one_another_do_not_hold_the_loop():
    harness = gateway()
    client = harness.connect("test")
    port = client.session.port

    class Echo:
        def advanced(self, stream):
            publish(client, b"orders", b"again", token=0)

    handle = port.watch(stream_of(harness), Level.ORDERED, Echo())
    publish(client, b"orders", b"first")
    harness.sequencer.end()
    assert harness._again, "the host is asked for another turn"
    handle.close()
    harness.run()


def test_an_executor_that_could_not_be_rebuilt_is_told_nothing_until_it_is():
    harness = gateway(delayed_engine=True)
    engine = harness.sequencer.layer.engine
    client = harness.connect("test")
    client.session.port.call("counter", 5, 2)
    harness.run()
    engine.flush()
    harness.run()
    state = harness.sequencer._worlds["counter"].stream
    read = engine.read

    def unreadable(stream, start, bytes_max):
        if stream == state:
            raise EngineError(ErrorCode.UNAVAILABLE, "told to")
        return read(stream, start, bytes_max)

    engine.read = unreadable
    engine.fail("told to")
    harness.advance(2_000)
    unbuilt = Counter.made[-1]
    other = harness.connect("test")
    other.session.port.call("counter", 1, 3)
    assert isinstance(other.session.answers[-1][1], Failed)
    other.close()
    assert harness.sequencer.layer.broken and not unbuilt.gone_sessions
    engine.read = read
    harness.advance(5_000)
    assert not harness.sequencer.layer.broken and Counter.made[-1].total == 5
    client.session.port.call("counter", 1, 4)
    assert client.session.answers[-1][1].answer == 6
