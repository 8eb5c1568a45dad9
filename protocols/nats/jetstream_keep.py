"""What JetStream keeps of a stream: retention by interest and as a work queue, and messages that expire one by one.

Rules (nats-server 2.15 server/stream.go, consumer.go, behaviour; ADR-43):

* ``workqueue``: a message goes when it is acknowledged. ``interest``: when every consumer that wants it has acknowledged it;
  at once where none wants it. What had its last attempt stays.
* ``allow_msg_ttl``: a message with ``Nats-TTL`` goes after that time, ``max_age`` is applied message by message, and
  ``never`` outlives it. With ``subject_delete_marker_ttl`` the last message of a subject that expired leaves a marker.
* A ``Follower`` reads such a stream once from its start and then what becomes durable. What it decides are marks in the
  stream layer: after a restart it decides anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import TYPE_CHECKING

from protocols.nats.jetstream_config import Config
from protocols.nats.jetstream_consumer import Consumer, ranges_of
from protocols.nats.jetstream_read import Scan
from protocols.nats.jetstream_wire import go_duration, ttl_ns
from substrate.api import Ack, Address, Answer, Found, Group, Record, Tail, Topic
from substrate.interest import Tokens

if TYPE_CHECKING:
    from protocols.nats.jetstream import JetStream

EVERYTHING = Tokens(b"%#")
EXPIRED_A_TURN = 1000


def followed(config: Config) -> bool:
    """Whether a stream of this configuration is to be read along."""
    return bool(config["retention"] == "interest" or config["allow_msg_ttl"])


class Follower:
    """Reads one stream along."""

    def __init__(self, owner: JetStream, topic: Topic, config: Config) -> None:
        self._owner = owner
        self.topic = topic
        self.config = config
        self._at = 0
        self._reading = False
        self._expiring: list[tuple[int, int]] = []
        """A heap of (when, position)."""

    @property
    def due_ns(self) -> int:
        """When the next message expires; 0: none does."""
        return self._expiring[0][0] if self._expiring else 0

    def anew(self, topic: Topic, config: Config) -> None:
        """The configuration changed: everything is looked at again."""
        self.topic, self.config = topic, config
        self._expiring.clear()
        self._at = 0
        self.advanced()

    def advanced(self) -> None:
        """More is durable, or a consumer went."""
        if not self._reading:
            self._reading = True
            self._owner.tail(self.topic.streams[0], self._read)

    def again(self) -> None:
        """A consumer went: what it alone wanted is wanted by nobody."""
        self._at = 0
        self.advanced()

    def _read(self, tail: Tail | None) -> None:
        if tail is None or max(self._at, tail.start) >= tail.durable:
            self._reading = False
            return
        Scan(
            self._owner, self.topic.streams[0], max(self._at, int(tail.start)), EVERYTHING, self._look, self._over
        ).run()

    def _look(self, records: tuple[Record, ...], end: int) -> bool:
        if self.config["allow_msg_ttl"]:
            for record in records:
                self._note(record)
        if self.config["retention"] == "interest":
            consumers = list(self._owner.consumers_of(self.topic).values())
            unwanted = [one.position for one in records if not any(wants(consumer, one) for consumer in consumers)]
            self._owner.remove(self.topic, [(first, first + n - 1) for first, n in ranges_of(unwanted)])
        self._at = end
        return True

    def _over(self) -> None:
        self._reading = False
        self._owner.expires(self)

    def _note(self, record: Record) -> None:
        if record.position < self._at:
            return  # noted before
        text = record.header(b"Nats-TTL")
        lasts_ns = ttl_ns(text) if text is not None else 0
        age_ns = self.config["max_age"]
        if lasts_ns == 0:
            lasts_ns = age_ns
        if lasts_ns is not None and lasts_ns > 0:
            heapq.heappush(self._expiring, (record.timestamp_ms * 1_000_000 + lasts_ns, record.position))

    def expire(self, now_ns: int) -> None:
        """Take what is over by now."""
        over: list[int] = []
        while self._expiring and self._expiring[0][0] <= now_ns and len(over) < EXPIRED_A_TURN:
            over.append(heapq.heappop(self._expiring)[1])
        marker_ns = self.config.get("subject_delete_marker_ttl", 0)
        if marker_ns:
            for position in sorted(over):
                self._mark(position, marker_ns)
        self._owner.remove(self.topic, [(first, first + count - 1) for first, count in ranges_of(sorted(over))])
        self._owner.expires(self)

    def _mark(self, position: int, marker_ns: int) -> None:
        """Leave a marker behind the last message of a subject, unless that is a marker itself."""
        owner, topic = self._owner, self.topic

        def got(record: Record | None) -> None:
            if record is None or record.header(b"Nats-Marker-Reason") is not None:
                return
            address = Address(record.address)

            def told(last: Answer) -> None:
                if isinstance(last, Found) and last.position == position:
                    headers = (
                        (b"Nats-Marker-Reason", b"MaxAge"),
                        (b"Nats-TTL", go_duration(marker_ns).encode()),
                        (b"Nats-Rollup", b"sub"),
                    )
                    route = owner.world.resolve(topic.account, address)
                    owner.world.publish(route, Group.of(address, b"", headers), "", Ack.ORDERED, 0)

            owner.query("last", topic.streams[0], told, address=address)

        owner.record_at(topic, position, got)


def wants(consumer: Consumer, record: Record) -> bool:
    """Whether a consumer has yet to deliver this message, or to be told that it was taken."""
    sequence = record.position + 1
    if sequence in consumer.pending or sequence in consumer.exhausted:
        return True
    return sequence >= consumer.cursor and consumer.pattern().matches(Address(record.address))


def acknowledged(owner: JetStream, consumer: Consumer, sequences: Iterable[int]) -> int:
    """A consumer is done with these: they go, unless another one wants them. Returns the commit to wait for."""
    topic = owner.topic_of(consumer.account, consumer.stream)
    if topic is None:
        return 0
    retention = owner.config_of(topic)["retention"]
    if retention == "limits":
        return 0
    done = sorted(sequences)
    others = (
        [one for one in owner.consumers_of(topic).values() if one is not consumer] if retention == "interest" else []
    )
    over, unsure = [], []
    for sequence in done:
        waits = [
            one for one in others if sequence in one.pending or sequence in one.exhausted or sequence >= one.cursor
        ]
        if not waits:
            over.append(sequence - 1)
        elif all(sequence >= one.cursor and one.filters() for one in waits):
            unsure.append(sequence - 1)
    if unsure:
        _look_at(owner, topic, others, unsure)
    return owner.remove(topic, [(first, first + count - 1) for first, count in ranges_of(over)])


def _look_at(owner: JetStream, topic: Topic, others: list[Consumer], positions: list[int]) -> None:
    """Those that no filter of another consumer matches go."""
    wanted = set(positions)

    def each(records: tuple[Record, ...], end: int) -> bool:
        over = [
            one.position for one in records if one.position in wanted and not any(wants(other, one) for other in others)
        ]
        owner.remove(topic, [(first, first + count - 1) for first, count in ranges_of(over)])
        return end <= positions[-1]

    Scan(owner, topic.streams[0], positions[0], EVERYTHING, each, lambda: None).run()
