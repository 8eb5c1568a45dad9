"""What the HTTP edge sees of the whole process, beside its port: who is connected, what streams weigh, what is counted.

Read only, computed when asked and never before: it costs nothing while nobody looks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from substrate.api import RESERVED, Account, Address, StreamConfig, StreamId, Topic
from substrate.engine import EngineError
from thalweg.http_answers import Refusal

if TYPE_CHECKING:
    from protocols.hub import Hub

STREAMS_OPEN_MAX = 64
"""Answers that go on (followers, live tails, events), of all connections together."""


class Entry(NamedTuple):
    """A topic, or a stream of an executor's own."""

    name: Address
    streams: tuple[StreamId, ...]
    config: StreamConfig
    subjects: tuple[bytes, ...] = ()
    created_ms: int = 0


class View:
    """``hub`` answers None before the start and after the stop."""

    def __init__(
        self,
        hub: Callable[[], Hub | None],
        ready: Callable[[], bool],
        metrics: Callable[[], Mapping[str, int | float]],
        hosts: Iterable[str] = (),
        new_streams: StreamConfig | None = None,
        started_ns: int = 0,
    ) -> None:
        self._hub = hub
        self.ready = ready
        self.metrics = metrics
        self.hosts = frozenset(name.strip().lower() for name in hosts if name.strip())
        """Names under which this listener is reached, beside addresses and names without a dot."""
        self.new_streams = new_streams or StreamConfig()
        """Of a stream that is created here."""
        self.started_ns = started_ns
        """When this process began to listen."""
        self.open = 0
        """Answers that go on now."""

    @property
    def hub(self) -> Hub:
        found = self._hub()
        assert found is not None, "a session lives within its hub"
        return found

    @property
    def now_ns(self) -> int:
        """Of this turn."""
        return self.hub.sequencer.now_ns

    def entries(self, account: Account, topics: Iterable[Topic], internal: bool) -> list[Entry]:
        """Every topic given, and (``internal``) the streams beneath ``_thalweg``; in no order."""
        found = [
            Entry(topic.name, topic.streams, topic.config, topic.subjects, topic.created_ms)
            for topic in topics
            if internal or not is_internal(topic.name)
        ]
        if internal:
            known = {stream for entry in found for stream in entry.streams}
            found += [
                Entry(stream.key.name, (stream.id,), stream.config)
                for stream in self.hub.sequencer.layer.streams.values()
                if stream.id not in known and stream.key.account == account and is_internal(stream.key.name)
            ]
        return found

    def moved(self, streams: Iterable[tuple[Address, tuple[StreamId, ...]]], seen: dict[bytes, int]) -> list[bytes]:
        """Names of those that are not as they were when last asked with this ``seen``, which is brought up to date.

        A stream's first position and its end only rise: their sum says whether either did.
        """
        known = self.hub.sequencer.layer.streams
        changed: list[bytes] = []
        for name, ids in streams:
            total = 0
            for stream in ids:
                found = known.get(stream)
                if found is not None:
                    total += found.start + found.next
            if seen.get(name) != total:
                seen[name] = total
                changed.append(name)
        return changed

    def marks(self, stream: StreamId) -> tuple[int, int]:
        """The first position and the one after the last."""
        found = self.hub.sequencer.layer.streams.get(stream)
        return (0, 0) if found is None else (found.start, max(found.start, found.next))

    def held(self, stream: StreamId) -> int:
        """Records that readers see: those removed within it are not counted."""
        found = self.hub.sequencer.layer.streams.get(stream)
        if found is None:
            return 0
        start, end = self.marks(stream)
        return end - start - found.gone.count(start, end)

    def size(self, stream: StreamId) -> int:
        """Bytes of its segments; -1: they cannot be read."""
        layer = self.hub.sequencer.layer
        found = layer.streams.get(stream)
        if found is None:
            return 0
        try:
            return sum(segment.bytes for segment in layer.engine_of(found.config).segments(stream))
        except EngineError:
            return -1

    def connections(self) -> list[tuple[str, Any]]:
        """(protocol, connection) of all that are connected."""
        return [(name, member) for name, members in self.hub.connections.items() for member in members]

    def executor(self, name: str) -> Any:
        """An executor, to look at; None: it is not there."""
        return next((world.executor for world in self.hub.sequencer.worlds() if world.executor.name == name), None)


class Place:
    """One more answer that goes on, until it is closed.

    Raises:
        Refusal: there are enough.
    """

    def __init__(self, view: View) -> None:
        if view.open >= STREAMS_OPEN_MAX:
            raise Refusal(503, f"{STREAMS_OPEN_MAX} streams are open already", [("Retry-After", "5")])
        view.open += 1
        self._view: View | None = view

    def close(self) -> None:
        if self._view is not None:
            self._view.open -= 1
            self._view = None


def is_internal(name: bytes) -> bool:
    return name.split(b"/", 1)[0] == RESERVED
