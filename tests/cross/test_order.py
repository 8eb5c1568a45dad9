"""Writers on four protocols at once, readers on four: everybody sees everything, in one order."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from conformance.histories import check_same_order
from conformance.process import GatewayProcess
from conformance.stock_clients import (
    JetStreamReader,
    KafkaPublisher,
    KafkaReader,
    Message,
    MqttClient,
    NatsPublisher,
    Publisher,
    Reader,
    RespPublisher,
    RespReader,
    StreamPublisher,
    StreamReader,
    create_topic,
    split,
)

IDS_EACH = int(os.environ.get("CROSS_IDS", "10000")) // 4
IN_FLIGHT = 32
READ_S_MAX = 60.0


class WireNatsReader:
    """Two subscriptions of one NATS connection, in the order in which they come over the wire.

    (nats-py keeps a queue for each subscription: between two of them the order is lost inside the client.)
    """

    stream: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, address: str, *subjects: str) -> WireNatsReader:
        reader = cls()
        reader.stream, reader.writer = await asyncio.open_connection(*split(address))
        lines = "".join(f"SUB {subject} {number}\r\n" for number, subject in enumerate(subjects, 1))
        reader.writer.write(b'CONNECT {"verbose":false,"headers":true}\r\n' + lines.encode() + b"PING\r\n")
        while await reader.stream.readline() != b"PONG\r\n":
            pass
        return reader

    async def read(self, count: int, timeout_s: float) -> list[Message]:
        found: list[Message] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while len(found) < count:
                    operation, *words = (await self.stream.readline()).split()
                    if operation == b"PING":
                        self.writer.write(b"PONG\r\n")
                    elif operation in (b"MSG", b"HMSG"):
                        whole = (await self.stream.readexactly(int(words[-1]) + 2))[:-2]
                        head = int(words[-2]) if operation == b"HMSG" else 0
                        found.append(Message(whole[head:], words[0].decode()))
        return found

    async def close(self) -> None:
        self.writer.close()


async def write(publisher: Publisher, name: str, prefix: str, count: int) -> dict[bytes, int]:
    """``count`` ids with at most ``IN_FLIGHT`` not acknowledged; the positions that were told."""
    positions: dict[bytes, int] = {}
    room = asyncio.Semaphore(IN_FLIGHT)

    async def send(id: bytes) -> None:
        async with room:
            position = await publisher.publish(name, id)
            if position is not None:
                positions[id] = position

    await asyncio.gather(*(send(f"{prefix}-{number}".encode()) for number in range(count)))
    return positions


@pytest.mark.timeout(110)
async def test_every_reader_sees_every_record_of_four_writers_in_the_same_order(gateway: GatewayProcess) -> None:
    await create_topic(gateway.kafka, "orders")
    mqtt_writer = await MqttClient.connect(gateway.mqtt)
    mqtt_stored = await MqttClient.connect(gateway.mqtt)
    await mqtt_stored.subscribe("orders/#", qos=1)
    mqtt_live = await MqttClient.connect(gateway.mqtt, qos=0)
    await mqtt_live.subscribe("orders/#", qos=0)
    readers: dict[str, Reader] = {
        "nats": await WireNatsReader.connect(gateway.nats, "orders", "orders.>"),
        "jetstream": await JetStreamReader.connect(gateway.nats, "orders"),
        "mqtt at QoS 1": mqtt_stored,
        "mqtt at QoS 0": mqtt_live,
        "redis subscriber": await RespReader.connect(gateway.resp, "orders*"),
        "redis XREAD": StreamReader(gateway.resp, "orders"),
        "kafka while written": KafkaReader(gateway.kafka, "orders"),
    }
    writers: dict[str, tuple[Publisher, str]] = {
        "kafka": (KafkaPublisher(gateway.kafka), "orders"),
        "nats": (await NatsPublisher.connect(gateway.nats), "orders.eu.42"),
        "mqtt": (mqtt_writer, "orders/eu/42"),
        "xadd": (StreamPublisher(gateway.resp), "orders"),
        "publish": (RespPublisher(gateway.resp), "orders:eu:42"),
    }
    halves = {"xadd": IDS_EACH // 2, "publish": IDS_EACH - IDS_EACH // 2}
    total = 4 * IDS_EACH
    reading = {name: asyncio.create_task(reader.read(total, READ_S_MAX)) for name, reader in readers.items()}
    try:
        told = await asyncio.gather(
            *(write(client, name, prefix, halves.get(prefix, IDS_EACH)) for prefix, (client, name) in writers.items())
        )
        seen = {name: [message.payload for message in await task] for name, task in reading.items()}
        whole = KafkaReader(gateway.kafka, "orders")
        final = await whole.read(total, READ_S_MAX)
        await whole.close()
    finally:
        for client in (*readers.values(), *(client for client, _ in writers.values())):
            await client.close()
    log = [message.payload for message in final]
    assert len(log) == len(set(log)) == total
    assert [message.position for message in final] == list(range(total))
    assert [str(violation) for violation in check_same_order(log, seen)] == []
    for positions in told:
        assert all(log[position] == id for id, position in positions.items())
