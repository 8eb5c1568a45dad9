"""What it means to be a Link: one check, run on every transport.

    await check_link(LinkCase(transport, "tcp://127.0.0.1:0", settle))

``settle(until)`` lets the carrier work until the condition holds: for real ones it runs the loop, for the simulated
network it moves the clock. It fails by itself when the condition does not come.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from transports.api import FRAME_BYTES_MAX, WINDOW_BYTES, Link, LinkError, Transport

Settle = Callable[[Callable[[], bool]], Awaitable[None]]


@dataclass
class LinkCase:
    dialing: Transport
    listening: Transport
    address: str
    settle: Settle


@dataclass
class Recorder:
    """A handler that remembers; ``consumes`` grants back what it received at once."""

    consumes: bool = True
    keeps: bool = True
    link: Link | None = None
    frames: list[bytes] = field(default_factory=list)
    received_bytes: int = 0
    grants: int = 0
    reasons: list[str] = field(default_factory=list)

    def opened(self, link: Link) -> None:
        self.link = link

    def received(self, frame: memoryview) -> None:
        assert not self.reasons, "nothing is delivered after closed"
        self.received_bytes += len(frame)
        self.frames.append(bytes(frame) if self.keeps else b"")
        if self.consumes:
            assert self.link is not None
            self.link.grant(len(frame))

    def granted(self) -> None:
        self.grants += 1

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


async def check_link(case: LinkCase) -> None:
    """Everything that ``transports.api.Link`` promises.

    Raises:
        AssertionError: with what did not hold.
    """
    await check_order_and_sizes(case)
    await check_credit(case)
    await check_close(case)
    await check_refusals(case)
    await check_listener_close(case)


async def _pair(
    case: LinkCase, far: Recorder | None = None
) -> tuple[Recorder, Recorder, Callable[[], Awaitable[None]]]:
    near, far = Recorder(), far or Recorder()
    listener = await case.listening.listen(case.address, lambda: far)
    await case.dialing.connect(listener.address, near)
    await case.settle(lambda: near.link is not None and far.link is not None)
    return near, far, listener.close


async def check_order_and_sizes(case: LinkCase) -> None:
    near, far, close = await _pair(case)
    assert near.link is not None and far.link is not None
    sizes = [0, 1, 2, 3, 1000, 16 * 1024, 16 * 1024 + 1, 100_000, 1_000_000, 0, 7]
    largest = bytes(FRAME_BYTES_MAX)
    sent = [bytes((index % 256,)) * size for index, size in enumerate(sizes)] + [b"%d" % index for index in range(2000)]
    back = [frame[::-1] for frame in sent]
    for frame, answer in zip(sent, back, strict=True):
        near.link.send(memoryview(frame))
        far.link.send(bytearray(answer))
    await case.settle(lambda: len(far.frames) == len(sent) and len(near.frames) == len(back))
    assert far.frames == sent, "frames arrive whole and in order"
    assert near.frames == back, "in both directions at once"
    near.link.send(largest)
    await case.settle(lambda: far.frames[-1] == largest)
    await case.settle(lambda: near.link is not None and near.link.credit >= FRAME_BYTES_MAX)
    near.link.send(largest)  # what was consumed but not told yet never holds up a frame
    await case.settle(lambda: far.frames[-2:] == [largest, largest])
    near.link.close()
    await close()


async def check_credit(case: LinkCase) -> None:
    far = Recorder(consumes=False, keeps=False)
    near, far, close = await _pair(case, far)
    assert near.link is not None and far.link is not None
    size = 64 * 1024
    sent = 0
    while near.link.credit >= size:
        near.link.send(bytes(size))
        sent += size
        assert sent <= WINDOW_BYTES, "a window is a window"
    assert sent == WINDOW_BYTES
    try:
        near.link.send(b"x")
    except LinkError:
        pass
    else:
        raise AssertionError("a frame beyond the credit is refused")
    await case.settle(lambda: far.received_bytes == sent)
    assert near.grants == 0
    far.link.grant(sent)
    await case.settle(lambda: near.grants > 0)
    assert near.link.credit == WINDOW_BYTES, "what was consumed may be sent again"
    near.link.send(b"and on")
    await case.settle(lambda: far.received_bytes == sent + 6)
    near.link.close()
    await close()


async def check_close(case: LinkCase) -> None:
    near, far, close = await _pair(case)
    assert near.link is not None
    near.link.send(b"last words")
    near.link.close("done here")
    await case.settle(lambda: bool(near.reasons and far.reasons))
    assert far.frames == [b"last words"], "what was sent before close arrives"
    assert (near.reasons, far.reasons) == (["done here"], ["done here"]), "closed once on both sides, with the reason"
    near.link.close("again")
    assert near.link.credit == 0
    try:
        near.link.send(b"x")
    except LinkError:
        pass
    else:
        raise AssertionError("nothing is sent on a closed link")
    await close()


async def check_refusals(case: LinkCase) -> None:
    near, far, close = await _pair(case)
    assert near.link is not None
    try:
        near.link.send(bytes(FRAME_BYTES_MAX + 1))
    except LinkError:
        pass
    else:
        raise AssertionError("a frame beyond the limit is refused")
    near.link.send(b"still here")
    await case.settle(lambda: far.frames == [b"still here"])
    near.link.close()
    await close()


async def check_listener_close(case: LinkCase) -> None:
    near, _, close = await _pair(case)
    assert near.link is not None
    near.link.close()
    await close()
    refused = Recorder()
    try:
        await case.dialing.connect(case.address if ":0" not in case.address else near.link.peer, refused)
    except (OSError, ValueError):
        return
    await case.settle(lambda: bool(refused.reasons))
