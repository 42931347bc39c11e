# cython: language_level=3
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

cdef enum:
    MAX_RANK = 8


cdef struct Held:
    char *data
    Py_ssize_t bytes
    const Py_ssize_t *shape
    int rank
    bint taken
    PyObject *array         # what keeps the memory: an array, or else `view`
    Py_buffer view


cdef int take_input(Held *held, object value, int dtype, str name) except -1
cdef bint take_output(Held *held, object value, int dtype) except -1
cdef bint overlap(const Held *a, const Held *b) noexcept
cdef void drop(Held *held) noexcept
cdef object new_array(int rank, const int64_t *shape, int dtype, void **data)
cdef void *data_of(object array) noexcept
