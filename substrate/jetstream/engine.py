"""The engine whose truth is a stream of a NATS JetStream cluster (see ``log``, ``truth``, ``copy``).

A turn becomes an entry of the log, published at once, each message expecting the one before it; while AT_ONCE messages are
under way, turns wait and share the next. When the cluster has
acknowledged the last of an entry's messages it is appended to the copy on this machine and reported durable: the cluster's
quorum made it so. Until then its batches are an overlay in memory over the copy's end.

States: closed -> ``open`` -> serving <-> resuming -> failed -> ``reopen`` -> serving.

* Resuming: the link is lost, the cluster was silent for STALL_S, or refused a message. Another link is made, the end of the
  stream is read, what of ours is there counts as acknowledged, and the rest is published again, under other sequences if
  void messages came between. Appends are taken all the while.
* Failed: nothing was acknowledged for PATIENCE_S, another writer's epoch is in the stream, or the copy's disk failed. What was
  not acknowledged is dropped here, and may be in the stream: ``reopen`` reads what is there and begins another epoch.
* Fenced: failed, because another writer took over. ``reopen`` refuses for good: who holds the log is not for an engine to
  decide. A new engine over the same directory may.

The connection belongs to the owner's thread. A thread of its own only prepares one, whose owner it is until it hands it over.
"""

from __future__ import annotations

import itertools
import os
import queue
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from substrate.api import Commit, Durability, Epoch, ErrorCode, Position, Shard, StreamConfig, StreamId
from substrate.disk.asides import DiskAsides
from substrate.disk.ends import pack_settings
from substrate.disk.options import Options
from substrate.engine import Batch, Ends, EngineError, Frame, Listener, Opened, Rewrite, Segment
from substrate.jetstream import log, wire
from substrate.jetstream.address import Cluster
from substrate.jetstream.copy import Copy
from substrate.jetstream.link import Link, LinkError
from substrate.jetstream.log import Entry, Joiner, Kind, LogError, Piece
from substrate.jetstream.truth import EXPECTED, Truth, as_object, subject_of
from substrate.memory import FIRST_SHARD, MemoryStream, check_batches

PATIENCE_S = 5.0
STALL_S = 1.0
OPEN_S = 30.0
REOPEN_S = 0.25
"""How long ``reopen`` waits for a link that is being prepared."""
AGAIN_S = 0.1
WINDOW = 2_048
WINDOW_BYTES = 16 << 20
AT_ONCE = 32
"""So many messages are under way before frames wait for one another to share the next."""
"""Published and not acknowledged at most: nats-server drops what exceeds its queue of a stream."""
PENDING_BYTES_MAX = 64 << 20
DEFAULT_OPTIONS = Options()


class Host(Protocol):
    """The loop on whose thread the engine lives."""

    def post(self, call: Callable[[], None]) -> object:
        """Call this on the owner's thread, between turns. From any thread."""
        ...

    def later(self, seconds: float, call: Callable[[], None]) -> object: ...

    def watch(self, handle: int, readable: Callable[[], None]) -> None:
        """Call this whenever the socket is readable, until ``unwatch``."""
        ...

    def watch_writing(self, handle: int, writable: Callable[[], None] | None) -> None:
        """Call this while the socket is writable; None: no more."""
        ...

    def unwatch(self, handle: int) -> None: ...


@dataclass(slots=True)
class Pending:
    """An entry that is not acknowledged."""

    kind: Kind
    commit: int
    left: int
    """Messages of it that are not."""
    size: int
    apply: Callable[[], None]
    body: list[Batch]
    """While it is open: what it is made of. More frames may join it until it is published."""
    frames: list[Frame]
    count: int = 0
    end: int = 0
    """The sequence of its last message, once that is acknowledged."""


@dataclass(slots=True)
class Prepared:
    """What a thread brings: a link that nobody else has."""

    generation: int
    link: Link | None = None
    found: list[Piece] = field(default_factory=list)
    """Resuming: every message behind the last one acknowledged."""
    end: int = 0
    epoch: int = 0
    entries: list[Entry] = field(default_factory=list)
    """Taking over: what there is behind what was applied."""
    joiner: Joiner | None = None
    fault: Exception | None = None


class JetStreamEngine:
    """``root``: the directory of the copy."""

    def __init__(
        self, cluster: Cluster, root: str, host: Host, shard: Shard = FIRST_SHARD, options: Options = DEFAULT_OPTIONS,
        posts: bool = True,
    ) -> None:  # fmt: skip
        self.cluster = cluster
        self.shard = shard
        self.patience_s = PATIENCE_S
        self.fenced = ""
        """By whom, once another writer has taken over."""
        self._root = root
        self._host = host
        self._copy = Copy(root, shard, options, host.post if posts else None, self._fail)
        self._subject = subject_of(cluster, shard)
        self._listener: Listener | None = None
        self._writer = os.urandom(16)
        self._broken = "not open"
        self._generation = 0
        self._turns = 0
        """Servers tried."""
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._arrived: queue.SimpleQueue[Prepared] = queue.SimpleQueue()
        self._joiner = Joiner()
        self._taken: Prepared | None = None
        self._epoch = 0
        self._written = 0
        self._durable = 0
        self._told = 0
        self._blocking = False
        """Within a call of the owner: nothing is reported."""
        self._expected = False
        self._alarm = 0
        self._why = ""
        self._clear()

    def _clear(self) -> None:
        self._pending: deque[Pending] = deque()
        self._pieces: deque[tuple[Pending, int, bytes]] = deque()
        """Not acknowledged, the first at sequence ``_acked + 1``: its entry, its index, its data."""
        self._open_entry: Pending | None = None
        """The last of them, if it is not cut into pieces yet."""
        self._pending_bytes = 0
        self._acked = 0
        self._sent = 0
        self._sent_bytes = 0
        self._early: set[int] = set()
        self._progress_s = 0.0
        """When the cluster last acknowledged something, or had nothing to; ``_heard_s``: on this link."""
        self._heard_s = 0.0
        self._overlays: dict[int, MemoryStream] = {}
        self._rolled: dict[int, int] = {}
        """Where a segment begins, because it was asked for."""
        self._touched: set[StreamId] = set()
        """Streams of which the copy has more now than their overlay knows."""

    # -- opening

    @property
    def faults(self) -> list[str]:
        return [*self._copy.faults, *self._copy.disk.faults]

    def open(self, listener: Listener, now_ms: int) -> Opened:
        """Blocks until the log was read and an epoch of ours is in it, OPEN_S without an answer at most."""
        if self._broken not in ("not open", "closed"):
            raise EngineError(ErrorCode.UNAVAILABLE, "already open")
        self._listener = listener
        self._copy.open(now_ms)
        try:
            self._open()
        except BaseException:
            self._copy.close()
            raise
        return self._begin()

    def _open(self) -> None:
        deadline_s = time.monotonic() + OPEN_S
        joiner: Joiner | None = None
        while True:
            link = None
            try:
                link = self._connect()
                truth = Truth(self.cluster, self.shard, link)
                identity = f"{truth.stream} of {truth.find_or_make()}"
                if joiner is None:
                    joiner = self._copy.joiner(identity)
                reached = joiner.sequence
                try:
                    epoch, end = truth.take_over(joiner, self._writer, self._copy.apply)
                finally:
                    if joiner.sequence > reached:
                        deadline_s = time.monotonic() + OPEN_S
                self._copy.caught_up(joiner)
            except LinkError as error:
                if link is not None:
                    link.close()
                if time.monotonic() > deadline_s:
                    raise EngineError(ErrorCode.UNAVAILABLE, f"{self.cluster.servers}: {error}") from error
                time.sleep(AGAIN_S)
            except LogError as error:
                assert link is not None
                link.close()
                raise EngineError(ErrorCode.CORRUPT, str(error)) from error
            except BaseException:
                if link is not None:
                    link.close()
                raise
            else:
                self._joiner = joiner
                self._serve(link, epoch, end)
                return

    def _connect(self) -> Link:
        self._turns += 1
        return Link.open(self.cluster, self._turns)

    def _serve(self, link: Link, epoch: int, end: int) -> None:
        self._clear()
        self._epoch = epoch
        self._acked = self._sent = end
        self._adopt(link)

    def _adopt(self, link: Link) -> None:
        self._link = link
        self._watching = False
        self._heard_s = time.monotonic()
        self._host.watch(link.fileno(), self._readable)

    def _begin(self) -> Opened:
        self._written = self._durable = self._told = self._copy.commit
        self._broken = ""
        return Opened(Epoch(self._epoch), Commit(self._written), self._copy.disk.streams())

    def reopen(self, now_ms: int) -> Opened:
        if self._broken in ("not open", "closed"):
            raise EngineError(ErrorCode.INVALID, "reopen is for after a failure")
        if not self._broken:
            self._fail("its owner begins anew")
        if self.fenced:
            raise EngineError(ErrorCode.UNAVAILABLE, self.fenced)
        if self._copy.broken:
            self._copy.reopen(now_ms)
            self._joiner = self._copy.joiner(self._copy.identity)
            self._generation += 1
            self._thread = self._taken = None
        if self._taken is None and self._thread is None:
            self._copy.again()
            self._prepare(self._take_over_again())
        deadline_s = time.monotonic() + REOPEN_S
        while self._taken is None and time.monotonic() < deadline_s:
            self._receive_prepared(deadline_s - time.monotonic())
        if self._taken is None:
            raise EngineError(ErrorCode.UNAVAILABLE, f"no answer by the cluster; {self._broken}")
        return self._reopened(self._taken)

    def _reopened(self, taken: Prepared) -> Opened:
        self._taken = None
        if isinstance(taken.fault, EngineError):
            self.fenced = taken.fault.detail
            raise taken.fault
        if taken.fault is not None:
            raise EngineError(ErrorCode.CORRUPT, str(taken.fault))
        assert taken.link is not None
        assert taken.joiner is not None
        try:
            for entry in taken.entries:
                self._copy.apply(entry)
            self._copy.caught_up(taken.joiner)
        except LogError as error:
            taken.link.close()
            raise EngineError(ErrorCode.CORRUPT, str(error)) from error
        except EngineError:
            self._copy.broken = True
            taken.link.close()
            raise
        self._joiner = taken.joiner
        self._serve(taken.link, taken.epoch, taken.end)
        return self._begin()

    # -- preparing links

    def _prepare(self, work: Callable[[Truth, Prepared], None]) -> None:
        """In a thread: make a link and do this over it, again and again until it is done or nobody wants it."""
        generation = self._generation
        turns = itertools.count(self._turns + 1)

        def run() -> None:
            while generation == self._generation:
                link = None
                made = Prepared(generation)
                try:
                    link = Link.open(self.cluster, next(turns))
                    work(Truth(self.cluster, self.shard, link), made)
                    made.link = link
                except LinkError:
                    if link is not None:
                        link.close()
                    time.sleep(AGAIN_S)
                    continue
                except (LogError, EngineError) as fault:
                    if link is not None:
                        link.close()
                    made.fault = fault
                self._arrived.put(made)
                self._host.post(self._arrivals)
                return

        self._thread = threading.Thread(target=run, name="jetstream-link", daemon=True)
        self._thread.start()

    def _take_over_again(self) -> Callable[[Truth, Prepared], None]:
        joiner = Joiner(self._joiner.epoch, self._joiner.sequence, self._joiner.commit)
        entries: list[Entry] = []

        def take(entry: Entry) -> None:
            if entry.kind is Kind.EPOCH and entry.epoch > self._epoch and entry.body != self._writer:
                raise EngineError(ErrorCode.UNAVAILABLE, f"another writer took over: epoch {entry.epoch}")
            entries.append(entry)

        def work(truth: Truth, made: Prepared) -> None:
            made.epoch, made.end = truth.take_over(joiner, self._writer, take)
            made.entries, made.joiner = entries, joiner

        return work

    def _arrivals(self) -> None:
        while True:
            try:
                self._arrive(self._arrived.get_nowait())
            except queue.Empty:
                return

    def _receive_prepared(self, wait_s: float) -> None:
        try:
            self._arrive(self._arrived.get(timeout=max(wait_s, 0.001)))
        except queue.Empty:
            return

    def _arrive(self, made: Prepared) -> None:
        if made.generation != self._generation:
            if made.link is not None:
                made.link.close()
            return
        self._thread = None
        if self._broken:
            self._taken = made
        elif made.fault is not None:
            self._fail(str(made.fault))
        else:
            self._resume(made)

    # -- resuming

    def _lose(self, why: str) -> None:
        """The link is of no use any more: make another one and see what has arrived."""
        self._drop_link()
        if self._broken or self._thread is not None:
            return
        self._why = why
        acked = self._acked

        def work(truth: Truth, made: Prepared) -> None:
            made.end = truth.end()
            if made.end < acked:
                raise LinkError(f"a leader of yesterday: it ends at {made.end}, {acked} is acknowledged")
            made.found = list(truth.read(acked + 1, made.end))

        self._generation += 1
        self._prepare(work)
        self._expect()

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            self._host.unwatch(link.fileno())
            link.close()

    def _resume(self, made: Prepared) -> None:
        assert made.link is not None
        try:
            for piece in made.found:
                self._recognise(piece)
        except EngineError as error:
            made.link.close()
            self._fail(error.detail)
            return
        self._acked = self._sent = made.end
        self._sent_bytes = 0
        self._early.clear()
        self._adopt(made.link)
        self._settle()
        self._publish()

    def _recognise(self, piece: Piece) -> None:
        """A message of the stream that was not acknowledged to us.

        Raises:
            EngineError: it is another writer's.
        """
        if piece.epoch < self._epoch:
            return
        entry, index, _ = self._pieces[0] if self._pieces else (None, 0, b"")
        if piece.epoch > self._epoch or entry is None:
            self.fenced = f"another writer took over: epoch {piece.epoch}, ours was {self._epoch}"
            raise EngineError(ErrorCode.UNAVAILABLE, self.fenced)
        if (piece.kind, piece.commit, piece.index) != (entry.kind, entry.commit, index):
            raise EngineError(ErrorCode.CORRUPT, f"message {piece.sequence} is not what was published")
        self._acknowledge(piece.sequence)

    # -- publishing

    def _enter(self, kind: Kind, body: list[Batch], apply: Callable[[], None]) -> None:
        self._begin_entry(Pending(kind, self._written, 1, sum(map(len, body)), apply, body, []))
        self._publish()
        self._expect()

    def _begin_entry(self, entry: Pending) -> None:
        self._close_entry()
        if not self._pending:
            self._progress_s = self._heard_s = time.monotonic()
        self._pending.append(entry)
        self._pending_bytes += entry.size
        self._open_entry = entry

    def _enter_frame(self, frame: Frame, body: list[Batch]) -> None:
        """With those that wait already, where there are any and one message holds them."""
        entry = self._open_entry
        size = sum(map(len, body))
        if entry is None or entry.kind is not Kind.COMMIT or entry.size + size > log.PIECE_BYTES:
            made = Pending(Kind.COMMIT, frame.number, 1, size, lambda: self._applied(made.frames), body, [frame])
            self._begin_entry(made)
        else:
            entry.commit = frame.number
            entry.frames.append(frame)
            entry.body += body
            entry.size += size
            self._pending_bytes += size
        self._publish()
        self._expect()

    def _close_entry(self) -> None:
        """What is cut is not added to."""
        entry, self._open_entry = self._open_entry, None
        if entry is not None:
            data = log.cut(entry.body)
            entry.body = []
            entry.left = entry.count = len(data)
            self._pieces.extend([(entry, index, piece) for index, piece in enumerate(data)])

    def _publish(self) -> None:
        """As much as the window takes."""
        link = self._link
        if link is None:
            return
        parts: list[bytes] = []
        epoch, subject = self._epoch, self._subject
        ready = self._sent - self._acked
        if ready < AT_ONCE:
            self._close_entry()
        while ready < min(len(self._pieces), WINDOW) and self._sent_bytes < WINDOW_BYTES:
            entry, index, data = self._pieces[ready]
            sequence = self._sent + 1
            payload = Piece(entry.kind, sequence, epoch, entry.commit, index, entry.count, data).pack()
            parts += wire.publish(subject, f"{link.inbox}.a{sequence}", payload, {EXPECTED: str(self._sent)})
            self._sent = sequence
            self._sent_bytes += len(data)
            ready += 1
        if not parts:
            return
        try:
            link.send(parts)
        except LinkError as error:
            self._lose(str(error))
            return
        self._want_writing(link)

    def _want_writing(self, link: Link) -> None:
        if bool(link.out) is not self._watching:
            self._watching = bool(link.out)
            self._host.watch_writing(link.fileno(), self._writable if link.out else None)

    def _writable(self) -> None:
        link = self._link
        if link is not None:
            try:
                link.flush()
            except LinkError as error:
                self._lose(str(error))
            else:
                self._want_writing(link)

    # -- acknowledgements

    def _readable(self) -> None:
        link = self._link
        if link is None:
            return
        try:
            messages = link.receive()
            self._want_writing(link)
            for message in messages:
                self._answered(message)
        except LinkError as error:
            self._lose(str(error))
        self._settle()
        self._publish()

    def _answered(self, message: wire.Message) -> None:
        """
        Raises:
            LinkError: a refusal: something else is in the stream than what we think.
        """
        _, _, number = message.subject.rpartition(".a")
        if not number.isdigit():
            return
        if message.status == "503":
            raise LinkError("the stream has no leader")
        found = as_object(message.payload)
        sequence = found.get("seq")
        if found.get("error") or sequence != int(number):
            raise LinkError(f"message {number}: {found.get('error') or found}")
        self._early.add(sequence)
        while self._acked + 1 in self._early:
            self._acked += 1
            self._early.discard(self._acked)
            self._acknowledge(self._acked)

    def _acknowledge(self, sequence: int) -> None:
        """The first message that was not is now."""
        entry, _, data = self._pieces.popleft()
        entry.left -= 1
        entry.end = sequence
        self._sent_bytes = max(0, self._sent_bytes - len(data))
        self._progress_s = self._heard_s = time.monotonic()

    def _settle(self) -> None:
        """Apply and report what is acknowledged whole."""
        applied = 0
        while not self._broken and self._pending and not self._pending[0].left:
            entry = self._pending.popleft()
            self._pending_bytes -= entry.size
            try:
                entry.apply()
            except EngineError as error:
                self._copy.broken = True
                self._fail(f"the copy: {error}")
                return
            applied = entry.end or applied
            if entry.kind is Kind.COMMIT:
                self._durable = entry.commit
        if self._touched:
            self._shorten()
        if applied:
            self._joiner = Joiner(self._epoch, applied, self._copy.commit)
            self._copy.advanced(applied, self._epoch)
        if self._durable > self._told:
            if self._blocking:
                self._host.post(self._report)
            else:
                self._report()

    def _report(self) -> None:
        if self._durable > self._told and self._listener is not None:
            self._told = self._durable
            self._listener.durable(self.shard, Commit(self._told))

    # -- the clock

    def _expect(self) -> None:
        """Look again in a while whether the cluster answers."""
        if self._expected:
            return
        self._expected = True
        generation = self._alarm = self._alarm + 1

        def due() -> None:
            if generation == self._alarm:
                self._expected = False
                self._look()

        self._host.later(STALL_S / 2, due)

    def _look(self) -> None:
        if self._broken or not self._pending:
            return
        now_s = time.monotonic()
        if now_s > self._progress_s + self.patience_s:
            self._fail(
                f"nothing acknowledged for {now_s - self._progress_s:.1f} s; {self._why or 'the cluster is silent'}"
            )
            return
        if self._link is not None and now_s > self._heard_s + STALL_S:
            self._lose("the cluster is silent")
        self._expect()

    def pump(self, wait_s: float) -> None:
        """Wait for the cluster, where there is no loop that does."""
        self._arrivals()
        link = self._link
        if link is None:
            self._receive_prepared(min(wait_s, 0.05))
        else:
            readable, writable, _ = select.select([link.socket], [link.socket] if link.out else [], [], wait_s)
            if writable:
                self._writable()
            if readable:
                self._readable()
        self._look()

    def settle_copy(self) -> bool:
        """Wait for one fsync of the copy, where there is no loop that does. False: none is under way."""
        return self._copy.files.wait()

    @property
    def in_flight(self) -> bool:
        return bool(self._pending)

    def _wait(self) -> None:
        """Until everything is acknowledged.

        Raises:
            EngineError: UNAVAILABLE: the epoch has ended.
        """
        self._blocking = True
        try:
            while self._pending and not self._broken:
                self.pump(0.1)
        finally:
            self._blocking = False
        if self._broken:
            raise EngineError(ErrorCode.UNAVAILABLE, self._broken)

    # -- failing and closing

    def _fail(self, reason: str) -> None:
        if self._broken:
            return
        self._broken = reason
        self._generation += 1
        self._thread = self._taken = None
        self._drop_link()
        above = self._durable
        if self._told < above:
            self._host.post(self._report)
        self._clear()
        generation = self._generation

        def tell() -> None:
            if generation == self._generation and self._listener is not None:
                self._listener.failed(self.shard, Commit(above), reason)

        self._host.post(tell)

    def close(self) -> None:
        if self._broken in ("not open", "closed"):
            return
        try:
            if not self._broken:
                self._wait()
                self._report()
                self._copy.note_place(self._joiner)
        finally:
            self._generation += 1
            self._drop_link()
            self._broken = "closed"
            self._clear()
            self._copy.close()

    def abandon(self) -> None:
        """Leave all as it is, as a kill of the process would."""
        self._generation += 1
        self._drop_link()
        self._broken = "closed"
        self._copy.files.shut()

    # -- streams

    def create(self, stream: StreamId, label: str, config: StreamConfig) -> None:
        self._serving()
        if stream in self._overlays or self._copy.has(stream):
            return
        self._overlays[stream] = MemoryStream(config)

        def apply() -> None:
            self._copy.create(stream, label, config)
            self._touched.add(stream)

        self._enter(Kind.CREATE, [pack_settings(stream, label, config)], apply)

    def configure(self, stream: StreamId, config: StreamConfig) -> None:
        self._serving()
        self._check_known(stream)
        overlay = self._overlays.get(stream)
        if overlay is not None:
            overlay.config = config
        settings = pack_settings(stream, "", config)
        self._enter(Kind.CONFIG, [settings], lambda: self._copy.configure(stream, config))

    def trim(self, stream: StreamId, before: Position) -> None:
        self._serving()
        ends = self.ends(stream)
        if before > ends.end:
            raise EngineError(ErrorCode.OUT_OF_RANGE, f"{before}, the stream ends at {ends.end}")
        if before <= ends.start:
            return
        self._enter(Kind.TRIM, [log.pack_numbers(stream, before)], lambda: self._copy.disk.trim(stream, before))
        self._wait()

    def delete(self, stream: StreamId) -> None:
        self._serving()
        self._check_known(stream)

        def apply() -> None:
            self._copy.disk.delete(stream)
            self._overlays.pop(stream, None)
            self._rolled.pop(stream, None)

        self._enter(Kind.DELETE, [log.pack_numbers(stream)], apply)
        self._wait()

    def roll(self, stream: StreamId) -> None:
        self._serving()
        self._rolled[stream] = self.ends(stream).end
        if not self._pending:
            self._copy.disk.roll(stream)
            return
        self._close_entry()
        self._pending.append(Pending(Kind.CONFIG, self._written, 0, 0, lambda: self._copy.disk.roll(stream), [], []))

    def _check_known(self, stream: StreamId) -> None:
        if stream not in self._overlays and not self._copy.has(stream):
            raise EngineError(ErrorCode.NO_STREAM, f"stream {stream}")

    def ends(self, stream: StreamId) -> Ends:
        overlay = self._overlays.get(stream)
        if overlay is None:
            return self._copy.disk.ends(stream)
        over = overlay.ends()
        if not self._copy.has(stream):
            return over
        under = self._copy.disk.ends(stream)
        epochs = under.epochs
        for epoch, base in over.epochs:
            if not epochs or epochs[-1][0] != epoch:
                epochs += ((epoch, base),)
        return Ends(under.start, over.end, epochs)

    # -- appending

    def reserve(self, size: int) -> bool:
        if self._broken:
            return False
        if self._pending_bytes + size > PENDING_BYTES_MAX and self._link is not None:
            self._blocking = True
            try:
                self.pump(0.05)
            finally:
                self._blocking = False
        return (
            not self._broken
            and self._pending_bytes + size <= PENDING_BYTES_MAX
            and self._copy.disk.reserve(self._pending_bytes + size)
        )

    def append(self, frame: Frame) -> None:
        self._serving()
        if frame.number != self._written + 1:
            raise EngineError(ErrorCode.INVALID, f"commit {frame.number} after {self._written}")
        ends: dict[int, int] = {}
        for part in frame.parts:
            end = ends.get(part.stream)
            if end is None:
                overlay = self._overlays.get(part.stream)
                end = overlay.end if overlay is not None else self._copy.disk.ends(part.stream).end
            if part.base != end:
                raise EngineError(
                    ErrorCode.INVALID, f"stream {part.stream} ends at {end}, the part begins at {part.base}"
                )
            check_batches(part.batches, part.base, part.end)
            ends[part.stream] = part.end
        self._written = frame.number
        for part in frame.parts:
            overlay = self._overlays.get(part.stream)
            if overlay is None:
                overlay = self._overlays[part.stream] = MemoryStream(self._copy.disk.config(part.stream), part.base)
            overlay.roll()
            overlay.append(part.batches)
        logged = [part for part in frame.parts if self._is_logged(part.stream)]
        self._enter_frame(frame, log.pack_frame(frame.number, logged))

    def _is_logged(self, stream: StreamId) -> bool:
        return self._overlays[stream].config.durability is not Durability.MEMORY

    def _applied(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            self._copy.append(frame)
            self._touched.update([part.stream for part in frame.parts])

    def _shorten(self) -> None:
        """What the copy has is read there."""
        for stream in self._touched:
            overlay = self._overlays.get(stream)
            if overlay is not None:
                end = self._copy.disk.ends(stream).end
                if overlay.end <= end:
                    del self._overlays[stream]
                else:
                    overlay.trim(end)
        self._touched.clear()

    # -- reading

    def read(self, stream: StreamId, start: Position, bytes_max: int) -> list[Batch]:
        overlay = self._overlays.get(stream)
        if overlay is None:
            return self._copy.disk.read(stream, start, bytes_max)
        if start >= overlay.start:
            return overlay.read(start, bytes_max)
        found = self._copy.disk.read(stream, start, bytes_max)
        room = bytes_max - sum(map(len, found))
        if room > 0 and last_position(found[-1]) + 1 == overlay.start < overlay.end:
            more = overlay.read(overlay.start, room)
            found += more if sum(map(len, more)) <= room else []
        return found

    def headers(self, stream: StreamId, start: Position) -> Iterator[bytes]:
        overlay = self._overlays.get(stream)
        if overlay is None:
            return self._copy.disk.headers(stream, start)
        if start >= overlay.start:
            return overlay.headers(start)
        return itertools.chain(self._copy.disk.headers(stream, start), overlay.headers(overlay.start))

    def segments(self, stream: StreamId) -> Sequence[Segment]:
        """What is in the overlay as it will be cut."""
        overlay = self._overlays.get(stream)
        if overlay is None:
            return self._copy.disk.segments(stream)
        found = list(self._copy.disk.segments(stream)) if self._copy.has(stream) else []
        for one in overlay.read(overlay.start, 1 << 62):
            base, end = Position(int.from_bytes(one[:8])), Position(last_position(one) + 1)
            newest_ms = int.from_bytes(one[35:43], signed=True)
            last = found[-1] if found else None
            if last is None or self._rolled.get(stream) == base or last.bytes + len(one) > overlay.config.segment_bytes:
                found.append(Segment(base, end, len(one), newest_ms, end - base))
            else:
                found[-1] = Segment(
                    last.base, end, last.bytes + len(one), max(last.max_timestamp_ms, newest_ms),
                    last.records + end - base,
                )  # fmt: skip
        return found

    def asides(self, stream: StreamId) -> DiskAsides | None:
        return self._copy.disk.asides(stream) if self._copy.has(stream) else None

    def settled(self, stream: StreamId) -> Position:
        self._serving()
        return self._copy.disk.settled(stream) if self._copy.has(stream) else Position(0)

    def rewrite(self, stream: StreamId, base: Position) -> Rewrite:
        self._serving()
        return self._copy.disk.rewrite(stream, base)

    def _serving(self) -> None:
        if self._broken:
            raise EngineError(ErrorCode.UNAVAILABLE, self._broken)


def last_position(batch: Batch) -> int:
    return int.from_bytes(batch[:8]) + int.from_bytes(batch[23:27])
