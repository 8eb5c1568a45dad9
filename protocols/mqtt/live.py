"""Live messages of one connection: what it publishes with QoS 0, and what its subscriptions are given as it happens.

A connection has one ``LiveSink`` for all its (not shared) subscriptions. What is *owed* instead, by the executor
(``matching.py``), is skipped here, so that a client never gets a message twice: where a subscription with QoS 1 or 2
matches, all of a captured address, and what MQTT clients published with QoS 1 or 2.
"""

from __future__ import annotations

from typing import NamedTuple

from protocols.api import Handle, Identity, Port, Right
from protocols.mqtt import mapping
from protocols.mqtt.delivery import Forwarder, LiveSink, Plan, Target
from protocols.mqtt.packets import SUBSCRIPTION_ID, TOPIC_ALIAS
from protocols.mqtt.wire import check_topic, encode_properties, encode_publish, properties_of
from protocols.outbox import Outbox
from substrate.api import RESERVED, Ack, Address, Group, Route
from substrate.interest import Tokens, Trie

WANTS_MAX = 4096
CACHED_BYTES_MAX = 512
"""Longer topics are looked up each time: a cache holds so many entries, not so many megabytes."""
OWED = (mapping.QOS_HEADERS[1][0], mapping.QOS_HEADERS[2][0])


class LiveSubscription(NamedTuple):
    pattern: Tokens
    qos: int
    no_local: bool
    as_published: bool
    identifier: int


class Want(NamedTuple):
    """What the connection's subscriptions together ask of one address."""

    topic: bytes
    captured: bool
    sinks: int  # how many subscriptions match: so often a group is given
    all: tuple[int, bytes, bool, bool]  # QoS, identifiers, RETAIN as published, whether there is any
    own: tuple[int, bytes, bool, bool]  # the same for messages of its own: without no-local subscriptions


def refused(topic: bytes) -> bool:
    """Whether clients may not publish here: `$...` is the server's, `_thalweg` the substrate's."""
    return topic[:1] == b"$" or topic.split(b"/", 1)[0] == RESERVED


class Live:
    __slots__ = (
        "_account",
        "_again",
        "_aliases",
        "_given",
        "_identity",
        "_levels",
        "_no_local_filters",
        "_port",
        "_session",
        "_subscriptions",
        "_trie",
        "_wants",
        "alias_max",
        "forwarder",
        "level",
        "levels",
        "no_local",
        "now_ns",
        "sink",
    )  # fmt: skip

    def __init__(
        self, port: Port, session: object, identity: Identity, outbox: Outbox, level: int, packet_bytes_max: int,
        pending_bytes_max: int,
    ) -> None:  # fmt: skip
        self._port = port
        self._session = session
        self._identity = identity
        self._account = identity.account
        self.level = level
        self.sink = LiveSink(session, self, outbox, level, pending_bytes_max)
        self.forwarder = Forwarder(session, self, level, packet_bytes_max)
        self.now_ns = 0
        self.no_local = False
        self.alias_max = 0  # topic aliases that the peer takes
        self._aliases: dict[bytes, int] = {}
        self._no_local_filters = 0
        self._subscriptions: dict[bytes, tuple[LiveSubscription, Handle]] = {}
        self._levels: dict[bytes, int] = {}
        self.levels = 0  # of all filters: what they cost in every tree of patterns
        self._trie: Trie[LiveSubscription] = Trie()
        self._wants: dict[bytes, Want] = {}
        self._given: Group | None = None
        self._again = 0

    # subscriptions

    def subscribe(self, text: bytes, options: int, identifier: int) -> None:
        """From now on live messages for this filter come (shared ones are the executor's)."""
        self.unsubscribe(text)
        self._levels[text] = levels = text.count(b"/") + 1
        self.levels += levels
        if mapping.share_of(text) is not None:
            return
        made = LiveSubscription(mapping.pattern_of(text), options & 3, bool(options & 4), bool(options & 8), identifier)
        handle = self._port.subscribe(self._account, made.pattern, self.sink)
        self._subscriptions[text] = made, handle
        self._trie.add(made.pattern, made)
        self._changed(int(made.no_local))

    def unsubscribe(self, text: bytes) -> None:
        self.levels -= self._levels.pop(text, 0)
        found = self._subscriptions.pop(text, None)
        if found is not None:
            found[1].close()
            self._trie.remove(found[0].pattern, found[0])
            self._changed(-int(found[0].no_local))

    def _changed(self, no_local_filters: int) -> None:
        self._wants.clear()
        self._no_local_filters += no_local_filters
        self.no_local = self._no_local_filters > 0

    def close(self) -> None:
        for text in list(self._subscriptions):
            self.unsubscribe(text)

    # publishing

    def plan(self, topic: bytes) -> Plan | None:
        """For ``Forwarder``; None: the session must look at it (not allowed, or no-local needs the publisher known).

        Raises:
            Malformed: not a topic name.
        """
        check_topic(topic)
        if refused(topic) or topic.count(b"/") >= mapping.LEVELS_MAX:
            return None
        address = mapping.address_of(topic)
        if not self._identity.may(Right.WRITE, address):
            return None
        route = self._port.resolve(self._account, address)
        if route.stream and self.no_local:
            return None
        return self._plan(route)

    def _plan(self, route: Route) -> Plan:
        targets = []
        seen = set()
        to_port = bool(route.stream or route.queues)
        for sink in route.sinks:
            if not isinstance(sink, LiveSink):
                to_port = True
            elif id(sink) not in seen:
                seen.add(id(sink))
                other = sink.live
                assert isinstance(other, Live)
                want = other.want(route.address, bool(route.stream))
                qos, identifiers, _, matched = want.own if sink is self.sink else want.all
                if matched and not (route.stream and qos):
                    targets.append(Target(sink, identifiers if sink.level == 5 else b""))
        headers = mapping.QOS_HEADERS[0] if route.stream else ()
        return Plan(route.generation, route, tuple(targets), to_port, headers)

    def publish(self, route: Route, group: Group) -> None:
        """Messages that also go elsewhere than to MQTT's live sinks."""
        self._port.publish(route, group, "mqtt", Ack.NONE, 0)

    def publish_one(self, topic: bytes, payload: bytes, properties: bytes) -> bool:
        """A QoS 0 message with properties; False: nothing is planned for its topic, see ``plan``."""
        plan = self.forwarder.find(topic, self._port.generation)
        if plan is None:
            return False
        passed = _without_alias(properties)
        made: dict[tuple[bool, bytes], bytes] = {}
        for target in plan.targets:
            five = target.sink.level == 5
            if target.sink.aliases:
                target.sink.live.give(topic, payload, False, passed + target.identifiers)
                continue
            packet = made.get((five, target.identifiers))
            if packet is None:
                carried = passed + target.identifiers if five else b""
                packet = encode_publish(topic, payload, 0, False, False, 0, carried, 5 if five else 4)
                made[five, target.identifiers] = packet
            if target.sink.may_take(len(packet)):
                target.sink.give(packet)
        if plan.to_port:
            kept, expires_ms = mapping.without_expiry(properties, self.now_ns // 1_000_000)
            group = Group(plan.route.address, payload, self._session)
            headers = mapping.headers_of(kept, expires_ms, False, 0 if plan.route.stream else None)
            group.add_with_headers(0, len(payload), headers)
            self.publish(plan.route, group)
        return True

    # being given

    def want(self, address: bytes, captured: bool) -> Want:
        """What this connection wants of an address; from a bounded cache."""
        found = self._wants.get(address)
        if found is not None and found.captured == captured:
            return found
        matching = [one for _, one in self._trie.match(address)]
        count = len(matching)
        if not self._identity.may(Right.READ, Address(address)):
            matching = []
        own = [one for one in matching if not one.no_local]
        made = Want(mapping.topic_of(address) or b"", captured, count, _together(matching), _together(own))
        if len(address) <= CACHED_BYTES_MAX:
            if len(self._wants) >= WANTS_MAX:
                self._wants.clear()
            self._wants[address] = made
        return made

    def deliver(self, group: Group) -> None:
        """A group that no MQTT connection forwarded itself: another protocol's, the executor's, a stream's."""
        if self._given is group:  # once for each subscription that matches
            self._again -= 1
            if self._again <= 0:
                self._given = None
            return
        captured = group.base >= 0
        want = self.want(group.address, captured)
        if want.sinks > 1:
            self._given, self._again = group, want.sinks - 1
        qos, identifiers, as_published, matched = want.own if group.source is self._session else want.all
        if not matched or not want.topic or (captured and qos):
            return
        headers = group.headers
        if qos and headers is not None and headers[0] and headers[0][0] in OWED:
            return  # published by MQTT with QoS 1 or 2: a group of one such holds no others
        if self.level < 5:
            identifiers = b""
        if group.headers is None and group._records is None:
            self._give_plain(group, want.topic, identifiers)
            return
        now_ms = group.timestamp_ms or self.now_ns // 1_000_000
        for record in group.records():
            properties, expires_ms, retain, published_qos = mapping.properties_of_headers(record.headers)
            if qos and published_qos:
                continue
            carried = mapping.with_expiry(properties, expires_ms, now_ms) + identifiers if self.level == 5 else b""
            self.give(want.topic, record.value or b"", retain and as_published, carried)

    def _give_plain(self, group: Group, topic: bytes, identifiers: bytes) -> None:
        for index in range(group.count):
            self.give(topic, group.value(index), False, identifiers)

    def give(self, topic: bytes, payload: bytes, retain: bool, properties: bytes) -> None:
        """One QoS 0 message to this peer, unless it is too slow or the message too large for it."""
        if not self.sink.may_take(0):
            return
        straight = not (self.sink.held and self.sink.outbox.parked())
        packet = self.encode(topic, payload, 0, retain, False, 0, properties, straight)
        if len(packet) <= self.sink.packet_bytes_max:
            self.sink.give(packet)

    def encode(
        self, topic: bytes, payload: bytes, qos: int, retain: bool, dup: bool, packet_id: int, properties: bytes,
        straight: bool,
    ) -> bytes:  # fmt: skip
        """A PUBLISH to this peer, with a topic alias if it takes them.

        An alias is given only in a packet that goes ``straight`` out: behind an answer that waits it could be overtaken by
        a packet that uses it.
        """
        if self.alias_max:
            number = self._aliases.get(topic, 0)
            if number:
                topic, properties = b"", encode_properties([(TOPIC_ALIAS, number)]) + properties
            elif straight and len(self._aliases) < self.alias_max:
                number = len(self._aliases) + 1
                given = encode_properties([(TOPIC_ALIAS, number)]) + properties
                packet = encode_publish(topic, payload, qos, retain, dup, packet_id, given, 5)
                if len(packet) <= self.sink.packet_bytes_max:
                    self._aliases[topic] = number
                    return packet
        return encode_publish(topic, payload, qos, retain, dup, packet_id, properties, self.level)


def _together(subscriptions: list[LiveSubscription]) -> tuple[int, bytes, bool, bool]:
    """Greatest QoS, identifiers, RETAIN as published, whether there are any."""
    identifiers = encode_properties([(SUBSCRIPTION_ID, one.identifier) for one in subscriptions if one.identifier])
    qos = max((one.qos for one in subscriptions), default=0)
    return qos, identifiers, any(one.as_published for one in subscriptions), bool(subscriptions)


def _without_alias(properties: bytes) -> bytes:
    found = properties_of(properties)
    if all(identifier != TOPIC_ALIAS for identifier, _ in found):
        return properties
    return encode_properties([pair for pair in found if pair[0] != TOPIC_ALIAS])
