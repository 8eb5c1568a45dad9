from protocols.outbox cimport Outbox
from substrate.group cimport Group

cdef class LiveSink:
    cdef public str protocol
    cdef public object session
    cdef public object live
    cdef public Outbox outbox
    cdef public int level
    cdef public Py_ssize_t packet_bytes_max
    cdef public Py_ssize_t pending_bytes_max
    cdef public bint held
    cdef public bint aliases
    cdef public long long dropped
    cpdef deliver(self, Group group)
    cpdef bint may_take(self, Py_ssize_t size)
    cpdef give(self, bytes packet)

cdef class Target:
    cdef public LiveSink sink
    cdef public bytes identifiers

cdef class Plan:
    cdef public long long generation
    cdef public object route
    cdef public tuple targets
    cdef public bint to_port
    cdef public tuple headers

cdef class Forwarder:
    cdef public object session
    cdef public object live
    cdef public int level
    cdef public Py_ssize_t packet_bytes_max
    cdef public Py_ssize_t plans_max
    cdef public long long forwarded
    cdef dict _plans
    cpdef Plan find(self, bytes topic, long long generation)
    cpdef Py_ssize_t run(self, object data, Py_ssize_t start, Py_ssize_t end, long long generation) except? -1
    cdef int _deliver(self, const unsigned char[::1] view, object data, Plan plan, Py_ssize_t start, Py_ssize_t end, Py_ssize_t count, Py_ssize_t largest, Py_ssize_t topic_bytes, Group group) except? -1
    cdef int _rewrite(self, const unsigned char[::1] view, Target target, Py_ssize_t start, Py_ssize_t end, Py_ssize_t topic_bytes) except? -1
