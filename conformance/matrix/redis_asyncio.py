"""redis-py's asyncio client."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as redis

from conformance.matrix.cells import Cells, Place, said_by

cells = Cells("resp", "redis-py asyncio", "redis", variants=("RESP2", "RESP3"))
BLOCKED_S = 20.0


def client(place: Place, **settings: Any) -> redis.Redis:
    return redis.Redis(
        host=place.host, port=place.port, protocol=int(place.variant[-1]), decode_responses=True, socket_timeout=BLOCKED_S, **settings
    )  # fmt: skip


@cells.add("strings: set and get")
async def set_and_get(place: Place) -> object:
    key = place.name("key")
    async with client(place) as r:
        return [
            await r.set(key, 1, ex=100),
            await r.incr(key),
            await r.get(key),
            await r.get(key + "none"),
            await r.delete(key),
        ]


@cells.add("hashes: fields")
async def hashes(place: Place) -> object:
    key = place.name("hash")
    async with client(place) as r:
        return [await r.hset(key, mapping={"a": 1, "b": 2}), await r.hgetall(key), await r.hincrby(key, "a", 4)]


@cells.add("sorted sets: scores")
async def sorted_sets(place: Place) -> object:
    key = place.name("zset")
    async with client(place) as r:
        return [
            await r.zadd(key, {"a": 1.5, "b": 2}),
            await r.zrange(key, 0, -1, withscores=True),
            await r.zscore(key, "a"),
        ]


@cells.add("keys: scan")
async def scan(place: Place) -> object:
    key = place.name("key")
    async with client(place) as r:
        await r.mset({f"{key}:{number}": number for number in range(100)})
        return len({name async for name in r.scan_iter(match=f"{key}:*")})


@cells.add("lists: a hundred blocked clients")
async def blocked(place: Place) -> object:
    key = place.name("list")
    async with client(place, max_connections=200) as r:
        waiting = [asyncio.create_task(r.blpop(f"{key}{number}", timeout=BLOCKED_S)) for number in range(100)]
        while int((await r.info("clients"))["blocked_clients"]) < 100:
            await asyncio.sleep(0.01)
        for number in range(100):
            await r.rpush(f"{key}{number}", number)
        return [answer[1] for answer in await asyncio.gather(*waiting)]


@cells.add("pipelines: many at once")
async def pipelines(place: Place) -> object:
    key = place.name("key")

    async def run(r: redis.Redis, number: int) -> object:
        async with r.pipeline(transaction=number % 2 == 0) as pipeline:
            return await pipeline.set(f"{key}{number}", number).incr(f"{key}{number}").execute()

    async with client(place, max_connections=50) as r:
        return await asyncio.gather(*(run(r, number) for number in range(50)))


@cells.add("transactions: watch")
async def watch(place: Place) -> object:
    key = place.name("key")
    async with client(place) as r, r.pipeline() as pipeline:
        await pipeline.watch(key)
        await r.set(key, "changed")
        pipeline.multi()
        pipeline.set(key, "mine")
        try:
            told: object = await pipeline.execute()
        except redis.WatchError as error:
            told = said_by(error)
        return [told, await r.get(key)]


@cells.add("pub/sub: listen")
async def listen(place: Place) -> object:
    channel = place.name("channel")
    async with client(place) as r, r.pubsub() as subscription:
        await subscription.subscribe(channel)
        await subscription.psubscribe(channel + "*")
        told = [await subscription.get_message(timeout=BLOCKED_S) for _ in range(2)]
        told.append(await r.publish(channel, "x"))
        return told + [await subscription.get_message(timeout=BLOCKED_S) for _ in range(2)]


@cells.add("streams: read from several")
async def streams(place: Place) -> object:
    a, b = place.name("a"), place.name("b")
    async with client(place) as r:
        reading = asyncio.create_task(r.xread({a: "$", b: "$"}, block=int(BLOCKED_S * 1000)))
        while int((await r.info("clients"))["blocked_clients"]) < 1:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await r.xadd(b, {"n": 1}, id="3-3")
        return await reading


@cells.add("streams: a group of two")
async def group(place: Place) -> object:
    key = place.name("stream")
    async with client(place) as r:
        await r.xgroup_create(key, "g", id="0", mkstream=True)
        for number in range(1, 11):
            await r.xadd(key, {"n": number}, id=f"{number}-0")
        one, two = await r.xreadgroup("g", "one", {key: ">"}, count=5), await r.xreadgroup("g", "two", {key: ">"})
        return [one, two, await r.xack(key, "g", "1-0", "2-0"), (await r.xpending(key, "g"))["pending"]]


@cells.add("locks: acquire and release")
async def locks(place: Place) -> object:
    key = place.name("lock")
    async with client(place) as r:
        async with r.lock(key, timeout=10):
            held = await r.exists(key)
        return [held, await r.exists(key)]


@cells.add("connection: a cancelled command")
async def cancelled(place: Place) -> object:
    key = place.name("list")
    async with client(place) as r:
        waiting = asyncio.create_task(r.blpop(key, timeout=BLOCKED_S))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return [await r.ping(), await r.rpush(key, 1)]
