/* Linear layers on packed weights, and the packing of weights that arrive at run time. */
#include "core/checked.h"
#include "core/loop.h"

/* Rows handed to the kernel at a time: enough to reuse each weight, few enough to stay on the stack
 * of addresses in the private cache. */
#define ROWS_AT_ONCE 192

/* ---- y = act(x W + b): operands x [.., K], packed W, packed b, y [.., N]; ints: activation, N --- */

static rnne_status linear_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *w = rnne_view_of(ctx, in, 1);
    const rnne_view *b = rnne_view_of(ctx, in, 2), *y = rnne_view_of(ctx, in, 3);
    if (!x || !y || y->rank < 1 || !rnne_view_is(ctx, x, y->rank, RNNE_F32) ||
        !rnne_view_is(ctx, y, y->rank, RNNE_F32) || !rnne_view_is(ctx, w, 1, RNNE_F32) ||
        !rnne_view_is(ctx, b, 1, RNNE_F32)) {
        return RNNE_E_SHAPE;
    }
    const int64_t last = y->rank - 1, n = rnne_int(ctx, in, 1), k = x->dim[last];
    if (n < 0 || n > INT32_MAX || !rnne_act_known(rnne_int(ctx, in, 0))) {
        return RNNE_E_SHAPE;
    }
    const int64_t units = (n + RNNE_PANEL - 1) / RNNE_PANEL * RNNE_PANEL;
    for (int64_t axis = 0; axis < last; axis++) {
        if (x->dim[axis] != y->dim[axis]) {
            return RNNE_E_SHAPE;
        }
    }
    if (y->dim[last] != n || w->dim[0] != rnne_product(units, k) || b->dim[0] != units) {
        return RNNE_E_SHAPE;
    }
    int64_t rows = 1, flops = 0;
    for (int64_t axis = 0; axis < last; axis++) {
        rows *= y->dim[axis];
    }
    *scratch = 2 * ROWS_AT_ONCE * (int64_t)sizeof(float *);
    *cost = rnne_add_product(&flops, rows, rnne_product(units, k)) ? INT32_MAX : flops / 25 + 10;
    return RNNE_OK;
}

static rnne_status linear_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *vx = rnne_view_of(ctx, in, 0), *vy = rnne_view_of(ctx, in, 3);
    const rnne_act act = {(int32_t)rnne_int(ctx, in, 0), rnne_float(ctx, in, 0),
                          rnne_float(ctx, in, 1), rnne_float(ctx, in, 2)};
    const int64_t last = vy->rank - 1, n = rnne_int(ctx, in, 1);
    const rnne_matrix m = {.w = rnne_f32(ctx, rnne_view_of(ctx, in, 1)),
                           .bias = rnne_f32(ctx, rnne_view_of(ctx, in, 2)),
                           .panels = (size_t)((n + RNNE_PANEL - 1) / RNNE_PANEL),
                           .gates = 1,
                           .k = (size_t)vx->dim[last]};
    const float **from = scratch;
    float **to = (float **)scratch + ROWS_AT_ONCE;
    const float *x = rnne_f32(ctx, vx);
    float *y = rnne_f32(ctx, vy);
    rnne_view rows[2] = {*vx, *vy};
    const rnne_view *views[] = {&rows[0], &rows[1]};
    size_t filled = 0;
    rnne_loop loop;
    if (n == 0) {
        return RNNE_OK;
    }
    rows[0].rank = rows[1].rank = last;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            from[filled] = x + loop.offset[0] + i * loop.inner_stride[0];
            to[filled] = y + loop.offset[1] + i * loop.inner_stride[1];
            if (++filled == ROWS_AT_ONCE) {
                ctx->program->kernels->linear(&m, from, to, filled, (size_t)n, &act);
                filled = 0;
            }
        }
    }
    if (filled > 0) {
        ctx->program->kernels->linear(&m, from, to, filled, (size_t)n, &act);
    }
    return RNNE_OK;
}

/* ---- dst = pack(src): operands src [gates, units, k], dst flat -------------------------------- */

static rnne_status pack_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                             int64_t *cost)
{
    const rnne_view *src = rnne_view_of(ctx, in, 0), *dst = rnne_view_of(ctx, in, 1);
    *scratch = 0;
    if (!src || src->rank != 3 || rnne_dtype_of(ctx, src) != RNNE_F32 ||
        !rnne_view_is(ctx, dst, 1, RNNE_F32)) {
        return RNNE_E_SHAPE;
    }
    if (src->dim[1] > INT64_MAX - RNNE_PANEL) {
        return RNNE_E_SIZE;
    }
    const int64_t units = (src->dim[1] + RNNE_PANEL - 1) / RNNE_PANEL * RNNE_PANEL;
    const int64_t size = rnne_product(rnne_product(src->dim[0], units), src->dim[2]);
    *cost = size < INT32_MAX ? size : INT32_MAX;
    return dst->dim[0] == size && size < INT64_MAX ? RNNE_OK : RNNE_E_SHAPE;
}

static rnne_status pack_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *src = rnne_view_of(ctx, in, 0), *dst = rnne_view_of(ctx, in, 1);
    (void)scratch;
    rnne_pack(rnne_f32(ctx, dst), rnne_f32(ctx, src), (size_t)src->dim[0], (size_t)src->dim[1],
              (size_t)src->dim[2], (ptrdiff_t)src->stride[0], (ptrdiff_t)src->stride[1],
              (ptrdiff_t)src->stride[2]);
    return RNNE_OK;
}

const rnne_op rnne_op_linear = {"linear", 4, 2, 3, 1u << 3, linear_bind, linear_run, 0, NULL};
const rnne_op rnne_op_pack = {"pack", 2, 0, 0, 1u << 1, pack_bind, pack_run, 0, NULL};
