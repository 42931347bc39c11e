/** rnnengine: the C interface that the Python bindings see.
 *
 * A program is an immutable, verified list of instructions; a context holds what one execution
 * needs (resolved sizes, arena, recurrent state). Programs may be shared by any number of threads;
 * a context belongs to one call at a time. Functions that can fail return rnne_status and write
 * their results through pointers; nothing here prints, aborts or keeps global error state.
 */
#ifndef RNNENGINE_H
#define RNNENGINE_H

#include <stddef.h>
#include <stdint.h>

#define RNNE_MAX_RANK 8
#define RNNE_MAX_SYMBOLS 8

typedef enum rnne_status {
    RNNE_OK = 0,
    RNNE_E_MEMORY = 1,  /* an allocation failed */
    RNNE_E_PROGRAM = 2, /* the program is malformed (a defect of the compiler, not of the caller) */
    RNNE_E_BOUNDS = 3,  /* at these sizes an operand would leave its buffer */
    RNNE_E_SHAPE = 4,   /* at these sizes two operands of an instruction disagree */
    RNNE_E_LENGTHS = 5, /* a sequence length is negative or larger than the number of steps */
    RNNE_E_CPU = 6,     /* the named kernel table does not exist or this CPU cannot run it */
    RNNE_E_SIZE = 7,    /* a size overflows 64 bits or does not fit memory */
    RNNE_E_INDEX = 8,   /* an index computed or given at run time is outside its table */
    RNNE_E_RANGE = 9,   /* an integer computed at run time is undefined or needs more than 32 bits */
    RNNE_E_LONG = 10,   /* at these sizes the values between the layers need more than the limit */
} rnne_status;

const char *rnne_status_text(rnne_status status);

/* ---- CPU and kernel tables ------------------------------------------------------------------ */

/** The kernels of an instruction set. */
typedef struct rnne_tables rnne_tables;

/** Feature bits of this CPU as detected (instruction present and its registers enabled by the OS). */
uint32_t rnne_cpu_features(void);
/** Name of feature bit i, or NULL when there is no such bit. */
const char *rnne_cpu_feature_name(int i);
/** Number of kernel tables this build carries, best first. */
int rnne_kernels_count(void);
const char *rnne_kernels_name(int i);
/** 1 when this CPU can run table i. */
int rnne_kernels_usable(int i);
/** Table by name, NULL for the best one; NULL when unknown or unusable. */
const rnne_tables *rnne_kernels_find(const char *name);

/* ---- packing -------------------------------------------------------------------------------- */

/** Floats in the packed form of a [gates, units, k] matrix: [ceil(units/16)][k][gates][16]. */
size_t rnne_packed_size(size_t gates, size_t units, size_t k);
/** Pack src (element [g][u][k] at g*stride_g + u*stride_u + k*stride_k) into dst; absent units and
 * subnormal weights become 0. dst and src do not overlap. */
void rnne_pack(float *dst, const float *src, size_t gates, size_t units, size_t k,
               ptrdiff_t stride_g, ptrdiff_t stride_u, ptrdiff_t stride_k);

/* ---- programs ------------------------------------------------------------------------------- */

/** A program as flat tables of int64 rows; see program.h for the meaning of the columns. Everything
 * but the constants' data is copied; constants are borrowed and must outlive the program. */
typedef struct rnne_program_desc {
    int64_t n_symbols;
    const int64_t *terms;
    int64_t n_terms; /* rows of 1 + RNNE_MAX_SYMBOLS: coefficient, powers */
    const int64_t *exprs;
    int64_t n_exprs; /* rows of 2: first term, number of terms */
    const int64_t *buffers;
    int64_t n_buffers; /* rows of 4: kind, index, element type, size expression */
    const int64_t *operands;
    int64_t n_operands; /* rows of 3 + 2*RNNE_MAX_RANK: buffer, offset, rank, sizes, strides */
    const int64_t *instrs;
    int64_t n_instrs; /* rows of 7: opcode, then (first, count) of operands, ints, floats */
    const int64_t *refs;
    int64_t n_refs; /* operand number or -1 */
    const int64_t *ints;
    int64_t n_ints;
    const float *floats;
    int64_t n_floats;
    const void *const *constants;
    const int64_t *constant_bytes;
    int64_t n_constants;
    int64_t n_inputs, n_outputs, n_slots;
} rnne_program_desc;

typedef struct rnne_program rnne_program;
typedef struct rnne_context rnne_context;

rnne_status rnne_program_create(const rnne_program_desc *desc, const rnne_tables *kernels,
                                rnne_program **out);
void rnne_program_free(rnne_program *program);
/** Name of an operation, for messages; "unknown" for a number that is none. */
const char *rnne_opcode_name(int64_t opcode);

rnne_status rnne_context_create(const rnne_program *program, rnne_context **out);
void rnne_context_free(rnne_context *context);

/** Resolve all sizes for the given symbol values, verify every operand against its buffer, and
 * make the arena large enough, for runs of up to `threads` threads (how many are worth using is
 * decided here; -n uses n wherever they can share the work, for tests). Does nothing when all is as in the last call. On failure
 * *fault is the number of the offending instruction (or -1) and the context is unbound. */
rnne_status rnne_context_bind(rnne_context *context, const int64_t *symbols, int threads,
                              int64_t *fault);

/** Bytes of values between the layers above which binding is refused with RNNE_E_LONG, so that the
 * caller can run in chunks instead; 0 for no limit. */
void rnne_context_limit(rnne_context *context, int64_t bytes);

/** Value of an expression at the bound sizes. */
int64_t rnne_context_value(const rnne_context *context, int64_t expr);
/** Estimated work of one run in nanoseconds at the bound sizes. */
int64_t rnne_context_cost(const rnne_context *context);
/** How many instructions from number `instr` on run together, pipelined over time, at the bound sizes
 * and threads; 1 for one that runs alone. */
int64_t rnne_context_together(const rnne_context *context, int64_t instr);
/** The index or length that the last failed run refused. */
int64_t rnne_context_detail(const rnne_context *context);
/** Bytes of arena the context holds. */
int64_t rnne_context_bytes(const rnne_context *context);

/** Run all instructions on the bound context. inputs and outputs are in program order and hold as
 * many elements as bound; outputs overlap neither inputs nor each other. Allocates nothing; with one
 * thread, takes no lock and calls no system function. With several it uses the process's pool of
 * workers, or runs alone where another call has it: the bits are the same. Leaves the floating-point
 * environment as it was. */
rnne_status rnne_context_run(rnne_context *context, const void *const *inputs, void *const *outputs,
                             int64_t *fault);

/* ---- long sequences, in chunks of steps ------------------------------------------------------- */

/** How a program is run over a sequence chunk by chunk. Inputs and outputs along time are whole
 * arrays: a chunk is seen through a buffer that starts at its first step and ends with its last,
 * whose strides are those of the whole array. State goes from chunk to chunk as in a stream.
 * Numbers are symbols, expressions, inputs and outputs of the program; -1 where there is none. */
typedef struct rnne_chunks {
    int64_t steps;              /* symbol: steps of a chunk */
    int64_t in_steps, out_steps; /* symbols: steps of the arrays of the inputs, of the outputs */
    int64_t lengths;            /* input of sequence lengths, or -1 */
    int64_t most;               /* steps of a chunk at most; 0: as many as the cache wants */
    const int64_t *inputs; /* rows of 4: expressions: elements from a step to the next, elements of a
                              chunk (-1 where an input is not along time); the output that carries
                              this state on, expression: where in it */
    const int64_t *outputs; /* rows of 2: the first two of these */
} rnne_chunks;

/** Let a context run in chunks from now on, by the two functions below alone. `chunks` and its
 * tables are borrowed and must outlive the context. */
rnne_status rnne_context_chunks(rnne_context *context, const rnne_chunks *chunks);

/** As rnne_context_bind, with the steps of the whole sequence as the value of `in_steps`; chooses the
 * chunks so that what lies between the layers stays in the private cache. Values of expressions are
 * those of a chunk afterwards. */
rnne_status rnne_chunks_bind(rnne_context *context, const int64_t *symbols, int threads,
                             int64_t *fault);

/** Run over the whole sequence. As rnne_context_run; `sides` has two arrays for each output that
 * carries a state, which may lie in any of both at the end, and NULL elsewhere. Such an output gets
 * its last value if its array is not NULL. Steps of different chunks never lie in the same array,
 * unless it is along time. Allocates nothing but after a bind to larger sizes. */
rnne_status rnne_chunks_run(rnne_context *context, const void *const *inputs, void *const *outputs,
                            float *const *sides, int64_t *fault);

/* ---- measuring the machine -------------------------------------------------------------------- */

/** Read n floats `repeat` times with the widest loads of the table; the result keeps the reads. */
float rnne_read_floats(const rnne_tables *kernels, const float *data, size_t n, size_t repeat);
/** Run `repeat` rounds of independent fused multiply-adds; returns the floating-point operations of
 * one round. *sink keeps the results alive. */
size_t rnne_fma_chain(const rnne_tables *kernels, size_t repeat, float *sink);

/** Wake up to `threads` - 1 workers, let all meet at a barrier `rounds` times, and return when all are
 * done: how many threads took part, which is 1 (and nobody met) while another call has the workers. */
int rnne_meet(int threads, size_t rounds);

/** Apply one elementwise function of the table; for tests of the vector mathematics. */
void rnne_unary(const rnne_tables *kernels, int32_t id, float alpha, float beta, float gamma,
                const float *x, float *y, size_t n);

#endif
