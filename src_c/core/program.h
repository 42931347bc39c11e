/** A program in memory, the context of one execution, and the table of operations.
 *
 * Sizes are polynomials in the program's symbols (run-time integers such as batch and time); they
 * are evaluated once per new set of sizes. A buffer is memory: a constant, an input, an output, a
 * slot of the arena. An operand is a strided view of a buffer. An instruction is an opcode with
 * operands, integers and floats, whose meaning the operation's own file states.
 */
#ifndef RNNE_PROGRAM_H
#define RNNE_PROGRAM_H

#include "core/activation.h"
#include "core/int8.h"
#include "core/kernels.h"
#include "rnnengine.h"

typedef enum rnne_buffer_kind {
    RNNE_CONSTANT = 0, /* index: constant number */
    RNNE_INPUT = 1,    /* index: input number */
    RNNE_OUTPUT = 2,   /* index: output number */
    RNNE_ARENA = 3,    /* index: slot; buffers whose lives do not overlap share a slot */
} rnne_buffer_kind;

/** Element types. Those after RNNE_I32 are of weights: only constants have them, and only the operands
 * that an operation names in its `weights`. */
typedef enum rnne_dtype {
    RNNE_F32 = 0,
    RNNE_I32 = 1,
    RNNE_BF16 = 2,
    RNNE_F16 = 3,
    RNNE_I8 = 4,
    RNNE_DTYPE_COUNT = 5,
} rnne_dtype;

static inline int64_t rnne_dtype_bytes(int64_t dtype)
{
    return dtype == RNNE_I8 ? 1 : dtype == RNNE_BF16 || dtype == RNNE_F16 ? 2 : 4;
}

typedef struct rnne_term {
    int64_t factor;
    int64_t power[RNNE_MAX_SYMBOLS];
} rnne_term;

typedef struct rnne_span {
    int64_t first, count;
} rnne_span;

typedef struct rnne_buffer {
    int64_t kind, index, dtype, size; /* size: expression, in elements */
} rnne_buffer;

typedef struct rnne_operand {
    int64_t buffer, offset, rank; /* offset: expression, in elements */
    int64_t dim[RNNE_MAX_RANK], stride[RNNE_MAX_RANK]; /* expressions */
} rnne_operand;

typedef struct rnne_instr {
    int64_t opcode;
    rnne_span operands, ints, floats;
} rnne_instr;

struct rnne_program {
    const rnne_kernels *kernels;
    const rnne_int8 *int8;
    int64_t n_symbols, n_terms, n_exprs, n_buffers, n_operands, n_instrs, n_refs, n_ints, n_floats;
    int64_t n_constants, n_inputs, n_outputs, n_slots;
    rnne_term *terms;
    rnne_span *exprs;
    rnne_buffer *buffers;
    rnne_operand *operands;
    rnne_instr *instrs;
    int64_t *refs, *ints;
    float *floats;
    const void **constants;
    int64_t *constant_bytes;
    int64_t *input_buffer; /* buffer of input i, or -1 where nothing reads it */
    int64_t *prepared_at;  /* byte offset of each instruction's prepared data */
    int64_t prepared_bytes;
};

/** A resolved operand: where it lies and how it is laid out, in elements. */
typedef struct rnne_view {
    int64_t buffer, offset, rank;
    int64_t dim[RNNE_MAX_RANK], stride[RNNE_MAX_RANK];
} rnne_view;

struct rnne_context {
    const rnne_program *program;
    int64_t symbols[RNNE_MAX_SYMBOLS];
    int threads; /* that an instruction may use; below 0: uses, whether worth it or not */
    int bound;
    int64_t *values;   /* of expressions */
    rnne_view *views;  /* of operands */
    int64_t *together; /* how many instructions from each one on run as a chain */
    char *prepared;    /* what instructions worked out at bind time */
    void **base;       /* of buffers */
    int64_t *slot_at;  /* byte offset of arena slots */
    int64_t *flush_at; /* byte offset of the cleaned copy of input i */
    char *arena, *arena_raw;
    int64_t arena_bytes, arena_capacity, scratch_at, cost;
    int64_t found[1]; /* the number that a failed run tripped over */
    int64_t *detail;  /* found, writable for the operations */
    int crew[1];      /* threads of the run under way; 0 until one is asked for */
    int *workers;     /* crew, writable for the operations */
    int64_t runs;     /* begun so far, modulo 2 */
    int64_t limit;    /* of the arena, as rnne_context_limit says */
    const rnne_chunks *chunks; /* how to run in chunks, or NULL */
    int64_t whole[RNNE_MAX_SYMBOLS], chunk_steps; /* the sequence that chunks are of; their steps */
};

/** One operation. All functions see operands through rnne_view_of; absent operands are NULL. */
typedef struct rnne_op {
    const char *name;
    int64_t operands, ints, floats; /* exact counts */
    uint32_t writes;                /* bit i: operand i is written */
    /** Check sizes at bind time; fill the scratch bytes and the cost in nanoseconds. */
    rnne_status (*bind)(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                        int64_t *cost);
    rnne_status (*run)(const rnne_context *ctx, const rnne_instr *in, void *scratch);
    /** Bytes an instruction keeps from bind to run, and what fills them once all buffers but the
     * inputs and outputs have their address; 0 and NULL where nothing is kept. */
    size_t prepared;
    void (*prepare)(const rnne_context *ctx, const rnne_instr *in, void *prepared);
    uint32_t weights; /* bit i: operand i may have an element type of weights */
} rnne_op;

/** NULL for an unknown opcode. */
const rnne_op *rnne_op_find(int64_t opcode);

extern const rnne_op rnne_op_recurrent, rnne_op_linear, rnne_op_pack, rnne_op_unary, rnne_op_binary,
    rnne_op_copy, rnne_op_softmax, rnne_op_gather, rnne_op_mask, rnne_op_convert,
    rnne_op_compare, rnne_op_select, rnne_op_reduce, rnne_op_arg, rnne_op_cumsum, rnne_op_normalize,
    rnne_op_matmul, rnne_op_gather_elements, rnne_op_scatter_elements, rnne_op_flat_index,
    rnne_op_scatter_rows, rnne_op_conv, rnne_op_pool;

/** Elements of the room for a copy of an input: a cleaned one, or what stands for it in a chunk. */
int64_t rnne_context_spare(const rnne_context *ctx, int64_t input);
/** Where input number `input`, whose memory is `buffer`, is read: `data` itself, or a copy of it in
 * which subnormals are 0. */
const void *rnne_context_clean(rnne_context *ctx, int64_t input, int64_t buffer, const void *data);
/** Run all instructions; every buffer has its address. */
rnne_status rnne_context_execute(rnne_context *ctx, int64_t *fault);

/** Threads worth using for an instruction of so many nanoseconds that falls into `most` parts. */
int64_t rnne_context_worth(const rnne_context *ctx, double nanoseconds, int64_t most);
/** Threads that this run may use, up to `wanted`; the first to ask for more than one takes the pool. */
int rnne_context_crew(const rnne_context *ctx, int64_t wanted);

/** View number i of an instruction, NULL when absent. */
static inline const rnne_view *rnne_view_of(const rnne_context *ctx, const rnne_instr *in, int i)
{
    int64_t ref = ctx->program->refs[in->operands.first + i];
    return ref < 0 ? NULL : &ctx->views[ref];
}

/** Prepared data of an instruction. */
static inline void *rnne_prepared(const rnne_context *ctx, const rnne_instr *in)
{
    return ctx->prepared + ctx->program->prepared_at[in - ctx->program->instrs];
}

static inline float *rnne_f32(const rnne_context *ctx, const rnne_view *view)
{
    return view ? (float *)ctx->base[view->buffer] + view->offset : NULL;
}

static inline int64_t rnne_int(const rnne_context *ctx, const rnne_instr *in, int i)
{
    return ctx->program->ints[in->ints.first + i];
}

static inline float rnne_float(const rnne_context *ctx, const rnne_instr *in, int i)
{
    return ctx->program->floats[in->floats.first + i];
}

static inline rnne_dtype rnne_dtype_of(const rnne_context *ctx, const rnne_view *view)
{
    return (rnne_dtype)ctx->program->buffers[view->buffer].dtype;
}

/** 1 when the view has the given rank and type, and unit stride along its last axis. */
int rnne_view_is(const rnne_context *ctx, const rnne_view *view, int64_t rank, rnne_dtype dtype);
/** 1 for the number of an activation that exists. */
static inline int rnne_act_known(int64_t id)
{
    return id >= 0 && id < RNNE_ACT_COUNT;
}

/** Number of elements of a view. */
int64_t rnne_view_count(const rnne_view *view);

#endif
