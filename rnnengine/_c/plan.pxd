# cython: language_level=3
cimport cython
from libc.stdint cimport int64_t

from rnnengine._c.buffers cimport MAX_RANK
from rnnengine._c.capi cimport rnne_chunks
from rnnengine._c.core cimport Program


cdef struct Port:
    int rank, dtype, time_axis, store
    int64_t expr[MAX_RANK]      # sizes, as expressions of the program
    int64_t code[MAX_RANK]      # inputs: a fixed size, or ~symbol
    int64_t declared[MAX_RANK]  # inputs: the size `run` insists on, or -1


cdef struct Link:
    int input, output
    int64_t offset              # expression, in elements of the output


cdef struct Selection:
    int count
    int *at


@cython.final
cdef class Plan:
    cdef readonly Program program
    cdef Port *inputs
    cdef Port *outputs
    cdef Link *links
    cdef int n_in, n_out, n_links, n_stores
    cdef list in_names, out_names, in_text, free_workers, initial
    cdef readonly list state_names
    cdef Selection feeds[2]     # inputs that the caller gives: in run, in a step
    cdef Selection results[2]   # outputs that the caller gets
    cdef int *store_output      # program output of each state store
    cdef bint chunked           # runs over long sequences in chunks, and does nothing else
    cdef rnne_chunks chunks
    cdef object chunk_rows      # the tables that `chunks` points into
    cdef public object in_chunks    # makes the plan that runs in chunks, or None; None without one
    cdef Plan lengthy           # that plan, once it was made

    cdef Plan for_long(self)
