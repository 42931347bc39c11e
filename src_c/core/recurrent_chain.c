/* Layers that follow each other directly, pipelined over time: while one takes its next chunk of steps,
 * the one after it takes the chunk before. Which instructions do so is found when sizes are bound. */
#include "core/recurrent_crew.h"

/* The first layer runs this many times until the last begins, about; a chunk is worth handing on. */
#define CHUNKS 16
#define CHUNK_NS 15000.0
/* Recurrent weights that one core keeps in its private cache. Where they are larger, threads that share
 * each layer keep a part each. */
#define PRIVATE_BYTES (1536 * 1024)
#define SHARED_GAIN 0.7

static int is_recurrent(const rnne_instr *in)
{
    return rnne_op_find(in->opcode) == &rnne_op_recurrent;
}

/* Whether a layer may go on where the one before it has been: it goes forward, and it takes no lengths
 * or those of that one. */
static int can_follow(const rnne_context *ctx, const rnne_instr *in)
{
    const int64_t *refs = ctx->program->refs;
    if (!is_recurrent(in) || rnne_int(ctx, in, 1) != 1) {
        return 0;
    }
    const int64_t lengths = refs[in->operands.first + RLENGTHS];
    return lengths < 0 || lengths == refs[in[-1].operands.first + RLENGTHS];
}

/* Every step of x lies where that step of y lies. */
static int reads_steps_of(const rnne_view *x, const rnne_view *y)
{
    return x && y && x->buffer == y->buffer && x->offset == y->offset && y->dim[1] == 1 &&
           x->dim[0] == y->dim[0] && x->dim[1] == y->dim[2] && x->dim[2] == y->dim[3] &&
           x->stride[0] == y->stride[0] && (x->dim[1] == 1 || x->stride[1] == y->stride[2]);
}

/* Whether one of two instructions writes what the other reads or writes, but for x of the later one,
 * which may be y of the earlier. */
static int disturb(const rnne_context *ctx, const rnne_instr *a, const rnne_instr *b, int adjacent)
{
    const uint32_t writes = rnne_op_recurrent.writes;
    for (int i = 0; i < R_OPERANDS; i++) {
        const rnne_view *v = rnne_view_of(ctx, a, i);
        for (int j = 0; v && j < R_OPERANDS; j++) {
            const rnne_view *w = rnne_view_of(ctx, b, j);
            if (!w || !((writes >> i | writes >> j) & 1) || (adjacent && i == RY && j == RX)) {
                continue;
            }
            const rnne_buffer *one = &ctx->program->buffers[v->buffer];
            const rnne_buffer *other = &ctx->program->buffers[w->buffer];
            if (one->kind == other->kind && one->index == other->index) {
                return 1;
            }
        }
    }
    return 0;
}

static int follows(const rnne_context *ctx, const rnne_instr *first, const rnne_instr *in)
{
    if (!can_follow(ctx, in) ||
        !reads_steps_of(rnne_view_of(ctx, in, RX), rnne_view_of(ctx, in - 1, RY))) {
        return 0;
    }
    for (const rnne_instr *before = first; before < in; before++) {
        if (disturb(ctx, before, in, before == in - 1)) {
            return 0;
        }
    }
    return 1;
}

static int64_t steps_of_chunk(int64_t steps, double longest)
{
    int64_t chunk = steps / CHUNKS;
    chunk = (double)chunk * longest < CHUNK_NS ? (int64_t)(CHUNK_NS / longest) + 1 : chunk;
    return chunk < 1 ? 1 : chunk < steps ? chunk : steps;
}

/* What the choice is made from, of the layers of a chain. */
typedef struct estimate {
    double total, longest, shared; /* nanoseconds of a step: of all, the longest, all of them shared */
    int64_t steps, bytes;
} estimate;

static void add_layer(estimate *e, const rnne_layer *l)
{
    const double cost = rnne_layer_step_cost(l), workers = (double)l->workers;
    const double weights = (double)(l->hidden * l->gates) * (double)l->out * sizeof(float);
    double shared = l->workers > 1 ? cost / workers + RNNE_BARRIER_NS * workers : cost;
    shared *= l->workers > 1 && weights > PRIVATE_BYTES ? SHARED_GAIN : 1.0;
    e->total += cost;
    e->shared += shared;
    e->longest = cost > e->longest ? cost : e->longest;
    e->steps = l->steps;
    e->bytes += l->bytes;
}

int64_t rnne_chain_steps(const rnne_context *ctx, const rnne_instr *in, int64_t count)
{
    estimate e = {0};
    for (int64_t i = 0; i < count; i++) {
        add_layer(&e, &((const rnne_recurrent *)rnne_prepared(ctx, in + i))->layer);
    }
    return steps_of_chunk(e.steps, e.longest);
}

int64_t rnne_chain_workers(const rnne_context *ctx, const rnne_instr *in, int64_t count)
{
    estimate e = {0};
    for (int64_t i = 0; i < count; i++) {
        add_layer(&e, &((const rnne_recurrent *)rnne_prepared(ctx, in + i))->layer);
    }
    return rnne_context_worth(ctx, e.total * (double)e.steps, count);
}

int64_t rnne_chain_length(const rnne_context *ctx, const rnne_instr *in, int64_t most, int64_t *scratch)
{
    const int forced = ctx->threads < 0;
    int64_t count = 1;
    estimate e = {0};
    rnne_layer l;
    if (ctx->threads == 1 || !is_recurrent(in) || rnne_int(ctx, in, 1) != 1) {
        return 1;
    }
    while (count < most && count < RNNE_CHAIN && follows(ctx, in, in + count)) {
        count++;
    }
    for (int64_t i = 0; i < count && count > 1; i++) {
        if (rnne_layer_read(ctx, in + i, &l) != RNNE_OK || rnne_layer_place(ctx, in + i, &l) != RNNE_OK ||
            l.bytes > INT64_MAX / (2 * RNNE_CHAIN)) {
            return 1;
        }
        add_layer(&e, &l);
    }
    const int64_t workers = rnne_context_worth(ctx, e.total * (double)e.steps, count);
    if (workers < 2 || e.steps < 1) {
        return 1;
    }
    const double late = (double)(count - 1) * (double)steps_of_chunk(e.steps, e.longest);
    const double each = e.total / (double)workers;
    const double chained = (e.longest > each ? e.longest : each) * (1.0 + late / (double)e.steps);
    if (!forced && chained > e.shared) {
        return 1;
    }
    *scratch = e.bytes;
    return count;
}
