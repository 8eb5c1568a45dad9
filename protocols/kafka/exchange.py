"""One request and its answer: what every API family works with.

An *exchange* lives from the moment its request was read until its answer is in the outbox. A handler replies at once, or
asks the port with ``ask`` and replies from what it is answered; either way answers leave in request order, because a
place among the answers is kept (``park``) as soon as the handler returned without one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from protocols.kafka.codec import Codecs
from protocols.kafka.wire import Header, response
from substrate.api import Account, Answer

if TYPE_CHECKING:
    from protocols.api import Port
    from protocols.kafka.session import KafkaSession

DAY_MS = 86_400_000
JOINED_BYTES_MAX = 64 * 1024
Then = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What a Kafka listener may be told. The process fills in where it is reached."""

    host: str = "127.0.0.1"
    port: int = 9092
    node_id: int = 0
    cluster_id: str = "thalweg-AAAAAAAAAAAAAA"
    rack: str | None = None
    auto_create_topics: bool = True
    partitions: int = 1
    """Of a topic that is created without saying how many."""
    partitions_max: int = 10_000
    topic_retention_ms: int = 7 * DAY_MS
    """Of a topic that is created without ``retention.ms``."""
    max_message_bytes: int = 1_048_588
    durability: str = "sync"
    """Of a topic that is created without ``thalweg.durability``."""
    interval_ms: int = 1000
    group_initial_rebalance_ms: int = 0
    """group.initial.rebalance.delay.ms: 3000 in Kafka's code, 0 in the server.properties it ships."""
    request_bytes_max: int = 100 * 1024 * 1024
    other_bytes_max: int = 4 * 1024 * 1024
    """Of every request but Produce."""
    fetch_bytes_max: int = 1024 * 1024
    """Of one Fetch response, but for a larger first batch."""
    fetch_wait_ms_max: int = 60_000
    requests_in_flight_max: int = 1000
    unsent_bytes_max: int = 4 * 1024 * 1024
    """A peer is not read from while it leaves more than this unread, or has more than this waiting: frames whose answers
    are to come, and what fetches may yet bring."""
    idle_ms: int = 600_000
    frame_wait_ms: int = 60_000
    """How long a peer may be silent within a frame."""
    codecs: Codecs = field(default_factory=Codecs, compare=False, repr=False)
    """Made on first use, shared by the listener's sessions."""


class Exchange:
    """See the module. ``places`` is how many shards' commits the answer may have to wait for at most."""

    __slots__ = (
        "account",
        "api_key",
        "client_id",
        "correlation_id",
        "done",
        "frame_bytes",
        "places",
        "session",
        "slots",
        "version",
    )

    def __init__(self, session: KafkaSession, header: Header, account: Account, frame_bytes: int) -> None:
        self.session = session
        self.frame_bytes = frame_bytes  # what it may hold in memory while it waits
        self.api_key = header.api_key
        self.version = header.api_version
        self.correlation_id = header.correlation_id
        self.client_id = header.client_id
        self.account = account
        self.places = 1
        self.slots: list[int] = []
        self.done = False

    @property
    def port(self) -> Port:
        return self.session.port

    @property
    def settings(self) -> Settings:
        return self.session.settings

    @property
    def now_ns(self) -> int:
        return self.session.now_ns

    def make(self, *path: str, **fields: Any) -> Any:
        """A structure of this API's response: ``make("topics", name=...)``; without a path the response itself."""
        return self.session.settings.codecs.structure("response", self.api_key, *path)(**fields)

    def ask(self, then: Then) -> int:
        """A token for the port: its answer goes to ``then``, unless the connection is gone by then."""
        return self.session.expect(then)

    def call(self, executor: str, request: object, then: Then) -> None:
        """Ask an executor."""
        self.session.port.call(executor, request, self.session.expect(then))

    def reply(self, message: Any, commits: dict[int, int] | None = None) -> None:
        """Answer, once. It leaves when every commit of ``commits`` (by shard) is durable."""
        self._put(response(self.settings.codecs, self.api_key, self.version, self.correlation_id, message), commits)

    def reply_encoded(self, frame: bytes, commits: dict[int, int]) -> None:
        """``reply`` with a whole response frame."""
        self._put([frame], commits)

    def reply_as(self, version: int, message: Any) -> None:
        """Answer in another version's form (ApiVersions to a client from the future, KIP-511)."""
        self._put(response(self.settings.codecs, self.api_key, version, self.correlation_id, message), None)

    def silent(self) -> None:
        """No answer goes out (Produce with acks=0)."""
        self._put([], None)

    def _put(self, parts: list[Any], commits: dict[int, int] | None) -> None:
        assert not self.done, "answered twice"
        self.done = True
        outbox = self.session.outbox
        waits = [(shard, commit) for shard, commit in (commits or {}).items() if commit]
        if not self.slots and not waits and not outbox.parked() and sum(map(len, parts)) > JOINED_BYTES_MAX:
            for part in parts:  # nobody is before it: records are copied once
                outbox.put(part, 0, len(part))
            return
        data = b"".join(parts)
        if not self.slots:
            for shard, commit in waits[:-1]:
                outbox.answer_at(b"", shard, commit)
            shard, commit = waits[-1] if waits else (0, 0)
            if data or commit:
                outbox.answer_at(data, shard, commit)
            return
        self.session.in_flight -= 1
        self.session.owed_bytes -= self.frame_bytes
        waits = [(0, 0)] * (len(self.slots) - len(waits)) + waits
        for slot, (shard, commit) in zip(self.slots[:-1], waits[:-1], strict=True):
            outbox.fill(slot, b"", commit, shard)
        shard, commit = waits[-1]
        outbox.fill(self.slots[-1], data, commit, shard)

    def park(self) -> None:
        """The handler returned without an answer: keep its place."""
        self.slots = [self.session.outbox.open() for _ in range(self.places)]
        self.session.in_flight += 1
        self.session.owed_bytes += self.frame_bytes

    def fail(self, reason: str) -> None:
        """Nothing can be answered: the connection is closed, as Kafka does."""
        self.session.abandon(reason)
