# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The bases of Model and Stream: calls from Python, with no Python layer above them."""
from rnnengine._c.plan cimport Plan
from rnnengine._c.worker cimport Worker

from rnnengine._c.convert import to_array
from rnnengine._c.core import Lengthy, Misfit
from rnnengine._c.cpu import check_threads
from rnnengine.errors import ShapeError, StreamBusyError

cdef enum:
    FREE_WORKERS = 32   # idle workers a plan keeps


cdef class Runner:
    """Base of Model: runs a plan, taking workers from its free list."""
    cdef readonly Plan plan
    cdef readonly int threads

    def __init__(self, Plan plan, int threads=1):
        self.plan = plan
        self.threads = threads

    def run(self, x, *, out=None, state=None, bint return_state=False, lengths=None,
            threads=None):
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
        threads : int, optional
            Threads that this call may use, instead of the model's. How many it does use depends on
            the work; the bits do not.

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
            return self._run_with(x, out, state, return_state, lengths, threads)
        try:
            return self.execute(self.plan, x, out, threads)
        except Misfit as error:
            return self._run_at(x, out, threads, str(error))

    cdef object execute(self, Plan plan, object x, object out, object threads):
        cdef Plan lengthy
        if plan is None:
            raise TypeError("this object was made without its constructor")
        cdef int most = self.threads if threads is None else check_threads(threads)
        try:
            return self.attempt(plan, x, out, most, plan.in_chunks is not None)
        except Lengthy:
            lengthy = plan.for_long()
        if lengthy is not None:
            try:
                return self.attempt(lengthy, x, out, most, False)
            except Misfit:
                pass  # sizes that have no chunks, such as a batch of 0
        return self.attempt(plan, x, out, most, False)

    cdef object attempt(self, Plan plan, object x, object out, int threads, bint limited):
        """Run by a worker of the plan; raises Lengthy where `limited` and the sequence is long."""
        cdef Worker worker
        worker = <Worker>plan.free_workers.pop() if plan.free_workers else Worker(plan)
        worker.threads = threads
        worker.limited = limited
        try:
            return worker.execute(x, out, False)
        finally:
            if len(plan.free_workers) < FREE_WORKERS:
                plan.free_workers.append(worker)

    def _execute(self, Plan plan, x, out, threads):
        try:
            return self.execute(plan, x, out, threads)
        except Misfit as error:
            raise ShapeError(f"run: the model cannot run at these sizes: {error}") from None

    def _run_at(self, x, out, threads, str reason):
        """What `run` does where the plan does not fit the sizes of the inputs."""
        raise ShapeError(f"run: the model cannot run at these sizes: {reason}")

    def _run_with(self, x, out, state, return_state, lengths, threads):
        raise TypeError("state, return_state and lengths need a Model")

    def __reduce__(self):
        raise TypeError("a model cannot be pickled; load the file again in the other process")


cdef class StreamRunner:
    """Base of Stream: owns a worker and advances its state."""
    cdef Worker worker
    cdef Worker lengthy         # advances the worker's states over long sequences, in chunks
    cdef readonly Plan plan

    def __init__(self, Plan plan, dict sizes, int threads=1):
        cdef int symbol
        self.plan = plan
        self.worker = Worker(plan)
        self.worker.threads = threads
        for symbol in range(plan.program.n_symbols):
            self.worker.preset[symbol] = sizes.get(symbol, -1)
            self.worker.symbols[symbol] = sizes.get(symbol, 0)
        try:
            self.worker.prepare()
        except Misfit as error:
            raise ShapeError(f"stream: the model cannot run at these sizes: {error}") from None
        self.worker.limited = plan.in_chunks is not None

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
            return self.worker.execute(x, out, True)
        except Lengthy:
            return self._over_long(x, out)
        except Misfit as error:
            raise ShapeError(f"step: the model cannot run at these sizes: {error}") from None

    def _over_long(self, x, out=None):
        """Advance in chunks over steps that would need much memory between the layers."""
        cdef Plan plan
        if self.lengthy is None:
            plan = self.plan.for_long()
            if plan is not None:
                self.lengthy = Worker(plan)
                self.lengthy.threads = self.worker.threads
                if not self.lengthy.follow(self.worker.states):
                    self.lengthy = None
        if self.lengthy is None:
            self.worker.limited = False
            return self.step(x, out=out)
        self.enter()
        try:
            return self.lengthy.execute(x, out, True)
        except Misfit:
            pass  # sizes that have no chunks
        finally:
            self.worker.busy = False
        self.worker.limited = False
        try:
            return self.step(x, out=out)
        finally:
            self.worker.limited = True

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
            self.worker.states.start()
        finally:
            self.worker.busy = False

    def _get(self):
        self.enter()
        try:
            return {name: self.worker.states.get(i) for i, name in enumerate(self.plan.state_names)}
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
                    wanted = self.worker.states.shape(i)
                    if array.shape != wanted:
                        raise ShapeError(f"state {name!r}: expected shape {list(wanted)}, "
                                         f"got {list(array.shape)}")
                    ready.append((i, array))
            for i, array in ready:
                self.worker.states.set(i, array)
        finally:
            self.worker.busy = False

    def __reduce__(self):
        raise TypeError("a stream cannot be pickled; carry its state: "
                        "twin.restore(stream.snapshot())")
