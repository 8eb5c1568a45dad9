cdef class BatchBuilder:
    cdef bytearray _out
    cdef unsigned char[::1] _view
    cdef Py_ssize_t _fill
    cdef public Py_ssize_t count
    cdef public long long base_timestamp
    cdef public long long max_timestamp
    cdef int _room(self, Py_ssize_t need) except? -1
    cdef int _varint(self, long long value) except? -1
    cdef int _bytes(self, bytes data) except? -1
    cdef int _record(self, long long timestamp_ms, bytes key, const unsigned char[::1] source, Py_ssize_t start, Py_ssize_t length, tuple headers) except? -1
    cpdef add_slices(self, object buffer, object spans, long long timestamp_ms, bytes key, Py_ssize_t first, Py_ssize_t last, list headers=*)

cdef class _Reader:
    cdef object data
    cdef const unsigned char[::1] view
    cdef Py_ssize_t at
    cdef Py_ssize_t end
    cdef long long varint(self) except? -1
    cdef object take(self)
