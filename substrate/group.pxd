cdef class Record:
    cdef public long long position
    cdef public long long timestamp_ms
    cdef public bytes address
    cdef public bytes key
    cdef public bytes value
    cdef public tuple headers

cdef class Group:
    cdef public bytes address
    cdef public object buffer
    cdef public object source
    cdef public object spans
    cdef public Py_ssize_t count
    cdef public Py_ssize_t value_bytes
    cdef public list headers
    cdef public long long base
    cdef public long long timestamp_ms
    cdef public list _records
    cpdef add(self, Py_ssize_t offset, Py_ssize_t length)
    cpdef add_with_headers(self, Py_ssize_t offset, Py_ssize_t length, tuple headers)
    cpdef bytes value(self, Py_ssize_t index)
    cpdef list records(self)

cdef class Called:
    cdef public object answer
    cdef public long long commit
    cdef public long long shard
