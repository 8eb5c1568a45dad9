"""What conditions are judged by, each against a model that keeps everything."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.stream_layer import ORDERS, Bench, MemoryStorage, client_batch
from substrate.api import Address, Appended, Found, Rejected
from substrate.conditions import BATCHES_KEPT, MessageIds, Producers

ADDRESS = st.sampled_from([Address(b"a"), Address(b"b"), Address(b"c")])


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400)), max_size=40), st.integers(1, 1000))
def test_message_ids_are_remembered_for_exactly_the_window(events, window_ms):
    ids = MessageIds()
    seen: dict[bytes, tuple[int, int]] = {}
    now_ms = 10_000
    for position, (number, passed_ms) in enumerate(events):
        now_ms += passed_ms
        message_id = b"%d" % number
        at, when_ms = seen.get(message_id, (-1, 0))
        expected = at if at >= 0 and when_ms >= now_ms - window_ms else -1
        assert ids.find(message_id, now_ms - window_ms) == expected
        if expected < 0:
            ids.add(message_id, position, now_ms)
            seen[message_id] = (position, now_ms)
    assert len(ids._seen) <= 6 and len(ids._order) <= len(events)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(-6, 3), st.integers(0, 9)), max_size=30))
def test_each_sequence_of_a_producer_is_in_the_log_once_and_in_order(requests):
    """Whatever a client repeats, skips or mixes: the log holds each producer's batches without gap or repetition."""
    bench = Bench(MemoryStorage())
    bench.create()
    sent: dict[int, int] = {}
    appended = 0
    for producer, count, shift, restart in requests:
        sequence = max(0, sent.get(producer, 0) + shift)
        answer = bench.layer.append_batch(ORDERS, client_batch(count, producer, 0, sequence))
        assert isinstance(answer, Appended | Rejected)
        if isinstance(answer, Appended) and not answer.duplicate:
            assert sequence == sent.get(producer, sequence), "only who is not known begins anywhere"
            sent[producer] = sequence + count
            appended += count
        elif sequence == sent.get(producer):
            raise AssertionError("what comes next is never refused")
        if restart == 0:
            bench.turn()
            bench.restart()
    bench.turn()
    assert len(bench.values()) == appended


def test_of_each_producer_the_last_five_batches_are_remembered():
    producers = Producers()
    for sequence in range(9):
        header = SimpleNamespace(
            producer_id=1, producer_epoch=0, base_sequence=sequence, last_offset_delta=0, max_timestamp=0
        )
        producers.add(header, sequence)
    assert len(producers._producers[1][1]) == BATCHES_KEPT == 5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ADDRESS, st.booleans(), st.integers(0, 9)), max_size=25))
def test_an_index_built_late_and_one_kept_up_say_the_same(appends):
    early, late = Bench(MemoryStorage()), Bench(MemoryStorage())
    for bench in (early, late):
        bench.create()
    early.layer.query("count", ORDERS, Address(b"a"))
    for address, end, _ in appends:
        for bench in (early, late):
            bench.ordered(b"v", address=address)
            if end:
                bench.turn()
    for address in (b"a", b"b", b"c"):
        for kind in ("last", "count"):
            assert early.layer.query(kind, ORDERS, address) == late.layer.query(kind, ORDERS, address)
    assert late.layer.query("last", ORDERS, Address(b"none")) == Found(-1)
