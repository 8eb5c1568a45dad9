"""nats-py against a real process: what its users do, and the same against the real nats-server where it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import nats
import pytest
from confluent_kafka import Producer
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as RequestTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, BadRequestError, NotFoundError

from conformance.process import GatewayProcess

WAIT_S = 20.0
"""Deadline, not a goal."""


async def connect(address: str, **options: Any) -> Client:
    return await nats.connect(f"nats://{address}", allow_reconnect=False, connect_timeout=WAIT_S, **options)


async def gather(subscription: Any, count: int) -> list[tuple[str, bytes]]:
    messages = [await subscription.next_msg(timeout=WAIT_S) for _ in range(count)]
    return [(message.subject, message.data) for message in messages]


async def test_publish_subscribe_with_wildcards_headers_and_limits(gateway: GatewayProcess) -> None:
    nc, other = await connect(gateway.nats), await connect(gateway.nats)
    star, rest = await nc.subscribe("c1.*.x"), await nc.subscribe("c1.>")
    limited = await nc.subscribe("c1.>")
    await limited.unsubscribe(limit=2)
    await nc.flush()
    for index in range(3):
        await other.publish(f"c1.{index}.x", b"%d" % index, headers={"K": "v", "L": "w"})
    await other.publish("c1.y", b"y")
    assert await gather(star, 3) == [(f"c1.{index}.x", b"%d" % index) for index in range(3)]
    assert len(await gather(rest, 4)) == 4
    assert len(await gather(limited, 2)) == 2
    again = await nc.subscribe("c1.h")
    await nc.publish("c1.h", b"", headers={"Status-Like": "yes"})
    assert (await again.next_msg(timeout=WAIT_S)).headers == {"Status-Like": "yes"}
    await nc.close()
    await other.close()


async def test_large_payloads_and_the_limit(gateway: GatewayProcess) -> None:
    nc = await connect(gateway.nats)
    assert nc.max_payload == 1024 * 1024
    subscription = await nc.subscribe("c2")
    for size in (0, 1, 65_536, nc.max_payload):
        await nc.publish("c2", b"z" * size)
        assert len((await subscription.next_msg(timeout=WAIT_S)).data) == size
    await nc.close()


async def test_requests_are_answered_by_one_of_a_queue_group(gateway: GatewayProcess) -> None:
    nc = await connect(gateway.nats)
    asked: list[int] = []

    def responder(number: int) -> Callable[[Any], Any]:
        async def answer(message: Any) -> None:
            asked.append(number)
            await message.respond(b"%d:%b" % (number, message.data))

        return answer

    workers = [await connect(gateway.nats) for _ in range(3)]
    for number, worker in enumerate(workers):
        await worker.subscribe("c3", queue="g", cb=responder(number))
        await worker.flush()
    answers = await asyncio.gather(*(nc.request("c3", b"%d" % n, timeout=WAIT_S) for n in range(60)))
    assert sorted(int(answer.data.split(b":")[1]) for answer in answers) == list(range(60))
    assert len(asked) == 60 and set(asked) == {0, 1, 2}
    with pytest.raises(NoRespondersError):
        await nc.request("c3.nobody", b"", timeout=WAIT_S)
    for client in (nc, *workers):
        await client.close()


async def test_drain_delivers_what_is_under_way(gateway: GatewayProcess) -> None:
    nc, publisher = await connect(gateway.nats), await connect(gateway.nats)
    seen: list[bytes] = []

    async def take(message: Any) -> None:
        seen.append(message.data)

    await nc.subscribe("c4", cb=take)
    await nc.flush()
    for index in range(500):
        await publisher.publish("c4", b"%d" % index)
    await publisher.flush()
    await nc.drain()
    assert seen == [b"%d" % index for index in range(500)]
    assert nc.is_closed
    await publisher.close()


async def tour(address: str, prefix: str) -> list[Any]:
    """What users of JetStream do with nats-py; everything it tells them that is not an id or a time."""
    nc = await connect(address)
    js = nc.jetstream(timeout=WAIT_S)
    stream, subject = f"{prefix}ORD", f"{prefix}.ord"
    told: list[Any] = []
    made = await js.add_stream(name=stream, subjects=[f"{subject}.>"], max_msgs=1000, description="orders")
    told.append((made.config, made.state))
    for index in range(20):
        ack = await js.publish(
            f"{subject}.{index % 3}", b"m%d" % index, headers={"Nats-Msg-Id": str(index), "N": str(index)}
        )
        told.append((ack.seq, ack.duplicate))
    told.append((await js.publish(f"{subject}.0", b"again", headers={"Nats-Msg-Id": "3"})).__dict__)
    for headers in ({"Nats-Expected-Last-Sequence": "3"}, {"Nats-Expected-Stream": "x"}):
        try:
            await js.publish(f"{subject}.0", b"", headers=headers)
        except APIError as error:
            told.append((error.code, error.err_code, error.description))
    pull = await js.pull_subscribe(f"{subject}.>", durable="d")
    first = await pull.fetch(5, timeout=WAIT_S)
    told.append([(m.subject, m.data, dict(m.headers), m.metadata.num_pending, m.metadata.sequence) for m in first])
    for message in first:
        await message.ack_sync(timeout=WAIT_S)
    rest = await pull.fetch(15, timeout=WAIT_S)
    await rest[1].nak()
    await rest[2].term()
    await rest[3].in_progress()
    for message in (rest[0], *rest[4:]):
        await message.ack()
    again = await pull.fetch(1, timeout=WAIT_S)
    told.append((again[0].data, again[0].metadata.num_delivered))
    await again[0].ack_sync(timeout=WAIT_S)
    await rest[3].ack_sync(timeout=WAIT_S)
    info = await pull.consumer_info()
    told.append(
        (info.config, info.delivered.stream_seq, info.ack_floor.stream_seq, info.num_ack_pending, info.num_pending)
    )
    try:
        await pull.fetch(1, timeout=0.3)
    except RequestTimeout:
        told.append("nothing left")
    filtered = await js.pull_subscribe(
        f"{subject}.1", durable="one", config=ConsumerConfig(deliver_policy=DeliverPolicy.LAST)
    )
    told.append([message.data for message in await filtered.fetch(1, timeout=WAIT_S)])
    named = await js.add_consumer(stream, name="n", ack_policy=AckPolicy.ALL, filter_subject=f"{subject}.2")
    told.append((named.config, named.num_pending))
    told.append(sorted(consumer.name for consumer in await js.consumers_info(stream)))
    told.append((await js.get_msg(stream, 4)).data)
    told.append((await js.get_last_msg(stream, f"{subject}.1")).seq)
    told.append(await js.find_stream_name_by_subject(f"{subject}.x"))
    described = await js.stream_info(stream)
    told.append((described.config, described.state))
    told.append(
        (await js.update_stream(name=stream, subjects=[f"{subject}.>", f"{subject}2"], max_msgs=15)).state.messages
    )
    for wrong in (
        js.stream_info(f"{prefix}NO"),
        js.consumer_info(stream, "no"),
        js.add_stream(name=f"{prefix}B", subjects=["a..b"]),
    ):
        try:
            await wrong
        except APIError as error:
            told.append((type(error).__name__, error.code))
    told.append(await js.purge_stream(stream, keep=2))
    told.append((await js.stream_info(stream)).state.first_seq)
    told.append(await js.delete_consumer(stream, "n"))
    told.append(await js.delete_stream(stream))
    await nc.close()
    return told


async def test_jetstream_as_users_of_nats_py_know_it(gateway: GatewayProcess) -> None:
    told = await tour(gateway.nats, "t1")
    assert "nothing left" in told and told[-2:] == [True, True]


@pytest.mark.peer
async def test_nats_py_is_told_the_same_by_the_real_server(gateway: GatewayProcess, peer: Callable[[str], str]) -> None:
    real = await tour(peer("nats-server"), "t2")
    ours = await tour(gateway.nats, "t2")
    for index, (one, other) in enumerate(zip(ours, real, strict=True)):
        assert one == other, f"step {index}"


async def test_what_is_refused_is_an_error_of_its_kind(gateway: GatewayProcess) -> None:
    nc = await connect(gateway.nats)
    js = nc.jetstream(timeout=WAIT_S)
    with pytest.raises(NotFoundError):
        await js.stream_info("NOPE")
    with pytest.raises(APIError, match="compression"):
        await js.add_stream(name="WQ", subjects=["wq"], compression="s2")
    await js.add_stream(name="PUSH", subjects=["push"])
    with pytest.raises(BadRequestError):
        await js.add_stream(name="PUSH", subjects=["other"])
    await nc.close()


async def test_kill_loses_nothing_acknowledged(start_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = start_gateway()
    nc = await connect(gateway.nats)
    js = nc.jetstream(timeout=WAIT_S)
    await js.add_stream(name="K", subjects=["k.>"])
    acks = await asyncio.gather(*(js.publish("k.a", b"%d" % n, headers={"Nats-Msg-Id": f"id{n}"}) for n in range(300)))
    assert sorted(ack.seq for ack in acks) == list(range(1, 301))
    pull = await js.pull_subscribe("k.>", durable="d", config=ConsumerConfig(ack_wait=1))
    done = await pull.fetch(100, timeout=WAIT_S)
    for message in done:
        await message.ack_sync(timeout=WAIT_S)
    await pull.fetch(50, timeout=WAIT_S)  # delivered, not acknowledged
    await nc.close()
    gateway.restart(kill=True)
    nc = await connect(gateway.nats)
    js = nc.jetstream(timeout=WAIT_S)
    assert (await js.stream_info("K")).state.messages == 300
    assert (await js.publish("k.a", b"x", headers={"Nats-Msg-Id": "id7"})).duplicate
    info = await js.consumer_info("K", "d")
    assert info.ack_floor.stream_seq == 100
    pull = await js.pull_subscribe_bind("d", "K")
    left: set[int] = set()
    while len(left) < 200:
        for message in await pull.fetch(200 - len(left), timeout=WAIT_S):
            left.add(message.metadata.sequence.stream)
            await message.ack()
    assert left == set(range(101, 301))
    await nc.close()


async def test_a_topic_is_one_stream_for_kafka_and_jetstream(gateway: GatewayProcess) -> None:
    producer = Producer({"bootstrap.servers": gateway.kafka, "compression.type": "lz4"})
    for index in range(5):
        producer.produce("shared", value=b"v%d" % index, headers=[("h", b"1")])
    assert producer.flush(WAIT_S) == 0
    nc = await connect(gateway.nats)
    js = nc.jetstream(timeout=WAIT_S)
    assert (await js.publish("shared.eu", b"n", headers={"X": "y"})).seq == 6
    pull = await js.pull_subscribe("", durable="d", stream="shared")
    got = await pull.fetch(6, timeout=WAIT_S)
    assert [(m.subject, m.data, m.headers) for m in got] == [
        *(("shared", b"v%d" % index, {"h": "1"}) for index in range(5)),
        ("shared.eu", b"n", {"X": "y"}),
    ]
    await nc.close()
