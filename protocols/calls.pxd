cdef class Calls:
    cdef public dict executors
    cdef public dict parked
    cdef public bint checked
    cdef public object failed
    cdef object _check
    cdef long long _next_token
    cpdef object call(self, str executor, object request, object session, long long token)

cdef class Caller:
    cdef Calls _calls
    cdef public object session
    cpdef call(self, str executor, object request, long long token)
