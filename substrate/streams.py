"""One stream as its sequencer sees it, and who watches it. State only: ``substrate.layer`` moves it."""

from __future__ import annotations

from substrate.api import Commit, Level, StreamConfig, StreamId, StreamKey, Watcher
from substrate.batch import BatchBuilder
from substrate.conditions import MessageIds, Producers
from substrate.engine import Batch
from substrate.index import AddressIndex
from substrate.intervals import Intervals
from substrate.limits import Limits, limits_of
from substrate.marks import Marked

NOTHING = Intervals()
"""Of streams of which nothing is gone: never added to."""
NEVER = Commit(1 << 62)
"""Of what was appended while nothing can be made durable: whoever waits for it is told by ``failed``."""


class Stream:
    """One partition's marks and what hangs on it. Internal to the layer."""

    __slots__ = (
        "builder", "builder_base", "config", "durable", "gone", "id", "ids", "index", "key", "label", "limits", "marked",
        "max_timestamp_ms", "next", "open_from", "pending", "pending_base", "pending_bytes", "producers", "segment_base", "segment_ms", "start", "watchers",
        "written",
    )  # fmt: skip

    def __init__(self, stream: StreamId, key: StreamKey, config: StreamConfig) -> None:
        self.id = stream
        self.key = key
        self.config = config
        self.start = 0
        self.next = 0
        self.written = 0
        self.durable = 0
        self.builder: BatchBuilder | None = None
        self.builder_base = 0
        self.pending: list[Batch] = []  # of this turn, in order
        self.pending_base = 0
        self.pending_bytes = 0
        self.max_timestamp_ms = 0
        self.index: AddressIndex | None = None  # built when first asked for, here and below
        self.ids: MessageIds | None = None
        self.producers: Producers | None = None
        self.watchers: list[Watch] = []
        self.limits: Limits | None = limits_of(config)
        self.marked: Marked | None = None
        self.gone: Intervals = NOTHING
        """What readers do not see any more: ``marked``'s, once there is something."""
        self.segment_base = -1
        """The active segment that was first seen at ``segment_ms``."""
        self.segment_ms = 0
        self.open_from = -1
        """Where the earliest open transaction begins; -1: none is open."""

    def attach(self, marked: Marked) -> None:
        """What is known to be gone."""
        self.marked = marked
        self.gone = marked.gone
        self.start = max(self.start, marked.start)


class Watch:
    """One watcher's handle."""

    __slots__ = ("_stream", "closed", "level", "stream", "watcher")

    def __init__(self, stream: Stream, level: Level, watcher: Watcher) -> None:
        self._stream = stream
        self.stream = stream.id
        self.level = level
        self.watcher = watcher
        self.closed = False

    def close(self) -> None:
        self.closed = True
        if self in self._stream.watchers:
            self._stream.watchers.remove(self)
