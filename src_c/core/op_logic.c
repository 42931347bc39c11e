/* Comparison and choice. Truth values are int32, 0 or 1. */
#include "core/loop.h"

static int64_t nanoseconds(int64_t elements)
{
    return elements < INT32_MAX ? elements / 2 + 5 : INT32_MAX;
}

static const int32_t *i32(const rnne_context *ctx, const rnne_view *view)
{
    return (const int32_t *)ctx->base[view->buffer] + view->offset;
}

/* ---- y = a ? b: operands a, b of one type, y int32; ints: comparison ---------------------------- */

typedef enum comparison {
    EQUAL = 0,
    LESS = 1,
    LESS_OR_EQUAL = 2,
    NOT_EQUAL = 3,
    COMPARISONS = 4,
} comparison;

static rnne_status compare_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                                int64_t *cost)
{
    const rnne_view *a = rnne_view_of(ctx, in, 0), *b = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int64_t what = rnne_int(ctx, in, 0);
    *scratch = 0;
    if (!rnne_same_shape(a, y) || !rnne_same_shape(b, y) || what < 0 || what >= COMPARISONS ||
        rnne_dtype_of(ctx, a) != rnne_dtype_of(ctx, b) || rnne_dtype_of(ctx, y) != RNNE_I32) {
        return RNNE_E_SHAPE;
    }
    *cost = nanoseconds(rnne_view_count(y));
    return RNNE_OK;
}

/* NaN differs from everything, and is in no order. */
static int32_t compare_f32(float a, float b, comparison what)
{
    switch (what) {
    case EQUAL: return a == b;
    case LESS: return a < b;
    case NOT_EQUAL: return a != b;
    default: return a <= b;
    }
}

static int32_t compare_i32(int32_t a, int32_t b, comparison what)
{
    switch (what) {
    case EQUAL: return a == b;
    case LESS: return a < b;
    case NOT_EQUAL: return a != b;
    default: return a <= b;
    }
}

static rnne_status compare_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1),
                                rnne_view_of(ctx, in, 2)};
    const comparison what = (comparison)rnne_int(ctx, in, 0);
    const int floats = rnne_dtype_of(ctx, views[0]) == RNNE_F32;
    const float *fa = rnne_f32(ctx, views[0]), *fb = rnne_f32(ctx, views[1]);
    const int32_t *ia = i32(ctx, views[0]), *ib = i32(ctx, views[1]);
    int32_t *y = (int32_t *)ctx->base[views[2]->buffer] + views[2]->offset;
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 3, 0); more; more = rnne_loop_next(&loop)) {
        int64_t a = loop.offset[0], b = loop.offset[1], to = loop.offset[2];
        for (int64_t i = 0; i < loop.inner; i++) {
            y[to] = floats ? compare_f32(fa[a], fb[b], what) : compare_i32(ia[a], ib[b], what);
            a += loop.inner_stride[0];
            b += loop.inner_stride[1];
            to += loop.inner_stride[2];
        }
    }
    return RNNE_OK;
}

/* ---- y = condition ? a : b: operands condition int32; a, b, y of one type ------------------------ */

static rnne_status select_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *condition = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 3);
    *scratch = 0;
    if (!rnne_same_shape(condition, y) || rnne_dtype_of(ctx, condition) != RNNE_I32) {
        return RNNE_E_SHAPE;
    }
    for (int i = 1; i < 3; i++) {
        const rnne_view *x = rnne_view_of(ctx, in, i);
        if (!rnne_same_shape(x, y) || rnne_dtype_of(ctx, x) != rnne_dtype_of(ctx, y)) {
            return RNNE_E_SHAPE;
        }
    }
    *cost = nanoseconds(rnne_view_count(y));
    return RNNE_OK;
}

static rnne_status select_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1),
                                rnne_view_of(ctx, in, 2), rnne_view_of(ctx, in, 3)};
    const int32_t *condition = i32(ctx, views[0]), *a = i32(ctx, views[1]), *b = i32(ctx, views[2]);
    int32_t *y = (int32_t *)ctx->base[views[3]->buffer] + views[3]->offset;
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 4, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int64_t from_a = loop.offset[1] + i * loop.inner_stride[1];
            const int64_t from_b = loop.offset[2] + i * loop.inner_stride[2];
            y[loop.offset[3] + i * loop.inner_stride[3]] =
                condition[loop.offset[0] + i * loop.inner_stride[0]] ? a[from_a] : b[from_b];
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_compare = {"compare", 3, 1, 0, 1u << 2, compare_bind, compare_run, 0, NULL, 0};
const rnne_op rnne_op_select = {"select", 4, 0, 0, 1u << 3, select_bind, select_run, 0, NULL, 0};
