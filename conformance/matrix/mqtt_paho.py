"""paho-mqtt: MQTT 3.1, 3.1.1 and 5."""

from __future__ import annotations

import queue
import socket
import time
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from conformance.matrix.cells import Cells, Place

cells = Cells("mqtt", "paho-mqtt", "paho-mqtt", variants=("3.1", "3.1.1", "5"))
WAIT_S = 30.0
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
FIVE = ("5",)


class Peer:
    """One client with its loop in a thread; what it is told waits in queues."""

    def __init__(
        self, place: Place, client_id: str = "", clean: bool = True, transport: str = "tcp", **connect: Any
    ) -> None:
        self.place = place
        self.version = VERSIONS[place.variant]
        self.name = client_id or place.name("c")
        extra = {} if self.version == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, self.name, protocol=self.version, transport=transport, **extra
        )
        self.messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self.answers: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.answers.put(
            ("connect", flags, reason, properties)
        )
        self.client.on_disconnect = lambda client, data, flags, reason, properties: self.answers.put(
            ("disconnect", flags, reason, properties)
        )
        self.client.on_publish = lambda client, data, mid, reason, properties: self.answers.put(
            ("publish", mid, reason, properties)
        )
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.answers.put(
            ("subscribe", mid, reasons, properties)
        )
        self.client.on_unsubscribe = lambda client, data, mid, reasons, properties: self.answers.put(
            ("unsubscribe", mid, reasons, properties)
        )
        self.clean = clean
        self.connect_settings = connect
        self.connack: tuple[Any, ...] = ()

    def start(self, address: str = "", **properties: Any) -> Self:
        host, _, port = (address or self.place.address).rpartition(":")
        settings = dict(self.connect_settings)
        if self.version == mqtt.MQTTv5:
            settings |= {"clean_start": self.clean, "properties": properties_of(PacketTypes.CONNECT, **properties)}
        self.client.connect(host, int(port), **{"keepalive": 60, **settings})
        self.client.loop_start()
        self.connack = self.answer("connect")
        return self

    def answer(self, kind: str) -> tuple[Any, ...]:
        """The next one of this kind; others before it are dropped."""
        deadline = time.monotonic() + WAIT_S
        while True:
            found = self.answers.get(timeout=max(0.01, deadline - time.monotonic()))
            if found[0] == kind:
                return found[1:]

    def subscribe(
        self, pattern: str, qos: int = 1, options: dict[str, Any] | None = None, **properties: Any
    ) -> list[Any]:
        if self.version == mqtt.MQTTv5:
            self.client.subscribe(
                pattern,
                options=SubscribeOptions(qos=qos, **(options or {})),
                properties=properties_of(PacketTypes.SUBSCRIBE, **properties),
            )
        else:
            self.client.subscribe(pattern, qos)
        return [reason.value for reason in self.answer("subscribe")[1]]

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 1, retain: bool = False, **properties: Any) -> Any:
        """The reason code of the acknowledgement."""
        given = properties_of(PacketTypes.PUBLISH, **properties) if self.version == mqtt.MQTTv5 else None
        self.client.publish(topic, payload, qos, retain, given)
        return self.answer("publish")[1].value

    def take(self, count: int = 1) -> list[Any]:
        return [shown(self.messages.get(timeout=WAIT_S)) for _ in range(count)]

    def vanish(self) -> None:
        """The connection goes without a DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self) -> Self:
        return self if self.connack else self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def properties_of(kind: int, **given: Any) -> Properties | None:
    if not given:
        return None
    made = Properties(kind)
    for name, value in given.items():
        setattr(made, name, value)
    return made


def shown(message: mqtt.MQTTMessage) -> list[object]:
    return [message.topic, message.payload, message.qos, message.retain]


def told(properties: Any) -> dict[str, Any]:
    return (
        {}
        if properties is None
        else {name: value for name, value in properties.json().items() if name != "AssignedClientIdentifier"}
    )


def quiet(peer: Peer, by: Peer, topic: str) -> bool:
    """Nothing is waiting for the peer: what is published now is what it gets next."""
    by.publish(topic, b"marker")
    return bool(peer.messages.get(timeout=WAIT_S).payload == b"marker")


@cells.add("publish: QoS 0")
def qos_0(place: Place) -> object:
    return at_qos(place, 0)


@cells.add("publish: QoS 1")
def qos_1(place: Place) -> object:
    return at_qos(place, 1)


@cells.add("publish: QoS 2")
def qos_2(place: Place) -> object:
    return at_qos(place, 2)


def at_qos(place: Place, qos: int) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        granted = reader.subscribe(f"{topic}/#", 2)
        codes = [writer.publish(f"{topic}/{number}", b"%d" % number, qos) for number in range(3)]
        return [granted, codes, reader.take(3)]


@cells.add("publish: the lower QoS counts")
def downgrade(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        granted = reader.subscribe(topic, 0) + reader.subscribe(topic + "1", 1)
        writer.publish(topic, b"a", 2)
        writer.publish(topic + "1", b"b", 2)
        return [granted, reader.take(2)]


@cells.add("publish: an empty payload, and one of 200 kB")
def sizes(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(topic)
        writer.publish(topic, b"")
        writer.publish(topic, b"x" * 200_000)
        return [len(reader.messages.get(timeout=WAIT_S).payload) for _ in range(2)]


@cells.add("publish: many in flight")
def many(place: Place) -> object:
    topic = place.name("topic")
    writing = Peer(place)
    writing.client.max_inflight_messages_set(20)
    with Peer(place) as reader, writing as writer:
        reader.subscribe(topic, 2)
        for number in range(300):
            writer.client.publish(topic, b"%d" % number, 1 + number % 2)
        found = [reader.messages.get(timeout=WAIT_S) for _ in range(300)]
        return [len(found), len({message.payload for message in found})]


@cells.add("subscribe: wildcards")
def wildcards(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as writer:
        counts = []
        for pattern in ("#", "+", "+/b", "a/+/c", "a/#", "+/+/#", "a"):
            with Peer(place) as reader:
                reader.subscribe(f"{root}/{pattern}", 0)
                for topic in ("a", "a/b", "a/b/c", "a//c", "x/b", "/"):
                    writer.publish(f"{root}/{topic}", topic.encode())
                writer.publish(f"{root}/end", b"end")
                reader.subscribe(f"{root}/end", 0)
                writer.publish(f"{root}/end", b"end")
                found = []
                while (message := reader.messages.get(timeout=WAIT_S)).payload != b"end":
                    found.append(message.payload)
                counts.append([pattern, found])
        return counts


@cells.add("subscribe: several filters at once")
def several(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as reader:
        if place.variant == "5":
            reader.client.subscribe(
                [
                    (f"{root}/a", SubscribeOptions(0)),
                    (f"{root}/b", SubscribeOptions(1)),
                    (f"{root}/c", SubscribeOptions(2)),
                ]
            )
        else:
            reader.client.subscribe([(f"{root}/a", 0), (f"{root}/b", 1), (f"{root}/c", 2)])
        return [reason.value for reason in reader.answer("subscribe")[1]]


@cells.add("subscribe: overlapping filters")
def overlapping(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(f"{root}/#", 1)
        reader.subscribe(f"{root}/a", 2)
        writer.publish(f"{root}/a", b"x", 2)
        first = reader.take()
        return [[each[1] for each in first], quiet(reader, writer, f"{root}/b")]


@cells.add("unsubscribe: and nothing more")
def unsubscribe(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(f"{root}/a")
        reader.subscribe(f"{root}/b")
        reader.client.unsubscribe(f"{root}/a")
        codes = [getattr(reason, "value", reason) for reason in reader.answer("unsubscribe")[1] or []]
        writer.publish(f"{root}/a", b"unseen")
        return [codes, quiet(reader, writer, f"{root}/b")]


@cells.add("retained: kept, replaced, removed")
def retained(place: Place) -> object:
    topic = place.name("topic")

    def look() -> list[Any]:
        with Peer(place) as reader, Peer(place) as writer:
            reader.subscribe(f"{topic}/#")
            writer.publish(f"{topic}/end", b"end")
            found = []
            while (message := reader.messages.get(timeout=WAIT_S)).payload != b"end":
                found.append(shown(message))
            return found

    with Peer(place) as writer:
        writer.publish(f"{topic}/a", b"first", 1, True)
        writer.publish(f"{topic}/a", b"second", 1, True)
        writer.publish(f"{topic}/b", b"other", 0, True)
        seen = [sorted(look())]
        writer.publish(f"{topic}/a", b"", 1, True)
        return [*seen, look()]


@cells.add("retained: live deliveries are not flagged")
def retained_live(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(topic)
        writer.publish(topic, b"x", 1, True)
        return reader.take()


@cells.add("will: sent when the connection vanishes")
def will(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader:
        reader.subscribe(topic)
        dying = Peer(place)
        dying.client.will_set(topic, b"gone", 1, False)
        dying.start().vanish()
        return reader.take()


@cells.add("will: not after a disconnect")
def no_will(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(topic)
        leaving = Peer(place)
        leaving.client.will_set(topic, b"gone", 1, False)
        leaving.start().stop()
        return quiet(reader, writer, topic)


@cells.add("session: resumed with what was missed")
def resume(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    expiry: dict[str, Any] = {"SessionExpiryInterval": 100} if place.variant == "5" else {}
    with Peer(place, name, clean=False).start(**expiry) as reader:
        reader.subscribe(topic, 1)
        first = reader.connack[0].session_present
    with Peer(place) as writer:
        for number in range(3):
            writer.publish(topic, b"%d" % number, 1)
        writer.publish(topic, b"at most once", 0)
    with Peer(place, name, clean=False).start(**expiry) as reader:
        return [first, reader.connack[0].session_present, [each[1] for each in reader.take(3)]]


@cells.add("session: a clean start forgets")
def clean(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    expiry: dict[str, Any] = {"SessionExpiryInterval": 100} if place.variant == "5" else {}
    with Peer(place, name, clean=False).start(**expiry) as reader:
        reader.subscribe(topic)
    with Peer(place, name, clean=True) as reader:
        seen = [reader.connack[0].session_present]
    with Peer(place, name, clean=False).start(**expiry) as reader:
        return [*seen, reader.connack[0].session_present]


@cells.add("session: taken over")
def take_over(place: Place) -> object:
    name = place.name("c")
    first = Peer(place, name).start()
    first.client.reconnect_delay_set(30, 60)
    with Peer(place, name):
        reason = first.answer("disconnect")[1]
        first.client.loop_stop()
        return [reason.value if place.variant == "5" else reason.is_failure]


@cells.add("session: what was not acknowledged comes again")
def redelivered(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    expiry: dict[str, Any] = {"SessionExpiryInterval": 100} if place.variant == "5" else {}
    reader = Peer(place, name, clean=False)
    reader.client.manual_ack_set(True)
    reader.start(**expiry)
    reader.subscribe(topic, 1)
    with Peer(place) as writer:
        writer.publish(topic, b"again", 1)
    first = reader.messages.get(timeout=WAIT_S)
    reader.vanish()
    with Peer(place, name, clean=False).start(**expiry) as reader:
        second = reader.messages.get(timeout=WAIT_S)
        return [first.payload, first.dup, second.payload, second.dup]


@cells.add("connect: an empty client identifier")
def empty_identifier(place: Place) -> object:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "", protocol=VERSIONS[place.variant])
    answers: queue.Queue[Any] = queue.Queue()
    client.on_connect = lambda client, data, flags, reason, properties: answers.put(
        (reason.value, hasattr(properties, "AssignedClientIdentifier"))
    )
    client.connect(place.host, place.port)
    client.loop_start()
    found = answers.get(timeout=WAIT_S)
    client.disconnect()
    client.loop_stop()
    return found


@cells.add("connect: keep alive")
def keep_alive(place: Place) -> object:
    with Peer(place, keepalive=1) as peer, Peer(place) as writer:
        topic = place.name("topic")
        peer.subscribe(topic)
        time.sleep(2.5)  # longer than one and a half keep alives: pings must have been answered
        writer.publish(topic)
        return [peer.take(), peer.client.is_connected()]


@cells.add("connect: silence ends the connection")
def silent(place: Place) -> object:
    name = {"3.1": b"\x00\x06MQIsdp\x03", "3.1.1": b"\x00\x04MQTT\x04", "5": b"\x00\x04MQTT\x05"}[place.variant]
    identifier = place.name("c").encode()
    body = (
        name
        + b"\x02\x00\x01"
        + (b"\x00" if place.variant == "5" else b"")
        + len(identifier).to_bytes(2, "big")
        + identifier
    )
    with socket.create_connection((place.host, place.port), timeout=WAIT_S) as connection:
        connection.sendall(bytes([0x10, len(body)]) + body)
        began = time.monotonic()
        while connection.recv(100):
            pass
        return 1.0 < time.monotonic() - began < WAIT_S


@cells.add("order: one publisher, one topic")
def order(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(topic, 2)
        for number in range(300):
            writer.client.publish(topic, b"%d" % number, 2)
        return [int(reader.messages.get(timeout=WAIT_S).payload) for _ in range(300)] == list(range(300))


@cells.add("topics: unusual names")
def unusual(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(f"{root}/#", 1)
        topics = (
            f"{root}/a b",
            f"{root}//",
            f"{root}/",
            f"{root}/é/☃",
            f"{root}/a.b",
            f"{root}/*/>",
            f"{root}/:x:",
            f"{root}/$x",
        )
        for topic in topics:
            writer.publish(topic)
        return [each[0] for each in reader.take(len(topics))]


@cells.add("topics: of the server itself")
def system_topics(place: Place) -> object:
    with Peer(place) as reader:
        reader.subscribe("$SYS/broker/version", 0)
        return [len(reader.messages.get(timeout=WAIT_S).payload) > 0]


@cells.add("topics: wildcards do not reach $ topics")
def dollar(place: Place) -> object:
    root = place.name("x")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe("#", 0)
        writer.client.publish(f"$private/{root}", b"hidden")
        writer.publish(root, b"shown")
        while True:
            topic = reader.messages.get(timeout=WAIT_S).topic
            if topic == root or topic.startswith("$"):
                return topic


@cells.add("properties: pass through unchanged", FIVE)
def properties(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(topic)
        writer.publish(
            topic, UserProperty=[("b", "2"), ("a", "1"), ("b", "3")], ContentType="text/plain", PayloadFormatIndicator=1,
            ResponseTopic="answers", CorrelationData=b"\x00\x01",
        )  # fmt: skip
        return told(reader.messages.get(timeout=WAIT_S).properties)


@cells.add("properties: of CONNACK", FIVE)
def connack(place: Place) -> object:
    with Peer(place) as peer:
        found = told(peer.connack[2])
        return sorted(found)


@cells.add("properties: a message expires", FIVE)
def message_expiry(place: Place) -> object:
    topic, name = place.name("topic"), place.name("c")
    with Peer(place, name, clean=False).start(SessionExpiryInterval=100) as reader:
        reader.subscribe(topic)
    with Peer(place) as writer:
        writer.publish(topic, b"short", MessageExpiryInterval=1)
        writer.publish(topic, b"long", MessageExpiryInterval=1000)
    time.sleep(1.6)  # the message's lifetime is counted in seconds
    with Peer(place, name, clean=False).start(SessionExpiryInterval=100) as reader:
        message = reader.messages.get(timeout=WAIT_S)
        return [message.payload, 990 < message.properties.MessageExpiryInterval < 1000]


@cells.add("properties: a session expires", FIVE)
def session_expiry(place: Place) -> object:
    name = place.name("c")
    seen = []
    for expiry, wait_s in ((1, 2.2), (100, 0.0), (100, 0.0)):
        with Peer(place, name, clean=False).start(SessionExpiryInterval=expiry) as peer:
            seen.append(peer.connack[0].session_present)
        time.sleep(wait_s)  # the session's lifetime is counted in seconds
    return seen


@cells.add("properties: a will with a delay", FIVE)
def will_delay(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader:
        reader.subscribe(topic)
        dying = Peer(place)
        dying.client.will_set(
            topic,
            b"gone",
            1,
            False,
            properties_of(PacketTypes.WILLMESSAGE, WillDelayInterval=1, UserProperty=("a", "1")),
        )
        dying.start(SessionExpiryInterval=100).vanish()
        message = reader.messages.get(timeout=WAIT_S)
        return [message.payload, told(message.properties)]


@cells.add("properties: topic alias of the client", FIVE)
def topic_alias(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(topic)
        writer.publish(topic, b"one", TopicAlias=1)
        writer.client.publish("", b"two", 1, properties=properties_of(PacketTypes.PUBLISH, TopicAlias=1))
        return reader.take(2)


@cells.add("properties: receive maximum of the client", FIVE)
def receive_maximum(place: Place) -> object:
    topic = place.name("topic")
    reader = Peer(place)
    reader.client.manual_ack_set(True)
    reader.start(ReceiveMaximum=2)
    with reader, Peer(place) as writer:
        reader.subscribe(topic)
        for number in range(4):
            writer.publish(topic, b"%d" % number)
        first = [reader.messages.get(timeout=WAIT_S) for _ in range(2)]
        writer.publish(topic, b"unheld", 0)
        reader.client.ack(first[0].mid, 1)
        reader.client.ack(first[1].mid, 1)
        rest = [reader.messages.get(timeout=WAIT_S) for _ in range(3)]
        return [[m.payload for m in first], sorted(m.payload for m in rest)]


@cells.add("properties: maximum packet size of the client", FIVE)
def maximum_packet(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place).start(MaximumPacketSize=100) as reader, Peer(place) as writer:
        reader.subscribe(topic)
        writer.publish(topic, b"x" * 500)
        writer.publish(topic, b"small")
        return reader.take()


@cells.add("properties: request and response", FIVE)
def request_response(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as server, Peer(place) as asker:
        server.subscribe(f"{root}/requests")
        asker.subscribe(f"{root}/answers")
        asker.publish(f"{root}/requests", b"?", ResponseTopic=f"{root}/answers", CorrelationData=b"7")
        request = server.messages.get(timeout=WAIT_S).properties
        server.publish(request.ResponseTopic, b"!", CorrelationData=request.CorrelationData)
        message = asker.messages.get(timeout=WAIT_S)
        return [message.payload, message.properties.CorrelationData]


@cells.add("options: no local, retain as published, retain handling", FIVE)
def options(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as peer, Peer(place) as other:
        other.publish(f"{root}/r", b"kept", 1, True)
        peer.subscribe(f"{root}/n", 1, {"noLocal": True})
        peer.publish(f"{root}/n", b"mine")
        other.publish(f"{root}/n", b"theirs")
        seen: list[Any] = [peer.take()]
        peer.subscribe(f"{root}/p", 1, {"retainAsPublished": True})
        other.publish(f"{root}/p", b"flagged", 1, True)
        seen.append(peer.take())
        peer.subscribe(f"{root}/r", 1, {"retainHandling": 2})
        seen.append(quiet(peer, other, f"{root}/n"))
        peer.subscribe(f"{root}/r", 1, {"retainHandling": 1})
        seen.append(quiet(peer, other, f"{root}/n"))
        peer.subscribe(f"{root}/r", 1, {"retainHandling": 0})
        return [*seen, peer.take()]


@cells.add("options: subscription identifiers", FIVE)
def identifiers(place: Place) -> object:
    root = place.name("root")
    with Peer(place) as reader, Peer(place) as writer:
        reader.subscribe(f"{root}/#", 1, None, SubscriptionIdentifier=5)
        reader.subscribe(f"{root}/b", 1, None, SubscriptionIdentifier=7)
        writer.publish(f"{root}/a")
        first = reader.messages.get(timeout=WAIT_S)
        writer.publish(f"{root}/b")
        found = list(reader.messages.get(timeout=WAIT_S).properties.SubscriptionIdentifier)
        if len(found) == 1:  # a copy for each subscription
            found += reader.messages.get(timeout=WAIT_S).properties.SubscriptionIdentifier
        return [list(first.properties.SubscriptionIdentifier), sorted(found)]


@cells.add("shared: subscriptions share the work", FIVE)
def shared(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as one, Peer(place) as two, Peer(place) as writer:
        granted = [each.subscribe(f"$share/group/{topic}") for each in (one, two)]
        for number in range(100):
            writer.client.publish(topic, b"%d" % number, 1)
        deadline = time.monotonic() + WAIT_S
        while one.messages.qsize() + two.messages.qsize() < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        shares = one.messages.qsize(), two.messages.qsize()
        return [granted, sum(shares), min(shares) > 10]


@cells.add("reasons: no matching subscribers, unknown filters", FIVE)
def reasons(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as peer:
        codes = [peer.publish(topic, b"x", 1), peer.publish(topic, b"x", 2)]
        peer.client.unsubscribe(topic)
        return [codes, [reason.value for reason in peer.answer("unsubscribe")[1]]]


@cells.add("reasons: disconnect with will", FIVE)
def disconnect_with_will(place: Place) -> object:
    topic = place.name("topic")
    with Peer(place) as reader:
        reader.subscribe(topic)
        leaving = Peer(place)
        leaving.client.will_set(topic, b"gone", 1, False)
        leaving.start()
        leaving.client.disconnect(mqtt.ReasonCodes(PacketTypes.DISCONNECT, "Disconnect with will message"))
        leaving.client.loop_stop()
        return reader.take()


@cells.add("reasons: a topic alias that is too high", FIVE)
def bad_alias(place: Place) -> object:
    with Peer(place) as peer:
        peer.client.reconnect_delay_set(30, 60)
        peer.client.publish(
            place.name("topic"), b"x", 1, properties=properties_of(PacketTypes.PUBLISH, TopicAlias=60_000)
        )
        return peer.answer("disconnect")[1].value


@cells.add("transport: WebSocket")
def websocket(place: Place) -> object:
    address = place.option("websocket", "the target has no WebSocket listener")
    topic = place.name("topic")
    with Peer(place, transport="websockets").start(address) as peer, Peer(place) as writer:
        granted = peer.subscribe(topic, 2)
        writer.publish(topic, b"x" * 70_000, 2)
        peer.publish(topic, b"back", 2)
        return [granted, [len(each[1]) for each in peer.take(2)]]


@cells.add("security: user and password")
def users(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    seen = []
    for user, password in (
        (place.options["user"], place.options["password"]),
        (place.options["user"], "wrong"),
        (None, None),
    ):
        peer = Peer(place)
        peer.client.reconnect_delay_set(30, 60)
        if user:
            peer.client.username_pw_set(user, password)
        peer.start(address)
        seen.append(peer.connack[1].value)
        peer.stop()
    return seen


@cells.add("security: topics that are forbidden")
def forbidden(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    peer = Peer(place)
    peer.client.username_pw_set(place.options["user"], place.options["password"])
    with peer.start(address):
        return [
            peer.subscribe("forbidden/topic"),
            peer.publish("forbidden/topic", b"x", 1) if place.variant == "5" else None,
        ]
