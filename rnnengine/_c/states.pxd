# cython: language_level=3
cimport cython
from libc.stdint cimport int64_t

from rnnengine._c.core cimport Context
from rnnengine._c.plan cimport Plan, Port


@cython.final
cdef class States:
    cdef Plan plan
    cdef Context context
    cdef float **side           # two of each store
    cdef int64_t *size          # of each store, in elements
    cdef int64_t *offset        # of each link into its store, in elements
    cdef int current            # the side that holds the present state
    cdef bint ready             # sizes are known and the state has a value
    cdef list memory

    cdef int fit(self) except -1
    cdef int start(self) except -1
    cdef int64_t count(self, Port *port) noexcept
    cdef float *at(self, int link) noexcept
    cdef int64_t sizes(self, int link, int64_t *shape) noexcept
    cdef tuple shape(self, int link)
    cdef object get(self, int link)
    cdef int set(self, int link, object value) except -1
