"""Writes checkpoints of the executors' states without stalling the loop.

A process of its own folds the state stream for itself, from the last checkpoint on: one more reader. The gateway feeds it
the stream's batches, as stored, through a pipe, and trims the stream below the older checkpoint when it is done.

    python -m thalweg.checkpointer DIR NAME POSITION    batches on stdin; begins from the checkpoint at POSITION (0: none)
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from substrate import batch as batches
from substrate import checkpoints
from substrate.api import RESERVED, Position
from substrate.engine import EngineError
from substrate.files import RealFiles

if TYPE_CHECKING:
    from protocols.api import Executor
    from protocols.local import LocalWorld
    from thalweg.gateway import Driver

LOOK_S = 1.0
PIECE_BYTES = 1024 * 1024
EXIT_S = 600.0


class Checkpointer:
    """The gateway's side: at most one checkpoint at a time, of a stream that grew by ``unfolded_bytes`` since its last one,
    or by as much as that one's size if that is more. ``trims``: what only the older checkpoint needs is removed."""

    def __init__(self, driver: Driver, files: RealFiles, unfolded_bytes: int, trims: bool = True) -> None:
        self._driver = driver
        self._files = files
        self._unfolded_bytes = unfolded_bytes
        self._trims = trims
        self._sizes: dict[str, int] = {}
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for world in self._driver.sequencer.worlds():
                if world.unfolded_bytes >= max(self._unfolded_bytes, self._sizes.get(world.executor.name, 0)):
                    try:
                        await self.write(world)
                    except (OSError, EngineError) as error:
                        self._driver.note("checkpoint_failures", f"{world.executor.name}: {error}")
                        await asyncio.sleep(LOOK_S * 10)

    async def write(self, world: LocalWorld) -> None:
        """One checkpoint of this executor, up to what is durable now."""
        sequencer = self._driver.sequencer
        name = world.executor.name
        start = self._newest(world)
        begun_bytes = world.unfolded_bytes
        until = sequencer.layer.streams[world.stream].durable
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "thalweg.checkpointer", self._files.path("."), name, str(start),
            stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await self._feed(child, world, start, until)
            if await asyncio.wait_for(child.wait(), EXIT_S) != 0:
                raise OSError(f"the checkpointer ended with {child.returncode}")
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        world.unfolded_bytes -= begun_bytes
        found = checkpoints.load(self._files, name)
        self._sizes[name] = max((len(made.state) for made in found), default=0)
        if self._trims and len(found) == 2 and found[1].last_base > 0 and world in sequencer.worlds():
            self._driver.enter()
            sequencer.layer.trim(world.stream, Position(found[1].last_base))
        self._driver.count("checkpoints_total")

    def _newest(self, world: LocalWorld) -> int:
        for made in checkpoints.load(self._files, world.executor.name):
            if made.version == world.executor.version and self._driver.sequencer.belongs(world.stream, made):
                return made.position
        return 0

    async def _feed(self, child: asyncio.subprocess.Process, world: LocalWorld, at: int, until: int) -> None:
        assert child.stdin is not None
        engine = self._driver.sequencer.layer.engine
        try:
            while at < until:
                for batch in engine.read(world.stream, Position(at), PIECE_BYTES):
                    header = batches.header(batch)
                    if header.base_offset >= until:
                        break
                    child.stdin.write(bytes(batch))
                    at = header.base_offset + header.last_offset_delta + 1
                await child.stdin.drain()
            child.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            raise OSError("the checkpointer went away") from None

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def executor(name: str) -> Executor:
    """A fresh one of this name. Raises: KeyError."""
    from substrate.marks import NAME, Marks
    from thalweg.executors import executors

    return cast("Executor", Marks()) if name == NAME else executors()[name]()


def fold(files: RealFiles, name: str, position: int, source: BinaryIO) -> checkpoints.Checkpoint:
    """The checkpoint behind what ``source`` holds.

    Raises:
        BatchError: it is not a sequence of batches.
        LookupError: there is no checkpoint at ``position``, or no executor of this name.
    """
    view = executor(name)
    start = next((made for made in checkpoints.load(files, name) if made.position == position), None)
    if position and start is None:
        raise LookupError(f"no checkpoint of {name} at {position}")
    if start is not None:
        view.load(start.state)
    follow = checkpoints.Fold(start)
    address = RESERVED + b"/" + (b"control" if name == "topics" else name.encode())
    while head := source.read(batches.HEADER_BYTES):
        rest = batches.header(head).length + 12 - batches.HEADER_BYTES
        for record in follow.take(head + source.read(rest), address):
            view.apply(record)
    return follow.checkpoint(name, view.version, view.dump())


def main(arguments: list[str]) -> int:
    root, name, position = arguments
    files = RealFiles(root)
    try:
        checkpoints.save(files, fold(files, name, int(position), sys.stdin.buffer))
    finally:
        files.shut()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
