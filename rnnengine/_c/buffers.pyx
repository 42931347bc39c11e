# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Memory of arguments and results: native arrays in place, anything else by way of a copy.

NumPy's arrays are read through its C interface, which costs a few tens of instructions; other
objects through the buffer protocol, which costs some hundreds.
"""
cimport numpy as cnp
from cpython.buffer cimport (PyBUF_RECORDS, PyBUF_RECORDS_RO, PyBuffer_IsContiguous,
                             PyBuffer_Release, PyObject_GetBuffer)
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uintptr_t

from rnnengine._c.convert import is_masked, to_array

cnp.import_array()


cdef bint plain(object value, int dtype) noexcept:
    """Whether an array has the element type, layout and alignment that the kernels read."""
    cdef int wanted = cnp.NPY_FLOAT32 if dtype == 0 else cnp.NPY_INT32
    if dtype > 1 or cnp.PyArray_TYPE(value) != wanted:
        return False
    return cnp.PyArray_ISCARRAY_RO(value)


cdef bint plain_view(Py_buffer *view, int dtype) noexcept:
    """The same of a buffer."""
    if dtype > 1 or view.itemsize != 4 or view.format == NULL:
        return False
    if view.format[0] == 0 or view.format[1] != 0:
        return False
    if view.format[0] != (c'f' if dtype == 0 else c'i'):
        return False
    return <uintptr_t>view.buf % 4 == 0 and PyBuffer_IsContiguous(view, c'C')


cdef void keep(Held *held, object value) noexcept:
    """Hold an array; its shape is read from it at once, before anybody else can run."""
    Py_INCREF(value)
    held.array = <PyObject *>value
    held.data = <char *>cnp.PyArray_DATA(value)
    held.bytes = cnp.PyArray_NBYTES(value)
    held.shape = <const Py_ssize_t *>cnp.PyArray_DIMS(value)
    held.rank = cnp.PyArray_NDIM(value)
    held.taken = True


cdef bint keep_view(Held *held, object value, int flags, int dtype) except -1:
    """Hold the buffer of an object if it has one that the kernels can use."""
    try:
        PyObject_GetBuffer(value, &held.view, flags)
    except (TypeError, BufferError, ValueError):
        return False
    if not plain_view(&held.view, dtype):
        PyBuffer_Release(&held.view)
        return False
    held.array = NULL
    held.data = <char *>held.view.buf
    held.bytes = held.view.len
    held.shape = held.view.shape
    held.rank = held.view.ndim
    held.taken = True
    return True


cdef int take_input(Held *held, object value, int dtype, str name) except -1:
    """Hold an input, converted first where it is not native, contiguous and aligned."""
    if cnp.PyArray_CheckExact(value):
        if plain(value, dtype):
            keep(held, value)
            return 0
    elif not is_masked(value) and keep_view(held, value, PyBUF_RECORDS_RO, dtype):
        return 0
    keep(held, to_array(value, dtype, f"input {name!r}"))
    return 0


cdef bint take_output(Held *held, object value, int dtype) except -1:
    """Hold what an output is to be written to; false where that cannot be done in place."""
    if cnp.PyArray_CheckExact(value):
        if not plain(value, dtype) or not cnp.PyArray_ISWRITEABLE(value):
            return False
        keep(held, value)
        return True
    return keep_view(held, value, PyBUF_RECORDS, dtype)


cdef bint overlap(const Held *a, const Held *b) noexcept:
    """Whether two memories share a byte."""
    return a.data < b.data + b.bytes and b.data < a.data + a.bytes


cdef void drop(Held *held) noexcept:
    """Let go of what is held, if anything."""
    if not held.taken:
        return
    held.taken = False
    if held.array == NULL:
        PyBuffer_Release(&held.view)
    else:
        Py_DECREF(<object>held.array)


cdef object new_array(int rank, const int64_t *shape, int dtype, void **data):
    """A new array of what a port's elements are held as, not initialised, and where they are."""
    cdef int held_as = cnp.NPY_FLOAT32 if dtype == 0 else cnp.NPY_INT32
    array = cnp.PyArray_EMPTY(rank, <cnp.npy_intp *>shape, held_as, 0)
    data[0] = cnp.PyArray_DATA(array)
    return array


cdef void *data_of(object array) noexcept:
    """Where the elements of an array are."""
    return cnp.PyArray_DATA(array)
