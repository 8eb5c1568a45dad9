cdef class Run:
    cdef public object buffer
    cdef const unsigned char[::1] _view
    cdef public object numbers
    cdef long long[::1] _numbers
    cdef Py_ssize_t _room
    cdef public Py_ssize_t origin
    cdef public Py_ssize_t count
    cdef public Py_ssize_t fill
    cdef public Py_ssize_t taken
    cdef public Py_ssize_t wants
    cdef public Py_ssize_t line_start
    cdef public Py_ssize_t line_end
    cdef public str error
    cdef public bint trusted
    cdef public bint one_by_one
    cdef public int db
    cdef public int protocol
    cdef public bint transaction
    cdef public bint blocks
    cdef public bint internal
    cdef public bint may_stop
    cdef public Py_ssize_t stopped
    cdef public object account
    cdef public bytes peer
    cdef public bytes user
    cdef public bint all
    cdef public object specials
    cdef public object special_names
    cdef public Py_ssize_t bulk_bytes_max
    cdef public Py_ssize_t run_max
    cdef Py_ssize_t _partial_at
    cdef Py_ssize_t _partial_argc
    cdef Py_ssize_t _partial_index
    cdef Py_ssize_t _partial_position
    cdef long long _number
    cdef long long _plain
    cdef Py_ssize_t _next
    cpdef int cut(self, object data, Py_ssize_t start, Py_ssize_t end) except? -1
    cpdef list arguments(self, Py_ssize_t at)
    cpdef release(self)
    cpdef Py_ssize_t rewind(self) except? -1
    cdef bytes _copy(self, Py_ssize_t start, Py_ssize_t length)
    cdef int _parse_number(self, Py_ssize_t at, Py_ssize_t end) except? -1
    cdef int _grow(self, Py_ssize_t need) except? -1
    cdef long long _pack(self, Py_ssize_t at, Py_ssize_t length) except? -1
    cdef bint _is_special(self, Py_ssize_t at) except? -1
