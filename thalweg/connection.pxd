from protocols.outbox cimport Outbox

cdef class Turn:
    cdef public bint under_way
    cdef public bint commits
    cdef public long long now_ns
    cdef object _begin
    cdef object _call_soon
    cdef object _end
    cdef int _reads
    cdef bint _scheduled
    cpdef long long enter(self)
    cpdef read(self)

cdef class Connection:
    cdef object driver
    cdef Turn turn
    cdef public str protocol
    cdef public object session
    cdef public Outbox outbox
    cdef public long long due_ns
    cdef public bint closed
    cdef public long long began_ns
    cdef public long long bytes_in
    cdef public long long bytes_out
    cdef object factory
    cdef object secure
    cdef object channel
    cdef bint deaf
    cdef object transport
    cdef object _get_unsent
    cdef int fd
    cdef bint direct
    cdef bint writable
    cdef bint paused
    cdef bint stalled
    cdef bint lingering
    cdef bint ending
    cdef bytearray rest
    cdef Py_ssize_t rest_bytes
    cdef bint given
    cpdef flush(self)
    cdef object plain_buffer(self)
    cdef bint may_send(self)
    cdef decrypt(self, Py_ssize_t count)
    cpdef drain(self)
    cdef handshake(self)
    cdef insecure(self, object error)
    cdef send_secure(self)
    cdef send_cipher(self)
    cdef send_plain(self)
    cdef take(self, object data, Py_ssize_t end)
    cdef keep(self, object data, Py_ssize_t start, Py_ssize_t end)
    cdef received(self, Py_ssize_t count)
    cdef finish(self)
    cdef send_ready(self)
    cdef _send_direct(self)
