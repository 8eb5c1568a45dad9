"""Random messages of the four protocols for ``conformance.fuzz``: mostly right, from few names, so that they meet.

``swells`` of each grammar are messages of growing size whose cost must grow with it: what is quadratic (or worse) in a
codec, a pattern or a table shows there.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import crc32c

from conformance.bad_clients import mqtt_packet, mqtt_text, number16, number32
from protocols.kafka.codec import Codecs
from protocols.kafka.schema import APIS, Field
from protocols.resp.commands import TABLE

WORDS = (
    b"a",
    b"b",
    b"orders",
    b"eu",
    b"42",
    b"k1",
    b"k2",
    b"k3",
    b"x" * 40,
    "näme".encode(),
    b"",
    b"%",
    b"%2F",
    b"_thalweg",
)
NUMBERS = (0, 1, 2, 3, 10, 100, -1, 65535, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**64)
Swell = Callable[[int], bytes]


class Grammar:
    """One protocol: what opens a connection, and what may be said on it."""

    protocol = ""
    swells: Mapping[str, Swell]

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def opening(self) -> bytes:
        raise NotImplementedError

    def message(self) -> bytes:
        raise NotImplementedError

    def word(self) -> bytes:
        return self.chance.choice(WORDS)

    def number(self) -> int:
        return self.chance.choice(NUMBERS) if self.chance.random() < 0.5 else self.chance.randrange(20)

    def payload(self) -> bytes:
        return self.chance.randbytes(self.chance.choice((0, 1, 5, 100, 3000)))


class NatsGrammar(Grammar):
    protocol = "nats"
    swells = {
        "a subject of many tokens": lambda n: b"PUB " + b".".join([b"a"] * min(n, 1500)) + b" 1\r\nx\r\n",
        "many small messages": lambda n: b"PUB a.b 1\r\nx\r\n" * n,
        "many subscriptions": lambda n: b"".join(b"SUB s.%d.* %d\r\n" % (i, i) for i in range(n)),
        "many subscriptions of one subject": lambda n: b"".join(b"SUB a %d\r\n" % i for i in range(n)) + b"PUB a 0\r\n\r\n",
        "many headers": lambda n: nats_headers(b"".join(b"h%d: v\r\n" % i for i in range(n))),
        "many distinct subjects": lambda n: b"".join(b"PUB d.%d 0\r\n\r\n" % i for i in range(n)),
        "pings": lambda n: b"PING\r\n" * n,
        "one large payload": lambda n: b"PUB a %d\r\n" % (n * 100) + bytes(n * 100) + b"\r\n",
        "unsubscribes of nothing": lambda n: b"UNSUB 999999\r\n" * n,
        "requests to the JetStream API": lambda n: b"PUB $JS.API.STREAM.NAMES r 0\r\n\r\n" * (n // 10),
    }  # fmt: skip

    def opening(self) -> bytes:
        options = {
            name: self.chance.random() < 0.3 for name in ("verbose", "pedantic", "echo", "headers", "no_responders")
        }
        return b"CONNECT " + json.dumps({**options, "protocol": 1, "lang": "x"}).encode() + b"\r\n"

    def subject(self, wanted: bool = False) -> bytes:
        if self.chance.random() < 0.5:
            return self.chance.choice(
                (b"orders.eu", b"orders.>", b"orders.*", b">") if wanted else (b"orders.eu", b"orders")
            )
        if self.chance.random() < 0.2:
            return self.chance.choice(
                (b">", b"*", b"a.>", b"*.b", b"a..b", b".", b"a.", b"_INBOX.x.1", b"a b", b"\xff\xfe")
            )
        return b".".join(self.word() or b"e" for _ in range(self.chance.randrange(1, 5)))

    def message(self) -> bytes:
        chance = self.chance
        kind = chance.randrange(12)
        if kind < 3:
            queue = b" q" if chance.random() < 0.3 else b""
            return b"SUB " + self.subject(wanted=True) + queue + b" %d\r\n" % chance.randrange(6)
        if kind == 3:
            return b"UNSUB %d" % chance.randrange(6) + chance.choice((b"", b" 1", b" 5", b" -1")) + b"\r\n"
        if kind in (4, 5, 6):
            reply = b" _INBOX.x.1" if chance.random() < 0.3 else b""
            data = self.payload()
            return b"PUB " + self.subject() + reply + b" %d\r\n" % len(data) + data + b"\r\n"
        if kind == 7:
            names = (
                b"Nats-Msg-Id",
                b"Nats-Expected-Last-Sequence",
                b"Nats-Expected-Last-Msg-Id",
                b"Nats-Rollup",
                self.word(),
            )
            lines = b"".join(chance.choice(names) + b": " + self.word() + b"\r\n" for _ in range(chance.randrange(4)))
            return nats_headers(lines, self.subject(), self.payload())
        if kind == 8:
            return chance.choice(
                (b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"INFO {}\r\n", b"ping\r\n", b"\r\n", self.opening())
            )
        return self.request()

    def request(self) -> bytes:
        chance = self.chance
        stream, consumer = chance.choice(("S", "T", "orders", "x.y", "")), chance.choice(("c", "d", ""))
        api = chance.choice(
            (
                "INFO", "STREAM.CREATE.{s}", "STREAM.UPDATE.{s}", "STREAM.INFO.{s}", "STREAM.DELETE.{s}", "STREAM.PURGE.{s}",
                "STREAM.NAMES", "STREAM.LIST", "STREAM.MSG.GET.{s}", "STREAM.MSG.DELETE.{s}", "DIRECT.GET.{s}",
                "CONSUMER.CREATE.{s}", "CONSUMER.CREATE.{s}.{c}", "CONSUMER.DURABLE.CREATE.{s}.{c}", "CONSUMER.INFO.{s}.{c}",
                "CONSUMER.LIST.{s}", "CONSUMER.NAMES.{s}", "CONSUMER.DELETE.{s}.{c}", "CONSUMER.MSG.NEXT.{s}.{c}", "NOPE.{s}",
            )
        ).format(s=stream, c=consumer)  # fmt: skip
        config: dict[str, Any] = {
            "name": stream, "subjects": [f"{stream.lower()}.>"], "storage": chance.choice(("file", "memory", "tape")),
            "retention": chance.choice(("limits", "interest", "workqueue", 5)), "max_msgs": self.number(),
            "max_age": self.number(), "num_replicas": chance.choice((1, 3, "x")), "discard": chance.choice(("old", "new")),
        }  # fmt: skip
        wanted: dict[str, Any] = {
            "stream_name": stream,
            "config": {
                "durable_name": consumer, "ack_policy": chance.choice(("none", "all", "explicit", "odd")),
                "deliver_policy": chance.choice(("all", "last", "new", "by_start_sequence")), "opt_start_seq": self.number(),
                "ack_wait": self.number(), "max_deliver": self.number(), "filter_subject": chance.choice((">", "s.a", "")),
            },
        }  # fmt: skip
        pull: dict[str, Any] = {
            "batch": self.number(),
            "expires": self.number() * 1000,
            "no_wait": chance.random() < 0.5,
        }
        got: dict[str, Any] = {"seq": self.number(), "last_by_subj": "s.a"}
        body = json.dumps(chance.choice((config, wanted, pull, got, {}, [], 5, None))).encode()
        if chance.random() < 0.1:
            body = self.payload()
        return b"PUB $JS.API.%b _INBOX.x.1 %d\r\n%b\r\n" % (api.encode(), len(body), body)


def nats_headers(lines: bytes, subject: bytes = b"a.b", payload: bytes = b"x") -> bytes:
    head = b"NATS/1.0\r\n" + lines + b"\r\n"
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(head), len(head) + len(payload), head, payload)


class MqttGrammar(Grammar):
    protocol = "mqtt"
    swells = {
        "a topic of many levels": lambda n: mqtt_packet(0x30, mqtt_text(b"/".join([b"a"] * min(n, 30_000))) + b"x"),
        "a filter of many levels": lambda n: mqtt_filters([b"/".join([b"+"] * min(n, 30_000))]),
        "many filters": lambda n: mqtt_filters([b"f/%d/+" % i for i in range(n)]),
        "many small messages": lambda n: mqtt_packet(0x30, mqtt_text(b"a/b") + b"x") * n,
        "many messages at QoS 1": lambda n: b"".join(
            mqtt_packet(0x32, mqtt_text(b"a/b") + number16(i % 65535 + 1) + b"x") for i in range(n)
        ),
        "many messages at QoS 2": lambda n: b"".join(
            mqtt_packet(0x34, mqtt_text(b"a/b") + number16(i % 65535 + 1) + b"x") for i in range(min(n, 2000))
        ),
        "many retained messages": lambda n: b"".join(mqtt_packet(0x31, mqtt_text(b"r/%d" % i) + b"x") for i in range(n)),
        "pings": lambda n: b"\xc0\x00" * n,
        "acknowledgements of nothing": lambda n: b"\x40\x02\x00\x07" * n,
        "one large payload": lambda n: mqtt_packet(0x30, mqtt_text(b"a/b") + bytes(n * 100)),
    }  # fmt: skip

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.version = chance.choice((3, 4, 5))

    def properties(self, *known: bytes) -> bytes:
        """Of MQTT 5, sometimes wrong; nothing below."""
        if self.version < 5:
            return b""
        parts = b"".join(self.chance.choice(known) for _ in range(self.chance.randrange(3))) if known else b""
        if self.chance.random() < 0.03:
            parts += self.chance.randbytes(3)
        return bytes([len(parts) & 127]) + parts

    def opening(self) -> bytes:
        chance = self.chance
        flags = chance.choice((0, 2, 2, 2, 0x80, 0xC2))
        level = self.version if chance.random() < 0.97 else 6
        name = mqtt_text(b"MQIsdp" if self.version == 3 else b"MQTT")
        body = name + bytes([level]) if chance.random() < 0.98 else name[:-1] + bytes([level])
        will = chance.random() < 0.3
        body += bytes(
            [flags | (0x04 | chance.choice((0, 8, 0x10, 0x20, 0, 8, 0x10, 0x20, 0x28, 0x30, 0x18)) if will else 0)]
        )
        body += number16(chance.choice((0, 1, 60)))
        body += self.properties(
            b"\x11\x00\x00\x00\x10",
            b"\x21\x00\x05",
            b"\x22\x00\x05",
            b"\x27\x00\x00\x10\x00",
            b"\x26\x00\x01a\x00\x01b",
        )
        body += mqtt_text(chance.choice((b"", b"c1", b"c2", b"c3")))
        if will:
            body += (
                self.properties(b"\x18\x00\x00\x00\x01", b"\x01\x01", b"\x03\x00\x01t")
                + mqtt_text(self.topic())
                + mqtt_text(self.payload())
            )
        if flags & 0x80:
            body += mqtt_text(b"user")
        if flags & 0x40:
            body += mqtt_text(b"secret")
        return mqtt_packet(0x10, body)

    def topic(self) -> bytes:
        if self.chance.random() < 0.5:
            return self.chance.choice((b"orders/eu", b"orders"))
        return b"/".join(self.word() for _ in range(self.chance.randrange(1, 4))) or b"t"

    def filter(self) -> bytes:
        if self.chance.random() < 0.5:
            return self.chance.choice((b"orders/#", b"orders/+", b"#", b"orders/eu"))
        if self.chance.random() < 0.5:
            return self.chance.choice(
                (b"#", b"+", b"a/#", b"+/b", b"a/+/b", b"#/a", b"a#", b"$SYS/#", b"$share/g/a/#", b"$share//a", b"")
            )
        return self.topic()

    def message(self) -> bytes:
        chance = self.chance
        kind = chance.randrange(13)
        number = number16(chance.randrange(1, 8) if chance.random() < 0.98 else 0)
        if kind < 3:
            body = number + self.properties(b"\x0b\x05", b"\x0b\x07", b"\x26\x00\x01a\x00\x01b")
            for _ in range(chance.choice((0, *range(1, 4), *range(1, 4), *range(1, 4), *range(1, 4)))):
                body += mqtt_text(self.filter()) + bytes(
                    [chance.choice((0, 1, 2, 0, 1, 2, 1, 2, 0, 1, 2, 1, 3, 4, 0x2E))]
                )
            return mqtt_packet(0x82, body)
        if kind == 3:
            return mqtt_packet(0xA2, number + self.properties() + mqtt_text(self.filter()))
        if kind < 8:
            qos = chance.choice((0, 0, 1, 1, 2, 2)) if chance.random() < 0.98 else 3
            first = (
                0x30
                | qos << 1
                | chance.choice((0, 0, 1))
                | (chance.choice((0, 0, 8)) if qos or chance.random() < 0.05 else 0)
            )
            known = (
                b"\x01\x01",
                b"\x02\x00\x00\x00\x01",
                b"\x08\x00\x01r",
                b"\x09\x00\x01c",
                b"\x23\x00\x01",
                b"\x26\x00\x01a\x00\x01b",
            )
            return mqtt_packet(
                first, mqtt_text(self.topic()) + (number if qos else b"") + self.properties(*known) + self.payload()
            )
        if kind < 11:
            first = chance.choice((0x40, 0x50, 0x62, 0x70) * 10 + (0x60,))
            return mqtt_packet(
                first,
                number
                + (b"" if self.version < 5 or chance.random() < 0.7 else bytes([chance.choice((0, 0x10, 0x92, 0xFF))])),
            )
        if chance.random() < 0.7:
            return b"\xc0\x00"
        return chance.choice(
            (
                b"\xc0\x00",
                b"\xe0\x00",
                b"\xf0\x00",
                b"\xe0\x02\x04\x00",
                b"\x00\x00",
                b"\x20\x02\x00\x00",
                self.opening(),
            )
        )


def mqtt_filters(filters: list[bytes]) -> bytes:
    return mqtt_packet(0x82, b"\x00\x01" + b"".join(mqtt_text(one) + b"\x00" for one in filters))


COMMANDS = (
    *(line.split(" | ")[0] for line in TABLE.splitlines() if " | " in line and not line.startswith("==")),
    "nosuch",
)
"""Every command and subcommand that the table has."""
OPTIONS = (
    "EX PX EXAT PXAT KEEPTTL NX XX GT LT GET CH INCR MATCH COUNT TYPE LIMIT WITHSCORES WITHVALUES BYSCORE BYLEX REV LEFT RIGHT "
    "BEFORE AFTER WEIGHTS AGGREGATE SUM MIN MAX STREAMS BLOCK MAXLEN MINID NOMKSTREAM ~ = * - + $ > ( [a (1 [ -inf +inf nan 0-0 "
    "1-1 5-* 3 2 SETNAME SETINFO LIST INFO KILL ID REPLY ON OFF SKIP appendfsync always everysec CREATE DOCS CHANNELS NUMSUB "
    "string hash a* *a* [a-c]* [^a \\ ? 1.5 1e400 -0 0x10 999999999999999999999 REPLACE DB ANY STORE ASYNC GROUP MKSTREAM "
    "ENTRIESREAD NOACK JUSTID FORCE RETRYCOUNT IDLE DESTROY SETID CREATECONSUMER DELCONSUMER STREAM GROUPS CONSUMERS BY ALPHA DESC "
    "AND OR XOR NOT BYTE BIT u8 i64 #1 OVERFLOW WRAP SAT FAIL m km FROMMEMBER FROMLONLAT BYRADIUS BYBOX ASC COUNT WITHDIST IDX "
    "notify-keyspace-events KEA __keyspace@0__:a __keyevent@0__:* requirepass maxmemory"
)


class RespGrammar(Grammar):
    protocol = "resp"
    swells = {
        "a glob of many stars": lambda n: resp("SET", b"a" * 300, "v") + resp("KEYS", b"a*" * min(n // 100, 40) + b"b"),
        "many commands": lambda n: resp("SET", "k", "v") * n,
        "many keys in one command": lambda n: resp("MSET", *(f"k{i}" for i in range(n * 2))),
        "a list that grows": lambda n: resp("RPUSH", "l", "x") * n + resp("LRANGE", "l", "0", "-1") + resp("DEL", "l"),
        "a list taken from the middle": lambda n: resp("RPUSH", "l", *(str(i) for i in range(n))) + resp("LREM", "l", "0", "7") * 3,
        "a value that is appended to": lambda n: resp("APPEND", "s", "x" * 20) * n + resp("DEL", "s"),
        "a sorted set that grows": lambda n: b"".join(resp("ZADD", "z", str(i * 7919 % n), f"m{i}") for i in range(n)),
        "a stream that grows": lambda n: resp("XADD", "st", "*", "f", "v") * n + resp("XRANGE", "st", "-", "+", "COUNT", "10"),
        "inline commands": lambda n: b"PING\r\n" * n,
        "one large value": lambda n: resp("SET", "big", b"x" * (n * 100)),
        "a transaction": lambda n: resp("MULTI") + resp("INCR", "i") * n + resp("EXEC"),
        "many subscriptions": lambda n: b"".join(resp("SUBSCRIBE", f"c{i}") for i in range(n)),
        "many patterns": lambda n: b"".join(resp("PSUBSCRIBE", f"c{i}*") for i in range(n // 10)),
        "words that are no commands": lambda n: resp("NOSUCH", "x") * n,
    }  # fmt: skip

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.commands, self.options = COMMANDS, OPTIONS.split()
        self.crossing: tuple[Callable[[bytes], bytes], ...] = (
            lambda data: resp("PUBLISH", "orders:eu", data),
            lambda data: resp("PUBLISH", "orders", data),
            lambda data: resp("XADD", "orders", "*", "data", data, "h", "v"),
            lambda data: resp("XREAD", "COUNT", "5", "STREAMS", "orders", "0"),
            lambda data: resp("XRANGE", "orders", "-", "+"),
            lambda data: resp("XLEN", "orders") + resp("SUBSCRIBE", "orders:eu"),
            lambda data: resp("PSUBSCRIBE", "orders*"),
        )

    def opening(self) -> bytes:
        return self.chance.choice((b"", resp("HELLO", "3"), resp("HELLO", "2"), resp("CLIENT", "SETNAME", "x")))

    def message(self) -> bytes:
        chance = self.chance
        if chance.random() < 0.25:
            return chance.choice(self.crossing)(self.payload())
        words: list[bytes] = chance.choice(self.commands).replace("|", " ").encode().split()
        for _ in range(chance.randrange(6)):
            kind = chance.random()
            if kind < 0.4:
                words.append(self.word())
            elif kind < 0.6:
                words.append(b"%d" % self.number())
            elif kind < 0.9:
                words.append(chance.choice(self.options).encode())
            else:
                words.append(self.payload())
        if chance.random() < 0.1:
            return b" ".join(words) + b"\r\n"
        return resp(*words)


def resp(*words: str | bytes) -> bytes:
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded)


@functools.cache
def codecs() -> Codecs:
    """Generated at first use of each message, once."""
    return Codecs()


class KafkaGrammar(Grammar):
    """Requests of every API and version that the gateway speaks, made by its own codecs (``tests/kafka`` checks those)."""

    protocol = "kafka"
    swells = {
        "many topics in Metadata": lambda n: kafka_frame(3, 1, number32(n) + b"".join(mqtt_text(b"t%d" % i) for i in range(n)))
        if n < 300
        else kafka_frame(3, 4, number32(n) + b"".join(mqtt_text(b"t%d" % i) for i in range(n)) + b"\x00"),
        "one topic named many times": lambda n: kafka_frame(3, 4, number32(n) + mqtt_text(b"t") * n + b"\x00"),
        "many versions requests": lambda n: kafka_frame(18, 0, b"") * (n // 4),
        "a batch of many records": lambda n: kafka_produce([b"x" * 10] * n),
        "many small batches": lambda n: kafka_produce([b"x"]) * (n // 10),
        "a batch of one large record": lambda n: kafka_produce([bytes(n * 100)]),
        "many offsets to commit": lambda n: kafka_frame(
            8, 2, mqtt_text(b"g") + number32(-1) + mqtt_text(b"") + bytes(8) + number32(1) + mqtt_text(b"t") + number32(n)
            + b"".join(number32(i) + bytes(8) + b"\xff\xff" for i in range(n))
        ),
    }  # fmt: skip

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self.codecs = codecs()

    def opening(self) -> bytes:
        return kafka_frame(18, self.chance.choice((0, 2)), b"")

    def message(self) -> bytes:
        chance = self.chance
        if chance.random() < 0.15:
            return kafka_produce(
                [self.payload() for _ in range(chance.randrange(1, 5))], self.chance.choice((b"t", b"orders"))
            )
        api = chance.choice(list(APIS.values()))
        version = chance.randint(api.first, api.last)
        made = self.structure(api.request, version, "request", api.key)
        body = b"".join(bytes(part) for part in self.codecs.encode("request", api.key, version, made))
        header = number16(api.key) + number16(version) + number32(chance.randrange(100)) + mqtt_text(b"fuzz")
        if api.flexible(version):
            header += b"\x00"
        return number32(len(header) + len(body)) + header + body

    def structure(self, fields: tuple[Field, ...], version: int, *path: Any) -> Any:
        made = self.codecs.structure(*path)()
        for field in fields:
            if field.spoken(version) and (field.tag < 0 or self.chance.random() < 0.3):
                setattr(made, field.name, self.field(field, version, path))
        return made

    def field(self, field: Field, version: int, path: tuple[Any, ...]) -> Any:
        if field.nullable(version) and self.chance.random() < 0.2:
            return None
        if field.array:
            return [self.value(field, version, path) for _ in range(self.chance.choice((0, 1, 1, 2)))]
        return self.value(field, version, path)

    def value(self, field: Field, version: int, path: tuple[Any, ...]) -> Any:
        chance = self.chance
        if field.kind == "struct":
            return self.structure(field.fields, version, *path, field.name)
        if field.kind.startswith("int"):
            bits = int(field.kind[3:])
            number = self.number()
            return number if -(1 << bits - 1) <= number < 1 << bits - 1 else chance.randrange(3)
        if field.kind == "bool":
            return chance.random() < 0.5
        if field.kind == "string":
            return chance.choice(("t", "orders", "g", "a.b", "range", "consumer", "", "x" * 300))
        if field.kind == "uuid":
            return chance.randbytes(16)
        if field.kind == "records":
            return record_batch([self.payload()]) if chance.random() < 0.7 else self.payload()
        return self.payload()


def kafka_frame(api: int, version: int, body: bytes) -> bytes:
    frame = number16(api) + number16(version) + number32(7) + mqtt_text(b"fuzz") + body
    return number32(len(frame)) + frame


def kafka_produce(values: list[bytes], topic: bytes = b"t") -> bytes:
    """Produce v7, acks=all, one batch to partition 0."""
    batch = record_batch(values)
    head = b"\xff\xff" + number16(0xFFFF) + number32(30000) + number32(1) + mqtt_text(topic) + number32(1) + number32(0)
    return kafka_frame(0, 7, head + number32(len(batch)) + batch)


def record_batch(values: list[bytes]) -> bytes:
    """An uncompressed batch v2, written out."""
    records = b""
    parts = []
    for number, value in enumerate(values):
        body = b"\x00" + zigzag(0) + zigzag(number) + zigzag(-1) + zigzag(len(value)) + value + zigzag(0)
        parts.append(zigzag(len(body)) + body)
    records = b"".join(parts)
    now_ms = (1_790_000_000_000).to_bytes(8, "big")
    tail = number16(0) + number32(len(values) - 1) + now_ms + now_ms + b"\xff" * 8 + b"\xff" * 2 + b"\xff" * 4
    tail += number32(len(values)) + records
    return bytes(8) + number32(len(tail) + 9) + number32(-1) + b"\x02" + number32(crc32c.crc32c(tail)) + tail


def zigzag(number: int) -> bytes:
    value = number << 1 ^ number >> 63
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


GRAMMARS: dict[str, type[Grammar]] = {
    grammar.protocol: grammar for grammar in (KafkaGrammar, NatsGrammar, MqttGrammar, RespGrammar)
}
