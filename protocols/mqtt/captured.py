"""Records of captured streams on their way to sessions that subscribe with QoS 1 or 2, whoever published them.

One cursor per stream, not one per session: the executor reads every stream that some such filter overlaps, from where it
left off, as far as it is durable and stable; a record that matches becomes a *reference* (stream, position) in the queue
of each session. References and the new cursor are one change, so that after a crash nothing is missed and nothing is
queued twice. A stream that exists when a filter is added is read from its tail; one created later from its beginning,
which is noticed when its first matching record comes by (``Wanted.deliver``).
What MQTT itself publishes with QoS 2 needs no reading where its sessions are there: ``Captured.refer``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from protocols.api import Handle
from protocols.mqtt import mapping
from protocols.mqtt.runs import copy_of, end_of_run, group_of
from protocols.mqtt.state import DONE, FOLLOWED, REFERRED, UNFOLLOWED, Change, Message, Session
from substrate.api import (
    Account,
    Address,
    Batches,
    ErrorCode,
    Group,
    Level,
    Position,
    Record,
    StreamError,
    StreamId,
    Tail,
    Topic,
)
from substrate.interest import ANY, ONE, SOME, Tokens

if TYPE_CHECKING:
    from protocols.mqtt.sessions import Sessions

READ_BYTES = 1024 * 1024
READS_MAX = 4
"""Reads of one stream before others have their turn."""
PROGRESS_RECORDS = 10_000
"""Records that may be read again after a crash because none of them was owed to anybody."""
ORIGINS_MAX = 10_000
FRESH_BYTES_MAX = 1024 * 1024
PLAIN = ((), mapping.QOS_HEADERS[1])
"""Headers of records whose delivery at QoS 1 has no properties."""


class Everything:
    """A pattern: decode all records."""

    def matches(self, address: Address) -> bool:
        return True


class Matched:
    """A pattern: what some session's filter wants."""

    def __init__(self, matches: Callable[[Address], bool]) -> None:
        self._matches = matches
        self._last: Address | None = None
        self._said = False

    def matches(self, address: Address) -> bool:
        if address != self._last:  # a batch is mostly of one address
            self._last, self._said = address, self._matches(address)
        return self._said


class Wanted:
    """The executor's live sink for one filter: tells it of streams it does not follow yet, and takes live messages for
    shared subscriptions."""

    protocol = "mqtt-sessions"

    def __init__(self, owner: Sessions, account: Account, pattern: Tokens) -> None:
        self.session: object = owner
        self._owner = owner
        self.account = account
        self.pattern = pattern
        self.count = 0
        self.handle: Handle | None = None

    def deliver(self, group: Group) -> None:
        self._owner.live(self.account, group)


class Follow:
    """One stream's cursor, and its watch."""

    def __init__(self, captured: Captured, stream: int, account: Account, position: int) -> None:
        self.captured = captured
        self.stream = StreamId(stream)
        self.account = account
        self.position = position
        self.recorded = position  # as far as a replay would know
        self.version = 0
        self.reading = False
        self.handle: Handle | None = None
        self.fresh: deque[tuple[int, Group]] = deque()
        """Plain QoS 1 messages appended here and not read yet, with their first position: they need not be read back."""
        self.fresh_bytes = 0

    def advanced(self, stream: StreamId) -> None:
        self.captured.read_on(self)


class Captured:
    """Follows streams for ``owner``."""

    def __init__(self, owner: Sessions) -> None:
        self._owner = owner
        self._follows: dict[int, Follow] = {}
        self._origins: dict[tuple[int, int], int] = {}
        self._behind: list[Follow] = []

    def start(self) -> None:
        """After the replay: go on where the state says, and begin streams that came since the last filter."""
        state = self._owner.state
        for stream, (account, position) in list(state.followed.items()):
            self._watch(stream, account, position)
        for wanted in self._owner.wanted.values():
            self.cover(wanted.account, wanted.pattern, from_start=True)

    def appended(self, stream: int, base: int, group: Group) -> None:
        """A run of plain QoS 1 messages was given positions from ``base`` on."""
        follow = self._follows.get(stream)
        if follow is not None and follow.fresh_bytes + group.value_bytes <= FRESH_BYTES_MAX:
            follow.fresh.append((base, copy_of(group)))
            follow.fresh_bytes += group.value_bytes

    def refer(self, stream: int, group: Group, publisher: Session) -> bool:
        """A group of QoS 2 was given positions: queue it in the same commit, so that it leaves with that one.

        Only where all that came before it is queued, and all that are owed it are recorded and connected: then its payload
        need not be read again, and nobody is given what may be lost. False: it comes when it is durable and read.
        """
        follow = self._follows.get(stream)
        if follow is None or follow.position != group.base or mapping.topic_of(group.address) is None:
            return False
        matches = self._owner.matching.of(follow.account, group.address)
        if matches.shares or not matches.sessions:
            return False
        for match in matches.sessions:
            if match.session.connection is None or not match.session.keeps:
                return False
        messages: list[Message] = []
        recorded: list[Change] = []
        for record in group.records():
            message = message_of(record, stream)
            assert message is not None
            kept = self._owner.matching.owe_to(matches.sessions, [], message, publisher.number)
            if kept:
                messages.append(message)
                recorded.append((message.fields(), kept))
        at = self._owner.end_of_records()
        self._moved(follow, group.base + group.count, recorded)
        for message in messages:
            message.recorded, message.commit = at, self._owner.commit
        return True

    def _take_fresh(self, follow: Follow) -> bool:
        """Queue what was appended here and may be seen now; whether the stream must be read, too."""
        tail = self._query(follow.stream)
        if not isinstance(tail, Tail):
            return True
        while follow.fresh and follow.fresh[0][0] < tail.stable:
            base, group = follow.fresh[0]
            if base > follow.position or base + group.count > tail.stable:
                break
            follow.fresh.popleft()
            follow.fresh_bytes -= group.value_bytes
            if base == follow.position:
                recorded: list[Change] = []
                self._owe_group(follow, base, group, recorded)
                self._moved(follow, base + group.count, recorded)
        return follow.position < tail.stable

    def cover(self, account: Account, pattern: Tokens, from_start: bool = False) -> None:
        """From now on records that this pattern matches are seen."""
        first = pattern.parts[0]
        named = first not in (ONE, ANY)
        for topic in self._owner.world.topics(account):
            if named and not topic.subjects and not topic.name.startswith(first):
                continue  # there may be thousands
            if overlaps(topic, pattern):
                for stream in topic.streams:
                    if stream not in self._follows:
                        self.follow(stream, account, 0 if from_start else self._tail(stream))

    def follow(self, stream: int, account: Account, position: int) -> None:
        """Read this stream from here on."""
        if stream not in self._follows:
            self._owner.write((FOLLOWED, stream, account.encode(), position))
            self._watch(stream, account, position)

    def _watch(self, stream: int, account: Account, position: int) -> None:
        tail = self._query(stream)
        if isinstance(tail, StreamError):  # deleted while it was down
            self._owner.write((UNFOLLOWED, stream))
            return
        if isinstance(tail, Tail) and tail.ordered < position:
            position = int(tail.start)
            self._begun_anew(stream, account, position)
        follow = Follow(self, stream, account, position)
        self._follows[stream] = follow
        follow.handle = self._owner.world.watch(follow.stream, Level.STABLE, follow)
        self.read_on(follow)

    def _begun_anew(self, stream: int, account: Account, position: int) -> None:
        """A stream in memory, and the process is another: what was owed of it is gone, its positions are given again."""
        for session in self._owner.state.sessions.values():
            gone = [
                one.sequence for one in session.entries.values() if one.message.stream == stream and not one.received
            ]
            if gone:
                self._owner.note("mqtt_owed_records_gone", f"stream {stream} was in memory: {len(gone)} of one session")
                self._owner.write((DONE, session.number, tuple(gone)), session.keeps)
        self._owner.write((FOLLOWED, stream, account.encode(), position))

    def _unfollow(self, follow: Follow) -> None:
        if follow.handle is not None:
            follow.handle.close()
        self._follows.pop(follow.stream, None)
        self._owner.write((UNFOLLOWED, int(follow.stream)))

    def _tail(self, stream: int) -> int:
        answer = self._query(stream)
        return int(answer.ordered) if isinstance(answer, Tail) else 0

    def _query(self, stream: int) -> object:
        found: list[object] = []
        self._owner.ask(lambda token: self._owner.world.query("tail", StreamId(stream), token), found.append)
        return found[0] if found else None

    def came_from(self, stream: int, position: int, session: Session) -> None:
        """Remember who published this record, for no-local subscriptions, until it is read."""
        if len(self._origins) < ORIGINS_MAX:
            self._origins[stream, position] = session.number

    # reading

    def read_on(self, follow: Follow) -> None:
        """Read what is new, once at a time."""
        if follow.reading or follow.stream not in self._follows:
            return
        version = self._owner.state.version
        if follow.version != version:
            if not self._still_wanted(follow):
                self._unfollow(follow)
                return
            follow.version = version
        follow.reading = True
        again = not follow.fresh or self._take_fresh(follow)
        reads = 0
        while again and reads < READS_MAX:
            answered: list[object] = []
            self._owner.ask(lambda token: self._read(follow, token), answered.append)
            again = bool(answered) and self._took(follow, answered[0])
            reads += 1
        follow.reading = False
        if again:  # far behind: others first
            self._behind.append(follow)
            self._owner.world.wake(self._owner.world.now_ns)
        self._owner.sending.all()

    def go_on(self) -> None:
        """Read on in streams that are far behind."""
        behind, self._behind = self._behind, []
        for follow in behind:
            self.read_on(follow)

    def _read(self, follow: Follow, token: int) -> None:
        wanted = Matched(lambda address: self._owner.matching.wants(follow.account, address))
        self._owner.world.read(follow.stream, Position(follow.position), READ_BYTES, Level.STABLE, token, wanted)

    def _still_wanted(self, follow: Follow) -> bool:
        topics = [topic for topic in self._owner.world.topics(follow.account) if follow.stream in topic.streams]
        if not topics:
            return False
        return any(
            wanted.account == follow.account and overlaps(topics[0], wanted.pattern)
            for wanted in self._owner.wanted.values()
        )

    def _took(self, follow: Follow, answer: object) -> bool:
        """Queue what was read; whether there may be more."""
        if isinstance(answer, StreamError):
            if answer.code is ErrorCode.OUT_OF_RANGE:
                tail = self._query(follow.stream)
                if isinstance(tail, Tail) and tail.start > follow.position:
                    self._owner.note(
                        "mqtt_records_trimmed", f"stream {follow.stream}: {follow.position} to {tail.start}"
                    )
                    self._advance(follow, int(tail.start), [])
                    return True
            elif answer.code is ErrorCode.NO_STREAM:
                self._unfollow(follow)
            return False
        assert isinstance(answer, Batches)
        if answer.next <= follow.position:
            return False
        self._advance(follow, int(answer.next), list(answer.records))
        return answer.next < answer.tail.stable

    def _advance(self, follow: Follow, position: int, records: list[Record]) -> None:
        recorded: list[Change] = []
        at = 0
        while at < len(records):
            end = end_of_run(records, at)
            self._owe(follow, records[at:end], recorded)
            at = end
        self._moved(follow, position, recorded)

    def _moved(self, follow: Follow, position: int, recorded: list[Change]) -> None:
        follow.position = position
        if recorded or position - follow.recorded >= PROGRESS_RECORDS:
            follow.recorded = position
            self._owner.record((REFERRED, int(follow.stream), position, tuple(recorded)))
        self._owner.state.change((REFERRED, int(follow.stream), position, ()))

    def _owe(self, follow: Follow, run: list[Record], recorded: list[Change]) -> None:
        """Queue records of one address and equal headers."""
        matching = self._owner.matching
        address = run[0].address
        left = matching.of(follow.account, address)
        topic = mapping.topic_of(address)
        if run[0].headers in PLAIN and not self._origins and topic is not None:
            qos = 2 if not run[0].headers else 1
            left = matching.give(follow.account, group_of(run), topic, 0, qos)
        if not left.sessions and not left.shares and not self._origins:
            return
        for record in run:
            message = message_of(record, int(follow.stream))
            origin = self._origins.pop((int(follow.stream), record.position), 0)
            if message is not None:
                kept = matching.owe_to(left.sessions, left.shares, message, origin)
                if kept:
                    recorded.append((message.fields(), kept))
                if not matching.online:
                    message.payload = None  # to be read again when somebody comes for it

    def _owe_group(self, follow: Follow, base: int, group: Group, recorded: list[Change]) -> None:
        """The same for plain QoS 1 messages that were not read."""
        matching = self._owner.matching
        topic = mapping.topic_of(group.address)
        if topic is None:
            return
        left = matching.of(follow.account, group.address)
        if not self._origins:
            left = matching.give(follow.account, group, topic, 0, 1)
            if not left.sessions and not left.shares:
                return
        for index in range(group.count):
            origin = self._origins.pop((int(follow.stream), base + index), 0)
            message = Message(topic, group.value(index), 1, False, b"", 0, int(follow.stream), base + index)
            kept = matching.owe_to(left.sessions, left.shares, message, origin)
            if kept:
                recorded.append((message.fields(), kept))
            if not matching.online:
                message.payload = None

    def cursors(self) -> None:
        """Record how far each stream was read, so that a session recorded now is not given what is older."""
        for follow in self._follows.values():
            if follow.recorded != follow.position:
                follow.recorded = follow.position
                self._owner.record((REFERRED, int(follow.stream), follow.position, ()))


def message_of(record: Record, stream: int) -> Message | None:
    """A record as MQTT sees it; None: MQTT cannot name its address."""
    topic = mapping.topic_of(record.address)
    if topic is None:
        return None
    properties, expires_ms, retain, qos = mapping.properties_of_headers(record.headers)
    return Message(
        topic, record.value or b"", 2 if qos is None else qos, retain, properties, expires_ms, stream, record.position
    )


def overlaps(topic: Topic, pattern: Tokens) -> bool:
    """Whether the topic captures an address that the pattern matches."""
    subjects = topic.subjects or (topic.name + b"/" + ANY,)
    return any(_overlap(subject.split(b"/"), pattern.parts) for subject in subjects)


def _overlap(one: list[bytes], other: list[bytes]) -> bool:
    for index in range(max(len(one), len(other)) + 1):
        left = one[index] if index < len(one) else None
        right = other[index] if index < len(other) else None
        if left == ANY or right == ANY:
            return True
        if left is None or right is None:
            return left is right
        if left == SOME or right == SOME:
            return True
        if left != right and ONE not in (left, right):
            return False
    return True
