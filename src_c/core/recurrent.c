/* The time loop of a recurrent layer: input projected in chunks of steps, directions one after the
 * other or, with several threads, side by side.
 *
 * Rows with lengths are taken in order of falling length, so that the rows still running are always
 * a prefix and finished rows cost nothing. A row's arithmetic depends on nothing but the row, and a
 * unit's on nothing but the states before the step: threads share the units and meet after each step.
 */
#include <string.h>

#include "core/matrix.h"
#include "core/recurrent_crew.h"

/* Panels whose products are done before those of the next ones, and from what size of weights on: a
 * private cache of 2 MB keeps little more than half of it through reads that start over each time. */
#define STRIP_COLUMNS 32 /* of gates times panels: 8 panels of an LSTM, 12 of a GRU, 32 of an RNN */
#define STRIP_FROM_BYTES 1.2e6

static const float *input_row(const rnne_pass *p, int64_t i, int64_t s)
{
    return rnne_f32(p->ctx, p->x) + rnne_pass_time(p, i, s) * p->x->stride[0] +
           rnne_pass_row(p, i) * p->x->stride[1];
}

/* h' of a projected LSTM: m W_p, clipped, settled like any stored state; this thread's units. */
static void project_out(const rnne_pass *p, float *h, int64_t rows)
{
    const rnne_act identity = {0};
    const rnne_units u = p->out;
    const size_t n = (size_t)(u.end - u.begin), first = (size_t)u.panel_begin * RNNE_PANEL;
    const rnne_matrix part =
        rnne_matrix_part(p->proj, (size_t)u.panel_begin, (size_t)u.panel_end);
    for (int64_t i = 0; i < rows; i++) {
        p->from[i] = p->m + (size_t)i * p->c_stride;
        p->to[i] = h + (size_t)i * p->h_stride + first;
    }
    rnne_linear(p->ctx->program, &part, p->from, p->to, (size_t)rows, n, &identity, p->area);
    for (int64_t i = 0; i < rows; i++) {
        p->kernels->clamp(p->to[i], p->to[i], n, p->proj_clip);
        p->kernels->settle(p->to[i], p->to[i], n);
    }
}

/* A product of a step: what it adds to, and its rows, quantised where its weights are int8. */
typedef struct product {
    const rnne_matrix *m;
    rnne_sums sums;
    const rnne_row *const *quantized;
} product;

static product make_product(const rnne_pass *p, const rnne_matrix *m, rnne_sums sums, int bounded,
                            void *area)
{
    const int int8 = rnne_is_int8(m);
    return (product){m, sums, int8 ? rnne_int8_rows(p->ctx->program, m, sums.rows, sums.n_rows, bounded, area)
                                   : NULL};
}

static void run_product(const rnne_pass *p, product q, size_t begin, size_t end)
{
    q.sums.begin = begin;
    q.sums.end = end;
    if (q.quantized) {
        p->ctx->program->int8->accumulate(q.m, q.quantized, &q.sums);
    } else {
        p->kernels->accumulate(q.m, &q.sums);
    }
}

/* Products for this thread's panels, a strip of them at a time. Where weights are larger than the private
 * cache, what it holds of the last strips is then of all products, and the next step begins with it. */
static void run_products(const rnne_pass *p, const rnne_step *step, const product *products, int n)
{
    const size_t begin = step->panel_begin, panels = step->panel_end - begin;
    double bytes = 0.0;
    for (int i = 0; i < n; i++) {
        bytes += rnne_matrix_bytes(products[i].m);
    }
    const size_t strip = (STRIP_COLUMNS / p->cell->x.gates + 3) / 4 * 4;
    const size_t wide = bytes > STRIP_FROM_BYTES ? strip : panels + 1;
    const size_t strips = (panels + wide - 1) / wide;
    for (size_t s = 0; s < strips; s++) {
        const size_t at = (step->backwards ? strips - 1 - s : s) * wide;
        const size_t end = panels - at < wide ? panels : at + wide;
        for (int i = 0; i < n; i++) {
            run_product(p, products[i], begin + at, begin + end);
        }
    }
}

static const float *const *state_rows(const rnne_pass *p, const rnne_step *step, const float *from,
                                      size_t stride)
{
    for (size_t i = 0; i < step->rows; i++) {
        p->state_rows[i] = from + i * stride;
    }
    return p->state_rows;
}

/* Sums onto the gates of this step's xp, from gate number `first` on. */
static rnne_sums onto_xp(const rnne_pass *p, const rnne_step *step, const float *const *rows, size_t first)
{
    const size_t row = p->cell->x.gates * RNNE_PANEL;
    float *at = p->xp + (step->xp - p->xp) + first * RNNE_PANEL;
    return (rnne_sums){.rows = rows, .n_rows = step->rows, .start = at, .start_panel = step->xp_panel,
                       .start_row = row, .out = at, .out_panel = step->xp_panel, .out_row = row,
                       .backwards = step->backwards};
}

/* The products of a step that its kernel does not do itself; input: that of the input, where it is not
 * done yet. */
static void add_products(const rnne_pass *p, const rnne_step *step, const product *input)
{
    const int of_states = p->r->k > 0 || p->inner;
    const float *const *rows = of_states ? state_rows(p, step, step->h, step->h_stride) : NULL;
    product products[3];
    int n = 0;
    if (input) {
        products[n++] = *input;
    }
    if (p->r->k > 0) {
        products[n++] = make_product(p, p->r, onto_xp(p, step, rows, 0), p->bounded, p->area);
    }
    if (p->inner) {
        const rnne_sums inner = {.rows = rows, .n_rows = step->rows, .start = p->cell->b_rn,
                                 .start_panel = RNNE_PANEL, .out = p->inner,
                                 .out_panel = step->inner_panel, .out_row = step->inner_row,
                                 .backwards = step->backwards};
        if (p->r->k > 0 && p->r->type == p->r_n->type) {
            products[n] = (product){p->r_n, inner, products[n - 1].quantized};
        } else {
            products[n] = make_product(p, p->r_n, inner, p->bounded, p->area);
        }
        n++;
    }
    run_products(p, step, products, n);
}

/* Advance rows [0, rows) by one step; returns the buffer that now holds h. input: as in add_products. */
static float *advance(rnne_pass *p, rnne_step *step, const product *input, float *h, int64_t rows)
{
    float *next = h == p->h[0] ? p->h[1] : p->h[0];
    step->h = h;
    step->rows = (size_t)rows;
    step->h_next = p->m ? p->m : next;
    step->inner_panel = p->inner ? (size_t)rows * RNNE_PANEL : RNNE_PANEL;
    add_products(p, step, input);
    p->first(p->cell, step);
    if (p->second) {
        rnne_track_meet(p);
        if (p->r_n->k > 0) {
            const float *const *from = state_rows(p, step, step->rh, step->next_stride);
            const product candidate =
                make_product(p, p->r_n, onto_xp(p, step, from, 2), p->bounded, p->area);
            run_products(p, step, &candidate, 1);
        }
        p->second(p->cell, step);
    }
    if (p->m) {
        rnne_track_meet(p);
        project_out(p, next, rows);
    }
    return next;
}

/* Number of rows, of those running before, that still run at step s. */
static int64_t still_running(const rnne_pass *p, int64_t rows, int64_t s)
{
    while (rows > 0 && rnne_pass_length(p, rows - 1) <= s) {
        rows--;
    }
    return rows;
}

/* The product of the inputs of as many steps from at->s on as fit the chunk, none from `until` on. */
static product input_product(const rnne_pass *p, rnne_place *at, int64_t until)
{
    const size_t gates = p->cell->x.gates;
    int64_t filled = 0, s = at->s;
    for (int64_t rows = at->rows;
         rows > 0 && s < until && filled + rows <= p->layer->chunk_rows;) {
        for (int64_t i = 0; i < rows; i++) {
            p->rows[filled++] = input_row(p, i, s);
        }
        rows = still_running(p, rows, ++s);
    }
    at->projected = s;
    at->xp_at = 0;
    at->xp_panel = (size_t)filled * gates * RNNE_PANEL;
    const rnne_sums sums = {.rows = p->rows, .n_rows = (size_t)filled, .start = p->cell->x.bias,
                            .start_panel = gates * RNNE_PANEL, .out = p->xp,
                            .out_panel = at->xp_panel, .out_row = gates * RNNE_PANEL};
    return make_product(p, &p->cell->x, sums, 0, p->input_area);
}

void rnne_pass_begin(const rnne_pass *p, rnne_place *at)
{
    rnne_pass_load(p);
    *at = (rnne_place){.rows = still_running(p, p->layer->batch, 0)};
    rnne_pass_finish(p, p->h[0], at->rows, p->layer->batch);
}

int rnne_pass_run(rnne_pass *p, rnne_place *at, int64_t until)
{
    rnne_step step = {.h_stride = p->h_stride, .next_stride = p->c_stride, .c = p->c, .z = p->z,
                      .rh = p->rh, .inner = p->inner ? p->inner : p->cell->b_rn,
                      .inner_row = p->inner ? RNNE_PANEL : 0};
    /* A single row of one step, or of a narrow input, is cheapest projected inside the step. */
    const int inside = p->layer->batch == 1 && !p->second && p->r->k == 0 &&
                       p->cell->x.type == RNNE_W_F32 &&
                       (p->layer->steps == 1 || p->layer->inputs <= 4);
    product input = {0};
    int waiting = 0; /* the product of the input is done with those of the state */
    while (at->rows > 0 && at->s < until) {
        const int64_t s = at->s, rows = at->rows;
        if (p->track && !rnne_track_step(p, at)) {
            return 0;
        }
        step.panel_begin = (size_t)p->hidden.panel_begin;
        step.panel_end = (size_t)p->hidden.panel_end;
        if (inside) {
            step.x = input_row(p, 0, s);
        } else {
            if (s == at->projected) {
                input = input_product(p, at, until);
                waiting = p->layer->steps == 1;
                if (!waiting) {
                    run_product(p, input, step.panel_begin, step.panel_end);
                }
            }
            step.xp = p->xp + at->xp_at;
            step.xp_panel = at->xp_panel;
            at->xp_at += (size_t)rows * p->cell->x.gates * RNNE_PANEL;
        }
        /* Weights larger than the private cache: it still holds those the last step ended with. */
        step.backwards = (p->ctx->runs * p->layer->steps + s) % 2 != 0;
        rnne_pass_save_masked(p, s, rows);
        float *before = p->h[s % 2], *h = advance(p, &step, waiting ? &input : NULL, before, rows);
        rnne_pass_restore_masked(p, before, h, s, rows);
        rnne_pass_store(p, h, s, rows);
        at->s = s + 1;
        at->rows = still_running(p, rows, s + 1);
        rnne_pass_finish(p, h, at->rows, rows);
        rnne_track_meet(p);
    }
    return 1;
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

/* Leave to the step kernels what they can multiply, and keep the rest beside the cell. */
static void take_apart(rnne_recurrent *r, int64_t d)
{
    rnne_cell *cell = &r->sides[d].cell;
    const int after = r->layer.kind == R_GRU && r->layer.reset_after;
    r->sides[d].r = r->sides[d].r_n = (rnne_matrix){.k = 0};
    if (cell->r.type != RNNE_W_F32 || (r->layer.apart && after)) {
        r->sides[d].r = cell->r;
        cell->r.k = 0;
    }
    if (r->layer.apart && (cell->r_n.type != RNNE_W_F32 || after)) {
        r->sides[d].r_n = cell->r_n;
        cell->r_n.k = 0;
    }
}

static void prepare(const rnne_context *ctx, const rnne_instr *in, void *prepared)
{
    rnne_recurrent *r = prepared;
    rnne_layer_read(ctx, in, &r->layer);
    rnne_layer_place(ctx, in, &r->layer);
    for (int64_t d = 0; d < r->layer.directions; d++) {
        rnne_layer_cell(ctx, in, &r->layer, d, &r->sides[d].cell, &r->sides[d].proj);
        r->sides[d].bounded = rnne_cell_is_bounded(&r->sides[d].cell, &r->layer);
        take_apart(r, d);
        r->sides[d].reverse = d == 1 || r->layer.has_reverse_first;
        choose_kernels(ctx, r, d);
    }
}

rnne_status rnne_chain_run(const rnne_context *ctx, const rnne_instr *in, int64_t count, void *scratch)
{
    const rnne_layer *first = &((const rnne_recurrent *)rnne_prepared(ctx, in))->layer;
    char *at = scratch;
    for (int64_t i = 0; i < count; i++) {
        const rnne_layer *l = &((const rnne_recurrent *)rnne_prepared(ctx, in + i))->layer;
        const rnne_view *lengths = rnne_view_of(ctx, in + i, RLENGTHS);
        if (lengths) {
            const int32_t *data = (const int32_t *)ctx->base[lengths->buffer] + lengths->offset;
            const rnne_status s = sort_rows(l, data, lengths->stride[0], at, ctx->detail);
            if (s != RNNE_OK) {
                return s;
            }
        }
        at += l->bytes;
    }
    const int64_t wanted = count > 1 ? rnne_chain_workers(ctx, in, count) : first->workers;
    rnne_crew_run(ctx, in, count, scratch, rnne_context_crew(ctx, wanted));
    return RNNE_OK;
}

static rnne_status run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    return rnne_chain_run(ctx, in, 1, scratch);
}

static rnne_status bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                        int64_t *cost)
{
    rnne_layer l;
    rnne_status s = rnne_layer_read(ctx, in, &l);
    s = s == RNNE_OK ? rnne_layer_place(ctx, in, &l) : s;
    *scratch = l.bytes;
    const double total = rnne_layer_step_cost(&l) * (double)l.steps;
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
    prepare,
    1u << RW | 1u << RR | 1u << RR_N | 1u << RPROJ};
