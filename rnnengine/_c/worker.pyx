# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What one call needs: a context, the memory of states, and the arrays of the caller.

`run` borrows a worker from the plan's free list, a stream owns one, and a second one for long
sequences, which advances the states of the first in chunks.
"""
from cpython.dict cimport PyDict_GetItemWithError
from cpython.object cimport PyObject
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from rnnengine._c.buffers cimport (MAX_RANK, Held, drop, new_array, overlap, take_input,
                                   take_output)
from rnnengine._c.core cimport Context
from rnnengine._c.plan cimport Plan, Port, Selection
from rnnengine._c.states cimport States

import numpy as np

from rnnengine._c.core import Misfit
from rnnengine._c.convert import (DECLARED, bad_feeds, bad_output, bad_outputs, bad_shape,
                                  shared_output)
from rnnengine.errors import StreamBusyError

cdef enum:
    RELEASE_NS = 5000   # work above this releases the interpreter lock
    BETWEEN = 1 << 20   # bytes between the layers above which a run goes in chunks; a private cache


cdef list named(list names, Selection *chosen):
    return [names[chosen.at[k]] for k in range(chosen.count)]


cdef class Worker:
    """Context, pointers and states of one call at a time."""

    def __cinit__(self, Plan plan):
        cdef int i
        self.plan = plan
        self.n_held = plan.n_in + plan.n_out
        self.held = <Held *>calloc(self.n_held + 1, sizeof(Held))
        self.in_ptr = <const void **>calloc(plan.n_in + 1, sizeof(void *))
        self.out_ptr = <void **>calloc(plan.n_out + 1, sizeof(void *))
        self.out_dims = <int64_t *>calloc(plan.n_out * MAX_RANK + 1, sizeof(int64_t))
        self.sides = <float **>calloc(2 * plan.n_out + 1, sizeof(float *))
        if (self.held == NULL or self.in_ptr == NULL or self.out_ptr == NULL
                or self.out_dims == NULL or self.sides == NULL):
            raise MemoryError
        for i in range(MAX_SYMBOLS):
            self.preset[i] = self.bound[i] = -1
        self.context = Context(plan.program)
        self.states = States(plan, self.context)
        if plan.chunked:
            self.context.chunk(&plan.chunks)

    def __dealloc__(self):
        if self.held != NULL:
            self.release()
        free(self.held)
        free(self.in_ptr)
        free(self.out_ptr)
        free(self.out_dims)
        free(self.sides)

    cdef void release(self) noexcept:
        cdef int i
        for i in range(self.n_held):
            drop(&self.held[i])

    cdef int take(self, int i, object value, bint step, bint *dropped) except -1:
        """Accept one input and read the sizes off it."""
        take_input(&self.held[i], value, self.plan.inputs[i].dtype, <str>self.plan.in_names[i])
        self.solve(i, step, dropped)
        self.in_ptr[i] = self.held[i].data
        return 0

    cdef int take_named(self, Selection *ins, object feeds, bint step, bint *dropped) except -1:
        """Accept inputs given by name."""
        cdef PyObject *value
        cdef int k
        if not isinstance(feeds, dict) or len(<dict>feeds) != ins.count:
            raise bad_feeds(self.wanted(ins), feeds)
        for k in range(ins.count):
            value = PyDict_GetItemWithError(feeds, self.plan.in_names[ins.at[k]])
            if value == NULL:
                raise bad_feeds(self.wanted(ins), feeds)
            self.take(ins.at[k], <object>value, step, dropped)
        return 0

    cdef list wanted(self, Selection *ins):
        return named(self.plan.in_names, ins)

    cdef int solve(self, int i, bint step, bint *dropped) except -1:
        """Read the symbols' values off an input's shape; the time axis may be missing in a step."""
        cdef Port *port = &self.plan.inputs[i]
        cdef Held *held = &self.held[i]
        cdef int axis, at = 0
        cdef int64_t size, code
        cdef bint single = step and port.time_axis >= 0 and held.rank == port.rank - 1
        if held.rank != port.rank and not single:
            self.refuse(i, step, "")
        for axis in range(port.rank):
            if single and axis == port.time_axis:
                size = 1
            else:
                size = held.shape[at]
                at += 1
            code = port.code[axis]
            if code >= 0:
                if size != code:
                    self.refuse(i, step, f"axis {axis} must be {code}")
            elif self.symbols[~code] < 0:
                self.symbols[~code] = size
            elif self.symbols[~code] != size:
                self.refuse(i, step, f"axis {axis} must be {self.symbols[~code]} here")
            if not step and 0 <= port.declared[axis] != size:
                self.refuse(i, step, f"axis {axis} must be {port.declared[axis]}")
        dropped[0] |= single
        return 0

    cdef int refuse(self, int i, bint step, str where) except -1:
        got = tuple([self.held[i].shape[k] for k in range(self.held[i].rank)])
        raise bad_shape(self.plan.in_names[i], self.plan.in_text[i], got,
                        step and self.plan.inputs[i].time_axis >= 0, where)

    cdef int prepare(self) except -1:
        """Bind the context to the symbols and work out what depends on them, where they are new."""
        cdef Plan plan = self.plan
        cdef Port *port
        cdef int i, axis
        if (self.states.ready and self.bound_threads == self.threads
                and memcmp(self.bound, self.symbols, sizeof(self.bound)) == 0):
            return 0
        self.bound[0] = -1
        self.context.limit(BETWEEN if self.limited else 0)
        self.context.bind(self.symbols, self.threads)
        self.bound_threads = self.threads
        for i in range(plan.n_out):
            port = &plan.outputs[i]
            for axis in range(port.rank):
                self.out_dims[i * MAX_RANK + axis] = self.context.value(port.expr[axis])
        self.release_lock = self.context.cost() > RELEASE_NS
        self.states.fit()
        for i in range(plan.n_stores):
            for axis in range(2):
                self.sides[2 * plan.store_output[i] + axis] = self.states.side[2 * i + axis]
        memcpy(self.bound, self.symbols, sizeof(self.bound))
        return 0

    cdef int attach_states(self, bint step) except -1:
        """Point the inputs and outputs of states that the caller does not give at their memory.

        A run in chunks leaves its last states there, so the next one sets them anew.
        """
        cdef Plan plan = self.plan
        cdef States states = self.states
        cdef int k, i, o, store
        if plan.chunked:
            states.start()
        for k in range(plan.n_links):
            i = plan.links[k].input
            o = plan.links[k].output
            if step or not self.held[i].taken:
                store = 2 * plan.outputs[o].store
                self.in_ptr[i] = states.side[store + states.current] + states.offset[k]
                self.out_ptr[o] = NULL if plan.chunked else states.side[store + 1 - states.current]
        return 0 if self.owner is None else self.attach_owner()

    cdef bint follow(self, States owner) except -1:
        """Advance another worker's states from now on, if this plan carries every one of them."""
        cdef Plan mine = self.plan, its = owner.plan
        cdef int k
        number = {name: k for k, name in enumerate(mine.state_names)}
        self.shared = [(number.get(name, -1), k) for k, name in enumerate(its.state_names)]
        for link, k in self.shared:
            if link < 0 or (mine.in_names[mine.links[<int>link].input]
                            != its.in_names[its.links[<int>k].input]):
                return False
        if named(mine.in_names, &mine.feeds[1]) != named(its.in_names, &its.feeds[1]):
            return False
        if named(mine.out_names, &mine.results[1]) != named(its.out_names, &its.results[1]):
            return False
        self.owner = owner
        return True

    cdef int attach_owner(self) except -1:
        """Read the states of the owner, and write them to their other side."""
        cdef States states = self.states, owner = self.owner
        cdef int mine, its, store, o
        for mine, its in self.shared:
            o = self.plan.links[mine].output
            store = owner.plan.outputs[owner.plan.links[its].output].store
            if (states.size[self.plan.outputs[o].store] != owner.size[store]
                    or states.offset[mine] != owner.offset[its]):
                raise Misfit("the state of a chunk is not that of the stream")
            self.in_ptr[self.plan.links[mine].input] = (
                owner.side[2 * store + owner.current] + owner.offset[its])
            self.out_ptr[o] = owner.side[2 * store + 1 - owner.current]
        return 0

    cdef int overlaps(self, int slot) noexcept:
        """Slot of the first array that shares a byte with an output's, or -1."""
        cdef int i
        for i in range(self.plan.n_in + self.plan.n_out):
            if i != slot and self.held[i].taken and overlap(&self.held[slot], &self.held[i]):
                return i
        return -1

    cdef object place(self, int o, object out, bint dropped):
        """The array that output o is written to: the caller's when it will do, else a new one."""
        cdef Port *port = &self.plan.outputs[o]
        cdef Held *held = &self.held[self.plan.n_in + o]
        cdef int axis, other = -1, rank = 0
        cdef int64_t shape[MAX_RANK]
        for axis in range(port.rank):
            if not (dropped and axis == port.time_axis):
                shape[rank] = self.out_dims[o * MAX_RANK + axis]
                rank += 1
        if out is None and port.dtype < 2:
            return new_array(rank, shape, port.dtype, &self.out_ptr[o])
        if out is not None and take_output(held, out, port.dtype):
            if held.rank == rank and memcmp(held.shape, shape, rank * sizeof(int64_t)) == 0:
                other = self.overlaps(self.plan.n_in + o)
                if other < 0:
                    self.out_ptr[o] = held.data
                    return out
            drop(held)
        if other >= self.plan.n_in or any([target is out for target, _ in self.copies or ()]):
            raise shared_output(self.plan.out_names[o])
        dims = tuple([shape[k] for k in range(rank)])
        if out is None:
            out = np.empty(dims, DECLARED[port.dtype])
        wrong = bad_output(self.plan.out_names[o], dims, out, port.dtype)
        if wrong is not None:
            raise wrong
        result = new_array(rank, shape, port.dtype, &self.out_ptr[o])
        self.copies = self.copies or []
        self.copies.append((out, result))
        return out

    cdef object place_all(self, Selection *outs, object out, bint dropped):
        """The arrays of all outputs: one, or a dict by name."""
        cdef int k
        cdef dict results
        if outs.count == 1 and not isinstance(out, dict):
            return self.place(outs.at[0], out, dropped)
        if out is not None:
            wrong = bad_outputs([self.plan.out_names[outs.at[k]] for k in range(outs.count)], out)
            if wrong is not None:
                raise wrong
        results = {}
        for k in range(outs.count):
            name = self.plan.out_names[outs.at[k]]
            given = None if out is None else (<dict>out).get(name)
            results[name] = self.place(outs.at[k], given, dropped)
        return results[name] if outs.count == 1 else results

    cdef object execute(self, object feeds, object out, bint step):
        """Run once; `feeds` is the one input, or a dict by name.

        Returns an array, or a dict of several by name.
        """
        cdef Selection *ins = &self.plan.feeds[step]
        cdef int k
        cdef bint dropped = False
        if self.busy:
            raise StreamBusyError("this stream is in use by another thread; give each its own")
        self.busy = True
        try:
            for k in range(MAX_SYMBOLS):
                self.symbols[k] = self.preset[k] if step else -1
            if ins.count == 1 and not isinstance(feeds, dict):
                self.take(ins.at[0], feeds, step, &dropped)
            else:
                self.take_named(ins, feeds, step, &dropped)
            for k in range(MAX_SYMBOLS):
                if self.symbols[k] < 0:
                    self.symbols[k] = 0
            self.prepare()
            self.attach_states(step)
            result = self.place_all(&self.plan.results[step], out, dropped)
            if self.plan.chunked:
                self.context.run_chunks(self.in_ptr, self.out_ptr, self.sides)
            else:
                self.context.run(self.in_ptr, self.out_ptr, self.release_lock)
            if step:
                self.states.current = 1 - self.states.current
            if self.owner is not None:
                self.owner.current = 1 - self.owner.current
            if self.copies is not None:
                for target, source in self.copies:
                    target[...] = source
                self.copies = None
            return result
        except BaseException:
            self.copies = None
            raise
        finally:
            self.release()
            self.busy = False
