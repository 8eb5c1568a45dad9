"""The sequencer's end of gateways' links: their sessions' requests, their subscribers' live messages. Sans-IO.

It adds to ``substrate.remote.server`` what a sequencer has above the stream layer: executors, live interest, topics. The
other end is ``protocols.remote``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from protocols.api import Session
from protocols.local import Sequencer
from substrate.api import (
    RESERVED,
    Account,
    Address,
    Appended,
    Called,
    Commit,
    Epoch,
    ErrorCode,
    Failed,
    Group,
    Position,
    Route,
    Sink,
    StreamError,
    StreamId,
    Topic,
)
from substrate.interest import Subscription
from substrate.layer import acked
from substrate.remote import frames
from substrate.remote.codec import FrameError
from substrate.remote.objects import Objects
from substrate.remote.server import NOTHING, Guest, StreamServer

SESSIONS_MAX = 200_000
INTERESTS_MAX = 1_000_000


class SequencerServer(StreamServer):
    """All gateways of one sequencer. The sequencer's host calls ``durable`` and ``failed`` besides its own."""

    guests: set[Any]

    def __init__(
        self,
        sequencer: Sequencer,
        key: bytes,
        chance: Callable[[int], bytes],
        enter: Callable[[], int],
        objects: Objects,
    ) -> None:
        super().__init__(sequencer.layer, key, chance, enter, objects.digest)
        self.sequencer = sequencer
        self.objects = objects
        self._numbers: dict[int, int] = {}  # id of a subscription -> its number
        self._subscriptions: dict[int, Subscription] = {}
        self._next = 1
        self._waiting: dict[int, tuple[GatewayGuest, int, set[GatewayGuest]]] = {}
        sequencer.interest.listener = self._interest
        sequencer.on_topic = self._topic

    def accept(self) -> GatewayGuest:
        return GatewayGuest(self)

    def left(self, guest: Guest) -> None:
        super().left(guest)
        for number in list(self._waiting):
            self._acknowledged(number, guest)

    # what every gateway is told

    def _interest(self, subscription: Subscription, there: bool) -> None:
        """Somebody's subscription came or went: the others are told."""
        owner = getattr(subscription.sink, "guest", None)
        if there:
            number = self._next
            self._next += 1
            self._numbers[id(subscription)] = number
            self._subscriptions[number] = subscription
            frame: Any = self._described(number, subscription)
        else:
            number = self._numbers.pop(id(subscription), 0)
            self._subscriptions.pop(number, None)
            frame = frames.Uninterested(number)
        for guest in self.guests:
            if guest is not owner:
                guest.say(frame)

    def _described(self, number: int, subscription: Subscription) -> frames.Interested:
        protocol = subscription.sink.protocol
        return frames.Interested.of(number, subscription.account, protocol, subscription.pattern, subscription.group)

    def _topic(self, topic: Topic, there: bool) -> None:
        frame = frames.TopicIs(topic) if there else frames.TopicGone(topic.account, topic.name)
        for guest in self.guests:
            guest.say(frame)

    def introduce(self, guest: GatewayGuest) -> None:
        """All that the others were told before it came."""
        for topic in self.sequencer.topics.topics.values():
            guest.say(frames.TopicIs(topic))
        for number, subscription in self._subscriptions.items():
            guest.say(self._described(number, subscription))

    def announced(self, guest: GatewayGuest, number: int) -> None:
        """``guest`` is told once every other gateway has taken what it was sent until now."""
        others = {other for other in self.guests if other is not guest and other.known}
        if not others:
            guest.say(frames.Heard(number))
            return
        mine = self._next
        self._next += 1
        self._waiting[mine] = (guest, number, others)
        for other in others:
            other.say(frames.Ping(-mine))

    def _acknowledged(self, mine: int, other: Guest) -> None:
        waiting = self._waiting.get(mine)
        if waiting is None:
            return
        guest, number, others = waiting
        others.discard(other)
        if not others or guest is other:
            del self._waiting[mine]
            guest.say(frames.Heard(number))

    def ponged(self, guest: GatewayGuest, number: int) -> None:
        if number < 0:
            self._acknowledged(-number, guest)


class FarSession:
    """A gateway's session, for executors to compare and to answer."""

    def __init__(self, guest: GatewayGuest, number: int) -> None:
        self.guest = guest
        self.number = number
        self.session = self

    def answered(self, token: int, answer: object) -> None:
        self.guest.answer(token, answer)


class Told:
    """A session of one question."""

    answer: object = None

    def answered(self, token: int, answer: object) -> None:
        self.answer = answer


class GatewaySink:
    """Subscribers in a gateway: each message goes there once, however many of them it matches."""

    def __init__(self, guest: GatewayGuest, protocol: str, account: Account, group: bytes | None) -> None:
        self.guest = guest
        self.protocol = protocol
        self.session: object = guest
        self._account = account
        self._group = group

    def deliver(self, group: Group) -> None:
        self.guest.deliver(self._account, group, None if self._group is None else (self.protocol, self._group))


class GatewayGuest(Guest):
    """One gateway's link."""

    server: SequencerServer

    def __init__(self, server: SequencerServer) -> None:
        super().__init__(server)
        self._sessions: dict[int, FarSession] = {}
        self._interests: dict[int, Subscription] = {}
        self._muted = False
        self._last: tuple[Group, int] | None = None

    def welcomed(self) -> None:
        self.server.introduce(self)

    def closed(self, reason: str) -> None:
        super().closed(reason)
        for subscription in self._interests.values():
            subscription.close()
        self._interests.clear()
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            self.server.sequencer.gone(session)

    def _session(self, number: int) -> FarSession | None:
        if not number:
            return None
        found = self._sessions.get(number)
        if found is None:
            if len(self._sessions) >= SESSIONS_MAX:
                raise FrameError(f"more than {SESSIONS_MAX} sessions")
            found = self._sessions[number] = FarSession(self, number)
        return found

    # live messages

    def deliver(self, account: Account, group: Group, queue: tuple[str, bytes] | None) -> None:
        if self._muted and queue is None:
            return  # its own subscribers have them already
        if queue is None:
            if self._last is not None and self._last[0] is group and self._last[1] == group.base:
                return
            self._last = (group, group.base)
        source = group.source
        session = source.number if isinstance(source, FarSession) and source.guest is self else 0
        records = () if len(group.spans) else tuple(group.records())
        plain = Group(group.address, b"") if records else group
        self.say(frames.Data(account, Position(group.base), group.timestamp_ms, plain, records, queue, session))

    # requests

    def _publish(self, frame: frames.Publish) -> object:
        sequencer = self.server.sequencer
        address = Address(frame.group.address)
        frame.group.source = self._session(frame.session)
        route = sequencer.interest.resolve(frame.account, address)
        if route.stream:
            self.server.layer.relieve(frame.group.value_bytes)
            return acked(sequencer.publish(route, frame.group, "", frame.when), frame.ack)
        nowhere = Appended(StreamId(0), Position(-1), Position(-1), self.server.layer.now_ms, Epoch(0))
        if address.split(b"/", 1)[0] == RESERVED:
            return StreamError(ErrorCode.DENIED, "reserved")
        self._muted = True
        try:
            sequencer.deliver(self._without_my_own(route, frame.queues), frame.group, "")
        finally:
            self._muted = False
            self._last = None
        return nowhere

    def _without_my_own(self, route: Any, queues: bool) -> Any:
        """A queue group that only this gateway has members of was served there."""
        left = [
            members
            for members in route.queues
            if queues and any(getattr(member, "guest", None) is not self for member in members)
        ]
        return Route(
            route.account, route.address, route.generation, route.stream, route.topic, route.sinks, tuple(left)
        )

    def _append_here(self, frame: frames.AppendGroup) -> object:
        frame.group.source = self._session(frame.session)
        self.server.layer.relieve(frame.group.value_bytes)
        return acked(self.server.sequencer.append(frame.stream, frame.group, frame.when), frame.ack)

    def _append_batch_here(self, frame: frames.AppendBatch) -> object:
        self.server.layer.relieve(len(frame.batch))
        return acked(self.server.sequencer.append(frame.stream, frame.batch, None), frame.ack)

    def _commit_here(self, frame: frames.CommitGroups) -> object:
        session = self._session(frame.session)
        for _, group, _ in frame.appends:
            group.source = session
        port = self.server.sequencer.port(lambda: None)
        told = Told()
        port.session = cast(Session, told)
        port.commit(frame.appends, frame.ack, 1)
        return told.answer

    def _call(self, frame: frames.Call) -> object:
        sequencer = self.server.sequencer
        request = self.server.objects.decode(frame.request)
        answer = sequencer.call(frame.executor, request, self._session(frame.session), frame.token)
        if answer is not None:
            self.answer(frame.token, answer)
        return NOTHING

    def answer(self, token: int, answer: object) -> None:
        """An executor's, now or later."""
        if isinstance(answer, Called):
            found = self.server.objects.encode(answer.answer)
            self.say(frames.CallAnswer(token, "", Commit(answer.commit), found))
        else:
            reason = answer.reason if isinstance(answer, Failed) else "not answered"
            self.say(frames.CallAnswer(token, reason or "failed", Commit(0), self.server.objects.encode(None)))

    def _gone(self, frame: frames.Gone) -> object:
        session = self._sessions.pop(frame.session, None)
        if session is not None:
            self.server.sequencer.gone(session)
        return NOTHING

    def _interested(self, frame: frames.Interested) -> object:
        if frame.number in self._interests or len(self._interests) >= INTERESTS_MAX:
            raise FrameError(f"interest {frame.number} is not new, or beyond {INTERESTS_MAX}")
        sink: Sink = GatewaySink(self, frame.protocol, frame.account, frame.group)
        self._interests[frame.number] = self.server.sequencer.interest.subscribe(
            frame.account, frame.pattern(), sink, frame.group
        )
        self.server.announced(self, frame.number)
        return NOTHING

    def _uninterested(self, frame: frames.Uninterested) -> object:
        subscription = self._interests.pop(frame.number, None)
        if subscription is not None:
            subscription.close()
        return NOTHING

    def _ponged(self, frame: frames.Pong) -> object:
        self.server.ponged(self, frame.number)
        return NOTHING


GatewayGuest.ACTS = {
    **{
        kind: act
        for kind, act in Guest.ACTS.items()
        if kind not in (frames.Open, frames.Trim, frames.Remove, frames.Delete)
    },
    frames.Publish: GatewayGuest._publish,
    frames.AppendGroup: GatewayGuest._append_here,
    frames.AppendBatch: GatewayGuest._append_batch_here,
    frames.CommitGroups: GatewayGuest._commit_here,
    frames.Call: GatewayGuest._call,
    frames.Gone: GatewayGuest._gone,
    frames.Interested: GatewayGuest._interested,
    frames.Uninterested: GatewayGuest._uninterested,
    frames.Pong: GatewayGuest._ponged,
}
"""What a gateway may ask: streams are made, trimmed and deleted by executors only."""
