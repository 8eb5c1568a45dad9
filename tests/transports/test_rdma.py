"""RDMA links on fake verbs keep every promise; what real ones do is checked by ``make test-rdma``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from conformance.fake_verbs import FakeVerbs
from conformance.fanouts import SESSION, Collector, Log, check_fanout
from conformance.links import LinkCase, Recorder, check_link
from conformance.rdma_trial import fanout_case
from conformance.verbs import check_verbs
from transports import rdma, verbs
from transports.multicast import RepairServer
from transports.rdma import RdmaTransport
from transports.rdma_fanout import RdmaFanout, RdmaSubscriber
from transports.verbs import NAME, NoRdma

DEADLINE_S = 20


async def settle(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not until():
            await asyncio.sleep(0.001)


def test_the_fake_does_what_verbs_do() -> None:
    check_verbs(FakeVerbs(), "127.0.0.1")


def test_rdma_links_keep_every_promise() -> None:
    transport = RdmaTransport(FakeVerbs())
    asyncio.run(check_link(LinkCase(transport, transport, "rdma://127.0.0.1:0", settle)))


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n" + bytes(200), rdma.HELLO + bytes(NAME.size), rdma.HELLO]
)
def test_a_stranger_at_the_bootstrap_costs_its_connection_only(said: bytes) -> None:
    async def run() -> None:
        transport = RdmaTransport(FakeVerbs())
        far = Recorder()
        listener = await transport.listen("rdma://127.0.0.1:0", lambda: far)
        reader, writer = await asyncio.open_connection(*listener.address.removeprefix("rdma://").split(":"))
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            await reader.read()
        writer.close()
        near = Recorder()
        link = await transport.connect(listener.address, near)
        link.send(b"fine")
        await settle(lambda: far.frames == [b"fine"])
        link.close()
        await listener.close()

    asyncio.run(run())


def test_a_silent_stranger_is_closed_by_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdma, "BOOTSTRAP_S", 0.05)

    async def run() -> None:
        listener = await RdmaTransport(FakeVerbs()).listen("rdma://127.0.0.1:0", Recorder)
        reader, writer = await asyncio.open_connection(*listener.address.removeprefix("rdma://").split(":"))
        async with asyncio.timeout(DEADLINE_S):
            await reader.read()  # until it is closed
        writer.close()
        await listener.close()

    asyncio.run(run())


def test_a_queue_pair_that_breaks_closes_both_ends() -> None:
    async def run() -> None:
        fabric = FakeVerbs()
        transport = RdmaTransport(fabric)
        near, far = Recorder(), Recorder()
        listener = await transport.listen("rdma://127.0.0.1:0", lambda: far)
        link = await transport.connect(listener.address, near)
        await settle(lambda: far.link is not None)
        for pair in list(fabric.pairs.values()):
            pair._break("the cable is out")
        link.send(b"lost")
        await settle(lambda: bool(near.reasons and far.reasons))
        assert "the cable is out" in near.reasons[0] and far.frames == []
        await listener.close()

    asyncio.run(run())


def test_without_a_device_there_is_one_clear_message() -> None:
    try:
        verbs.find()
    except NoRdma as why:
        assert "python3-pyverbs" in str(why) or "device" in str(why)


def test_rdma_fanout_keeps_every_promise() -> None:
    asyncio.run(check_fanout(fanout_case(FakeVerbs(), "127.0.0.1")))


def test_a_follower_whose_queue_pair_breaks_comes_back_and_misses_nothing() -> None:
    fabric = FakeVerbs()

    async def run() -> None:
        log = Log([b"%d" % index for index in range(3000)])
        repair = RepairServer(log, "127.0.0.1")
        fanout = RdmaFanout(fabric, "rdma://127.0.0.1:0", SESSION)
        await fanout.listen()
        handler = Collector(log)
        handler.subscriber = RdmaSubscriber(fabric, fanout.address, "127.0.0.1", SESSION, handler, [repair.address])
        await settle(lambda: len(fanout.followers) == 1)
        fanout.publish(log.messages[:1000])
        for pair in list(fabric.pairs.values()):
            pair._break("the cable is out")
        fanout.publish(log.messages[1000:2000])
        await settle(lambda: len(fanout.followers) == 1)
        fanout.publish(log.messages[2000:])

        def everything_is_there() -> bool:
            fanout.heartbeat()
            return handler.got == log.messages

        await settle(everything_is_there)
        handler.subscriber.close()
        fanout.close()
        repair.close()

    asyncio.run(run())
