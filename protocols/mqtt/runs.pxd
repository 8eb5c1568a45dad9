from substrate.group cimport Group

cdef class Run:
    cdef public bytes topic
    cdef public Group group
    cdef public object identifiers
    cdef public Py_ssize_t end

cdef class Lane:
    cdef bytearray _queue
    cdef unsigned char[::1] _view
    cdef bytearray _used
    cdef unsigned char[::1] _bits
    cdef Py_ssize_t _head
    cdef Py_ssize_t _fill
    cdef int _next
    cdef public Py_ssize_t count
    cdef public Py_ssize_t unacknowledged
    cdef int _grow(self, Py_ssize_t need) except? -1
    cdef int _free(self, dict elsewhere) except? -1
    cdef bint _has(self, int identifier) noexcept
