"""The topics executor: every command validated, recorded, replayed; nothing given twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.harness import Harness
from substrate.api import (
    DEFAULT_ACCOUNT,
    Account,
    Address,
    AlterTopic,
    Called,
    CreateTopic,
    DeleteTopic,
    Durability,
    ErrorCode,
    Group,
    Level,
    NewProducerId,
    Position,
    StreamConfig,
    StreamError,
    Tail,
    Topic,
    TrimTopic,
)
from substrate.control import PARTITIONS_MAX, Topics, decode, schema
from substrate.memory import MemoryEngine


def gateway(engine: MemoryEngine | None = None) -> Harness:
    return Harness(executors=[], factories={}, engine=engine or MemoryEngine())


def ask(harness: Harness, request: object) -> object:
    answer = harness.sequencer.call("topics", request, None, 1)
    harness.run()
    assert isinstance(answer, Called), answer
    return answer.answer


def created(harness: Harness, name: bytes = b"orders", **more: object) -> Topic:
    topic = ask(harness, CreateTopic(DEFAULT_ACCOUNT, Address(name), **more))
    assert isinstance(topic, Topic), topic
    return topic


def restarted(harness: Harness) -> Harness:
    harness.sequencer.close()
    return gateway(harness.sequencer.layer.engine)


def refused(answer: object, code: ErrorCode) -> bool:
    return isinstance(answer, StreamError) and answer.code is code


def test_a_topic_is_there_after_a_restart_as_it_was():
    harness = gateway()
    config = StreamConfig(Durability.OS, retention_ms=5, record_bytes_max=1000)
    topic = created(harness, b"a/\xff%25", partitions=3, subjects=(b"x/%*", b"y/%#"), config=config, options={"k": "v"})
    assert len(set(topic.streams)) == 3 and len(topic.topic_id) == 16
    again = restarted(harness)
    assert again.sequencer.topics.topics == {(DEFAULT_ACCOUNT, b"a/\xff%25"): topic}
    assert set(topic.streams) <= set(again.sequencer.layer.streams)
    route = again.sequencer.interest.resolve(DEFAULT_ACCOUNT, Address(b"x/1"))
    assert route.topic == topic and route.stream in topic.streams


def test_a_name_is_taken_once_for_each_account():
    harness = gateway()
    created(harness)
    assert refused(ask(harness, CreateTopic(DEFAULT_ACCOUNT, Address(b"orders"))), ErrorCode.EXISTS)
    other = ask(harness, CreateTopic(Account("other"), Address(b"orders")))
    assert (
        isinstance(other, Topic)
        and other.streams != harness.sequencer.topics.topics[DEFAULT_ACCOUNT, b"orders"].streams
    )


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (CreateTopic(DEFAULT_ACCOUNT, Address(b"")), ErrorCode.INVALID),
        (CreateTopic(DEFAULT_ACCOUNT, Address(b"_thalweg/x")), ErrorCode.INVALID),
        (CreateTopic(DEFAULT_ACCOUNT, Address(b"a"), partitions=0), ErrorCode.INVALID),
        (CreateTopic(DEFAULT_ACCOUNT, Address(b"a"), partitions=PARTITIONS_MAX + 1), ErrorCode.INVALID),
        (CreateTopic(DEFAULT_ACCOUNT, Address(b"a"), subjects=(b"%>/x",)), ErrorCode.INVALID),
        (CreateTopic(DEFAULT_ACCOUNT, Address(b"a"), subjects=(b"_thalweg/%>",)), ErrorCode.DENIED),
        (AlterTopic(DEFAULT_ACCOUNT, Address(b"none")), ErrorCode.NO_STREAM),
        (DeleteTopic(DEFAULT_ACCOUNT, Address(b"none")), ErrorCode.NO_STREAM),
        (TrimTopic(DEFAULT_ACCOUNT, Address(b"none"), 0, Position(1)), ErrorCode.NO_STREAM),
        (AlterTopic(DEFAULT_ACCOUNT, Address(b"orders"), partitions=1), ErrorCode.INVALID),
        (
            AlterTopic(DEFAULT_ACCOUNT, Address(b"orders"), config=StreamConfig(Durability.MEMORY)),
            ErrorCode.UNSUPPORTED,
        ),
        ("something else", ErrorCode.UNSUPPORTED),
    ],
    ids=repr,
)
def test_what_is_refused_is_not_recorded(request_, code):
    harness = gateway()
    created(harness, partitions=2)
    before = harness.sequencer.topics.dump()
    tail = harness.sequencer.layer.streams[1].next
    assert refused(ask(harness, request_), code)
    assert harness.sequencer.topics.dump() == before and harness.sequencer.layer.streams[1].next == tail


def test_validating_only_changes_nothing():
    harness = gateway()
    assert isinstance(ask(harness, CreateTopic(DEFAULT_ACCOUNT, Address(b"a"), validate_only=True)), Topic)
    assert not harness.sequencer.topics.topics


def test_a_topic_grows_and_changes_and_keeps_its_first_streams():
    harness = gateway()
    topic = created(harness)
    changed = ask(
        harness,
        AlterTopic(
            DEFAULT_ACCOUNT,
            topic.name,
            partitions=3,
            subjects=(b"b",),
            config=StreamConfig(retention_ms=7),
            options={"o": "1"},
        ),
    )
    assert isinstance(changed, Topic)
    assert changed.streams[0] == topic.streams[0] and len(changed.streams) == 3
    assert changed.topic_id == topic.topic_id and changed.options == {"o": "1"}
    assert harness.sequencer.interest.captured_by(DEFAULT_ACCOUNT, Address(b"orders")) is None
    assert harness.sequencer.interest.captured_by(DEFAULT_ACCOUNT, Address(b"b")) == changed
    again = restarted(harness)
    assert again.sequencer.topics.topics[DEFAULT_ACCOUNT, b"orders"] == changed
    assert again.sequencer.layer.streams[changed.streams[2]].config.retention_ms == 7


def test_a_deleted_topic_is_gone_also_after_a_restart_and_its_numbers_are_never_given_again():
    harness = gateway()
    topic = created(harness)
    assert ask(harness, DeleteTopic(DEFAULT_ACCOUNT, topic.name)) == topic
    assert isinstance(harness.sequencer.layer.tail(topic.streams[0]), StreamError)
    again = created(harness)
    assert not set(again.streams) & set(topic.streams) and again.topic_id != topic.topic_id
    harness = restarted(harness)
    assert not harness.sequencer.layer.held(topic.streams[0])
    ask(harness, DeleteTopic(DEFAULT_ACCOUNT, topic.name))
    harness = restarted(harness)
    third = created(harness)
    assert third.streams[0] > again.streams[0]


def test_a_deletion_whose_engine_part_was_cut_short_is_finished_at_the_next_start():
    engine = MemoryEngine(delayed=True)
    harness = gateway(engine)
    topic = created(harness)
    engine.flush()
    harness.run()
    ask(harness, DeleteTopic(DEFAULT_ACCOUNT, topic.name))
    engine._durable = engine._written  # durable, and the process died before it heard of it
    engine._undo.clear()
    engine.lose()
    harness = gateway(engine)
    engine.flush()
    harness.run()
    assert topic.streams[0] not in engine._streams


def test_trimming_answers_the_new_tail():
    harness = gateway()
    topic = created(harness)
    for _ in range(5):
        harness.sequencer.append(topic.streams[0], Group.of(b"orders", b"v"), None)
    harness.run()
    tail = ask(harness, TrimTopic(DEFAULT_ACCOUNT, topic.name, 0, Position(3)))
    assert isinstance(tail, Tail) and (tail.start, tail.ordered) == (3, 5)
    assert refused(ask(harness, TrimTopic(DEFAULT_ACCOUNT, topic.name, 0, Position(6))), ErrorCode.OUT_OF_RANGE)
    assert refused(ask(harness, TrimTopic(DEFAULT_ACCOUNT, topic.name, 1, Position(0))), ErrorCode.NO_STREAM)
    layer = harness.sequencer.layer
    assert len(list(layer.each(layer.streams[topic.streams[0]], 3))) == 2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(["ask", "ask", "ask", "settle", "lose"]), max_size=40))
def test_a_producer_id_is_never_given_twice_whatever_is_lost(events):
    """An id counts as given once its commit is durable: before that nobody was told."""
    engine = MemoryEngine(delayed=True)
    harness = gateway(engine)
    told: set[int] = set()
    waiting: list[Called] = []

    def settle() -> None:
        engine.flush()
        harness.run()
        for answer in waiting:
            assert answer.answer not in told
            told.add(answer.answer)
        waiting.clear()

    for event in events:
        if event == "ask":
            answer = harness.sequencer.call("topics", NewProducerId(), None, 1)
            assert isinstance(answer, Called)
            if answer.commit <= engine._durable:
                assert answer.answer not in told
                told.add(answer.answer)
            else:
                waiting.append(answer)
            harness.run()
        elif event == "settle":
            settle()
        else:
            waiting.clear()
            engine.lose()
            harness = gateway(engine)
    settle()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["create", "alter", "delete"]), st.sampled_from([b"a", b"b", b"c/d"]), st.integers(1, 4)
        ),
        max_size=15,
    )
)
def test_a_replay_and_a_checkpoint_give_the_same_state(commands):
    harness = gateway()
    for kind, name, number in commands:
        request: object = CreateTopic(DEFAULT_ACCOUNT, Address(name), partitions=number)
        if kind == "alter":
            request = AlterTopic(DEFAULT_ACCOUNT, Address(name), partitions=number, options={"n": str(number)})
        elif kind == "delete":
            request = DeleteTopic(DEFAULT_ACCOUNT, Address(name))
        ask(harness, request)
    before = harness.sequencer.topics
    replayed = restarted(harness).sequencer.topics
    assert replayed.dump() == before.dump()
    loaded = Topics(lambda topic: None, lambda topic: None)
    loaded.load(before.dump())
    assert loaded.dump() == before.dump() and loaded.topics == before.topics
    assert loaded._next_stream == before._next_stream


def test_a_command_of_another_version_is_refused():
    for kind, data in (
        (b"nonsense", b"{}"),
        (b"topic_deleted", b'{"account":"a"}'),
        (b"topic_deleted", b'{"account":"a","name":"b","x":1}'),
    ):
        with pytest.raises(ValueError):
            decode(kind, data)
    assert {"topic_set", "topic_deleted", "system_stream", "producer_ids"} <= set(schema())


def test_a_failure_of_the_disk_takes_back_what_was_not_durable():
    engine = MemoryEngine(delayed=True)
    harness = gateway(engine)
    kept = created(harness, b"kept")
    engine.flush()
    harness.run()
    lost = created(harness, b"lost")
    engine.fail("told to")
    harness.advance(3_000)
    topics = harness.sequencer.topics.topics
    assert set(topics) == {(DEFAULT_ACCOUNT, b"kept")} and not harness.sequencer.layer.broken
    assert harness.sequencer.interest.captured_by(DEFAULT_ACCOUNT, Address(b"lost")) is None
    new = created(harness, b"new")
    assert new.streams == lost.streams, "a number that nobody was told of may be given"
    engine.flush()
    harness.run()
    answer = harness.sequencer.append(new.streams[0], Group.of(b"new", b"v"), None)
    harness.run()
    engine.flush()
    harness.run()
    assert answer.base == 0
    read = harness.sequencer.layer.read(new.streams[0], Position(0), 1, Level.DURABLE)
    assert len(read.data) == 1
    assert replace(kept) == topics[DEFAULT_ACCOUNT, b"kept"]
