"""Scripts of all four protocols run twice: every port call answered at once, and every one delayed and reordered.

What a client is told may not depend on it. Each script is pipelined as far as its protocol allows: a session that takes an
answer for granted before its call returns mixes up, loses or hangs there.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

import pytest

from conformance.far_harness import FarHarness
from conformance.harness import Client, Harness
from conformance.simulated_peers import FETCH, INIT_PRODUCER_ID, PRODUCE, Book, KafkaPeer, _batch
from protocols.mqtt import packets as mqtt
from protocols.mqtt.wire import encode
from thalweg.travellers import objects

Script = Callable[[Harness], list[bytes]]
SEEDS = range(6)


def say(*words: object) -> bytes:
    """A command as Redis clients write it."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def resp_script(harness: Harness) -> list[bytes]:
    one, two = harness.connect("resp"), harness.connect("resp")
    one.send(
        b"".join(
            [say("SET", "k", "v"), say("GET", "k"), say("INCR", "n"), say("INCR", "n"), say("NOSUCH"), say("GET"),
             say("RPUSH", "l", "a", "b"), say("LRANGE", "l", 0, -1), say("HSET", "h", "f", "v"), say("HGETALL", "h"),
             say("SADD", "s", "m"), say("ZADD", "z", 1, "m"), say("ZSCORE", "z", "m"), say("INCR", "k"), say("PING")]
        )
    )  # fmt: skip
    told = [one.read()]
    one.send(say("MULTI") + say("INCR", "n") + say("LPUSH", "k", "x") + say("GET", "n") + say("EXEC") + say("GET", "n"))
    told.append(one.read())
    one.send(say("WATCH", "n") + say("MULTI"))
    two.send(say("SET", "n", 9))
    one.send(say("INCR", "n") + say("EXEC") + say("GET", "n"))
    told += [one.read(), two.read()]
    two.send(say("SUBSCRIBE", "chat") + say("PSUBSCRIBE", "ch*"))
    one.send(say("PUBLISH", "chat", "hi"))
    told += [one.read(), two.read()]
    one.send(say("BLPOP", "queue", 0) + say("GET", "k"))
    told.append(one.read())
    three = harness.connect("resp")
    three.send(say("RPUSH", "queue", "x"))
    return [*told, one.read(), three.read()]


def nats_script(harness: Harness) -> list[bytes]:
    one, two = harness.connect("nats"), harness.connect("nats")
    one.send(
        b'CONNECT {"verbose":true,"headers":true}\r\nPING\r\nSUB a.> 1\r\nSUB a.* q 2\r\nPUB a.b 2\r\nhi\r\nPING\r\n'
    )
    two.send(
        b'CONNECT {"verbose":false,"headers":true}\r\nSUB _INBOX.> 9\r\nPUB a.c 3\r\nyou\r\nPUB nobody 1\r\nx\r\nPING\r\n'
    )
    told = [one.read(), two.read()]
    config = b'{"name":"orders","subjects":["orders.>"],"storage":"file"}'
    two.send(b"PUB $JS.API.STREAM.CREATE.orders _INBOX.1 %d\r\n%s\r\nPING\r\n" % (len(config), config))
    told.append(two.read())
    two.send(b"".join(b"PUB orders.%d _INBOX.p%d 1\r\n%d\r\n" % (n, n, n) for n in range(5)) + b"PING\r\n")
    told.append(two.read())
    head = b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n"
    two.send(b"HPUB orders.x _INBOX.h %d %d\r\n%sx\r\n" % (len(head), len(head) + 1, head) * 2)
    told.append(two.read())
    config = b'{"stream_name":"orders","config":{"durable_name":"d","ack_policy":"explicit"}}'
    two.send(b"PUB $JS.API.CONSUMER.CREATE.orders.d _INBOX.c %d\r\n%s\r\n" % (len(config), config))
    two.send(b'PUB $JS.API.CONSUMER.MSG.NEXT.orders.d _INBOX.n 11\r\n{"batch":3}\r\n')
    told.append(two.read())
    one.send(b"UNSUB 1\r\nUNSUB 2\r\nPUB a.b 1\r\nx\r\nPUB orders.y 1\r\ny\r\nPING\r\n")
    return [*told, one.read(), two.read()]


def mqtt_script(harness: Harness) -> list[bytes]:
    one, two = harness.connect("mqtt"), harness.connect("mqtt")

    def tell(client: Client, *packets: object) -> bytes:
        client.send(b"".join(encode(packet, 4) for packet in packets))
        return client.read()

    told = [
        tell(one, mqtt.Connect(4, False, 30, b"one"), mqtt.Subscribe(1, ((b"a/#", 2), (b"b/+", 1), (b"c", 0)))),
        tell(
            two,
            mqtt.Connect(4, True, 30, b"two", mqtt.Will(b"a/will", b"gone", 1, False)),
            mqtt.Publish(b"a/1", b"zero"),
            mqtt.Publish(b"a/1", b"first", 1, packet_id=1),
            mqtt.Publish(b"a/2", b"second", 2, packet_id=2),
            mqtt.Publish(b"b/1", b"kept", 1, True, packet_id=3),
            mqtt.Acknowledge(mqtt.PUBREL, 2),
        ),
        one.read(),
    ]
    told.append(tell(one, mqtt.Acknowledge(mqtt.PUBACK, 1), mqtt.Acknowledge(mqtt.PUBREC, 2)))
    one.close()
    told.append(
        tell(
            two,
            mqtt.Publish(b"a/3", b"later", 2, packet_id=9),
            mqtt.Publish(b"a/3", b"later", 2, dup=True, packet_id=9),
        )
    )
    again = harness.connect("mqtt")
    told.append(tell(again, mqtt.Connect(4, False, 30, b"one")))
    told.append(tell(again, mqtt.Subscribe(5, ((b"b/#", 1),))))
    two.close()
    return [*told, again.read()]


class Asker(KafkaPeer):
    """Requests, and the bytes of their answers."""

    def __init__(self, client: Client) -> None:
        super().__init__("asker", Book(), random.Random(0))
        self.client = client
        self.asking = bytearray()
        self.say = self.asking.__iadd__

    def told(self) -> bytes:
        data = bytes(self.asking)
        self.asking.clear()
        self.client.send(data)
        return self.client.read()


def kafka_script(harness: Harness) -> list[bytes]:
    one = Asker(harness.connect("kafka"))
    one.ask(3, 5, one.make(3, topics=[one.make(3, "topics", name="ev")], allow_auto_topic_creation=True))
    told = [one.told()]
    one.ask(INIT_PRODUCER_ID, 1, one.make(INIT_PRODUCER_ID, transactional_id=None, transaction_timeout_ms=60_000))
    told.append(one.told())
    for sequence, values in ((0, [b"a", b"b"]), (2, [b"c"]), (2, [b"c"]), (9, [b"gap"])):
        partition = one.make(PRODUCE, "topic_data", "partition_data", index=0, records=_batch(values, 1, sequence))
        topic = one.make(PRODUCE, "topic_data", name="ev", partition_data=[partition])
        one.ask(PRODUCE, 8, one.make(PRODUCE, transactional_id=None, acks=-1, timeout_ms=100, topic_data=[topic]))
        told.append(one.told())
        if sequence == 2:  # not in one go with the Produce: whether it sees that record is nobody's promise
            partition = one.make(
                FETCH, "topics", "partitions", partition=0, fetch_offset=0, partition_max_bytes=1 << 20
            )
            topic = one.make(FETCH, "topics", topic="ev", partitions=[partition])
            one.ask(FETCH, 11, one.make(FETCH, max_wait_ms=0, min_bytes=0, max_bytes=1 << 20, topics=[topic]))
        told.append(one.told())
    partition = one.make(2, "topics", "partitions", partition_index=0, timestamp=-1)
    one.ask(
        2,
        5,
        one.make(
            2, replica_id=-1, isolation_level=0, topics=[one.make(2, "topics", name="ev", partitions=[partition])]
        ),
    )
    told.append(one.told())
    return told


SCRIPTS: dict[str, Script] = {"resp": resp_script, "nats": nats_script, "mqtt": mqtt_script, "kafka": kafka_script}


def comparable(protocol: str, told: list[bytes]) -> list[bytes]:
    """Without what differs from run to run: times, random names; and, where nobody promises an order between a delivery
    and an answer, in one order."""
    if protocol == "nats":
        plain = [re.sub(rb'"(ts|created|time|timestamp)":"[^"]*"', b'"when"', part) for part in told]
        plain = [re.sub(rb"\$JS\.ACK\.([^ ]*)\.\d{19}\.", rb"$JS.ACK.\1.when.", part) for part in plain]
        plain = [re.sub(rb"(MSG [^\r]*) \d+\r\n\{", rb"\1 size\r\n{", part) for part in plain]
        plain = [re.sub(rb"^INFO [^\r]*\r\n", b"", part) for part in plain]
        return [b"\r\n".join(sorted(part.split(b"\r\n"))) for part in plain]
    if protocol == "kafka":
        return [re.sub(rb"thalweg-\S+", b"", part) for part in told]
    return told


@pytest.mark.parametrize("protocol", SCRIPTS)
def test_a_client_is_told_the_same_whether_or_not_answers_are_delayed(protocol):
    script = SCRIPTS[protocol]
    at_once = comparable(protocol, script(Harness(seed=0)))
    assert all(at_once[:1]), "the script says something"
    for seed in SEEDS:
        delayed = comparable(protocol, script(Harness(seed=seed, delayed=True)))
        assert len(delayed) == len(at_once)
        for index, (one, other) in enumerate(zip(at_once, delayed, strict=True)):
            assert one == other, f"answer {index} of seed {seed}"


@pytest.mark.parametrize("protocol", SCRIPTS)
def test_a_client_is_told_the_same_when_the_sequencer_is_another_process(protocol):
    script = SCRIPTS[protocol]
    at_once = comparable(protocol, script(Harness(seed=0)))
    for seed in SEEDS:
        far = comparable(protocol, script(FarHarness(objects(), seed=seed)))
        for index, (one, other) in enumerate(zip(at_once, far, strict=True)):
            assert one == other, f"answer {index} of seed {seed}"


@pytest.mark.parametrize("protocol", SCRIPTS)
def test_a_client_is_told_the_same_however_its_bytes_are_cut(protocol, monkeypatch):
    script = SCRIPTS[protocol]
    at_once = comparable(protocol, script(Harness(seed=0)))
    whole = Client.send
    for seed in SEEDS:
        chance = random.Random(seed)

        def cut(self, data, run=True, chance=chance):
            at = 0
            while at < len(data):
                size = chance.choice((1, 2, 7, 40, 1000))
                whole(self, data[at : at + size], chance.random() < 0.5)
                at += size
            whole(self, b"", run)

        monkeypatch.setattr(Client, "send", cut)
        assert comparable(protocol, script(Harness(seed=0))) == at_once, f"seed {seed}"


def test_the_scripts_speak_to_a_gateway_that_knows_them():
    """Not one error where none is meant: a script that is refused compares nothing."""
    told = b"".join(nats_script(Harness()))
    assert told.count(b'"error"') == 0 and told.count(b'"seq"') >= 6 and b"-ERR" not in told
    told = b"".join(kafka_script(Harness()))
    assert b"ev" in told and struct.pack(">h", 45) in told
