/* The recurrent instruction at bind time: sizes, checks, working memory, cells. */
#include <math.h>

#include "core/activation.h"
#include "core/checked.h"
#include "core/matrix.h"
#include "core/recurrent_crew.h"
#include "core/threads.h"

/* Input rows are projected in chunks. A chunk of this many bytes stays in the private cache; where the
 * weights fill that cache anyway, reading them again for each chunk costs more than larger chunks. */
#define CHUNK_BYTES (192 * 1024)
#define CHUNK_MOST_BYTES (1536 * 1024)
#define CHUNK_MIN_ROWS 8
/* Of a private cache, on machines that have a large one. */
#define PRIVATE_BYTES 2e6

static int64_t panels_of(int64_t units)
{
    return (units + RNNE_PANEL - 1) / RNNE_PANEL;
}

static const rnne_matrix_at w_at = {RW, RW_SCALE, RW_OFFSET, RW_ZERO, RI_BITS};
static const rnne_matrix_at r_at = {RR, RR_SCALE, RR_OFFSET, RR_ZERO, RI_BITS};
static const rnne_matrix_at r_n_at = {RR_N, RR_N_SCALE, RR_N_OFFSET, RR_N_ZERO, RI_BITS};
static const rnne_matrix_at proj_at = {RPROJ, RPROJ_SCALE, RPROJ_OFFSET, RPROJ_ZERO, RI_BITS};

/* Packed biases have their address at bind time, so they never are an input or output itself. */
static int packed_is(const rnne_context *ctx, const rnne_view *v, int64_t count)
{
    if (!rnne_view_is(ctx, v, 1, RNNE_F32) || v->dim[0] != count) {
        return 0;
    }
    const int64_t kind = ctx->program->buffers[v->buffer].kind;
    return kind == RNNE_CONSTANT || kind == RNNE_ARENA;
}

static int state_is(const rnne_context *ctx, const rnne_view *v, int64_t d, int64_t b, int64_t n)
{
    return !v || (rnne_view_is(ctx, v, 3, RNNE_F32) && v->dim[0] == d && v->dim[1] == b &&
                  v->dim[2] == n);
}

static rnne_matrix_size w_size(const rnne_layer *l)
{
    return (rnne_matrix_size){l->directions, l->panels, l->gates, l->inputs};
}

static rnne_matrix_size r_size(const rnne_layer *l)
{
    return (rnne_matrix_size){l->directions, l->panels, l->apart ? 2 : l->gates, l->out};
}

static rnne_matrix_size r_n_size(const rnne_layer *l)
{
    return (rnne_matrix_size){l->directions, l->panels, 1, l->out};
}

static rnne_matrix_size proj_size(const rnne_layer *l)
{
    return (rnne_matrix_size){l->directions, l->out_panels, 1, l->hidden};
}

/* An optional matrix is there as a whole or not at all. */
static int none_of(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at)
{
    return !rnne_view_of(ctx, in, at->weights) && !rnne_view_of(ctx, in, at->scale) &&
           !rnne_view_of(ctx, in, at->offset) && !rnne_view_of(ctx, in, at->zero);
}

static int weights_ok(const rnne_context *ctx, const rnne_instr *in, const rnne_layer *l)
{
    const rnne_matrix_size w = w_size(l), r = r_size(l), r_n = r_n_size(l), p = proj_size(l);
    const int64_t tile = l->panels * RNNE_PANEL * l->directions;
    const int64_t out = l->out_panels * RNNE_PANEL * l->directions;
    const int after = l->kind == R_GRU && l->reset_after;
    const rnne_view *b_rn = rnne_view_of(ctx, in, RB_RN);
    const rnne_view *peephole = rnne_view_of(ctx, in, RPEEPHOLE);
    return rnne_matrix_fits(ctx, in, &w_at, &w) && rnne_matrix_fits(ctx, in, &r_at, &r) &&
           packed_is(ctx, rnne_view_of(ctx, in, RBIAS), tile * l->gates) &&
           (l->apart ? rnne_matrix_fits(ctx, in, &r_n_at, &r_n) : none_of(ctx, in, &r_n_at)) &&
           (!after || l->apart || rnne_dtype_of(ctx, rnne_view_of(ctx, in, RR)) == RNNE_F32) &&
           (after ? packed_is(ctx, b_rn, tile) : !b_rn) &&
           (!peephole || (l->kind == R_LSTM && packed_is(ctx, peephole, tile * 3))) &&
           (rnne_view_of(ctx, in, RPROJ)
                ? l->kind == R_LSTM && rnne_matrix_fits(ctx, in, &proj_at, &p) &&
                      packed_is(ctx, rnne_view_of(ctx, in, RPROJ_BIAS), out)
                : none_of(ctx, in, &proj_at) && l->out == l->hidden);
}

/* Coupling, activations and the kind of masked output are known, whether this cell uses them or not. */
static int numbers_ok(const rnne_context *ctx, const rnne_instr *in, const rnne_layer *l)
{
    const int64_t coupling = rnne_int(ctx, in, 4);
    int ok = coupling == RNNE_UNCOUPLED ||
             (l->kind == R_LSTM && coupling > RNNE_UNCOUPLED && coupling <= RNNE_INPUT_FROM_FORGET);
    const int64_t masked = rnne_int(ctx, in, RI_MASKED);
    ok = ok && (masked == RNNE_MASKED_CARRY || masked == RNNE_MASKED_ZERO);
    for (int i = 6; i < 12; i++) {
        ok = ok && rnne_act_known(rnne_int(ctx, in, i));
    }
    return ok;
}

/* Time of a product beside float32's, by the elements of the weights: int8 as measured where weights lie
 * in the private cache; halves between what they take there and half of it, from beyond. */
static double weight_cost(const rnne_context *ctx, const rnne_instr *in, int64_t rows)
{
    const rnne_dtype dtype = rnne_dtype_of(ctx, rnne_view_of(ctx, in, RR));
    const double many = rows > 1 ? ctx->program->int8->many : 0.0;
    return dtype == RNNE_F32 ? 1.0 : dtype != RNNE_I8 ? 0.75 : many > 0.0 ? many : 0.4;
}

rnne_status rnne_layer_read(const rnne_context *ctx, const rnne_instr *in, rnne_layer *l)
{
    const rnne_view *x = rnne_view_of(ctx, in, RX), *y = rnne_view_of(ctx, in, RY);
    const rnne_view *lengths = rnne_view_of(ctx, in, RLENGTHS);
    const rnne_view *mask = rnne_view_of(ctx, in, RMASK);
    const int64_t sides = rnne_int(ctx, in, 1);
    *l = (rnne_layer){.kind = rnne_int(ctx, in, 0), .hidden = rnne_int(ctx, in, 2),
                      .out = rnne_int(ctx, in, 3), .reset_after = rnne_int(ctx, in, 5)};
    if (!rnne_view_is(ctx, x, 3, RNNE_F32) || l->kind < R_LSTM || l->kind > R_RNN || sides < 1 ||
        sides > 3 || l->hidden < 1 || l->out < 1 || l->hidden > INT32_MAX || l->out > INT32_MAX) {
        return RNNE_E_SHAPE;
    }
    l->steps = x->dim[0];
    l->batch = x->dim[1];
    l->inputs = x->dim[2];
    l->gates = l->kind == R_LSTM ? 4 : l->kind == R_GRU ? 3 : 1;
    l->directions = sides == 3 ? 2 : 1;
    l->has_reverse_first = sides == 2;
    l->apart = l->kind == R_GRU && (!l->reset_after || rnne_view_of(ctx, in, RR_N) != NULL);
    l->has_proj = rnne_view_of(ctx, in, RPROJ) != NULL;
    l->panels = panels_of(l->hidden);
    l->out_panels = panels_of(l->out);
    int ok = numbers_ok(ctx, in, l) && weights_ok(ctx, in, l) &&
             (!lengths || (rnne_view_is(ctx, lengths, 1, RNNE_I32) && lengths->dim[0] == l->batch)) &&
             (!mask || (mask->rank == 2 && rnne_dtype_of(ctx, mask) == RNNE_I32 &&
                        mask->dim[0] == l->steps && mask->dim[1] == l->batch)) &&
             state_is(ctx, rnne_view_of(ctx, in, RH0), l->directions, l->batch, l->out) &&
             state_is(ctx, rnne_view_of(ctx, in, RH_N), l->directions, l->batch, l->out) &&
             state_is(ctx, rnne_view_of(ctx, in, RC0), l->directions, l->batch, l->hidden) &&
             state_is(ctx, rnne_view_of(ctx, in, RC_N), l->directions, l->batch, l->hidden) &&
             (!y || (rnne_view_is(ctx, y, 4, RNNE_F32) && y->dim[0] == l->steps &&
                     y->dim[1] == l->directions && y->dim[2] == l->batch && y->dim[3] == l->out));
    l->weight_cost = ok ? weight_cost(ctx, in, l->batch) : 1.0;
    return ok ? RNNE_OK : RNNE_E_SHAPE;
}

/* Take count items of size bytes; 0 and an overflowed total are told apart by *bad. */
static int64_t take(int64_t *total, int64_t count, int64_t size, int *bad)
{
    int64_t at = *total;
    *bad |= rnne_add_product(total, count, size) || *total > INT64_MAX - 64;
    *total = *bad ? at : rnne_align(*total);
    return at;
}

double rnne_layer_step_cost(const rnne_layer *l)
{
    /* A nanosecond: 100 bytes of weights that one row reads, 60 where they lie beyond the private cache,
     * 200 operations on many rows, one activation of two units. Too low is one thread too few. */
    const double units = (double)l->directions * (double)l->hidden, rows = (double)l->batch;
    const double each = units * (double)l->gates, many = rows / 100.0;
    const double read = (double)l->out + (l->steps == 1 ? (double)l->inputs : 0.0);
    const double far = 4.0 * each * read * l->weight_cost > PRIVATE_BYTES ? 60.0 : 100.0;
    const double alone = rows < 2.0 ? 4.0 / far : many;
    const double products = (double)l->out * alone + (double)l->inputs * (l->steps == 1 ? alone : many);
    return each * (products * l->weight_cost + 0.5 * rows);
}

/* Threads pay where a step is long beside the barriers that end it. Directions need none between each
 * other. */
static void choose_workers(const rnne_context *ctx, rnne_layer *l, int barriers)
{
    const double step = rnne_layer_step_cost(l), side = step / (double)l->directions;
    const int64_t most = l->panels < l->out_panels ? l->panels : l->out_panels;
    const int64_t worth = rnne_context_worth(ctx, step * (double)l->steps, l->directions * most);
    l->share = worth < most ? worth : most;
    while (ctx->threads > 0 && l->share > 1 &&
           side / (double)(l->share * (l->share - 1)) < RNNE_BARRIER_NS * (double)(barriers * l->share)) {
        l->share--;
    }
    l->workers = worth < l->directions * l->share ? worth : l->directions * l->share;
}

static void place_side(rnne_layer *l, int has_proj, int has_mask, int *bad)
{
    const int64_t row = l->panels * RNNE_PANEL * l->gates * (int64_t)sizeof(float);
    const int64_t wide = l->panels * RNNE_PANEL * (int64_t)sizeof(float);
    const int64_t out = l->out_panels * RNNE_PANEL * (int64_t)sizeof(float);
    const int before = l->kind == R_GRU && !l->reset_after;
    int64_t total = 0;
    l->track_at = take(&total, 1, sizeof(rnne_track), bad);
    l->xp_at = take(&total, l->chunk_rows, row, bad);
    l->h_at = take(&total, 2 * l->batch, out, bad);
    l->m_at = take(&total, has_proj ? l->batch : 0, wide, bad);
    l->c_at = take(&total, l->kind == R_LSTM ? l->batch : 0, wide, bad);
    l->z_at = take(&total, before ? l->batch : 0, wide, bad);
    l->rh_at = take(&total, before ? l->batch : 0, wide, bad);
    l->inner_at = take(&total, l->apart && !before ? l->batch : 0, wide, bad);
    l->saved_at = take(&total, has_mask ? l->batch : 0, wide, bad);
    l->side_bytes = total;
}

static int64_t chunk_bytes(const rnne_context *ctx, const rnne_instr *in, const rnne_layer *l)
{
    const int64_t each = rnne_dtype_bytes(rnne_dtype_of(ctx, rnne_view_of(ctx, in, RR)));
    const int64_t weights = rnne_product(l->panels * RNNE_PANEL * l->gates * each, l->inputs + l->out);
    return weights < CHUNK_BYTES ? CHUNK_BYTES : weights < CHUNK_MOST_BYTES ? weights : CHUNK_MOST_BYTES;
}

/* For rows of an operand with int8 weights; 0 of others. */
static int64_t int8_area(const rnne_context *ctx, const rnne_instr *in, int operand, int64_t rows, int64_t k)
{
    const rnne_view *w = rnne_view_of(ctx, in, operand);
    return w && rnne_dtype_of(ctx, w) == RNNE_I8 ? rnne_int8_area(rows, k) : 0;
}

/* For the rows of the largest product of states. */
static int64_t state_area(const rnne_context *ctx, const rnne_instr *in, const rnne_layer *l)
{
    const int64_t each[] = {int8_area(ctx, in, RR, l->batch, l->out),
                            int8_area(ctx, in, RR_N, l->batch, l->out),
                            int8_area(ctx, in, RPROJ, l->batch, l->hidden)};
    int64_t most = each[0] > each[1] ? each[0] : each[1];
    return most > each[2] ? most : each[2];
}

rnne_status rnne_layer_place(const rnne_context *ctx, const rnne_instr *in, rnne_layer *l)
{
    const int has_lengths = rnne_view_of(ctx, in, RLENGTHS) != NULL;
    const int has_proj = rnne_view_of(ctx, in, RPROJ) != NULL;
    const int has_mask = rnne_view_of(ctx, in, RMASK) != NULL;
    const int before = l->kind == R_GRU && !l->reset_after;
    const int64_t row = l->panels * RNNE_PANEL * l->gates * (int64_t)sizeof(float);
    int64_t all = 0, total = 0, own = 0, rows = chunk_bytes(ctx, in, l) / row;
    int bad = rnne_add_product(&all, l->steps, l->batch);
    rows = rows < CHUNK_MIN_ROWS ? CHUNK_MIN_ROWS : rows;
    rows = rows < l->batch ? l->batch : rows;
    l->chunk_rows = rows < all ? rows : all;
    choose_workers(ctx, l, has_proj || before ? 2 : 1);
    l->sides = l->workers > 1 ? l->directions : 1;
    place_side(l, has_proj, has_mask, &bad);
    l->rows_at = take(&own, l->chunk_rows, sizeof(float *), &bad);
    l->state_rows_at = take(&own, l->batch, sizeof(float *), &bad);
    l->area_at = take(&own, 1, state_area(ctx, in, l), &bad);
    l->input_area_at = take(&own, 1, int8_area(ctx, in, RW, l->chunk_rows, l->inputs), &bad);
    l->from_at = take(&own, has_proj ? l->batch : 0, sizeof(float *), &bad);
    l->to_at = take(&own, has_proj ? l->batch : 0, sizeof(float *), &bad);
    l->seen_at = take(&own, has_mask ? l->batch : 0, sizeof(int32_t), &bad);
    l->own_bytes = own;
    l->order_at = take(&total, has_lengths ? l->batch : 0, sizeof(int64_t), &bad);
    l->length_at = take(&total, has_lengths ? l->batch : 0, sizeof(int64_t), &bad);
    l->count_at = take(&total, has_lengths ? l->steps + 2 : 0, sizeof(int64_t), &bad);
    l->side_at = take(&total, l->sides, l->side_bytes, &bad);
    l->own_at = take(&total, l->workers, l->own_bytes, &bad);
    l->bytes = total;
    return bad ? RNNE_E_SIZE : RNNE_OK;
}

static const float *part(const rnne_context *ctx, const rnne_instr *in, int which, int64_t d,
                         int64_t directions)
{
    const rnne_view *v = rnne_view_of(ctx, in, which);
    return v ? rnne_f32(ctx, v) + v->dim[0] / directions * d : NULL;
}

void rnne_layer_cell(const rnne_context *ctx, const rnne_instr *in, const rnne_layer *l, int64_t d,
                     rnne_cell *cell, rnne_matrix *proj)
{
    const rnne_matrix_size w = w_size(l), r = r_size(l), r_n = r_n_size(l), p = proj_size(l);
    *proj = (rnne_matrix){0};
    if (rnne_view_of(ctx, in, RPROJ)) {
        *proj = rnne_matrix_read(ctx, in, &proj_at, &p, d);
        proj->bias = part(ctx, in, RPROJ_BIAS, d, l->directions);
    }
    *cell = (rnne_cell){
        .x = rnne_matrix_read(ctx, in, &w_at, &w, d),
        .r = rnne_matrix_read(ctx, in, &r_at, &r, d),
        .b_rn = part(ctx, in, RB_RN, d, l->directions),
        .peephole = part(ctx, in, RPEEPHOLE, d, l->directions),
        .panels = (size_t)l->panels,
        .clip = rnne_float(ctx, in, 0),
        .cell_clip = rnne_float(ctx, in, 1),
        .h_clip = rnne_float(ctx, in, 2),
        .coupling = (int32_t)rnne_int(ctx, in, 4)};
    cell->x.bias = part(ctx, in, RBIAS, d, l->directions);
    if (l->apart) {
        cell->r_n = rnne_matrix_read(ctx, in, &r_n_at, &r_n, d);
    }
    for (int i = 0; i < 3; i++) {
        int slot = (int)d * 3 + i;
        cell->act[i] = (rnne_act){.id = (int32_t)rnne_int(ctx, in, 6 + slot),
                                  .alpha = rnne_float(ctx, in, 4 + 3 * slot),
                                  .beta = rnne_float(ctx, in, 5 + 3 * slot),
                                  .gamma = rnne_float(ctx, in, 6 + 3 * slot)};
    }
}

int rnne_cell_is_general(const rnne_cell *cell, int64_t kind)
{
    const rnne_act *act = cell->act;
    int standard = kind == R_RNN ? act[0].id == RNNE_ACT_TANH
                                 : act[0].id == RNNE_ACT_SIGMOID && act[1].id == RNNE_ACT_TANH &&
                                       (kind == R_GRU || act[2].id == RNNE_ACT_TANH);
    return !standard || cell->peephole || cell->coupling != RNNE_UNCOUPLED ||
           !isinf(cell->clip) || !isinf(cell->cell_clip) || !isinf(cell->h_clip);
}

static int within_zero_one(int32_t id)
{
    return id == RNNE_ACT_SIGMOID || id == RNNE_ACT_HARD_SIGMOID || id == RNNE_ACT_SPARSE_SIGMOID;
}

static int within_one(int32_t id)
{
    return within_zero_one(id) || id == RNNE_ACT_TANH || id == RNNE_ACT_HARD_TANH ||
           id == RNNE_ACT_SOFTSIGN;
}

int rnne_cell_is_bounded(const rnne_cell *cell, const rnne_layer *l)
{
    const rnne_act *act = cell->act;
    switch (l->kind) {
    case R_LSTM: return !l->has_proj && within_zero_one(act[0].id) && within_one(act[2].id);
    case R_GRU: return within_zero_one(act[0].id) && within_one(act[1].id);
    default: return within_one(act[0].id);
    }
}
