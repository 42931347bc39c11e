# cython: language_level=3
cimport cython
from libc.stdint cimport int64_t

from rnnengine._c.buffers cimport Held
from rnnengine._c.core cimport Context
from rnnengine._c.plan cimport Plan, Selection
from rnnengine._c.states cimport States

cdef enum:
    MAX_SYMBOLS = 8


@cython.final
cdef class Worker:
    cdef Plan plan
    cdef Context context
    cdef States states
    cdef Held *held             # inputs, then outputs
    cdef int n_held             # known without the plan, which the collector may take away first
    cdef const void **in_ptr
    cdef void **out_ptr
    cdef int64_t symbols[MAX_SYMBOLS]
    cdef int64_t preset[MAX_SYMBOLS]   # sizes fixed by the stream, or -1
    cdef int64_t bound[MAX_SYMBOLS]    # sizes that `out_dims` and the states were worked out for
    cdef int64_t *out_dims      # [outputs][MAX_RANK]
    cdef float **sides          # of a chunked plan: both arrays of each output that carries a state
    cdef bint limited           # a long sequence is refused, as another plan runs it in chunks
    cdef States owner           # of a chunked plan: states of the stream it advances, or None
    cdef list shared            # (own link, owner's link) of each state of the owner
    cdef int threads            # that a call may use
    cdef int bound_threads
    cdef bint busy, release_lock
    cdef list copies            # (caller's array, what to copy there) after a run, or None

    cdef void release(self) noexcept
    cdef int take(self, int i, object value, bint step, bint *dropped) except -1
    cdef int take_named(self, Selection *ins, object feeds, bint step, bint *dropped) except -1
    cdef list wanted(self, Selection *ins)
    cdef int solve(self, int i, bint step, bint *dropped) except -1
    cdef int refuse(self, int i, bint step, str where) except -1
    cdef int prepare(self) except -1
    cdef int attach_states(self, bint step) except -1
    cdef bint follow(self, States owner) except -1
    cdef int attach_owner(self) except -1
    cdef int overlaps(self, int slot) noexcept
    cdef object place(self, int o, object out, bint dropped)
    cdef object place_all(self, Selection *outs, object out, bint dropped)
    cdef object execute(self, object feeds, object out, bint step)
