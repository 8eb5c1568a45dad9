from protocols.outbox cimport Outbox
from protocols.resp.wire cimport Run

cdef class Lane:
    cdef public object port
    cdef public Outbox outbox
    cdef public Run run
    cdef public long long deadline_ns
    cdef public bint closing
    cdef public Py_ssize_t wants_bytes
    cdef public int protocol
    cdef public int db
    cdef public bint silent
    cdef public bint waiting
    cdef object _ask
    cdef long long _token
    cdef long long _calling
    cdef Py_ssize_t _count
    cdef dict _pending
    cdef bytearray _held
    cdef Py_ssize_t _take(self, object data, Py_ssize_t start, Py_ssize_t end) except? -1
    cpdef Py_ssize_t receive(self, object data, Py_ssize_t start, Py_ssize_t end, object now_ns) except? -1
    cpdef int send(self, Run run, bint waits) except? -1
