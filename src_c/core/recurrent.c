/* The time loop of a recurrent layer: one direction at a time, input projected in chunks of steps.
 *
 * Rows with lengths are taken in order of falling length, so that the rows still running are always
 * a prefix and finished rows cost nothing. A row's arithmetic depends on nothing but the row.
 */
#include "core/recurrent.h"

#include <string.h>

/* One direction under way. */
typedef struct rnne_pass {
    const rnne_context *ctx;
    const rnne_instr *in;
    const rnne_layer *layer;
    const rnne_kernels *kernels;
    const rnne_cell *cell;
    const rnne_matrix *proj;
    rnne_step_fn *first, *second;
    const rnne_view *x, *y, *h_n, *c_n, *mask;
    int zero_masked;
    int32_t *seen; /* with a mask: 1 for rows that have had a step that counts */
    float *saved;  /* with a mask: c of the masked rows before the step */
    int64_t d;
    int reverse;
    const int64_t *order, *length; /* NULL without lengths */
    float *xp, *h[2], *m, *c, *z, *rh;
    const float **rows;
    const float **from;
    float **to;
    size_t h_stride, c_stride;
    float proj_clip;
} rnne_pass;

static int64_t row_of(const rnne_pass *p, int64_t i)
{
    return p->order ? p->order[i] : i;
}

static int64_t length_of(const rnne_pass *p, int64_t i)
{
    return p->length ? p->length[i] : p->layer->steps;
}

/* The time index that row i reads and writes at step s. */
static int64_t time_of(const rnne_pass *p, int64_t i, int64_t s)
{
    return p->reverse ? length_of(p, i) - 1 - s : s;
}

static float *state_row(const rnne_pass *p, const rnne_view *v, int64_t i)
{
    return rnne_f32(p->ctx, v) + p->d * v->stride[0] + row_of(p, i) * v->stride[1];
}

static void load_state(const rnne_pass *p, const rnne_view *v, float *to, size_t stride, int64_t n)
{
    for (int64_t i = 0; i < p->layer->batch; i++, to += stride) {
        if (v) {
            memcpy(to, state_row(p, v, i), (size_t)n * sizeof *to);
            memset(to + n, 0, (stride - (size_t)n) * sizeof *to);
        } else {
            memset(to, 0, stride * sizeof *to);
        }
    }
}

/* Write the final states of rows [begin, end), whose last h stands in buffer h. */
static void finish_rows(const rnne_pass *p, const float *h, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        if (p->h_n) {
            memcpy(state_row(p, p->h_n, i), h + (size_t)i * p->h_stride,
                   (size_t)p->layer->out * sizeof *h);
        }
        if (p->c_n) {
            memcpy(state_row(p, p->c_n, i), p->c + (size_t)i * p->c_stride,
                   (size_t)p->layer->hidden * sizeof *h);
        }
    }
}

/* Whether step s of row i counts. */
static int counts(const rnne_pass *p, int64_t i, int64_t s)
{
    const rnne_view *m = p->mask;
    if (!m) {
        return 1;
    }
    const int32_t *data = (const int32_t *)p->ctx->base[m->buffer] + m->offset;
    return data[time_of(p, i, s) * m->stride[0] + row_of(p, i) * m->stride[1]] != 0;
}

/* Before a step: remember what it would change in rows whose step does not count. */
static void save_masked(const rnne_pass *p, int64_t s, int64_t rows)
{
    for (int64_t i = 0; p->mask && p->c && i < rows; i++) {
        if (!counts(p, i, s)) {
            memcpy(p->saved + (size_t)i * p->c_stride, p->c + (size_t)i * p->c_stride,
                   p->c_stride * sizeof *p->c);
        }
    }
}

/* After a step: give those rows their state back. */
static void restore_masked(const rnne_pass *p, const float *before, float *after, int64_t s,
                           int64_t rows)
{
    for (int64_t i = 0; p->mask && i < rows; i++) {
        if (counts(p, i, s)) {
            p->seen[i] = 1;
            continue;
        }
        memcpy(after + (size_t)i * p->h_stride, before + (size_t)i * p->h_stride,
               p->h_stride * sizeof *after);
        if (p->c) {
            memcpy(p->c + (size_t)i * p->c_stride, p->saved + (size_t)i * p->c_stride,
                   p->c_stride * sizeof *p->c);
        }
    }
}

static void store_outputs(const rnne_pass *p, const float *h, int64_t s, int64_t rows)
{
    const rnne_view *y = p->y;
    if (!y) {
        return;
    }
    float *base = rnne_f32(p->ctx, y) + p->d * y->stride[1];
    for (int64_t i = 0; i < rows; i++) {
        float *to = base + time_of(p, i, s) * y->stride[0] + row_of(p, i) * y->stride[2];
        if (p->mask && (!p->seen[i] || (p->zero_masked && !counts(p, i, s)))) {
            memset(to, 0, (size_t)p->layer->out * sizeof *to);
        } else {
            memcpy(to, h + (size_t)i * p->h_stride, (size_t)p->layer->out * sizeof *h);
        }
    }
}

static const float *input_row(const rnne_pass *p, int64_t i, int64_t s)
{
    return rnne_f32(p->ctx, p->x) + time_of(p, i, s) * p->x->stride[0] +
           row_of(p, i) * p->x->stride[1];
}

/* h' of a projected LSTM: m W_p, clipped, settled like any stored state. */
static void project_out(const rnne_pass *p, float *h, int64_t rows)
{
    const rnne_act identity = {0};
    const size_t n = (size_t)p->layer->out;
    for (int64_t i = 0; i < rows; i++) {
        p->from[i] = p->m + (size_t)i * p->c_stride;
        p->to[i] = h + (size_t)i * p->h_stride;
    }
    p->kernels->linear(p->proj, p->from, p->to, (size_t)rows, n, &identity);
    for (int64_t i = 0; i < rows; i++) {
        p->kernels->clamp(p->to[i], p->to[i], n, p->proj_clip);
        p->kernels->settle(p->to[i], p->to[i], n);
    }
}

/* Advance rows [0, rows) by one step; returns the buffer that now holds h. */
static float *advance(const rnne_pass *p, rnne_step *step, float *h, int64_t rows)
{
    float *next = h == p->h[0] ? p->h[1] : p->h[0];
    step->h = h;
    step->rows = (size_t)rows;
    step->h_next = p->m ? p->m : next;
    p->first(p->cell, step);
    if (p->second) {
        p->second(p->cell, step);
    }
    if (p->m) {
        project_out(p, next, rows);
    }
    return next;
}

/* Number of rows, of those running before, that still run at step s. */
static int64_t still_running(const rnne_pass *p, int64_t rows, int64_t s)
{
    while (rows > 0 && length_of(p, rows - 1) <= s) {
        rows--;
    }
    return rows;
}

/* Project the inputs of as many steps from s on as fit the chunk; returns the first step not done. */
static int64_t project_chunk(const rnne_pass *p, rnne_step *step, int64_t s, int64_t rows)
{
    int64_t filled = 0;
    while (rows > 0 && filled + rows <= p->layer->chunk_rows) {
        for (int64_t i = 0; i < rows; i++) {
            p->rows[filled++] = input_row(p, i, s);
        }
        rows = still_running(p, rows, ++s);
    }
    step->xp_panel = (size_t)filled * p->cell->x.gates * RNNE_PANEL;
    p->kernels->project(&p->cell->x, 0, p->cell->panels, p->rows, (size_t)filled, p->xp,
                        step->xp_panel);
    return s;
}

static void run_direction(const rnne_pass *p)
{
    rnne_step step = {.h_stride = p->h_stride, .next_stride = p->c_stride, .c = p->c, .z = p->z,
                      .rh = p->rh, .panel_end = p->cell->panels};
    int64_t rows = still_running(p, p->layer->batch, 0), projected = 0;
    /* A single row of one step, or of a narrow input, is cheapest projected inside the step. */
    const int inside = p->layer->batch == 1 && !p->second &&
                       (p->layer->steps == 1 || p->layer->inputs <= 4);
    float *h = p->h[0];
    finish_rows(p, h, rows, p->layer->batch);
    for (int64_t s = 0; rows > 0; s++) {
        if (inside) {
            step.x = input_row(p, 0, s);
        } else if (s == projected) {
            projected = project_chunk(p, &step, s, rows);
            step.xp = p->xp;
        }
        save_masked(p, s, rows);
        const float *before = h;
        h = advance(p, &step, h, rows);
        restore_masked(p, before, h, s, rows);
        store_outputs(p, h, s, rows);
        if (!inside) {
            step.xp += (size_t)rows * p->cell->x.gates * RNNE_PANEL;
        }
        int64_t left = still_running(p, rows, s + 1);
        finish_rows(p, h, left, rows);
        rows = left;
    }
}

/* Order rows by falling length (counting sort); RNNE_E_LENGTHS where one is out of range. */
static rnne_status sort_rows(const rnne_layer *l, const int32_t *lengths, int64_t stride,
                             char *scratch, int64_t *detail)
{
    int64_t *order = (int64_t *)(scratch + l->order_at);
    int64_t *length = (int64_t *)(scratch + l->length_at);
    int64_t *count = (int64_t *)(scratch + l->count_at);
    memset(count, 0, (size_t)(l->steps + 2) * sizeof *count);
    for (int64_t b = 0; b < l->batch; b++) {
        int64_t n = lengths[b * stride];
        if (n < 0 || n > l->steps) {
            *detail = n;
            return RNNE_E_LENGTHS;
        }
        count[l->steps - n + 1]++;
    }
    for (int64_t n = 0; n < l->steps; n++) {
        count[n + 1] += count[n];
    }
    for (int64_t b = 0; b < l->batch; b++) {
        int64_t at = count[l->steps - lengths[b * stride]]++;
        order[at] = b;
        length[at] = lengths[b * stride];
    }
    return RNNE_OK;
}

/* Outputs past a row's length are zero. */
static void clear_tails(const rnne_pass *p)
{
    const rnne_view *y = p->y;
    for (int64_t i = 0; y && p->length && i < p->layer->batch; i++) {
        for (int64_t t = p->length[i]; t < p->layer->steps; t++) {
            memset(rnne_f32(p->ctx, y) + t * y->stride[0] + p->d * y->stride[1] +
                       p->order[i] * y->stride[2],
                   0, (size_t)p->layer->out * sizeof(float));
        }
    }
}

static void set_up_pass(rnne_pass *p, const rnne_layer *l, char *scratch, int has_lengths)
{
    const int has_proj = rnne_view_of(p->ctx, p->in, RPROJ) != NULL;
    const int before = l->kind == R_GRU && !l->reset_after;
    p->layer = l;
    p->kernels = p->ctx->program->kernels;
    p->x = rnne_view_of(p->ctx, p->in, RX);
    p->y = rnne_view_of(p->ctx, p->in, RY);
    p->h_n = rnne_view_of(p->ctx, p->in, RH_N);
    p->c_n = rnne_view_of(p->ctx, p->in, RC_N);
    p->mask = rnne_view_of(p->ctx, p->in, RMASK);
    p->zero_masked = rnne_int(p->ctx, p->in, 12) == RNNE_MASKED_ZERO;
    p->seen = (int32_t *)(scratch + l->seen_at);
    p->saved = (float *)(scratch + l->saved_at);
    p->order = has_lengths ? (const int64_t *)(scratch + l->order_at) : NULL;
    p->length = has_lengths ? (const int64_t *)(scratch + l->length_at) : NULL;
    p->h_stride = (size_t)l->out_panels * RNNE_PANEL;
    p->c_stride = (size_t)l->panels * RNNE_PANEL;
    p->xp = (float *)(scratch + l->xp_at);
    p->rows = (const float **)(scratch + l->rows_at);
    p->h[0] = (float *)(scratch + l->h_at);
    p->h[1] = p->h[0] + (size_t)l->batch * p->h_stride;
    p->m = has_proj ? (float *)(scratch + l->m_at) : NULL;
    p->c = l->kind == R_LSTM ? (float *)(scratch + l->c_at) : NULL;
    p->z = before ? (float *)(scratch + l->z_at) : NULL;
    p->rh = before ? (float *)(scratch + l->rh_at) : NULL;
    p->from = (const float **)(scratch + l->from_at);
    p->to = (float **)(scratch + l->to_at);
    p->proj_clip = rnne_float(p->ctx, p->in, 3);
}

static void choose_kernels(const rnne_context *ctx, rnne_recurrent *r, int64_t d)
{
    const rnne_layer *l = &r->layer;
    const int general = rnne_cell_is_general(&r->sides[d].cell, l->kind);
    const int before = l->kind == R_GRU && !l->reset_after;
    const int kind = l->kind == R_LSTM  ? RNNE_STEP_LSTM
                     : l->kind == R_RNN ? RNNE_STEP_RNN
                     : before           ? RNNE_STEP_GRU_BEFORE_GATES
                                        : RNNE_STEP_GRU_AFTER;
    rnne_step_fn *const *steps = ctx->program->kernels->steps;
    r->sides[d].first = steps[kind + general];
    r->sides[d].second = before ? steps[RNNE_STEP_GRU_BEFORE_CANDIDATE + general] : NULL;
}

static void prepare(const rnne_context *ctx, const rnne_instr *in, void *prepared)
{
    rnne_recurrent *r = prepared;
    rnne_layer_read(ctx, in, &r->layer);
    rnne_layer_place(&r->layer, rnne_view_of(ctx, in, RLENGTHS) != NULL,
                     rnne_view_of(ctx, in, RPROJ) != NULL, rnne_view_of(ctx, in, RMASK) != NULL);
    for (int64_t d = 0; d < r->layer.directions; d++) {
        rnne_layer_cell(ctx, in, &r->layer, d, &r->sides[d].cell, &r->sides[d].proj);
        r->sides[d].reverse = d == 1 || r->layer.has_reverse_first;
        choose_kernels(ctx, r, d);
    }
}

static rnne_status run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_recurrent *r = rnne_prepared(ctx, in);
    const rnne_view *lengths = rnne_view_of(ctx, in, RLENGTHS);
    rnne_pass pass = {.ctx = ctx, .in = in};
    if (lengths) {
        const int32_t *data = (const int32_t *)ctx->base[lengths->buffer] + lengths->offset;
        rnne_status s = sort_rows(&r->layer, data, lengths->stride[0], scratch,
                                  ctx->detail);
        if (s != RNNE_OK) {
            return s;
        }
    }
    set_up_pass(&pass, &r->layer, scratch, lengths != NULL);
    for (int64_t d = 0; d < r->layer.directions; d++) {
        pass.d = d;
        pass.reverse = r->sides[d].reverse;
        pass.cell = &r->sides[d].cell;
        pass.proj = &r->sides[d].proj;
        pass.first = r->sides[d].first;
        pass.second = r->sides[d].second;
        load_state(&pass, rnne_view_of(ctx, in, RH0), pass.h[0], pass.h_stride, r->layer.out);
        if (pass.c) {
            load_state(&pass, rnne_view_of(ctx, in, RC0), pass.c, pass.c_stride, r->layer.hidden);
        }
        if (pass.mask && r->layer.batch > 0) {
            memset(pass.seen, 0, (size_t)r->layer.batch * sizeof *pass.seen);
        }
        run_direction(&pass);
        clear_tails(&pass);
    }
    return RNNE_OK;
}

static rnne_status bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                        int64_t *cost)
{
    rnne_layer l;
    rnne_status s = rnne_layer_read(ctx, in, &l);
    s = s == RNNE_OK ? rnne_layer_place(&l, rnne_view_of(ctx, in, RLENGTHS) != NULL,
                                        rnne_view_of(ctx, in, RPROJ) != NULL,
                                        rnne_view_of(ctx, in, RMASK) != NULL)
                     : s;
    *scratch = l.bytes;
    /* 50 useful operations, or 50 bytes of recurrent weights, a nanosecond. */
    const double units = (double)l.directions * (double)l.gates * (double)l.hidden;
    const double each = 4.0 * (double)l.out + (double)l.batch * ((double)l.inputs + (double)l.out);
    const double total = units * each / 25.0 * (double)l.steps;
    *cost = s == RNNE_OK && total < (double)INT32_MAX ? (int64_t)total : INT32_MAX;
    return s;
}

const rnne_op rnne_op_recurrent = {
    "recurrent",
    R_OPERANDS,
    R_INTS,
    R_FLOATS,
    1u << RY | 1u << RH_N | 1u << RC_N,
    bind,
    run,
    sizeof(rnne_recurrent),
    prepare};
