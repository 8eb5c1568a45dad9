"""A turn's batches on their way into the segments: checked first, then cut into runs and written.

A *run* is what one entry of a commit frame describes: batches of one stream, one segment, one leader epoch, all in the frame
or all by reference. The work is per batch; records stay closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from substrate.api import Durability, ErrorCode
from substrate.disk.batches import HEADER_BYTES, PLACE, chain_of
from substrate.disk.frames import ENTRY, MARKED, REFERENCE
from substrate.disk.segments import Segments
from substrate.disk.stream import DiskStream
from substrate.disk.tail import TailCache
from substrate.engine import Batch, EngineError, Part

Place = tuple[int, ...]
"""A batch's header as ``PLACE`` unpacks it: base, length, epoch, magic, CRC, last offset delta, max timestamp."""


class Turns:
    def __init__(self, store: Segments, tail: TailCache, reference_bytes: int) -> None:
        self.store = store
        self.tail = tail
        self.reference_bytes = reference_bytes
        self.written_bytes = 0
        self.referenced_bytes = 0
        """Since the last checkpoint, which sets it to 0."""

    def check(self, streams: Mapping[int, DiskStream], parts: Sequence[Part]) -> tuple[list[list[Place]], int]:
        """Every batch's place, unpacked once, and the bytes of those that the journal takes. Changes nothing.

        Raises:
            EngineError: NO_STREAM, INVALID.
        """
        unpack = PLACE.unpack_from
        reference_from = self.reference_bytes
        found = []
        inline = 0
        seen: dict[int, int] = {}
        for part in parts:
            stream = streams.get(part.stream)
            if stream is None:
                raise EngineError(ErrorCode.NO_STREAM, f"stream {part.stream}")
            end = stream.end if stream.memory is None else stream.memory.end
            base = seen.get(part.stream, end) if seen else end
            if part.base != base:
                raise _invalid(part, f"ends at {base}, the part begins at {part.base}")
            places = []
            for batch in part.batches:
                size = len(batch)
                place = unpack(batch) if size >= HEADER_BYTES else None
                if place is None or place[0] != base or place[1] + 12 != size or place[3] != 2 or place[5] < 0:
                    raise _invalid(part, f"a batch of {size} bytes, {place}, want base {base}")
                base += place[5] + 1
                places.append(place)
                if size < reference_from:
                    inline += size
            if base != part.end:
                raise _invalid(part, f"batches end at {base}, their part at {part.end}")
            if len(parts) > 1:
                seen[part.stream] = base
            found.append(places)
        return found, inline

    def write(
        self,
        stream: DiskStream,
        batches: Sequence[Batch],
        places: list[Place],
        reference_from: int,
        entries: list[bytes],
        data: list[Batch],
    ) -> None:
        """Write one part, a run at a time; packed entries and the bytes that go into the frame are added to the lists.

        Raises:
            OSError.
        """
        segment_bytes = stream.config.segment_bytes
        first = 0
        size = 0
        chain = stream.chain
        newest_ms = -1
        for index in range(len(batches)):
            batch = batches[index]
            base, length, epoch, _magic, _checksum, _delta, timestamp_ms = places[index]
            length += 12
            if index > first and (
                (length >= reference_from) is not (len(batches[first]) >= reference_from)
                or epoch != places[first][2]
                or stream.active_bytes + size + length > segment_bytes
            ):
                run = batches[first:index]
                self._write_run(stream, run, places[first:index], size, chain, newest_ms, reference_from, entries, data)
                first, size, newest_ms = index, 0, -1
            if index == first and stream.active_bytes and stream.active_bytes + length > segment_bytes:
                self.store.roll(stream, base)
            chain = chain_of(chain, bytes(batch[:HEADER_BYTES]))
            size += length
            if timestamp_ms > newest_ms:
                newest_ms = timestamp_ms
        if size:
            if first:
                batches, places = batches[first:], places[first:]
            self._write_run(stream, batches, places, size, chain, newest_ms, reference_from, entries, data)

    def _write_run(
        self,
        stream: DiskStream,
        batches: Sequence[Batch],
        places: list[Place],
        size: int,
        chain: bytes,
        newest_ms: int,
        reference_from: int,
        entries: list[bytes],
        data: list[Batch],
    ) -> None:
        offset = stream.active_bytes
        base, _length, epoch, *_ = places[0]
        end = places[-1][0] + places[-1][5] + 1
        file = self.store.write(stream, offset, batches, size)
        flags = 0 if stream.sync else MARKED
        if len(batches[0]) >= reference_from:
            flags |= REFERENCE
            self.referenced_bytes += size
            if stream.sync:
                self.store.references[file.path] = None
            elif stream.config.durability is Durability.INTERVAL:
                self.store.marked[file.path] = None
        else:
            data.extend(batches)
        entries.append(
            ENTRY.pack(stream.id, base, end, stream.active, offset, size, len(batches), flags, epoch, newest_ms, chain)
        )
        stream.extend(epoch, base, end, size, chain, newest_ms)
        self.written_bytes += size
        add = self.tail.add
        for batch, place in zip(batches, places, strict=True):
            self.store.note_index(stream, place[0], offset, place[6])
            offset += place[1] + 12
            add(stream, place[0], batch)


def _invalid(part: Part, what: str) -> EngineError:
    return EngineError(ErrorCode.INVALID, f"stream {part.stream}: {what}")
