"""What moves bytes between processes and hosts: two abstractions, and what each promises.

``Link``: one peer, reliable, ordered, framed, with byte credit.

* Every frame sent is delivered once, whole, in order, or the link is closed; a receiver never sees a part of a frame.
* ``credit`` bytes may be sent before the peer grants more; a frame larger than ``frame_bytes_max`` never.
* ``granted`` tells a sender that waited for credit. A receiver gives back what it consumed with ``grant``: what nobody
  consumes stops the sender, and memory on both sides is bounded by the window.
* After ``closed`` nothing more is delivered. Frames sent but not yet acknowledged by the layer above may be lost then.

``Fanout``, ``Subscriber`` and ``Repairer``: one to many, numbered, lossy (DESIGN section 6).

* The publisher's log is the retransmit buffer: a message has a sequence (from 1) in a session (a stream and its epoch).
* A subscriber delivers every sequence once and in order; what is lost it asks of a repairer, and of a catch-up ``Link``
  where repair does not keep up.
* A message of another session, or of a sequence that was delivered, is dropped and counted.

Callbacks come from the loop's thread, one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Frame = bytes | bytearray | memoryview
FRAME_BYTES_MAX = 12 * 1024 * 1024
"""A batch of 8 MiB and what goes with it."""
WINDOW_BYTES = 16 * 1024 * 1024


class LinkError(Exception):
    """The link cannot do that: it is closed, the frame is too large, or there is no credit for it."""


class LinkHandler(Protocol):
    """The layer above one end of a link."""

    def opened(self, link: Link) -> None: ...

    def received(self, frame: memoryview) -> None:
        """One whole frame; the memory is the link's and gone when this returns."""
        ...

    def granted(self) -> None:
        """There is credit again after there was none."""
        ...

    def closed(self, reason: str) -> None:
        """Once; empty if either side closed in good order."""
        ...


class Link(Protocol):
    """One end."""

    peer: str
    """Who is on the other side, for people: ``tcp://127.0.0.1:4000``."""

    @property
    def credit(self) -> int:
        """Bytes of frames that may be sent now."""
        ...

    def send(self, frame: Frame) -> None:
        """Send one frame; its bytes are the caller's again when this returns.

        Raises:
            LinkError: closed, larger than FRAME_BYTES_MAX or than ``credit``.
        """
        ...

    def grant(self, size: int) -> None:
        """These bytes of received frames are consumed: the peer may send as many more."""
        ...

    def close(self, reason: str = "") -> None:
        """What was sent is delivered if the peer still reads; ``closed`` follows on both sides."""
        ...


class Listener(Protocol):
    address: str

    async def close(self) -> None: ...


Accept = Callable[[], LinkHandler]


class Transport(Protocol):
    """How links come to be: ``tcp://host:port``, ``unix:///path``, ``sim://name``, ``rdma://host:port``."""

    scheme: str

    async def listen(self, address: str, accept: Accept) -> Listener:
        """Raises: OSError."""
        ...

    async def connect(self, address: str, handler: LinkHandler) -> Link:
        """Raises: OSError."""
        ...


class Repairer(Protocol):
    """Who still has what was sent."""

    def fetch(self, session: bytes, start: int, count: int) -> Sequence[Frame]:
        """Messages from ``start`` on, as many as there are up to ``count``; [] if the session is not its own or they are gone."""
        ...


class Fanout(Protocol):
    """The sending end of one session."""

    session: bytes
    """Ten bytes (MoldUDP64)."""

    @property
    def next(self) -> int:
        """The sequence that the next message gets."""
        ...

    def publish(self, messages: Sequence[Frame]) -> int:
        """Send these now; returns the first one's sequence."""
        ...

    def heartbeat(self) -> None:
        """Say what ``next`` is: reveals the loss of the last messages."""
        ...

    def close(self) -> None:
        """Say that the session ends."""
        ...


class SubscriberHandler(Protocol):
    def messages(self, start: int, messages: Sequence[memoryview]) -> None:
        """In order, each once; the memory is gone when this returns."""
        ...

    def behind(self, next_wanted: int, next_sent: int) -> None:
        """Repair does not keep up: catch up over a link from ``next_wanted`` on, then ``caught_up``."""
        ...

    def ended(self) -> None: ...
