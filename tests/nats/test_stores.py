"""nats-py's key-value and object stores, push and ordered consumers: the same against ours and the real nats-server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    ObjectMeta,
    RetentionPolicy,
    StreamConfig,
)
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyDeletedError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NotFoundError,
    ObjectNotFoundError,
)

from conformance.process import GatewayProcess

WAIT_S = 20.0
"""Deadline, not a goal."""


async def connect(address: str) -> Client:
    return await nats.connect(f"nats://{address}", allow_reconnect=False, connect_timeout=WAIT_S)


async def key_values(address: str) -> list[Any]:
    """What users of a bucket do, and what they are told."""
    client = await connect(address)
    js = client.jetstream(timeout=WAIT_S)
    told: list[Any] = []
    with pytest.raises(BucketNotFoundError):
        await js.key_value("none")
    bucket = await js.create_key_value(config=KeyValueConfig(bucket="kv", history=3))
    for number in range(5):
        told.append(await bucket.put("a", b"%d" % number))
    told.append(await bucket.create("b", b"first"))
    for act in (
        bucket.create("b", b"again"), bucket.update("b", b"x", last=1), bucket.get("none"), bucket.get("a", revision=1),
    ):  # fmt: skip
        try:
            told.append(await act)
        except (KeyWrongLastSequenceError, KeyNotFoundError, KeyDeletedError, APIError) as error:
            told.append((type(error).__name__, getattr(error, "err_code", None)))
    entry = await bucket.get("b")
    told.append((entry.value, entry.revision, entry.operation))
    told.append(await bucket.update("b", b"second", last=entry.revision or 0))
    told.append([(one.revision, one.value) for one in await bucket.history("a")])
    watcher = await bucket.watchall()
    seen = []
    for _ in range(3):
        one = await watcher.updates(timeout=WAIT_S)
        seen.append(None if one is None else (one.key, one.value, one.revision, one.delta, one.operation))
    await bucket.delete("a")
    await bucket.put("c", b"new")
    for _ in range(2):
        one = await watcher.updates(timeout=WAIT_S)
        assert one is not None
        seen.append((one.key, one.value, one.revision, one.delta, one.operation))
    await watcher.stop()
    told.append(seen)
    with pytest.raises(KeyNotFoundError):
        await bucket.get("a")
    told.append(sorted(await bucket.keys()))
    await bucket.purge("b")
    told.append([(one.revision, one.value, one.operation) for one in await bucket.history("b")])
    await bucket.purge_deletes(olderthan=-1)
    told.append(sorted(await bucket.keys()))
    status = await bucket.status()
    told.append((status.bucket, status.history, status.values, status.ttl))
    state = status.stream_info.state
    told.append((state.messages, state.first_seq, state.last_seq, state.num_deleted))
    told.append(await js.delete_key_value("kv"))
    await client.close()
    return told


async def objects(address: str) -> list[Any]:
    """What users of an object store do, and what they are told."""
    client = await connect(address)
    js = client.jetstream(timeout=WAIT_S)
    told: list[Any] = []
    store = await js.create_object_store("obj")
    data = bytes(range(256)) * 2000
    info = await store.put("big", data, ObjectMeta(description="much"))
    told.append((info.name, info.size, info.chunks, info.digest, info.bucket, info.meta if not info.meta else None))
    await store.put("small", b"tiny")
    got = await store.get("big")
    assert got.data is not None and hashlib.sha256(got.data).digest() == hashlib.sha256(data).digest()
    await store.put("small", b"other")
    told.append((await store.get("small")).data)
    told.append(sorted(one.name or "" for one in await store.list()))
    await store.update_meta("small", ObjectMeta(name="small", description="kept"))
    told.append(sorted(one.name or "" for one in await store.list()))
    await store.delete("big")
    with pytest.raises((ObjectNotFoundError, NotFoundError)):
        await store.get("big")
    status = await store.status()
    state = status.stream_info.state
    told.append((state.messages, state.last_seq, state.num_deleted, state.bytes))
    told.append(await js.delete_object_store("obj"))
    await client.close()
    return told


async def consumers(address: str) -> list[Any]:
    """Push, queue and ordered subscriptions; a work queue; limits that refuse."""
    client = await connect(address)
    js = client.jetstream(timeout=WAIT_S)
    told: list[Any] = []
    await js.add_stream(name="CON", subjects=["con.>"])
    for number in range(50):
        await js.publish(f"con.{number % 2}", b"%d" % number)
    pushed = await js.subscribe("con.>", durable="p", manual_ack=True)
    messages = [await pushed.next_msg(timeout=WAIT_S) for _ in range(50)]
    told.append([(one.data, one.metadata.sequence.consumer, one.metadata.num_pending) for one in messages])
    for message in messages:
        await message.ack_sync(timeout=WAIT_S)
    info = await js.consumer_info("CON", "p")
    told.append((info.ack_floor.stream_seq, info.num_ack_pending, info.push_bound, info.config.deliver_policy))
    ordered = await js.subscribe("con.1", ordered_consumer=True)
    told.append([(await ordered.next_msg(timeout=WAIT_S)).data for _ in range(25)])
    flowing = await js.subscribe(
        "con.0", manual_ack=True, idle_heartbeat=1, flow_control=True, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
    )
    told.append([(await flowing.next_msg(timeout=WAIT_S)).data for _ in range(25)])
    shared: list[bytes] = []

    async def take(message: Any) -> None:
        shared.append(message.data)

    for _ in range(3):
        await js.subscribe("con.>", "workers", cb=take, config=ConsumerConfig(deliver_policy=DeliverPolicy.NEW))
    for number in range(30):
        await js.publish("con.x", b"n%d" % number)
    async with asyncio.timeout(WAIT_S):
        while len(shared) < 30:
            await asyncio.sleep(0)
    told.append(sorted(shared))
    await js.add_stream(StreamConfig(name="WQ", subjects=["wq"], retention=RetentionPolicy.WORK_QUEUE))
    for number in range(10):
        await js.publish("wq", b"%d" % number)
    pull = await js.pull_subscribe("wq", durable="w")
    for message in await pull.fetch(6, timeout=WAIT_S):
        await message.ack_sync(timeout=WAIT_S)
    told.append((await js.stream_info("WQ")).state.messages)
    await js.add_stream(StreamConfig(name="LIM", subjects=["lim.>"], max_msgs=2, discard=DiscardPolicy.NEW))
    for _ in range(3):
        try:
            told.append((await js.publish("lim.a", b"x")).seq)
        except APIError as error:
            told.append((error.code, error.err_code, error.description))
    await js.delete_msg("LIM", 1)
    told.append((await js.stream_info("LIM")).state.messages)
    told.append((await js.get_last_msg("LIM", "lim.a")).seq)
    told.append(await js.purge_stream("LIM", subject="lim.a"))
    for name in ("CON", "WQ", "LIM"):
        await js.delete_stream(name)
    await client.close()
    return told


@pytest.mark.parametrize("tour", [key_values, objects, consumers], ids=lambda tour: tour.__name__)
async def test_nats_py_is_told_what_the_real_server_tells(
    gateway: GatewayProcess, peer: Callable[[str], str], tour: Callable[[str], Any]
) -> None:
    ours = await tour(gateway.nats)
    assert ours == await tour(peer("nats-server"))


async def test_kill_keeps_deletes_purges_rollups_expiries_and_consumers(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = start_gateway()
    client = await connect(gateway.nats)
    js = client.jetstream(timeout=WAIT_S)
    bucket = await js.create_key_value(config=KeyValueConfig(bucket="d", history=2))
    for number in range(6):
        await bucket.put("k", b"%d" % number)
        await bucket.put("gone", b"%d" % number)
    await bucket.purge("gone")
    await js.add_stream(StreamConfig(name="D", subjects=["d.>"], max_msgs_per_subject=4))
    for number in range(20):
        await js.publish(f"d.{number % 4}", b"%d" % number)
    await js.delete_msg("D", 6)
    await js.purge_stream("D", subject="d.3", keep=2)
    await js.add_stream(StreamConfig(name="Q", subjects=["q"], retention=RetentionPolicy.WORK_QUEUE))
    await js.add_stream(StreamConfig(name="I", subjects=["i.>"], retention=RetentionPolicy.INTEREST))
    pushed = await js.subscribe("i.>", durable="p", manual_ack=True, config=ConsumerConfig(ack_wait=2))
    for number in range(10):
        await js.publish("q", b"%d" % number)
        await js.publish("i.a", b"%d" % number)
    pull = await js.pull_subscribe("q", durable="w")
    for message in await pull.fetch(4, timeout=WAIT_S):
        await message.ack_sync(timeout=WAIT_S)
    for _ in range(7):
        await (await pushed.next_msg(timeout=WAIT_S)).ack_sync(timeout=WAIT_S)
    await js.add_consumer("D", durable_name="l", deliver_policy=DeliverPolicy.LAST_PER_SUBJECT, filter_subject="d.>",
                          ack_policy=AckPolicy.EXPLICIT)  # fmt: skip
    late = await js.pull_subscribe_bind("l", "D")
    for message in await late.fetch(1, timeout=WAIT_S):
        await message.ack_sync(timeout=WAIT_S)
    before = [await state(js, name) for name in ("KV_d", "D", "Q", "I")]
    await client.close()
    gateway.restart(kill=True)
    client = await connect(gateway.nats)
    js = client.jetstream(timeout=WAIT_S)
    assert [await state(js, name) for name in ("KV_d", "D", "Q", "I")] == before
    bucket = await js.key_value("d")
    assert [one.value for one in await bucket.history("k")] == [b"4", b"5"]
    with pytest.raises(KeyNotFoundError):
        await bucket.get("gone")
    with pytest.raises(NotFoundError):
        await js.get_msg("D", 6)
    assert {one.data for one in await (await js.pull_subscribe_bind("w", "Q")).fetch(10, timeout=1)} == {
        b"%d" % number for number in range(4, 10)
    }
    rest = await js.subscribe("i.>", durable="p", manual_ack=True)
    assert {(await rest.next_msg(timeout=WAIT_S)).data for _ in range(3)} == {b"7", b"8", b"9"}
    late = await js.pull_subscribe_bind("l", "D")
    assert [one.data for one in await late.fetch(3, timeout=WAIT_S)] == [b"17", b"18", b"19"]
    await client.close()


async def state(js: Any, name: str) -> tuple[object, ...]:
    told = (await js.stream_info(name)).state
    return told.messages, told.first_seq, told.last_seq, told.num_deleted, told.bytes
