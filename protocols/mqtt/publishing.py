"""What clients publish with QoS 1, QoS 2 or RETAIN, and what they acknowledge: the executor's half of a ``Batch``.

Behaviour: MQTT 5.0 sections 3.3.1.3 (RETAIN), 4.3 (QoS), 4.6 (order). A run of messages of one topic costs one look-up, one
append to the stream that captures it (or one record a message here, if a session that outlives its connection is owed it)
and one group for live subscribers of all protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from protocols.mqtt import errors, mapping, requests
from protocols.mqtt import packets as p
from protocols.mqtt.captured import message_of
from protocols.mqtt.packets import Acknowledge
from protocols.mqtt.runs import Run
from protocols.mqtt.state import DONE, INBOUND, RECEIVED, RELEASED, RETAINED, Change, Message, Session
from substrate.api import Account, Ack, Address, Appended, Group, Route

if TYPE_CHECKING:
    from protocols.mqtt.matching import Matches
    from protocols.mqtt.sessions import Sessions

ROUTES_MAX = 4096
CACHED_BYTES_MAX = 512
RUN_MAX = 1000
RUN_BYTES_MAX = 256 * 1024
OWED_BYTES_MAX = 1 << 30
"""Of all sessions together (a message counts once for each); beyond it publishers are refused what somebody would be owed."""
RETAINED_BYTES_MAX = 256 * 1024 * 1024
"""Of an account; beyond it publishers are refused what is to be retained."""
Packets = list[tuple[int, Any, int]]
Owed = list[tuple[Message, tuple[Change, ...]]]


class Publishing:
    def __init__(self, owner: Sessions) -> None:
        self._owner = owner
        self._routes: dict[tuple[Account, bytes], Route] = {}

    def batch(self, session: Session, request: requests.Batch, connection: object) -> requests.Responses:
        """Everything in order; what was acknowledged is recorded once, at the end."""
        packets: Packets = []
        done: list[int] = []
        steps = request.steps
        at = 0
        while at < len(steps):
            step = steps[at]
            if isinstance(step, requests.Incoming):
                run = _run(steps, at, session)
                self._incoming(session, run, connection, packets)
                at += len(run)
                continue
            if isinstance(step, Run):
                packets.append((p.PUBACK, step.identifiers, self._publish_run(session, step, connection)))
            elif isinstance(step, requests.Acknowledged):
                self._acknowledged_run(session, step, done)
            elif step.kind == p.PUBREL:
                self._release(session, step.packet_id, packets)
            else:
                self._acknowledged(session, step, packets, done)
            at += 1
        if done:
            self._owner.write((DONE, session.number, tuple(done)), session.keeps)
        self._owner.sending.wake(session)
        return requests.Responses(packets)

    def _incoming(self, session: Session, run: list[requests.Incoming], connection: object, packets: Packets) -> None:
        first = run[0]
        kind = p.PUBACK if first.qos == 1 else p.PUBREC
        if first.qos == 2 and first.packet_id in session.inbound:
            packets.append((kind, first.packet_id, 0))  # sent again: it was taken
            return
        code = first.refused or self.publish(session, run, connection)
        if first.qos == 2 and code < 0x80:
            self._owner.write((INBOUND, session.number, tuple([item.packet_id for item in run])), session.keeps)
        if first.qos:
            packets += [(kind, item.packet_id, code) for item in run]

    def _release(self, session: Session, packet_id: int, packets: Packets) -> None:
        known = packet_id in session.inbound
        if known:
            self._owner.write((RELEASED, session.number, packet_id), session.keeps)
        packets.append((p.PUBCOMP, packet_id, 0 if known else errors.PACKET_ID_NOT_FOUND))

    def _acknowledged(self, session: Session, step: Acknowledge, packets: Packets, done: list[int]) -> None:
        entry = session.inflight.get(step.packet_id)
        if step.kind == p.PUBREC:
            if entry is None or entry.qos != 2:
                packets.append((p.PUBREL, step.packet_id, errors.PACKET_ID_NOT_FOUND))
            elif step.code >= 0x80:
                done.append(entry.sequence)
            else:
                if not entry.received:
                    recorded = session.keeps and not entry.volatile
                    self._owner.write((RECEIVED, session.number, (entry.sequence,)), recorded)
                packets.append((p.PUBREL, step.packet_id, 0))
        elif entry is not None and (entry.qos == 1) == (step.kind == p.PUBACK):
            if step.kind == p.PUBACK or entry.received:
                done.append(entry.sequence)

    def _acknowledged_run(self, session: Session, step: requests.Acknowledged, done: list[int]) -> None:
        lane = session.lane
        for packet_id in step.identifiers if lane is None else lane.acknowledge(step.identifiers):
            entry = session.inflight.get(packet_id)
            if entry is not None and entry.qos == 1:
                done.append(entry.sequence)

    def _publish_run(self, publisher: Session, run: Run, connection: object) -> int:
        """``publish`` for a run of QoS 1 as it was read."""
        account, group = publisher.account, run.group
        group.source = connection  # as the executor knows it, wherever the session is
        address = Address(group.address)
        route = self._route(account, address)
        matches = self._owner.matching.of(account, address)
        wanted = bool(matches.sessions or matches.shares)
        if wanted and not route.stream and self._owner.state.owed_bytes >= OWED_BYTES_MAX:
            self._owner.note("mqtt_quota_refusals", "")
            return errors.QUOTA_EXCEEDED
        if route.stream or route.sinks or route.queues:
            answer = self._publish_group(route, group)
            if not isinstance(answer, Appended):
                return errors.reason(answer) or errors.UNSPECIFIED
            if route.stream:
                if wanted:
                    self._owner.captured.appended(int(answer.stream), int(answer.base), group)
                self._captured(publisher, address, answer, group, 1)
                return errors.SUCCESS
        if wanted:
            left = self._owner.matching.give(account, group, run.topic, publisher.number, 1)
            if left.sessions or left.shares:
                self._owe_each(left, run, publisher)
        elif not route.sinks and not route.queues:
            return errors.NO_MATCHING_SUBSCRIBERS
        return errors.SUCCESS

    def _owe_each(self, left: Matches, run: Run, publisher: Session) -> None:
        messages = [Message(run.topic, run.group.value(index), 1, False, b"", 0) for index in range(run.group.count)]
        kept = self._owner.matching.owe_run(left, messages, publisher.number)
        self._owner.record_messages([(message, tuple(one)) for message, one in zip(messages, kept, strict=True) if one])

    def _publish_group(self, route: Route, group: Group) -> object:
        answers: list[object] = []
        world = self._owner.world
        self._owner.ask(lambda token: world.publish(route, group, "mqtt-sessions", Ack.DURABLE, token), answers.append)
        return answers[0] if answers else None

    def publish(self, publisher: Session, run: list[requests.Incoming], connection: object) -> int:
        """Keep them, give them to all: the reason code for the publisher. All of one address, QoS and RETAIN."""
        first = run[0]
        account = publisher.account
        route = self._route(account, first.address)
        if self._full(account, first, bool(route.stream)):
            self._owner.note("mqtt_quota_refusals", "")
            return errors.QUOTA_EXCEEDED
        answer: object = None
        group: Group | None = None
        if route.stream or route.sinks or route.queues:
            group = _group(run, connection)
            answer = self._publish_group(route, group)
            if not isinstance(answer, Appended):
                return errors.reason(answer) or errors.UNSPECIFIED
        if first.retain:
            self._retain(account, run[-1])
        if route.stream:
            if isinstance(answer, Appended) and group is not None:
                self._captured(publisher, first.address, answer, group, first.qos)
            return errors.SUCCESS
        matches = self._owner.matching.of(account, first.address)
        if matches.shares or (first.qos and matches.sessions):
            owed: Owed = []
            for item in run:
                message = _message(item)
                if item.qos:
                    kept = self._owner.matching.owe(account, item.address, message, publisher.number)
                    if kept:
                        owed.append((message, kept))
                else:
                    self._owner.matching.owe_live(account, item.address, message)
            self._owner.record_messages(owed)
        elif first.qos and not route.sinks and not route.queues:
            return errors.NO_MATCHING_SUBSCRIBERS
        return errors.SUCCESS

    def _full(self, account: Account, item: requests.Incoming, captured: bool) -> bool:
        """Whether there is no room to keep it."""
        state = self._owner.state
        if item.retain and item.payload:
            retained = state.retained.get(account)
            if retained is not None and retained.bytes + len(item.payload) > RETAINED_BYTES_MAX:
                return True
        if captured or not item.qos or state.owed_bytes < OWED_BYTES_MAX:
            return False
        matches = self._owner.matching.of(account, item.address)
        return bool(matches.sessions or matches.shares)

    def _route(self, account: Account, address: Address) -> Route:
        key = (account, address)
        found = self._routes.get(key)
        world = self._owner.world
        if found is None or found.generation != world.generation:
            found = world.resolve(account, address)
            if len(address) <= CACHED_BYTES_MAX:
                if len(self._routes) >= ROUTES_MAX:
                    self._routes.clear()
                self._routes[key] = found
        return found

    def _captured(self, publisher: Session, address: Address, answer: Appended, group: Group, qos: int) -> None:
        self._owner.waits_for(answer.commit)
        if qos == 2 and self._owner.captured.refer(int(answer.stream), group, publisher):
            return
        if publisher.has_no_local():
            for position in range(answer.base, answer.base + group.count):
                self._owner.captured.came_from(int(answer.stream), position, publisher)
        self._follow(publisher.account, address, int(answer.stream))

    def _follow(self, account: Account, address: bytes, stream: int) -> None:
        if stream not in self._owner.state.followed and self._owner.matching.wants(account, address):
            self._owner.captured.follow(stream, account, 0)

    def _retain(self, account: Account, item: requests.Incoming) -> None:
        message = None
        if item.payload:
            message = _message(item)
        elif account not in self._owner.state.retained or self._owner.state.retained[account].get(item.address) is None:
            return
        fields = None if message is None else message.fields()
        self._owner.write((RETAINED, account.encode(), item.address, fields))

    def live(self, account: Account, group: Group) -> None:
        """A message that somebody else published matches a filter of ours with QoS 1 or 2, or a shared one."""
        route = self._route(account, Address(group.address))
        if route.stream:
            self._follow(account, group.address, int(route.stream))
        elif self._owner.matching.of(account, group.address).shares:
            for record in group.records():
                message = message_of(record, 0)
                if message is not None:
                    message.qos = 0
                    self._owner.matching.owe_live(account, group.address, message)
            self._owner.sending.all()


def _run(steps: list[requests.Step], at: int, session: Session) -> list[requests.Incoming]:
    """The messages from here on that can be published together: same address and QoS, none retained, refused or known."""
    first = steps[at]
    assert isinstance(first, requests.Incoming)
    found = [first]
    if first.retain or first.refused or not first.qos or (first.qos == 2 and first.packet_id in session.inbound):
        return found
    seen = {first.packet_id}
    size = len(first.payload)
    for index in range(at + 1, min(len(steps), at + RUN_MAX)):
        step = steps[index]
        if (
            not isinstance(step, requests.Incoming)
            or step.address != first.address
            or step.qos != first.qos
            or step.retain
            or step.refused
            or size > RUN_BYTES_MAX
        ):
            break
        size += len(step.payload)
        if step.qos == 2:
            if step.packet_id in session.inbound or step.packet_id in seen:
                break
            seen.add(step.packet_id)
        found.append(step)
    return found


def _group(run: list[requests.Incoming], connection: object) -> Group:
    first = run[0]
    buffer = first.payload if len(run) == 1 else b"".join([item.payload for item in run])
    group = Group(first.address, buffer, connection)
    at = 0
    for item in run:
        length = len(item.payload)
        if item.properties or item.expires_ms or item.retain:
            headers = mapping.headers_of(item.properties, item.expires_ms, item.retain, item.qos)
        else:
            headers = mapping.QOS_HEADERS[item.qos]
        group.add_with_headers(at, length, headers)
        at += length
    return group


def _message(item: requests.Incoming) -> Message:
    return Message(item.topic, item.payload, item.qos, item.retain, item.properties, item.expires_ms)
