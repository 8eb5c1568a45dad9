"""The harness itself: the same seed gives the same bytes, time moves by hand, borrowed buffers are spoiled."""

from __future__ import annotations

import pytest

from conformance.harness import DelayedPort, Harness
from protocols.outbox import Outbox


class Asker:
    """Asks three owners for something with each byte, and says in which order they answered."""

    def __init__(self, port):
        self.port = port
        self.outbox = Outbox()
        self.deadline_ns = 0
        self.closing = self.blocked = False
        self.wants_bytes = 0
        self.token = 0
        self.kept = None

    def opened(self, peer, now_ns): ...

    def receive(self, data, start, end, now_ns):
        for byte in data[start:end]:
            self.token += 1
            self.port.call("abc"[byte % 3], byte, self.token)
        self.kept = memoryview(data)[start:end]
        return end

    def answered(self, token, answer):
        self.outbox.answer(b"%d " % token)

    def tick(self, now_ns): ...
    def eof(self, now_ns): ...
    def stop(self, now_ns): ...


def harness(seed=0, delayed=True):
    return Harness(seed=seed, executors=[], factories={"ask": Asker}, delayed=delayed)


def told(seed, delayed=True):
    client = harness(seed, delayed).connect("ask")
    client.send(bytes(range(30)))
    return [int(word) for word in client.read().split()]


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others():
    assert told(1) == told(1)
    assert len({tuple(told(seed)) for seed in range(5)}) > 1


def test_delayed_answers_keep_their_order_for_each_owner_and_only_there():
    found = told(3)
    assert sorted(found) == list(range(1, 31)) and found != sorted(found)
    for owner in range(3):
        mine = [token for token in found if token % 3 == owner]
        assert mine == sorted(mine)


def test_without_delay_every_answer_comes_before_the_call_returns():
    assert told(3, delayed=False) == list(range(1, 31))


def test_a_delayed_call_is_not_made_before_the_session_has_returned():
    made = harness()
    client = made.connect("ask")
    client.send(b"abc", run=False)
    assert client.outbox.ready() == 0 and isinstance(client.session.port, DelayedPort)
    made.run()
    assert len(client.read().split()) == 3


def test_what_a_session_keeps_of_its_buffer_is_spoiled():
    client = harness().connect("ask")
    client.send(b"abc")
    assert bytes(client.session.kept) == b"\xee\xee\xee"


def test_time_moves_only_by_hand_and_never_back():
    made = harness()
    before = made.now_ns
    made.advance(1_000)
    assert 1_000_000_000 <= made.now_ns - before < 1_001_000_000
    made.begin()
    assert made.sequencer.now_ns == made.now_ns


def test_a_peer_that_does_not_read_fills_its_outbox():
    made = harness(delayed=False)
    client = made.connect("ask")
    client.reads = False
    client.send(b"abc")
    assert client.read() == b"" and client.outbox.ready() > 0
    client.reads = True
    client.outbox.mark()
    made.run()
    assert len(client.read().split()) == 3


def test_a_gateway_that_does_not_come_to_rest_is_found_out(monkeypatch):
    made = harness()
    monkeypatch.setattr(made, "_poll", lambda: True)
    with pytest.raises(AssertionError, match="come to rest"):
        made.run()
