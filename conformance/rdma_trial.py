"""The RDMA transport on this machine's real device, for the guests that ``make test-rdma`` boots.

python -m conformance.rdma_trial alone  --host 10.9.0.1             both ends here: verbs, links, speed
python -m conformance.rdma_trial listen --host 10.9.1.1 --port P    one end on each of two machines
python -m conformance.rdma_trial dial   --host 10.9.1.1 --port P
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from conformance.fanouts import FanoutCase, check_fanout
from conformance.links import LinkCase, Recorder, check_link
from conformance.verbs import check_verbs
from transports.api import Fanout, Link, SubscriberHandler
from transports.rdma import RdmaTransport
from transports.rdma_fanout import RdmaFanout, RdmaSubscriber
from transports.verbs import NoRdma, Verbs, find

SEED = 17
FRAMES = 400
LIMIT_S = 150.0
PORT = 7471


async def settle(until: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not until():
            await asyncio.sleep(0.001)


def fanout_case(verbs: Verbs, host: str) -> FanoutCase:
    async def start(session: bytes) -> RdmaFanout:
        fanout = RdmaFanout(verbs, f"rdma://{host}:0", session)
        await fanout.listen()
        return fanout

    def subscribe(
        fanout: Fanout, session: bytes, handler: SubscriberHandler, repairers: Sequence[tuple[str, int]], wanted: int
    ) -> RdmaSubscriber:
        assert isinstance(fanout, RdmaFanout)
        return RdmaSubscriber(verbs, fanout.address, host, session, handler, repairers, wanted)

    return FanoutCase(start, subscribe, host)


async def alone(host: str) -> dict[str, object]:
    """The checks between two queue pairs of one device, and what a round trip and a byte cost."""
    verbs = find()
    began = time.monotonic()
    check_verbs(verbs, host)
    verbs_s = time.monotonic() - began
    transport = RdmaTransport(verbs)
    await check_link(LinkCase(transport, transport, f"rdma://{host}:0", settle))
    await check_fanout(fanout_case(verbs, host))
    near, far = Recorder(), Recorder()
    listener = await transport.listen(f"rdma://{host}:0", lambda: far)
    link = await transport.connect(listener.address, near)
    await settle(lambda: far.link is not None)
    assert far.link is not None
    began = time.perf_counter()
    for index in range(100):
        link.send(b"ping")
        await settle(lambda: len(far.frames) > index)  # noqa: B023
        far.link.send(b"pong")
        await settle(lambda: len(near.frames) > index)  # noqa: B023
    round_trip_s = (time.perf_counter() - began) / 100
    began = time.perf_counter()
    for _ in range(64):
        link.send(bytes(65536))
    await settle(lambda: len(far.frames) == 164)
    return {
        "verbs_s": round(verbs_s, 2),
        "round_trip_us": round(round_trip_s * 1e6),
        "mb_per_s": round(64 * 65536 / (time.perf_counter() - began) / 1e6, 1),
    }


def frames() -> Iterator[bytes]:
    """The same on both machines."""
    chance = random.Random(SEED)
    for index in range(FRAMES):
        size = chance.choice((0, 1, 40, 1000, 9000, 70_000))
        yield index.to_bytes(4, "big") + chance.randbytes(size)


class Echo(Recorder):
    def received(self, frame: memoryview) -> None:
        super().received(frame)
        assert self.link is not None
        self.link.send(frame)


async def listen(host: str, port: int) -> dict[str, object]:
    """Send back what comes, until the peer closes."""
    echo = Echo()
    listener = await RdmaTransport(find()).listen(f"rdma://{host}:{port}", lambda: echo)
    await settle(lambda: bool(echo.reasons))
    await listener.close()
    assert echo.frames == list(frames()) and echo.reasons == ["that was all"], echo.reasons
    return {"frames": len(echo.frames), "bytes": echo.received_bytes}


async def dial(host: str, port: int) -> dict[str, object]:
    """Send what ``frames`` gives and expect it back, whole and in order."""
    near = Recorder()
    link = await connect(host, port, near)
    began = time.monotonic()
    for frame in frames():
        if link.credit < len(frame):
            await settle(lambda: link.credit >= len(frame))  # noqa: B023
        link.send(frame)
    await settle(lambda: len(near.frames) == FRAMES)
    assert near.frames == list(frames())
    link.close("that was all")
    await settle(lambda: bool(near.reasons))
    return {"frames": FRAMES, "bytes": near.received_bytes, "seconds": round(time.monotonic() - began, 2)}


async def connect(host: str, port: int, handler: Recorder) -> Link:
    """Waits for the other machine to listen."""
    transport = RdmaTransport(find())
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await transport.connect(f"rdma://{host}:{port}", handler)
            except (OSError, NoRdma) as error:
                print(f"waiting for {host}: {error}", file=sys.stderr)
                await asyncio.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.rdma_trial", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("role", choices=("alone", "listen", "dial"))
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=PORT)
    options = parser.parse_args()
    try:
        if options.role == "alone":
            found = asyncio.run(alone(options.host))
        else:
            found = asyncio.run((listen if options.role == "listen" else dial)(options.host, options.port))
    except NoRdma as why:
        print(f"rdma: {why}")
        return 1
    print(f"RDMA_{options.role.upper()} {json.dumps(found)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
