"""The jetstream engine keeps every promise of ``conformance.engines`` over a real cluster, and what it does when that breaks."""

from __future__ import annotations

import itertools
import pathlib
import time
from collections.abc import Callable, Iterator

import pytest

from conformance.engines import CHECKS, Told, Writer, opened, read_all
from conformance.jetstream_stage import JetStreamStage
from conformance.nats_cluster import NatsCluster, NoServer
from substrate.api import ErrorCode, Position, StreamId
from substrate.engine import EngineError
from substrate.jetstream import JetStreamEngine
from substrate.jetstream.link import Link
from substrate.jetstream.truth import stream_name, subject_of

DEADLINE_S = 60.0
KEPT_BY_THE_COPY_ALONE = {"rewrite", "a_rewrite_given_up_changes_nothing"}
"""What compaction took is in the log still: a copy that is made anew has it again, and its marks."""
_names = itertools.count()

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def _cluster(tmp_path_factory: pytest.TempPathFactory, nodes: int) -> NatsCluster:
    try:
        return NatsCluster(tmp_path_factory.mktemp(f"cluster-of-{nodes}"), nodes)
    except NoServer as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """A server by itself: the log, the chain and the copy are the same."""
    with _cluster(tmp_path_factory, 1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with _cluster(tmp_path_factory, 3) as cluster:
        yield cluster


@pytest.fixture(name="stage")
def _stage(one: NatsCluster, tmp_path: pathlib.Path) -> JetStreamStage:
    return JetStreamStage(one.url(f"test{next(_names)}"), str(tmp_path / "a"))


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_the_promise(check: str, stage: JetStreamStage) -> None:
    CHECKS[check](stage)


@pytest.mark.parametrize("check", CHECKS.keys() - KEPT_BY_THE_COPY_ALONE)
def test_it_keeps_the_promise_by_what_the_cluster_has(check: str, stage: JetStreamStage) -> None:
    stage.forgets = True
    CHECKS[check](stage)


def _engine(writer: Writer) -> JetStreamEngine:
    assert isinstance(writer.engine, JetStreamEngine)
    return writer.engine


def _until(stage: JetStreamStage, writer: Writer, reached: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline_s, "not in time"
        _engine(writer).pump(0.02)
        stage.turns.run()


def _load(stage: JetStreamStage, writer: Writer, frames: int) -> None:
    """Append so many frames, thirty in flight at most."""
    for _ in range(frames):
        writer.append(writer.part(1, 2_000), writer.part(2, 700_000 if writer.commit % 50 == 0 else 100))
        _until(stage, writer, lambda: writer.commit - max(writer.told.durables, default=0) < 30)


def _all_there(stage: JetStreamStage, writer: Writer, folder: str) -> None:
    """A reader that has nothing but the cluster finds just what was written."""
    other = JetStreamStage("jetstream://h:1", folder, stage.options)
    other.cluster = stage.cluster
    reader = opened(other)
    for stream, batches in writer.batches.items():
        assert b"".join(read_all(reader.engine, stream)) == b"".join(batches)
    reader.engine.close()


def test_a_node_that_is_killed_under_load_costs_nothing_but_time(three: NatsCluster, tmp_path: pathlib.Path) -> None:
    stage = JetStreamStage(three.url(f"test{next(_names)}"), str(tmp_path / "a"))
    writer = opened(stage)
    _engine(writer).patience_s = DEADLINE_S
    writer.create(1)
    writer.create(2)
    _load(stage, writer, 100)
    leader = three.leader_of(stream_name(stage.cluster, 0))
    writer.append(*[writer.part(1, 3_000_000)])
    three.kill(leader)
    _load(stage, writer, 100)
    three.restart(leader)
    _load(stage, writer, 30)
    _until(stage, writer, lambda: writer.told.durables[-1:] == [writer.commit])
    assert writer.told.failures == []
    assert writer.told.durables == sorted(set(writer.told.durables))
    three.wait_until_led()
    stage.crash()
    _all_there(stage, writer, str(tmp_path / "b"))


def test_without_a_quorum_the_epoch_ends_and_service_resumes_by_itself(
    three: NatsCluster, tmp_path: pathlib.Path
) -> None:
    stage = JetStreamStage(three.url(f"test{next(_names)}"), str(tmp_path / "a"))
    writer = opened(stage)
    engine = _engine(writer)
    engine.patience_s = 1.5
    writer.create(1)
    writer.append(writer.part(1, 100))
    _until(stage, writer, lambda: writer.told.durables == [1])
    for number in (0, 1):
        three.freeze(number)
    writer.append(writer.part(1, 100))
    assert len(read_all(engine, 1)) == 2
    _until(stage, writer, lambda: bool(writer.told.failures))
    assert [above for above, _ in writer.told.failures] == [1]
    assert len(read_all(engine, 1)) == 1
    with pytest.raises(EngineError) as refused:
        engine.reopen(0)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    for number in (0, 1):
        three.thaw(number)
    deadline_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            back = engine.reopen(0)
            break
        except EngineError as error:
            assert error.code is ErrorCode.UNAVAILABLE
            assert time.monotonic() < deadline_s
    assert back.commit in (1, 2)  # what was not acknowledged may have arrived
    assert back.epoch > writer.epoch
    again = Writer(engine, writer.told, back)
    again.append(again.part(1, 100))
    _until(stage, again, lambda: again.told.durables[-1] == again.commit)
    assert len(read_all(engine, 1)) == back.commit + 1
    engine.close()


def test_a_writer_that_slept_is_fenced_when_it_wakes(stage: JetStreamStage, tmp_path: pathlib.Path) -> None:
    sleeper = opened(stage)
    sleeper.create(1)
    sleeper.append(sleeper.part(1, 100))
    _until(stage, sleeper, lambda: sleeper.told.durables == [1])
    other = JetStreamStage("jetstream://h:1", str(tmp_path / "b"), stage.options)
    other.cluster = stage.cluster
    taker = opened(other)
    assert taker.epoch > sleeper.epoch
    assert taker.ends == {1: 3}
    taker.append(taker.part(1, 200))
    for _ in range(20):
        sleeper.append(sleeper.part(1, 300))
    _until(stage, sleeper, lambda: bool(sleeper.told.failures))
    assert sleeper.told.durables == [1]
    assert "another writer" in sleeper.told.failures[0][1]
    assert _engine(sleeper).fenced
    with pytest.raises(EngineError):
        sleeper.engine.reopen(0)
    taker.append(taker.part(1, 200))
    _until(other, taker, lambda: taker.told.durables[-1:] == [3])
    assert taker.told.failures == []
    stored = read_all(taker.engine, 1)
    assert [len(batch) for batch in stored[1:]] == [len(batch) for batch in taker.batches[1]]
    sleeper.engine.close()
    taker.engine.close()


def test_a_writer_that_failed_while_another_took_over_does_not_take_it_back(
    stage: JetStreamStage, tmp_path: pathlib.Path
) -> None:
    sleeper = opened(stage)
    sleeper.create(1)
    stage.settle(sleeper.engine)
    other = JetStreamStage("jetstream://h:1", str(tmp_path / "b"), stage.options)
    other.cluster = stage.cluster
    taker = opened(other)
    _engine(sleeper).patience_s = -1.0
    sleeper.append(sleeper.part(1, 100))
    _until(stage, sleeper, lambda: bool(sleeper.told.failures))
    assert not _engine(sleeper).fenced

    def refused() -> bool:
        with pytest.raises(EngineError):
            sleeper.engine.reopen(0)
        return bool(_engine(sleeper).fenced)

    _until(stage, sleeper, refused)
    taker.append(taker.part(1, 200))
    _until(other, taker, lambda: taker.told.durables == [1])
    assert taker.told.failures == []
    sleeper.engine.close()
    taker.engine.close()


def test_a_message_that_a_fenced_writer_got_in_is_void(stage: JetStreamStage, tmp_path: pathlib.Path) -> None:
    """The chain of a pipelining writer fits again behind the message that fenced it: every reader passes over that."""
    sleeper = opened(stage)
    sleeper.create(1)
    _until(stage, sleeper, lambda: not _engine(sleeper).in_flight)
    other = JetStreamStage("jetstream://h:1", str(tmp_path / "b"), stage.options)
    other.cluster = stage.cluster
    taker = opened(other)
    for _ in range(8):  # the first is refused, where the new epoch stands; those behind it expect what is there
        sleeper.append(sleeper.part(1, 100))
    _until(stage, sleeper, lambda: bool(sleeper.told.failures))
    for _ in range(5):
        taker.append(taker.part(1, 500))
    _until(other, taker, lambda: taker.told.durables[-1:] == [5])
    assert sleeper.told.durables == []
    assert taker.told.failures == []
    sleeper.engine.close()
    other.crash()
    _all_there(other, taker, str(tmp_path / "c"))


def test_a_message_of_a_stranger_in_the_log_ends_it(stage: JetStreamStage) -> None:
    writer = opened(stage)
    writer.create(1)
    writer.append(writer.part(1, 100))
    stage.settle(writer.engine)
    link = Link.open(stage.cluster, 0)
    link.ask(subject_of(stage.cluster, 0), b"hello")
    link.close()
    writer.append(writer.part(1, 100))
    _until(stage, writer, lambda: bool(writer.told.failures))
    assert writer.told.durables == [1]
    writer.engine.close()
    with pytest.raises(EngineError) as refused:
        stage.make().open(Told(), 0)
    assert refused.value.code is ErrorCode.CORRUPT


def test_a_copy_of_another_stream_is_refused(stage: JetStreamStage, one: NatsCluster) -> None:
    writer = opened(stage)
    writer.create(1)
    writer.append(writer.part(1, 100))
    stage.settle(writer.engine)
    writer.engine.close()
    other = JetStreamStage(one.url(f"test{next(_names)}"), stage.root)
    with pytest.raises(EngineError) as refused:
        other.make().open(Told(), 0)
    assert refused.value.code is ErrorCode.CORRUPT
    assert "another" in refused.value.detail


def test_a_copy_that_rotted_is_made_again_from_the_cluster(stage: JetStreamStage) -> None:
    writer = opened(stage)
    writer.create(1)
    for _ in range(3):
        writer.append(writer.part(1, 100))
    stage.settle(writer.engine)
    stage.crash()
    for file in pathlib.Path(stage.root, "copy").glob("ends*"):
        file.write_bytes(b"rot" * 100)
    again = opened(stage)
    assert read_all(again.engine, 1) == writer.batches[1]
    assert "put aside" in _engine(again).faults[0]
    assert again.engine.read(StreamId(1), Position(0), 1)
    again.engine.close()
