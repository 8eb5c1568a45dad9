from protocols.resp.wire cimport Run
from protocols.resp.state cimport Database

cdef class Dispatcher:
    cdef public object keyspace
    cdef public object world
    cdef public long long commands
    cdef public long long hits
    cdef public long long misses
    cdef bytearray _out
    cdef unsigned char[::1] _out_view
    cdef Py_ssize_t _fill
    cdef object _spans
    cdef long long[::1] _span_view
    cdef Py_ssize_t _span_count
    cdef object _parts
    cdef bytearray _pool
    cdef unsigned char[::1] _pool_view
    cdef Py_ssize_t _pool_fill
    cdef bytes _pool_label
    cdef bint _planned
    cdef public bint _volatile
    cdef const unsigned char[::1] _data
    cdef long long[::1] _numbers
    cdef long long _commit
    cdef long long _reply_commit
    cdef long long _now_ms
    cdef bint _plain
    cdef bint _prepared
    cdef bint _woken
    cdef public bint always
    cdef public bint observed
    cdef public bint unusual
    cdef object _account
    cdef list _default
    cdef dict _clients
    cpdef object execute(self, object request, long long token, object session)
    cdef long long _now(self) except? -1
    cdef bytes _taken(self)
    cdef int _finish(self) except? -1
    cdef int _hot(self, Run run, Database db, Py_ssize_t at) except? -1
    cdef int _set(self, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef int _mset(self, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef int _add(self, Database db, Py_ssize_t at, Py_ssize_t start, long long change) except? -1
    cdef int _push(self, Database db, Py_ssize_t at, Py_ssize_t start, bint left) except? -1
    cdef int _pop(self, Database db, Py_ssize_t at, Py_ssize_t start, bint left) except? -1
    cdef int _sadd(self, Database db, Py_ssize_t at, Py_ssize_t start) except? -2
    cdef int _zadd(self, Run run, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef int _xadd(self, Run run, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef bytes _id_text(self, long long milliseconds, long long sequence)
    cdef int _hset(self, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef int _mget(self, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef int _lrange(self, Database db, Py_ssize_t at, Py_ssize_t start) except? -1
    cdef int _put(self, bytes data) except? -1
    cdef int _put_bulk(self, bytes data) except? -1
    cdef int _put_number(self, int sigil, long long value) except? -1
    cdef int _room(self, Py_ssize_t need) except? -1
    cdef bytes _copy(self, Py_ssize_t start, Py_ssize_t length)
    cdef int _effect(self, Run run, Database db, Py_ssize_t at) except? -1
    cdef int _place(self, bytes label, Py_ssize_t length) except? -1
    cpdef int add(self, bytes label, bytes effect) except? -1
    cpdef long long flush_effects(self) except? -1
