"""The stream layer keeps its promises on every engine: conformance/stream_layer.py on each of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conformance.stream_layer import Check, DiskStorage, MemoryStorage, SimulatedDiskStorage, Storage, checks_for


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
