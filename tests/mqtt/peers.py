"""MQTT clients of bytes in memory, against a whole gateway in one thread (``conformance.harness``)."""

from __future__ import annotations

from conformance.harness import Harness
from protocols.mqtt import packets as p
from protocols.mqtt.session import MqttSession, Settings
from protocols.mqtt.sessions import Limits, Sessions
from protocols.mqtt.wire import decode, encode, encode_properties
from substrate.engine import Engine


def harness(
    seed: int = 0,
    delayed: bool = False,
    engine: Engine | None = None,
    settings: Settings | None = None,
    now_ns: int = 0,
    limits: Limits | None = None,
) -> Harness:
    """A gateway that speaks MQTT only."""
    given, bounds = settings or Settings(), limits or Limits()
    more = {"now_ns": now_ns} if now_ns else {}
    return Harness(
        seed, [lambda: Sessions(bounds)], {"mqtt": lambda port: MqttSession(port, given)}, engine=engine, delayed=delayed,
        **more,
    )  # fmt: skip


class Peer:
    """A client that acknowledges nothing by itself."""

    def __init__(self, gateway: Harness, level: int = 4) -> None:
        self.gateway = gateway
        self.level = level
        self.wire = gateway.connect("mqtt")
        self._unread = bytearray()

    def send(self, *packets: object) -> list[object]:
        """Send, and give what came."""
        self.wire.send(b"".join(encode(packet, self.level) for packet in packets))
        return self.received()

    def send_quietly(self, *packets: object) -> None:
        """Send; what comes waits for ``received``."""
        self.wire.send(b"".join(encode(packet, self.level) for packet in packets))

    def received(self) -> list[object]:
        self._unread += self.wire.read()
        found = []
        at = 0
        while True:
            one = decode(self._unread, at, len(self._unread), self.level, from_client=False)
            if one is None:
                break
            found.append(one[0])
            at = one[1]
        del self._unread[:at]
        return found

    def connect(
        self,
        client_id: str,
        clean: bool = True,
        will: p.Will | None = None,
        keep_alive_s: int = 0,
        login: tuple[bytes | None, bytes | None] = (None, None),
        **properties: object,
    ) -> p.Connack:
        """CONNECT and its CONNACK; ``expiry_s``, ``receive_maximum``, ``packet_bytes_max`` for 5.0."""
        names = {
            "expiry_s": p.SESSION_EXPIRY,
            "receive_maximum": p.RECEIVE_MAXIMUM,
            "packet_bytes_max": p.MAXIMUM_PACKET,
        }
        listed = encode_properties([(names[name], value) for name, value in properties.items()])
        answers = self.send(p.Connect(self.level, clean, keep_alive_s, client_id.encode(), will, *login, listed))
        assert isinstance(answers[0], p.Connack), answers
        self._unread[:0] = b"".join(encode(one, self.level) for one in answers[1:])
        return answers[0]

    def subscribe(self, *filters: str, options: int = 0, identifier: int = 0) -> list[object]:
        listed = encode_properties([(p.SUBSCRIPTION_ID, identifier)] if identifier else [])
        return self.send(p.Subscribe(1, tuple((text.encode(), options) for text in filters), listed))

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, retain: bool = False, packet_id: int = 1, properties: p.Properties = (),
        dup: bool = False,
    ) -> list[object]:  # fmt: skip
        return self.send(
            p.Publish(
                topic.encode(), payload, qos, retain, dup, packet_id if qos else 0, encode_properties(list(properties))
            )
        )

    def take(self) -> list[tuple[str, bytes, int]]:
        """Everything that was published to it, acknowledged in full: (topic, payload, QoS)."""
        found = []
        while True:
            packets = self.received()
            if not packets:
                return found
            for one in packets:
                if isinstance(one, p.Publish):
                    found.append((one.topic.decode(), one.payload, one.qos))
                    if one.qos:
                        self.wire.send(
                            encode(p.Acknowledge(p.PUBACK if one.qos == 1 else p.PUBREC, one.packet_id), self.level)
                        )
                elif isinstance(one, p.Acknowledge) and one.kind == p.PUBREL:
                    self.wire.send(encode(p.Acknowledge(p.PUBCOMP, one.packet_id), self.level))
