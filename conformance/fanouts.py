"""What it means to be a Fanout with its Subscribers: one check, run on every implementation.

    await check_fanout(FanoutCase(start, subscribe))

``start(session)`` makes the sender, ``subscribe(fanout, session, handler, repairers, wanted)`` a receiver of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from transports import mold
from transports.api import Fanout, Frame, SubscriberHandler
from transports.multicast import RepairServer

SESSION = b"CHECK00001"
MESSAGES = 20_000
LIMIT_S = 30.0
PER_TURN = 50


class Subscriber(Protocol):
    def supply(self, start: int, messages: list[bytes]) -> None: ...
    def close(self) -> None: ...


@dataclass
class FanoutCase:
    start: Callable[[bytes], Awaitable[Fanout]]
    subscribe: Callable[[Fanout, bytes, SubscriberHandler, Sequence[tuple[str, int]], int], Subscriber]
    interface: str = "127.0.0.1"


class Log:
    """The sender's; the retransmit buffer."""

    def __init__(self, messages: list[bytes]) -> None:
        self.messages = messages

    def fetch(self, session: bytes, start: int, count: int) -> Sequence[Frame]:
        return self.messages[start - 1 : start - 1 + count] if session == SESSION else []


@dataclass
class Collector:
    """A handler that remembers, and catches up from the log where repair is not enough."""

    log: Log
    wanted: int = 1
    got: list[bytes] = field(default_factory=list)
    caught_up: int = 0
    over: bool = False
    subscriber: Subscriber | None = None

    def messages(self, start: int, messages: Sequence[memoryview]) -> None:
        assert start == self.wanted + len(self.got), "each once, in order"
        self.got += map(bytes, messages)

    def behind(self, next_wanted: int, next_sent: int) -> None:
        self.caught_up += 1
        found = [bytes(message) for message in self.log.messages[next_wanted - 1 : next_sent - 1]]
        assert self.subscriber is not None
        asyncio.get_running_loop().call_soon(self.subscriber.supply, next_wanted, found)

    def ended(self) -> None:
        self.over = True


async def check_fanout(case: FanoutCase) -> None:
    """Everything that ``transports.api`` promises of one to many.

    Raises:
        AssertionError: with what did not hold.
    """
    large = bytes(range(256)) * 40
    sizes = (0, 1, 60, 700, mold.MESSAGE_BYTES_MAX)
    log = Log([index.to_bytes(4, "big") + b"x" * max(0, sizes[index % 5] - 4) for index in range(MESSAGES)])
    log.messages[MESSAGES // 2] = large
    repair = RepairServer(log, case.interface)
    fanout = await case.start(SESSION)
    handlers = [Collector(log) for _ in range(3)] + [Collector(log, MESSAGES // 4 + 1)]
    for handler in handlers[:2]:
        subscribe(case, fanout, handler, repair)
    for at in range(0, MESSAGES, PER_TURN):
        if at == MESSAGES // 2 - PER_TURN:  # one from the beginning, one from a position of its own
            for handler in handlers[2:]:
                subscribe(case, fanout, handler, repair)
        assert fanout.publish(log.messages[at : at + PER_TURN]) == at + 1
        await asyncio.sleep(0)
    assert fanout.next == MESSAGES + 1
    async with asyncio.timeout(LIMIT_S):
        while any(len(handler.got) < MESSAGES - handler.wanted + 1 for handler in handlers):
            fanout.heartbeat()
            await asyncio.sleep(0.005)
        fanout.close()
        while not all(handler.over for handler in handlers):
            await asyncio.sleep(0.005)
    for handler in handlers:
        assert handler.got == log.messages[handler.wanted - 1 :], "the same for everybody"
        assert handler.caught_up, "what no packet holds is fetched over a link"
        assert handler.subscriber is not None
        handler.subscriber.close()
    repair.close()


def subscribe(case: FanoutCase, fanout: Fanout, handler: Collector, repair: RepairServer) -> None:
    handler.subscriber = case.subscribe(fanout, SESSION, handler, [repair.address], handler.wanted)
