"""The stream layer keeps its promises on every engine: conformance/stream_layer.py on each of them."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from conformance.stream_layer import Bench, Check, DiskStorage, MemoryStorage, SimulatedDiskStorage, Storage, checks_for


def runs(make: Callable[[], Storage]) -> list[Check]:
    return checks_for(make().can)


@pytest.mark.parametrize("check", runs(MemoryStorage), ids=lambda check: check.__name__)
def test_on_the_memory_engine(check):
    check(MemoryStorage)


@pytest.mark.parametrize("check", runs(lambda: MemoryStorage(delayed=True)), ids=lambda check: check.__name__)
def test_on_the_delayed_memory_engine(check):
    check(lambda: MemoryStorage(delayed=True))


@pytest.mark.parametrize("check", runs(SimulatedDiskStorage), ids=lambda check: check.__name__)
def test_on_the_disk_engine_over_a_simulated_disk(check):
    for seed in range(3):
        check(lambda seed=seed: SimulatedDiskStorage(seed))


@pytest.mark.parametrize("check", checks_for(DiskStorage.can), ids=lambda check: check.__name__)
def test_on_the_disk_engine_over_a_real_disk(check, tmp_path):
    made = []

    def make() -> Storage:
        made.append(DiskStorage(str(tmp_path / str(len(made)))))
        return made[-1]

    check(make)
    for storage in made:
        if storage._files is not None:
            storage._files.shut()


def test_a_new_epoch_whose_checkpoint_fails_does_not_begin():
    """It went on, with the journal beginning behind frames that the ends file still asked for: the next open refused."""
    storage = SimulatedDiskStorage()
    bench = Bench(storage)
    bench.create()
    bench.ordered(b"kept")
    bench.turn()
    bench.ordered(b"lost")
    bench.turn(settle=False)
    storage.fail()
    storage.files.fault = lambda operation: errno.ENOSPC if operation.kind == "rename" else 0
    assert not bench.layer.recover(bench.now_ms)
    assert bench.layer.broken
    storage.files.fault = None
    assert bench.layer.recover(bench.now_ms)
    bench.create()
    bench.layer.recovered()
    bench.ordered(b"next")
    bench.turn()
    storage.files = storage.files.killed()
    bench._open()
    bench.create()
    assert bench.values() == [b"kept", b"next"]


def test_what_a_killed_process_left_unsynced_is_made_durable_by_the_next():
    storage = SimulatedDiskStorage()
    bench = Bench(storage)
    bench.create()
    bench.ordered(*[bytes([index]) * 30_000 for index in range(9)])
    bench.turn()
    bench.ordered(b"x" * 50_000)
    bench.turn(settle=False)
    storage.files = storage.files.killed()
    bench._open()
    bench.create()
    seen = bench.values()
    for _ in range(5):
        storage.lose()
        bench._open()
        bench.create()
        assert bench.values() == seen
