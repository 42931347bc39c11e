# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Kernel tables, packing, programs and contexts: one C call behind each function."""
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc

from rnnengine._c.capi cimport *

import numpy as np

from rnnengine.errors import CPUError


class Misfit(RuntimeError):
    """A program cannot run at the sizes it was bound to."""


class Lengthy(RuntimeError):
    """A program would hold more between its layers than it may; it can run in chunks instead."""


def features():
    """Names of the CPU features found, in the order of their bits."""
    cdef int i = 0
    cdef unsigned int bits = rnne_cpu_features()
    found = []
    while rnne_cpu_feature_name(i) != NULL:
        if bits & (1u << i):
            found.append(rnne_cpu_feature_name(i).decode())
        i += 1
    return tuple(found)


def tables():
    """(name, usable on this CPU) of every kernel table of this build, best first."""
    return tuple((rnne_kernels_name(i).decode(), bool(rnne_kernels_usable(i)))
                 for i in range(rnne_kernels_count()))


cdef const rnne_tables *find(str isa) except NULL:
    cdef bytes name = isa.encode()
    cdef const rnne_tables *kernels = rnne_kernels_find(name)
    if kernels == NULL:
        usable = ", ".join(n for n, ok in tables() if ok)
        raise CPUError(f"instruction set {isa!r} is not available here; available: {usable}")
    return kernels


def aligned(Py_ssize_t count):
    """A float32 array of the given length that starts on a 64-byte boundary.

    Where the system has huge pages on request, a long array asks for the whole ones that it fills:
    a prefetcher stops at the end of a page, and weights are read from the first to the last.
    """
    if count * 4 >= HUGE_PAGE:
        found = on_huge_pages(count)
        if found is not None:
            return found
    raw = np.empty(count + 16, dtype=np.float32)
    cdef Py_ssize_t skip = (-raw.ctypes.data % 64) // 4
    return raw[skip:skip + count]


cdef enum:
    HUGE_PAGE = 2 * 1024 * 1024  # bytes, on x86-64 and on 64-bit ARM with pages of 4 KB


cdef on_huge_pages(Py_ssize_t count):
    import mmap

    cdef Py_ssize_t whole = count * 4 // HUGE_PAGE * HUGE_PAGE
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        room = mmap.mmap(-1, count * 4 + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        everything = np.frombuffer(room, dtype=np.uint8)
        skip = -everything.ctypes.data % HUGE_PAGE
        room.madvise(mmap.MADV_HUGEPAGE, skip, whole)
    except OSError:
        return None  # a kernel without them, or no room
    return everything[skip:skip + count * 4].view(np.float32)


def pack(src, dst=None):
    """Pack float32 weights [gates, units, k] into panels [ceil(units/16), k, gates, 16], flat."""
    cdef uintptr_t to, start
    cdef Py_ssize_t g, u, k, sg, su, sk
    if src.dtype != np.float32 or src.ndim != 3 or not src.dtype.isnative:
        raise TypeError("pack expects a native float32 array [gates, units, k]")
    g, u, k = src.shape
    sg, su, sk = (s // 4 for s in src.strides)
    if dst is None:
        dst = aligned(rnne_packed_size(g, u, k))
    if dst.dtype != np.float32 or dst.shape != (rnne_packed_size(g, u, k),) \
            or not dst.flags.c_contiguous:
        raise TypeError("pack expects a contiguous float32 target of the packed size")
    to = dst.ctypes.data
    start = src.ctypes.data
    if dst.size:
        rnne_pack(<float *>to, <const float *>start, g, u, k, sg, su, sk)
    return dst


def unary(str isa, int act, float alpha, float beta, float gamma, x):
    """Apply an elementwise function of a kernel table to a float32 array (for tests)."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    y = np.empty_like(x)
    cdef uintptr_t source = x.ctypes.data, target = y.ctypes.data
    cdef size_t n = x.size
    cdef const rnne_tables *kernels = find(isa)
    with nogil:
        rnne_unary(kernels, act, alpha, beta, gamma, <const float *>source, <float *>target, n)
    return y


def read_floats(str isa, data, size_t repeat):
    """Read a float32 array `repeat` times; the sum is returned only so that the reads happen."""
    cdef uintptr_t start = data.ctypes.data
    cdef size_t n = data.size
    cdef const rnne_tables *kernels = find(isa)
    cdef float total
    with nogil:
        total = rnne_read_floats(kernels, <const float *>start, n, repeat)
    return total


def fma_chain(str isa, size_t repeat):
    """Run `repeat` rounds of independent FMAs; returns the floating-point operations done."""
    cdef float sink = 0
    cdef size_t flops
    cdef const rnne_tables *kernels = find(isa)
    with nogil:
        flops = rnne_fma_chain(kernels, repeat, &sink)
    return flops * repeat


def meet(int threads, size_t rounds):
    """Wake workers and let all threads meet `rounds` times; returns how many took part."""
    cdef int workers
    with nogil:
        workers = rnne_meet(threads, rounds)
    return workers


cdef class Program:
    """A verified program; immutable, shared by any number of contexts and threads.

    Parameters
    ----------
    isa : str
        Kernel table.
    tables : dict of str to array
        int64 tables `terms exprs buffers operands instrs refs ints` and float32 `floats`.
    constants : list of arrays
        Contiguous; borrowed for the life of the program.
    """

    def __cinit__(self, str isa, dict tables, list constants, int n_symbols, int n_inputs,
                  int n_outputs, int n_slots):
        cdef rnne_program_desc d
        cdef const void **pointers = NULL
        cdef int64_t *sizes = NULL
        cdef uintptr_t at
        cdef Py_ssize_t i, n = len(constants)
        self.isa = isa
        self.n_symbols, self.n_inputs, self.n_outputs = n_symbols, n_inputs, n_outputs
        self.keep = list(constants)
        self.opcodes = tuple(tables["instrs"][:, 0].tolist())
        d.n_symbols, d.n_inputs, d.n_outputs, d.n_slots = n_symbols, n_inputs, n_outputs, n_slots
        d.n_constants = n
        d.terms, d.n_terms = rows(tables, "terms"), len(tables["terms"])
        d.exprs, d.n_exprs = rows(tables, "exprs"), len(tables["exprs"])
        d.buffers, d.n_buffers = rows(tables, "buffers"), len(tables["buffers"])
        d.operands, d.n_operands = rows(tables, "operands"), len(tables["operands"])
        d.instrs, d.n_instrs = rows(tables, "instrs"), len(tables["instrs"])
        d.refs, d.n_refs = rows(tables, "refs"), len(tables["refs"])
        d.ints, d.n_ints = rows(tables, "ints"), len(tables["ints"])
        at = tables["floats"].ctypes.data
        d.floats, d.n_floats = <const float *>at, len(tables["floats"])
        pointers = <const void **>malloc((n + 1) * sizeof(void *))
        sizes = <int64_t *>malloc((n + 1) * sizeof(int64_t))
        try:
            if pointers == NULL or sizes == NULL:
                raise MemoryError
            for i in range(n):
                at = constants[i].ctypes.data
                pointers[i] = <const void *>at
                sizes[i] = constants[i].nbytes
            d.constants, d.constant_bytes = pointers, sizes
            check(rnne_program_create(&d, find(isa), &self.ptr), -1, self.opcodes)
        finally:
            free(pointers)
            free(sizes)

    def __dealloc__(self):
        rnne_program_free(self.ptr)


cdef const int64_t *rows(dict tables, str name) except? NULL:
    table = tables[name]
    if table.dtype != np.int64 or not table.flags.c_contiguous:
        raise TypeError(f"program table {name} must be contiguous int64")
    cdef uintptr_t at = table.ctypes.data
    return <const int64_t *>at


cdef int check(rnne_status status, int64_t fault, tuple opcodes) except -1:
    if status == RNNE_OK:
        return 0
    text = rnne_status_text(status).decode()
    if 0 <= fault < len(opcodes):
        text = f"{text} (instruction {fault}, {rnne_opcode_name(opcodes[fault]).decode()})"
    if status == RNNE_E_MEMORY:
        raise MemoryError(text)
    if status == RNNE_E_SIZE:
        raise OverflowError(text)
    if status == RNNE_E_BOUNDS or status == RNNE_E_SHAPE:
        raise Misfit(text)
    if status == RNNE_E_RANGE:
        raise ValueError(text)
    if status == RNNE_E_LONG:
        raise Lengthy(text)
    raise RuntimeError(text)


cdef class Context:
    """Working memory and resolved sizes of one execution at a time."""

    def __cinit__(self, Program program):
        self.program = program
        check(rnne_context_create(program.ptr, &self.ptr), -1, program.opcodes)

    def __dealloc__(self):
        rnne_context_free(self.ptr)

    cdef int chunk(self, const rnne_chunks *chunks) except -1:
        """Let it run in chunks from now on; they are borrowed for its life."""
        self.chunked = True
        return check(rnne_context_chunks(self.ptr, chunks), -1, self.program.opcodes)

    cdef void limit(self, int64_t bytes) noexcept:
        """Refuse sizes with more bytes than that between the layers, as Lengthy; 0 for none."""
        rnne_context_limit(self.ptr, bytes)

    cdef int bind(self, const int64_t *symbols, int threads=1) except -1:
        cdef int64_t fault = -1
        cdef rnne_status status
        if self.chunked:
            status = rnne_chunks_bind(self.ptr, symbols, threads, &fault)
        else:
            status = rnne_context_bind(self.ptr, symbols, threads, &fault)
        if status != RNNE_OK:
            check(status, fault, self.program.opcodes)
        return 0

    cdef int run(self, const void *const *inputs, void *const *outputs, bint release) except -1:
        cdef int64_t fault = -1
        cdef rnne_status status
        if release:
            with nogil:
                status = rnne_context_run(self.ptr, inputs, outputs, &fault)
        else:
            status = rnne_context_run(self.ptr, inputs, outputs, &fault)
        if status != RNNE_OK:
            self.ended(status, fault)
        return 0

    cdef int run_chunks(self, const void *const *inputs, void *const *outputs,
                        float *const *sides) except -1:
        cdef int64_t fault = -1
        cdef rnne_status status
        with nogil:
            status = rnne_chunks_run(self.ptr, inputs, outputs, sides, &fault)
        return self.ended(status, fault)

    cdef int ended(self, rnne_status status, int64_t fault) except -1:
        """Raise what a run ended with."""
        if status == RNNE_E_INDEX or status == RNNE_E_LENGTHS:
            what = "index" if status == RNNE_E_INDEX else "lengths"
            found = rnne_context_detail(self.ptr)
            raise ValueError(f"{what}: {rnne_status_text(status).decode()}: {found}")
        if status != RNNE_OK:
            check(status, fault, self.program.opcodes)
        return 0

    cdef inline int64_t value(self, int64_t expr) noexcept:
        return rnne_context_value(self.ptr, expr)

    cdef inline int64_t cost(self) noexcept:
        return rnne_context_cost(self.ptr)

    def execute(self, symbols, list inputs, list outputs, int threads=1):
        """Bind to sizes and run once over raw arrays, in program order (for tests).

        Arrays must be contiguous and of the sizes the program asks for at these symbols. With
        ``threads`` = -n, n threads share the work whether that is worth it or not.
        """
        cdef const void **sources = <const void **>malloc((len(inputs) + 1) * sizeof(void *))
        cdef void **targets = <void **>malloc((len(outputs) + 1) * sizeof(void *))
        cdef int64_t values[8]
        cdef uintptr_t at
        cdef Py_ssize_t i
        try:
            if sources == NULL or targets == NULL:
                raise MemoryError
            for i in range(8):
                values[i] = symbols[i] if i < len(symbols) else 0
            for i in range(len(inputs)):
                at = inputs[i].ctypes.data
                sources[i] = <const void *>at
            for i in range(len(outputs)):
                at = outputs[i].ctypes.data
                targets[i] = <void *>at
            self.bind(values, threads)
            self.run(sources, targets, True)
        finally:
            free(sources)
            free(targets)

    def size(self, Py_ssize_t expr):
        """Value of an expression at the bound sizes."""
        return rnne_context_value(self.ptr, expr)

    def together(self, Py_ssize_t instr):
        """How many instructions from that one on run together, at the bound sizes and threads."""
        return rnne_context_together(self.ptr, instr)

    @property
    def arena_bytes(self):
        """Bytes of arena held."""
        return rnne_context_bytes(self.ptr)
