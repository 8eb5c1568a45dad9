cdef class Decoder:
    cdef public bytearray plain
    cdef public list control
    cdef public int failed
    cdef public bint closed
    cdef bytearray _header
    cdef bytearray _payload
    cdef long long _left
    cdef int _opcode
    cdef bint _fragmented
    cdef bytes _mask
    cdef int _phase
    cdef int _begin(self) except? -1
    cdef int _unmask(self, const unsigned char[::1] view, Py_ssize_t at, Py_ssize_t count) except? -1
    cdef int _complete(self) except? -1
