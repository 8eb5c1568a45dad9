"""Format 1 on disk, as files: today's program writes the very bytes, and reads what was written then.

A change of format is a new version: it gets golden files of its own beside these, and both are read.
"""

from __future__ import annotations

import pathlib
import shutil

import pytest
from crc32c import crc32c

from conformance.batches import make_batch
from conformance.crash_points import read_all
from conformance.disk_faults import SimulatedFiles
from conformance.engines import Told
from substrate.api import Commit, Durability, ErrorCode, Position, StreamConfig, StreamId
from substrate.disk import DiskEngine
from substrate.disk.options import Options
from substrate.engine import EngineError, Frame, Part
from substrate.files import RealFiles
from thalweg.verify import verify

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden" / "disk-v1"
OPTIONS = Options(journal_slots=2, journal_slot_bytes=8192, reference_bytes=1024, free_bytes_min=0)
EXPECTED = {1: (0, 12), 2: (4, 12), 3: (0, 6)}


def _append(engine: DiskEngine, number: int, ends: dict[int, int], sizes: dict[int, int]) -> None:
    parts = []
    for stream, size in sizes.items():
        base = ends[stream]
        batch = make_batch(base, 2, 1, bytes([64 + stream]) * size, 1_700_000_000_000 + number)
        parts.append(Part(StreamId(stream), Position(base), Position(base + 2), [batch], len(batch), 0))
        ends[stream] = base + 2
    engine.append(Frame(Commit(number), parts))


def _written() -> dict[str, SimulatedFiles]:
    """The two directories: killed with work in its journal, and stopped in order."""
    files = SimulatedFiles(1)
    engine = DiskEngine(files, options=OPTIONS)
    engine.open(Told(), 0)
    ends = {1: 0, 2: 0, 3: 0}
    engine.create(StreamId(1), "default/orders-0", StreamConfig(segment_bytes=600))
    engine.create(StreamId(2), "default/ä%/b-1", StreamConfig(durability=Durability.OS, segment_bytes=600))
    for number in (1, 2, 3):
        _append(engine, number, ends, {1: 100, 2: 200})
    engine.create(StreamId(3), "default/large-0", StreamConfig())
    files.run()
    engine.trim(StreamId(2), Position(4))
    for number in (4, 5, 6):
        _append(engine, number, ends, {1: 10, 2: 10, 3: 1500})
    files.run()
    killed = files.killed()
    engine.close()
    return {"killed": killed, "stopped": files}


@pytest.mark.parametrize("kind", ["killed", "stopped"])
def test_the_bytes_on_disk_are_those_of_format_1(kind: str) -> None:
    files = _written()[kind]
    folder = GOLDEN / kind
    golden = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(golden) == files.paths()
    for path, content in golden.items():
        assert files.content(path) == content, f"{path} changed: that is a new format, see this file's head"


@pytest.mark.parametrize("kind", ["killed", "stopped"])
def test_format_1_is_read(kind: str, tmp_path: pathlib.Path) -> None:
    shutil.copytree(GOLDEN / kind, tmp_path / "data")
    assert verify(str(tmp_path / "data")).faults == []
    engine = DiskEngine(RealFiles(str(tmp_path / "data")))
    opened = engine.open(Told(), 0)
    assert (opened.epoch, opened.commit) == (2, 6)
    assert {int(stream): (ends.start, ends.end) for stream, ends in opened.streams.items()} == EXPECTED
    data = read_all(engine, StreamId(3))
    assert data == b"".join(make_batch(2 * n, 2, 1, b"C" * 1500, 1_700_000_000_004 + n) for n in range(3))
    assert len(read_all(engine, StreamId(1))) == 3 * (61 + 100) + 3 * (61 + 10)
    engine.close()
    assert verify(str(tmp_path / "data")).faults == []


def test_a_format_of_tomorrow_is_refused(tmp_path: pathlib.Path) -> None:
    for kind in ("ends", "journal"):
        folder = tmp_path / kind
        shutil.copytree(GOLDEN / "stopped", folder)
        if kind == "ends":
            for name in ("ends", "ends.copy"):
                file = bytearray((folder / name).read_bytes())
                file[12:16] = (2).to_bytes(4)
                file[8:12] = crc32c(bytes(file[12:])).to_bytes(4)
                (folder / name).write_bytes(bytes(file))
        else:
            file = bytearray((folder / "journal" / "0001").read_bytes())
            file[12:16] = (2).to_bytes(4)
            file[8:12] = crc32c(bytes(file[12:64])).to_bytes(4)
            (folder / "journal" / "0001").write_bytes(bytes(file))
        with pytest.raises(EngineError) as refused:
            DiskEngine(RealFiles(str(folder))).open(Told(), 0)
        assert refused.value.code is ErrorCode.UNSUPPORTED
        assert "version 2; known: 1" in refused.value.detail


def _write_golden() -> None:
    for kind, files in _written().items():
        for path in files.paths():
            target = GOLDEN / kind / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(files.content(path))
