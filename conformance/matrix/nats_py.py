"""nats-py: core, JetStream, the key-value and the object store, micro services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import api
from nats.js.errors import APIError

from conformance.matrix.cells import Cells, Place, said_by

cells = Cells("nats", "nats-py", "nats-py")
WAIT_S = 30.0


@asynccontextmanager
async def client(place: Place, **settings: Any) -> AsyncIterator[nats.NATS]:
    async def ignore(error: Exception) -> None:
        """What nobody asked for is not the cell's."""

    connection = await nats.connect(
        f"nats://{place.address}", **{"allow_reconnect": False, "error_cb": ignore, **settings}
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def stream(place: Place, **config: Any) -> AsyncIterator[tuple[Any, str]]:
    """JetStream and the name of a stream that takes ``<name>.>``."""
    name = place.name("stream")
    async with client(place) as connection:
        context = connection.jetstream(timeout=WAIT_S)
        await context.add_stream(name=name, **{"subjects": [f"{name}.>"], **config})
        yield context, name
        await context.delete_stream(name)


async def refused(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except APIError as error:
        return (
            [getattr(error, name, None) for name in ("code", "err_code", "description")]
            if hasattr(error, "code")
            else said_by(error)
        )
    except Error as error:
        return said_by(error)


async def verdict(call: Awaitable[Any]) -> object:
    """What it is refused with, or that it was not."""
    found = await refused(call)
    return found if isinstance(found, list | str) else "accepted"


async def take(subscription: Any, count: int) -> list[Msg]:
    return [await subscription.next_msg(timeout=WAIT_S) for _ in range(count)]


def shown(message: Msg) -> list[object]:
    return [message.subject, message.data, message.headers]


@cells.add("core: publish and subscribe")
async def publish(place: Place) -> object:
    subject = place.name("subject")
    async with client(place) as connection:
        subscription = await connection.subscribe(subject)
        await connection.publish(subject, b"one")
        await connection.publish(subject, b"", reply="an.inbox")
        found = await take(subscription, 2)
        return [[shown(message), message.reply] for message in found]


@cells.add("core: wildcards")
async def wildcards(place: Place) -> object:
    root = place.name("root")
    async with client(place) as connection:
        patterns = [f"{root}.*", f"{root}.>", f"{root}.*.c", f"{root}.a.b.c"]
        subscriptions = [await connection.subscribe(pattern) for pattern in patterns]
        for subject in ("a", "a.c", "a.b.c", "a.b.c.d"):
            await connection.publish(f"{root}.{subject}", subject.encode())
        counts = (1, 4, 1, 1)
        return [[message.data for message in await take(*each)] for each in zip(subscriptions, counts, strict=True)]


@cells.add("core: queue groups")
async def queue_groups(place: Place) -> object:
    subject = place.name("subject")
    async with client(place) as connection:
        members = [await connection.subscribe(subject, queue="q") for _ in range(3)]
        everyone = await connection.subscribe(subject)
        for _ in range(300):
            await connection.publish(subject, b"x")
        async with asyncio.timeout(WAIT_S):
            while everyone.pending_msgs < 300 or sum(member.pending_msgs for member in members) < 300:
                await asyncio.sleep(0.01)
        shares = [member.pending_msgs for member in members]
        return [sum(shares), all(share > 20 for share in shares), everyone.pending_msgs]


@cells.add("core: request and reply")
async def request(place: Place) -> object:
    subject = place.name("subject")
    async with client(place) as connection:

        async def answer(message: Msg) -> None:
            await message.respond(b"answer to " + message.data)

        await connection.subscribe(subject, cb=answer)
        answers = [await connection.request(subject, b"%d" % number, timeout=WAIT_S) for number in range(3)]
        old = await connection.request(subject, b"old", timeout=WAIT_S, old_style=True)
        return [[each.data for each in answers], old.data]


@cells.add("core: nobody answers a request")
async def no_responders(place: Place) -> object:
    async with client(place) as connection:
        return await refused(connection.request(place.name("nobody"), b"", timeout=WAIT_S))


@cells.add("core: headers")
async def headers(place: Place) -> object:
    subject = place.name("subject")
    async with client(place) as connection:
        subscription = await connection.subscribe(subject)
        await connection.publish(subject, b"x", headers={"A": "1", "Mixed-Case": "two words"})
        return shown(await subscription.next_msg(timeout=WAIT_S))


@cells.add("core: unsubscribe after so many")
async def auto_unsubscribe(place: Place) -> object:
    subject = place.name("subject")
    async with client(place) as connection:
        subscription = await connection.subscribe(subject)
        await subscription.unsubscribe(limit=2)
        for number in range(5):
            await connection.publish(subject, b"%d" % number)
        found = await take(subscription, 2)
        await connection.flush()
        return [[message.data for message in found], subscription.pending_msgs]


@cells.add("core: drain")
async def drain(place: Place) -> object:
    subject, found = place.name("subject"), []
    async with client(place) as connection, client(place) as other:

        async def keep(message: Msg) -> None:
            await asyncio.sleep(0.001)
            found.append(message.data)

        await connection.subscribe(subject, cb=keep)
        await connection.flush()
        for number in range(50):
            await other.publish(subject, b"%d" % number)
        await other.flush()
        async with asyncio.timeout(WAIT_S):
            while connection.stats["in_msgs"] < 50:
                await asyncio.sleep(0.005)
        await connection.drain()
        return [len(found), connection.is_closed]


@cells.add("core: no echo")
async def no_echo(place: Place) -> object:
    subject = place.name("subject")
    async with client(place, no_echo=True) as connection, client(place) as other:
        subscription = await connection.subscribe(subject)
        await connection.flush()
        await connection.publish(subject, b"mine")
        await connection.flush()
        await other.publish(subject, b"theirs")
        return (await subscription.next_msg(timeout=WAIT_S)).data


@cells.add("core: a payload of the largest size, and one more byte")
async def largest(place: Place) -> object:
    subject = place.name("subject")
    async with client(place) as connection:
        subscription = await connection.subscribe(subject)
        await connection.publish(subject, bytes(connection.max_payload))
        found = await subscription.next_msg(timeout=WAIT_S)
        return [len(found.data), await refused(connection.publish(subject, bytes(connection.max_payload + 1)))]


@cells.add("core: pedantic and verbose")
async def pedantic(place: Place) -> object:
    subject = place.name("subject")
    async with client(place, verbose=True, pedantic=True) as connection:
        subscription = await connection.subscribe(subject)
        await connection.publish(subject, b"x")
        return (await subscription.next_msg(timeout=WAIT_S)).data


@cells.add("core: what the server says of itself")
async def info(place: Place) -> object:
    async with client(place) as connection:
        told = connection._server_info
        return [
            told["headers"],
            told["max_payload"],
            told["proto"],
            told.get("jetstream"),
            told.get("auth_required", False),
            await connection.rtt() > 0,
        ]


@cells.add("core: micro services")
async def services(place: Place) -> object:
    import nats.micro

    name = place.name("service")
    async with client(place) as connection:
        service = await nats.micro.add_service(connection, name=name, version="1.0.0")

        async def answer(message: Any) -> None:
            await message.respond(b"served " + message.data)

        await service.add_endpoint(name="echo", subject=f"{name}.echo", handler=answer)
        told = (await connection.request(f"{name}.echo", b"it", timeout=WAIT_S)).data
        pinged = (await connection.request(f"$SRV.PING.{name}", b"", timeout=WAIT_S)).data
        await service.stop()
        return [told, name.encode() in pinged]


@cells.add("stream: create, info, update, delete")
async def manage_stream(place: Place) -> object:
    async with stream(place, max_msgs=100) as (context, name):
        found = await context.stream_info(name)
        kept = found.config
        told: list[object] = [
            kept.retention,
            kept.storage,
            kept.discard,
            kept.max_msgs,
            kept.max_bytes,
            kept.max_age,
            kept.num_replicas,
            kept.duplicate_window,
        ]
        told += [found.state.messages, found.state.first_seq, found.state.last_seq]
        told.append((await context.update_stream(name=name, subjects=[f"{name}.>"], max_msgs=50)).config.max_msgs)
        told.append(await refused(context.add_stream(name=name, subjects=[f"{name}.other"])))
        told.append(name in [each.config.name for each in await context.streams_info()])
        told.append(await context.find_stream_name_by_subject(f"{name}.x"))
        return [*told, await refused(context.stream_info(name + "none"))]


@cells.add("stream: configurations that are refused")
async def refused_streams(place: Place) -> object:
    async with stream(place) as (context, name):
        other = place.name("other")
        return [
            await verdict(context.add_stream(name=other, subjects=[f"{name}.>"])),
            await verdict(context.add_stream(name=other, subjects=["a b"])),
            await verdict(context.add_stream(name=other, subjects=[other], num_replicas=3)),
            await verdict(context.add_stream(name=other, subjects=["$JS.API.>"])),
            await verdict(context.update_stream(name=name, subjects=[f"{name}.>"], storage="memory")),
        ]


@cells.add("publish: acknowledged")
async def publish_ack(place: Place) -> object:
    async with stream(place) as (context, name):
        answers = [await context.publish(f"{name}.{number}", b"x") for number in range(3)]
        return [[answer.stream, answer.seq, answer.duplicate] for answer in answers]


@cells.add("publish: without a stream")
async def publish_nowhere(place: Place) -> object:
    async with client(place) as connection:
        return await refused(connection.jetstream(timeout=WAIT_S).publish(place.name("nowhere"), b"x"))


@cells.add("publish: duplicates")
async def duplicates(place: Place) -> object:
    async with stream(place) as (context, name):
        answers = [await context.publish(f"{name}.a", b"x", headers={"Nats-Msg-Id": each}) for each in ("1", "2", "1")]
        return [
            [(answer.seq, answer.duplicate) for answer in answers],
            (await context.stream_info(name)).state.messages,
        ]


@cells.add("publish: expectations")
async def expectations(place: Place) -> object:
    async with stream(place) as (context, name):
        await context.publish(f"{name}.a", b"x", headers={"Nats-Msg-Id": "first"})
        told = []
        for given in (
            {"Nats-Expected-Stream": "wrong"}, {"Nats-Expected-Last-Sequence": "9"}, {"Nats-Expected-Last-Sequence": "1"},
            {"Nats-Expected-Last-Subject-Sequence": "1"}, {"Nats-Expected-Last-Subject-Sequence": "2"},
            {"Nats-Expected-Last-Msg-Id": "other"},
        ):  # fmt: skip
            answer = await refused(context.publish(f"{name}.a", b"y", headers=given))
            told.append(answer if isinstance(answer, list | str) else answer.seq)
        return told


@cells.add("publish: asynchronously")
async def publish_async(place: Place) -> object:
    async with stream(place) as (context, name):
        answers = [await context.publish_async(f"{name}.a", b"x") for _ in range(500)]
        await context.publish_async_completed()
        return [(await answer).seq for answer in answers][-1]


@cells.add("limits: messages, bytes and age")
async def limits(place: Place) -> object:
    told = []
    for config in (
        {"max_msgs": 3},
        {"max_bytes": 400},
        {"max_msgs": 3, "discard": "new"},
        {"max_msgs_per_subject": 1},
        {"max_msg_size": 10},
    ):
        async with stream(place, **config) as (context, name):
            refusals = [await refused(context.publish(f"{name}.{number % 2}", b"x" * 20)) for number in range(6)]
            state = (await context.stream_info(name)).state
            told.append(
                [config, [each for each in refusals if isinstance(each, list | str)], state.messages, state.first_seq]
            )
    return told


@cells.add("limits: age")
async def age(place: Place) -> object:
    async with stream(place, max_age=0.2, duplicate_window=0.1) as (context, name):
        await context.publish(f"{name}.a", b"x")
        before = (await context.stream_info(name)).state.messages
        async with asyncio.timeout(WAIT_S):
            while (await context.stream_info(name)).state.messages:
                await asyncio.sleep(0.05)
        return before


@cells.add("stream: get, delete and purge messages")
async def messages(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(6):
            await context.publish(f"{name}.{number % 2}", b"%d" % number, headers={"H": "v"})
        found = await context.get_msg(name, 3)
        told: list[object] = [
            found.subject,
            found.data,
            found.headers,
            (await context.get_last_msg(name, f"{name}.1")).data,
        ]
        told += [await context.delete_msg(name, 3), await refused(context.get_msg(name, 3))]
        await context.purge_stream(name, subject=f"{name}.1")
        told.append((await context.stream_info(name)).state.messages)
        await context.purge_stream(name, keep=1)
        state = (await context.stream_info(name)).state
        return [*told, state.messages, state.first_seq, state.last_seq]


@cells.add("stream: subjects and their counts")
async def subjects(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(5):
            await context.publish(f"{name}.{number % 2}", b"x")
        return (await context.stream_info(name, subjects_filter=f"{name}.>")).state.subjects


@cells.add("stream: direct get")
async def direct(place: Place) -> object:
    async with stream(place, allow_direct=True) as (context, name):
        for number in range(4):
            await context.publish(f"{name}.{number % 2}", b"%d" % number)
        told = [(await context.get_msg(name, 2, direct=True)).data]
        told.append((await context.get_msg(name, subject=f"{name}.0", direct=True)).data)
        told.append((await context.get_msg(name, seq=2, subject=f"{name}.0", direct=True, next=True)).data)
        return [*told, await refused(context.get_msg(name, 99, direct=True))]


@cells.add("stream: rollup and purge by header")
async def rollup(place: Place) -> object:
    async with stream(place, allow_rollup_hdrs=True) as (context, name):
        for number in range(4):
            await context.publish(f"{name}.{number % 2}", b"%d" % number)
        await context.publish(f"{name}.0", b"all of 0", headers={"Nats-Rollup": "sub"})
        told = [(await context.stream_info(name)).state.messages]
        await context.publish(f"{name}.0", b"all", headers={"Nats-Rollup": "all"})
        return [*told, (await context.stream_info(name)).state.messages]


@cells.add("stream: work queue")
async def work_queue(place: Place) -> object:
    async with stream(place, retention="workqueue") as (context, name):
        for number in range(3):
            await context.publish(f"{name}.a", b"%d" % number)
        reader = await context.pull_subscribe(f"{name}.>", "worker")
        told: list[object] = [await refused(context.pull_subscribe(f"{name}.>", "another"))]
        for message in await reader.fetch(3, timeout=WAIT_S):
            told.append(message.data)
            await message.ack_sync()
        return [*told, (await context.stream_info(name)).state.messages]


@cells.add("stream: interest")
async def interest(place: Place) -> object:
    async with stream(place, retention="interest") as (context, name):
        await context.publish(f"{name}.a", b"nobody cares")
        told = [(await context.stream_info(name)).state.messages]
        readers = [await context.pull_subscribe(f"{name}.>", f"r{number}") for number in range(2)]
        await context.publish(f"{name}.a", b"two care")
        for reader in readers:
            told.append((await context.stream_info(name)).state.messages)
            [message] = await reader.fetch(1, timeout=WAIT_S)
            await message.ack_sync()
        return [*told, (await context.stream_info(name)).state.messages]


@cells.add("stream: mirrors and sources")
async def mirror(place: Place) -> object:
    async with stream(place) as (context, name):
        await context.publish(f"{name}.a", b"x")
        copy = place.name("mirror")
        told = await refused(context.add_stream(name=copy, mirror=api.StreamSource(name=name)))
        if isinstance(told, list | str):
            return told
        async with asyncio.timeout(WAIT_S):
            while (await context.stream_info(copy)).state.messages < 1:
                await asyncio.sleep(0.02)
        await context.delete_stream(copy)
        return "mirrored"


@cells.add("pull: fetch and acknowledge")
async def pull(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(10):
            await context.publish(f"{name}.a", b"%d" % number)
        reader = await context.pull_subscribe(f"{name}.>", "durable")
        found = await reader.fetch(4, timeout=WAIT_S)
        for message in found:
            await message.ack_sync()
        meta = found[0].metadata
        told: list[object] = [
            [message.data for message in found],
            meta.sequence.stream,
            meta.sequence.consumer,
            meta.num_delivered,
            meta.num_pending,
        ]
        info = await reader.consumer_info()
        told += [info.ack_floor.stream_seq, info.num_pending, info.num_ack_pending, info.num_redelivered]
        rest = await reader.fetch(20, timeout=0.5)
        return [*told, len(rest), await refused(reader.fetch(1, timeout=0.1))]


@cells.add("pull: no wait, heartbeats and bytes")
async def pull_options(place: Place) -> object:
    async with stream(place) as (context, name):
        reader = await context.pull_subscribe(f"{name}.>", "durable")
        told: list[object] = [await refused(reader.fetch(1, timeout=0.5, heartbeat=0.1))]
        await context.publish(f"{name}.a", b"x" * 100)
        return [*told, len(await reader.fetch(5, timeout=0.5))]


@cells.add("ack: nak, term, progress")
async def acks(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(3):
            await context.publish(f"{name}.a", b"%d" % number)
        reader = await context.pull_subscribe(f"{name}.>", "durable", config=api.ConsumerConfig(ack_wait=2))
        first, second, third = await reader.fetch(3, timeout=WAIT_S)
        await first.nak()
        await second.term()
        await third.in_progress()
        again = await reader.fetch(1, timeout=WAIT_S)
        told: list[object] = [(message.data, message.metadata.num_delivered) for message in again]
        await again[0].ack_sync()
        await third.ack_sync()
        info = await reader.consumer_info()
        return [*told, info.num_ack_pending, info.ack_floor.stream_seq]


@cells.add("ack: redelivery after the wait, at most so often")
async def redelivery(place: Place) -> object:
    async with stream(place) as (context, name):
        await context.publish(f"{name}.a", b"x")
        reader = await context.pull_subscribe(
            f"{name}.>", "durable", config=api.ConsumerConfig(ack_wait=0.1, max_deliver=3)
        )
        counts = []
        for _ in range(3):
            [message] = await reader.fetch(1, timeout=WAIT_S)
            counts.append(message.metadata.num_delivered)
        return [counts, await refused(reader.fetch(1, timeout=0.4))]


@cells.add("ack: nak with a delay, back-off")
async def backoff(place: Place) -> object:
    async with stream(place) as (context, name):
        await context.publish(f"{name}.a", b"x")
        config = api.ConsumerConfig(max_deliver=4, backoff=[0.05, 0.1, 0.2])
        reader = await context.pull_subscribe(f"{name}.>", "durable", config=config)
        counts = []
        for _ in range(3):
            [message] = await reader.fetch(1, timeout=WAIT_S)
            counts.append(message.metadata.num_delivered)
        await message.nak(delay=0.05)
        [message] = await reader.fetch(1, timeout=WAIT_S)
        await message.ack_sync()
        return [*counts, message.metadata.num_delivered]


@cells.add("ack: at most so many pending")
async def max_pending(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(5):
            await context.publish(f"{name}.a", b"%d" % number)
        reader = await context.pull_subscribe(f"{name}.>", "durable", config=api.ConsumerConfig(max_ack_pending=2))
        found = await reader.fetch(5, timeout=0.5)
        told = [len(found)]
        for message in found:
            await message.ack_sync()
        return [*told, len(await reader.fetch(5, timeout=0.5))]


@cells.add("consumer: where it starts")
async def deliver_policies(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(6):
            await context.publish(f"{name}.{number % 2}", b"%d" % number)
        told = []
        configs: list[dict[str, Any]] = [
            {"deliver_policy": "all"}, {"deliver_policy": "last"}, {"deliver_policy": "last_per_subject"},
            {"deliver_policy": "by_start_sequence", "opt_start_seq": 4}, {"deliver_policy": "new"},
        ]  # fmt: skip
        for number, config in enumerate(configs):
            reader = await context.pull_subscribe(f"{name}.>", f"d{number}", config=api.ConsumerConfig(**config))
            try:
                told.append([message.data for message in await reader.fetch(10, timeout=0.3)])
            except TimeoutError:
                told.append([])
        return told


@cells.add("consumer: filters")
async def filters(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(9):
            await context.publish(f"{name}.{number % 3}", b"%d" % number)
        one = await context.pull_subscribe(f"{name}.1", "one")
        config = api.ConsumerConfig(
            filter_subjects=[f"{name}.0", f"{name}.2"], durable_name="two", ack_policy="explicit"
        )
        await context.add_consumer(name, config)
        two = await context.pull_subscribe_bind("two", name)
        return [[message.data for message in await reader.fetch(9, timeout=0.3)] for reader in (one, two)]


@cells.add("consumer: create, list, update, pause, delete")
async def manage_consumers(place: Place) -> object:
    async with stream(place) as (context, name):
        made = await context.add_consumer(name, durable_name="c", ack_policy="explicit", description="words")
        config = made.config
        told: list[object] = [
            config.ack_wait,
            config.max_deliver,
            config.max_ack_pending,
            config.max_waiting,
            config.deliver_policy,
            config.replay_policy,
        ]
        told.append([each.name for each in await context.consumers_info(name)])
        told.append(
            (
                await context.add_consumer(name, durable_name="c", ack_policy="explicit", description="other")
            ).config.description
        )
        told.append(await refused(context.add_consumer(name, durable_name="c", ack_policy="none")))
        told.append(await context.delete_consumer(name, "c"))
        return [*told, await refused(context.consumer_info(name, "c"))]


@cells.add("push: a durable consumer")
async def push(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(5):
            await context.publish(f"{name}.a", b"%d" % number)
        subscription = await context.subscribe(f"{name}.>", durable="d", manual_ack=True)
        found = await take(subscription, 5)
        for message in found:
            await message.ack_sync()
        info = await subscription.consumer_info()
        return [[message.data for message in found], info.ack_floor.stream_seq, info.config.deliver_subject is not None]


@cells.add("push: a queue group")
async def push_queue(place: Place) -> object:
    async with stream(place) as (context, name):
        members = [await context.subscribe(f"{name}.>", "q", durable="q") for _ in range(2)]
        for number in range(100):
            await context.publish(f"{name}.a", b"%d" % number)
        async with asyncio.timeout(WAIT_S):
            while sum(member.pending_msgs for member in members) < 100:
                await asyncio.sleep(0.01)
        return [sum(member.pending_msgs for member in members), all(member.pending_msgs > 10 for member in members)]


@cells.add("push: flow control and heartbeats")
async def flow_control(place: Place) -> object:
    async with stream(place) as (context, name):
        payload = b"x" * 10_000
        for _ in range(300):
            await context.publish_async(f"{name}.a", payload)
        await context.publish_async_completed()
        subscription = await context.subscribe(f"{name}.>", flow_control=True, idle_heartbeat=0.3)
        found = [await subscription.next_msg(timeout=WAIT_S) for _ in range(300)]
        return [len(found), found[-1].metadata.sequence.stream]


@cells.add("push: an ordered consumer")
async def ordered(place: Place) -> object:
    async with stream(place) as (context, name):
        for number in range(200):
            await context.publish_async(f"{name}.a", b"%d" % number)
        await context.publish_async_completed()
        subscription = await context.subscribe(f"{name}.>", ordered_consumer=True)
        found = [await subscription.next_msg(timeout=WAIT_S) for _ in range(200)]
        return [message.data for message in found] == [b"%d" % number for number in range(200)]


@cells.add("push: headers only")
async def headers_only(place: Place) -> object:
    async with stream(place) as (context, name):
        await context.publish(f"{name}.a", b"x" * 100, headers={"A": "1"})
        subscription = await context.subscribe(f"{name}.>", config=api.ConsumerConfig(headers_only=True))
        message = await subscription.next_msg(timeout=WAIT_S)
        return [message.data, message.headers]


@asynccontextmanager
async def bucket(place: Place, **config: Any) -> AsyncIterator[tuple[Any, Any]]:
    async with client(place) as connection:
        context = connection.jetstream(timeout=WAIT_S)
        name = place.name("bucket")
        yield context, await context.create_key_value(bucket=name, **config)
        await context.delete_key_value(name)


@cells.add("key-value: put, get, update, delete")
async def key_value(place: Place) -> object:
    async with bucket(place, history=3) as (_, store):
        told: list[object] = [
            await store.put("k", b"1"),
            await store.create("n", b"new"),
            await refused(store.create("n", b"again")),
        ]
        told += [await store.update("k", b"2", last=1), await refused(store.update("k", b"3", last=1))]
        entry = await store.get("k")
        told += [entry.value, entry.revision, (await store.get("k", revision=1)).value, await store.delete("k")]
        told += [await refused(store.get("k")), await refused(store.get("none"))]
        await store.put("k", b"back")
        return [*told, [each.operation for each in await store.history("k")], sorted(await store.keys())]


@cells.add("key-value: watch")
async def watch(place: Place) -> object:
    async with bucket(place) as (_, store):
        await store.put("a.1", b"old")
        watcher = await store.watch("a.>")
        told = [await watcher.updates(timeout=WAIT_S) for _ in range(2)]
        await store.put("a.2", b"new")
        await store.put("b.1", b"other")
        await store.delete("a.1")
        told += [await watcher.updates(timeout=WAIT_S) for _ in range(2)]
        await watcher.stop()
        return [each and (each.key, each.value, each.operation) for each in told]


@cells.add("key-value: purge, status, time to live")
async def key_value_more(place: Place) -> object:
    async with bucket(place, history=5, ttl=60) as (_, store):
        for number in range(4):
            await store.put("k", b"%d" % number)
        await store.purge("k")
        status = await store.status()
        return [status.values, status.history, status.ttl, len(await store.history("k"))]


@cells.add("object store: put, get, list, delete")
async def objects(place: Place) -> object:
    async with client(place) as connection:
        context = connection.jetstream(timeout=WAIT_S)
        name = place.name("bucket")
        store = await context.create_object_store(name)
        data = bytes(range(256)) * 2000
        made = await store.put("file", data)
        told: list[object] = [made.size, made.chunks, made.digest, (await store.get("file")).data == data]
        await store.put("other", b"small")
        told.append(sorted(each.name for each in await store.list()))
        await store.delete("file")
        told += [await refused(store.get("file")), (await store.status()).sealed]
        await context.delete_object_store(name)
        return told


@cells.add("account: information and limits")
async def account(place: Place) -> object:
    async with client(place) as connection:
        found = await connection.jetstream(timeout=WAIT_S).account_info()
        return [found.limits.max_memory, found.limits.max_storage, found.limits.max_streams, found.streams >= 0]


@cells.add("security: user and password")
async def users(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    other = Place(address)
    told: list[object] = []
    for user, password in (
        (place.options["user"], place.options["password"]),
        (place.options["user"], "wrong"),
        (None, None),
    ):
        try:
            async with client(other, user=user, password=password) as connection:
                told.append(connection.is_connected)
        except Error as error:
            told.append(said_by(error))
    return told


@cells.add("security: permissions")
async def permissions(place: Place) -> object:
    address = place.option("users", "the target was started without users")
    errors: list[str] = []

    async def keep(error: Exception) -> None:
        errors.append(str(error))

    settings = {"user": place.options["user"], "password": place.options["password"], "error_cb": keep}
    async with client(Place(address), **settings) as connection:
        await connection.publish("forbidden.subject", b"x")
        await connection.subscribe("forbidden.subject")
        await connection.flush()
        async with asyncio.timeout(WAIT_S):
            while len(errors) < 2:
                await asyncio.sleep(0.01)
    return errors
