# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""A program with named inputs, outputs and states: what all calls of it share, unchanging."""
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from rnnengine._c.buffers cimport data_of
from rnnengine._c.core cimport Program

import numpy as np


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


cdef class Plan:
    """A program with named ports.

    Parameters
    ----------
    program : Program
    inputs, outputs : list of dict
        `name`, `dtype` (as in convert.DECLARED), `expr` (size expressions), `time_axis` (or None);
        for inputs also `code` (size or ~symbol), `declared` (size or -1) and `text` for messages.
    states : list of tuple
        (name, input, output, offset expression, initial array or None).
    hidden : set of int
        Inputs that only streams feed (implicit state); the outputs of their states are hidden too.
    chunks : dict, optional
        Of a program that runs in chunks: the numbers `steps`, `in_steps`, `out_steps`, `lengths`
        and the tables `inputs` and `outputs` of rnne_chunks.

    Attributes
    ----------
    in_chunks : callable, optional
        Makes the plan that runs the same model in chunks, or returns None; called once, when a run
        needs much memory between its layers.
    """
    def __cinit__(self, Program program, list inputs, list outputs, list states, set hidden,
                  dict chunks=None):
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
        if chunks is not None:
            self.chunked = True
            self.chunk_rows = [np.array(chunks[k], np.int64, order="C", ndmin=2)
                               for k in ("inputs", "outputs")]
            self.chunks.steps, self.chunks.lengths = chunks["steps"], chunks["lengths"]
            self.chunks.in_steps, self.chunks.out_steps = chunks["in_steps"], chunks["out_steps"]
            self.chunks.inputs = <const int64_t *>data_of(self.chunk_rows[0])
            self.chunks.outputs = <const int64_t *>data_of(self.chunk_rows[1])
        stated = {state[1] for state in states}
        hidden_out = {state[2] for state in states if state[1] in hidden}
        select(&self.feeds[0], [i for i in range(self.n_in) if i not in hidden])
        select(&self.feeds[1], [i for i in range(self.n_in) if i not in stated])
        select(&self.results[0], [i for i in range(self.n_out) if i not in hidden_out])
        select(&self.results[1], [i for i in range(self.n_out) if self.outputs[i].store < 0])

    @property
    def most_steps(self):
        """Steps of a chunk at most, for tests; 0: as many as the cache wants."""
        return self.chunks.most

    @most_steps.setter
    def most_steps(self, int64_t steps):
        self.chunks.most = steps
        self.free_workers = []

    cdef Plan for_long(self):
        """The plan for sequences too long for this one; None where there is none."""
        if self.in_chunks is not None and self.lengthy is None:
            self.lengthy = self.in_chunks()
            if self.lengthy is None:
                self.in_chunks = None
        return self.lengthy

    def __dealloc__(self):
        free(self.inputs)
        free(self.outputs)
        free(self.links)
        free(self.store_output)
        for i in range(2):
            free(self.feeds[i].at)
            free(self.results[i].at)
