"""The executor ``proc``: what happened to the processes of this substrate, in ``_thalweg/proc``. Asked by ``thalweg ps``."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from substrate.api import Called, Record

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Transition:
    """A supervisor says what happened to one of its processes; answered with nothing, when durable."""

    process: str
    event: str
    """``started``, ``ready``, ``ended``, ``restarts``, ``gave up``, ``stopped``."""
    pid: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Happened:
    """A transition and when the sequencer wrote it down."""

    at_ms: int
    process: str
    event: str
    pid: int
    detail: str


@dataclass(frozen=True, slots=True)
class History:
    """Answered with a tuple of the last ``most`` Happened, oldest first."""

    most: int = KEPT


class Processes:
    name = "proc"
    version = 1

    def __init__(self) -> None:
        self._history: deque[Happened] = deque(maxlen=KEPT)
        self._world: Any = None

    def start(self, world: Any) -> None:
        self._world = world

    def apply(self, record: Record) -> None:
        self._history.append(Happened(record.timestamp_ms, **json.loads(record.value or b"{}")))

    def execute(self, request: object, token: int, session: object) -> Called | None:
        if isinstance(request, Transition):
            fields = asdict(request)
            self._history.append(Happened(self._world.now_ns // 1_000_000, **fields))
            return Called(None, self._world.record(json.dumps(fields).encode(), request.process.encode()))
        if isinstance(request, History):
            return Called(tuple(self._history)[-max(request.most, 0) :])
        return Called(None)

    def gone(self, session: object) -> None: ...
    def answered(self, token: int, answer: object) -> None: ...
    def tick(self, now_ns: int) -> None: ...

    def dump(self) -> bytes:
        return json.dumps([asdict(one) for one in self._history]).encode()

    def load(self, data: bytes) -> None:
        self._history = deque((Happened(**one) for one in json.loads(data)), maxlen=KEPT)
