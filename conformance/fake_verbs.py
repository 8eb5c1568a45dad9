"""Verbs in memory: queue pairs of one process, for the RDMA transport's tests where there is no device.

``conformance.verbs`` holds it to what real ones do.
"""

from __future__ import annotations

import os
from collections import deque

from transports.verbs import NAME, Completion, NoRdma, Region, VerbsError

GID = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"


class FakeVerbs:
    """A fabric of its own."""

    def __init__(self) -> None:
        self.pairs: dict[int, FakeQueuePair] = {}
        self._numbers = 0

    def region(self, host: str, size: int) -> FakeRegion:
        if not host.startswith("127."):
            raise NoRdma(f"no RDMA device has the address {host}")
        return FakeRegion(size)

    def queue_pair(self, region: Region, ring: int, depth: int) -> FakeQueuePair:
        assert isinstance(region, FakeRegion)
        self._numbers += 1
        pair = self.pairs[self._numbers] = FakeQueuePair(self, self._numbers, region, ring, depth)
        return pair


class FakeRegion:
    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)

    def fill(self, at: int, data: bytes | memoryview) -> None:
        if at + len(data) > len(self.memory):
            raise ValueError("beyond the region")
        self.memory[at : at + len(data)] = data

    def close(self) -> None:
        """Nobody sends from it any more."""
        self.memory = bytearray()


class FakeQueuePair:
    def __init__(self, fabric: FakeVerbs, number: int, region: FakeRegion, ring: int, depth: int) -> None:
        self._fabric = fabric
        self._number = number
        self._depth = depth
        self._key = number * 7919
        self._region = region
        self._ring = bytearray(ring)
        self._receives = 0
        self._waiting: deque[tuple[int, int, int, int]] = deque()  # posted writes that the peer has no receive for
        self._done: list[Completion] = []
        self._posted = 0  # writes whose completion was not polled
        self._far: tuple[int, int] | None = None
        self._broken = ""
        self._event = os.eventfd(0, os.EFD_NONBLOCK)
        self._closed = False
        self.name = NAME.pack(number, 0, self._key, 0, GID)

    def connect(self, peer: bytes) -> None:
        number, _, key, _, gid = NAME.unpack(peer)
        if gid[:12] != GID[:12]:
            raise VerbsError("no route to this GID")
        self._far = (number, key)

    def post_receive(self, count: int) -> None:
        if self._receives + count > self._depth:
            raise VerbsError("the receive queue is full")
        self._receives += count
        for pair in list(self._fabric.pairs.values()):
            if pair._far is not None and pair._far[0] == self._number:
                pair._progress()

    def take(self, at: int, size: int) -> bytes:
        return bytes(self._ring[at : at + size])

    def write(self, at: int, size: int, to: int, value: int) -> None:
        if self._far is None:
            raise VerbsError("not connected")
        if self._posted >= self._depth:
            raise VerbsError("the send queue is full")
        self._posted += 1
        self._waiting.append((at, size, to, value))
        self._progress()

    def _progress(self) -> None:
        while self._waiting and not self._broken:
            assert self._far is not None
            far = self._fabric.pairs.get(self._far[0])
            at, size, to, value = self._waiting[0]
            if far is None or far._broken:
                return self._break("the peer does not answer")
            if far._far is None or far._far[0] != self._number:
                return None  # it is not ready to receive yet
            if size and (far._key != self._far[1] or to + size > len(far._ring)):
                return self._break("remote access error")
            if not far._receives:
                return None
            self._waiting.popleft()
            far._ring[to : to + size] = self._region.memory[at : at + size]
            far._receives -= 1
            far._complete(Completion("arrived", value))
            self._complete(Completion("written"))
        if self._broken:
            self._flush()
        return None

    def _break(self, reason: str) -> None:
        self._broken = reason
        self._flush()

    def _flush(self) -> None:
        for _ in range(len(self._waiting)):
            self._complete(Completion("failed", reason=self._broken))
        self._waiting.clear()

    def _complete(self, completion: Completion) -> None:
        self._done.append(completion)
        if not self._closed:
            os.eventfd_write(self._event, 1)

    def poll(self) -> list[Completion]:
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            pass
        done, self._done = self._done, []
        self._posted -= sum(completion.kind != "arrived" for completion in done)
        return done

    def fileno(self) -> int:
        return self._event

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._broken = "closed"
            del self._fabric.pairs[self._number]
            os.close(self._event)
            for pair in list(self._fabric.pairs.values()):
                if pair._far is not None and pair._far[0] == self._number:
                    pair._progress()
