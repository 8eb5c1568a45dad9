"""What ``thalweg verify DIR`` finds: every byte of a stopped directory that is not what was written.

Nothing is changed and nothing is repaired. The ends file, the journal, and of every stream the manifest and each segment are
read whole: CRCs, contiguity, leader epochs, and the chain of hashes over all batch headers, which must arrive at the values
that the manifest and the ends file hold. Two copies of a stream with equal chain values at equal positions are equal.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field

from substrate.disk import ends, frames, journal, manifest, recovery
from substrate.disk.batches import HEADER_BYTES, Rotten, chain_of, check, head_at
from substrate.disk.stream import FOLDER, DiskStream, Index, Sealed
from substrate.engine import EngineError
from substrate.files import Files, RealFiles

CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Fault:
    """One thing that is wrong. ``file`` is relative to the directory; ``stream`` 0 and ``position`` -1: does not apply."""

    file: str
    reason: str
    stream: int = 0
    position: int = -1


@dataclass(slots=True)
class Report:
    directory: str
    clean: bool = False
    """The directory was stopped in order; else the journal holds what recovery is to bring into the segments."""
    epoch: int = 0
    commit: int = 0
    streams: int = 0
    segments: int = 0
    batches: int = 0
    bytes: int = 0
    frames: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is odd and harmless: folders that no stream owns, hints that are out of date."""
    chains: dict[str, str] = field(default_factory=dict)
    """By stream folder: ``<end>:<chain value there>``."""

    @property
    def sound(self) -> bool:
        return not self.faults

    @property
    def status(self) -> int:
        """The exit status: 0 sound, 1 faults."""
        return 0 if self.sound else 1

    def as_json(self) -> dict[str, object]:
        """Plain data for ``--json``."""
        return {**asdict(self), "sound": self.sound}

    def text(self) -> str:
        stopped = "stopped in order" if self.clean else "not stopped in order"
        lines = [f"{self.directory}: epoch {self.epoch}, commit {self.commit}, {stopped}"]
        lines.append(
            f"{self.streams} streams, {self.segments} segments, {self.batches} batches, {self.bytes} bytes checked"
        )
        if self.frames:
            lines.append(f"{self.frames} sound journal frames, which the next start brings into the segments")
        lines += [f"note: {note}" for note in self.notes]
        for fault in self.faults:
            where = f" (stream {fault.stream}, position {fault.position})" if fault.position >= 0 else ""
            lines.append(f"FAULT: {fault.file}: {fault.reason}{where}")
        lines.append("sound" if self.sound else f"{len(self.faults)} faults")
        return "\n".join(lines)


def verify(directory: str) -> Report:
    """Walk the engine directory ``directory``. No gateway may have it open; a fault says so if one does."""
    files = RealFiles(directory)
    report = Report(directory)
    try:
        if "ends" not in files.names("") and "ends.copy" not in files.names(""):
            report.faults.append(Fault("ends", "missing: this is no engine directory, or its ends file is lost"))
            return report
        try:
            files.lock("lock")
        except BlockingIOError:
            report.faults.append(Fault("lock", "a running gateway holds the directory; stop it first"))
            return report
        return verify_files(files, report)
    finally:
        files.shut()


def verify_files(files: Files, report: Report) -> Report:
    """The same over any ``Files``."""
    try:
        found = recovery.read_ends(files)
    except EngineError as error:
        report.faults.append(Fault("ends", error.detail))
        return report
    if found is None:
        report.notes.append("empty directory")
        return report
    state, records, faults = found
    report.faults.extend(Fault(fault.partition(":")[0], fault.partition(":")[2].strip()) for fault in faults)
    report.clean = bool(state.clean)
    report.epoch, report.commit, report.streams = state.epoch, state.commit, len(records)
    if "failed" in files.names(""):
        report.notes.append("a write or fsync has failed here, and no recovery has followed yet")
    kept = _verify_journal(files, report, state)
    changed = _streams_of(kept)
    for record in records:
        _Stream(files, report, DiskStream(record), record.stream in changed).verify()
    known = {DiskStream(record).folder for record in records}
    for name in files.names(FOLDER):
        if f"{FOLDER}/{name}" not in known and not kept:
            report.notes.append(f"{FOLDER}/{name}: belongs to no stream")
    return report


def _verify_journal(files: Files, report: Report, state: ends.EndsState) -> list[journal.Kept]:
    """The frames after the ends file's, which a recovery would bring into the segments."""
    slots: list[bytes] = []
    for slot in range(state.slots):
        path = journal.slot_path(slot)
        try:
            handle = files.open(path)
        except FileNotFoundError:
            report.faults.append(Fault(path, "missing"))
            continue
        data = files.read(handle, 0, min(files.data_end(handle), state.slot_bytes))
        size = files.size(handle)
        files.close(handle)
        if size != state.slot_bytes:
            report.faults.append(Fault(path, f"{size} bytes, was made with {state.slot_bytes}"))
        try:
            fault = journal.header_fault(
                data[: journal.FIRST_OFFSET].ljust(journal.FIRST_OFFSET, b"\0"), state.directory, slot, state.slot_bytes
            )
        except ends.UnknownVersion as unknown:
            fault = str(unknown)
        if fault:
            report.faults.append(Fault(path, fault))
        slots.append(data)
    if len(slots) != state.slots or not slots:
        return []
    try:
        found = journal.scan(
            slots,
            state.slot_bytes,
            state.directory,
            state.number,
            state.checksum,
            state.epoch,
            state.slot,
            state.offset,
        )
    except frames.UnknownVersion as unknown:
        report.faults.append(Fault(journal.FOLDER, str(unknown)))
        return []
    report.faults.extend(Fault(journal.FOLDER, fault.removeprefix("journal: ")) for fault in found.faults)
    report.frames = len(found.kept)
    if found.kept:
        report.clean = False
        report.commit = max(report.commit, found.kept[-1].head.commit)
    return found.kept


def _streams_of(kept: list[journal.Kept]) -> set[int]:
    """Streams whose segments the journal's frames change: what lies beyond their recorded end is not judged here."""
    found: set[int] = set()
    for frame in kept:
        if frame.head.kind == frames.Kind.COMMIT:
            found.update(entry.stream for entry, _at in frames.entries_of(frame.data, frame.offset, frame.head))
        elif frame.head.kind in (frames.Kind.TRIM, frames.Kind.DELETE):
            at = frame.offset + frames.HEADER_BYTES
            found.add(int.from_bytes(frame.data[at : at + 8]))
    return found


class _Stream:
    """One stream's files against what the ends file says of it."""

    def __init__(self, files: Files, report: Report, stream: DiskStream, changed: bool) -> None:
        self.files = files
        self.report = report
        self.stream = stream
        self.changed = changed

    def fault(self, name: str, reason: str, position: int = -1) -> None:
        self.report.faults.append(Fault(f"{self.stream.folder}/{name}", reason, self.stream.id, position))

    def verify(self) -> None:
        stream = self.stream
        if stream.memory is not None:
            return
        sealed = self._sealed()
        chain: bytes | None = stream.first_chain
        for segment in sealed:
            chain = self._segment(segment, chain)
        if stream.active_bytes:
            self._segment(Sealed(stream.active, stream.end, stream.active_bytes, -1, stream.chain), chain)
        self.report.chains[stream.folder] = f"{stream.end}:{stream.chain.hex()}"
        names = {f"{base:020d}.log" for base in [*(segment.base for segment in sealed), stream.active]}
        for name in self.files.names(stream.folder):
            if name.endswith(".log") and name not in names and not self.changed and self.report.clean:
                self.fault(name, "belongs to no segment")

    def _read(self, name: str) -> bytes | None:
        try:
            handle = self.files.open(f"{self.stream.folder}/{name}")
        except FileNotFoundError:
            return None
        try:
            return self.files.read(handle, 0, self.files.size(handle))
        finally:
            self.files.close(handle)

    def _sealed(self) -> list[Sealed]:
        """From the manifest; from the names of the logs where that is not to be trusted."""
        stream = self.stream
        data = self._read(manifest.NAME)
        if data is None:
            if stream.written and not self.changed:
                self.fault(manifest.NAME, "missing")
        else:
            try:
                number, generation, first_chain, sealed = manifest.decode(data)
                if number != stream.id:
                    self.fault(manifest.NAME, f"of stream {number}")
                elif generation < stream.written:
                    self.fault(manifest.NAME, f"an old copy: generation {generation}, the newest is {stream.written}")
                elif generation == stream.written:
                    if first_chain != stream.first_chain:
                        self.fault(manifest.NAME, "its first chain value is not the ends file's")
                    return sealed
            except ends.Unsound as fault:
                self.fault(manifest.NAME, str(fault))
            except ends.UnknownVersion as fault:
                self.fault(manifest.NAME, str(fault))
        if stream.first == stream.active:
            return []
        names = [name for name in self.files.names(stream.folder) if name.endswith(".log") and name[:20].isdecimal()]
        between = {base for base in (int(name[:20]) for name in names) if stream.first < base < stream.active}
        bases = sorted(between | {stream.first})
        found = []
        for base, end in zip(bases, [*bases[1:], stream.active], strict=True):
            data = self._read(f"{base:020d}.log")
            found.append(Sealed(base, end, len(data or b""), -1, ends.NO_CHAIN))
        return found

    def _segment(self, segment: Sealed, chain: bytes | None) -> bytes | None:
        """Walk one segment; the chain value after it, None if that cannot be known.

        One that was written anew holds fewer batches than its chain value says: what is there is proved by ``content``.
        """
        base, end, size, want = segment.base, segment.end, segment.size, segment.chain
        there_chain = want if segment.content == ends.NO_CHAIN else segment.content
        name = f"{base:020d}.log"
        self.report.segments += 1
        try:
            handle = self.files.open(f"{self.stream.folder}/{name}")
        except FileNotFoundError:
            self.fault(name, "missing", base)
            return want if want != ends.NO_CHAIN else None
        try:
            there = self.files.size(handle)
            if there < size:
                self.fault(name, f"{there} bytes, {size} were written", base)
            elif there > size and self.report.clean:
                self.fault(name, f"{there} bytes, only {size} were written", end)
            position, chain = self._walk(handle, name, base, size, chain)
        finally:
            self.files.close(handle)
        if position is not None and position != end:
            self.fault(name, f"ends at {position}, not at {end}", position)
        elif position is not None and chain is not None and want != ends.NO_CHAIN and chain != there_chain:
            self.fault(name, "the chain of batch headers is not the one that was written", base)
        self._check_index(name, base, size)
        return want if want != ends.NO_CHAIN else chain

    def _walk(
        self, handle: int, name: str, base: int, size: int, chain: bytes | None
    ) -> tuple[int | None, bytes | None]:
        """Every batch of a log: its end position, None after rot that cannot be passed."""
        position, offset = base, 0
        data = memoryview(b"")
        begin = 0
        while offset < size:
            if offset - begin + HEADER_BYTES > len(data):
                begin, data = offset, memoryview(self.files.read(handle, offset, min(CHUNK_BYTES, size - offset)))
                if len(data) < HEADER_BYTES:
                    self.fault(name, f"the file ends at {offset + len(data)}", position)
                    return None, None
            try:
                head = head_at(data, offset - begin, offset, position, size)
                if offset - begin + head.size > len(data):
                    begin, data = offset, memoryview(self.files.read(handle, offset, max(CHUNK_BYTES, head.size)))
                    if len(data) < head.size:
                        raise Rotten(position, f"the file ends inside the batch at offset {offset}")
            except Rotten as rotten:
                self.fault(name, rotten.reason, rotten.position)
                return None, None
            batch = data[offset - begin : offset - begin + head.size]
            try:
                check(batch, head)
            except Rotten as rotten:
                self.fault(name, rotten.reason, rotten.position)
                chain = None
            if self.stream.epoch_at(head.base) not in (None, head.epoch):
                self.fault(name, f"leader epoch {head.epoch}, want {self.stream.epoch_at(head.base)}", head.base)
            if chain is not None:
                chain = chain_of(chain, bytes(batch[:HEADER_BYTES]))
            self.report.batches += 1
            self.report.bytes += head.size
            offset += head.size
            position = head.end
        return position, chain

    def _check_index(self, name: str, base: int, size: int) -> None:
        """An index is a hint: what does not fit is a note."""
        stem = name[: -len(".log")]
        data = self._read(f"{stem}.index")
        if data is None:
            return
        index = Index.unpack(data, base, size)
        if len(index.offsets) * 8 != len(data) and base != self.stream.active:
            self.report.notes.append(
                f"{self.stream.folder}/{stem}.index: does not fit; it is rebuilt when it is needed"
            )


def main(directory: str, as_json: bool = False) -> int:
    """``thalweg verify DIR [--json]``: print what was found; the exit status."""
    report = verify(directory)
    sys.stdout.write((json.dumps(report.as_json(), indent=2) if as_json else report.text()) + "\n")
    return report.status
