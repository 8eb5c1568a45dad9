# cython: language_level=3
"""RESP requests cut out of a chunk, and replies put into bytes. Knows the grammar and its limits, and no command.

    request = "*" count CRLF { "$" length CRLF byte*length CRLF }      (RESP2 and RESP3 alike)
            | inline LF                                               words between blanks, quoted as in sdssplitargs

A ``Run`` holds the complete requests of one chunk as numbers, not as objects. For each request, from index ``at``:

    numbers[at]      its name's first 8 bytes in lower case, little endian; 0 where the name is longer or not ASCII
    numbers[at + 1]  argc
    numbers[at + 2]  start of the request, from ``origin``
    numbers[at + 3]  its end, from ``origin``
    numbers[at + 4]  and on: argc pairs (offset from the start of the request, length)

A request that is not complete keeps its numbers behind the run's; the next ``cut`` goes on where this one stopped, so
that a request of a million arguments costs the same in one chunk and in ten thousand.

Stricter than Redis: what ends a bulk or a length must be CR LF (Redis skips two bytes unseen). The bytes of a request
are stored and sent to others as they are, so they must be what they seem.
"""

from __future__ import annotations

import array

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_FromStringAndSize

COMPLETE = 0
"""Everything was taken, but for what is not complete yet."""
SPECIAL = 1
"""The next request is one that the session handles itself: its numbers stand at ``fill``; ``taken`` is behind it."""
INLINE = 2
"""The next request is the line ``line_start:line_end``; ``taken`` is behind it."""
MORE = 4
"""``RUN_MAX`` requests were cut; there may be more behind ``taken``."""
BROKEN = 3
"""``error`` says what is wrong; nothing behind ``taken`` can be read."""

RUN_MAX = 256
"""Requests in one run: bounds what their replies may hold before anybody looks at the outbox."""
FIRST_NUMBERS = 64
KEEP_NUMBERS = 4096
"""What a connection keeps for its next chunk: 32 KiB."""
ARGUMENTS_MAX = 1024 * 1024
BULK_BYTES_MAX = 512 * 1024 * 1024
LINE_BYTES_MAX = 64 * 1024
REQUEST_BYTES_MAX = 1024 * 1024 * 1024
"""As client-query-buffer-limit: one request, all arguments together."""
STRANGER_ARGUMENTS_MAX = 10
STRANGER_BULK_BYTES_MAX = 16384
"""What a connection that has not authenticated may send (Redis 7.0 networking.c)."""


def pack(name: bytes) -> int:
    """A command's name as in ``numbers[at]``: lower case, little endian."""
    return int.from_bytes(name.lower(), "little") if len(name) <= 8 else 0


@cython.cclass
class Run:
    """Requests of one connection, cut from a borrowed buffer, and where they are to be executed.

    Who executes it while it is borrowed may stop where the replies grow large, if ``may_stop``: it says in ``stopped`` at
    which index. A copy is executed whole.

    ``specials`` (packed names) and ``special_names`` (upper case, longer ones) are the requests at which a cut stops.
    """

    def __init__(
        self, specials: object = frozenset(), special_names: object = frozenset(), account: object = None
    ) -> None:
        self.numbers = array.array("q", bytes(8 * FIRST_NUMBERS))
        self._numbers = self.numbers
        self._room = FIRST_NUMBERS
        self.buffer = b""
        self._view = b""
        self.origin = 0
        self.count = 0
        self.fill = 0
        self.taken = 0
        self.wants = 0
        self.line_start = 0
        self.line_end = 0
        self.error = ""
        self.trusted = True
        self.one_by_one = False
        self.db = 0
        self.protocol = 2
        self.transaction = False
        self.blocks = False
        self.internal = False
        self.may_stop = False
        self.stopped = -1
        self.account = account
        self.peer = b"?:0"
        self.user = b"default"
        self.all = True
        self.specials = specials
        self.special_names = special_names
        self._plain = 0
        self.bulk_bytes_max = BULK_BYTES_MAX
        self.run_max = RUN_MAX
        self._partial_at = 0
        self._partial_argc = 0
        self._partial_index = 0
        self._partial_position = 0
        self._number = 0
        self._next = 0

    @cython.ccall
    @cython.exceptval(-1)
    def cut(self, data: object, start: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """Cut the complete requests of ``data[start:end]``; says why it stopped. ``data`` is borrowed until ``release``."""
        argc: cython.Py_ssize_t
        index: cython.Py_ssize_t
        at: cython.Py_ssize_t
        slot: cython.Py_ssize_t
        here: cython.Py_ssize_t
        state: cython.int
        # a module's constant is an object: it is not compared for each request
        arguments_max: cython.Py_ssize_t = ARGUMENTS_MAX
        self.buffer = data
        self._view = data
        self.origin = start
        self.count = 0
        self.wants = 0
        self.error = ""
        self.stopped = -1
        position: cython.Py_ssize_t = start
        at = 0
        if self._partial_argc > 0 and self._partial_at > 0:
            index = 4 + 2 * self._partial_index
            for slot in range(index):
                self._numbers[slot] = self._numbers[self._partial_at + slot]
            self._partial_at = 0
        self.fill = 0
        while True:
            if self._partial_argc > 0:
                argc = self._partial_argc
                index = self._partial_index
                here = position + self._partial_position
                self._partial_argc = 0
            else:
                if position >= end:
                    break
                if self._view[position] != 42:  # *
                    self.taken = position
                    return self._inline(position, end)
                state = self._parse_number(position + 1, end)
                if state == 1:
                    if end - position > LINE_BYTES_MAX:
                        return self._broken(position, "too big mbulk count string")
                    break
                if state == 2 or self._number > arguments_max:
                    return self._broken(position, "invalid multibulk length")
                if self._number <= 0:
                    position = self._next
                    continue
                if not self.trusted and self._number > STRANGER_ARGUMENTS_MAX:
                    return self._broken(position, "unauthenticated multibulk length")
                argc = self._number
                index = 0
                here = self._next
                if at + 4 > self._room:
                    self._grow(at + 4)
            while index < argc:
                if here >= end:
                    break
                if self._view[here] != 36:  # $
                    return self._broken(position, f"expected '$', got '{chr(self._view[here])}'")
                state = self._parse_number(here + 1, end)
                if state == 1:
                    if end - here > LINE_BYTES_MAX:
                        return self._broken(position, "too big bulk count string")
                    break
                if state == 2 or self._number < 0 or self._number > self.bulk_bytes_max:
                    return self._broken(position, "invalid bulk length")
                if not self.trusted and self._number > STRANGER_BULK_BYTES_MAX:
                    return self._broken(position, "unauthenticated bulk length")
                if self._next + self._number + 2 > end:
                    self.wants = self._next + self._number + 2 - position
                    if self.wants > REQUEST_BYTES_MAX:
                        return self._broken(position, "too big request")
                    break
                slot = at + 4 + 2 * index
                if slot + 2 > self._room:
                    self._grow(slot + 2)
                self._numbers[slot] = self._next - position
                self._numbers[slot + 1] = self._number
                here = self._next + self._number + 2
                if self._view[here - 2] != 13 or self._view[here - 1] != 10:
                    return self._broken(position, "bulk is not followed by CR LF")
                index += 1
            if index < argc:
                if here - position > REQUEST_BYTES_MAX:
                    return self._broken(position, "too big request")
                self._partial_at = at
                self._partial_argc = argc
                self._partial_index = index
                self._partial_position = here - position
                break
            self._numbers[at] = self._pack(position + self._numbers[at + 4], self._numbers[at + 5])
            self._numbers[at + 1] = argc
            self._numbers[at + 2] = position - start
            self._numbers[at + 3] = here - start
            if self.one_by_one or self._is_special(at):
                self.taken = here
                return SPECIAL
            position = here
            at += 4 + 2 * argc
            self.count += 1
            self.fill = at
            if self.count >= self.run_max:
                self.taken = position
                return MORE
        self.taken = position
        return COMPLETE

    @cython.ccall
    def arguments(self, at: cython.Py_ssize_t) -> list:
        """The arguments of the request whose numbers begin at ``at``, copied."""
        start: cython.Py_ssize_t = self.origin + self._numbers[at + 2]
        found: list = []
        index: cython.Py_ssize_t
        offset: cython.Py_ssize_t
        for index in range(self._numbers[at + 1]):
            offset = start + self._numbers[at + 4 + 2 * index]
            found.append(self._copy(offset, self._numbers[at + 5 + 2 * index]))
        return found

    def slice(self, at: cython.Py_ssize_t) -> bytes:
        """The request's own bytes, copied."""
        return bytes(self._view[self.origin + self._numbers[at + 2] : self.origin + self._numbers[at + 3]])

    @cython.ccall
    def release(self):
        """Give the borrowed buffer back: it may be resized again."""
        self.buffer = b""
        self._view = None
        if self._room > KEEP_NUMBERS and self._partial_argc == 0:
            self.numbers = array.array("q", bytes(8 * FIRST_NUMBERS))
            self._numbers = self.numbers
            self._room = FIRST_NUMBERS

    @cython.ccall
    @cython.exceptval(-1)
    def rewind(self) -> cython.Py_ssize_t:
        """Where the first request begins that was not executed (index ``stopped``): cut from there again."""
        self._partial_argc = 0
        return self.origin + self._numbers[self.stopped + 2]

    def copied(self) -> Run:
        """The same requests and context over a buffer of their own (for whoever executes them later)."""
        copy = Run(account=self.account)
        copy.numbers = array.array("q", self.numbers[: max(self.fill, 4)])
        copy._numbers = copy.numbers
        copy._room = len(copy.numbers)
        end: cython.Py_ssize_t = self.origin
        at: cython.Py_ssize_t = 0
        while at < self.fill:
            end = self.origin + self._numbers[at + 3]
            at += 4 + 2 * self._numbers[at + 1]
        copy.buffer = bytes(self._view[self.origin : end])
        copy._view = copy.buffer
        copy.fill = self.fill
        copy.count = self.count
        copy.db = self.db
        copy.protocol = self.protocol
        copy.transaction = self.transaction
        copy.blocks = self.blocks
        copy.internal = self.internal
        copy.peer = self.peer
        copy.user = self.user
        copy.all = self.all
        return copy

    def own(self) -> Run:
        return self.copied()

    def _inline(self, position: cython.Py_ssize_t, end: cython.Py_ssize_t) -> int:
        here: cython.Py_ssize_t = position
        limit: cython.Py_ssize_t = position + LINE_BYTES_MAX
        while here < end and here < limit:
            if self._view[here] == 10:
                self.line_start = position
                self.line_end = here
                self.taken = here + 1
                return INLINE
            here += 1
        if here >= limit:
            return self._broken(position, "too big inline request")
        return COMPLETE

    def _broken(self, position: cython.Py_ssize_t, error: str) -> int:
        self.taken = position
        self.error = error
        self._partial_argc = 0
        return BROKEN

    @cython.cfunc
    def _copy(self, start: cython.Py_ssize_t, length: cython.Py_ssize_t) -> bytes:
        """A piece of the buffer as bytes; the one place that reads it raw."""
        if not cython.compiled:
            return bytes(memoryview(self.buffer)[start : start + length])
        if start < 0 or length < 0 or start + length > len(self._view):
            raise IndexError("slice outside its buffer")
        if length == 0:
            return b""
        return PyBytes_FromStringAndSize(
            cython.cast(cython.p_char, cython.cast(cython.p_void, cython.address(self._view[start]))), length
        )

    @cython.cfunc
    @cython.exceptval(-1)
    def _parse_number(self, at: cython.Py_ssize_t, end: cython.Py_ssize_t) -> cython.int:
        """Read a length line. 0: ``_number``, and ``_next`` behind its CR LF. 1: not all there. 2: not a number."""
        value: cython.longlong = 0
        here: cython.Py_ssize_t = at
        negative: cython.bint = False
        byte: cython.int
        if here < end and self._view[here] == 45:
            negative = True
            here += 1
        first: cython.Py_ssize_t = here
        while here < end:
            byte = self._view[here]
            if byte == 13:
                if here + 1 >= end:
                    return 1
                if here == first or self._view[here + 1] != 10:
                    return 2
                if self._view[first] == 48 and (here - first > 1 or negative):
                    return 2
                self._number = -value if negative else value
                self._next = here + 2
                return 0
            if byte < 48 or byte > 57 or here - first > 17:
                break
            value = value * 10 + (byte - 48)
            here += 1
        if here >= end:
            return 1
        while here < end:  # as Redis: a wrong line is an error once it is all there
            if self._view[here] == 13:
                return 2
            here += 1
        return 1

    @cython.cfunc
    @cython.exceptval(-1)
    def _grow(self, need: cython.Py_ssize_t) -> cython.int:
        bigger = array.array("q", self.numbers)
        while len(bigger) < need:
            bigger.frombytes(bytes(8 * len(bigger)))
        self.numbers = bigger
        self._numbers = bigger
        self._room = len(bigger)
        return 0

    @cython.cfunc
    @cython.exceptval(-1)
    def _pack(self, at: cython.Py_ssize_t, length: cython.Py_ssize_t) -> cython.longlong:
        packed: cython.longlong = 0
        index: cython.Py_ssize_t
        byte: cython.longlong
        if length > 8:
            return 0
        for index in range(length):
            byte = self._view[at + index]
            if byte >= 128:
                return 0
            if 65 <= byte <= 90:
                byte += 32
            packed |= byte << (8 * index)
        return packed

    @cython.cfunc
    @cython.exceptval(-1)
    def _is_special(self, at: cython.Py_ssize_t) -> cython.bint:
        packed: cython.longlong = self._numbers[at]
        if packed:
            if packed == self._plain:  # as the last one
                return False
            if packed in self.specials:
                return True
            self._plain = packed
            return False
        start: cython.Py_ssize_t = self.origin + self._numbers[at + 2] + self._numbers[at + 4]
        length: cython.Py_ssize_t = self._numbers[at + 5]
        if length > 24:
            return False
        return bytes(self._view[start : start + length]).upper() in self.special_names


def split_inline(line: bytes) -> list[bytes] | None:
    """The words of an inline request (Redis sds.c sdssplitargs, behaviour); None: quotes are not balanced."""
    if b'"' not in line and b"'" not in line and b"\0" not in line:
        return line.split()
    words: list[bytes] = []
    at = 0
    blanks = b" \n\r\t\0\x0b\x0c"
    simple = {110: 10, 114: 13, 116: 9, 98: 8, 97: 7}
    while True:
        while at < len(line) and line[at] in blanks:
            at += 1
        if at >= len(line):
            return words
        word = bytearray()
        quote = 0
        while True:
            byte = line[at] if at < len(line) else -1
            if quote:
                if byte < 0:
                    return None
                if quote == 34 and byte == 92 and at + 1 < len(line):
                    if line[at + 1] == 120 and is_hex(line[at + 2 : at + 4]):
                        word.append(int(line[at + 2 : at + 4], 16))
                        at += 3
                    else:
                        word.append(simple.get(line[at + 1], line[at + 1]))
                        at += 1
                elif quote == 39 and byte == 92 and line[at + 1 : at + 2] == b"'":
                    word.append(39)
                    at += 1
                elif byte == quote:
                    if at + 1 < len(line) and line[at + 1] not in b" \n\r\t\x0b\x0c":
                        return None
                    at += 1
                    break
                else:
                    word.append(byte)
            elif byte < 0 or byte in b" \n\r\t\0":
                break
            elif byte in b"\"'":
                quote = byte
            else:
                word.append(byte)
            at += 1
        words.append(bytes(word))


def is_hex(text: bytes) -> bool:
    return len(text) == 2 and all(byte in b"0123456789abcdefABCDEF" for byte in text)


# replies

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
PONG = b"+PONG\r\n"
ZERO = b":0\r\n"
ONE = b":1\r\n"
NULL = b"$-1\r\n"
NULL_ARRAY = b"*-1\r\n"
NULL3 = b"_\r\n"
EMPTY = b"*0\r\n"


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def simple(text: bytes) -> bytes:
    return b"+%b\r\n" % text


def error(text: str) -> bytes:
    """``text`` begins with its code: ``ERR syntax error``. Line ends inside would break the frame: they become blanks."""
    return b"-%b\r\n" % text.encode("utf-8", "surrogateescape").replace(b"\r", b" ").replace(b"\n", b" ")


def integer(value: int) -> bytes:
    return b":%d\r\n" % value


def null(protocol: int) -> bytes:
    return NULL3 if protocol == 3 else NULL


def null_array(protocol: int) -> bytes:
    return NULL3 if protocol == 3 else NULL_ARRAY


def array_of(items: object) -> bytes:
    """An array of replies that are encoded already."""
    parts = list(items)
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def bulks(values: object) -> bytes:
    """An array of bulks."""
    parts: list = [b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def map_of(pairs: object, protocol: int) -> bytes:
    """A map of encoded pairs; in RESP2 an array of twice the length."""
    parts = [part for pair in pairs for part in pair]
    if protocol == 3:
        return b"%%%d\r\n%b" % (len(parts) // 2, b"".join(parts))
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def set_of(values: object, protocol: int) -> bytes:
    """A set of bulks; in RESP2 an array."""
    parts = [b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
    return b"%b%d\r\n%b" % (b"~" if protocol == 3 else b"*", len(parts), b"".join(parts))


def push_of(parts: list, protocol: int) -> bytes:
    """Out of band data: a push in RESP3, an array in RESP2."""
    return b"%b%d\r\n%b" % (b">" if protocol == 3 else b"*", len(parts), b"".join(parts))


def boolean(value: bool, protocol: int) -> bytes:
    if protocol == 3:
        return b"#t\r\n" if value else b"#f\r\n"
    return b":%d\r\n" % value


def verbatim(text: bytes, protocol: int) -> bytes:
    """Text for people: a verbatim string ``txt:`` in RESP3, a bulk in RESP2."""
    if protocol == 3:
        return b"=%d\r\ntxt:%b\r\n" % (len(text) + 4, text)
    return bulk(text)


def request(*words: bytes) -> bytes:
    """A request as a client writes it; effects have this form, too."""
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def words_of(data: bytes) -> list[bytes]:
    """The words of one request of our own making (an effect): trusted, without limits."""
    at = data.index(b"\n") + 1
    count = int(data[1 : at - 2])
    words: list = []
    for _ in range(count):
        end = data.index(b"\n", at) + 1
        length = int(data[at + 1 : end - 2])
        words.append(data[end : end + length])
        at = end + length + 2
    return words
