"""One MQTT connection: 3.1, 3.1.1 and 5.0. Sans-IO.

States: nothing but CONNECT is taken first; while the executor decides on it nothing is taken at all; then packets in any
order until DISCONNECT, an error or the end. What the executor must see of one read event (QoS 1 and 2, RETAIN,
acknowledgements) goes to it as one ``Batch``; QoS 0 goes straight to live sinks (``live.py``, ``delivery.py``).

Answers (CONNACK, SUBACK, PUBACK, PINGRESP, ...) leave in the order of their requests, each when what it tells is durable;
QoS 1 and 2 deliveries take their turn among them; QoS 0 deliveries go ahead, except behind a SUBACK that has not left.

Behaviour: MQTT 5.0 sections 3.1 (CONNECT), 3.1.2.10 (keep alive), 3.3.4 (receive maximum), 4.12, 4.13 (errors); for 3.x the
OASIS 3.1.1 and the IBM 3.1 texts. Deviations: see README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from protocols.api import Called, Identity, Port, Right
from protocols.identity import EVERYBODY
from protocols.mqtt import errors, mapping, requests
from protocols.mqtt import packets as p
from protocols.mqtt.live import CACHED_BYTES_MAX, Live, refused
from protocols.mqtt.packets import Acknowledge, Auth, Connack, Connect, Disconnect, Publish, Subscribe, Unsubscribe
from protocols.mqtt.runs import encode_acknowledgements, take_acknowledgements, take_publishes
from protocols.mqtt.state import NEVER_S, Delivery, WillMessage
from protocols.mqtt.wire import (
    Malformed,
    decode,
    encode,
    encode_ack,
    encode_properties,
    frame_bytes,
    properties_of,
)
from protocols.outbox import Outbox
from substrate.api import RESERVED, Address, Answer, Failed

SECOND_NS = 1_000_000_000
DRAIN_NS = 5_000_000
DRAIN_BYTES = 512 * 1024
"""Unsent bytes beyond which a client is given no more of what it is owed; looked at every ``DRAIN_NS`` and when it speaks."""
PINGRESP = b"\xd0\x00"
QOS_1 = mapping.QOS_HEADERS[1]
STEPS_MAX = 10_000
ADDRESSES_MAX = 1024
FILTER_LEVELS_MAX = 50_000
"""Of all of a session's filters: a tree of patterns has a node for each."""


@dataclass(frozen=True, slots=True)
class Settings:
    packet_bytes_max: int = 1024 * 1024
    """Longer packets cost the connection (0x95); told to 5.0 clients."""
    pending_bytes_max: int = 16 * 1024 * 1024
    """QoS 0 messages to a client that lets more pile up are dropped and counted; at four times this it is disconnected."""
    connect_bytes_max: int = 100_000
    """The same for every packet but PUBLISH, CONNECT before all."""
    connect_timeout_s: int = 10
    receive_maximum: int = 100
    """QoS 1 and 2 packets that a 5.0 client may have unacknowledged."""
    inflight_max: int = 1000
    """QoS 1 and 2 packets that are sent and not acknowledged, where the client allows as many."""
    topic_alias_maximum: int = 10
    keep_alive_max_s: int = 0
    """A longer keep alive, or none, becomes this (told to 5.0 clients as Server Keep Alive); 0: the client decides."""


class _Asked(NamedTuple):
    """A SUBSCRIBE on its way to the executor: codes of all filters so far, and those that were asked for."""

    packet_id: int
    codes: list[int]
    granted: list[tuple[bytes, int]]


class MqttSession:
    """See ``protocols.api.Session``."""

    __slots__ = (
        "_addresses",
        "_aliases",
        "_asked_expiry_s",
        "_assigned",
        "_calls",
        "_connected",
        "_expiry_s",
        "_heard_ns",
        "_identity",
        "_keep_alive_ns",
        "_left",
        "_level",
        "_live",
        "_next_token",
        "_now_ns",
        "_port",
        "_pull_at_ns",
        "_server_keep_alive_s",
        "_settings",
        "_steps",
        "_unacknowledged",
        "blocked",
        "closing",
        "deadline_ns",
        "outbox",
        "wants_bytes",
    )  # fmt: skip

    def __init__(self, port: Port, settings: Settings) -> None:
        self._port = port
        self._settings = settings
        self.outbox = Outbox(4 * settings.pending_bytes_max)
        self.deadline_ns = 0
        self.closing = False
        self.blocked = False
        self.wants_bytes = 0
        self._level = 0  # 0: before CONNECT
        self._connected = False
        self._identity: Identity = EVERYBODY
        self._live: Live | None = None
        self._now_ns = 0
        self._heard_ns = 0
        self._keep_alive_ns = 0
        self._pull_at_ns = 0
        self._expiry_s = 0
        self._assigned = b""
        self._asked_expiry_s = 0
        self._server_keep_alive_s = 0
        self._aliases: dict[int, bytes] = {}
        self._addresses: dict[bytes, Address] = {}
        self._unacknowledged: set[int] = set()
        self._steps: list[requests.Step] = []
        self._calls: dict[int, tuple[str, int, object]] = {}
        self._next_token = 1
        self._left = False

    # what the driver calls

    def opened(self, peer: tuple[str, int], now_ns: int) -> None:
        self._now_ns = self._heard_ns = now_ns
        self.deadline_ns = now_ns + self._settings.connect_timeout_s * SECOND_NS

    def receive(self, data: bytearray | memoryview, start: int, end: int, now_ns: int) -> int:
        if self.closing:
            return end
        self._now_ns = self._heard_ns = now_ns
        position = start
        try:
            if not self._connected:
                position = self._receive_connect(data, position, end)
            if self._connected:
                position = self._receive_packets(data, position, end)
        except Malformed as error:
            self._flush_steps()
            self._goodbye(error.code)
            self._port.note("mqtt_malformed_packets")
            raise
        if self.closing:
            return end
        return position

    def tick(self, now_ns: int) -> None:
        self._now_ns = now_ns
        if not self._connected:
            if self._level == 0:
                self._port.note("mqtt_connect_timeouts")
                self._close()
            self.deadline_ns = 0
            return
        if self._keep_alive_ns and now_ns - self._heard_ns >= self._keep_alive_ns:
            self._port.note("mqtt_keep_alive_timeouts")
            self._goodbye(errors.KEEP_ALIVE_TIMEOUT)
            self.deadline_ns = 0
            return
        if self._pull_at_ns and now_ns >= self._pull_at_ns:
            self._pull_at_ns = 0
            self._pull()
        self._plan()

    def eof(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.closing = True
        if self._live is not None:
            if self._live.sink.dropped:
                self._port.note("mqtt_slow_consumer_drops", f"{self._live.sink.dropped} QoS 0 messages to one client")
            self._live.close()
        self._leave(True)

    def stop(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._goodbye(errors.SHUTTING_DOWN)

    def revoked(self, now_ns: int) -> None:
        """Its user is gone, or may do something else."""
        self._now_ns = now_ns
        self._goodbye(errors.NOT_AUTHORIZED)

    def answered(self, token: int, answer: Answer) -> None:
        kind, slot, context = self._calls.pop(token, ("", 0, None))
        if not kind:
            return
        if kind == "leave":
            if slot:
                self.outbox.fill(slot, b"")
                self._close()
            return
        if not isinstance(answer, Called) or answer.answer is None:
            self._refuse_call(kind, slot, answer)
            return
        found = answer.answer
        if isinstance(found, requests.Connected):
            self._accept(found, slot, answer)
        elif isinstance(found, int):
            self._refuse(found, slot)
        elif isinstance(found, requests.Deliveries):
            self._deliver(found, answer)
        elif isinstance(found, requests.Responses):
            self.outbox.fill(slot, self._responses(found), answer.commit, answer.shard)
        elif isinstance(found, requests.SubscribeCodes):
            self._confirm_subscribe(found, slot, context, answer)
        elif isinstance(found, requests.UnsubscribeCodes):
            self._confirm_unsubscribe(found, slot, context, answer)
        elif isinstance(found, requests.TakenOver):
            self._left = True
            self._goodbye(errors.SESSION_TAKEN_OVER)

    # receiving

    def _receive_connect(self, data: bytearray | memoryview, start: int, end: int) -> int:
        if self._level:  # the executor has not answered: nothing more is taken
            self.blocked = start < end
            return start
        if start < end and data[start] != 0x10:
            raise Malformed(errors.PROTOCOL_ERROR, f"the first packet is not CONNECT but {data[start]:#x}")
        limit = min(self._settings.connect_bytes_max, self._settings.packet_bytes_max)
        found = decode(data, start, end, 4, limit)
        if found is None:
            return start
        packet: Connect = found[0]
        position: int = found[1]
        self._connect(packet)
        if not self._connected and not self.closing:
            self.blocked = position < end
        return position

    def _receive_packets(self, data: bytearray | memoryview, start: int, end: int) -> int:
        live = self._live
        assert live is not None
        live.now_ns = self._now_ns
        position = start
        self.wants_bytes = 0
        limit = self._settings.packet_bytes_max
        five = self._level == 5
        while position < end and not self.closing:
            if data[position] == 0x30 and not self._steps:
                after = live.forwarder.run(data, position, end, self._port.generation)
                if after != position:
                    position = after
                    continue
            elif data[position] == 0x32:
                room = self._settings.receive_maximum - len(self._unacknowledged) if five else STEPS_MAX
                run = take_publishes(data, position, end, five, limit, room, self._addresses, QOS_1, self)
                if run is not None:
                    position = run.end
                    self._steps.append(run)
                    if five:
                        self._unacknowledged.update(run.identifiers)
                    continue
            elif data[position] == 0x40:
                identifiers = take_acknowledgements(data, position, end)
                if identifiers:
                    position += 4 * len(identifiers)
                    self._steps.append(requests.Acknowledged(identifiers))
                    continue
            most = limit if data[position] >> 4 == p.PUBLISH else min(limit, self._settings.connect_bytes_max)
            found = decode(data, position, end, self._level, most)
            if found is None:
                if end - position >= 2:
                    size = frame_bytes(data, position, end, self._level, most)
                    if end - position >= size // 4:  # nobody gets a buffer for what he only announces
                        self.wants_bytes = size
                break
            packet, position = found
            self._packet(packet)
        self._flush_steps()
        if self._pull_at_ns and self.outbox.size() <= DRAIN_BYTES:
            self._pull_at_ns = 0
            self._pull()
        return position

    def _packet(self, packet: object) -> None:
        if isinstance(packet, Publish):
            self._publish(packet)
            return
        if isinstance(packet, Acknowledge):
            self._steps.append(packet)
            return
        self._flush_steps()
        if isinstance(packet, Subscribe):
            self._subscribe(packet)
        elif isinstance(packet, Unsubscribe):
            self._unsubscribe(packet)
        elif isinstance(packet, p.Ping):
            self.outbox.answer(PINGRESP)
        elif isinstance(packet, Disconnect):
            self._disconnect(packet)
        elif isinstance(packet, Auth):
            raise Malformed(errors.BAD_AUTHENTICATION_METHOD, "AUTH without an authentication method in CONNECT")
        else:
            raise Malformed(errors.PROTOCOL_ERROR, "a second CONNECT")

    # calls

    def _call(self, kind: str, request: object, slot: int = 0, context: object = None) -> None:
        token = self._next_token
        self._next_token += 1
        self._calls[token] = kind, slot, context
        self._port.call("mqtt", request, token)

    def _refuse_call(self, kind: str, slot: int, answer: Answer) -> None:
        """The executor is not there, or does not know this connection (any more)."""
        if kind == "connect":
            self._refuse(errors.SERVER_UNAVAILABLE, slot)
            return
        if slot:
            self.outbox.fill(slot, b"")
        if not self.closing:
            self._goodbye(errors.SERVER_BUSY if isinstance(answer, Failed) else errors.SESSION_TAKEN_OVER)

    def _pull(self) -> None:
        if self.closing:
            return
        if self.outbox.size() > DRAIN_BYTES:  # a slow reader: look again in a moment
            self._pull_at_ns = self._now_ns + DRAIN_NS
            self._plan()
            return
        self._call("pull", requests.Pull())

    def _plan(self) -> None:
        due = self._heard_ns + self._keep_alive_ns if self._keep_alive_ns else 0
        if self._pull_at_ns and (not due or self._pull_at_ns < due):
            due = self._pull_at_ns
        self.deadline_ns = due

    # CONNECT, DISCONNECT

    def _connect(self, packet: Connect) -> None:
        self._level = packet.level
        slot = self.outbox.open()
        code = self._read_connect(packet)
        if code:
            self._refuse(code, slot)
            return
        properties = dict(properties_of(packet.properties)) if packet.properties else {}
        client_id = packet.client_id
        if not client_id:
            client_id = self._assigned = b"auto-%016x%016x" % (self._port.random(), self._port.random())
        keep_alive_s = packet.keep_alive_s
        most_s = self._settings.keep_alive_max_s
        if most_s and (keep_alive_s == 0 or keep_alive_s > most_s):
            keep_alive_s = most_s
            self._server_keep_alive_s = most_s if self._level == 5 else 0
        self._keep_alive_ns = keep_alive_s * SECOND_NS * 3 // 2
        if self._level == 5:
            expiry_s = int(properties.get(p.SESSION_EXPIRY, 0))
        else:
            expiry_s = 0 if packet.clean else NEVER_S
        self._asked_expiry_s = expiry_s
        live = Live(
            self._port, self, self._identity, self.outbox, self._level, self._settings.packet_bytes_max,
            self._settings.pending_bytes_max,
        )  # fmt: skip
        live.sink.packet_bytes_max = int(properties.get(p.MAXIMUM_PACKET, live.sink.packet_bytes_max))
        live.now_ns = self._now_ns
        live.alias_max = min(int(properties.get(p.TOPIC_ALIAS_MAXIMUM, 0)), self._settings.topic_alias_maximum)
        live.sink.aliases = live.alias_max > 0
        self._live = live
        self._call(
            "connect",
            requests.Connect(
                self._identity, client_id, packet.clean, expiry_s, self._level,
                min(int(properties.get(p.RECEIVE_MAXIMUM, 65535)), self._settings.inflight_max),
                live.sink.packet_bytes_max, _will_of(packet), not live.alias_max,
            ),
            slot,
        )  # fmt: skip

    def _read_connect(self, packet: Connect) -> int:
        """The reason code to refuse it with, or 0."""
        if any(identifier == p.AUTH_METHOD for identifier, _ in properties_of(packet.properties)):
            return errors.BAD_AUTHENTICATION_METHOD
        if any(identifier == p.AUTH_DATA for identifier, _ in properties_of(packet.properties)):
            return errors.PROTOCOL_ERROR
        identity = self._port.identify(packet.user, packet.password)
        if identity is None:
            self._port.note("mqtt_logins_refused")
            return errors.NOT_AUTHORIZED
        self._identity = identity
        if not packet.client_id and (packet.level == 3 or (packet.level == 4 and not packet.clean)):
            return errors.CLIENT_ID_INVALID
        if packet.will is not None and not self._may_publish(packet.will.topic):
            return errors.NOT_AUTHORIZED
        return 0

    def _refuse(self, code: int, slot: int) -> None:
        if self._level == 5:
            self.outbox.fill(slot, encode(Connack(False, code), 5))
        else:
            self.outbox.fill(slot, encode(Connack(False, errors.return_code(code)), 4))
        self._left = True
        self._close()

    def _accept(self, found: requests.Connected, slot: int, answer: Called) -> None:
        if self.closing or self._live is None:
            self.outbox.fill(slot, b"")
            return
        for text, options, identifier in found.subscriptions:
            self._live.subscribe(text, options, identifier)
        self._live.sink.held = True
        self._expiry_s = found.expiry_s
        properties = b""
        if self._level == 5:
            settings = self._settings
            told: p.Properties = [
                (p.TOPIC_ALIAS_MAXIMUM, settings.topic_alias_maximum),
                (p.MAXIMUM_PACKET, settings.packet_bytes_max),
                (p.RECEIVE_MAXIMUM, settings.receive_maximum),
            ]
            if self._assigned:
                told.append((p.ASSIGNED_CLIENT_ID, self._assigned))
            if found.expiry_s != self._asked_expiry_s:
                told.append((p.SESSION_EXPIRY, found.expiry_s))
            if self._server_keep_alive_s:
                told.append((p.SERVER_KEEP_ALIVE, self._server_keep_alive_s))
            properties = encode_properties(told)
        told_present = found.present and self._level > 3  # 3.1 has no such flag: the byte is reserved
        self.outbox.fill(slot, encode(Connack(told_present, 0, properties), self._level), answer.commit, answer.shard)
        self._connected = True
        self.blocked = False
        self._plan()
        self._pull()

    def _disconnect(self, packet: Disconnect) -> None:
        expiry_s = -1
        for identifier, value in properties_of(packet.properties):
            if identifier == p.SESSION_EXPIRY:
                expiry_s = int(value)
                if expiry_s and not self._expiry_s:
                    raise Malformed(errors.PROTOCOL_ERROR, "DISCONNECT lets a session live that was to end")
        self._leave(
            packet.code != 0, expiry_s, self.outbox.open()
        )  # the place kept: the connection stays until it is done
        self.closing = True

    def _leave(self, will: bool, expiry_s: int = -1, slot: int = 0) -> None:
        if not self._left and self._level:
            self._left = True
            self._call("leave", requests.Leave(will, expiry_s), slot)
        elif slot:
            self.outbox.fill(slot, b"")

    def _goodbye(self, code: int) -> None:
        """Close; a 5.0 client is told why, a CONNECT that cannot be read gets its CONNACK."""
        if self.closing:
            return
        if self._level == 5 and self._connected:
            self.outbox.answer(encode(Disconnect(code), 5))
        elif self._level == 0 and code == errors.UNSUPPORTED_VERSION:
            self.outbox.answer(encode(Connack(False, 1), 4))
        self._close()

    def _close(self) -> None:
        """Close when everything answered has left; the driver looks at marked outboxes."""
        self.closing = True
        self.outbox.mark()

    # PUBLISH from the client

    def _publish(self, packet: Publish) -> None:
        live = self._live
        assert live is not None
        topic = self._by_alias(packet) if packet.properties else packet.topic
        if packet.qos and self._level == 5:
            self._unacknowledged.add(packet.packet_id)
            if len(self._unacknowledged) > self._settings.receive_maximum:
                raise Malformed(
                    errors.RECEIVE_MAXIMUM_EXCEEDED, f"more than {self._settings.receive_maximum} unacknowledged"
                )
        address = self._addresses.get(topic)
        if address is None:
            address = self._address_of(topic)
        if not address:
            self._port.note("mqtt_publishes_refused")
            if not packet.qos:
                return
        elif not packet.qos and not packet.retain:
            self._flush_steps()
            if live.publish_one(topic, packet.payload, packet.properties):
                return
        properties, expires_ms = b"", 0
        if packet.properties:
            properties, expires_ms = mapping.without_expiry(packet.properties, self._now_ns // 1_000_000)
        self._steps.append(
            requests.Incoming(
                address, topic, packet.payload, packet.qos, packet.retain, packet.packet_id, properties, expires_ms,
                0 if address else errors.NOT_AUTHORIZED,
            )
        )  # fmt: skip
        if len(self._steps) >= STEPS_MAX:
            self._flush_steps()

    def _address_of(self, topic: bytes) -> Address:
        """The topic's address, remembered; empty if clients may not publish there."""
        if topic.count(b"/") >= mapping.LEVELS_MAX:
            raise Malformed(errors.TOPIC_INVALID, f"a topic of more than {mapping.LEVELS_MAX} levels")
        address = mapping.address_of(topic) if self._may_publish(topic) else Address(b"")
        if len(topic) <= CACHED_BYTES_MAX:
            if len(self._addresses) >= ADDRESSES_MAX:
                self._addresses.clear()
            self._addresses[topic] = address
        return address

    def _may_publish(self, topic: bytes) -> bool:
        return not refused(topic) and self._identity.may(Right.WRITE, mapping.address_of(topic))

    def _by_alias(self, packet: Publish) -> bytes:
        """The topic, after its alias was set or looked up (MQTT 5.0 section 3.3.2.3.4)."""
        alias = 0
        for identifier, value in properties_of(packet.properties):
            if identifier == p.TOPIC_ALIAS:
                alias = int(value)
        if not alias:
            return packet.topic
        if alias > self._settings.topic_alias_maximum:
            raise Malformed(
                errors.TOPIC_ALIAS_INVALID, f"topic alias {alias}, limit {self._settings.topic_alias_maximum}"
            )
        if packet.topic:
            self._aliases[alias] = packet.topic
            return packet.topic
        topic = self._aliases.get(alias)
        if topic is None:
            raise Malformed(errors.PROTOCOL_ERROR, f"topic alias {alias} was never set")
        return topic

    def _flush_steps(self) -> None:
        if self._steps:
            steps, self._steps = self._steps, []
            self._call("batch", requests.Batch(steps), self.outbox.open())

    def _responses(self, found: requests.Responses) -> bytes:
        out = []
        five = self._level == 5
        for kind, packet_id, code in found.packets:
            if not isinstance(packet_id, int):
                if five:
                    self._unacknowledged.difference_update(packet_id)
                elif code >= 0x80 and code != errors.NOT_AUTHORIZED:
                    self._close()
                    break
                out.append(encode_acknowledgements(kind, packet_id, code, five))
                continue
            if five:
                if kind != p.PUBREL and (kind != p.PUBREC or code >= 0x80):
                    self._unacknowledged.discard(packet_id)
            elif code >= 0x80 and kind in (p.PUBACK, p.PUBREC) and code != errors.NOT_AUTHORIZED:
                self._close()  # 3.x cannot say no: the client is to send it again
                break
            out.append(encode_ack(kind, packet_id, code, b"", self._level))
        return b"".join(out)

    # PUBLISH to the client

    def _deliver(self, found: requests.Deliveries, answer: Called) -> None:
        if self.closing:
            return
        straight = answer.commit == 0 and not self.outbox.parked()
        data = found.frames
        if found.packets:
            data += b"".join([self._encode_delivery(one, found.now_ms, straight) for one in found.packets])
        self.outbox.answer_at(data, answer.shard, answer.commit)
        self._pull()

    def _encode_delivery(self, one: Delivery, now_ms: int, straight: bool) -> bytes:
        message = one.message
        live = self._live
        assert live is not None
        if message is None:
            return encode_ack(p.PUBREL, one.packet_id, 0, b"", self._level)
        properties = b""
        if self._level == 5:
            properties = mapping.with_expiry(message.properties, message.expires_ms, now_ms) + one.identifiers
        return live.encode(
            message.topic, message.payload or b"", one.qos, one.retain, one.dup, one.packet_id, properties, straight
        )

    # SUBSCRIBE, UNSUBSCRIBE

    def _subscribe(self, packet: Subscribe) -> None:
        live = self._live
        assert live is not None
        identifier = 0
        for property_id, value in properties_of(packet.properties):
            if property_id == p.SUBSCRIPTION_ID:
                identifier = int(value)
        codes: list[int] = []
        granted: list[tuple[bytes, int]] = []
        for text, options in packet.filters:
            codes.append(self._judge_filter(text, options))
            if codes[-1] == 0:
                granted.append((text, options))
                live.subscribe(text, options, identifier)
        slot = self.outbox.open()
        live.sink.held = True
        if granted:
            asked = requests.Subscribe(tuple(granted), identifier)
            self._call("subscribe", asked, slot, _Asked(packet.packet_id, codes, granted))
        else:
            self.outbox.fill(slot, self._suback(packet.packet_id, codes))

    def _judge_filter(self, text: bytes, options: int) -> int:
        share = mapping.share_of(text)
        if share is not None:
            if not share[0]:
                return errors.FILTER_INVALID
            if options & 4:
                raise Malformed(errors.PROTOCOL_ERROR, "no-local on a shared subscription")
            text = share[1]
        if not mapping.valid_filter(text):
            return errors.FILTER_INVALID
        if text.split(b"/", 1)[0] == RESERVED or not self._identity.may_all(Right.READ, mapping.pattern_of(text)):
            return errors.UNSPECIFIED  # Eclipse's suite takes nothing but 0x80
        assert self._live is not None
        return errors.QUOTA_EXCEEDED if self._live.levels + text.count(b"/") >= FILTER_LEVELS_MAX else 0

    def _suback(self, packet_id: int, codes: list[int]) -> bytes:
        if self._level < 5:
            codes = [min(code, 0x80) for code in codes]
        return encode(p.Suback(packet_id, tuple(codes)), self._level)

    def _confirm_subscribe(self, found: requests.SubscribeCodes, slot: int, context: object, answer: Called) -> None:
        assert isinstance(context, _Asked)
        packet_id, codes, granted = context
        given = iter(found.codes)
        told = [code or next(given) for code in codes]
        for (text, _), code in zip(granted, found.codes, strict=True):
            if code >= 0x80 and self._live is not None:
                self._live.unsubscribe(text)
        self.outbox.fill(slot, self._suback(packet_id, told), answer.commit, answer.shard)

    def _unsubscribe(self, packet: Unsubscribe) -> None:
        assert self._live is not None
        for text in packet.filters:
            self._live.unsubscribe(text)
        self._call("unsubscribe", requests.Unsubscribe(packet.filters), self.outbox.open(), packet.packet_id)

    def _confirm_unsubscribe(
        self, found: requests.UnsubscribeCodes, slot: int, context: object, answer: Called
    ) -> None:
        codes = found.codes if self._level == 5 else ()
        assert isinstance(context, int)
        self.outbox.fill(slot, encode(p.Unsuback(context, codes), self._level), answer.commit, answer.shard)


def _will_of(packet: Connect) -> WillMessage | None:
    if packet.will is None:
        return None
    expiry_s = delay_s = 0
    passed = []
    for identifier, value in properties_of(packet.will.properties):
        if identifier == p.MESSAGE_EXPIRY:
            expiry_s = int(value)
        elif identifier == p.WILL_DELAY:
            delay_s = int(value)
        else:
            passed.append((identifier, value))
    will = packet.will
    return WillMessage(will.topic, will.payload, will.qos, will.retain, encode_properties(passed), expiry_s, delay_s)
