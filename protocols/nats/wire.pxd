cdef class Frame:
    cdef public int kind
    cdef public Py_ssize_t next
    cdef public Py_ssize_t need
    cdef public Py_ssize_t argument_start
    cdef public Py_ssize_t argument_end
    cdef public Py_ssize_t subject_start
    cdef public Py_ssize_t subject_end
    cdef public Py_ssize_t reply_start
    cdef public Py_ssize_t reply_end
    cdef public Py_ssize_t size_start
    cdef public Py_ssize_t size_end
    cdef public Py_ssize_t payload_start
    cdef public Py_ssize_t header_bytes
    cdef public Py_ssize_t total_bytes
    cdef public bint plain
    cdef public Py_ssize_t line_bytes_max
    cdef public Py_ssize_t payload_bytes_max
    cpdef int parse(self, const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end) except? -99
    cdef int _fast(self, const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end) except? -99
    cdef int _line(self, const unsigned char[::1] view, int kind, Py_ssize_t start, Py_ssize_t at, Py_ssize_t end) except? -99
    cdef int _publication(self, const unsigned char[::1] view, int kind, Py_ssize_t start, Py_ssize_t end) except? -99
    cdef int _payload(self, const unsigned char[::1] view, int kind, Py_ssize_t start, Py_ssize_t end) except? -99

cdef Py_ssize_t number(const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end) except? -99
cdef bint same(const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end, bytes text) except? -1
cpdef bint valid_subject(bytes subject, bint wildcards=*) except -1
cpdef plain_address(bytes subject)
cdef bint _clean(bytes text, Py_ssize_t start, Py_ssize_t end) except -1
cpdef read_block(bytes block)
cpdef write_block(tuple headers)
cdef bytes cut(const unsigned char[::1] view, Py_ssize_t start, Py_ssize_t end)
