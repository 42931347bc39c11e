/* Long sequences: a program that carries its state runs over them chunk by chunk, so that what lies
 * between its layers is as large as a chunk, whatever the sequence.
 *
 * Nothing is copied. The buffer of an input or output along time is a window of the caller's array:
 * it starts at the first step of the chunk, has the strides of the whole array and ends with the last
 * element of the chunk. What is proven about operands when sizes are bound so holds at every place of
 * the window. Binding depends on the steps of a chunk, which change with the last chunk alone; an
 * input with subnormals is an exception, for its chunks are cleaned copies, which lie densely. */
#include <string.h>

#include "core/checked.h"
#include "core/fpenv.h"
#include "core/program.h"
#include "core/threads.h"

/* Bytes of values between the layers and of room for copies of inputs: with the weights of a step and
 * the recurrent instruction's working memory they fit a private cache. */
#define CHUNK_BYTES (512 * 1024)
/* A chunk has no fewer steps, or reading and writing the states would show beside them. */
#define LEAST_STEPS 8
/* And a multiple of these where it is longer: whole register blocks of rows for every kernel. */
#define EVEN_STEPS 48

enum { IN_ROW = 4, OUT_ROW = 2 };

static int is_expr(const rnne_program *p, int64_t i)
{
    return i >= 0 && i < p->n_exprs;
}

static int port_ok(const rnne_program *p, const int64_t *row)
{
    return (row[0] == -1 && row[1] == -1) || (is_expr(p, row[0]) && is_expr(p, row[1]));
}

static int symbol_ok(const rnne_program *p, int64_t s)
{
    return s >= 0 && s < p->n_symbols;
}

rnne_status rnne_context_chunks(rnne_context *ctx, const rnne_chunks *c)
{
    const rnne_program *p = ctx->program;
    int ok = symbol_ok(p, c->steps) && symbol_ok(p, c->in_steps) && symbol_ok(p, c->out_steps) &&
             c->steps != c->in_steps && c->steps != c->out_steps && c->in_steps != c->out_steps &&
             c->lengths >= -1 && c->lengths < p->n_inputs;
    for (int64_t i = 0; ok && i < p->n_inputs; i++) {
        const int64_t *row = c->inputs + IN_ROW * i;
        ok = port_ok(p, row) && row[2] >= -1 && row[2] < p->n_outputs &&
             (row[2] == -1 || is_expr(p, row[3]));
    }
    for (int64_t i = 0; ok && i < p->n_outputs; i++) {
        ok = port_ok(p, c->outputs + OUT_ROW * i);
    }
    if (ok && c->lengths >= 0) {
        const int64_t b = p->input_buffer[c->lengths];
        ok = b < 0 || p->buffers[b].dtype == RNNE_I32;
    }
    ctx->chunks = ok ? c : NULL;
    ctx->bound = 0;
    return ok ? RNNE_OK : RNNE_E_PROGRAM;
}

/* Bind to chunks of so many steps, of inputs that lie in arrays of `in_steps`. */
static rnne_status bind_steps(rnne_context *ctx, int64_t steps, int64_t in_steps, int threads,
                              int64_t *fault)
{
    const rnne_chunks *c = ctx->chunks;
    int64_t symbols[RNNE_MAX_SYMBOLS];
    memcpy(symbols, ctx->whole, sizeof symbols);
    symbols[c->steps] = steps;
    symbols[c->in_steps] = in_steps;
    symbols[c->out_steps] = ctx->whole[c->in_steps];
    return rnne_context_bind(ctx, symbols, threads, fault);
}

rnne_status rnne_chunks_bind(rnne_context *ctx, const int64_t *symbols, int threads, int64_t *fault)
{
    const int64_t total = ctx->chunks ? symbols[ctx->chunks->in_steps] : 0;
    const int64_t few = total < LEAST_STEPS ? total : LEAST_STEPS;
    const int64_t more = total < 2 * few ? total : 2 * few;
    *fault = -1;
    if (!ctx->chunks || total < 1) {
        return ctx->chunks ? RNNE_E_SHAPE : RNNE_E_PROGRAM;
    }
    memcpy(ctx->whole, symbols, (size_t)ctx->program->n_symbols * sizeof *symbols);
    rnne_status s = bind_steps(ctx, few, total, threads, fault);
    const int64_t least = s == RNNE_OK ? ctx->scratch_at : 0;
    s = s == RNNE_OK ? bind_steps(ctx, more, total, threads, fault) : s;
    if (s != RNNE_OK) {
        return s;
    }
    const int64_t each = more > few ? (ctx->scratch_at - least) / (more - few) : 0;
    int64_t steps = each > 0 ? few + (CHUNK_BYTES - least) / each : total;
    steps = steps > EVEN_STEPS ? steps / EVEN_STEPS * EVEN_STEPS : steps;
    steps = steps < few ? few : steps;
    steps = ctx->chunks->most > 0 && steps > ctx->chunks->most ? ctx->chunks->most : steps;
    ctx->chunk_steps = steps < total ? steps : total;
    return bind_steps(ctx, ctx->chunk_steps, total, threads, fault);
}

/* A chunk of a run under way: steps [at, at + steps). */
typedef struct walk {
    rnne_context *ctx;
    const void *const *inputs;
    void *const *outputs;
    float *const *sides;
    int64_t total, at, steps, number;
    int dense; /* inputs are read from dense copies of the chunk */
} walk;

/* How the chunk lies in an array along time: stretches of its steps, one for each place of the axes
 * before time. */
typedef struct stretch {
    int64_t step, outer; /* elements of a step; stretches */
} stretch;

/* Read it, and prove of a buffer of `size` elements ends where an array of `whole` steps that starts
 * with the chunk still holds the chunk. */
static rnne_status stretch_of(const walk *w, const int64_t *row, int64_t size, int64_t whole,
                              stretch *s)
{
    const int64_t count = w->ctx->values[row[1]];
    s->step = w->ctx->values[row[0]];
    s->outer = 0;
    if (count <= 0 || s->step <= 0) {
        return count == 0 && size <= 0 ? RNNE_OK : RNNE_E_BOUNDS;
    }
    const int64_t part = rnne_product(w->steps, s->step);
    s->outer = count / part;
    int64_t reach = part;
    if (count % part || rnne_add_product(&reach, s->outer - 1, rnne_product(whole, s->step))) {
        return RNNE_E_BOUNDS;
    }
    return size <= reach ? RNNE_OK : RNNE_E_BOUNDS;
}

static int64_t size_of(const walk *w, int64_t buffer)
{
    return w->ctx->values[w->ctx->program->buffers[buffer].size];
}

/* Stretch number o of the chunk in the caller's array. */
static const char *stretch_at(const walk *w, int64_t input, const stretch *s, int64_t o)
{
    return (const char *)w->inputs[input] + (o * w->total + w->at) * s->step * 4;
}

static int has_subnormal(const walk *w)
{
    const rnne_program *p = w->ctx->program;
    for (int64_t i = 0; i < p->n_inputs; i++) {
        const int64_t *row = w->ctx->chunks->inputs + IN_ROW * i, b = p->input_buffer[i];
        stretch s;
        if (b < 0 || row[0] < 0 || p->buffers[b].dtype != RNNE_F32 ||
            stretch_of(w, row, 0, w->total, &s) != RNNE_OK) {
            continue;
        }
        for (int64_t o = 0; o < s.outer; o++) {
            if (p->kernels->has_subnormal((const float *)stretch_at(w, i, &s, o),
                                          (size_t)(w->steps * s.step))) {
                return 1;
            }
        }
    }
    return 0;
}

static void *spare_of(const walk *w, int64_t input)
{
    return w->ctx->arena + w->ctx->flush_at[input];
}

static const void *dense_copy(const walk *w, int64_t input, rnne_dtype dtype, const stretch *s)
{
    const size_t n = (size_t)(w->steps * s->step);
    float *to = spare_of(w, input);
    for (int64_t o = 0; o < s->outer; o++, to += n) {
        const char *from = stretch_at(w, input, s, o);
        if (dtype == RNNE_F32) {
            w->ctx->program->kernels->flush_subnormal((const float *)from, to, n);
        } else {
            memcpy(to, from, n * sizeof *to);
        }
    }
    return spare_of(w, input);
}

/* How many steps of each row count in this chunk. */
static const void *lengths_here(const walk *w, int64_t input, int64_t rows)
{
    const int32_t *lengths = w->inputs[input];
    int32_t *here = spare_of(w, input);
    for (int64_t b = 0; b < rows; b++) {
        const int64_t left = lengths[b] - w->at;
        here[b] = (int32_t)(left < 0 ? 0 : left < w->steps ? left : w->steps);
    }
    return here;
}

static rnne_status place_input(const walk *w, int64_t input, int64_t buffer)
{
    const rnne_chunks *c = w->ctx->chunks;
    const int64_t *row = c->inputs + IN_ROW * input;
    const rnne_dtype dtype = (rnne_dtype)w->ctx->program->buffers[buffer].dtype;
    const void **base = (const void **)&w->ctx->base[buffer];
    if (input == c->lengths) {
        *base = lengths_here(w, input, size_of(w, buffer));
    } else if (row[2] >= 0 && w->number > 0) {
        *base = w->sides[2 * row[2] + w->number % 2] + w->ctx->values[row[3]];
    } else if (row[0] >= 0) {
        stretch s;
        const int64_t whole = w->dense ? w->steps : w->total;
        const rnne_status status = stretch_of(w, row, size_of(w, buffer), whole, &s);
        if (status != RNNE_OK) {
            return status;
        }
        *base = w->dense ? dense_copy(w, input, dtype, &s) : stretch_at(w, input, &s, 0);
    } else {
        *base = rnne_context_clean(w->ctx, input, buffer, w->inputs[input]);
    }
    return RNNE_OK;
}

static rnne_status place_output(const walk *w, int64_t output, int64_t buffer)
{
    const int64_t *row = w->ctx->chunks->outputs + OUT_ROW * output;
    float *side = w->sides[2 * output + (w->number + 1) % 2];
    float *whole = w->outputs[output];
    const int last = w->at + w->steps == w->total;
    stretch s;
    if (row[0] < 0) {
        w->ctx->base[buffer] = side && !(last && whole) ? side : whole;
        return RNNE_OK;
    }
    const rnne_status status = stretch_of(w, row, size_of(w, buffer), w->total, &s);
    w->ctx->base[buffer] = whole + w->at * s.step;
    return status;
}

static rnne_status run_chunk(walk *w, int64_t *fault)
{
    rnne_context *ctx = w->ctx;
    const rnne_program *p = ctx->program;
    rnne_status status = bind_steps(ctx, w->steps, w->total, ctx->threads, fault);
    w->dense = status == RNNE_OK && has_subnormal(w);
    if (w->dense) {
        status = bind_steps(ctx, w->steps, w->steps, ctx->threads, fault);
    }
    for (int64_t i = 0; i < p->n_buffers && status == RNNE_OK; i++) {
        const rnne_buffer *b = &p->buffers[i];
        if (b->kind == RNNE_INPUT) {
            status = place_input(w, b->index, i);
        } else if (b->kind == RNNE_OUTPUT) {
            status = place_output(w, b->index, i);
        }
    }
    return status == RNNE_OK ? rnne_context_execute(ctx, fault) : status;
}

static rnne_status check_lengths(const walk *w)
{
    const int64_t input = w->ctx->chunks->lengths;
    const int64_t b = input < 0 ? -1 : w->ctx->program->input_buffer[input];
    const int32_t *lengths = b < 0 ? NULL : w->inputs[input];
    for (int64_t i = 0; lengths && i < size_of(w, b); i++) {
        if (lengths[i] < 0 || lengths[i] > w->total) {
            *w->ctx->detail = lengths[i];
            return RNNE_E_LENGTHS;
        }
    }
    return RNNE_OK;
}

rnne_status rnne_chunks_run(rnne_context *ctx, const void *const *inputs, void *const *outputs,
                            float *const *sides, int64_t *fault)
{
    walk w = {.ctx = ctx, .inputs = inputs, .outputs = outputs, .sides = sides,
              .total = ctx->whole[ctx->chunks->in_steps]};
    rnne_fpenv env = rnne_fpenv_enter();
    ctx->crew[0] = 0;
    *fault = -1;
    rnne_status status = check_lengths(&w);
    for (; w.at < w.total && status == RNNE_OK; w.at += w.steps, w.number++) {
        const int64_t left = w.total - w.at;
        w.steps = left < ctx->chunk_steps ? left : ctx->chunk_steps;
        status = run_chunk(&w, fault);
    }
    if (ctx->crew[0] > 1) {
        rnne_pool_release();
    }
    rnne_fpenv_leave(env);
    return status;
}
