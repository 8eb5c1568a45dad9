"""Links over RDMA: ``rdma://host:port``. Two endpoints meet over TCP, then bytes go by WRITE WITH IMMEDIATE.

The receiver's ring is SLOTS slots; a write fills the next one, its immediate value is the length. A slot may be written
again when the receiver said that it was read: credit, in slots, equals the receives that it has posted. Frames and byte
credit above are those of every stream (``transports.framing``): this is a carrier for the same link class.

The TCP connection stays open: when it ends, the peer is gone. A queue pair that breaks closes the link; the layer above
connects again and goes on at what was durable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any

from transports.api import Accept, LinkHandler
from transports.stream import StreamLink, StreamListener
from transports.verbs import NAME, NoRdma, QueuePair, Region, Verbs, VerbsError

SLOTS = 128
SLOT_BYTES = 64 * 1024
CREDIT_SLOTS = SLOTS // 4
"""Slots that were read are told in pieces of this."""
CONTROLS = 8
"""Receives kept for control values: there are never more than SLOTS / CREDIT_SLOTS + 1 on the way."""
CREDIT = 0x8000_0000
END = 0xFFFF_FFFF
HELLO = b"THALWEG RDMA 1\n"
READY = b"R"
BOOTSTRAP_S = 10.0
LINGER_S = 5.0
"""How long a closing link waits for a peer that does not read."""


class Carrier(asyncio.Transport):
    """What ``StreamLink`` writes to and hears from, over a queue pair."""

    def __init__(self, region: Region, pair: QueuePair, wire: asyncio.StreamWriter) -> None:
        super().__init__({"peername": wire.get_extra_info("peername")[:2]})
        self._region = region
        self._pair = pair
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol | None = None
        self._out: deque[memoryview] = deque()
        self._sent = self._written = self._credit = 0  # slots: written to, known to be there, read by the peer
        self._posted: deque[bool] = deque()  # writes on the way, oldest first: whether each fills a slot
        self._read = self._told = 0  # slots read here, and those the peer knows of
        self._closing = self._ended = self._lost = False

    def begin(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)
        self._loop.add_reader(self._pair.fileno(), self._event)
        self._event()

    # asyncio's transport

    def write(self, data: Any) -> None:
        if not self._closing and data:
            self._out.append(memoryview(bytes(data)))
            self._pump()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written still arrives, if the peer reads."""
        if not self._closing:
            self._closing = True
            self._loop.call_later(LINGER_S, self._end, None)
            self._pump()

    def abort(self) -> None:
        self._closing = True
        self._loop.call_soon(self._end, None)

    # the queue pair

    def _pump(self) -> None:
        try:
            while self._out and self._sent - min(self._written, self._credit) < SLOTS:
                slot = self._sent % SLOTS * SLOT_BYTES
                size = 0
                while self._out and size < SLOT_BYTES:
                    part = self._out[0]
                    fits = part[: SLOT_BYTES - size]
                    self._region.fill(slot + size, fits)
                    size += len(fits)
                    if len(fits) == len(part):
                        self._out.popleft()
                    else:
                        self._out[0] = part[len(fits) :]
                self._pair.write(slot, size, slot, size)
                self._posted.append(True)
                self._sent += 1
            if self._closing and not self._out and not self._ended:
                self._ended = True
                self._control(END)
        except VerbsError as error:
            self._end(ConnectionError(str(error)))

    def _control(self, value: int) -> None:
        self._pair.write(0, 0, 0, value)
        self._posted.append(False)

    def _event(self) -> None:
        while not self._lost:
            completions = self._pair.poll()
            if not completions:
                return
            for completion in completions:
                if self._lost:
                    return
                if completion.kind == "failed":
                    self._end(ConnectionError(completion.reason))
                elif completion.kind == "written":
                    self._completed()
                else:
                    self._arrived(completion.value)

    def _completed(self) -> None:
        """Writes complete in the order posted."""
        self._written += self._posted.popleft()
        if self._ended and not self._posted:
            self._end(None)
        else:
            self._pump()

    def _arrived(self, value: int) -> None:
        assert self._protocol is not None
        try:
            self._pair.post_receive(1)
            if value == END:
                self._end(None)
            elif value & CREDIT:
                self._credit += value & ~CREDIT
                if self._credit > self._sent:
                    raise VerbsError("credit for what was never sent")
                self._pump()
            else:
                if value > SLOT_BYTES or self._read - self._told >= SLOTS:
                    raise VerbsError(f"{value} bytes beyond what was granted")
                data = self._pair.take(self._read % SLOTS * SLOT_BYTES, value)
                self._read += 1
                self._protocol.data_received(data)
                if self._read - self._told >= CREDIT_SLOTS and not self._lost:
                    self._control(CREDIT | (self._read - self._told))
                    self._told = self._read
        except VerbsError as error:
            self._end(ConnectionError(str(error)))

    def _end(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._loop.remove_reader(self._pair.fileno())
        self._pair.close()
        self._region.close()
        self._wire.close()
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    async def watch(self, reader: asyncio.StreamReader) -> None:
        """The bootstrap connection ends with the peer: what it wrote before arrives by the queue pair first."""
        with contextlib.suppress(OSError):
            await reader.read(1)
        if not self._lost:
            self._event()
        self._end(None if self._closing else ConnectionResetError("the peer is gone"))


class RdmaTransport:
    """``rdma://host:port``; the port is the bootstrap's, the device is the one that has the address."""

    scheme = "rdma"

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, address: str, accept: Accept) -> StreamListener:
        host, port = host_port(address)
        listener = StreamListener(self.scheme, accept)

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, NoRdma):
                await self._link(reader, writer, listener.made)

        server = await asyncio.start_server(meet, host, port)
        found = server.sockets[0].getsockname()
        listener.serves(server, f"rdma://{found[0]}:{found[1]}")
        return listener

    async def connect(self, address: str, handler: LinkHandler) -> StreamLink:
        """
        Raises:
            OSError: nobody listens, or who does speaks something else.
            NoRdma: no device has the address that leads there.
        """
        reader, writer = await asyncio.open_connection(*host_port(address))
        return await self._link(reader, writer, lambda: StreamLink(handler, self.scheme))

    async def _link(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, make: Callable[[], StreamLink]
    ) -> StreamLink:
        region: Region | None = None
        try:
            region = self._verbs.region(writer.get_extra_info("sockname")[0], SLOTS * SLOT_BYTES)
            pair = await meet(self._verbs, region, SLOTS * SLOT_BYTES, SLOTS + CONTROLS, reader, writer)
        except (OSError, NoRdma):
            if region is not None:
                region.close()
            writer.close()
            raise
        link = make()
        carrier = Carrier(region, pair, writer)
        carrier.begin(link)
        task = asyncio.get_running_loop().create_task(carrier.watch(reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return link


async def meet(
    verbs: Verbs, region: Region, ring: int, depth: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> QueuePair:
    """The bootstrap, the same on both sides: exchange names, connect the pairs, say so. ``depth`` receives are posted.

    Raises:
        OSError: the peer speaks something else, or does not answer within BOOTSTRAP_S.
    """
    pair = verbs.queue_pair(region, ring, depth)
    try:
        pair.post_receive(depth)
        writer.write(HELLO + pair.name)
        async with asyncio.timeout(BOOTSTRAP_S):
            said = await reader.readexactly(len(HELLO) + NAME.size)
            if said[: len(HELLO)] != HELLO:
                raise ConnectionError("the peer does not speak this version of the bootstrap")
            pair.connect(said[len(HELLO) :])
            writer.write(READY)
            if await reader.readexactly(1) != READY:
                raise ConnectionError("the peer is not ready")
    except (OSError, EOFError, VerbsError) as error:
        pair.close()
        raise ConnectionError(f"no RDMA connection: {error or 'no answer'}") from None
    return pair


def host_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("rdma://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"{address!r} is not rdma://host:port")
    return host, int(port)
