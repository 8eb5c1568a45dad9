"""What connections are sent of what they are owed: windows, packet identifiers, redelivery. The executor's answers to ``Pull``.

A PUBLISH with QoS 1 or 2 leaves when the record that owes it is durable, one with QoS 2 when its packet identifier is, too.
Behaviour: MQTT 5.0 sections 4.4 (redelivery, with DUP, under the same identifiers, in the order sent), 4.9 (flow control).
"""

from __future__ import annotations

from array import array
from itertools import islice
from typing import TYPE_CHECKING

from protocols.mqtt import requests
from protocols.mqtt.captured import Everything, message_of
from protocols.mqtt.matching import identifiers_of
from protocols.mqtt.runs import frames, group_of_values, numbered
from protocols.mqtt.state import ASSIGNED, DONE, MESSAGE, Delivery, Entry, Message, Session
from protocols.mqtt.wire import varint
from substrate.api import Batches, Level, Position, Record, StreamId

if TYPE_CHECKING:
    from protocols.mqtt.sessions import Sessions

PULL_PACKETS_MAX = 1000
PULL_BYTES_MAX = 256 * 1024


class Sending:
    def __init__(self, owner: Sessions) -> None:
        self._owner = owner
        self._awake: dict[int, Session] = {}
        self._busy = False

    def wake(self, session: Session) -> None:
        """It may have something to send: ``all`` will see."""
        if session.pull:
            self._awake[session.number] = session

    def forget(self, session: Session) -> None:
        self._awake.pop(session.number, None)

    def all(self) -> None:
        """Give every awake connection what it may have. Nested calls leave it to the outermost."""
        if self._busy:
            return
        self._busy = True
        while self._awake:
            awake, self._awake = self._awake, {}
            for session in awake.values():
                if session.pull:
                    self._pump(session)
        self._busy = False

    def _pump(self, session: Session) -> None:
        """Answer its ``Pull`` with what its window and one answer's bounds allow."""
        out: list[Delivery] = []
        room = self._send_again(session, out)
        assigned: list[tuple[int, int]] = []
        finished: list[int] = []
        now_ms = self._owner.now_ms()
        state = self._owner.state
        plain: list[Entry] = []
        given = self._take_lane(session) if session.lane is not None else b""
        blocked = bool(session.resend) or session.lane_count() > 0
        if session.retained and not blocked:
            self._take_retained(session, now_ms)
        unacknowledged = 0 if session.lane is None else session.lane.unacknowledged
        while session.queue and not blocked and len(out) + len(plain) < PULL_PACKETS_MAX and room > 0:
            entry = session.queue[0]
            message = entry.message
            if entry.qos and len(session.inflight) + unacknowledged >= session.window:
                break
            if message.payload is None and not message.gone:
                self._load(session, message)
            unfit = message.gone or 0 < message.expires_ms <= now_ms or not session.may_read(message.topic)
            if unfit or not fits(entry, session):
                finished.append(entry.sequence)
                state.drop(session, entry.sequence)
                continue
            room -= message.size
            if entry.qos == 0:
                out.append(delivery_of(entry, False))
                state.drop(session, entry.sequence)
                continue
            packet_id = session.free_packet_id()
            state.assign(session, entry, packet_id)
            if entry.qos == 2 and not entry.volatile:
                assigned.append((entry.sequence, packet_id))
            if not out and session.takes_frames and is_plain(entry):
                plain.append(entry)
            else:
                out.append(Delivery(message, packet_id, entry.qos, entry.retain, False, entry.identifiers))
        given += encode_plain(plain, session.level == 5)
        commit = 0
        if session.keeps:
            commit = self._not_durable([*(entry.message for entry in plain), *(one.message for one in out)])
            if finished:
                self._owner.record((DONE, session.number, tuple(finished)))
            if assigned:
                commit = self._owner.record((ASSIGNED, session.number, tuple(assigned)))
        if out or given:
            token, session.pull = session.pull, 0
            self._owner.world.answer(token, requests.Deliveries(tuple(out), now_ms, given), commit)

    def _take_lane(self, session: Session) -> bytes:
        """Frames that its window allows."""
        lane = session.lane
        assert lane is not None
        room = session.window - lane.unacknowledged - len(session.inflight)
        taken = lane.take(room, PULL_BYTES_MAX, session.inflight)
        session.owed_bytes -= len(taken)
        self._owner.state.owed_bytes -= len(taken)
        return taken

    def _take_retained(self, session: Session, now_ms: int) -> None:
        """Some more of the retained messages that new subscriptions are to be given."""
        while session.retained and session.volatile < PULL_PACKETS_MAX:
            messages, qos, identifiers = session.retained[0]
            while messages and session.volatile < PULL_PACKETS_MAX:
                message = messages.pop()
                if not session.may_read(message.topic):
                    continue
                if 0 < message.expires_ms <= now_ms:
                    self._owner.forget_retained(session.account, message.topic)
                    continue
                entry = Entry(session.next_sequence, message, min(qos, message.qos), identifiers, True, b"")
                entry.volatile = True
                self._owner.state.owe(session, entry)
            if not messages:
                del session.retained[0]

    def _send_again(self, session: Session, out: list[Delivery]) -> int:
        """What was sent to the connection before and not acknowledged, in its order; the bytes left for more."""
        room = PULL_BYTES_MAX
        while session.resend and len(out) < PULL_PACKETS_MAX and room > 0:
            entry = session.resend.pop()
            if session.inflight.get(entry.packet_id) is not entry:
                continue
            if not entry.received:
                if entry.message.payload is None:
                    self._load(session, entry.message)
                if entry.message.gone or not session.may_read(entry.message.topic):
                    self._owner.write((DONE, session.number, (entry.sequence,)), session.keeps)
                    continue
            out.append(delivery_of(entry, True))
            room -= entry.message.size
        return room

    def _not_durable(self, messages: list[Message | None]) -> int:
        """The last commit that holds one of these messages and is not durable; 0: all are."""
        recorded = [message for message in messages if message is not None and message.commit]
        if not recorded:
            return 0
        tail = self._owner.own_tail()
        durable = tail.durable if tail is not None else 0
        return max((message.commit for message in recorded if message.recorded >= durable), default=0)

    def _load(self, session: Session, message: Message) -> None:
        """Read a reference's payload, and those of its neighbours; ``message.gone`` if its stream has it no more."""
        answers: list[object] = []
        world = self._owner.world
        self._owner.ask(
            lambda token: world.read(
                StreamId(message.stream), Position(message.position), PULL_BYTES_MAX, Level.DURABLE, token, Everything()
            ),
            answers.append,
        )
        records: dict[int, Record] = {}
        if answers and isinstance(answers[0], Batches):
            records = {record.position: record for record in answers[0].records}
        if message.position not in records:
            self._owner.note("mqtt_owed_records_gone", f"stream {message.stream}, position {message.position}")
            message.gone = True
            return
        neighbours = islice(session.queue, 4 * len(records))
        for one in [message, *(entry.message for entry in neighbours)]:
            record = records.get(one.position) if one.stream == message.stream else None
            if record is not None and one.payload is None:
                fill(one, record)

    def pass_on(self, session: Session) -> None:
        """What a leaving member of a shared subscription was owed and never sent goes to another that is connected."""
        for entry in [entry for entry in session.queue if entry.group]:
            share = self._owner.state.shares.get((session.account, entry.group))
            members = [] if share is None else list(share.members.values())
            message = entry.message
            others = [
                one for one in members if one.session.connection is not None and one.session.may_read(message.topic)
            ]
            if not others:
                continue
            member = others[entry.sequence % len(others)]
            other = member.session
            self._owner.write((DONE, session.number, (entry.sequence,)), session.keeps)
            identifiers = identifiers_of([member])
            qos = min(member.qos, message.qos)
            moved = Entry(other.next_sequence, message, qos, identifiers, entry.retain, entry.group)
            if other.keeps and qos:
                owed = (other.number, moved.sequence, qos, identifiers, int(entry.retain), entry.group)
                self._owner.record((MESSAGE, message.fields(), (owed,)))
            self._owner.state.owe(other, moved)
            self.wake(other)


def is_plain(entry: Entry) -> bool:
    """Whether its PUBLISH is of QoS 1 and has no properties but subscription identifiers."""
    message = entry.message
    return entry.qos == 1 and not entry.retain and not message.properties and not message.expires_ms


def encode_plain(entries: list[Entry], five: bool) -> bytes:
    """PUBLISHes of plain entries, by runs of one topic."""
    out = []
    at = 0
    while at < len(entries):
        topic, identifiers = entries[at].message.topic, entries[at].identifiers
        end = at + 1
        while end < len(entries) and entries[end].message.topic == topic and entries[end].identifiers == identifiers:
            end += 1
        run = entries[at:end]
        values = group_of_values([entry.message.payload or b"" for entry in run])
        block = frames(values, topic, varint(len(identifiers)) + identifiers if five else b"")
        out.append(numbered(block, array("H", [entry.packet_id for entry in run])))
        at = end
    return b"".join(out)


def delivery_of(entry: Entry, dup: bool) -> Delivery:
    if entry.received:
        return Delivery(None, entry.packet_id)
    return Delivery(entry.message, entry.packet_id, entry.qos, entry.retain, dup, entry.identifiers)


def fits(entry: Entry, session: Session) -> bool:
    """Whether its PUBLISH is within what the client takes."""
    message = entry.message
    size = 4 + len(message.topic) + len(message.payload or b"")
    if session.level == 5:
        properties = len(message.properties) + len(entry.identifiers) + (5 if message.expires_ms else 0)
        size += properties + len(varint(properties))
    if size + 5 <= session.packet_bytes_max:
        return True
    return size + 1 + len(varint(size)) <= session.packet_bytes_max


def fill(message: Message, record: Record) -> None:
    """The payload of a reference, as read."""
    read = message_of(record, message.stream)
    if read is None:
        message.gone = True
        return
    message.topic, message.payload, message.properties = read.topic, read.payload, read.properties
    message.expires_ms = read.expires_ms
