cdef class Outbox:
    cdef bytearray _out
    cdef unsigned char[::1] _view
    cdef Py_ssize_t _head
    cdef Py_ssize_t _fill
    cdef object _parked
    cdef dict _slots
    cdef long long _next_slot
    cdef Py_ssize_t _parked_bytes
    cdef public object owner
    cdef public list dirty
    cdef public bint marked
    cdef public bint used
    cdef public bint pressed
    cdef public list pressure
    cdef Py_ssize_t _limit
    cdef public Py_ssize_t bytes_max
    cdef public bint overflowed
    cpdef put(self, const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t end)
    cpdef put_bytes(self, bytes data)
    cpdef put_number(self, long long number)
    cpdef answer(self, bytes data)
    cpdef answer_at(self, bytes data, long long shard, long long commit)
    cpdef bint parked(self)
    cpdef sent(self, Py_ssize_t count)
    cpdef Py_ssize_t ready(self)
    cpdef bint large(self)
    cpdef Py_ssize_t size(self)
    cdef _park(self, list entry)
    cdef int _bound(self) except? -1
    cdef int _grow(self, Py_ssize_t need) except? -1
    cdef int _mark(self) except? -1
