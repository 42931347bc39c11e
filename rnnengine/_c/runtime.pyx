# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Running a program from Python: ports, workers, and the bases of Model and Stream.

A plan is a program with the names and shapes of its inputs and outputs. A worker is what one call
needs: a context and the memory of recurrent state. `run` borrows a worker from the plan's free
list, a stream owns one. Buffers come through PyObject_GetBuffer, without copies where the array is
native, contiguous and aligned.
"""
cimport cython
from cpython.buffer cimport (PyBUF_RECORDS, PyBUF_RECORDS_RO, PyBuffer_IsContiguous,
                             PyBuffer_Release, PyObject_GetBuffer)
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from rnnengine._c.core cimport Context, Program

import numpy as np

from rnnengine._c.core import Misfit

from rnnengine._c.convert import bad_output, bad_shape, is_masked, shared_output, to_array
from rnnengine.errors import ShapeError, StreamBusyError

cdef enum:
    MAX_RANK = 8
    MAX_SYMBOLS = 8
    RELEASE_NS = 5000   # work above this releases the interpreter lock
    FREE_WORKERS = 32   # idle workers a plan keeps

cdef object empty = np.empty
cdef object float32 = np.dtype(np.float32)
cdef object ndarray = np.ndarray


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


cdef int select(Selection *selection, list numbers) except -1:
    cdef int i
    selection.count = len(numbers)
    selection.at = <int *>calloc(len(numbers) + 1, sizeof(int))
    if selection.at == NULL:
        raise MemoryError
    for i in range(selection.count):
        selection.at[i] = numbers[i]
    return 0


cdef Port *make_ports(list specs) except NULL:
    cdef Port *ports = <Port *>calloc(len(specs) + 1, sizeof(Port))
    cdef int i, axis
    if ports == NULL:
        raise MemoryError
    for i, spec in enumerate(specs):
        if len(spec["expr"]) > MAX_RANK:
            free(ports)
            raise ValueError(f"port {spec['name']!r} has rank {len(spec['expr'])}")
        ports[i].rank = len(spec["expr"])
        ports[i].dtype = spec["dtype"]
        ports[i].time_axis = -1 if spec["time_axis"] is None else spec["time_axis"]
        ports[i].store = -1
        for axis in range(ports[i].rank):
            ports[i].expr[axis] = spec["expr"][axis]
            ports[i].code[axis] = spec["code"][axis] if "code" in spec else 0
            ports[i].declared[axis] = spec["declared"][axis] if "declared" in spec else -1
    return ports


@cython.final
cdef class Plan:
    """A program with named ports.

    Parameters
    ----------
    program : Program
    inputs, outputs : list of dict
        `name`, `dtype` (0 float32, 1 int32), `expr` (size expressions), `time_axis` (or None); for
        inputs also `code` (size or ~symbol), `declared` (size or -1) and `text` for messages.
    states : list of tuple
        (name, input, output, offset expression, initial array or None).
    hidden : set of int
        Inputs that only streams feed (implicit state); the outputs of their states are hidden too.
    """
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

    def __cinit__(self, Program program, list inputs, list outputs, list states, set hidden):
        cdef int i
        self.program = program
        self.n_in, self.n_out, self.n_links = len(inputs), len(outputs), len(states)
        self.inputs = make_ports(inputs)
        self.outputs = make_ports(outputs)
        self.links = <Link *>calloc(self.n_links + 1, sizeof(Link))
        self.store_output = <int *>calloc(self.n_links + 1, sizeof(int))
        if self.links == NULL or self.store_output == NULL:
            raise MemoryError
        self.in_names = [spec["name"] for spec in inputs]
        self.in_text = [spec["text"] for spec in inputs]
        self.out_names = [spec["name"] for spec in outputs]
        self.state_names = [state[0] for state in states]
        self.initial = [state[4] for state in states]
        self.free_workers = []
        for i in range(self.n_links):
            _, input, output, offset, _ = states[i]
            self.links[i].input, self.links[i].output = input, output
            self.links[i].offset = offset
            if self.outputs[<int>output].store < 0:
                self.outputs[<int>output].store = self.n_stores
                self.store_output[self.n_stores] = output
                self.n_stores += 1
        stated = {state[1] for state in states}
        hidden_out = {state[2] for state in states if state[1] in hidden}
        select(&self.feeds[0], [i for i in range(self.n_in) if i not in hidden])
        select(&self.feeds[1], [i for i in range(self.n_in) if i not in stated])
        select(&self.results[0], [i for i in range(self.n_out) if i not in hidden_out])
        select(&self.results[1], [i for i in range(self.n_out) if self.outputs[i].store < 0])

    def __dealloc__(self):
        free(self.inputs)
        free(self.outputs)
        free(self.links)
        free(self.store_output)
        for i in range(2):
            free(self.feeds[i].at)
            free(self.results[i].at)


cdef bint is_native(Py_buffer *view, int dtype) noexcept:
    """Element type, layout and alignment are those the kernels read."""
    if view.itemsize != 4 or view.format == NULL or view.format[0] == 0 or view.format[1] != 0:
        return False
    if view.format[0] != (c'f' if dtype == 0 else c'i'):
        return False
    return <uintptr_t>view.buf % 4 == 0 and PyBuffer_IsContiguous(view, c'C')


@cython.final
cdef class Worker:
    """Context, pointers and state memory of one call at a time."""
    cdef Plan plan
    cdef Context context
    cdef Py_buffer *views       # inputs, then outputs
    cdef char *held             # which views are to be released
    cdef const void **in_ptr
    cdef void **out_ptr
    cdef float **side           # state stores: two sides each
    cdef int64_t *store_size
    cdef int current            # side that holds the present state
    cdef int64_t symbols[MAX_SYMBOLS]
    cdef int64_t preset[MAX_SYMBOLS]   # sizes fixed by the stream, or -1
    cdef int64_t bound[MAX_SYMBOLS]    # sizes the fields below were worked out for
    cdef int64_t *out_dims      # [outputs][MAX_RANK]
    cdef int64_t *offsets       # of links, in elements
    cdef bint busy, fresh, release_lock
    cdef list memory
    cdef list copies            # (caller's array, what to copy there) after a run, or None

    def __cinit__(self, Plan plan):
        cdef int i, n = plan.n_in + plan.n_out
        self.plan = plan
        self.context = Context(plan.program)
        self.views = <Py_buffer *>calloc(n + 1, sizeof(Py_buffer))
        self.held = <char *>calloc(n + 1, 1)
        self.in_ptr = <const void **>calloc(plan.n_in + 1, sizeof(void *))
        self.out_ptr = <void **>calloc(plan.n_out + 1, sizeof(void *))
        self.side = <float **>calloc(2 * plan.n_stores + 1, sizeof(float *))
        self.store_size = <int64_t *>calloc(plan.n_stores + 1, sizeof(int64_t))
        self.out_dims = <int64_t *>calloc(plan.n_out * MAX_RANK + 1, sizeof(int64_t))
        self.offsets = <int64_t *>calloc(plan.n_links + 1, sizeof(int64_t))
        if (self.out_dims == NULL or self.offsets == NULL or self.views == NULL
                or self.held == NULL or self.in_ptr == NULL or self.out_ptr == NULL
                or self.side == NULL or self.store_size == NULL):
            raise MemoryError
        self.memory = [None] * (2 * plan.n_stores)
        for i in range(plan.n_stores):
            self.store_size[i] = -1
        for i in range(MAX_SYMBOLS):
            self.preset[i] = self.bound[i] = -1

    def __dealloc__(self):
        self.release()
        free(self.views)
        free(self.held)
        free(self.in_ptr)
        free(self.out_ptr)
        free(self.side)
        free(self.store_size)
        free(self.out_dims)
        free(self.offsets)

    cdef void release(self) noexcept:
        cdef int i
        if self.held == NULL or self.views == NULL:
            return
        for i in range(self.plan.n_in + self.plan.n_out):
            if self.held[i]:
                self.held[i] = 0
                PyBuffer_Release(&self.views[i])

    cdef int hold(self, int slot, object value, int dtype, str name) except -1:
        """Acquire the buffer of an input, converting it first where it is not native."""
        cdef bint plain = True
        if type(value) is ndarray or not is_masked(value):
            try:
                PyObject_GetBuffer(value, &self.views[slot], PyBUF_RECORDS_RO)
            except (TypeError, BufferError, ValueError):
                plain = False
            if plain and is_native(&self.views[slot], dtype):
                self.held[slot] = 1
                return 0
            if plain:
                PyBuffer_Release(&self.views[slot])
        value = to_array(value, dtype, f"input {name!r}")
        PyObject_GetBuffer(value, &self.views[slot], PyBUF_RECORDS_RO)
        self.held[slot] = 1
        return 0

    cdef int solve(self, int i, bint step, bint *dropped) except -1:
        """Read the symbols' values off an input's shape; the time axis may be missing in a step."""
        cdef Port *port = &self.plan.inputs[i]
        cdef Py_buffer *view = &self.views[i]
        cdef int axis, at = 0
        cdef int64_t size, code
        cdef bint drop = step and port.time_axis >= 0 and view.ndim == port.rank - 1
        if view.ndim != port.rank and not drop:
            self.refuse(i, step, "")
        for axis in range(port.rank):
            if drop and axis == port.time_axis:
                size = 1
            else:
                size = view.shape[at]
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
        dropped[0] |= drop
        return 0

    cdef int refuse(self, int i, bint step, str where) except -1:
        got = tuple([self.views[i].shape[k] for k in range(self.views[i].ndim)])
        raise bad_shape(self.plan.in_names[i], self.plan.in_text[i], got,
                        step and self.plan.inputs[i].time_axis >= 0, where)

    cdef int prepare(self) except -1:
        """Bind the context to the symbols and work out what depends on them, where they are new."""
        cdef Plan plan = self.plan
        cdef Port *port
        cdef int i, axis
        if not self.fresh or memcmp(self.bound, self.symbols, sizeof(self.bound)) != 0:
            self.bound[0] = -1
            self.context.bind(self.symbols)
            for i in range(plan.n_out):
                port = &plan.outputs[i]
                for axis in range(port.rank):
                    self.out_dims[i * MAX_RANK + axis] = self.context.value(port.expr[axis])
            for i in range(plan.n_links):
                self.offsets[i] = self.context.value(plan.links[i].offset)
            self.release_lock = self.context.cost() > RELEASE_NS
            self.reserve()
            memcpy(self.bound, self.symbols, sizeof(self.bound))
        return 0

    cdef int reserve(self) except -1:
        """Allocate state memory where its size is new, and start afresh then."""
        cdef int i
        cdef int64_t size
        for i in range(self.plan.n_stores):
            size = self.count(&self.plan.outputs[self.plan.store_output[i]])
            if size != self.store_size[i]:
                for side in range(2):
                    array = np.zeros(size + 16, dtype=np.float32)
                    self.memory[2 * i + side] = array
                    self.side[2 * i + <int>side] = <float *>address(array)
                self.store_size[i] = size
                self.fresh = False
        if not self.fresh:
            self.start()
        return 0

    cdef int64_t count(self, Port *port) noexcept:
        cdef int64_t size = 1
        cdef int axis
        for axis in range(port.rank):
            size *= self.context.value(port.expr[axis])
        return size

    cdef float *state_at(self, int link, int side) noexcept:
        cdef Link *at = &self.plan.links[link]
        return self.side[2 * self.plan.outputs[at.output].store + side] + self.offsets[link]

    cdef int start(self) except -1:
        """Set every state to its initial value."""
        cdef int i
        self.current = 0
        self.fresh = True
        for array in self.memory:
            array[:] = 0.0
        for i in range(self.plan.n_links):
            if self.plan.initial[i] is not None:
                self.set_state(i, np.broadcast_to(self.plan.initial[i], self.state_shape(i)))
        return 0

    cdef tuple state_shape(self, int link):
        cdef Port *port = &self.plan.inputs[self.plan.links[link].input]
        return tuple([self.context.value(port.expr[axis]) for axis in range(port.rank)])

    cdef object get_state(self, int link):
        result = empty(self.state_shape(link), float32)
        memcpy(<void *>address(result), self.state_at(link, self.current), result.nbytes)
        return result

    cdef int set_state(self, int link, object value) except -1:
        array = np.ascontiguousarray(value, dtype=np.float32)
        memcpy(self.state_at(link, self.current), <void *>address(array), array.nbytes)
        return 0

    cdef int overlaps(self, int slot) noexcept:
        """Slot of the first array that shares a byte with an output's, or -1."""
        cdef Py_buffer *out = &self.views[slot]
        cdef char *a = <char *>out.buf
        cdef char *b
        cdef int i
        for i in range(self.plan.n_in + self.plan.n_out):
            if i != slot and self.held[i]:
                b = <char *>self.views[i].buf
                if a < b + self.views[i].len and b < a + out.len:
                    return i
        return -1

    cdef object place(self, int o, object out, bint dropped):
        """The array that output o is written to: the caller's when it will do, else a new one."""
        cdef Port *port = &self.plan.outputs[o]
        cdef int slot = self.plan.n_in + o, axis, other = -1, rank = 0
        cdef int64_t shape[MAX_RANK]
        cdef bint same
        for axis in range(port.rank):
            if not (dropped and axis == port.time_axis):
                shape[rank] = self.out_dims[o * MAX_RANK + axis]
                rank += 1
        if out is not None:
            try:
                PyObject_GetBuffer(out, &self.views[slot], PyBUF_RECORDS)
                self.held[slot] = 1
            except (TypeError, BufferError, ValueError):
                pass
            if self.held[slot] and self.views[slot].ndim == rank:
                same = is_native(&self.views[slot], 0)
                for axis in range(rank):
                    same = same and self.views[slot].shape[axis] == shape[axis]
                if same:
                    other = self.overlaps(slot)
                    if other < 0:
                        self.out_ptr[o] = self.views[slot].buf
                        return out
            if self.held[slot]:
                self.held[slot] = 0
                PyBuffer_Release(&self.views[slot])
        if other >= self.plan.n_in or any([target is out for target, _ in self.copies or ()]):
            raise shared_output(self.plan.out_names[o])
        dims = tuple([shape[axis] for axis in range(rank)])
        result = empty(dims, float32)
        self.out_ptr[o] = <void *>address(result)
        if out is not None:
            if (not isinstance(out, np.ndarray) or out.shape != dims or out.dtype != float32
                    or not out.flags.writeable):
                raise bad_output(self.plan.out_names[o], dims, out)
            self.copies = self.copies or []
            self.copies.append((out, result))
            return out
        return result

    cdef int take(self, int i, object value, bint step, bint *dropped) except -1:
        """Accept one input."""
        self.hold(i, value, self.plan.inputs[i].dtype, <str>self.plan.in_names[i])
        self.solve(i, step, dropped)
        self.in_ptr[i] = self.views[i].buf
        return 0

    cdef object execute(self, object feeds, object out, bint step):
        """Run once; `feeds` is the one input, or a list of several in order.

        Returns an array, or a dict of several by name.
        """
        cdef Plan plan = self.plan
        cdef Selection *ins = &plan.feeds[step]
        cdef int i, k, o
        cdef bint dropped = False
        if self.busy:
            raise StreamBusyError("this stream is in use by another thread; give each its own")
        self.busy = True
        try:
            for k in range(MAX_SYMBOLS):
                self.symbols[k] = self.preset[k] if step else -1
            if ins.count == 1:
                self.take(ins.at[0], feeds, step, &dropped)
            else:
                for k in range(ins.count):
                    self.take(ins.at[k], (<list>feeds)[k], step, &dropped)
            for k in range(MAX_SYMBOLS):
                if self.symbols[k] < 0:
                    self.symbols[k] = 0
            self.prepare()
            for k in range(plan.n_links):
                i = plan.links[k].input
                o = plan.links[k].output
                if step or not self.held[i]:
                    self.in_ptr[i] = self.state_at(k, self.current)
                    self.out_ptr[o] = self.side[2 * plan.outputs[o].store + 1 - self.current]
            result = self.place_all(&plan.results[step], out, dropped)
            self.context.run(self.in_ptr, self.out_ptr, self.release_lock)
            if step:
                self.current = 1 - self.current
            if self.copies is not None:
                for target, source in self.copies:
                    target[...] = source
            return result
        finally:
            self.release()
            self.copies = None
            self.busy = False

    cdef object place_all(self, Selection *outs, object out, bint dropped):
        cdef int k
        cdef dict results
        if outs.count == 1 and not isinstance(out, dict):
            return self.place(outs.at[0], out, dropped)
        names = [self.plan.out_names[outs.at[k]] for k in range(outs.count)]
        if out is not None and not isinstance(out, dict):
            raise TypeError(f"out: expected a dict of arrays by name ({', '.join(names)})"
                            f", got {type(out).__name__}")
        given = out or {}
        for name in given:
            if name not in names:
                raise ShapeError(f"out: no output named {name!r}; outputs: {', '.join(names)}")
        results = {}
        for k in range(outs.count):
            results[names[k]] = self.place(outs.at[k], given.get(names[k]), dropped)
        return results[names[0]] if outs.count == 1 else results


cdef uintptr_t address(array) except? 0:
    return array.ctypes.data


cdef object ordered(Plan plan, Selection *wanted, object feeds):
    """What the caller gave, as `execute` takes it: one array, or a list in program order."""
    if not isinstance(feeds, dict):
        if wanted.count == 1:
            return feeds
        names = ", ".join([plan.in_names[wanted.at[k]] for k in range(wanted.count)])
        raise TypeError(f"this model takes {wanted.count} inputs; pass a dict of arrays by name: "
                        f"{names}")
    known = [plan.in_names[wanted.at[k]] for k in range(wanted.count)]
    missing = [name for name in known if name not in feeds]
    unknown = [str(name) for name in feeds if name not in known]
    if missing or unknown:
        parts = []
        if missing:
            parts.append(f"missing {', '.join(missing)}")
        if unknown:
            parts.append(f"unknown {', '.join(unknown)}")
        raise ShapeError(f"inputs: {'; '.join(parts)}; expected {', '.join(known) or 'none'}")
    return feeds[known[0]] if len(known) == 1 else [feeds[name] for name in known]


cdef class Runner:
    """Base of Model: runs a plan, taking workers from its free list."""
    cdef readonly Plan plan

    def __init__(self, Plan plan):
        self.plan = plan

    def run(self, x, *, out=None, state=None, bint return_state=False, lengths=None):
        """Compute the outputs for whole sequences.

        Parameters
        ----------
        x : array, or dict of str to array
            One input: an array will do; otherwise a dict by name. Shapes as in ``inputs``.
            Floating arrays of any layout and byte order are accepted and taken as float32.
        out : array, or dict of str to array, optional
            float32 arrays to write the outputs to.
        state : dict of str to array, optional
            State to start from, by name, as a stream's ``state``; the rest starts afresh.
        return_state : bool
            Also return the state after the last step.
        lengths : int array [batch], optional
            Steps of each row that count. What a layer returns beyond them is 0; final states are
            those after the last step that counts, the initial ones for a length of 0.

        Returns
        -------
        array, or dict of str to array
            The output, or all of them by name; with ``return_state`` a pair (outputs, state).

        Raises
        ------
        ShapeError
            A shape disagrees; the message names input, got and expected.
        TypeError
            An element type that cannot be meant.
        UnsupportedModelError
            ``state`` or ``lengths`` for a model that cannot honour them.
        """
        if state is not None or return_state or lengths is not None:
            return self._run_with(x, out, state, return_state, lengths)
        try:
            return self.execute(self.plan, x, out)
        except Misfit as error:
            return self._run_at(x, out, str(error))

    cdef object execute(self, Plan plan, object x, object out):
        cdef Worker worker
        if plan is None:
            raise TypeError("this object was made without its constructor")
        feeds = ordered(plan, &plan.feeds[0], x)
        worker = <Worker>plan.free_workers.pop() if plan.free_workers else Worker(plan)
        try:
            return worker.execute(feeds, out, False)
        finally:
            if len(plan.free_workers) < FREE_WORKERS:
                plan.free_workers.append(worker)

    def _execute(self, Plan plan, x, out):
        try:
            return self.execute(plan, x, out)
        except Misfit as error:
            raise ShapeError(f"run: the model cannot run at these sizes: {error}") from None

    def _run_at(self, x, out, str reason):
        """What `run` does where the plan does not fit the sizes of the inputs."""
        raise ShapeError(f"run: the model cannot run at these sizes: {reason}")

    def _run_with(self, x, out, state, return_state, lengths):
        raise TypeError("state, return_state and lengths need a Model")

    def __reduce__(self):
        raise TypeError("a model cannot be pickled; load the file again in the other process")


cdef class StreamRunner:
    """Base of Stream: owns a worker and advances its state."""
    cdef Worker worker
    cdef readonly Plan plan

    def __init__(self, Plan plan, dict sizes):
        cdef int symbol
        self.plan = plan
        self.worker = Worker(plan)
        for symbol in range(plan.program.n_symbols):
            self.worker.preset[symbol] = sizes.get(symbol, -1)
            self.worker.symbols[symbol] = sizes.get(symbol, 0)
        try:
            self.worker.prepare()
        except Misfit as error:
            raise ShapeError(f"stream: the model cannot run at these sizes: {error}") from None

    def step(self, x, *, out=None):
        """Advance by the time steps in ``x`` and return the outputs that are not state.

        Parameters
        ----------
        x : array, or dict of str to array
            Shapes as the model's inputs, with any number of time steps (0 too), or without the
            time axis: one step, and outputs without it.
        out : array, or dict of str to array, optional
            float32 arrays to write the outputs to; with it a step allocates nothing.

        Returns
        -------
        array, or dict of str to array

        Raises
        ------
        ShapeError, TypeError
            As in :meth:`Model.run`; the state is then unchanged.
        StreamBusyError
            Another thread is inside this stream.
        """
        cdef Plan plan = self.plan
        if plan is None:
            raise TypeError("this object was made without its constructor")
        try:
            return self.worker.execute(ordered(plan, &plan.feeds[1], x), out, True)
        except Misfit as error:
            raise ShapeError(f"step: the model cannot run at these sizes: {error}") from None

    cdef int enter(self) except -1:
        """Take the stream for this thread; whoever calls it sets `worker.busy` back."""
        if self.worker is None:
            raise TypeError("this object was made without its constructor")
        if self.worker.busy:
            raise StreamBusyError("this stream is in use by another thread")
        self.worker.busy = True
        return 0

    def _reset(self):
        self.enter()
        try:
            self.worker.start()
        finally:
            self.worker.busy = False

    def _get(self):
        self.enter()
        try:
            return {name: self.worker.get_state(i) for i, name in enumerate(self.plan.state_names)}
        finally:
            self.worker.busy = False

    def _set(self, dict arrays):
        """Set states by name; shapes were not checked before."""
        self.enter()
        try:
            ready = []
            for i, name in enumerate(self.plan.state_names):
                if name in arrays:
                    array = to_array(arrays[name], 0, f"state {name!r}")
                    wanted = self.worker.state_shape(i)
                    if array.shape != wanted:
                        raise ShapeError(f"state {name!r}: expected shape {list(wanted)}, "
                                         f"got {list(array.shape)}")
                    ready.append((i, array))
            for i, array in ready:
                self.worker.set_state(i, array)
        finally:
            self.worker.busy = False

    def __reduce__(self):
        raise TypeError("a stream cannot be pickled; carry its state: twin.state = stream.state")
