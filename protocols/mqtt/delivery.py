# cython: language_level=3
"""QoS 0 PUBLISH from one connection to the outboxes of many, without a Python object per message.

A *run* is a stretch of complete QoS 0 frames (flags byte 0x30, at 5.0 with an empty property list) of one topic that stand
side by side in the read buffer. It costs one look-up of a bounded match cache (topic bytes -> ``Plan``) and, for every
subscriber of the same packet format (3.x to 3.x, 5.0 to 5.0), one copy of the whole stretch; a subscriber of the other
format, or with subscription identifiers, gets each frame with its property list put in or taken out. All else (retained,
properties, topic alias, QoS 1 and 2, anything malformed) is left to the session.

Messages that also go elsewhere (a stream that captures the address, other protocols, shared subscriptions) are given to
``live.publish`` as a group over the same buffer.
"""

from __future__ import annotations

import cython

from protocols.mqtt.wire import varint

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcmp
    from cython.cimports.protocols.outbox import Outbox
    from cython.cimports.substrate.group import Group
else:
    from protocols.outbox import Outbox
    from substrate.group import Group


@cython.cclass
class LiveSink:
    """Where one connection takes live messages: one for all its subscriptions."""

    def __init__(
        self, session: object, live: object, outbox: Outbox, level: cython.int, pending_bytes_max: cython.Py_ssize_t
    ) -> None:
        self.protocol = "mqtt"
        self.session = session
        self.live = live
        self.outbox = outbox
        self.level = level
        self.packet_bytes_max = 268_435_460
        self.pending_bytes_max = pending_bytes_max
        self.held = False  # a SUBACK has not left: deliveries queue behind it
        self.aliases = False  # the peer takes topic aliases: every packet goes through ``live.give``
        self.dropped = 0

    @cython.ccall
    def deliver(self, group: Group):
        self.live.deliver(group)

    @cython.ccall
    def may_take(self, size: cython.Py_ssize_t) -> cython.bint:
        """Whether a QoS 0 packet of this size goes to this peer; counts it if not."""
        if size > self.packet_bytes_max:
            return False
        if self.outbox._fill - self.outbox._head > self.pending_bytes_max:
            self.dropped += 1
            return False
        return True

    @cython.ccall
    def give(self, packet: bytes):
        """A QoS 0 packet; check ``may_take`` before."""
        if self.held:
            if self.outbox.parked():
                self.outbox.answer(packet)
                return
            self.held = False
        self.outbox.put_bytes(packet)


@cython.cclass
class Target:
    """A sink that a topic goes to, and the subscription identifiers (encoded properties) that its packets carry."""

    def __init__(self, sink: LiveSink, identifiers: bytes) -> None:
        self.sink = sink
        self.identifiers = identifiers


@cython.cclass
class Plan:
    """What to do with a topic's QoS 0 messages. ``headers``: what they carry in the group, if anything."""

    def __init__(
        self, generation: cython.longlong, route: object, targets: tuple, to_port: cython.bint, headers: tuple
    ) -> None:
        self.generation = generation
        self.route = route
        self.targets = targets
        self.to_port = to_port
        self.headers = headers


@cython.cclass
class Forwarder:
    """One publishing connection's runs. ``live.plan(topic)`` makes plans; None leaves the topic to the session."""

    def __init__(self, session: object, live: object, level: cython.int, packet_bytes_max: cython.Py_ssize_t) -> None:
        self.session = session
        self.live = live
        self.level = level
        self.packet_bytes_max = packet_bytes_max
        self.plans_max = 4096
        self.forwarded = 0
        self._plans = {}

    @cython.ccall
    def find(self, topic: bytes, generation: cython.longlong) -> Plan:
        """The plan of this topic, made anew if something changed since."""
        plan: Plan = self._plans.get(topic)
        if plan is None or plan.generation != generation:
            plan = self.live.plan(topic)
            if plan is not None and len(topic) <= 512:  # longer ones are planned each time: bounded in bytes, too
                if len(self._plans) >= self.plans_max:
                    self._plans.clear()
                self._plans[topic] = plan
        return plan

    @cython.ccall
    @cython.exceptval(-1)
    def run(
        self, data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t, generation: cython.longlong
    ) -> cython.Py_ssize_t:
        """Forward what stands at ``data[start:end]`` as far as it is plain QoS 0; return where it is not."""
        view: cython.const[cython.uchar][::1] = data
        at: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        value: cython.Py_ssize_t
        length: cython.Py_ssize_t
        topic_bytes: cython.Py_ssize_t
        known_bytes: cython.Py_ssize_t = -1
        position: cython.Py_ssize_t = start
        first: cython.Py_ssize_t = start
        count: cython.Py_ssize_t = 0
        largest: cython.Py_ssize_t = 0
        scale: cython.Py_ssize_t
        byte: cython.Py_ssize_t
        same: cython.bint
        topic: bytes = b""
        plan: Plan = None
        group: Group = None
        five: cython.bint = self.level == 5
        while end - position >= 4 and view[position] == 0x30:
            at = position + 1
            byte = view[at]
            length = byte & 127
            scale = 128
            while byte >= 128 and at + 1 < end and at - position < 4:
                at += 1
                byte = view[at]
                length += (byte & 127) * scale
                scale *= 128
            if byte >= 128 or (byte == 0 and at - position > 1):
                break  # not complete, malformed, or longer than need be: not to be copied as it stands
            at += 1
            stop = at + length
            if stop > end or stop - position > self.packet_bytes_max or length < 3:
                break
            topic_bytes = view[at] * 256 + view[at + 1]
            at += 2
            value = at + topic_bytes
            if value > stop:
                break
            if five:
                if value == stop or view[value] != 0:
                    break
                value += 1
            same = plan is not None and topic_bytes == known_bytes
            if same:
                if cython.compiled:
                    same = (
                        topic_bytes == 0
                        or memcmp(cython.address(view[at]), cython.cast(cython.p_char, topic), topic_bytes) == 0
                    )
                else:
                    same = view[at : at + topic_bytes] == topic
            if not same:
                if count:
                    self._deliver(view, data, plan, first, position, count, largest, known_bytes, group)
                    count = 0
                if topic_bytes == 0:
                    break
                if cython.compiled:
                    topic = PyBytes_FromStringAndSize(cython.cast(cython.p_char, cython.address(view[at])), topic_bytes)
                else:
                    topic = bytes(view[at : at + topic_bytes])
                plan = self.find(topic, generation)
                if plan is None:
                    break
                known_bytes = topic_bytes
                first = position
                largest = 0
                group = Group(plan.route.address, data, self.session) if plan.to_port else None
            if group is not None:
                if plan.headers:
                    group.add_with_headers(value, stop - value, plan.headers)
                else:
                    group.add(value, stop - value)
            count += 1
            if stop - position > largest:
                largest = stop - position
            position = stop
        if count:
            self._deliver(view, data, plan, first, position, count, largest, known_bytes, group)
        return position

    @cython.cfunc
    @cython.exceptval(-1)
    def _deliver(
        self,
        view: cython.const[cython.uchar][::1],
        data: object,
        plan: Plan,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        count: cython.Py_ssize_t,
        largest: cython.Py_ssize_t,
        topic_bytes: cython.Py_ssize_t,
        group: Group,
    ) -> cython.int:
        target: Target
        sink: LiveSink
        outbox: Outbox
        self.forwarded += count
        for target in plan.targets:
            sink = target.sink
            outbox = sink.outbox
            if outbox._fill - outbox._head > sink.pending_bytes_max:
                sink.dropped += count
                continue
            if sink.held and not outbox.parked():
                sink.held = False
            if (
                (sink.level == 5) == (self.level == 5)
                and not sink.held
                and not sink.aliases
                and not target.identifiers
                and largest <= sink.packet_bytes_max
            ):
                outbox.put(view, start, end)
            else:
                self._rewrite(view, target, start, end, topic_bytes)
        if group is not None:
            self.live.publish(plan.route, group)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _rewrite(
        self,
        view: cython.const[cython.uchar][::1],
        target: Target,
        start: cython.Py_ssize_t,
        end: cython.Py_ssize_t,
        topic_bytes: cython.Py_ssize_t,
    ) -> cython.int:
        """Each frame of a run with the property list that this peer needs."""
        sink: LiveSink = target.sink
        middle: bytes = b""
        if sink.level == 5:
            middle = varint(len(target.identifiers)) + target.identifiers
        skipped: cython.Py_ssize_t = 1 if self.level == 5 else 0
        position: cython.Py_ssize_t = start
        at: cython.Py_ssize_t
        value: cython.Py_ssize_t
        stop: cython.Py_ssize_t
        size: cython.Py_ssize_t
        length: cython.Py_ssize_t
        scale: cython.Py_ssize_t
        while position < end:
            at = position + 1
            length = view[at] & 127
            scale = 128
            while view[at] >= 128:
                at += 1
                length += (view[at] & 127) * scale
                scale *= 128
            at += 1
            stop = at + length
            value = at + 2 + topic_bytes
            size = length - skipped + len(middle)
            if sink.aliases:
                topic: bytes = bytes(memoryview(view)[at + 2 : value])
                payload: bytes = bytes(memoryview(view)[value + skipped : stop])
                sink.live.give(topic, payload, False, target.identifiers)
                position = stop
                continue
            head: bytes = b"\x30" + varint(size)
            if len(head) + size <= sink.packet_bytes_max:
                if sink.held:
                    sink.give(
                        head
                        + bytes(memoryview(view)[at:value])
                        + middle
                        + bytes(memoryview(view)[value + skipped : stop])
                    )
                else:
                    sink.outbox.put_bytes(head)
                    sink.outbox.put(view, at, value)
                    sink.outbox.put_bytes(middle)
                    sink.outbox.put(view, value + skipped, stop)
            position = stop
        return 0
