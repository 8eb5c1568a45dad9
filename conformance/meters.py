"""What a process costs, seen from outside: memory, CPU time, open files (Linux, ``/proc``)."""

from __future__ import annotations

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(pid: int) -> int:
    """Physical memory (RSS)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def cpu_s(pid: int) -> float:
    """CPU seconds used so far by all live threads (schedstat: nanoseconds)."""
    total_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total_ns += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended meanwhile
    return total_ns / 1e9


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
