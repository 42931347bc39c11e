/* Convolutions and their transposes over two spatial axes, on packed weights.
 *
 * operands  x [N,C,H,W]; packed w; packed bias; slope [M] of a PRelu or none; y [N,M,OH,OW]; scale,
 *           offset and zero point of w
 * ints      activation, group, 1 where every group starts a panel of its own (0: units are packed
 *           across the groups), 1 for the transpose, 1 where activations of integer weights have 8
 *           bits, then the windows (window.h)
 * floats    alpha, beta, gamma of the activation
 *
 * k of a chain runs over the channels of the group, then kernel rows, then kernel columns. Weights of
 * a type other than float32 need a single group. Positions are rows of a matrix product where weights are
 * integers, and where that is faster (conv_rows.c); the others are the kernel's, for which halves are
 * widened panel by panel.
 */
#include "core/checked.h"
#include "core/matrix.h"
#include "core/window.h"


enum { ACT, GROUP, OWN_PANELS, TRANSPOSED, BITS, WINDOWS };

#define FEW_POSITIONS 16

static const rnne_matrix_at w_at = {1, 5, 6, 7, BITS};

/* One spatial axis: its windows and the floats from one step along it to the next. */
typedef struct axis {
    rnne_window window;
    int64_t x, y, w;
} axis;

typedef struct layout {
    axis row, col;
    int64_t batch, x_batch, y_batch;
    int64_t group, units, channels; /* units and channels of one group */
    int own_panels;
    int across; /* positions are the rows of the batch: the result has one column */
    const rnne_matrix *product; /* the weights where windows are rows of a product, which has the area */
    void *area;
} layout;

/* Columns that share one list of taps. */
typedef struct phase {
    const rnne_tap *taps;
    size_t count, n;
} phase;

static int64_t padded(int64_t units)
{
    return units > INT64_MAX - RNNE_PANEL ? INT64_MAX
                                          : (units + RNNE_PANEL - 1) / RNNE_PANEL * RNNE_PANEL;
}

static int64_t k_of(const layout *l)
{
    const int64_t taps = rnne_product(l->row.window.kernel, l->col.window.kernel);
    return rnne_product(l->channels, taps);
}

static int64_t packed_units(const layout *l)
{
    return l->own_panels ? rnne_product(padded(l->units), l->group)
                         : padded(rnne_product(l->units, l->group));
}

static int pointwise(const rnne_window *w)
{
    return w->kernel == 1 && w->stride == 1 && w->before == 0 && w->size == w->outputs;
}

/* Where one axis will do, make it the columns: they are what the lanes run along. */
static void simplify(layout *l)
{
    axis *row = &l->row, *col = &l->col;
    const int64_t width = col->window.size, whole = rnne_product(width, row->window.size);
    if (pointwise(&row->window) && pointwise(&col->window) && row->x == width * col->x &&
        row->y == width * col->y && whole < INT64_MAX) {
        col->window.size = col->window.outputs = whole;
        row->window.size = row->window.outputs = 1;
    } else if (col->window.kernel == 1 && col->window.outputs < RNNE_PANEL &&
               col->window.outputs < row->window.outputs) {
        const axis other = *row;
        *row = *col;
        *col = other;
    }
    l->across = col->window.outputs == 1 && l->batch > 1;
}

static rnne_status layout_read(const rnne_context *ctx, const rnne_instr *in, layout *l)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 4);
    rnne_window windows[2];
    const int64_t group = rnne_int(ctx, in, GROUP);
    if (!x || !y || x->rank != 4 || y->rank != 4 || rnne_dtype_of(ctx, x) != RNNE_F32 ||
        rnne_dtype_of(ctx, y) != RNNE_F32 || x->dim[0] != y->dim[0] || group < 1 ||
        x->dim[1] % group || y->dim[1] % group) {
        return RNNE_E_SHAPE;
    }
    rnne_status s =
        rnne_windows_read(ctx, in, WINDOWS, rnne_int(ctx, in, TRANSPOSED) != 0, x, y, windows);
    if (s != RNNE_OK) {
        return s;
    }
    *l = (layout){.row = {windows[0], x->stride[2], y->stride[2], windows[1].kernel * RNNE_PANEL},
                  .col = {windows[1], x->stride[3], y->stride[3], RNNE_PANEL},
                  .batch = x->dim[0],
                  .x_batch = x->stride[0],
                  .y_batch = y->stride[0],
                  .group = group,
                  .units = y->dim[1] / group,
                  .channels = x->dim[1] / group,
                  .own_panels = rnne_int(ctx, in, OWN_PANELS) != 0};
    return RNNE_OK;
}

static rnne_matrix_size w_size(const layout *l)
{
    return (rnne_matrix_size){1, packed_units(l) / RNNE_PANEL, 1, k_of(l)};
}

/* Whether positions are rows of a matrix product: all of them where weights are integers, of floats those
 * that no tap reads padding for, because only then are the chains the same. Floats do so where gathering
 * what positions read is little beside the product, and halves also where positions are so few that
 * widening the weights would cost more. */
static int as_product(const layout *l, int64_t dtype)
{
    const int64_t positions = l->across ? l->batch : l->col.window.outputs;
    const int gathered_fast = l->col.window.stride <= 2 || l->units >= 8 * RNNE_PANEL;
    const int large = l->units >= 2 * RNNE_PANEL && k_of(l) >= 64 && gathered_fast;
    return dtype == RNNE_I8 ||
           (l->group == 1 && (large || (dtype != RNNE_F32 && positions <= FEW_POSITIONS)));
}

static int64_t area_of(const layout *l)
{
    return rnne_conv_rows_area(k_of(l), l->units, l->row.window.kernel * l->col.window.kernel);
}

/* Taps of rows and columns (all of them where positions are rows of the batch), and the phases. */
static int64_t scratch_of(const layout *l)
{
    const int64_t rows = l->row.window.kernel, cols = l->col.window.kernel;
    const int64_t taps = rnne_product(rows, cols) > INT64_MAX / 128 ? INT64_MAX / 128 : rows * cols;
    const int64_t phases = rnne_window_phases(&l->col.window);
    return phases > INT64_MAX / 128
               ? INT64_MAX / 2
               : rnne_align((taps + rows + cols) * (int64_t)sizeof(rnne_tap) +
                            phases * (int64_t)sizeof(phase));
}

static rnne_status conv_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                             int64_t *cost)
{
    const rnne_view *w = rnne_view_of(ctx, in, 1), *b = rnne_view_of(ctx, in, 2);
    const rnne_view *slope = rnne_view_of(ctx, in, 3), *y = rnne_view_of(ctx, in, 4);
    layout l;
    rnne_status s = layout_read(ctx, in, &l);
    if (s != RNNE_OK) {
        return s;
    }
    const int64_t units = packed_units(&l), act = rnne_int(ctx, in, ACT);
    const rnne_matrix_size size = w_size(&l);
    if (!rnne_act_known(act) || !rnne_view_is(ctx, b, 1, RNNE_F32) || b->dim[0] != units ||
        units == INT64_MAX || !rnne_matrix_fits(ctx, in, &w_at, &size) ||
        (rnne_dtype_of(ctx, w) != RNNE_F32 && l.group > 1)) {
        return RNNE_E_SHAPE;
    }
    if (slope && (!rnne_view_is(ctx, slope, 1, RNNE_F32) || slope->dim[0] != y->dim[1] ||
                  act != RNNE_ACT_LEAKY_RELU)) {
        return RNNE_E_SHAPE;
    }
    int64_t flops = 0;
    simplify(&l);
    *scratch = scratch_of(&l);
    const int64_t dtype = rnne_dtype_of(ctx, w), wide = RNNE_PANEL * (int64_t)sizeof(float);
    if ((as_product(&l, dtype) && rnne_add_product(scratch, 1, area_of(&l))) ||
        (dtype != RNNE_F32 && dtype != RNNE_I8 && rnne_add_product(scratch, k_of(&l), wide))) {
        return RNNE_E_SIZE;
    }
    *cost = rnne_add_product(&flops, rnne_view_count(y), k_of(&l)) ? INT32_MAX : flops / 15 + 30;
    return *scratch < INT64_MAX / 2 ? RNNE_OK : RNNE_E_SIZE;
}

/* Lists of taps of all columns: one for each phase; returns how many phases there are. */
static int64_t column_phases(const layout *l, phase *phases, rnne_tap *taps)
{
    const int64_t count = rnne_window_phases(&l->col.window);
    for (int64_t i = 0; i < count; i++) {
        phases[i].taps = taps;
        phases[i].count =
            rnne_window_phase(&l->col.window, i, l->col.x, l->col.w, taps, &phases[i].n);
        taps += phases[i].count;
    }
    return count;
}

/* Where positions are rows of the batch, each pair of row and column is a row of its own. */
static size_t pair_taps(const layout *l, int64_t row, rnne_tap *pairs, rnne_tap *some)
{
    rnne_tap *cols = some + l->row.window.kernel;
    const size_t n_rows = rnne_window_taps(&l->row.window, row, l->row.x, l->row.w, some);
    const size_t n_cols = rnne_window_taps(&l->col.window, 0, l->col.x, l->col.w, cols);
    size_t count = 0;
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t c = 0; c < n_cols; c++) {
            pairs[count++] = (rnne_tap){some[r].x + cols[c].x, some[r].w + cols[c].w, 0, 1};
        }
    }
    return count;
}

/* The positions [*first, *end) that all taps of the weights count for; none where they are so few that the
 * weights would be read again for little. */
static void inner_positions(const rnne_conv *c, size_t *first, size_t *end)
{
    *first = 0;
    *end = c->n_rows * c->n_cols * RNNE_PANEL == c->w_channel ? c->n : 0;
    for (size_t t = 0; t < c->n_cols; t++) {
        *first = c->cols[t].begin > *first ? c->cols[t].begin : *first;
        *end = c->cols[t].end < *end ? c->cols[t].end : *end;
    }
    if (*end < *first + FEW_POSITIONS * ((*first > 0) + (size_t)(*end < c->n))) {
        *first = *end = 0;
    }
}

/* Positions from `from` on by the kernel of convolutions; taps is room for a list of columns. */
static void run_from(const rnne_context *ctx, const rnne_conv *c, size_t from, rnne_tap *taps)
{
    rnne_conv last = *c;
    last.x += (ptrdiff_t)from * c->x_step;
    last.y += (ptrdiff_t)from * c->y_step;
    last.n -= from;
    for (size_t t = 0; t < c->n_cols; t++) {
        taps[t] = c->cols[t];
        taps[t].begin -= taps[t].begin < from ? taps[t].begin : from;
        taps[t].end -= taps[t].end < from ? taps[t].end : from;
    }
    last.cols = taps;
    ctx->program->kernels->conv(&last);
}

/* One row of outputs of a group. Where the weights are halves, c->w is either missing, for the inner
 * positions, or one panel of them, for the others. */
static void run_row(const rnne_context *ctx, const layout *l, const rnne_conv *c)
{
    size_t first, end;
    if (!l->product) {
        ctx->program->kernels->conv(c);
        return;
    }
    if (rnne_is_int8(l->product)) {
        rnne_conv_rows(ctx->program, l->product, c, 0, c->n, l->area);
        return;
    }
    inner_positions(c, &first, &end);
    if (!c->w || l->product->type == RNNE_W_F32) {
        rnne_conv_rows(ctx->program, l->product, c, first, end, l->area);
    }
    if (c->w && first > 0) {
        rnne_conv before = *c;
        before.n = first;
        ctx->program->kernels->conv(&before);
    }
    if (c->w && end < c->n) {
        run_from(ctx, c, end, rnne_conv_rows_taps(l->area));
    }
}

/* One row of outputs in every group; the lists of taps and the first positions are set. */
static void run_groups(const rnne_context *ctx, const layout *l, const rnne_conv *first,
                       int64_t x_channel, int64_t y_channel)
{
    for (int64_t g = 0; g < l->group; g++) {
        const int64_t unit = l->own_panels ? g * padded(l->units) : g * l->units;
        rnne_conv c = *first;
        c.x += g * l->channels * x_channel;
        c.y += g * l->units * y_channel;
        c.w = c.w ? c.w + unit / RNNE_PANEL * (int64_t)c.w_panel : NULL;
        c.bias += unit / RNNE_PANEL * RNNE_PANEL;
        c.first = (size_t)(unit % RNNE_PANEL);
        c.slope = c.slope ? c.slope + g * l->units : NULL;
        run_row(ctx, l, &c);
    }
}

static void run_rows(const rnne_context *ctx, const layout *l, rnne_conv c, void *scratch,
                     int64_t x_channel, int64_t y_channel)
{
    const rnne_tap whole = {0, 0, 0, (size_t)l->batch};
    rnne_tap *rows = scratch;
    rnne_tap *cols = rows + l->row.window.kernel * (l->across ? l->col.window.kernel : 1);
    phase *phases = (phase *)(cols + l->row.window.kernel + l->col.window.kernel);
    const int64_t count = l->across ? 1 : column_phases(l, phases, cols);
    const float *x = c.x;
    float *y = c.y;
    c.rows = rows;
    if (l->across) {
        phases[0] = (phase){&whole, 1, (size_t)l->batch};
    }
    for (int64_t o = 0; o < l->row.window.outputs; o++) {
        c.n_rows = l->across ? pair_taps(l, o, rows, cols)
                             : rnne_window_taps(&l->row.window, o, l->row.x, l->row.w, rows);
        for (int64_t n = 0; n < (l->across ? 1 : l->batch); n++) {
            for (int64_t i = 0; i < count; i++) {
                c.x = x + n * l->x_batch;
                c.y = y + n * l->y_batch + o * l->row.y + i * l->col.y;
                c.cols = phases[i].taps;
                c.n_cols = phases[i].count;
                c.n = phases[i].n;
                run_groups(ctx, l, &c, x_channel, y_channel);
            }
        }
    }
}

/* Weights of halves: inner positions are products; for the others one panel at a time stands behind the
 * memory of those as float32. */
static void run_halves(const rnne_context *ctx, const layout *l, const rnne_conv *whole,
                       const rnne_matrix *w, int64_t x_channel, int64_t y_channel, void *scratch)
{
    float *wide = (float *)((char *)l->area + (l->product ? area_of(l) : 0));
    const int inside = rnne_window_inside(&l->row.window) && rnne_window_inside(&l->col.window);
    if (l->product) {
        run_rows(ctx, l, *whole, scratch, x_channel, y_channel);
    }
    for (size_t panel = 0; panel < w->panels && !(l->product && inside); panel++) {
        const size_t unit = panel * RNNE_PANEL, left = whole->units - unit;
        rnne_conv c = *whole;
        ctx->program->kernels->widen(w, panel, wide);
        c.w = wide;
        c.bias += unit;
        c.y += (ptrdiff_t)unit * y_channel;
        c.slope = c.slope ? c.slope + unit : NULL;
        c.units = left < RNNE_PANEL ? left : RNNE_PANEL;
        run_rows(ctx, l, c, scratch, x_channel, y_channel);
    }
}

static rnne_status conv_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 4);
    layout l;
    if (rnne_view_count(y) == 0 || layout_read(ctx, in, &l) != RNNE_OK) {
        return RNNE_OK; /* nothing to do: bind has seen that it can be read */
    }
    const rnne_matrix_size size = w_size(&l);
    rnne_matrix w = rnne_matrix_read(ctx, in, &w_at, &size, 0);
    const int64_t k = k_of(&l), taps = l.row.window.kernel * l.col.window.kernel;
    simplify(&l);
    const int64_t every = l.col.window.transposed ? l.col.window.stride : 1;
    const rnne_conv c = {
        .x = rnne_f32(ctx, x),
        .x_channel = x->stride[1],
        .x_step = l.across ? l.x_batch : l.col.window.transposed ? l.col.x
                                                                 : l.col.x * l.col.window.stride,
        .channels = (size_t)l.channels,
        .w = w.type == RNNE_W_F32 ? w.w : NULL,
        .bias = rnne_f32(ctx, rnne_view_of(ctx, in, 2)),
        .w_channel = (size_t)(taps * RNNE_PANEL),
        .w_panel = (size_t)(k * RNNE_PANEL),
        .units = (size_t)l.units,
        .y = rnne_f32(ctx, y),
        .y_unit = y->stride[1],
        .y_step = l.across ? l.y_batch : l.col.y * every,
        .act = {(int32_t)rnne_int(ctx, in, ACT), rnne_float(ctx, in, 0), rnne_float(ctx, in, 1),
                rnne_float(ctx, in, 2)},
        .slope = rnne_f32(ctx, rnne_view_of(ctx, in, 3)),
    };
    w.bias = c.bias;
    l.area = (char *)scratch + scratch_of(&l);
    l.product = as_product(&l, rnne_dtype_of(ctx, rnne_view_of(ctx, in, 1))) ? &w : NULL;
    if (l.product) {
        rnne_conv_rows_begin(l.area);
    }
    if (w.type == RNNE_W_BF16 || w.type == RNNE_W_F16) {
        run_halves(ctx, &l, &c, &w, x->stride[1], y->stride[1], scratch);
    } else {
        run_rows(ctx, &l, c, scratch, x->stride[1], y->stride[1]);
    }
    if (l.product) {
        rnne_conv_rows_end(ctx->program, l.product, &c, l.area);
    }
    return RNNE_OK;
}

const rnne_op rnne_op_conv = {"conv", 8, WINDOWS + RNNE_WINDOW_INTS, 3, 1u << 4, conv_bind, conv_run,
                              0, NULL, 1u << 1};
