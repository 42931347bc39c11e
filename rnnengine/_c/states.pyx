# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The memory of recurrent state: each output that carries some is kept twice.

A call reads one side and writes the other; a step that succeeded exchanges them.
"""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from rnnengine._c.buffers cimport MAX_RANK, data_of, new_array
from rnnengine._c.core cimport Context
from rnnengine._c.plan cimport Plan, Port

import numpy as np


cdef class States:
    """State of one worker, at the sizes its context is bound to."""

    def __cinit__(self, Plan plan, Context context):
        cdef int i
        self.plan = plan
        self.context = context
        self.side = <float **>calloc(2 * plan.n_stores + 1, sizeof(float *))
        self.size = <int64_t *>calloc(plan.n_stores + 1, sizeof(int64_t))
        self.offset = <int64_t *>calloc(plan.n_links + 1, sizeof(int64_t))
        if self.side == NULL or self.size == NULL or self.offset == NULL:
            raise MemoryError
        self.memory = [None] * (2 * plan.n_stores)
        for i in range(plan.n_stores):
            self.size[i] = -1

    def __dealloc__(self):
        free(self.side)
        free(self.size)
        free(self.offset)

    cdef int fit(self) except -1:
        """Follow the sizes bound: memory of another size is made anew, and all starts afresh."""
        cdef int i, side
        cdef int64_t size
        for i in range(self.plan.n_links):
            self.offset[i] = self.context.value(self.plan.links[i].offset)
        for i in range(self.plan.n_stores):
            size = self.count(&self.plan.outputs[self.plan.store_output[i]])
            if size != self.size[i]:
                for side in range(2):
                    array = np.zeros(size + 16, dtype=np.float32)
                    self.memory[2 * i + side] = array
                    self.side[2 * i + side] = <float *>data_of(array)
                self.size[i] = size
                self.ready = False
        if not self.ready:
            self.start()
        return 0

    cdef int64_t count(self, Port *port) noexcept:
        cdef int64_t size = 1
        cdef int axis
        for axis in range(port.rank):
            size *= self.context.value(port.expr[axis])
        return size

    cdef int start(self) except -1:
        """Set every state to its initial value."""
        cdef int i
        self.current = 0
        self.ready = True
        for i in range(2 * self.plan.n_stores):
            memset(self.side[i], 0, self.size[i // 2] * sizeof(float))
        for i in range(self.plan.n_links):
            if self.plan.initial[i] is not None:
                self.set(i, np.broadcast_to(self.plan.initial[i], self.shape(i)))
        return 0

    cdef float *at(self, int link) noexcept:
        cdef int store = self.plan.outputs[self.plan.links[link].output].store
        return self.side[2 * store + self.current] + self.offset[link]

    cdef int64_t sizes(self, int link, int64_t *shape) noexcept:
        """Sizes of a state; returns its bytes."""
        cdef Port *port = &self.plan.inputs[self.plan.links[link].input]
        cdef int axis
        for axis in range(port.rank):
            shape[axis] = self.context.value(port.expr[axis])
        return self.count(port) * <int64_t>sizeof(float)

    cdef tuple shape(self, int link):
        cdef int64_t shape[MAX_RANK]
        self.sizes(link, shape)
        rank = self.plan.inputs[self.plan.links[link].input].rank
        return tuple([shape[axis] for axis in range(rank)])

    cdef object get(self, int link):
        """Copy of a state."""
        cdef int64_t shape[MAX_RANK]
        cdef void *data
        cdef int64_t size = self.sizes(link, shape)
        result = new_array(self.plan.inputs[self.plan.links[link].input].rank, shape, 0, &data)
        memcpy(data, self.at(link), size)
        return result

    cdef int set(self, int link, object value) except -1:
        """Take a state from an array of its shape."""
        cdef int64_t shape[MAX_RANK]
        cdef int64_t size = self.sizes(link, shape)
        array = np.ascontiguousarray(value, dtype=np.float32)
        if array.nbytes != size:
            raise ValueError(f"state of {array.nbytes} bytes, expected {size}")
        memcpy(self.at(link), data_of(array), size)
        return 0
