/* Programs: copying the flat description and proving that every reference in it is in range. */
#include "core/program.h"

#include <stdlib.h>
#include <string.h>

#include "core/checked.h"

static const rnne_op *const ops[] = {
    &rnne_op_recurrent, &rnne_op_linear, &rnne_op_pack, &rnne_op_unary,
    &rnne_op_binary,    &rnne_op_copy,   &rnne_op_softmax, &rnne_op_gather,
    &rnne_op_mask,      &rnne_op_convert, &rnne_op_compare, &rnne_op_select,
    &rnne_op_reduce,    &rnne_op_arg,    &rnne_op_cumsum,  &rnne_op_normalize,
    &rnne_op_matmul,    &rnne_op_gather_elements, &rnne_op_scatter_elements,
    &rnne_op_flat_index, &rnne_op_scatter_rows, &rnne_op_conv,
    &rnne_op_pool,
};

const rnne_op *rnne_op_find(int64_t opcode)
{
    return opcode >= 0 && opcode < (int64_t)(sizeof ops / sizeof ops[0]) ? ops[opcode] : NULL;
}

const char *rnne_opcode_name(int64_t opcode)
{
    const rnne_op *op = rnne_op_find(opcode);
    return op ? op->name : "unknown";
}

const char *rnne_status_text(rnne_status status)
{
    switch (status) {
    case RNNE_OK: return "ok";
    case RNNE_E_MEMORY: return "out of memory";
    case RNNE_E_PROGRAM: return "malformed program";
    case RNNE_E_BOUNDS: return "an operand leaves its buffer at these sizes";
    case RNNE_E_SHAPE: return "operands disagree at these sizes";
    case RNNE_E_LENGTHS: return "a sequence length is negative or larger than the number of steps";
    case RNNE_E_CPU: return "no such kernel table on this CPU";
    case RNNE_E_SIZE: return "a size is too large";
    case RNNE_E_INDEX: return "an index lies outside the table it selects from";
    case RNNE_E_RANGE: return "an integer computed at run time is undefined or needs more than 32 bits";
    case RNNE_E_LONG: return "the values between the layers need more memory than the limit";
    }
    return "unknown status";
}

/* Copy `count` items of `size` bytes; an empty table is a valid pointer to nothing. */
static int copy_table(void *target, const void *from, int64_t count, size_t size)
{
    void **to = target;
    if (count < 0 || (count > 0 && !from)) {
        return 0;
    }
    *to = calloc((size_t)count + 1, size);
    if (!*to) {
        return 0;
    }
    if (count > 0) {
        memcpy(*to, from, (size_t)count * size);
    }
    return 1;
}

static int in_range(int64_t i, int64_t n)
{
    return i >= 0 && i < n;
}

static int span_ok(rnne_span span, int64_t n)
{
    return span.first >= 0 && span.count >= 0 && span.first <= n && span.count <= n - span.first;
}

static int exprs_ok(const rnne_program *p)
{
    for (int64_t i = 0; i < p->n_terms; i++) {
        for (int s = 0; s < RNNE_MAX_SYMBOLS; s++) {
            int64_t power = p->terms[i].power[s];
            if (power < 0 || power > 8 || (power > 0 && s >= p->n_symbols)) {
                return 0;
            }
        }
    }
    for (int64_t i = 0; i < p->n_exprs; i++) {
        if (!span_ok(p->exprs[i], p->n_terms)) {
            return 0;
        }
    }
    return 1;
}

static int buffers_ok(rnne_program *p)
{
    const int64_t limit[] = {p->n_constants, p->n_inputs, p->n_outputs, p->n_slots};
    for (int64_t i = 0; i < p->n_inputs; i++) {
        p->input_buffer[i] = -1;
    }
    for (int64_t i = 0; i < p->n_buffers; i++) {
        const rnne_buffer *b = &p->buffers[i];
        if (!in_range(b->kind, 4) || !in_range(b->index, limit[b->kind]) ||
            !in_range(b->dtype, RNNE_DTYPE_COUNT) || !in_range(b->size, p->n_exprs)) {
            return 0;
        }
        if (b->dtype > RNNE_I32 && b->kind != RNNE_CONSTANT) {
            return 0;
        }
        if (b->kind == RNNE_INPUT) {
            if (p->input_buffer[b->index] >= 0) {
                return 0;
            }
            p->input_buffer[b->index] = i;
        }
    }
    return 1;
}

static int operands_ok(const rnne_program *p)
{
    for (int64_t i = 0; i < p->n_operands; i++) {
        const rnne_operand *o = &p->operands[i];
        if (!in_range(o->buffer, p->n_buffers) || !in_range(o->offset, p->n_exprs) ||
            !in_range(o->rank, RNNE_MAX_RANK + 1)) {
            return 0;
        }
        for (int64_t axis = 0; axis < o->rank; axis++) {
            if (!in_range(o->dim[axis], p->n_exprs) || !in_range(o->stride[axis], p->n_exprs)) {
                return 0;
            }
        }
    }
    return 1;
}

/* Only outputs and the arena are written, and types of weights stand only where weights do. */
static int buffers_fit(const rnne_program *p, const rnne_instr *in, const rnne_op *op)
{
    for (int64_t i = 0; i < in->operands.count; i++) {
        const int64_t ref = p->refs[in->operands.first + i];
        if (ref < 0) {
            continue;
        }
        const rnne_buffer *b = &p->buffers[p->operands[ref].buffer];
        const int written = (op->writes >> i) & 1, weights = (op->weights >> i) & 1;
        if ((written && b->kind != RNNE_OUTPUT && b->kind != RNNE_ARENA) ||
            (b->dtype > RNNE_I32 && !weights)) {
            return 0;
        }
    }
    return 1;
}

/* Also gives each instruction its place in the contexts' prepared data. */
static int instrs_ok(rnne_program *p)
{
    for (int64_t i = 0; i < p->n_refs; i++) {
        if (p->refs[i] != -1 && !in_range(p->refs[i], p->n_operands)) {
            return 0;
        }
    }
    for (int64_t i = 0; i < p->n_instrs; i++) {
        const rnne_instr *in = &p->instrs[i];
        const rnne_op *op = rnne_op_find(in->opcode);
        if (!op || !span_ok(in->operands, p->n_refs) || !span_ok(in->ints, p->n_ints) ||
            !span_ok(in->floats, p->n_floats)) {
            return 0;
        }
        if (in->operands.count != op->operands || in->ints.count != op->ints ||
            in->floats.count != op->floats || !buffers_fit(p, in, op)) {
            return 0;
        }
        p->prepared_at[i] = p->prepared_bytes;
        p->prepared_bytes += rnne_align((int64_t)op->prepared);
    }
    return 1;
}

static int copy_tables(rnne_program *p, const rnne_program_desc *d)
{
    return copy_table(&p->terms, d->terms, d->n_terms, sizeof(rnne_term)) &&
           copy_table(&p->exprs, d->exprs, d->n_exprs, sizeof(rnne_span)) &&
           copy_table(&p->buffers, d->buffers, d->n_buffers, sizeof(rnne_buffer)) &&
           copy_table(&p->operands, d->operands, d->n_operands, sizeof(rnne_operand)) &&
           copy_table(&p->instrs, d->instrs, d->n_instrs, sizeof(rnne_instr)) &&
           copy_table(&p->refs, d->refs, d->n_refs, sizeof(int64_t)) &&
           copy_table(&p->ints, d->ints, d->n_ints, sizeof(int64_t)) &&
           copy_table(&p->floats, d->floats, d->n_floats, sizeof(float)) &&
           copy_table(&p->constants, d->constants, d->n_constants, sizeof(void *)) &&
           copy_table(&p->constant_bytes, d->constant_bytes, d->n_constants, sizeof(int64_t));
}

rnne_status rnne_program_create(const rnne_program_desc *d, const rnne_tables *kernels,
                                rnne_program **out)
{
    *out = NULL;
    if (!in_range(d->n_symbols, RNNE_MAX_SYMBOLS + 1) || d->n_inputs < 0 || d->n_outputs < 0 ||
        d->n_slots < 0 || d->n_inputs > 4096 || d->n_outputs > 4096 || d->n_slots > (1 << 24)) {
        return RNNE_E_PROGRAM;
    }
    rnne_program *p = calloc(1, sizeof *p);
    if (!p) {
        return RNNE_E_MEMORY;
    }
    *p = (rnne_program){
        .kernels = kernels->kernels, .int8 = kernels->int8, .n_symbols = d->n_symbols, .n_terms = d->n_terms,
        .n_exprs = d->n_exprs, .n_buffers = d->n_buffers, .n_operands = d->n_operands,
        .n_instrs = d->n_instrs, .n_refs = d->n_refs, .n_ints = d->n_ints, .n_floats = d->n_floats,
        .n_constants = d->n_constants, .n_inputs = d->n_inputs, .n_outputs = d->n_outputs,
        .n_slots = d->n_slots};
    p->input_buffer = calloc((size_t)d->n_inputs + 1, sizeof(int64_t));
    p->prepared_at = d->n_instrs < 0 ? NULL : calloc((size_t)d->n_instrs + 1, sizeof(int64_t));
    if (!p->input_buffer || !p->prepared_at || !copy_tables(p, d)) {
        rnne_program_free(p);
        return RNNE_E_MEMORY;
    }
    if (!exprs_ok(p) || !buffers_ok(p) || !operands_ok(p) || !instrs_ok(p)) {
        rnne_program_free(p);
        return RNNE_E_PROGRAM;
    }
    *out = p;
    return RNNE_OK;
}

void rnne_program_free(rnne_program *p)
{
    if (!p) {
        return;
    }
    free(p->terms);
    free(p->exprs);
    free(p->buffers);
    free(p->operands);
    free(p->instrs);
    free(p->refs);
    free(p->ints);
    free(p->floats);
    free(p->constants);
    free(p->constant_bytes);
    free(p->input_buffer);
    free(p->prepared_at);
    free(p);
}
