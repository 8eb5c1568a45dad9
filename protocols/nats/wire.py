# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True, initializedcheck=False
"""The NATS client protocol, as a server reads it: bytes in, one frame at a time out, without an object per frame.

    PUB <subject> [reply] <size>\\r\\n<payload>\\r\\n              SUB <subject> [queue] <sid>\\r\\n
    HPUB <subject> [reply] <header size> <size>\\r\\n...\\r\\n     UNSUB <sid> [max]\\r\\n
    CONNECT <json>\\r\\n     PING\\r\\n     PONG\\r\\n     INFO <json>\\r\\n     +OK\\r\\n     -ERR <text>\\r\\n

As nats-server 2.15 reads it (server/parser.go, behaviour): operations in any case, blanks and tabs between arguments, a
lone ``\\n`` ends a control line, a payload ends with exactly ``\\r\\n``; an operation is refused at its first wrong byte.

``Frame.parse`` looks at one frame and says its kind, or ``MORE``, or how it is broken. Sizes are judged on the control
line: a payload that is too large is refused before it is read. A frame that is not complete is parsed again from its
start when more bytes are there; ``need`` then says how many bytes it has in all.
"""

from __future__ import annotations

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize
    from cython.cimports.libc.string import memcmp

MORE = 0
PUB = 1
HPUB = 2
SUB = 3
UNSUB = 4
PING = 5
PONG = 6
CONNECT = 7
INFO = 8
OK = 9
ERR = 10
UNKNOWN = -1  # not an operation, or a wrong payload terminator: said, then closed
BROKEN = -2  # wrong arguments: closed without a word
LINE_TOO_LONG = -3
PAYLOAD_TOO_LARGE = -4

_NAMES = cython.declare(tuple, ((b"PUB", 1), (b"HPUB", 2), (b"SUB", 3), (b"UNSUB", 4), (b"PING", 5), (b"PONG", 6),
                                (b"CONNECT", 7), (b"INFO", 8), (b"+OK", 9), (b"-ERR", 10)))  # fmt: skip


@cython.cfunc
@cython.exceptval(-99, check=True)
def number(
    view: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t
) -> cython.Py_ssize_t:
    """The decimal number in ``view[start:end]``; -1 if it is none, or has more than nine digits."""
    value: cython.Py_ssize_t = 0
    at: cython.Py_ssize_t
    byte: cython.int
    if end <= start or end - start > 9:
        return -1
    for at in range(start, end):
        byte = view[at]
        if byte < 48 or byte > 57:
            return -1
        value = value * 10 + (byte - 48)
    return value


@cython.cfunc
@cython.exceptval(-1, check=True)
def same(
    view: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t, text: bytes
) -> cython.bint:
    """Whether ``view[start:end]`` is this text."""
    length: cython.Py_ssize_t = end - start
    if text is None or len(text) != length:
        return False
    if start < 0 or end > len(view):
        raise IndexError("slice outside its buffer")
    if cython.compiled:
        return length == 0 or memcmp(cython.address(view[start]), cython.cast(cython.p_char, text), length) == 0
    return bytes(view[start:end]) == text


@cython.cfunc
def cut(view: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> bytes:
    """``view[start:end]`` as bytes."""
    if start < 0 or end > len(view) or end < start:
        raise IndexError("slice outside its buffer")
    if cython.compiled:
        if end == start:
            return b""
        return PyBytes_FromStringAndSize(cython.cast(cython.p_char, cython.address(view[start])), end - start)
    return bytes(view[start:end])


@cython.cclass
class Frame:
    """One frame's places in the buffer it was parsed from: offsets, valid while that buffer is."""

    def __init__(
        self, line_bytes_max: cython.Py_ssize_t = 4096, payload_bytes_max: cython.Py_ssize_t = 1024 * 1024
    ) -> None:
        self.line_bytes_max = line_bytes_max
        self.payload_bytes_max = payload_bytes_max
        self.kind = 0
        self.next = 0  # where the next frame begins
        self.need = 0  # with MORE: bytes of the whole frame, 0 if not known
        self.argument_start = 0
        self.argument_end = 0
        self.subject_start = 0
        self.subject_end = 0
        self.reply_start = 0  # equal to reply_end: none
        self.reply_end = 0
        self.size_start = 0  # the sizes as written: of HPUB both
        self.size_end = 0
        self.payload_start = 0  # of HPUB: of the header block
        self.header_bytes = 0
        self.total_bytes = 0
        self.plain = False  # what follows the subject is written as a MSG would be: it can be passed on as it is

    @cython.ccall
    @cython.exceptval(-99, check=True)
    def parse(
        self, view: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """What begins at ``start``: a kind (its places are in the fields), ``MORE``, or how it is broken."""
        found: cython.int
        at: cython.Py_ssize_t
        byte: cython.int
        self.need = 0
        if (
            end - start >= 8
            and view[start] == 80
            and view[start + 1] == 85
            and view[start + 2] == 66
            and view[start + 3] == 32
        ):
            found = self._fast(view, start, end)
            if found != MORE:
                return found
        for name, kind in _NAMES:
            for at in range(len(name)):
                if start + at >= end:
                    return MORE
                byte = view[start + at]
                if 97 <= byte <= 122:
                    byte -= 32
                if byte != name[at]:
                    break
            else:
                return self._line(view, kind, start, start + len(name), end)
        return UNKNOWN

    @cython.cfunc
    @cython.exceptval(-99, check=True)
    def _fast(
        self, view: cython.const[cython.uchar][::1], start: cython.Py_ssize_t, end: cython.Py_ssize_t
    ) -> cython.int:
        """``PUB`` written as clients write it; MORE: look again, slowly."""
        at: cython.Py_ssize_t = start + 4
        stop: cython.Py_ssize_t = min(end, start + 4 + self.line_bytes_max)
        byte: cython.int = 0
        size: cython.Py_ssize_t = 0
        digits: cython.Py_ssize_t = 0
        self.subject_start = at
        while at < stop:
            byte = view[at]
            if byte <= 32:
                break
            at += 1
        if at >= stop or byte != 32 or at == start + 4:
            return MORE
        self.subject_end = at
        at += 1
        self.reply_start = self.reply_end = at
        self.size_start = at
        while at < stop:
            byte = view[at]
            if byte == 13:
                break
            if byte == 32:
                if self.reply_end != self.reply_start or at == self.reply_start:
                    return MORE
                self.reply_end = at
                self.size_start = at + 1
                size = digits = 0
            elif 48 <= byte <= 57:
                size = size * 10 + (byte - 48) if digits < 10 else size
                digits += 1
            elif byte > 32:
                digits = 100
            else:
                return MORE
            at += 1
        if at + 1 >= stop or view[at + 1] != 10 or digits < 1 or digits > 9:
            return MORE
        self.size_end = at
        self.header_bytes = 0
        self.total_bytes = size
        self.payload_start = at + 2
        self.plain = True
        return self._payload(view, PUB, start, end)

    @cython.cfunc
    @cython.exceptval(-99, check=True)
    def _line(self, view: cython.const[cython.uchar][::1], kind: cython.int, start: cython.Py_ssize_t, at: cython.Py_ssize_t,
              end: cython.Py_ssize_t) -> cython.int:  # fmt: skip
        """The rest of a control line whose operation ends at ``at``."""
        stop: cython.Py_ssize_t
        byte: cython.int = 0
        bare: cython.bint = kind in (PING, PONG, OK)
        if at >= end:
            return MORE
        if not bare and view[at] != 32 and view[at] != 9:
            # without an argument there is nothing to parse: UNSUB and the like say so, the others as well
            return BROKEN if kind in (CONNECT, INFO) else UNKNOWN
        while not bare and at < end and (view[at] == 32 or view[at] == 9):
            at += 1
        self.argument_start = at
        stop = min(end, at + self.line_bytes_max + 2)
        while at < stop:
            byte = view[at]
            if byte == 10:
                break
            at += 1
        if at >= stop:
            return LINE_TOO_LONG if at - self.argument_start > self.line_bytes_max + 1 else MORE
        self.next = at + 1
        if at > self.argument_start and view[at - 1] == 13:
            at -= 1
        self.argument_end = at
        if at - self.argument_start > self.line_bytes_max:
            return LINE_TOO_LONG
        self.kind = kind
        if kind == PUB or kind == HPUB:  # noqa: SIM109
            return self._publication(view, kind, start, end)
        return kind

    @cython.cfunc
    @cython.exceptval(-99, check=True)
    def _publication(self, view: cython.const[cython.uchar][::1], kind: cython.int, start: cython.Py_ssize_t,
                     end: cython.Py_ssize_t) -> cython.int:  # fmt: skip
        """``PUB`` and ``HPUB`` however they are written."""
        starts: list = []
        ends: list = []
        at: cython.Py_ssize_t = self.argument_start
        inside: cython.bint = False
        blank: cython.bint
        while at <= self.argument_end:
            blank = at == self.argument_end or view[at] == 32 or view[at] == 9 or view[at] == 13
            if blank and inside:
                ends.append(at)
            elif not blank and not inside:
                starts.append(at)
                if len(starts) > 4:
                    return BROKEN
            inside = not blank
            at += 1
        sizes: cython.int = 1 if kind == PUB else 2
        count: cython.int = len(starts)
        if count < 1 + sizes or count > 2 + sizes:
            return BROKEN
        self.subject_start, self.subject_end = starts[0], ends[0]
        self.size_start, self.size_end = starts[count - sizes], ends[count - 1]
        self.reply_start = self.reply_end = self.size_start
        if count == 2 + sizes:
            self.reply_start, self.reply_end = starts[1], ends[1]
        self.total_bytes = number(view, starts[count - 1], ends[count - 1])
        self.header_bytes = number(view, starts[count - 2], ends[count - 2]) if kind == HPUB else 0
        if self.total_bytes < 0 or self.header_bytes < 0 or self.header_bytes > self.total_bytes:
            return BROKEN
        self.plain = (
            self.size_end == self.argument_end
            and self.next == self.argument_end + 2
            and starts[1] == self.subject_end + 1
            and all([starts[index] == ends[index - 1] + 1 and view[ends[index - 1]] == 32 for index in range(1, count)])  # noqa: C419
        )
        self.payload_start = self.next
        return self._payload(view, kind, start, end)

    @cython.cfunc
    @cython.exceptval(-99, check=True)
    def _payload(self, view: cython.const[cython.uchar][::1], kind: cython.int, start: cython.Py_ssize_t,
                 end: cython.Py_ssize_t) -> cython.int:  # fmt: skip
        close: cython.Py_ssize_t = self.payload_start + self.total_bytes
        self.kind = kind
        if self.total_bytes > self.payload_bytes_max:
            return PAYLOAD_TOO_LARGE
        if close + 2 > end:
            if (close < end and view[close] != 13) or (close + 1 < end and view[close + 1] != 10):
                return UNKNOWN
            self.need = close + 2 - start
            return MORE
        if view[close] != 13 or view[close + 1] != 10:
            return UNKNOWN
        self.next = close + 2
        return kind


@cython.ccall
@cython.exceptval(-1, check=False)
def valid_subject(subject: bytes, wildcards: cython.bint = False) -> cython.bint:
    """Whether a subject may be published to (or, with wildcards, subscribed): no empty token, no blank, ``>`` only last.

    nats-server 2.15 server/sublist.go, IsValidSubject (behaviour). A NUL byte is refused here.
    """
    length: cython.Py_ssize_t = len(subject)
    at: cython.Py_ssize_t
    start: cython.Py_ssize_t = 0
    byte: cython.uchar
    if length == 0:
        return False
    for at in range(length + 1):
        byte = 46 if at == length else subject[at]
        if byte == 0 or byte == 12:
            return False
        if byte == 46:
            if at == start:
                return False
            if at == start + 1 and (subject[start] == 42 or subject[start] == 62):
                if not wildcards or (subject[start] == 62 and at < length):
                    return False
            start = at + 1
    return True


@cython.ccall
def plain_address(subject: bytes) -> object:
    """The canonical text of a valid literal subject that needs no unescaping; None: it may need some."""
    if b"/" in subject or b"%" in subject:
        return None
    return subject.replace(b".", b"/")


@cython.cfunc
@cython.exceptval(-1, check=False)
def _clean(text: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.bint:
    """Only printable ASCII."""
    at: cython.Py_ssize_t
    byte: cython.uchar
    for at in range(start, end):
        byte = text[at]
        if byte < 32 or byte > 126:
            return False
    return True


@cython.ccall
def read_block(block: bytes) -> object:
    """The (name, value) pairs of a header block as clients write it: ASCII, ``Name: value``; None: look more closely."""
    length: cython.Py_ssize_t = len(block)
    at: cython.Py_ssize_t = 10
    colon: cython.Py_ssize_t
    stop: cython.Py_ssize_t
    if length < 14 or not block.startswith(b"NATS/1.0\r\n") or not block.endswith(b"\r\n\r\n"):
        return None
    found: list = []
    while at < length - 2:
        stop = block.find(b"\r\n", at)
        colon = block.find(b": ", at, stop)
        if (
            colon <= at
            or colon + 2 >= stop
            or block[colon + 2] == 32
            or block[stop - 1] == 32
            or not _clean(block, at, stop)
        ):
            return None
        name: bytes = block[at:colon]
        if b" " in name or b":" in name or name.startswith(b"thalweg-"):
            return None
        found.append((name, block[colon + 2 : stop]))
        at = stop + 2
    return tuple(found)


@cython.ccall
def write_block(headers: tuple) -> object:
    """The header block of (name, value) pairs that need no second look; None: look more closely."""
    parts: list = [b"NATS/1.0\r\n"]
    for name, value in headers:
        if value is None or not name or not _clean(name, 0, len(name)) or not _clean(value, 0, len(value)):
            return None
        if name.startswith(b"thalweg-") or b" " in name or b":" in name:
            return None
        parts.append(name)
        parts.append(b": ")
        parts.append(value)
        parts.append(b"\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)
