"""The driver against real sockets on both loops: however bytes come, whoever does not read, and every way to end."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
from contextlib import asynccontextmanager

import pytest
import uvloop

from protocols.api import WireError
from protocols.outbox import Outbox
from substrate.api import DEFAULT_ACCOUNT, Ack, Address, Appended, CreateTopic, Group
from substrate.memory import MemoryEngine
from thalweg.config import Config
from thalweg.gateway import Driver, Gateway, accept

ORDERS = Address(b"orders")
DEADLINE_S = 20


class Framed:
    """Frames of a 4-byte length, echoed. A first byte of the body may ask for more: see ``frame``."""

    def __init__(self, port, outbox_bytes_max=8 << 20):
        self.port = port
        self.reads = 0
        self.outbox = Outbox(outbox_bytes_max)
        self.deadline_ns = 0
        self.closing = self.blocked = False
        self.wants_bytes = 0
        self.ended = 0
        self.receives = 0
        self.now_ns = 0
        self.heard = 0

    @property
    def deadline_ns(self):
        self.reads -= 1
        if self.reads == 0:
            raise ZeroDivisionError("the deadline is wrong")
        return self._deadline_ns

    @deadline_ns.setter
    def deadline_ns(self, at_ns):
        self._deadline_ns = at_ns

    def opened(self, peer, now_ns):
        self.outbox.answer(frame(b"hello"))

    def receive(self, data, start, end, now_ns):
        self.receives += 1
        self.now_ns = now_ns
        self.wants_bytes = 0
        while end - start >= 4 and not self.closing and not self.blocked:
            (size,) = struct.unpack_from(">I", data, start)
            if size > 64 << 20:
                self.outbox.answer(frame(b"too large"))
                raise WireError("too large")
            if end - start < 4 + size:
                self.wants_bytes = 4 + size
                break
            self.frame(bytes(data[start + 4 : start + 4 + size]))
            start += 4 + size
        return start

    def frame(self, body):
        self.heard += 1
        kind = body[:1]
        if kind == b"d":  # durable
            route = self.port.resolve(DEFAULT_ACCOUNT, ORDERS)
            self.port.publish(route, Group.of(ORDERS, body), "", Ack.DURABLE, 1)
        elif kind == b"q":
            self.outbox.answer(frame(b"bye"))
            self.closing = True
        elif kind == b"!":
            raise ZeroDivisionError("the session is wrong")
        elif kind == b"a":  # alarm: the tick answers
            self.deadline_ns = self.now_ns + 1_000_000
        elif kind == b"b":  # blocked until the alarm
            self.blocked = True
            self.deadline_ns = self.now_ns + 1_000_000
        elif kind == b"f":  # wrong when the driver looks at it the second time: at the end of the turn
            self.reads = 2
            self.outbox.answer(frame(body))
        elif kind == b"x":  # the alarm itself is wrong
            self.deadline_ns = 1
        elif kind == b"m":  # many bytes
            self.outbox.answer(frame(b"m" * int(body[1:])))
        else:
            self.outbox.answer(frame(body))

    def answered(self, token, answer):
        assert isinstance(answer, Appended)
        self.outbox.answer_at(frame(b"at %d" % answer.base), answer.shard, answer.commit)

    def tick(self, now_ns):
        if self.deadline_ns == 1:
            raise ZeroDivisionError("the tick is wrong")
        self.deadline_ns = 0
        self.blocked = False
        self.outbox.answer(frame(b"tick"))

    def eof(self, now_ns):
        self.ended += 1

    def stop(self, now_ns):
        self.closing = True


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


class Served:
    def __init__(self, driver, engine, address):
        self.driver = driver
        self.engine = engine
        self.address = address
        self.sessions = []

    async def connect(self, **more):
        return await asyncio.open_connection(*self.address, **more)

    async def gone(self):
        """Every connection has ended."""
        while self.driver.connections["framed"]:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def served(delayed=False, outbox_bytes_max=8 << 20):
    loop = asyncio.get_running_loop()
    engine = MemoryEngine(delayed=delayed)
    made = []

    def factory(port):
        made.append(Framed(port, outbox_bytes_max))
        return made[-1]

    driver = Driver(loop, engine, Config(), [], {"framed": factory})
    driver.log = lambda event, detail: None
    driver.sequencer.open(1)
    driver.sequencer.call("topics", CreateTopic(DEFAULT_ACCOUNT, ORDERS), None, 1)
    driver.flush()
    if delayed:
        engine.flush()
    server = await loop.create_server(lambda: accept(loop, driver, "framed"), "127.0.0.1", 0)
    found = Served(driver, engine, server.sockets[0].getsockname()[:2])
    found.sessions = made
    try:
        yield found
    finally:
        server.close()
        for connection in list(driver.connections["framed"]):
            connection.abort()


async def read_frame(reader) -> bytes:
    (size,) = struct.unpack(">I", await reader.readexactly(4))
    return await reader.readexactly(size)


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=LOOPS)
def run(request):
    def runs(scenario):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(scenario(), DEADLINE_S))

    return runs


def test_frames_are_answered_however_they_are_cut(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            assert await read_frame(reader) == b"hello"
            bodies = [b"one", b"", b"t" * 1000, b"z" * 70_000, b"e" * 300_000, b"n"]
            data = b"".join(map(frame, bodies))
            for size in (3, 1000, 65_536, len(data)):
                for at in range(0, min(len(data), 200 * size), size):
                    writer.write(data[at : at + size])
                    await writer.drain()
                    await asyncio.sleep(0)
                writer.write(data[200 * size :])
                for body in bodies:
                    assert await read_frame(reader) == body
            writer.close()
            await gateway.gone()
            assert gateway.sessions[0].ended == 1

    run(scenario)


def test_a_large_frame_is_received_once_it_is_whole(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            await read_frame(reader)
            writer.write(frame(b"L" * (5 << 20)))
            assert len(await read_frame(reader)) == 5 << 20
            assert gateway.sessions[0].receives < 40, "not once for each read of 256 KiB and less"
            writer.close()

    run(scenario)


def test_many_connections_share_the_read_buffer_and_none_sees_anothers_bytes(run):
    async def scenario():
        async with served() as gateway:
            peers = [await gateway.connect() for _ in range(20)]
            for reader, _ in peers:
                await read_frame(reader)
            bodies = [b"%03d" % index * 3000 for index in range(20)]
            for half in (0, 1):
                for (_, writer), body in zip(peers, bodies, strict=True):
                    whole = frame(body)
                    writer.write(whole[: len(whole) // 2] if half == 0 else whole[len(whole) // 2 :])
                await asyncio.sleep(0.01 if half == 0 else 0)
            for (reader, writer), body in zip(peers, bodies, strict=True):
                assert await read_frame(reader) == body
                writer.close()
            await gateway.gone()

    run(scenario)


def test_an_answer_behind_a_commit_leaves_when_it_is_durable(run):
    async def scenario():
        async with served(delayed=True) as gateway:
            reader, writer = await gateway.connect()
            await read_frame(reader)
            writer.write(frame(b"d") + frame(b"next"))
            while (
                gateway.engine._written < gateway.driver.sequencer.layer.commit_next - 1
                or not gateway.sessions[0].heard
            ):
                await asyncio.sleep(0.001)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.05)
            gateway.engine.flush()
            assert (await read_frame(reader), await read_frame(reader)) == (b"at 0", b"next")
            writer.close()

    run(scenario)


def test_an_answer_that_is_durable_within_its_turn_leaves_with_it(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            await read_frame(reader)
            for expected in range(3):
                writer.write(frame(b"d"))
                assert await read_frame(reader) == b"at %d" % expected
            writer.close()

    run(scenario)


def test_a_wrong_frame_costs_its_connection_after_the_goodbye(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            await read_frame(reader)
            writer.write(struct.pack(">I", 1 << 30) + b"x" * 100_000)
            assert await read_frame(reader) == b"too large"
            assert await reader.read() == b""
            writer.close()
            await gateway.gone()
            assert gateway.driver.counters.get("session_crashes", 0) == 0

    run(scenario)


def test_a_session_that_is_wrong_dies_alone(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            other_reader, other_writer = await gateway.connect()
            await read_frame(reader)
            await read_frame(other_reader)
            writer.write(frame(b"!"))
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await read_frame(reader)
            other_writer.write(frame(b"still here"))
            assert await read_frame(other_reader) == b"still here"
            assert (
                gateway.sessions[0].ended == 1
                and sum(count for event, count in gateway.driver.counters.items() if "crash" in event) == 1
            )
            writer.close()
            other_writer.close()

    run(scenario)


def test_a_session_that_is_wrong_at_the_end_of_a_turn_keeps_nobody_elses_answers(run):
    async def scenario():
        async with served() as gateway:
            clients = [await gateway.connect() for _ in range(3)]
            for reader, _ in clients:
                await read_frame(reader)
            for count in range(20):  # in one turn with the wrong one, before and behind it
                for index, (_, writer) in enumerate(clients):
                    if index != 1 or count <= 10:
                        writer.write(frame(b"f" if index == 1 and count == 10 else b"e%d" % count))
                for index in (0, 2):
                    assert await read_frame(clients[index][0]) == b"e%d" % count
            assert sum(count for event, count in gateway.driver.counters.items() if "crash" in event) == 1
            for _, writer in clients:
                writer.close()

    run(scenario)


def test_a_tick_that_is_wrong_costs_its_connection_and_no_others_deadline(run):
    async def scenario():
        async with served() as gateway:
            wrong_reader, wrong = await gateway.connect()
            reader, writer = await gateway.connect()
            await read_frame(wrong_reader)
            await read_frame(reader)
            wrong.write(frame(b"x"))
            writer.write(frame(b"a"))
            assert await read_frame(reader) == b"tick"
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await read_frame(wrong_reader)
            writer.close()
            wrong.close()

    run(scenario)


def test_a_blocked_session_is_given_the_rest_when_it_is_unblocked(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            await read_frame(reader)
            writer.write(frame(b"b") + frame(b"one") + frame(b"two"))
            assert [await read_frame(reader) for _ in range(3)] == [b"tick", b"one", b"two"]
            writer.write(frame(b"three"))
            assert await read_frame(reader) == b"three"
            writer.close()

    run(scenario)


def test_a_peer_that_does_not_read_is_cut_off_at_its_bound_and_others_go_on(run):
    async def scenario():
        async with served(outbox_bytes_max=4 << 20) as gateway:
            _, slow = await gateway.connect(limit=1)
            reader, writer = await gateway.connect()
            await read_frame(reader)
            for _ in range(20):
                slow.write(frame(b"m1000000"))
            while len(gateway.driver.connections["framed"]) == 2:
                writer.write(frame(b"ping"))
                assert await read_frame(reader) == b"ping"
            assert (
                gateway.driver.counters.get("framed_slow_consumers", 0)
                + gateway.driver.counters.get("framed_slow_consumers_total", 0)
                == 1
            )
            slow.close()
            writer.close()

    run(scenario)


def test_a_large_answer_arrives_whole_at_a_peer_that_reads_late(run):
    async def scenario():
        async with served(outbox_bytes_max=64 << 20) as gateway:
            reader, writer = await gateway.connect(limit=4096)
            await read_frame(reader)
            for _ in range(6):
                writer.write(frame(b"m3000000"))
            await asyncio.sleep(0.05)
            for _ in range(6):
                assert await read_frame(reader) == b"m" * 3_000_000
            writer.close()

    run(scenario)


def test_a_closing_session_says_its_last_word_and_then_the_end_comes(run):
    async def scenario():
        async with served() as gateway:
            reader, writer = await gateway.connect()
            await read_frame(reader)
            writer.write(frame(b"q") + frame(b"never answered") + b"x" * 10_000)
            assert await read_frame(reader) == b"bye"
            assert await reader.read() == b"", "the end, and no reset"
            writer.close()
            await gateway.gone()
            assert gateway.sessions[0].ended == 1

    run(scenario)


def test_a_closing_session_whose_peer_reads_nothing_does_not_stay(run):
    async def scenario():
        async with served(outbox_bytes_max=64 << 20) as gateway:
            _, writer = await gateway.connect(limit=1)
            for _ in range(20):
                writer.write(frame(b"m1000000"))
            writer.write(frame(b"q"))
            await gateway.gone()
            assert gateway.sessions[0].ended == 1
            writer.close()

    run(scenario)


def test_what_a_peer_asked_for_before_it_shut_its_side_is_still_answered(run):
    async def scenario():
        async with served(delayed=True) as gateway:
            reader, writer = await gateway.connect()
            writer.write(frame(b"d") + frame(b"last"))
            writer.write_eof()
            while not gateway.sessions or gateway.sessions[0].heard < 2:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            gateway.engine.flush()
            assert [await read_frame(reader) for _ in range(3)] == [b"hello", b"at 0", b"last"]
            assert await reader.read() == b""
            writer.close()
            await gateway.gone()
            assert gateway.sessions[0].ended == 1

    run(scenario)


def test_a_connection_above_the_limit_is_refused(run):
    async def scenario():
        async with served() as gateway:
            gateway.driver.limits["framed"] = 1
            reader, writer = await gateway.connect()
            assert await read_frame(reader) == b"hello"
            refused, second = await gateway.connect()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await read_frame(refused)
            writer.write(frame(b"still"))
            assert await read_frame(reader) == b"still"
            writer.close()
            second.close()

    run(scenario)


def test_the_whole_gateway_serves_on_either_loop(run):
    async def scenario():
        config = Config(data=":memory:")
        for name in ("kafka", "mqtt", "resp", "nats"):
            listen = "127.0.0.1:0" if name == "nats" else "off"
            config = dataclasses.replace(config, **{name: dataclasses.replace(getattr(config, name), listen=listen)})
        async with Gateway(config) as gateway:
            reader, writer = await asyncio.open_connection(*gateway.listeners["nats"])
            assert (await reader.readline()).startswith(b"INFO ")
            writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
            assert await reader.readline() == b"PONG\r\n"
            writer.close()

    run(scenario)
