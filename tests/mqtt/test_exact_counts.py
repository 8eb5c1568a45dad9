"""100 clients x 500 messages at each QoS: every subscriber gets exactly 50,000 (THALWEG_MQTT_SENDERS, _EACH change that)."""

from __future__ import annotations

import asyncio
import os
from collections import Counter

import pytest

from conformance.process import GatewayProcess
from protocols.mqtt import packets as p
from protocols.mqtt.wire import decode, encode, encode_publish

SENDERS = int(os.environ.get("THALWEG_MQTT_SENDERS", "100"))
EACH = int(os.environ.get("THALWEG_MQTT_EACH", "500"))
WINDOW = 50
WAIT_S = 100


class Raw:
    """A client that answers as it should and counts what it gets."""

    def __init__(self, name: str, clean: bool = True) -> None:
        self.name = name
        self.clean = clean
        self.counts: Counter[bytes] = Counter()
        self.completed = 0
        self.moved = asyncio.Event()
        self._known: set[int] = set()

    async def connect(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.writer.write(encode(p.Connect(4, self.clean, 0, self.name.encode())))
        assert (await self.reader.readexactly(4))[3] == 0
        self.task = asyncio.create_task(self.receive())

    async def receive(self) -> None:
        kept = bytearray()
        while chunk := await self.reader.read(1 << 16):
            kept += chunk
            at = 0
            while (found := decode(kept, at, len(kept), 4, from_client=False)) is not None:
                at = found[1]
                self.take(found[0])
            del kept[:at]
            self.moved.set()

    def take(self, packet: object) -> None:
        if isinstance(packet, p.Publish):
            if packet.qos < 2 or packet.packet_id not in self._known:
                self.counts[packet.payload] += 1
            if packet.qos == 1:
                self.writer.write(encode(p.Acknowledge(p.PUBACK, packet.packet_id)))
            elif packet.qos == 2:
                self._known.add(packet.packet_id)
                self.writer.write(encode(p.Acknowledge(p.PUBREC, packet.packet_id)))
        elif isinstance(packet, p.Acknowledge):
            if packet.kind == p.PUBREC:
                self.writer.write(encode(p.Acknowledge(p.PUBREL, packet.packet_id)))
            elif packet.kind == p.PUBREL:
                self._known.discard(packet.packet_id)
                self.writer.write(encode(p.Acknowledge(p.PUBCOMP, packet.packet_id)))
            else:
                self.completed += 1

    async def publish(self, topic: bytes, qos: int) -> None:
        for number in range(EACH):
            while qos and number - self.completed >= WINDOW:
                self.moved.clear()
                await self.moved.wait()
            payload = b"%b-%d" % (self.name.encode(), number)
            self.writer.write(
                encode_publish(topic, payload, qos, False, False, number % 1000 + 1 if qos else 0, b"", 4)
            )
            await self.writer.drain()
        while qos and self.completed < EACH:
            self.moved.clear()
            await self.moved.wait()

    async def close(self) -> None:
        self.task.cancel()
        self.writer.close()


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_subscriber_gets_exactly_what_a_hundred_clients_sent(gateway: GatewayProcess, qos: int) -> None:
    async def main() -> None:
        port = gateway.port("mqtt")
        subscribers = [Raw(f"count-{qos}-a"), Raw(f"count-{qos}-b", clean=False)]
        senders = [Raw(f"sender-{qos}-{number}") for number in range(SENDERS)]
        for client in [*subscribers, *senders]:
            await client.connect(port)
        for client in subscribers:
            client.writer.write(encode(p.Subscribe(1, ((b"count/%d/+" % qos, qos),))))
            await client.moved.wait()
        await asyncio.gather(
            *[sender.publish(b"count/%d/%d" % (qos, number % 7), qos) for number, sender in enumerate(senders)]
        )
        for client in subscribers:
            while client.counts.total() < SENDERS * EACH:
                client.moved.clear()
                await client.moved.wait()
        for client in subscribers:
            assert len(client.counts) == client.counts.total() == SENDERS * EACH
        for client in [*subscribers, *senders]:
            await client.close()

    asyncio.run(asyncio.wait_for(main(), WAIT_S))
