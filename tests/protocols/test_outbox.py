"""The outbox against a model: any interleaving of deliveries, answers, places, barriers, durability and sending."""

from __future__ import annotations

import importlib.util
import pathlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from protocols import outbox as compiled_or_not
from protocols.outbox import Outbox

SHARD = st.integers(0, 1)
COMMIT = st.integers(0, 12)
DATA = st.integers(0, 40)


def uncompiled():
    """The same file as plain Python."""
    spec = importlib.util.spec_from_file_location(
        "uncompiled_outbox", pathlib.Path(compiled_or_not.__file__).parent / "outbox.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Outbox


class OutboxModel(RuleBasedStateMachine):
    """Deliveries leave at once; answers in request order; nothing behind a barrier leaves before its commit."""

    slots = Bundle("slots")

    def __init__(self) -> None:
        super().__init__()
        self.boxes = [Outbox(1 << 20), uncompiled()(1 << 20)]
        self.dirty: list[list] = [[], []]
        for box, dirty in zip(self.boxes, self.dirty, strict=True):
            box.dirty = dirty
        self.waiting: list[dict] = []
        self.durable = {0: 0, 1: 0}
        self.out = b""
        self.count = 0

    def text(self, size: int) -> bytes:
        self.count += 1
        return b"<%d:%s>" % (self.count, b"x" * size * size)

    def settle(self) -> None:
        while self.waiting and self.waiting[0]["data"] is not None:
            head = self.waiting[0]
            if head["commit"] > self.durable[head["shard"]]:
                break
            self.out += head["data"]
            self.waiting.pop(0)

    def each(self, act):
        found = [act(box) for box in self.boxes]
        self.settle()
        for box in self.boxes:  # as the hub does at the end of a turn
            if box.parked():
                for shard, commit in self.durable.items():
                    box.durable(shard, commit)
        return found

    @rule(size=DATA)
    def a_delivery_is_put(self, size):
        data = self.text(size)
        self.out += data
        self.each(lambda box: box.put_bytes(data))

    @rule(size=DATA)
    def a_slice_is_delivered(self, size):
        data = self.text(size)
        self.out += data
        self.each(lambda box: box.put(bytearray(b"<<<" + data + b">>>"), 3, 3 + len(data)))

    @rule(number=st.integers(-(1 << 60), 1 << 60))
    def a_number_is_delivered(self, number):
        self.out += b"%d" % number
        self.each(lambda box: box.put_number(number))

    @rule(size=DATA)
    def an_answer_is_ready(self, size):
        data = self.text(size)
        self.waiting.append({"data": data, "shard": 0, "commit": 0})
        self.each(lambda box: box.answer(data))

    @rule(size=DATA, shard=SHARD, commit=COMMIT)
    def an_answer_waits_for_a_commit(self, size, shard, commit):
        data = self.text(size)
        self.waiting.append({"data": data, "shard": shard, "commit": commit})
        self.each(lambda box: box.answer_at(data, shard, commit))

    @rule(target=slots)
    def a_place_is_kept(self):
        entry = {"data": None, "shard": 0, "commit": 0}
        self.waiting.append(entry)
        return entry, self.each(lambda box: box.open())

    @rule(slot=consumes(slots), size=DATA, shard=SHARD, commit=COMMIT, empty=st.booleans())
    def a_place_is_filled(self, slot, size, shard, commit, empty):
        entry, numbers = slot
        data = b"" if empty else self.text(size)
        entry.update(data=data, shard=shard, commit=commit)
        for box, number in zip(self.boxes, numbers, strict=True):
            box.fill(number, data, commit, shard)
        self.each(lambda box: None)

    @rule(shard=SHARD, more=st.integers(1, 4))
    def commits_become_durable(self, shard, more):
        self.durable[shard] += more
        self.each(lambda box: box.durable(shard, self.durable[shard]))

    @rule(shard=SHARD)
    def commits_fail(self, shard):
        above = self.durable[shard]
        lost = any(one["shard"] == shard and one["commit"] > above for one in self.waiting)
        if lost:
            self.waiting.clear()
        assert self.each(lambda box: box.failed(shard, above)) == [lost, lost]

    @rule(part=st.floats(0, 1))
    def some_of_it_is_sent(self, part):
        for box in self.boxes:
            with box.peek() as view:
                count = int(len(view) * part)
                assert bytes(view[:count]) == self.out[:count]
            box.sent(count)
        self.out = self.out[count:]

    @rule()
    def the_turn_ends(self):
        for box, dirty in zip(self.boxes, self.dirty, strict=True):
            assert box.marked == bool(dirty)
            dirty.clear()
            box.marked = False

    @rule()
    def idle_buffers_shrink(self):
        for box in self.boxes:
            box.shrink()

    @invariant()
    def what_may_leave_is_what_the_model_says(self):
        for box in self.boxes:
            with box.peek() as view:
                assert bytes(view) == self.out
            assert box.ready() == len(self.out)
            assert bool(box.parked()) == bool(self.waiting)
            assert box.size() == len(self.out) + sum(len(one["data"] or b"") for one in self.waiting)
            if self.waiting and self.waiting[-1]["data"] is not None:
                assert box.size() >= len(self.out)


TestOutboxModel = OutboxModel.TestCase
TestOutboxModel.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_whatever_waits_is_seen_by_the_hub():
    for act in (
        lambda b: b.answer_at(b"x", 0, 5),
        lambda b: b.open(),
        lambda b: b.put_bytes(b"x"),
        lambda b: b.answer(b"x"),
    ):
        box = Outbox()
        act(box)
        assert box.marked and box.dirty == [box]


def test_a_place_that_was_dropped_may_still_be_filled():
    box = Outbox()
    slot = box.open()
    box.answer_at(b"lost", 0, 9)
    assert box.failed(0, 8)
    box.fill(slot, b"too late")
    assert box.ready() == 0 and not box.parked()


def test_an_outbox_beyond_its_bound_says_so_also_for_what_is_parked():
    box = Outbox(1000)
    box.open()
    box.answer(b"x" * 999)
    assert not box.overflowed
    box.answer(b"xx")
    assert box.overflowed
    direct = Outbox(1000)
    direct.put_bytes(b"x" * 5000)
    direct.sent(0)  # the driver tried, the peer took nothing
    assert direct.overflowed


def test_a_slice_outside_its_buffer_is_refused():
    box = Outbox()
    for start, end in ((-1, 2), (0, 4), (2, 9)):
        with pytest.raises(IndexError):
            box.put(b"abc", start, end)
    assert box.ready() == 0


def test_a_cleared_outbox_holds_nothing():
    box = Outbox()
    box.put_bytes(b"x")
    slot = box.open()
    box.answer(b"y")
    box.clear()
    box.fill(slot, b"z")
    assert (box.size(), box.ready(), box.parked()) == (0, 0, False)
