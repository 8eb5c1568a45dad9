"""Checkpoint files over a power cut: what ``save`` returned from is there, whatever else the disk forgets."""

from __future__ import annotations

import pytest

from conformance.disk_faults import Operation, PowerCut, SimulatedFiles
from substrate import checkpoints
from substrate.checkpoints import Checkpoint, Fold


def made(position: int) -> Checkpoint:
    return Checkpoint("view", 1, position, position - 1, 7, bytes(32), b"state %d" % position * 500)


@pytest.mark.parametrize("seed", range(30))
def test_a_saved_checkpoint_survives_a_power_cut(seed):
    files = SimulatedFiles(seed)
    files.make_folder("")
    checkpoints.save(files, made(5))
    after = files.crashed(seed)
    assert checkpoints.load(after, "view") == [made(5)]
    checkpoints.save(after, made(9))
    assert checkpoints.load(after.crashed(seed), "view") == [made(9), made(5)]


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_while_saving_leaves_the_one_before(seed):
    files = SimulatedFiles(seed)
    files.make_folder("")
    checkpoints.save(files, made(5))
    checkpoints.save(files, made(9))
    at = files.operations + 1 + seed % 10

    def watch(operation: Operation) -> None:
        if operation.number >= at:
            raise PowerCut

    files.watch = watch
    try:
        checkpoints.save(files, made(12))
    except PowerCut:
        pass
    files.watch = None
    found = checkpoints.load(files.crashed(seed), "view")
    assert made(9) in found and set(found) <= {made(5), made(9), made(12)}


def test_a_changed_file_is_not_there_and_the_other_serves():
    files = SimulatedFiles()
    files.make_folder("")
    checkpoints.save(files, made(5))
    checkpoints.save(files, made(9))
    newest = next(path for path in files.paths() if b"state 9" in files.content(path))
    size = 8 * len(files.content(newest))
    for bit in range(0, size, 97):
        files.flip(newest, bit)
        assert checkpoints.load(files, "view") == [made(5)], bit
        files.flip(newest, bit)
    for cut in (0, 1, 107, 120, size // 8 - 1):
        broken = files.killed()
        broken.cut(newest, cut)
        assert checkpoints.load(broken, "view") == [made(5)]


def test_a_fold_begins_where_its_checkpoint_ends():
    assert (Fold().position, Fold(made(5)).position, Fold(made(5)).last_base) == (0, 5, 4)
