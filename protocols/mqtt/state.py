"""The state that MQTT connections share, as a fold of changes: sessions, what they are owed, retained messages, wills.

A *change* is a tuple whose first value is its kind (table below). ``State.change`` is the only thing that alters state: the
executor writes a change to its stream (if it concerns what must survive) and applies it; a replay applies the same tuples.
Nothing here has an effect, a clock or chance.

| kind        | fields                                                                             |
|-------------|------------------------------------------------------------------------------------|
| OPEN        | number, account, client id, expiry s, will or None                                  |
| END         | number                                                                             |
| LEFT        | number, when (ms), expiry s, when its will is due (ms; 0: none)                     |
| WILLED      | number: the will was published or withdrawn                                         |
| SUBSCRIBED  | number, filter, options, subscription identifier                                    |
| UNSUBSCRIBED| number, filter                                                                     |
| MESSAGE     | message, owed (number, sequence, qos, identifiers, retain, group)...                |
| MESSAGES    | (message, owed...)...: as many of MESSAGE                                          |
| REFERRED    | stream, next position, (message without payload, owed...)...                        |
| DONE        | number, sequences: acknowledged, dropped or expired                                 |
| ASSIGNED    | number, (sequence, packet id)...: QoS 2 only                                        |
| RECEIVED    | number, sequences: PUBREC came, PUBREL goes out                                     |
| INBOUND     | number, packet ids: of QoS 2 PUBLISHes that were taken                             |
| RELEASED    | number, packet id: PUBREL came                                                      |
| RETAINED    | account, address, message or None                                                   |
| FOLLOWED    | stream, account, next position                                                      |
| UNFOLLOWED  | stream                                                                             |

A *message* is owed by value (published by MQTT, captured by no stream: its payload is in the change) or by reference (a
record of a captured stream: stream and position; its payload is read when it is sent).
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from protocols.identity import EVERYBODY, Identity, Right
from protocols.mqtt import mapping
from protocols.mqtt.retained import Retained
from protocols.mqtt.runs import Lane
from substrate.api import Account
from substrate.interest import Tokens, Trie

OPEN, END, LEFT, WILLED, SUBSCRIBED, UNSUBSCRIBED, MESSAGE, REFERRED, DONE, ASSIGNED = range(1, 11)
RECEIVED, INBOUND, RELEASED, RETAINED, FOLLOWED, UNFOLLOWED, MESSAGES = range(11, 18)

Change = tuple[Any, ...]
NEVER_S = 0xFFFFFFFF
JUDGED_MAX = 1024
NO_QUEUE: deque[Entry] = deque()
"""Nothing is ever queued here: an empty deque of a session's own weighs 700 bytes, and most are idle."""


class Message:
    """One application message, shared by all that are owed it. ``payload`` None: to be read from its stream."""

    __slots__ = (
        "commit", "expires_ms", "gone", "order", "payload", "position", "properties", "qos", "recorded", "retain", "size",
        "stream", "topic",
    )  # fmt: skip

    def __init__(
        self, topic: bytes, payload: bytes | None, qos: int, retain: bool, properties: bytes, expires_ms: int,
        stream: int = 0, position: int = 0, size: int = 0,
    ) -> None:  # fmt: skip
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.expires_ms = expires_ms
        self.stream = stream
        self.position = position
        self.commit = 0  # of the record that holds it, and that record's position in the state stream
        self.recorded = 0
        self.gone = False  # its stream has it no more
        self.order = 0  # among all that are owed; given when it is first owed
        self.size = size or len(topic) + len(payload or b"") + len(properties)

    def fields(self) -> Change:
        payload = None if self.stream else self.payload
        return (
            b"" if self.stream else self.topic, payload, self.qos, int(self.retain), b"" if self.stream else self.properties,
            self.expires_ms, self.stream, self.position, self.size,
        )  # fmt: skip

    @staticmethod
    def of(fields: Change) -> Message:
        topic, payload, qos, retain, properties, expires_ms, stream, position, size = fields
        return Message(topic, payload, qos, bool(retain), properties, expires_ms, stream, position, size)


class WillMessage(NamedTuple):
    topic: bytes
    payload: bytes
    qos: int
    retain: bool
    properties: bytes
    expiry_s: int  # message expiry interval; 0: none
    delay_s: int


class Entry:
    """One message owed to one session."""

    __slots__ = ("group", "identifiers", "message", "packet_id", "qos", "received", "retain", "sequence", "volatile")

    def __init__(
        self, sequence: int, message: Message, qos: int, identifiers: bytes, retain: bool, group: bytes
    ) -> None:
        self.sequence = sequence
        self.message = message
        self.qos = qos
        self.identifiers = identifiers
        self.retain = retain
        self.group = group
        self.packet_id = 0
        self.received = False
        self.volatile = False  # a retained message's copy for a new subscription: not recorded


class Delivery(NamedTuple):
    """A packet for a client: a PUBLISH, or the PUBREL of one (``message`` None)."""

    message: Message | None
    packet_id: int
    qos: int = 0
    retain: bool = False
    dup: bool = False
    identifiers: bytes = b""


class Subscription:
    """``text`` is the filter as the client wrote it; ``group`` is empty unless it is shared."""

    __slots__ = ("group", "identifier", "options", "pattern", "session", "text")

    def __init__(self, session: Session, text: bytes, options: int, identifier: int) -> None:
        share = mapping.share_of(text)
        self.session = session
        self.text = text
        self.options = options
        self.identifier = identifier
        self.group = share[0] if share else b""
        self.pattern: Tokens = mapping.pattern_of(share[1] if share else text)

    @property
    def qos(self) -> int:
        return self.options & 3

    @property
    def no_local(self) -> bool:
        return bool(self.options & 4)

    @property
    def as_published(self) -> bool:
        return bool(self.options & 8)


class Session:
    """``entries`` holds all that is owed, by sequence; each is in ``queue`` (to be sent) or in ``inflight`` (by packet id)."""

    __slots__ = (
        "account",
        "client_id",
        "connection",
        "entries",
        "expiry_s",
        "identity",
        "inbound",
        "inflight",
        "judged",
        "lane",
        "left_ms",
        "level",
        "next_packet_id",
        "next_sequence",
        "number",
        "on_record",
        "owed_bytes",
        "packet_bytes_max",
        "pull",
        "queue",
        "resend",
        "retained",
        "subscriptions",
        "takes_frames",
        "timed_ms",
        "volatile",
        "will",
        "will_at_ms",
        "window",
    )  # fmt: skip

    def __init__(self, number: int, account: Account, client_id: bytes) -> None:
        self.number = number
        self.account = account
        self.client_id = client_id
        self.expiry_s = 0
        self.subscriptions: dict[bytes, Subscription] = {}
        self.entries: dict[int, Entry] = {}
        self.queue: deque[Entry] = NO_QUEUE
        self.inflight: dict[int, Entry] = {}
        self.inbound: set[int] = set()
        self.owed_bytes = 0
        self.volatile = 0  # of its entries
        self.next_sequence = 1
        self.on_record = True  # the state stream knows it
        self.left_ms = 0  # 0: connected, as far as the state knows
        self.will: WillMessage | None = None
        self.will_at_ms = 0
        self.timed_ms = 0  # when the executor looks at it next; 0: not
        # of the connection, never recorded
        self.connection: object = None
        self.identity: Identity = EVERYBODY
        self.takes_frames = False
        self.lane: Lane | None = None  # QoS 1 of a session that ends with its connection, sent before ``queue``
        self.judged: dict[bytes, bool] = {}  # topics: whether its user may read them
        self.pull = 0
        self.level = 4
        self.window = 0
        self.packet_bytes_max = 0
        self.next_packet_id = 1
        self.resend: list[Entry] = []  # the next one last
        self.retained: list[
            tuple[list[Message], int, bytes]
        ] = []  # for new subscriptions: messages (the next one last), QoS,
        # identifiers; they become entries as the client takes them

    @property
    def keeps(self) -> bool:
        """Whether it outlives its connection: then what it is owed is recorded."""
        return self.expiry_s > 0

    @property
    def recorded(self) -> bool:
        return self.expiry_s > 0 or self.will is not None

    def laned(self) -> bool:
        """Whether plain QoS 1 messages go by ``lane``: nothing that came before them waits elsewhere, and nothing of them
        is to outlive the connection."""
        return (
            self.takes_frames
            and self.connection is not None
            and not self.keeps
            and not self.queue
            and not self.resend
            and not self.retained
        )

    def lane_count(self) -> int:
        return 0 if self.lane is None else self.lane.count

    def has_no_local(self) -> bool:
        return any(subscription.no_local for subscription in self.subscriptions.values())

    def may_read(self, topic: bytes) -> bool:
        """Whether its user may be given messages of this topic."""
        if self.identity.all or not topic:  # not read yet: judged again when it is
            return True
        found = self.judged.get(topic)
        if found is None:
            if len(self.judged) >= JUDGED_MAX:
                self.judged.clear()
            found = self.judged[topic] = self.identity.may(Right.READ, mapping.address_of(topic))
        return found

    def free_packet_id(self) -> int:
        """One not in use; there is one, the window is smaller than their number."""
        lane = self.lane
        while self.next_packet_id in self.inflight or (lane is not None and lane.uses(self.next_packet_id)):
            self.next_packet_id = self.next_packet_id % 65535 + 1
        found = self.next_packet_id
        self.next_packet_id = found % 65535 + 1
        return found


class Share:
    """The members of one shared subscription (group and filter)."""

    __slots__ = ("members", "turn")

    def __init__(self) -> None:
        self.members: dict[int, Subscription] = {}  # by session number
        self.turn = 0


class State:
    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}
        self.names: dict[tuple[Account, bytes], Session] = {}
        self.subscribed: dict[Account, Trie[Subscription]] = {}
        self.shares: dict[tuple[Account, bytes], Share] = {}  # by the filter with its group
        self.shared: dict[Account, Trie[Share]] = {}
        self._patterns: dict[tuple[Account, bytes], Tokens] = {}
        self.retained: dict[Account, Retained] = {}
        self.followed: dict[int, tuple[Account, int]] = {}
        self.next_number = 1
        self._next_order = 1
        self.owed_bytes = 0
        self.version = 1
        """Rises with every change of a subscription."""

    def change(self, change: Change) -> None:
        """Apply one change. One that names what is not there (a transient part of it was not recorded) does nothing."""
        kind = change[0]
        if kind == OPEN:
            self._open(*change[1:])
        elif kind == MESSAGE:
            self._owe(Message.of(change[1]), change[2])
        elif kind == MESSAGES:
            for fields, recipients in change[1:]:
                self._owe(Message.of(fields), recipients)
        elif kind == REFERRED:
            stream, position, owed = change[1:]
            if stream in self.followed:
                self.followed[stream] = (self.followed[stream][0], position)
            for fields, recipients in owed:
                self._owe(Message.of(fields), recipients)
        elif kind == RETAINED:
            self.retain(Account(change[1].decode()), change[2], None if change[3] is None else Message.of(change[3]))
        elif kind == FOLLOWED:
            self.followed[change[1]] = (Account(change[2].decode()), change[3])
        elif kind == UNFOLLOWED:
            self.followed.pop(change[1], None)
        else:
            session = self.sessions.get(change[1])
            if session is not None:
                self._of_session(session, kind, change)

    def _open(self, number: int, account: bytes, client_id: bytes, expiry_s: int, will: Change | None) -> None:
        session = self.sessions.get(number)
        if session is None:
            session = Session(number, Account(account.decode()), client_id)
            self.sessions[number] = session
            self.names[session.account, client_id] = session
        self.next_number = max(self.next_number, number + 1)
        session.on_record = True
        session.expiry_s = expiry_s
        session.left_ms = 0
        session.will_at_ms = 0
        session.will = None
        if will is not None:
            topic, payload, qos, retain, properties, expiry, delay = will
            session.will = WillMessage(topic, payload, qos, bool(retain), properties, expiry, delay)

    def _of_session(self, session: Session, kind: int, change: Change) -> None:
        if kind == DONE:
            for sequence in change[2]:
                self.drop(session, sequence)
        elif kind == ASSIGNED:
            for sequence, packet_id in change[2]:
                entry = session.entries.get(sequence)
                if entry is not None and not entry.packet_id:
                    self.assign(session, entry, packet_id)
        elif kind == RECEIVED:
            for sequence in change[2]:
                entry = session.entries.get(sequence)
                if entry is not None:
                    entry.received = True
        elif kind == INBOUND:
            session.inbound.update(change[2])
        elif kind == RELEASED:
            session.inbound.discard(change[2])
        elif kind == SUBSCRIBED:
            self._subscribe(session, *change[2:])
        elif kind == UNSUBSCRIBED:
            self._unsubscribe(session, change[2])
        elif kind == LEFT:
            session.left_ms, session.expiry_s, session.will_at_ms = change[2:]
            if not session.will_at_ms:
                session.will = None
        elif kind == WILLED:
            session.will = None
            session.will_at_ms = 0
        elif kind == END:
            self._end(session)
        else:
            raise ValueError(f"change of unknown kind {kind}")

    # subscriptions

    def _subscribe(self, session: Session, text: bytes, options: int, identifier: int) -> None:
        self._unsubscribe(session, text)
        made = Subscription(session, text, options, identifier)
        session.subscriptions[text] = made
        if made.group:
            key = (session.account, text)
            if key not in self.shares:
                self.shares[key] = Share()
                self._patterns[key] = made.pattern
                self.shared.setdefault(session.account, Trie()).add(made.pattern, self.shares[key])
            self.shares[key].members[session.number] = made
        else:
            self.subscribed.setdefault(session.account, Trie()).add(made.pattern, made)
        self.version += 1

    def _unsubscribe(self, session: Session, text: bytes) -> None:
        old = session.subscriptions.pop(text, None)
        if old is None:
            return
        if old.group:
            key = (session.account, text)
            share = self.shares[key]
            share.members.pop(session.number, None)
            if not share.members:
                self.shared[session.account].remove(self._patterns.pop(key), share)
                del self.shares[key]
        else:
            self.subscribed[session.account].remove(old.pattern, old)
        self.version += 1

    def _end(self, session: Session) -> None:
        for text in list(session.subscriptions):
            self._unsubscribe(session, text)
        self.owed_bytes -= session.owed_bytes
        del self.sessions[session.number]
        if self.names.get((session.account, session.client_id)) is session:
            del self.names[session.account, session.client_id]

    # what is owed

    def _owe(self, message: Message, recipients: tuple[Change, ...]) -> None:
        for number, sequence, qos, identifiers, retain, group in recipients:
            session = self.sessions.get(number)
            if session is not None:
                self.owe(session, Entry(sequence, message, qos, identifiers, bool(retain), group))

    def owe(self, session: Session, entry: Entry) -> None:
        if not entry.message.order:
            entry.message.order = self._next_order
            self._next_order += 1
        session.entries[entry.sequence] = entry
        if session.queue is NO_QUEUE:
            session.queue = deque()
        session.queue.append(entry)
        if entry.volatile:
            session.volatile += 1
        else:
            session.owed_bytes += entry.message.size
            self.owed_bytes += entry.message.size
        session.next_sequence = max(session.next_sequence, entry.sequence + 1)

    def assign(self, session: Session, entry: Entry, packet_id: int) -> None:
        if session.queue[0] is entry:
            session.queue.popleft()
        else:
            session.queue.remove(entry)
        entry.packet_id = packet_id
        session.inflight[packet_id] = entry

    def leave_lane(self, session: Session) -> None:
        """The connection is gone, and what only it was owed."""
        if session.lane is not None:
            waiting = session.lane.waiting_bytes()
            session.owed_bytes -= waiting
            self.owed_bytes -= waiting
            session.lane = None

    def drop(self, session: Session, sequence: int) -> None:
        entry = session.entries.pop(sequence, None)
        if entry is None:
            return
        if entry.volatile:
            session.volatile -= 1
        else:
            session.owed_bytes -= entry.message.size
            self.owed_bytes -= entry.message.size
        if entry.packet_id:
            session.inflight.pop(entry.packet_id, None)
        elif session.queue and session.queue[0] is entry:
            session.queue.popleft()
        else:
            session.queue.remove(entry)

    # retained messages

    def retain(self, account: Account, address: bytes, message: Message | None) -> None:
        self.retained.setdefault(account, Retained()).set(address, message)

    # whole

    def changes(self) -> list[Change]:
        """Changes that make an empty state equal to what of this one is recorded."""
        found: list[Change] = []
        owed: dict[int, tuple[Message, list[Change]]] = {}
        sent: list[Change] = []
        for number in sorted(self.sessions):
            session = self.sessions[number]
            if not session.on_record:
                continue
            found.append(opened(session))
            if session.left_ms:
                found.append((LEFT, number, session.left_ms, session.expiry_s, session.will_at_ms))
            if session.keeps:
                found += self._kept(session, owed, sent)
        for order in sorted(owed):
            message, recipients = owed[order]
            found.append((MESSAGE, message.fields(), tuple(recipients)))
        found += sent
        for stream, (account, position) in sorted(self.followed.items()):
            found.append((FOLLOWED, stream, account.encode(), position))
        for account, retained in sorted(self.retained.items()):
            for address, message in retained.all():
                found.append((RETAINED, account.encode(), address, message.fields()))
        return found

    def _kept(
        self, session: Session, owed: dict[int, tuple[Message, list[Change]]], sent: list[Change]
    ) -> list[Change]:
        """One session's own changes; what it is owed goes into ``owed`` by order, how far that got into ``sent``."""
        number = session.number
        found: list[Change] = []
        for text, subscription in sorted(session.subscriptions.items()):
            found.append((SUBSCRIBED, number, text, subscription.options, subscription.identifier))
        for packet_id in sorted(session.inbound):
            found.append((INBOUND, number, (packet_id,)))
        for entry in session.entries.values():
            if entry.volatile:
                continue
            recipients = owed.setdefault(entry.message.order, (entry.message, []))[1]
            recipients.append((number, entry.sequence, entry.qos, entry.identifiers, int(entry.retain), entry.group))
            if entry.packet_id and entry.qos == 2:
                sent.append((ASSIGNED, number, ((entry.sequence, entry.packet_id),)))
            if entry.received:
                sent.append((RECEIVED, number, (entry.sequence,)))
        return found


def opened(session: Session) -> Change:
    """The change that makes this session known."""
    will = None if session.will is None else (*session.will[:3], int(session.will.retain), *session.will[4:])
    return (OPEN, session.number, session.account.encode(), session.client_id, session.expiry_s, will)
