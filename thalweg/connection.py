# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""The only place where a session meets a socket: reads into the shared buffer, one write per turn, an end in good order.

Reading. All connections read into the driver's one buffer; what a session does not take of it (a part of a frame) is
kept in ``rest`` and put before the next read. A frame that does not fit gets a buffer of its own, of exactly
``session.wants_bytes`` if the session knows: that buffer is given away with the ``receive`` that completes it (it is a
``bytearray``; the shared one is given as a ``memoryview``, borrowed).

Writing. At the end of a turn ``flush`` sends what the outbox has ready, straight to the socket while the kernel takes
it; the rest goes through the transport in pieces, and until it is drained the outbox keeps what comes. An outbox beyond
its bound then costs its connection.

TLS. A listener's ``Secure`` gives each connection a ``Channel``: what is read goes through it into the same buffers, what
is written goes through it to the same socket. Where the peer speaks first the session is made when the handshake is
done; where the session speaks first (NATS), its first words leave in the clear. Who has not finished its handshake in
time is closed, and counts as a connection until then.

Ending. A closing session's last bytes are sent (for ``LINGER_S`` at most), then the writing half is shut and input drained for a moment: closing at
once would answer unread input with a reset, and the reset would destroy the goodbye (RFC 1122 section 4.2.2.13).
"""

from __future__ import annotations

import os
import ssl
import time

import cython

from protocols.api import WireError

if cython.compiled:
    from cython.cimports.protocols.outbox import Outbox
    from cython.cimports.thalweg.socket import MSG_DONTWAIT, MSG_NOSIGNAL, send
else:
    from protocols.outbox import Outbox

PIECE_BYTES = 4 * 1024
RECORD_BYTES = 16 * 1024
"""Of one TLS record; given to OpenSSL at a time, whose buffers keep the size that they once had."""
CIPHER_BYTES = 64 * 1024
"""Encrypted before it is sent."""
FIRST_BYTE_S = 0.05
"""What a peer has to begin TLS before the session speaks in the clear: nats-server's ``handshake_first: auto``."""
TRANSPORT_BYTES = 256 * 1024
LINGER_S = 1.0
READS_MAX = 16
"""Of one turn. Measured with 50 clients of one SET each: 0.73 of redis-server's throughput, 0.54 with no bound."""
COMMIT_READS_MAX = 64
"""The same where the turn's end has something to commit."""
GIVEN_BYTES_MAX = 128 * 1024 * 1024
BELIEVED_TIMES = 64
"""A frame's announced length is made room for once a 64th of it is there: room for nothing costs nothing."""


@cython.cclass
class Turn:
    """Whether a turn is under way, and its time. The first to enter has its end called soon.

    A turn of very many reads ends early: the peers that were served first need not wait for the last, and on another
    core they work while this one goes on.
    """

    def __init__(self, begin: object, call_soon: object, end: object) -> None:
        self.under_way = False
        self.commits = False
        """Its end hands a frame to the engine, which costs as much as several reads."""
        self.now_ns = 0
        self._reads = 0
        self._scheduled = False
        self._begin = begin
        self._call_soon = call_soon
        self._end = end

    @cython.ccall
    def enter(self) -> cython.longlong:
        """Something happens: returns this turn's time."""
        if not self.under_way:
            self.under_way = True
            self.commits = False
            self._reads = 0
            self.now_ns = time.time_ns()
            self._begin(self.now_ns)
            if not self._scheduled:
                self._scheduled = True
                self._call_soon(self.soon)
        return self.now_ns

    def soon(self) -> None:
        """The loop's pass is over."""
        self._scheduled = False
        if self.under_way:
            self._end()

    @cython.ccall
    def read(self):
        """A connection was served, and nothing of it is under way any more."""
        self._reads += 1
        if self._reads >= READS_MAX and self.under_way and (not self.commits or self._reads >= COMMIT_READS_MAX):
            self._end()

    def over(self) -> None:
        self.under_way = False


def flush(dirty: list, driver: object) -> None:
    """Send what the turn left to say; what that makes others say leaves too."""
    outbox: Outbox
    connection: Connection
    held: dict = driver.held
    while dirty:
        batch: list = dirty[:]
        del dirty[:]
        for outbox in batch:
            owner = outbox.owner
            if owner is not None and outbox.parked():
                driver.waits(owner)
            outbox.marked = False
            if owner is None or (held and id(outbox) in held):
                continue
            connection = owner
            try:
                connection.flush()
            except Exception as error:  # one that is wrong keeps nobody else's bytes
                connection.crashed(error)
            if outbox.large():
                driver.grew(outbox)


@cython.cclass
class Connection:
    """One accepted socket. asyncio's buffered protocol on one side, the hub's ``Connection`` on the other."""

    def __init__(self, driver: object, protocol: str, factory: object = None, secure: object = None) -> None:
        self.driver = driver
        self.turn = driver.turn
        self.protocol = protocol
        self.factory = factory
        self.secure = secure
        self.channel = None
        self.deaf = False
        self.session = None
        self.outbox = None
        self.due_ns = 0
        self.closed = False
        self.transport = None
        self.fd = -1
        self.direct = False
        self.writable = True
        self.paused = False
        self.stalled = False
        self.lingering = False
        self.ending = False
        self.rest = None
        self.rest_bytes = 0
        self.given = False
        self.began_ns = 0
        self.bytes_in = 0
        self.bytes_out = 0
        """Of the session's, and (``bytes_in``) as they came from the socket."""

    def peername(self) -> str:
        """Where the peer is: ``host:port``."""
        found = self.transport.get_extra_info("peername") if self.transport is not None else None
        return f"{found[0]}:{found[1]}" if found else "unix"

    # asyncio's side

    def connection_made(self, transport: object) -> None:
        self.transport = transport
        if not self.driver.admit(self.protocol):
            self.closed = True
            transport.abort()
            return
        self._get_unsent = transport.get_write_buffer_size
        sock = transport.get_extra_info("socket")
        self.fd = -1 if sock is None else sock.fileno()
        self.direct = transport.get_extra_info("ssl_object") is None and self.fd >= 0
        transport.set_write_buffer_limits(high=0)
        if self.secure is None:
            self.greet()
        else:
            self.begin_secure()

    def greet(self) -> None:
        """Make the session, and let it speak if it wants to."""
        if self.secure is not None:
            self.driver.strangers[self.protocol].discard(self)
        self.session = self.driver.session(self.protocol, self.factory)
        self.factory = None
        self.outbox = self.session.outbox
        self.outbox.owner = self
        self.driver.joined(self.protocol, self)
        peer = self.transport.get_extra_info("peername") or ("unix", 0)
        self.began_ns = now_ns = self.turn.enter()
        try:
            self.session.opened((peer[0], peer[1]), now_ns)
        except Exception as error:
            self.crashed(error)
            return
        self.outbox.mark()

    def get_buffer(self, hint: int) -> object:
        return self.plain_buffer() if self.secure is None else self.driver.cipher

    @cython.cfunc
    def plain_buffer(self) -> object:
        if self.rest is None:
            return self.driver.view
        if self.given or self.rest_bytes > self.driver.share_bytes:
            return memoryview(self.rest)[self.rest_bytes :]
        return self.driver.view[self.rest_bytes :]

    def buffer_updated(self, count: cython.Py_ssize_t) -> None:
        if self.closed or self.lingering:
            return
        self.bytes_in += count
        if self.secure is None:
            self.received(count)
        else:
            self.decrypt(count)
        self.turn.read()

    @cython.cfunc
    def received(self, count: cython.Py_ssize_t):
        if self.rest is None:
            self.take(self.driver.view, count)
        elif self.given or self.rest_bytes > self.driver.share_bytes:
            self.rest_bytes += count
            if self.given and self.rest_bytes < len(self.rest):
                return  # a frame that is known to be incomplete
            whole = self.rest
            end = self.rest_bytes
            self.rest = None
            self.rest_bytes = 0
            self.given = False
            self.take(whole, end)
        else:
            end = self.rest_bytes + count
            self.driver.buffer[: self.rest_bytes] = memoryview(self.rest)[: self.rest_bytes]
            self.rest = None
            self.rest_bytes = 0
            self.take(self.driver.view, end)

    def eof_received(self) -> bool:
        """The peer says no more. What it asked for and what is only to become durable is still answered."""
        if self.channel is not None and not self.deaf:
            self.deaf = True
            self.drain()  # what lies there was said before
        if self.closed:
            return False
        if (
            self.session is None
            or not self.may_send()
            or self.session.closing
            or not self.outbox.promised()
            or not (self.outbox.parked() or self.outbox.ready())
        ):
            self.finish()
            return False
        self.turn.enter()
        self.session.closing = True
        self.outbox.mark()
        return True

    def connection_lost(self, error: object) -> None:
        if not self.closed:
            self.finish()
        self.transport = None

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if not self.closed and self.session is not None:
            self.turn.enter()
            self.outbox.mark()

    # TLS

    @cython.cfunc
    def may_send(self) -> cython.bint:
        """Whether the session's bytes may leave."""
        return self.secure is None or (self.channel is not None and self.channel.ready)

    def begin_secure(self) -> None:
        self.driver.strangers[self.protocol].add(self)
        self.driver.shakes_hands(self)
        if self.secure.either:
            self.driver.later(FIRST_BYTE_S, self.speak_first)
        elif self.secure.after:
            self.speak_first()
        else:
            self.channel = self.secure.channel()

    def speak_first(self) -> None:
        """The session's first words in the clear; what comes is TLS."""
        if self.closed or self.channel is not None:
            return
        self.greet()
        if not self.closed:
            self.send_plain()
            self.channel = self.secure.channel()

    def handshake_late(self) -> None:
        self.driver.note(f"{self.protocol}_tls_errors", "")
        self.driver.debug(self.protocol, "no TLS handshake in time")
        self.abort()

    @cython.cfunc
    def decrypt(self, count: cython.Py_ssize_t):
        """What was read into the driver's second buffer, in pieces that keep OpenSSL's buffers small."""
        at: cython.Py_ssize_t = 0
        if self.channel is None:
            self.channel = self.secure.channel()
        while at < count and not self.closed and not self.lingering:
            end: cython.Py_ssize_t = min(at + RECORD_BYTES, count)
            self.channel.feed(self.driver.cipher[at:end])
            at = end
            self.drain()

    @cython.ccall
    def drain(self):
        """Give the session what the channel has, unless it is not to be read now."""
        if self.closed or self.lingering or self.paused or self.stalled or self.channel is None:
            return
        try:
            if not self.channel.ready:
                self.handshake()
            while not (self.closed or self.lingering or self.paused or self.stalled) and self.channel.ready:
                count: cython.Py_ssize_t = self.channel.read(self.plain_buffer())
                if count > 0:
                    self.received(count)
                elif count == 0:
                    break
                else:
                    self.send_cipher()
                    if not self.closed:
                        self.eof_received()
                    return
        except ssl.SSLError as error:
            self.insecure(error)
            return
        if not self.closed and self.channel.pending():
            self.send_cipher()

    @cython.cfunc
    def handshake(self):
        if not self.channel.handshake():
            return
        self.driver.handshakes.pop(self, None)
        self.send_cipher()
        if self.session is None:
            self.greet()
        else:
            self.turn.enter()
            self.outbox.mark()

    @cython.cfunc
    def insecure(self, error: object):
        """Not TLS, not ours, or not in order: say why in TLS's own words and close."""
        self.driver.note(f"{self.protocol}_{getattr(error, 'event', 'tls_errors')}", "")
        self.driver.debug(self.protocol, str(error))
        self.turn.enter()
        self.send_cipher()
        if self.session is not None:
            self.session.closing = True
            self.outbox.clear()
        if not self.closed:
            self.end()

    # receiving

    @cython.cfunc
    def take(self, data: object, end: cython.Py_ssize_t):
        """Give the session what is in ``data[:end]``; keep what it does not take."""
        session = self.session
        now_ns = self.turn.enter()
        used: cython.Py_ssize_t
        try:
            used = session.receive(data, 0, end, now_ns)
        except WireError as error:
            self.driver.note(f"{self.protocol}_wire_errors", "")
            self.driver.debug(self.protocol, str(error))
            session.closing = True
            used = end
        except Exception as error:
            self.crashed(error)
            return
        if used < end and not session.closing:
            self.keep(data, used, end)
        if self.driver.pressure:
            self.stall()
        if session.deadline_ns != self.due_ns:
            self.driver.plan(self)
        if session.closing or session.blocked:
            self.outbox.mark()
            if session.blocked and not self.paused:
                self.paused = True
                if not self.stalled:
                    self.transport.pause_reading()

    @cython.cfunc
    def keep(self, data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t):
        """A part of a frame: small ones wait in bytes of their own size, large ones in the buffer they will need."""
        left: cython.Py_ssize_t = end - start
        wants: cython.Py_ssize_t = self.session.wants_bytes
        if self.driver.share_bytes < wants <= GIVEN_BYTES_MAX and left < wants <= BELIEVED_TIMES * left:
            self.rest = bytearray(wants)
            self.given = True
        elif left > self.driver.share_bytes:
            self.rest = bytearray(2 * left)
            self.given = False
        else:
            self.rest = bytearray(left)
            self.given = False
        self.rest[:left] = memoryview(data)[start:end]
        self.rest_bytes = left

    def stall(self) -> None:
        """Those it delivers to read more slowly than it sends: read it again in a moment, or when they caught up."""
        pressed = self.driver.pressure[:]
        self.driver.pressure.clear()
        for outbox in pressed:
            outbox.pressed = False
        if not self.paused and not self.stalled:
            self.stalled = True
            self.transport.pause_reading()
            self.driver.stalls(self, pressed)

    def hold(self, seconds: float) -> None:
        """Do not read it for so long."""
        if not self.stalled and not self.closed and self.transport is not None:
            self.stalled = True
            self.transport.pause_reading()
            self.driver.later(seconds, self.unstall)

    def unstall(self) -> None:
        if self.stalled:
            self.stalled = False
            if not self.closed and not self.paused and self.transport is not None:
                self.transport.resume_reading()
                if self.channel is not None:
                    self.driver.later(0, self.drain)

    def retry(self) -> None:
        """The session is unblocked: what was kept is given again."""
        if self.rest is not None:
            whole, end = self.rest, self.rest_bytes
            self.rest = None
            self.rest_bytes = 0
            self.given = False
            self.take(whole, end)

    def crashed(self, error: BaseException) -> None:
        """We are wrong: the session dies, the process does not."""
        self.driver.crash(self.protocol, error)
        self.abort()

    # sending

    @cython.ccall
    def flush(self):
        """See ``protocols.hub.Connection``."""
        if self.closed:
            return
        ready: cython.Py_ssize_t = self.outbox.ready()
        if ready and self.writable:
            self.send_ready()
            if self.closed:
                return
            self.bytes_out += ready - self.outbox.ready()
            ready = self.outbox.ready()
        if self.outbox.parked():
            self.driver.waits(self)
        if self.outbox.overflowed:
            self.driver.note(f"{self.protocol}_slow_consumers", "")
            self.abort()
            return
        session = self.session
        if self.paused and not session.blocked and self.writable:
            self.paused = False
            if not self.stalled:
                self.transport.resume_reading()
            self.retry()
            self.drain()
            if self.closed:
                return
            ready = self.outbox.ready()
        if session.deadline_ns != self.due_ns:
            self.driver.plan(self)
        if session.closing and not self.lingering:
            if ready == 0 and not self.outbox.parked():
                self.end()
            elif not self.ending:
                self.ending = True
                self.driver.later(LINGER_S, self.finish_later)

    @cython.cfunc
    def send_ready(self):
        if self.secure is None:
            self.send_plain()
        elif self.may_send():
            self.send_secure()

    @cython.cfunc
    def send_secure(self):
        try:
            while self.outbox.ready() and self.writable and not self.closed:
                with self.outbox.peek() as view:
                    count: cython.Py_ssize_t = self.channel.write(view[:RECORD_BYTES])
                self.outbox.sent(count)
                if self.channel.pending() >= CIPHER_BYTES:
                    self.send_cipher()
        except ssl.SSLError as error:
            self.insecure(error)
            return
        self.send_cipher()

    @cython.cfunc
    def send_cipher(self):
        """All that the channel has: to the socket while the kernel takes it, the rest through the transport."""
        data: bytes = self.channel.take()
        if not data or self.closed:
            return
        count: cython.Py_ssize_t = 0
        if self.direct and self._get_unsent() == 0:
            if cython.compiled:
                count = send(self.fd, cython.cast(cython.p_char, data), len(data), MSG_DONTWAIT | MSG_NOSIGNAL)
            else:
                try:
                    count = os.write(self.fd, data)
                except OSError:
                    count = 0
        if count < len(data):
            self.transport.write(data[max(count, 0) :])

    @cython.cfunc
    def send_plain(self):
        """To the socket while the kernel takes it. Then a small piece through the transport, only to be told when there
        is room again: what stays in the outbox is bounded there, and copied once."""
        if self.direct and self._get_unsent() == 0:
            if cython.compiled:
                self._send_direct()
            else:
                with self.outbox.peek() as view:
                    try:
                        count = os.write(self.fd, view)
                    except OSError:
                        count = 0
                self.outbox.sent(count)
        while self.outbox.ready() and self.writable and not self.closed:
            with self.outbox.peek() as view:
                piece = bytes(view[: PIECE_BYTES if self.direct else TRANSPORT_BYTES])
            self.outbox.sent(len(piece))
            self.transport.write(piece)

    @cython.cfunc
    def _send_direct(self):
        """An error counts as nothing sent: the transport meets it again and closes."""
        if cython.compiled:
            view = self.outbox.peek()
            source: cython.const[cython.uchar][::1] = view
            count: cython.Py_ssize_t = send(
                self.fd, cython.address(source[0]), len(source), MSG_DONTWAIT | MSG_NOSIGNAL
            )
            del source
            view.release()
            if count > 0:
                self.outbox.sent(count)

    # ending

    def end(self) -> None:
        """Everything said: shut the writing half, drain what the peer still sends, then close."""
        self.lingering = True
        if self.may_send() and self.channel is not None:
            self.channel.close()
            self.send_cipher()
        try:
            self.transport.write_eof()
        except (OSError, RuntimeError, NotImplementedError):
            self.finish()
            return
        if self.paused or self.stalled:
            self.paused = False
            self.stalled = False
            self.transport.resume_reading()
        self.driver.later(LINGER_S, self.finish_later)

    def finish_later(self) -> None:
        if not self.closed:
            self.finish()

    @cython.cfunc
    def finish(self):
        """The connection is over: the session gives back what it held."""
        self.closed = True
        if self.secure is not None:
            self.driver.handshakes.pop(self, None)
        if self.session is None:
            self.driver.strangers[self.protocol].discard(self)
        else:
            now_ns = self.turn.enter()
            try:
                self.session.eof(now_ns)
            except Exception as error:
                self.driver.crash(self.protocol, error)
            self.rest = None
            self.driver.left(self.protocol, self)
        self.channel = None
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close without another byte."""
        if self.closed:
            return
        transport = self.transport
        self.finish()
        if transport is not None:
            transport.abort()
