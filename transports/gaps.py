"""What a subscriber of numbered packets knows: delivers in order, finds gaps, asks for repair. Sans-IO.

Rules:

* ``wanted`` is the next sequence to deliver; ``sent`` the first not yet known to exist. Packets beyond ``wanted`` are held.
* A gap is asked for after ``grace_ns`` (reordering heals by itself) and a random delay (not everybody at once), then
  again with a doubled pause, each time of the next repairer. After ``tries_max``, or when more than ``held_bytes_max``
  is held, or for a stub, repair is not enough: ``behind`` says from where a catch-up link should supply.
* A packet of another session, one that was delivered, or one that claims to be more than ``ahead_max`` beyond what is
  wanted (forged, or hopelessly behind: the catch-up link knows better) is dropped and counted.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass

from transports import mold


@dataclass(frozen=True)
class GapSettings:
    grace_ns: int = 1_000_000
    delay_ns: int = 2_000_000
    pause_ns: int = 10_000_000
    pause_ns_max: int = 640_000_000
    tries_max: int = 8
    request_max: int = 512
    """Messages asked for at once."""
    held_bytes_max: int = 64 * 1024 * 1024
    ahead_max: int = 1_000_000


@dataclass
class _Gap:
    start: int
    end: int
    due_ns: int
    tries: int = 0


Delivery = tuple[int, list[bytes]]


class GapTracker:
    """One subscriber's account of one session."""

    def __init__(
        self, session: bytes, wanted: int, repairers: int, chance: random.Random, settings: GapSettings | None = None
    ) -> None:
        self.session = session
        self.wanted = wanted
        self.sent = wanted
        self.ended = False
        self.repairers = repairers
        self.counters = {
            "foreign": 0, "duplicate": 0, "implausible": 0, "malformed": 0, "repaired": 0, "requests": 0, "stubs": 0,
        }  # fmt: skip
        self._settings = settings or GapSettings()
        self._chance = chance
        self._held: dict[int, bytes] = {}  # by sequence; without the kind byte
        self._held_bytes = 0
        self._gaps: list[_Gap] = []
        self._repairer = chance.randrange(repairers) if repairers else 0
        self._behind = False

    @property
    def held(self) -> int:
        """Messages that wait for a gap before them."""
        return len(self._held)

    @property
    def deadline_ns(self) -> int:
        """When ``due`` has something to ask; 0: never."""
        if self._behind or not self.repairers:
            return 0
        return min((gap.due_ns for gap in self._gaps), default=0)

    def packet(self, data: bytes | memoryview, now_ns: int, repair: bool = False) -> Delivery | None:
        """Take one packet; what can be delivered now, in order."""
        try:
            found = mold.decode(data)
        except mold.PacketError:
            self.counters["malformed"] += 1
            return None
        if found.session != self.session:
            self.counters["foreign"] += 1
            return None
        if found.count in (mold.HEARTBEAT, mold.END):
            if self._plausible(found.sequence):
                self._exists(found.sequence, now_ns)
                self.ended |= found.count == mold.END
            return None
        last = found.sequence + found.count
        if last <= self.wanted:
            self.counters["duplicate"] += 1
            return None
        if not self._plausible(last):
            return None
        start = max(found.sequence, self.wanted)
        if start > self.sent:
            self._exists(start, now_ns)
        ready: list[bytes] = []
        in_order = found.sequence <= self.wanted and not self._held and not self._gaps
        for index, message in enumerate(found.messages):
            sequence = found.sequence + index
            if sequence < self.wanted or sequence in self._held:
                continue
            if message[0] != 0:
                self._stub(sequence, now_ns)
                in_order = False
                continue
            if in_order:
                ready.append(bytes(message[1:]))
                self.wanted = sequence + 1
            else:
                self._hold(sequence, bytes(message[1:]), repair)
        self.sent = max(self.sent, last)
        if ready:
            return self.wanted - len(ready), ready
        return self._release()

    def supply(self, start: int, messages: list[bytes]) -> Delivery | None:
        """Messages from a catch-up link (whole records, also those that travelled as stubs)."""
        for index, message in enumerate(messages):
            if start + index >= self.wanted and start + index not in self._held:
                self._hold(start + index, message, True)
        self.sent = max(self.sent, start + len(messages))
        found = self._release()
        if not self._gaps:
            self._behind = False
        return found

    def due(self, now_ns: int) -> list[tuple[int, bytes]]:
        """Requests to send now: (index of the repairer, packet)."""
        if self._behind or not self.repairers:
            return []
        requests: list[tuple[int, bytes]] = []
        settings = self._settings
        for gap in self._gaps:
            if gap.due_ns > now_ns:
                continue
            if gap.tries >= settings.tries_max:
                self._behind = True
                return []
            pause_ns = min(settings.pause_ns << gap.tries, settings.pause_ns_max)
            gap.due_ns = now_ns + pause_ns + self._chance.randrange(settings.delay_ns + 1)
            which = (self._repairer + gap.tries) % self.repairers
            gap.tries += 1
            for at in range(gap.start, gap.end, settings.request_max):
                count = min(settings.request_max, gap.end - at)
                requests.append((which, mold.request(self.session, at, count)))
        self.counters["requests"] += len(requests)
        return requests

    def behind(self) -> tuple[int, int] | None:
        """(first sequence wanted, first not known) if a catch-up link is needed; asked again until it was supplied."""
        return (self.wanted, self.sent) if self._behind else None

    def _plausible(self, sequence: int) -> bool:
        if sequence - self.wanted > self._settings.ahead_max:
            self.counters["implausible"] += 1
            return False
        return True

    def _exists(self, end: int, now_ns: int) -> None:
        """Everything below ``end`` was sent: what we do not hold of it is a gap."""
        if end > self.sent:
            wait_ns = self._settings.grace_ns + self._chance.randrange(self._settings.delay_ns + 1)
            self._gaps.append(_Gap(max(self.sent, self.wanted), end, now_ns + wait_ns))
            self.sent = end

    def _stub(self, sequence: int, now_ns: int) -> None:
        self.counters["stubs"] += 1
        if not any(gap.start <= sequence < gap.end for gap in self._gaps):
            self._gaps.append(_Gap(sequence, sequence + 1, now_ns))
            self._gaps.sort(key=lambda gap: gap.start)
        self._behind = True

    def _hold(self, sequence: int, message: bytes, repair: bool) -> None:
        self._held[sequence] = message
        self._held_bytes += len(message)
        self._fill(sequence, repair)
        if self._held_bytes > self._settings.held_bytes_max:
            self._behind = True

    def _fill(self, sequence: int, repair: bool) -> None:
        """It is there: cut it out of the gap that holds it, if one does (they are sorted and do not overlap)."""
        index = bisect_right(self._gaps, sequence, key=lambda gap: gap.start) - 1
        if index < 0 or sequence >= self._gaps[index].end:
            return
        gap = self._gaps[index]
        self.counters["repaired"] += repair
        rest = []
        if gap.start < sequence:
            rest.append(_Gap(gap.start, sequence, gap.due_ns, gap.tries))
        if sequence + 1 < gap.end:
            rest.append(_Gap(sequence + 1, gap.end, gap.due_ns, gap.tries))
        self._gaps[index : index + 1] = rest

    def _release(self) -> Delivery | None:
        start = self.wanted
        ready: list[bytes] = []
        while self.wanted in self._held:
            message = self._held.pop(self.wanted)
            self._held_bytes -= len(message)
            ready.append(message)
            self.wanted += 1
        return (start, ready) if ready else None
