cdef class Entry:
    cdef public bytes key
    cdef public int kind
    cdef public object value
    cdef public long long number
    cdef public long long expire_ms
    cdef public Py_ssize_t place

cdef class Database:
    cdef public int number
    cdef public bytes label
    cdef public dict entries
    cdef public list order
    cdef public list heap
    cdef public Py_ssize_t expiring
    cdef public long long next_ms
    cdef public bint earlier
    cdef public dict watched
    cdef public dict blocked
    cpdef Entry put(self, bytes key, int kind, object value)
    cpdef bint remove(self, bytes key)
    cpdef touch(self, bytes key)
    cpdef set_expire(self, Entry entry, long long expire_ms)

cdef class Members:
    cdef public dict places
    cdef public list items
    cpdef bint add(self, bytes member)
    cpdef bint discard(self, bytes member)

cdef class Ranking:
    cdef public dict scores
    cdef public dict _changed
    cdef public object _order
    cpdef int put(self, bytes member, double score) except? -1

cdef class Log:
    cdef public list ids
    cdef public list fields
    cdef public Py_ssize_t head
    cdef public tuple last
    cdef public object added
    cdef public tuple max_deleted
    cdef public dict groups
    cpdef append(self, tuple id, bytes fields)
