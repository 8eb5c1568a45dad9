"""What a power cut, a kill or a failing disk leaves is what was promised."""

from __future__ import annotations

import pytest

from conformance import crash_points, failing_disk
from conformance.disk_faults import SimulatedFiles

STATES = 2_000


def test_nothing_acknowledged_is_lost_at_any_crash_point() -> None:
    result = crash_points.explore(seed=1, states=STATES, ways=2)
    assert result.states == STATES
    assert result.slowest_open_s < 10


@pytest.mark.parametrize("seed", [1, 2])
def test_a_failing_operation_costs_no_acknowledged_commit_and_life_goes_on(seed: int) -> None:
    result = failing_disk.explore(seed, steps=30, both=False)
    assert result.failures == result.operations > 100


def test_the_same_seed_gives_the_same_disk() -> None:
    digests = []
    for _ in range(2):
        files = SimulatedFiles(9)
        crash_points.Trace(9, files).run(60)
        files.run()
        digests.append((files.digest(), files.crashed(4).digest(), files.operations))
    assert digests[0] == digests[1]


def test_crash_points_are_a_command_that_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert crash_points.main(["--states", "40", "--seed", "5"]) == 0
    assert "40 states" in capsys.readouterr().out
