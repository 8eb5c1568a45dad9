"""Who is owed a message: sessions whose subscriptions match with QoS 1 or 2, and one member of each shared subscription.

A session gets one copy, however many of its filters match: with the greatest QoS among them, all their subscription
identifiers, and RETAIN as published if one of them asks for it. Sessions that match with QoS 0 only take messages live
(``session.deliver``), as does everybody when nothing keeps the message: published with QoS 0 and captured by no stream.

Limits: a session that is owed ``queue_messages_max`` messages or ``queue_bytes_max`` bytes gets no more until it takes some;
what it misses is counted and noted, the publisher is not told (as mosquitto and EMQX do).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocols.mqtt.packets import SUBSCRIPTION_ID
from protocols.mqtt.runs import Lane, frames, largest
from protocols.mqtt.state import Change, Entry, Message, Session, Share, Subscription
from protocols.mqtt.wire import encode_properties, varint
from substrate.api import Account, Group

if TYPE_CHECKING:
    from protocols.mqtt.sessions import Sessions

CACHE_MAX = 4096
CACHED_BYTES_MAX = 512


class Match:
    """What one session wants of one address."""

    __slots__ = ("as_published", "block", "identifiers", "no_local", "qos", "session", "subscriptions")

    def __init__(self, session: Session, subscriptions: list[Subscription]) -> None:
        self.session = session
        self.subscriptions = subscriptions
        self.qos = max(subscription.qos for subscription in subscriptions)
        self.identifiers = identifiers_of(subscriptions)
        self.block = varint(len(self.identifiers)) + self.identifiers
        self.as_published = any(subscription.as_published for subscription in subscriptions)
        self.no_local = any(subscription.no_local for subscription in subscriptions)


class Matches:
    """Of one address: sessions with QoS 1 or 2, and shared subscriptions."""

    __slots__ = ("sessions", "shares", "version")

    def __init__(self, version: int, sessions: list[Match], shares: list[Share]) -> None:
        self.version = version
        self.sessions = sessions
        self.shares = shares


def identifiers_of(subscriptions: list[Subscription]) -> bytes:
    """Their subscription identifiers as properties."""
    return encode_properties([(SUBSCRIPTION_ID, one.identifier) for one in subscriptions if one.identifier])


class Matching:
    def __init__(self, owner: Sessions, queue_messages_max: int, queue_bytes_max: int) -> None:
        self._owner = owner
        self._queue_messages_max = queue_messages_max
        self._queue_bytes_max = queue_bytes_max
        self._cache: dict[tuple[Account, bytes], Matches] = {}
        self.online = False
        """Whether a connected session was given what ``owe`` queued last."""

    def of(self, account: Account, address: bytes) -> Matches:
        """From a bounded cache, made anew if a subscription changed."""
        key = (account, address)
        found = self._cache.get(key)
        state = self._owner.state
        if found is not None and found.version == state.version:
            return found
        subscribed = state.subscribed.get(account)
        by_session: dict[int, list[Subscription]] = {}
        if subscribed is not None:
            for _, subscription in subscribed.match(address):
                by_session.setdefault(subscription.session.number, []).append(subscription)
        matches = [Match(state.sessions[number], by_session[number]) for number in sorted(by_session)]
        shared = state.shared.get(account)
        shares = [share for _, share in shared.match(address)] if shared is not None else []
        made = Matches(state.version, [match for match in matches if match.qos], shares)
        if len(address) <= CACHED_BYTES_MAX:
            if len(self._cache) >= CACHE_MAX:
                self._cache.clear()
            self._cache[key] = made
        return made

    def wants(self, account: Account, address: bytes) -> bool:
        """Whether a record of this address is owed to anybody."""
        found = self.of(account, address)
        return bool(found.sessions or found.shares)

    def owe(self, account: Account, address: bytes, message: Message, publisher: int) -> tuple[Change, ...]:
        """Queue it for all that are owed it; what a record must say of those that outlive their connection."""
        found = self.of(account, address)
        return self.owe_to(found.sessions, found.shares, message, publisher)

    def give(self, account: Account, group: Group, topic: bytes, publisher: int, qos: int) -> Matches:
        """Plain messages (no properties, not retained) published with ``qos``, as frames for those whose lane takes them; who
        is left."""
        found = self.of(account, group.address)
        rest: list[Match] = []
        blocks: dict[bytes, bytes] = {}
        state = self._owner.state
        most = largest(group)
        for match in found.sessions:
            session = match.session
            if not session.laned() or (qos == 2 and match.qos == 2) or (match.no_local and session.number == publisher):
                rest.append(match)
                continue
            if not session.may_read(topic):
                continue
            properties = match.block if session.level == 5 else b""
            size = group.count * (9 + len(topic) + len(properties)) + group.value_bytes
            lane = session.lane
            if lane is None:
                lane = session.lane = Lane()
            if (
                9 + len(topic) + len(properties) + most > session.packet_bytes_max
                or lane.count + group.count > self._queue_messages_max
                or session.owed_bytes + size > self._queue_bytes_max
            ):
                rest.append(match)
                continue
            block = blocks.get(properties)
            if block is None:
                block = blocks[properties] = frames(group, topic, properties)
            lane.add(block, group.count)
            session.owed_bytes += len(block)
            state.owed_bytes += len(block)
            self._owner.sending.wake(session)
        return Matches(found.version, rest, found.shares)

    def owe_to(self, matches: list[Match], shares: list[Share], message: Message, publisher: int) -> tuple[Change, ...]:
        """See ``owe``."""
        self.online = False
        kept: list[Change] = []
        for match in matches:
            if match.no_local and match.session.number == publisher:
                rest = [subscription for subscription in match.subscriptions if not subscription.no_local]
                if not rest or not max(subscription.qos for subscription in rest):
                    continue
                match = Match(match.session, rest)
            self._queue(match.session, message, match.qos, match.identifiers, match.as_published, b"", kept)
        for share in shares:
            self._owe_one(share, message, kept)
        return tuple(kept)

    def owe_run(self, left: Matches, messages: list[Message], publisher: int) -> list[list[Change]]:
        """``owe_to`` for plain messages of one topic, published with QoS 1: what must be recorded of each."""
        kept: list[list[Change]] = [[] for _ in messages]
        rest: list[Match] = []
        size = sum(message.size for message in messages)
        state = self._owner.state
        for match in left.sessions:
            session = match.session
            waiting = len(session.queue) + session.lane_count()
            if (
                match.no_local
                or waiting + len(messages) > self._queue_messages_max
                or session.owed_bytes + size > self._queue_bytes_max
            ):
                rest.append(match)
                continue
            keeps = session.keeps
            if not keeps and session.connection is None:
                continue
            number, identifiers = session.number, match.identifiers
            for message, changes in zip(messages, kept, strict=True):
                sequence = session.next_sequence
                state.owe(session, Entry(sequence, message, 1, identifiers, False, b""))
                if keeps:
                    changes.append((number, sequence, 1, identifiers, 0, b""))
            self._owner.sending.wake(session)
        if rest or left.shares:
            for message, changes in zip(messages, kept, strict=True):
                changes += self.owe_to(rest, left.shares, message, publisher)
        return kept

    def owe_live(self, account: Account, address: bytes, message: Message) -> None:
        """A message that nothing keeps, for shared subscriptions."""
        kept: list[Change] = []
        for share in self.of(account, address).shares:
            self._owe_one(share, message, kept)
        if kept:
            self._owner.record_message(message, tuple(kept))

    def _owe_one(self, share: Share, message: Message, kept: list[Change]) -> None:
        """One member gets it: connected ones in turn, else one that will come back."""
        members = sorted(share.members)
        sessions = self._owner.state.sessions
        able = [
            number
            for number in members
            if sessions[number].connection is not None and sessions[number].may_read(message.topic)
        ]
        if not able and message.qos:
            able = [number for number in members if sessions[number].keeps and share.members[number].qos]
        if not able:
            return
        share.turn += 1
        member = share.members[able[share.turn % len(able)]]
        self._queue(
            member.session, message, member.qos, identifiers_of([member]), member.as_published, member.text, kept
        )

    def _queue(
        self, session: Session, message: Message, qos: int, identifiers: bytes, as_published: bool, group: bytes,
        kept: list[Change],
    ) -> None:  # fmt: skip
        qos = min(qos, message.qos)
        if session.connection is None and (not qos or not session.keeps):
            return
        if (
            len(session.queue) - session.volatile + session.lane_count() >= self._queue_messages_max
            or session.owed_bytes + message.size > self._queue_bytes_max
        ):
            self._owner.note("mqtt_queue_full_drops", "")
            self._owner.system.dropped += 1
            return
        if session.connection is not None:
            self.online = True
        retain = as_published and message.retain
        entry = Entry(session.next_sequence, message, qos, identifiers, retain, group)
        self._owner.state.owe(session, entry)
        self._owner.sending.wake(session)
        if session.keeps and qos:
            kept.append((session.number, entry.sequence, qos, identifiers, int(retain), group))
