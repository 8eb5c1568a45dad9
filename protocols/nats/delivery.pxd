from protocols.nats.wire cimport Frame
from protocols.outbox cimport Outbox
from substrate.group cimport Group

cdef class NatsSink:
    cdef public str protocol
    cdef public object session
    cdef public object handle
    cdef public Outbox outbox
    cdef public bytes subject
    cdef public bytes queue
    cdef public bytes sid
    cdef public bint headers
    cdef public bint closed
    cdef public bint filtered
    cdef public long long delivered
    cdef public long long delivered_max
    cdef bint _take(self) except -1
    cdef int _after(self) except -1
    cpdef bint send(self, bytes subject, bytes tail, bint with_headers) except -1

cdef class Plan:
    cdef public bytes subject
    cdef public object route
    cdef public long long generation
    cdef public list sinks
    cdef public list prefixes
    cdef public list queues
    cdef public bint kernel
    cdef public bint needs_port
    cdef public bint special
    cdef public bint heard
    cdef public object stream
    cdef public long long bytes_max
    cdef public bint looks

cdef class Delivery:
    cdef public Frame frame
    cdef public object session
    cdef public Outbox outbox
    cdef public bint verbose
    cdef public bint pedantic
    cdef public bint accepts_headers
    cdef public bint no_responders
    cdef public bint waits
    cdef public long long generation
    cdef public long long pressed_bytes
    cdef public bint pressed
    cdef public long long messages
    cdef public long long message_bytes
    cdef dict _plans
    cdef dict _beneath
    cdef Plan _plan
    cdef Group _group
    cdef list _replies
    cdef bytes _last_reply
    cdef unsigned long long _chance
    cdef object _data
    cpdef Py_ssize_t receive(self, object data, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _publish(self, const unsigned char[::1] view) except -1
    cdef int _give(self, const unsigned char[::1] view, NatsSink sink, bytes subject, bytes prefix) except -1
    cdef int _flush(self) except -1
    cdef Plan _find(self, const unsigned char[::1] view)
    cdef Plan _wide(self, bytes subject)
    cdef Plan _derive(self, bytes subject)
    cdef Py_ssize_t _draw(self, Py_ssize_t count) except -1
    cdef int _collect(self, const unsigned char[::1] view) except -1
    cdef int _add(self, Py_ssize_t start, Py_ssize_t length, tuple headers, bytes reply) except -1

cdef class Text:
    cdef object _bytes
    cdef unsigned char[::1] _view
    cdef Py_ssize_t _size
    cdef Py_ssize_t fill
    cdef int room(self, Py_ssize_t more) except -1
    cdef int put(self, bytes data) except -1
    cdef int put_number(self, long long number) except -1
    cdef bytes take(self)

cdef Py_ssize_t digits_of(long long number) except -1
cdef bint near(bytes one, bytes other) except -1
