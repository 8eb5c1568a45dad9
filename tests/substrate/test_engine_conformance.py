"""Every engine keeps every promise of ``conformance.engines``."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable

import pytest

from conformance.engines import CHECKS, FolderStage, MemoryStage, SimulatedStage, Stage

_STAGES: dict[str, Callable[[pathlib.Path], Stage]] = {
    "memory": lambda folder: MemoryStage(delayed=True),
    "memory-immediate": lambda folder: MemoryStage(delayed=False),
    "disk": lambda folder: FolderStage(str(folder)),
    "disk-simulated": lambda folder: SimulatedStage(seed=5),
}


@pytest.mark.parametrize(("stage", "check"), list(itertools.product(_STAGES, CHECKS)))
def test_an_engine_keeps_the_promise(stage: str, check: str, tmp_path: pathlib.Path) -> None:
    CHECKS[check](_STAGES[stage](tmp_path))
