# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""Core NATS at speed: from one connection's chunk into the outboxes of those who subscribe.

Rules of the machine:

* A chunk is one ``receive``. Runs of equal subjects have one *plan*: who gets them. A plan is found once per run, kept in
  a bounded cache by subject and good while its generation is the port's. Subjects that are used once (``_INBOX.``,
  ``$JS.``) are looked up each time and never enter the cache.
* What is not in the cache is mostly a subject that is used once (an inbox, ``orders.<id>``): where all goes that differs
  from it in the last token only is kept too (``resolve_beneath``), and one such route serves them all.
* For a subscriber of this protocol a message is two copies: the plan's ``MSG subject sid `` and, as it came, what follows
  the subject on the wire. No Python object per message.
* Whoever else listens, and the stream that captures the subject, get the run as one ``Group`` through the port; the group
  borrows the chunk, so every run is handed over before ``receive`` returns.
* Of a queue group one member gets each message, by a generator seeded once from the port. A group whose members speak
  different protocols is left to the port, with all else of that plan.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy
    from cython.cimports.protocols.nats.wire import Frame, cut, plain_address, same, valid_subject
    from cython.cimports.protocols.outbox import Outbox
    from cython.cimports.substrate.group import Group
else:
    from protocols.nats.wire import Frame, cut, plain_address, same, valid_subject
    from protocols.outbox import Outbox
    from substrate.group import Group

from protocols.nats.mapping import delivery_of, header_tuple, subject_address, subject_of_address
from protocols.nats.wire import BROKEN, HPUB, MORE, PING, PONG, PUB
from substrate.api import REPLY, Address, Route

PROTOCOL = "nats"
PLANS_MAX = 1024
"""Per connection; the oldest leaves."""
BENEATH_MAX = 64
REPLIES_MAX = 4096
"""Messages of one group that wait for their acknowledgement's text: bounds what an executor elsewhere may hold back."""


@cython.cclass
class NatsSink:
    """One subscription of one connection. The port calls ``deliver``; this protocol's kernels write past it."""

    def __init__(
        self, session: object, outbox: Outbox, subject: bytes, queue: bytes | None, sid: bytes, headers: cython.bint
    ) -> None:
        self.protocol = PROTOCOL
        self.session = session
        self.handle = None  # what ends the subscription at the port
        self.outbox = outbox
        self.subject = subject
        self.queue = queue
        self.sid = sid
        self.headers = headers
        self.closed = False
        self.filtered = False  # some of what matches is denied: the session says what
        self.delivered = 0
        self.delivered_max = 0  # UNSUB sid max; 0: no end

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _take(self) -> cython.bint:
        """Whether one more message may be written now; it is counted."""
        if self.closed:
            return False
        self.delivered += 1
        return True

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _after(self) -> cython.int:
        """After a message was written."""
        if self.outbox.overflowed:
            self.session.too_slow()
        elif self.delivered_max and self.delivered >= self.delivered_max:
            self.session.expired(self)
        return 0

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def send(self, subject: bytes, tail: bytes, with_headers: cython.bint) -> cython.bint:
        """One message whose ``tail`` (reply, sizes, payload) is text already. False: the subscription is over."""
        if not self._take():
            return False
        self.outbox.put_bytes((b"HMSG " if with_headers else b"MSG ") + subject + b" " + self.sid + b" ")
        self.outbox.put_bytes(tail)
        self._after()
        return True

    def deliver(self, group: Group) -> None:
        """Take a group that came from elsewhere: another protocol, an executor, or a mixed queue group."""
        index: cython.Py_ssize_t
        if self.closed or (group.source is self.session and not self.session.echo):
            return
        if self.filtered and not self.session.hears(group.address):
            return
        if group.headers is None and group._records is None:
            subject = subject_of_address(group.address)
            prefix = b"MSG " + subject + b" " + self.sid + b" "
            for index in range(group.count):
                if not self._take():
                    return
                value = group.value(index)
                self.outbox.put_bytes(prefix)
                self.outbox.put_bytes(b"%d\r\n" % len(value))
                self.outbox.put_bytes(value)
                self.outbox.put_bytes(b"\r\n")
                self._after()
            return
        for record in group.records():
            subject, reply, block, value = delivery_of(record)
            head = reply + b" " if reply else b""
            if block and self.headers:
                tail = b"%b%d %d\r\n%b%b\r\n" % (head, len(block), len(block) + len(value), block, value)
                self.send(subject, tail, True)
            else:
                self.send(subject, b"%b%d\r\n%b\r\n" % (head, len(value), value), False)


@cython.cclass
class Plan:
    """Where one subject goes while ``generation`` is the port's."""

    def __init__(self, subject: bytes, route: object, generation: cython.longlong, session: object) -> None:
        self.subject = subject
        self.route = route  # None: the subject cannot be published to
        self.generation = generation
        self.sinks = []  # subscriptions of this protocol that get every message
        self.prefixes = []  # of each: b"MSG subject sid "
        self.queues = []  # lists of subscriptions: one of each list gets a message
        self.kernel = True  # written here; False: the port gives it to everybody
        self.needs_port = False  # a stream captures it, or others listen
        self.special = False  # $JS.: the session looks at each message
        self.heard = False  # somebody gets it, so nobody is told that there are no responders
        self.stream = None  # what a publisher is acknowledged with, if anything
        self.looks = False  # each message is looked at on its own
        self.bytes_max = 0  # headers and payload that the stream takes; 0: any
        if route is None:
            return
        foreign: cython.bint = route.stream != 0
        for queue in route.queues:
            members = [sink for sink in queue if isinstance(sink, NatsSink)]
            if len(members) != len(queue):
                foreign = True
                if members:
                    self.kernel = False
            else:
                members = [
                    sink
                    for sink in members
                    if (session.echo or sink.session is not session)
                    and (not sink.filtered or sink.session.hears(route.address))
                ]
            if members:
                self.queues.append(members)
        for sink in route.sinks:
            if not isinstance(sink, NatsSink):
                foreign = True
            elif sink.filtered and not sink.session.hears(route.address):
                continue
            elif session.echo or sink.session is not session:
                self.sinks.append(sink)
                self.prefixes.append(b"MSG " + subject + b" " + sink.sid + b" ")
        if not self.kernel:
            self.sinks = []
            self.prefixes = []
            self.queues = []
            foreign = True
        self.needs_port = foreign
        self.heard = foreign


@cython.cclass
class Delivery:
    """The receiving half of one connection.

    The session beside it is told of everything but publications (``command``), of broken frames (``broken``), of
    messages to ``$JS.`` (``special``), of runs that the port must see (``publish``, ``publish_with_headers``) and of
    requests that nobody heard (``nobody``); ``find_route`` asks the port.
    """

    def __init__(
        self, session: object, outbox: Outbox, line_bytes_max: int, payload_bytes_max: int, chance: int
    ) -> None:
        self.frame = Frame(line_bytes_max, payload_bytes_max)
        self.session = session
        self.outbox = outbox
        self.verbose = True
        self.pedantic = True
        self.accepts_headers = False
        self.no_responders = False
        self.waits = False  # the session wants no more frames of this chunk
        self.generation = 0
        self.pressed_bytes = 0  # a receiver that owes more than this stalls who publishes to it; 0: nobody is stalled
        self.pressed = False
        self.messages = 0
        self.message_bytes = 0
        self._plans = {}
        self._beneath = {}
        self._plan = None
        self._group = None
        self._replies = []
        self._last_reply = None
        self._chance = (chance & 0xFFFFFFFFFFFFFFFF) | 1
        self._data = None

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def receive(self, data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """Take whole frames of ``data[start:end]``; the offset behind the last one taken."""
        view: cython.const[cython.uchar][::1] = data
        frame: Frame = self.frame
        kind: cython.int
        self._data = data
        self._plan = None
        self.generation = self.session.port.generation
        self.pressed = False
        try:
            while start < end and not self.waits:
                kind = frame.parse(view, start, end)
                if kind == PUB or kind == HPUB:  # noqa: SIM109
                    if kind == HPUB and not self.accepts_headers:
                        self._flush()
                        self.session.broken(BROKEN)
                        return end
                    self._publish(view)
                elif kind == MORE:
                    break
                else:
                    self._flush()
                    self._plan = None
                    if kind < 0:
                        self.session.broken(kind)
                        return end
                    self.session.command(
                        kind,
                        bytes(data[frame.argument_start : frame.argument_end]) if kind not in (PING, PONG) else b"",
                    )
                    self.generation = self.session.port.generation
                start = frame.next
            self._flush()
            if self.pressed_bytes and self._plan is not None:
                self._press()
        finally:
            self._data = None
            self._group = None
            self._plan = None
        return start

    def _press(self) -> None:
        """See whether a receiver of the last run reads too slowly."""
        sink: NatsSink
        for sink in self._plan.sinks:
            if sink.outbox.size() > self.pressed_bytes:
                self.pressed = True
                return

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _publish(self, view: cython.const[cython.uchar][::1]) -> cython.int:
        """The publication that ``frame`` describes."""
        frame: Frame = self.frame
        plan: Plan = self._plan
        sink: NatsSink
        out: Outbox
        index: cython.Py_ssize_t
        chosen: list
        heard: cython.bint
        if plan is None or not same(view, frame.subject_start, frame.subject_end, plan.subject):
            self._flush()
            plan = self._find(view)
            self._plan = plan
        self.messages += 1
        self.message_bytes += frame.total_bytes
        if plan.route is None:
            self.session.unpublishable(plan.subject)
            if self.verbose:
                self.outbox.put_bytes(b"+OK\r\n")
            if self.no_responders and frame.reply_end > frame.reply_start:
                self.session.nobody(plan.subject, bytes(self._data[frame.reply_start : frame.reply_end]))
            return 0
        if self.verbose:
            self.outbox.put_bytes(b"+OK\r\n")
        heard = plan.heard
        if frame.plain and frame.kind == PUB:
            for index in range(len(plan.sinks)):
                sink = cython.cast(NatsSink, plan.sinks[index])
                if sink.closed:
                    continue
                heard = True
                sink.delivered += 1
                out = sink.outbox
                out.put_bytes(cython.cast(bytes, plan.prefixes[index]))
                out.put(view, frame.subject_end + 1, frame.next)
                if out.overflowed or sink.delivered_max:
                    sink._after()
        else:
            for index in range(len(plan.sinks)):
                sink = cython.cast(NatsSink, plan.sinks[index])
                if not sink.closed:
                    heard = True
                    self._give(view, sink, plan.subject, plan.prefixes[index])
        for chosen in plan.queues:
            start: cython.Py_ssize_t = self._draw(len(chosen))
            for index in range(len(chosen)):
                sink = cython.cast(NatsSink, chosen[(start + index) % len(chosen)])
                if not sink.closed:
                    heard = True
                    self._give(view, sink, plan.subject, None)
                    break
        if plan.special:
            self.session.special(plan, self._data, heard)
            self.generation = self.session.port.generation
        elif plan.needs_port:
            self._collect(view)
        elif not heard and self.no_responders and frame.reply_end > frame.reply_start:
            self.session.nobody(plan.subject, bytes(self._data[frame.reply_start : frame.reply_end]))
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _collect(self, view: cython.const[cython.uchar][::1]) -> cython.int:
        """Add the message to the run's group."""
        frame: Frame = self.frame
        plan: Plan = self._plan
        reply: bytes = b""
        if frame.reply_end > frame.reply_start:
            if same(view, frame.reply_start, frame.reply_end, self._last_reply):
                reply = self._last_reply
            else:
                reply = self._last_reply = cut(view, frame.reply_start, frame.reply_end)
        if plan.bytes_max and frame.total_bytes > plan.bytes_max:
            self._flush()
            self.session.too_large(plan, reply)
            return 0
        if frame.kind == HPUB:
            start = frame.payload_start
            block = cut(view, start, start + frame.header_bytes)
            if plan.stream is not None and (plan.looks or self.session.has_conditions(block)):
                self._flush()
                length = frame.total_bytes - frame.header_bytes
                self.session.publish_alone(plan, self._data, start + frame.header_bytes, length, block, reply)
                self.generation = self.session.port.generation
                return 0
            self._add(start + frame.header_bytes, frame.total_bytes - frame.header_bytes, header_tuple(block), reply)
        elif plan.looks:
            self._flush()
            self.session.publish_alone(plan, self._data, frame.payload_start, frame.total_bytes, b"", reply)
            self.generation = self.session.port.generation
        else:
            self._add(frame.payload_start, frame.total_bytes, (), reply)
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _add(self, start: cython.Py_ssize_t, length: cython.Py_ssize_t, headers: tuple, reply: bytes) -> cython.int:
        group: Group = self._group
        plan: Plan = self._plan
        if group is None:
            group = self._group = Group(plan.route.address, self._data, self.session)
            self._replies = []
        if plan.stream is not None:
            if reply and not self._replies:
                self._replies = [b""] * group.count
            if reply or self._replies:
                self._replies.append(reply)
        elif reply and valid_subject(reply):
            headers = (*headers, (REPLY, subject_address(reply)))
        if headers:
            group.add_with_headers(start, length, headers)
        else:
            group.add(start, length)
        if group.count >= REPLIES_MAX:
            self._flush()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _give(self, view: cython.const[cython.uchar][::1], sink: NatsSink, subject: bytes, prefix: bytes) -> cython.int:
        """Write the message to one subscriber, however it was written and whatever that one understands."""
        frame: Frame = self.frame
        out: Outbox = sink.outbox
        sink.delivered += 1
        body: cython.Py_ssize_t = frame.payload_start
        headers: cython.bint = sink.headers and frame.header_bytes > 0
        if headers:
            out.put_bytes(b"HMSG " + subject + b" " + sink.sid + b" ")
        else:
            out.put_bytes(b"MSG " + subject + b" " + sink.sid + b" " if prefix is None else prefix)
            body += frame.header_bytes
        if frame.plain and (frame.kind == PUB or headers):
            out.put(view, frame.subject_end + 1, frame.next)
        else:
            if frame.reply_end > frame.reply_start:
                out.put(view, frame.reply_start, frame.reply_end)
                out.put_bytes(b" ")
            if frame.kind == PUB:
                out.put(view, frame.size_start, frame.size_end)
            elif headers:
                out.put_bytes(b"%d %d" % (frame.header_bytes, frame.total_bytes))
            else:
                out.put_number(frame.total_bytes - frame.header_bytes)
            out.put_bytes(b"\r\n")
            out.put(view, body, frame.next)
        if out.overflowed or sink.delivered_max:
            sink._after()
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _flush(self) -> cython.int:
        """Hand the run's group to the port."""
        group: Group = self._group
        if group is not None:
            self._group = None
            self.session.publish(self._plan, group, self._replies)
            self._replies = []
            self.generation = self.session.port.generation
        return 0

    @cython.cfunc
    def _find(self, view: cython.const[cython.uchar][::1]) -> Plan:
        """The plan of the frame's subject."""
        frame: Frame = self.frame
        subject: bytes = cut(view, frame.subject_start, frame.subject_end)
        plan: Plan = self._plans.get(subject)
        if plan is not None and plan.generation == self.generation:
            return plan
        once: cython.bint = subject.startswith((b"_INBOX.", b"$JS."))
        plan = self._derive(subject)
        derived: cython.bint = plan is not None
        if not derived:
            plan = self.session.make_plan(subject)
        if not once:
            if len(self._plans) >= PLANS_MAX and subject not in self._plans:
                oldest: bytes = next(iter(self._plans))
                if derived and cython.cast(Plan, self._plans[oldest]).generation == self.generation:
                    return plan  # it is cheaply derived again; what is kept is not
                del self._plans[oldest]
            self._plans[subject] = plan
        return plan

    @cython.cfunc
    def _wide(self, subject: bytes) -> Plan:
        """The plan of all subjects that differ from this valid one only at their end; None: there is none."""
        cut: cython.Py_ssize_t = 8 if subject.startswith(b"$JS.ACK.") else subject.rfind(b".") + 1
        if cut < 2:
            return None
        key: bytes = subject[:cut]
        wide: Plan = self._beneath.get(key)
        if wide is None or wide.generation != self.generation:
            wide = self.session.plan_beneath(key)
            if len(self._beneath) >= BENEATH_MAX and key not in self._beneath:
                del self._beneath[next(iter(self._beneath))]
            self._beneath[key] = wide
        return None if wide.route is None else wide

    @cython.cfunc
    def _derive(self, subject: bytes) -> Plan:
        """The plan of a subject, from that of all its neighbours; None: look it up."""
        if not valid_subject(subject):
            return None
        wide: Plan = self._wide(subject)
        if wide is None:
            return None
        route = wide.route
        if wide.needs_port:
            address = plain_address(subject)
            if address is None or (route.topic is not None and len(route.topic.streams) != 1):
                return None
            route = Route(
                route.account, Address(address), route.generation, route.stream, route.topic, route.sinks, route.queues
            )
        plan: Plan = Plan.__new__(Plan)
        plan.subject = subject
        plan.route = route
        plan.generation = wide.generation
        plan.sinks = wide.sinks
        plan.prefixes = [b"MSG " + subject + b" " + sink.sid + b" " for sink in wide.sinks]
        plan.queues = wide.queues
        plan.kernel = wide.kernel
        plan.needs_port = wide.needs_port
        plan.special = wide.special
        plan.heard = wide.heard
        plan.stream = wide.stream
        plan.bytes_max = wide.bytes_max
        plan.looks = wide.looks
        return plan

    def reply_sinks(self, reply: bytes) -> list:
        """Who of this protocol gets one message to this subject now; None: look it up."""
        if not valid_subject(reply):
            return []
        if not self.session.echo:
            return None  # plans leave this connection out, an answer of the server's does not
        self.generation = self.session.port.generation
        wide: Plan = self._wide(reply)
        if wide is None or wide.queues or not wide.kernel:
            return None
        return wide.sinks

    def forget(self) -> None:
        """Every plan: what this connection may do has changed."""
        self._plans.clear()
        self._beneath.clear()
        self._plan = None

    def plans_kept(self) -> int:
        """How many subjects are remembered."""
        return len(self._plans)

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _draw(self, count: cython.Py_ssize_t) -> cython.Py_ssize_t:
        """A number below ``count`` (xorshift64)."""
        mixed: cython.ulonglong = self._chance
        if cython.compiled:
            mixed ^= mixed << 13
        else:
            mixed ^= mixed << 13 & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 7
        if cython.compiled:
            mixed ^= mixed << 17
        else:
            mixed ^= mixed << 17 & 0xFFFFFFFFFFFFFFFF
        self._chance = mixed
        return (mixed >> 16) % count


@cython.cclass
class Text:
    """Bytes that are being written one behind the other."""

    def __init__(self, size: cython.Py_ssize_t) -> None:
        self._bytes = bytearray(size)
        self._view = self._bytes
        self._size = size
        self.fill = 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def room(self, more: cython.Py_ssize_t) -> cython.int:
        """See that so many bytes fit."""
        if self.fill + more > self._size:
            self._size = 2 * (self.fill + more)
            bigger = bytearray(self._size)
            bigger[: self.fill] = memoryview(self._bytes)[: self.fill]
            self._bytes = bigger
            self._view = bigger
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put(self, data: bytes) -> cython.int:
        """For which there is room."""
        length: cython.Py_ssize_t = len(data)
        if cython.compiled:
            if length:
                memcpy(cython.address(self._view[self.fill]), cython.cast(cython.p_char, data), length)
        else:
            self._bytes[self.fill : self.fill + length] = data
        self.fill += length
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def put_number(self, number: cython.longlong) -> cython.int:
        """In decimal, not negative; for which there is room."""
        digits: cython.Py_ssize_t = digits_of(number)
        at: cython.Py_ssize_t = self.fill + digits
        self.fill = at
        while digits:
            at -= 1
            digits -= 1
            self._view[at] = 48 + number % 10
            number //= 10
        return 0

    @cython.cfunc
    def take(self) -> bytes:
        """What was written; the next begins anew."""
        made = bytes(memoryview(self._bytes)[: self.fill])
        self.fill = 0
        return made


@cython.cfunc
@cython.exceptval(-1, check=False)
def digits_of(number: cython.longlong) -> cython.Py_ssize_t:
    digits: cython.Py_ssize_t = 1
    while number >= 10:
        number //= 10
        digits += 1
    return digits


@cython.cfunc
@cython.exceptval(-1, check=False)
def near(one: bytes, other: bytes) -> cython.bint:
    """Whether two subjects differ at most in their last token, by ordinary characters."""
    at: cython.Py_ssize_t
    cut: cython.Py_ssize_t = 0
    byte: cython.uchar
    for at in range(len(one)):
        byte = one[at]
        if byte == 46:
            cut = at + 1
        elif byte == 42 or byte == 62:
            return False
    if cut == 0 or cut >= len(one) or len(other) < cut:
        return False
    for at in range(cut):
        if one[at] != other[at]:
            return False
    for at in range(cut, len(other)):
        byte = other[at]
        if byte == 46:
            return False
    return True


def acknowledge(
    plan: Plan, replies: list, base: cython.longlong, commit: cython.longlong, shard: cython.longlong,
    duplicate: cython.bint, sinks_of: object, delivery: Delivery
) -> None:  # fmt: skip
    """Say to each reply subject which sequence its message has, once ``commit`` is durable.

    ``sinks_of(reply)`` gives the subscriptions of this protocol. Texts for one connection leave as one answer.
    """
    last: bytes = None
    reply: bytes
    found: list = []
    alike: cython.bint = False  # what is ``near`` the last one has the same subscribers
    sink: NatsSink
    waiting: Outbox = None
    index: cython.Py_ssize_t
    length: cython.Py_ssize_t
    sequence: cython.longlong = base
    head: bytes = b'{"stream":' + plan.stream.quoted + b',"seq":'
    tail: bytes = b',"duplicate": true}\r\n' if duplicate else b"}\r\n"
    fixed: cython.Py_ssize_t = len(head) + len(tail) - 2
    text: Text = Text(min(len(replies), 64) * (fixed + 96))
    for index in range(len(replies)):
        if not duplicate or index == 0:
            sequence += 1
        reply = replies[index]
        if not reply:
            continue
        if reply is not last and reply != last:
            if not (alike and near(reply, last)):
                known = delivery.reply_sinks(reply)
                alike = known is not None
                found = known if alike else sinks_of(reply)
            last = reply
        for sink in found:
            if sink.closed:
                continue
            sink.delivered += 1
            if sink.outbox is not waiting:
                if text.fill:
                    waiting.answer_at(text.take(), shard, commit)
                waiting = sink.outbox
            length = fixed + digits_of(sequence)
            text.room(length + len(reply) + len(sink.sid) + 48)
            text.put(b"MSG ")
            text.put(reply)
            text.put(b" ")
            text.put(sink.sid)
            text.put(b" ")
            text.put_number(length)
            text.put(b"\r\n")
            text.put(head)
            text.put_number(sequence)
            text.put(tail)
            if sink.delivered_max:
                sink._after()
    if text.fill:
        waiting.answer_at(text.take(), shard, commit)
