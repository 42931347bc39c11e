/* Pools over two spatial axes.
 *
 * operands  x [N,C,H,W], y [N,C,OH,OW]
 * ints      kind (rnne_pool_kind), 1 where a mean counts padding, padding at the end of rows and of
 *           columns (for that count), then the windows (window.h) */
#include "core/checked.h"
#include "core/window.h"

enum { KIND, COUNT_PADDING, AFTER, WINDOWS = AFTER + 2 };

static rnne_status pool_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                             int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    const int64_t kind = rnne_int(ctx, in, KIND);
    rnne_window w[2];
    if (!x || !y || x->rank != 4 || y->rank != 4 || rnne_dtype_of(ctx, x) != RNNE_F32 ||
        rnne_dtype_of(ctx, y) != RNNE_F32 || x->dim[0] != y->dim[0] || x->dim[1] != y->dim[1] ||
        kind < 0 || kind >= RNNE_POOL_COUNT) {
        return RNNE_E_SHAPE;
    }
    rnne_status s = rnne_windows_read(ctx, in, WINDOWS, 0, x, y, w);
    if (s != RNNE_OK) {
        return s;
    }
    for (int axis = 0; axis < 2; axis++) {
        const int64_t after = rnne_int(ctx, in, AFTER + axis);
        if (after < 0 || after > INT32_MAX) {
            return RNNE_E_SHAPE;
        }
    }
    const int64_t taps = w[0].kernel * w[1].kernel; /* both are bounded */
    int64_t work = 0;
    if (taps > RNNE_WINDOW_LIMIT || w[1].outputs > INT64_MAX / 64) {
        return RNNE_E_SIZE;
    }
    *scratch = (w[0].kernel + w[1].kernel) * (int64_t)sizeof(rnne_tap) +
               w[1].outputs * (int64_t)sizeof(float);
    *cost = rnne_add_product(&work, rnne_view_count(y), taps) ? INT32_MAX : work / 8 + 30;
    return RNNE_OK;
}

/* Elements that the window of an output holds when padding counts; ceil_mode's excess never does. */
static int64_t held(const rnne_window *w, int64_t output, int64_t after)
{
    const int64_t left = w->size + after - (output * w->stride - w->before);
    const int64_t fit = left <= 0 ? 0 : (left + w->dilation - 1) / w->dilation;
    return fit < w->kernel ? fit : w->kernel;
}

/* What the sums of one row of outputs are divided by; both numbers are exact in float32. */
static void fill_counts(const rnne_context *ctx, const rnne_instr *in, const rnne_window *w,
                        const rnne_pool *p, int64_t row, float *counts)
{
    const int padding = rnne_int(ctx, in, COUNT_PADDING) != 0;
    const int64_t high = padding ? held(&w[0], row, rnne_int(ctx, in, AFTER)) : (int64_t)p->n_rows;
    for (size_t o = 0; o < p->n; o++) {
        int64_t wide = padding ? held(&w[1], (int64_t)o, rnne_int(ctx, in, AFTER + 1)) : 0;
        for (size_t t = 0; t < p->n_cols && !padding; t++) {
            wide += o >= p->cols[t].begin && o < p->cols[t].end;
        }
        counts[o] = (float)(high * wide);
    }
}

static rnne_status pool_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    rnne_window w[2];
    if (rnne_view_count(y) == 0 || rnne_windows_read(ctx, in, WINDOWS, 0, x, y, w) != RNNE_OK) {
        return RNNE_OK; /* nothing to do: bind has seen that it can be read */
    }
    rnne_tap *rows = scratch, *cols = rows + w[0].kernel;
    float *counts = (float *)(cols + w[1].kernel);
    rnne_pool p = {.x_step = x->stride[3] * w[1].stride,
                   .rows = rows,
                   .cols = cols,
                   .y_step = y->stride[3],
                   .counts = counts,
                   .kind = (int32_t)rnne_int(ctx, in, KIND)};
    p.n_cols = rnne_window_phase(&w[1], 0, x->stride[3], 0, cols, &p.n);
    for (int64_t row = 0; row < w[0].outputs; row++) {
        p.n_rows = rnne_window_taps(&w[0], row, x->stride[2], 0, rows);
        if (p.kind == RNNE_POOL_MEAN) {
            fill_counts(ctx, in, w, &p, row, counts);
        }
        for (int64_t n = 0; n < y->dim[0]; n++) {
            for (int64_t c = 0; c < y->dim[1]; c++) {
                p.x = rnne_f32(ctx, x) + n * x->stride[0] + c * x->stride[1];
                p.y = rnne_f32(ctx, y) + n * y->stride[0] + c * y->stride[1] + row * y->stride[2];
                ctx->program->kernels->pool(&p);
            }
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_pool = {"pool", 2, WINDOWS + RNNE_WINDOW_INTS, 0, 1u << 1, pool_bind, pool_run,
                              0, NULL, 0};
