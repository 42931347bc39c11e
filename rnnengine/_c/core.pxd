# cython: language_level=3
from libc.stdint cimport int64_t

from rnnengine._c.capi cimport (rnne_chunks, rnne_context, rnne_tables, rnne_program,
                                rnne_status)


cdef class Program:
    cdef rnne_program *ptr
    cdef readonly str isa
    cdef list keep          # the arrays the program borrows
    cdef tuple opcodes      # of the instructions, for messages
    cdef readonly int n_symbols, n_inputs, n_outputs


cdef class Context:
    cdef rnne_context *ptr
    cdef readonly Program program
    cdef bint chunked
    cdef int chunk(self, const rnne_chunks *chunks) except -1
    cdef void limit(self, int64_t bytes) noexcept
    cdef int bind(self, const int64_t *symbols, int threads=*) except -1
    cdef int run(self, const void *const *inputs, void *const *outputs, bint release) except -1
    cdef int run_chunks(self, const void *const *inputs, void *const *outputs,
                        float *const *sides) except -1
    cdef int ended(self, rnne_status status, int64_t fault) except -1
    cdef inline int64_t value(self, int64_t expr) noexcept
    cdef inline int64_t cost(self) noexcept
