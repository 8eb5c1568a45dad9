"""The hub: answers leave when their commit is durable, deadlines come in order, a failure closes who it must."""

from __future__ import annotations

from conformance.harness import Harness
from protocols.outbox import Outbox
from substrate.api import DEFAULT_ACCOUNT, Ack, Address, Appended, CreateTopic, Group
from substrate.memory import MemoryEngine

ORDERS = Address(b"orders")


class Line:
    """A session of lines: ``durable``, ``ordered``, ``plain``, ``close``, ``boom``, ``alarm <ms>``; the rest is echoed."""

    def __init__(self, port):
        self.port = port
        self.outbox = Outbox()
        self.deadline_ns = 0
        self.closing = self.blocked = False
        self.wants_bytes = 0
        self.ticks: list[int] = []
        self.ended = 0
        self.now_ns = 0

    def opened(self, peer, now_ns):
        self.outbox.answer(b"hello\n")

    def receive(self, data, start, end, now_ns):
        self.now_ns = now_ns
        text = bytes(data)
        while not self.blocked and (stop := text.find(b"\n", start, end)) >= 0:
            self.line(bytes(data[start:stop]))
            start = stop + 1
        return start

    def line(self, text):
        if text in (b"durable", b"ordered"):
            route = self.port.resolve(DEFAULT_ACCOUNT, ORDERS)
            ack = Ack.DURABLE if text == b"durable" else Ack.ORDERED
            self.port.publish(route, Group.of(ORDERS, text), "", ack, 1)
        elif text == b"block":
            self.blocked = True
        elif text.startswith(b"alarm"):
            self.deadline_ns = self.now_ns + int(text.split()[1]) * 1_000_000
        elif text == b"close":
            self.outbox.answer(b"bye\n")
            self.closing = True
        else:
            self.outbox.answer(text + b"\n")

    def answered(self, token, answer):
        if isinstance(answer, Appended):
            self.outbox.answer_at(b"at %d\n" % answer.base, answer.shard, answer.commit)
        else:
            self.outbox.answer(b"no\n")

    def tick(self, now_ns):
        self.ticks.append(now_ns)
        self.deadline_ns = 0
        self.outbox.answer(b"tick\n")

    def eof(self, now_ns):
        self.ended += 1

    def stop(self, now_ns):
        self.outbox.answer(b"stopping\n")
        self.closing = True


def gateway(delayed=True):
    engine = MemoryEngine(delayed=delayed)
    harness = Harness(executors=[], factories={"line": Line}, engine=engine)
    harness.sequencer.call("topics", CreateTopic(DEFAULT_ACCOUNT, ORDERS), None, 1)
    harness.run()
    if delayed:
        engine.flush()
        harness.run()
    return harness, engine


def test_an_answer_leaves_when_its_commit_is_durable_and_holds_those_behind_it():
    harness, engine = gateway()
    client = harness.connect("line")
    client.send(b"one\ndurable\ntwo\n")
    assert client.read() == b"hello\none\n"
    engine.flush()
    harness.run()
    assert client.read() == b"at 0\ntwo\n"


def test_an_answer_whose_commit_is_durable_within_its_own_turn_leaves_with_it():
    harness, _ = gateway(delayed=False)
    client = harness.connect("line")
    client.send(b"durable\n")
    assert client.read() == b"hello\nat 0\n"


def test_each_connection_waits_for_its_own_commit_only():
    harness, engine = gateway()
    one, two = harness.connect("line"), harness.connect("line")
    one.send(b"durable\n")
    first = harness.sequencer.layer.commit_next - 1
    two.send(b"durable\n")
    engine.flush(first)
    harness.run()
    assert (one.read(), two.read()) == (b"hello\nat 0\n", b"hello\n")
    engine.flush()
    harness.run()
    assert two.read() == b"at 1\n" and not harness._waiting


def test_ordered_answers_leave_with_the_turn():
    harness, _ = gateway()
    client = harness.connect("line")
    client.send(b"ordered\n")
    assert client.read() == b"hello\nat 0\n"


def test_a_failure_closes_whom_it_leaves_in_doubt_and_nobody_else():
    harness, engine = gateway()
    doubtful, idle, served = (harness.connect("line") for _ in range(3))
    served.send(b"durable\n")
    engine.flush()
    harness.run()
    doubtful.send(b"durable\n")
    engine.fail("told to")
    harness.run()
    assert (doubtful.closed, idle.closed, served.closed) == (True, False, False)
    assert doubtful.session.ended == 1 and doubtful.read() == b"hello\n"
    harness.advance(3_000)
    served.send(b"durable\n")
    engine.flush()
    harness.run()
    assert served.read() == b"hello\nat 0\nat 1\n", "the new epoch's commits release the new epoch's answers"


def test_a_write_that_fails_lets_nothing_of_its_turn_leave():
    harness, engine = gateway(delayed=False)
    client, other = harness.connect("line"), harness.connect("line")
    client.send(b"ordered\n", run=False)

    def full(frame):
        from substrate.api import ErrorCode
        from substrate.engine import EngineError

        raise EngineError(ErrorCode.NO_SPACE, "told to")

    engine.append, kept = full, engine.append
    harness.run()
    assert client.closed and client.read() == b"hello\n" and not other.closed
    engine.append = kept
    harness.advance(3_000)
    other.send(b"ordered\n")
    assert other.read() == b"hello\nat 0\n"


def test_deadlines_come_in_order_and_each_at_its_time():
    harness, _ = gateway()
    clients = [harness.connect("line") for _ in range(3)]
    began = harness.now_ns
    for client, wait in zip(clients, (300, 100, 200), strict=True):
        client.send(b"alarm %d\n" % wait)
    harness.advance(150)
    assert [len(client.session.ticks) for client in clients] == [0, 1, 0]
    harness.advance(500)
    late = [(client.session.ticks[0] - began) // 1_000_000 for client in clients]
    assert late == [300, 100, 200]
    assert all(client.read() == b"hello\ntick\n" for client in clients)


def test_a_deadline_may_move_either_way():
    harness, _ = gateway()
    client = harness.connect("line")
    client.send(b"alarm 100\n")
    client.send(b"alarm 300\n")
    harness.advance(200)
    assert not client.session.ticks
    client.send(b"alarm 10\n")
    harness.advance(20)
    assert len(client.session.ticks) == 1
    harness.advance(1_000)
    assert len(client.session.ticks) == 1


def test_a_connection_that_is_gone_is_not_ticked():
    harness, _ = gateway()
    client = harness.connect("line")
    client.send(b"alarm 100\n")
    client.close()
    client.close()
    harness.advance(200)
    assert not client.session.ticks and client.session.ended == 1
    assert not harness.connections["line"]


def test_a_closing_session_says_its_last_word_also_behind_a_barrier():
    harness, engine = gateway()
    client = harness.connect("line")
    client.send(b"durable\nclose\nnever seen\n")
    assert not client.closed
    engine.flush()
    harness.run()
    assert client.closed and client.read().startswith(b"hello\nat 0\nbye\n")


def test_stopping_lets_answers_in_flight_arrive():
    harness, _ = gateway(delayed=False)
    client = harness.connect("line")
    client.send(b"durable\n", run=False)
    harness.stop()
    assert client.closed and client.read() == b"hello\nat 0\nstopping\n"


def test_events_are_counted_and_details_are_logged():
    harness, _ = gateway()
    harness.note("test_events_total", "")
    harness.note("test_events_total", "a detail")
    assert harness.counters["test_events_total"] == 2 and harness.logged[-1] == ("test_events_total", "a detail")
