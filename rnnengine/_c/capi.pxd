# cython: language_level=3
"""The C interface, line by line as in src_c/include/rnnengine.h."""
from libc.stdint cimport int32_t, int64_t, uint32_t


cdef extern from "rnnengine.h" nogil:
    ctypedef enum rnne_status:
        RNNE_OK
        RNNE_E_MEMORY
        RNNE_E_PROGRAM
        RNNE_E_BOUNDS
        RNNE_E_SHAPE
        RNNE_E_LENGTHS
        RNNE_E_CPU
        RNNE_E_SIZE
        RNNE_E_INDEX
        RNNE_E_RANGE
        RNNE_E_LONG

    int RNNE_MAX_RANK
    int RNNE_MAX_SYMBOLS

    ctypedef struct rnne_tables:
        pass
    ctypedef struct rnne_program:
        pass
    ctypedef struct rnne_context:
        pass

    const char *rnne_status_text(rnne_status status) noexcept
    uint32_t rnne_cpu_features() noexcept
    const char *rnne_cpu_feature_name(int i) noexcept
    int rnne_kernels_count() noexcept
    const char *rnne_kernels_name(int i) noexcept
    int rnne_kernels_usable(int i) noexcept
    const rnne_tables *rnne_kernels_find(const char *name) noexcept

    size_t rnne_packed_size(size_t gates, size_t units, size_t k) noexcept
    void rnne_pack(float *dst, const float *src, size_t gates, size_t units, size_t k,
                   Py_ssize_t stride_g, Py_ssize_t stride_u, Py_ssize_t stride_k) noexcept

    ctypedef struct rnne_program_desc:
        int64_t n_symbols
        const int64_t *terms
        int64_t n_terms
        const int64_t *exprs
        int64_t n_exprs
        const int64_t *buffers
        int64_t n_buffers
        const int64_t *operands
        int64_t n_operands
        const int64_t *instrs
        int64_t n_instrs
        const int64_t *refs
        int64_t n_refs
        const int64_t *ints
        int64_t n_ints
        const float *floats
        int64_t n_floats
        const void *const *constants
        const int64_t *constant_bytes
        int64_t n_constants
        int64_t n_inputs
        int64_t n_outputs
        int64_t n_slots

    rnne_status rnne_program_create(const rnne_program_desc *desc, const rnne_tables *kernels,
                                    rnne_program **out) noexcept
    void rnne_program_free(rnne_program *program) noexcept
    const char *rnne_opcode_name(int64_t opcode) noexcept
    rnne_status rnne_context_create(const rnne_program *program, rnne_context **out) noexcept
    void rnne_context_free(rnne_context *context) noexcept
    rnne_status rnne_context_bind(rnne_context *context, const int64_t *symbols,
                                  int threads, int64_t *fault) noexcept
    void rnne_context_limit(rnne_context *context, int64_t bytes) noexcept
    int64_t rnne_context_value(const rnne_context *context, int64_t expr) noexcept
    int64_t rnne_context_cost(const rnne_context *context) noexcept
    int64_t rnne_context_together(const rnne_context *context, int64_t instr) noexcept
    int64_t rnne_context_detail(const rnne_context *context) noexcept
    int64_t rnne_context_bytes(const rnne_context *context) noexcept
    rnne_status rnne_context_run(rnne_context *context, const void *const *inputs,
                                 void *const *outputs, int64_t *fault) noexcept

    ctypedef struct rnne_chunks:
        int64_t steps
        int64_t in_steps
        int64_t out_steps
        int64_t lengths
        int64_t most
        const int64_t *inputs
        const int64_t *outputs

    rnne_status rnne_context_chunks(rnne_context *context, const rnne_chunks *chunks) noexcept
    rnne_status rnne_chunks_bind(rnne_context *context, const int64_t *symbols, int threads,
                                 int64_t *fault) noexcept
    rnne_status rnne_chunks_run(rnne_context *context, const void *const *inputs,
                                void *const *outputs, float *const *sides,
                                int64_t *fault) noexcept
    float rnne_read_floats(const rnne_tables *kernels, const float *data, size_t n,
                           size_t repeat) noexcept
    size_t rnne_fma_chain(const rnne_tables *kernels, size_t repeat, float *sink) noexcept
    int rnne_meet(int threads, size_t rounds) noexcept
    void rnne_unary(const rnne_tables *kernels, int32_t id, float alpha, float beta, float gamma,
                    const float *x, float *y, size_t n) noexcept
