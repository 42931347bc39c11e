/* Contexts: sizes resolved, operands verified against their buffers, the arena, and the run loop. */
#include <stdlib.h>
#include <string.h>

#include "core/checked.h"
#include "core/fpenv.h"
#include "core/program.h"
#include "core/recurrent_crew.h"
#include "core/threads.h"

int64_t rnne_view_count(const rnne_view *view)
{
    int64_t n = 1;
    for (int64_t axis = 0; axis < view->rank; axis++) {
        n *= view->dim[axis];
    }
    return n;
}

int rnne_view_is(const rnne_context *ctx, const rnne_view *view, int64_t rank, rnne_dtype dtype)
{
    return view && view->rank == rank && rnne_dtype_of(ctx, view) == dtype &&
           (rank == 0 || view->stride[rank - 1] == 1 || view->dim[rank - 1] <= 1);
}

rnne_status rnne_context_create(const rnne_program *p, rnne_context **out)
{
    *out = NULL;
    rnne_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        return RNNE_E_MEMORY;
    }
    ctx->program = p;
    ctx->detail = ctx->found;
    ctx->workers = ctx->crew;
    ctx->values = calloc((size_t)p->n_exprs + 1, sizeof *ctx->values);
    ctx->views = calloc((size_t)p->n_operands + 1, sizeof *ctx->views);
    ctx->base = calloc((size_t)p->n_buffers + 1, sizeof *ctx->base);
    ctx->together = calloc((size_t)p->n_instrs + 1, sizeof *ctx->together);
    ctx->prepared = calloc((size_t)p->prepared_bytes + 1, 1);
    ctx->slot_at = calloc((size_t)p->n_slots + 1, sizeof *ctx->slot_at);
    ctx->flush_at = calloc((size_t)p->n_inputs + 1, sizeof *ctx->flush_at);
    if (!ctx->values || !ctx->views || !ctx->together || !ctx->prepared || !ctx->base || !ctx->slot_at || !ctx->flush_at) {
        rnne_context_free(ctx);
        return RNNE_E_MEMORY;
    }
    *out = ctx;
    return RNNE_OK;
}

void rnne_context_free(rnne_context *ctx)
{
    if (ctx) {
        free(ctx->values);
        free(ctx->views);
        free(ctx->together);
        free(ctx->prepared);
        free(ctx->base);
        free(ctx->slot_at);
        free(ctx->flush_at);
        free(ctx->arena_raw);
        free(ctx);
    }
}

void rnne_context_limit(rnne_context *ctx, int64_t bytes)
{
    ctx->limit = bytes;
}

int64_t rnne_context_value(const rnne_context *ctx, int64_t expr)
{
    return ctx->values[expr];
}

int64_t rnne_context_cost(const rnne_context *ctx)
{
    return ctx->cost;
}

int64_t rnne_context_together(const rnne_context *ctx, int64_t instr)
{
    return instr >= 0 && instr < ctx->program->n_instrs && ctx->together[instr] > 0
               ? ctx->together[instr]
               : 1;
}

int64_t rnne_context_detail(const rnne_context *ctx)
{
    return *ctx->detail;
}

int64_t rnne_context_bytes(const rnne_context *ctx)
{
    return ctx->arena_capacity;
}

static rnne_status evaluate(rnne_context *ctx)
{
    const rnne_program *p = ctx->program;
    for (int64_t i = 0; i < p->n_exprs; i++) {
        int64_t total = 0;
        for (int64_t t = 0; t < p->exprs[i].count; t++) {
            const rnne_term *term = &p->terms[p->exprs[i].first + t];
            int64_t value = term->factor;
            for (int64_t s = 0; s < p->n_symbols; s++) {
                for (int64_t k = 0; k < term->power[s]; k++) {
                    if (__builtin_mul_overflow(value, ctx->symbols[s], &value)) {
                        return RNNE_E_SIZE;
                    }
                }
            }
            if (__builtin_add_overflow(total, value, &total)) {
                return RNNE_E_SIZE;
            }
        }
        ctx->values[i] = total;
    }
    return RNNE_OK;
}

/* Resolve one operand and prove that all its elements lie inside its buffer. */
static rnne_status resolve(rnne_context *ctx, const rnne_operand *o, rnne_view *view)
{
    const int64_t *values = ctx->values;
    int64_t size = values[ctx->program->buffers[o->buffer].size];
    int64_t low = values[o->offset], high = low, count = 1;
    view->buffer = o->buffer;
    view->offset = low;
    view->rank = o->rank;
    for (int64_t axis = 0; axis < o->rank; axis++) {
        int64_t n = values[o->dim[axis]], step = values[o->stride[axis]];
        view->dim[axis] = n;
        view->stride[axis] = step;
        if (n < 0 || __builtin_mul_overflow(count, n, &count)) {
            return n < 0 ? RNNE_E_SHAPE : RNNE_E_SIZE;
        }
        if (n > 0 && rnne_add_product(step < 0 ? &low : &high, step, n - 1)) {
            return RNNE_E_SIZE;
        }
    }
    if (count == 0) {
        view->offset = 0; /* nothing is read, and wherever it would lie need not exist */
        return RNNE_OK;
    }
    return low < 0 || high >= size ? RNNE_E_BOUNDS : RNNE_OK;
}

int64_t rnne_context_spare(const rnne_context *ctx, int64_t input)
{
    const rnne_program *p = ctx->program;
    const rnne_chunks *c = ctx->chunks;
    const int64_t b = p->input_buffer[input];
    if (b < 0) {
        return 0;
    }
    if (c && c->inputs[4 * input] >= 0) {
        return ctx->values[c->inputs[4 * input + 1]];
    }
    const int needed = p->buffers[b].dtype == RNNE_F32 || (c && c->lengths == input);
    return needed ? ctx->values[p->buffers[b].size] : 0;
}

/* Sizes of buffers in bytes: none negative, constants large enough, slots hold their largest
 * tenant. */
static rnne_status lay_out(rnne_context *ctx)
{
    const rnne_program *p = ctx->program;
    int64_t at = 0;
    memset(ctx->slot_at, 0, (size_t)p->n_slots * sizeof *ctx->slot_at);
    for (int64_t i = 0; i < p->n_buffers; i++) {
        const rnne_buffer *b = &p->buffers[i];
        int64_t bytes;
        if (ctx->values[b->size] < 0) {
            return RNNE_E_SHAPE;
        }
        if (__builtin_mul_overflow(ctx->values[b->size], rnne_dtype_bytes(b->dtype), &bytes) || bytes > INT64_MAX / 4) {
            return RNNE_E_SIZE;
        }
        if (b->kind == RNNE_CONSTANT && p->constant_bytes[b->index] < bytes) {
            return RNNE_E_BOUNDS;
        }
        if (b->kind == RNNE_ARENA && ctx->slot_at[b->index] < bytes) {
            ctx->slot_at[b->index] = bytes;
        }
    }
    for (int64_t i = 0; i < p->n_slots; i++) {
        int64_t bytes = rnne_align(ctx->slot_at[i]);
        ctx->slot_at[i] = at;
        if (__builtin_add_overflow(at, bytes, &at)) {
            return RNNE_E_SIZE;
        }
    }
    const int64_t slots = at;
    for (int64_t i = 0; i < p->n_inputs; i++) {
        const int64_t spare = rnne_context_spare(ctx, i);
        ctx->flush_at[i] = at;
        if (spare < 0 || (spare > 0 && spare > ctx->values[p->buffers[p->input_buffer[i]].size])) {
            return RNNE_E_BOUNDS;
        }
        if (__builtin_add_overflow(at, rnne_align(spare * 4), &at)) {
            return RNNE_E_SIZE;
        }
    }
    ctx->scratch_at = at;
    /* Room for copies is touched only where there are subnormals. */
    return ctx->limit > 0 && slots + (at - slots) / 16 > ctx->limit ? RNNE_E_LONG : RNNE_OK;
}

static rnne_status bind_instrs(rnne_context *ctx, int64_t *fault)
{
    const rnne_program *p = ctx->program;
    int64_t scratch = 0;
    ctx->cost = 0;
    for (int64_t i = 0; i < p->n_instrs; i++) {
        const rnne_instr *in = &p->instrs[i];
        int64_t need = 0, cost = 0;
        *fault = i;
        for (int64_t k = 0; k < in->operands.count; k++) {
            int64_t ref = p->refs[in->operands.first + k];
            rnne_status s = ref < 0 ? RNNE_OK : resolve(ctx, &p->operands[ref], &ctx->views[ref]);
            if (s != RNNE_OK) {
                return s;
            }
        }
        rnne_status s = rnne_op_find(in->opcode)->bind(ctx, in, &need, &cost);
        if (s != RNNE_OK) {
            return s;
        }
        scratch = need > scratch ? need : scratch;
        ctx->cost += cost;
    }
    memset(ctx->together, 0, (size_t)p->n_instrs * sizeof *ctx->together);
    for (int64_t i = 0; i < p->n_instrs; i += ctx->together[i]) {
        int64_t need = 0;
        ctx->together[i] = rnne_chain_length(ctx, &p->instrs[i], p->n_instrs - i, &need);
        scratch = need > scratch ? need : scratch;
    }
    *fault = -1;
    if (__builtin_add_overflow(ctx->scratch_at, rnne_align(scratch), &ctx->arena_bytes)) {
        return RNNE_E_SIZE;
    }
    return RNNE_OK;
}

/* Grow the arena when needed; growing by half again keeps changing lengths from allocating often. */
static rnne_status reserve(rnne_context *ctx)
{
    if (ctx->arena_bytes > ctx->arena_capacity) {
        int64_t capacity = ctx->arena_bytes;
        if (ctx->arena_capacity > 0 && capacity < ctx->arena_capacity + ctx->arena_capacity / 2) {
            capacity = ctx->arena_capacity + ctx->arena_capacity / 2;
        }
        free(ctx->arena_raw);
        ctx->arena = NULL;
        ctx->arena_capacity = 0;
        ctx->arena_raw = malloc((size_t)capacity + 64);
        if (!ctx->arena_raw) {
            return RNNE_E_MEMORY;
        }
        ctx->arena = ctx->arena_raw + (64 - (uintptr_t)ctx->arena_raw % 64) % 64;
        ctx->arena_capacity = capacity;
    }
    for (int64_t i = 0; i < ctx->program->n_buffers; i++) {
        const rnne_buffer *b = &ctx->program->buffers[i];
        if (b->kind == RNNE_ARENA) {
            ctx->base[i] = ctx->arena + ctx->slot_at[b->index];
        } else if (b->kind == RNNE_CONSTANT) {
            ctx->base[i] = (void *)(uintptr_t)ctx->program->constants[b->index];
        }
    }
    return RNNE_OK;
}

rnne_status rnne_context_bind(rnne_context *ctx, const int64_t *symbols, int threads, int64_t *fault)
{
    const size_t bytes = (size_t)ctx->program->n_symbols * sizeof *symbols;
    *fault = -1;
    if (ctx->bound && ctx->threads == threads && memcmp(ctx->symbols, symbols, bytes) == 0) {
        return RNNE_OK;
    }
    ctx->bound = 0;
    ctx->threads = threads;
    memcpy(ctx->symbols, symbols, bytes);
    for (int64_t i = 0; i < ctx->program->n_symbols; i++) {
        if (symbols[i] < 0) {
            return RNNE_E_SHAPE;
        }
    }
    rnne_status s = evaluate(ctx);
    s = s == RNNE_OK ? lay_out(ctx) : s;
    s = s == RNNE_OK ? bind_instrs(ctx, fault) : s;
    s = s == RNNE_OK ? reserve(ctx) : s;
    for (int64_t i = 0; s == RNNE_OK && i < ctx->program->n_instrs; i++) {
        const rnne_instr *in = &ctx->program->instrs[i];
        const rnne_op *op = rnne_op_find(in->opcode);
        if (op->prepare) {
            op->prepare(ctx, in, rnne_prepared(ctx, in));
        }
    }
    ctx->bound = s == RNNE_OK;
    return s;
}

/* Subnormal inputs become 0 where they enter: a cleaned copy stands in for such an array. */
const void *rnne_context_clean(rnne_context *ctx, int64_t input, int64_t buffer, const void *data)
{
    const rnne_kernels *k = ctx->program->kernels;
    size_t n = (size_t)ctx->values[ctx->program->buffers[buffer].size];
    if (ctx->program->buffers[buffer].dtype != RNNE_F32 || !k->has_subnormal(data, n)) {
        return data;
    }
    float *copy = (float *)(ctx->arena + ctx->flush_at[input]);
    k->flush_subnormal(data, copy, n);
    return copy;
}

int64_t rnne_context_worth(const rnne_context *ctx, double nanoseconds, int64_t most)
{
    const int forced = ctx->threads < 0;
    int64_t threads = forced ? -ctx->threads : ctx->threads, workers = 1;
    threads = threads < RNNE_MAX_THREADS ? threads : RNNE_MAX_THREADS;
    while (workers < threads && workers < most &&
           (forced || (nanoseconds > RNNE_WORTH_NS &&
                       nanoseconds / (double)(workers * (workers + 1)) > RNNE_WAKE_NS))) {
        workers++;
    }
    return workers;
}

int rnne_context_crew(const rnne_context *ctx, int64_t wanted)
{
    if (wanted > 1 && *ctx->workers == 0) {
        *ctx->workers = rnne_pool_take(abs(ctx->threads), ctx->threads < 0);
    }
    return wanted < *ctx->workers || *ctx->workers == 0 ? (int)wanted : *ctx->workers;
}

rnne_status rnne_context_execute(rnne_context *ctx, int64_t *fault)
{
    const rnne_program *p = ctx->program;
    rnne_status status = RNNE_OK;
    char *scratch = ctx->arena + ctx->scratch_at;
    for (int64_t i = 0; i < p->n_instrs && status == RNNE_OK; i += ctx->together[i]) {
        const rnne_instr *in = &p->instrs[i];
        *fault = i;
        status = ctx->together[i] > 1 ? rnne_chain_run(ctx, in, ctx->together[i], scratch)
                                      : rnne_op_find(in->opcode)->run(ctx, in, scratch);
    }
    return status;
}

rnne_status rnne_context_run(rnne_context *ctx, const void *const *inputs, void *const *outputs,
                             int64_t *fault)
{
    const rnne_program *p = ctx->program;
    rnne_fpenv env = rnne_fpenv_enter();
    ctx->crew[0] = 0;
    ctx->runs ^= 1;
    *fault = -1;
    for (int64_t i = 0; i < p->n_buffers; i++) {
        const rnne_buffer *b = &p->buffers[i];
        if (b->kind == RNNE_INPUT) {
            ctx->base[i] = (void *)(uintptr_t)rnne_context_clean(ctx, b->index, i, inputs[b->index]);
        } else if (b->kind == RNNE_OUTPUT) {
            ctx->base[i] = outputs[b->index];
        }
    }
    const rnne_status status = rnne_context_execute(ctx, fault);
    if (ctx->crew[0] > 1) {
        rnne_pool_release();
    }
    rnne_fpenv_leave(env);
    return status;
}
