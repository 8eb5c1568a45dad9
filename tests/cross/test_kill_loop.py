"""kill -9 of the real gateway under load on four protocols: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from conformance.kill_loop import KillLoop

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("KILL_ROUNDS", "20"))
SEED = int(os.environ.get("KILL_SEED", "1"))
READY_S_MAX = 20.0
"""Ten times what it should take; ``python -m conformance.kill_loop`` holds the goal itself."""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_nothing_acknowledged_is_lost_when_the_process_is_killed_again_and_again(tmp_path: Path) -> None:
    serve = [sys.executable, "-m", "thalweg", "serve"]
    loop = KillLoop(serve, tmp_path / "gateway", SEED, {"PYTHONPATH": str(ROOT)}, READY_S_MAX)
    outcome = asyncio.run(loop.run(ROUNDS))
    print(outcome)
    assert outcome.violations == [], str(outcome)
    assert outcome.rounds == ROUNDS
