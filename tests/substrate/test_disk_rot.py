"""Bit flips, lost ends and old copies are found and never served; the neighbours are read."""

from __future__ import annotations

from conformance.disk_faults import SimulatedFiles
from conformance.rot import explore
from thalweg.verify import Report, verify_files


def _faults(files: SimulatedFiles) -> list[str]:
    return [fault.reason for fault in verify_files(files, Report("simulated")).faults]


def test_no_rot_is_served_and_verify_names_it() -> None:
    result = explore(seed=1, states=500, verify=_faults)
    assert result.states == 500
    assert result.refused > 3
    assert result.corrupt_reads > 50
