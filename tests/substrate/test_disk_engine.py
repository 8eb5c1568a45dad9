"""The disk engine where the conformance suite does not look: space, locks, versions, many streams, idle, verify."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import time

import pytest

from conformance.disk_faults import Operation, SimulatedFiles
from conformance.engines import SMALL, FolderStage, SimulatedStage, Told, Writer, opened, read_all
from substrate.api import Durability, ErrorCode, Position, StreamConfig, StreamId
from substrate.disk.engine import DiskEngine
from substrate.disk.options import Options
from substrate.engine import EngineError
from substrate.files import RealFiles
from thalweg import verify


def _simulated(files: SimulatedFiles, options: Options = SMALL) -> Writer:
    engine = DiskEngine(files, options=options)
    told = Told()
    return Writer(engine, told, engine.open(told, 0))


def test_two_processes_never_share_a_directory(tmp_path: pathlib.Path) -> None:
    first = DiskEngine(RealFiles(str(tmp_path)), options=SMALL)
    first.open(Told(), 0)
    second = DiskEngine(RealFiles(str(tmp_path)), options=SMALL)
    with pytest.raises(EngineError) as refused:
        second.open(Told(), 0)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    first.close()
    second.open(Told(), 0)
    second.close()


def test_ten_thousand_streams_open_in_seconds(tmp_path: pathlib.Path) -> None:
    stage = FolderStage(str(tmp_path), dataclasses.replace(SMALL, journal_slot_bytes=4 << 20))
    writer = opened(stage)
    for stream in range(1, 10_001):
        writer.create(stream)
    writer.append(*[writer.part(stream, 20) for stream in range(1, 10_001, 100)])
    writer.engine.close()
    began = time.perf_counter()
    writer = opened(stage)
    assert time.perf_counter() - began < 30  # the goal is 3 s
    assert len(writer.ends) == 10_000
    assert len(read_all(writer.engine, 9_901)) == 1
    assert len(os.listdir("/proc/self/fd")) < 500
    writer.engine.close()


def test_open_files_are_bounded(tmp_path: pathlib.Path) -> None:
    stage = FolderStage(str(tmp_path), dataclasses.replace(SMALL, open_files_max=20))
    writer = opened(stage)
    before = len(os.listdir("/proc/self/fd"))
    for stream in range(1, 200):
        writer.create(stream)
    for _ in range(3):
        writer.append(*[writer.part(stream, 20) for stream in range(1, 200)])
        stage.settle(writer.engine)
        assert len(os.listdir("/proc/self/fd")) - before < 60
    for stream in range(1, 200):
        assert len(read_all(writer.engine, stream)) == 3
    writer.engine.close()


def test_a_full_disk_refuses_writes_reads_go_on_and_it_resumes() -> None:
    files = SimulatedFiles(3, capacity=1 << 20)
    writer = _simulated(files, dataclasses.replace(SMALL, free_bytes_min=32 * 1024, journal_slot_bytes=64 * 1024))
    writer.create(1)
    taken = 0
    while writer.engine.reserve(20_000):
        writer.append(writer.part(1, 20_000))
        files.run()
        taken += 1
    assert 5 < taken < 60
    assert writer.told.durables[-1] == taken
    assert len(read_all(writer.engine, 1)) == taken
    files.capacity += 1 << 20
    assert writer.engine.reserve(20_000)
    writer.append(writer.part(1, 20_000))
    files.run()
    assert writer.told.durables[-1] == taken + 1
    writer.engine.close()


def test_running_out_of_space_within_a_turn_ends_the_epoch_and_loses_nothing() -> None:
    files = SimulatedFiles(3, capacity=1 << 20)
    writer = _simulated(files, dataclasses.replace(SMALL, free_bytes_min=0, journal_slot_bytes=64 * 1024))
    writer.create(1)
    with pytest.raises(EngineError) as refused:
        while True:
            writer.append(writer.part(1, 90_000))
            files.run()
    assert refused.value.code is ErrorCode.NO_SPACE
    files.run()
    assert writer.told.failures == [(writer.commit - 1, writer.told.failures[0][1])]
    assert not writer.engine.reserve(1)
    with pytest.raises(EngineError):
        writer.append(writer.part(1, 1))
    files.capacity += 1 << 20
    back = writer.engine.reopen(0)
    assert back.commit == writer.told.durables[-1]
    assert back.epoch > writer.epoch
    again = Writer(writer.engine, writer.told, back)
    again.append(again.part(1, 90_000))
    files.run()
    assert len(read_all(again.engine, 1)) == back.commit + 1
    again.engine.close()


def test_a_failed_fsync_reports_nothing_above_and_reopens_over_what_was_durable() -> None:
    files = SimulatedFiles(4)
    writer = _simulated(files)
    writer.create(1)
    writer.append(writer.part(1, 100))
    files.run()
    files.fault = lambda operation: errno.EIO if operation.kind == "sync" else 0
    writer.append(writer.part(1, 100))
    writer.append(writer.part(1, 100))
    files.run()
    assert writer.told.durables == [1]
    assert [above for above, _reason in writer.told.failures] == [1]
    with pytest.raises(EngineError):
        writer.engine.reopen(0)
    files.fault = None
    back = writer.engine.reopen(0)
    assert (back.commit, back.streams[StreamId(1)].end) == (1, 3)
    files = files.crashed(1)
    again = _simulated(files)
    assert again.ends == {1: 3}
    again.engine.close()


def test_one_fsync_serves_all_that_was_written_meanwhile() -> None:
    files = SimulatedFiles(5)
    writer = _simulated(files)
    writer.create(1)
    syncs: list[Operation] = []
    files.watch = lambda operation: syncs.append(operation) if operation.kind == "sync" else None
    for _ in range(50):
        writer.append(writer.part(1, 10))
    files.run()
    assert writer.told.durables == [1, 50]
    assert len(syncs) == 2
    writer.engine.close()


def test_at_idle_the_journal_names_its_durable_end_so_that_rot_is_not_a_torn_tail() -> None:
    files = SimulatedFiles(6)
    writer = _simulated(files)
    writer.create(1)
    writer.append(writer.part(1, 100))
    files.run()
    before = files.operations
    for _ in range(20):
        files.elapse(100)
        files.run()
    assert files.operations == before + 2  # one frame, one fsync, then silence
    rotten = files.killed()
    content = rotten.content("journal/0000")
    rotten.flip("journal/0000", 8 * (content.index(b"\x01" * 100) + 5))
    engine = DiskEngine(rotten, options=SMALL)
    with pytest.raises(EngineError) as refused:
        engine.open(Told(), 0)
    assert refused.value.code is ErrorCode.CORRUPT


def test_interval_streams_are_synced_when_they_are_due() -> None:
    files = SimulatedFiles(7)
    writer = _simulated(files)
    writer.create(1, StreamConfig(durability=Durability.INTERVAL, interval_ms=100))
    files.run()
    writer.append(writer.part(1, 100), writer.part(1, 200_000))
    assert writer.told.durables == [1]
    assert DiskEngine(files.crashed(0), options=SMALL).open(Told(), 0).commit <= 1
    files.elapse(100)
    files.run()
    for seed in range(20):
        found = DiskEngine(files.crashed(seed), options=SMALL).open(Told(), 0)
        assert found.streams[StreamId(1)].end == 6


def test_a_directory_without_its_ends_files_is_never_taken_for_a_new_one() -> None:
    stage = SimulatedStage()
    writer = opened(stage)
    writer.create(1)
    writer.append(writer.part(1, 10))
    writer.engine.close()
    for name in ("ends", "ends.copy"):
        stage.files.unlink(name)
    with pytest.raises(EngineError) as refused:
        stage.make().open(Told(), 0)
    assert refused.value.code is ErrorCode.CORRUPT


def test_one_rotten_ends_file_costs_nothing_and_is_made_anew() -> None:
    stage = SimulatedStage()
    writer = opened(stage)
    writer.create(1)
    writer.append(writer.part(1, 10))
    writer.engine.close()
    stage.files.flip("ends", 999)
    engine = DiskEngine(stage.files, options=SMALL)
    assert engine.open(Told(), 0).commit == 1
    assert "ends" in engine.faults[0]
    engine.close()
    again = DiskEngine(stage.files, options=SMALL)
    again.open(Told(), 0)
    assert again.faults == []
    again.close()


def test_a_lost_manifest_is_rebuilt_from_the_segments() -> None:
    stage = SimulatedStage()
    writer = opened(stage)
    writer.create(1, StreamConfig(segment_bytes=1_000))
    for _ in range(20):
        writer.append(writer.part(1, 400))
    segments = writer.engine.segments(StreamId(1))
    writer.engine.close()
    stage.files.unlink("streams/default%2Fstream-1.1/manifest")
    engine = DiskEngine(stage.files, options=SMALL)
    engine.open(Told(), 0)
    assert engine.segments(StreamId(1)) == segments
    assert "rebuilt" in engine.faults[0]
    assert len(read_all(engine, 1)) == 20
    engine.close()
    assert verify.verify_files(stage.files, verify.Report("")).faults == []


def test_an_index_that_lies_is_not_believed() -> None:
    stage = SimulatedStage(options=dataclasses.replace(SMALL, tail_cache_bytes=0))
    writer = opened(stage)
    writer.create(1, StreamConfig(segment_bytes=200_000))
    for _ in range(60):
        writer.append(writer.part(1, 9_000))
    writer.engine.close()
    for path in stage.files.paths():
        if path.endswith(".index"):
            lie = bytearray(stage.files.content(path))
            for at in range(0, len(lie), 8):
                lie[at + 3] ^= 0x10
                lie[at + 7] ^= 0x03
            stage.files.put(path, bytes(lie))
    writer_again = opened(stage)
    assert b"".join(read_all(writer_again.engine, 1)) == b"".join(writer.batches[1])
    for position in range(0, 180, 7):
        first = writer_again.engine.read(StreamId(1), Position(position), 1)[0]
        assert int.from_bytes(first[:8]) <= position
    writer_again.engine.close()


def test_the_folder_of_a_stream_can_be_read_by_its_name(tmp_path: pathlib.Path) -> None:
    writer = opened(FolderStage(str(tmp_path)))
    label = "default/orders eu/ü" + "x" * 300 + "-0"
    writer.engine.create(StreamId(77), label, StreamConfig())
    writer.ends[77] = 0
    writer.append(writer.part(77, 10))
    writer.engine.close()
    (folder,) = (tmp_path / "streams").iterdir()
    assert folder.name.startswith("default%2Forders%20eu%2F%C3%BCxxx")
    assert folder.name.endswith(".77")
    assert len(folder.name) < 200
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".log") == ["00000000000000000000.log"]


def test_verify_is_silent_on_a_sound_directory_and_names_every_fault(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = opened(FolderStage(str(tmp_path)))
    for stream in (1, 2, 3):
        writer.create(stream, StreamConfig(segment_bytes=20_000))
    for size in (10, 5_000, 100_000, 300, 9_000, 9_000):
        writer.append(*[writer.part(stream, size) for stream in (1, 2, 3)])
    writer.engine.close()
    report = verify.verify(str(tmp_path))
    assert report.faults == []
    assert (report.streams, report.batches, report.clean, report.status) == (3, 18, True, 0)
    logs = sorted((tmp_path / "streams" / "default%2Fstream-2.2").glob("*.log"))
    damaged = bytearray(logs[1].read_bytes())
    damaged[500] ^= 1
    logs[1].write_bytes(bytes(damaged))
    logs[-1].write_bytes(logs[-1].read_bytes()[:-3])
    (tmp_path / "streams" / "default%2Fstream-3.3" / "manifest").write_text("{}\n00000000\n")
    assert verify.main(str(tmp_path), as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["sound"]
    assert {(fault["stream"], os.path.basename(fault["file"])) for fault in found["faults"]} == {
        (2, logs[1].name),
        (2, logs[-1].name),
        (3, "manifest"),
    }
    assert verify.main(str(tmp_path)) == 1
    assert "FAULT" in capsys.readouterr().out


def test_verify_leaves_a_running_gateway_alone(tmp_path: pathlib.Path) -> None:
    writer = opened(FolderStage(str(tmp_path)))
    assert "running" in verify.verify(str(tmp_path)).faults[0].reason
    writer.engine.close()
    assert verify.verify(str(tmp_path)).sound
    assert not verify.verify(str(tmp_path / "nothing-here")).sound


def test_equal_streams_have_equal_chain_values(tmp_path: pathlib.Path) -> None:
    chains = []
    for name in ("a", "b"):
        writer = opened(FolderStage(str(tmp_path / name)))
        writer.create(1, StreamConfig(segment_bytes=5_000 if name == "a" else 50_000))
        for size in (100, 3_000, 4_000, 70_000):
            writer.append(writer.part(1, size))
        writer.engine.close()
        chains.append(verify.verify(str(tmp_path / name)).chains)
    assert chains[0] == chains[1]


def test_it_opens_again_however_full_its_journal_is() -> None:
    files = SimulatedFiles(8)
    options = dataclasses.replace(SMALL, journal_slots=2, journal_slot_bytes=4096)
    for number in range(1, 80):
        writer = _simulated(files, options)
        assert writer.commit == number - 1
        writer.create(1)
        writer.append(writer.part(1, number % 13))
        writer.engine.close()


def test_a_stream_in_the_minority_of_failing_reads_does_not_stop_the_others() -> None:
    stage = SimulatedStage(options=dataclasses.replace(SMALL, tail_cache_bytes=0))
    writer = opened(stage)
    for stream in (1, 2):
        writer.create(stream)
        for _ in range(4):
            writer.append(writer.part(stream, 1_000))
    writer.engine.close()
    stage.files.flip("streams/default%2Fstream-1.1/00000000000000000000.log", 8 * 1_500)
    again = opened(stage)
    assert len(again.engine.read(StreamId(1), Position(0), 1)) == 1
    with pytest.raises(EngineError) as refused:
        again.engine.read(StreamId(1), Position(3), 1)
    assert refused.value.code is ErrorCode.CORRUPT
    assert len(again.engine.read(StreamId(1), Position(6), 1)) == 1
    assert len(read_all(again.engine, 2)) == 4
    again.append(again.part(1, 10))
    stage.settle(again.engine)
    assert len(again.engine.read(StreamId(1), Position(12), 1)) == 1
    again.engine.close()
