/* Reductions over the last axes of a view, the place of an extreme, and running sums. */
#include <math.h>

#include "core/checked.h"
#include "core/rows.h"

static int64_t nanoseconds(int64_t elements)
{
    return elements < INT32_MAX ? elements / 2 + 20 : INT32_MAX;
}

/* ---- y = reduce(x): operands x [outer.., inner..], y [outer..] of one type; ints: kind, inner axes */

typedef enum kind {
    SUM = 0,
    MEAN = 1,        /* sum / n */
    MAX = 2,         /* NaN where any element is */
    MIN = 3,         /* the same */
    PROD = 4,
    L1 = 5,          /* sum |x| */
    L2 = 6,          /* sqrt(sum x^2) */
    SUM_SQUARE = 7,
    LOG_SUM = 8,     /* log(sum x) */
    LOG_SUM_EXP = 9, /* m + log(sum exp(x - m)), m the largest, 0 where that is infinite */
    KINDS = 10,
} kind;

/* Integers know sums, products and extremes. */
static int kind_known(int64_t what, rnne_dtype dtype)
{
    const int whole = what == SUM || what == MAX || what == MIN || what == PROD;
    return what >= 0 && what < KINDS && (dtype == RNNE_F32 || whole);
}

static rnne_status reduce_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    const int64_t count = rnne_int(ctx, in, 1);
    if (!x || !y || count < 0 || count > x->rank || rnne_dtype_of(ctx, x) != rnne_dtype_of(ctx, y) ||
        !kind_known(rnne_int(ctx, in, 0), rnne_dtype_of(ctx, x))) {
        return RNNE_E_SHAPE;
    }
    const rnne_view outer = rnne_rows_outer(x, count), inner = rnne_rows_inner(x, count);
    if (!rnne_same_shape(&outer, y)) {
        return RNNE_E_SHAPE;
    }
    const int64_t n = rnne_view_count(&inner);
    *scratch = rnne_product(n, 4);
    *cost = nanoseconds(rnne_product(n, rnne_view_count(y)));
    return *scratch == INT64_MAX ? RNNE_E_SIZE : RNNE_OK;
}

static float log_of(const rnne_kernels *k, float x)
{
    float y;
    k->unary(RNNE_ACT_LOG, 0.0f, 0.0f, 0.0f, &x, &y, 1);
    return y;
}

static float reduce_f32(const rnne_kernels *k, kind what, const float *x, size_t n)
{
    switch (what) {
    case MEAN: return k->reduce(RNNE_RED_SUM, x, n, 0.0f) / (float)n;
    case MAX: return k->reduce(RNNE_RED_MAX, x, n, 0.0f);
    case MIN: return k->reduce(RNNE_RED_MIN, x, n, 0.0f);
    case PROD: return k->reduce(RNNE_RED_PROD, x, n, 0.0f);
    case L1: return k->reduce(RNNE_RED_ABS, x, n, 0.0f);
    case L2: return sqrtf(k->reduce(RNNE_RED_SQUARE, x, n, 0.0f));
    case SUM_SQUARE: return k->reduce(RNNE_RED_SQUARE, x, n, 0.0f);
    case LOG_SUM: return log_of(k, k->reduce(RNNE_RED_SUM, x, n, 0.0f));
    case LOG_SUM_EXP: {
        const float top = k->reduce(RNNE_RED_MAX, x, n, 0.0f);
        const float shift = isinf(top) ? 0.0f : top;
        return shift + log_of(k, k->reduce(RNNE_RED_EXP, x, n, shift));
    }
    default: return k->reduce(RNNE_RED_SUM, x, n, 0.0f);
    }
}

/* 1 where a sum or product leaves 32 bits. */
static int reduce_i32(kind what, const int32_t *x, int64_t n, int32_t *result)
{
    int32_t total = what == PROD ? 1 : what == MAX ? INT32_MIN : what == MIN ? INT32_MAX : 0;
    int overflow = 0;
    for (int64_t i = 0; i < n && !overflow; i++) {
        switch (what) {
        case PROD: overflow = __builtin_mul_overflow(total, x[i], &total); break;
        case MAX: total = x[i] > total ? x[i] : total; break;
        case MIN: total = x[i] < total ? x[i] : total; break;
        default: overflow = __builtin_add_overflow(total, x[i], &total); break;
        }
    }
    *result = total;
    return overflow;
}

static rnne_status reduce_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    const kind what = (kind)rnne_int(ctx, in, 0);
    const int floats = rnne_dtype_of(ctx, x) == RNNE_F32;
    const int32_t *from = (const int32_t *)ctx->base[x->buffer] + x->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    const rnne_view outer = rnne_rows_outer(x, rnne_int(ctx, in, 1));
    const rnne_view *views[] = {&outer, y};
    rnne_rows rows;
    rnne_loop loop;
    rnne_rows_start(&rows, x, rnne_int(ctx, in, 1));
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int32_t *at = from + loop.offset[0] + i * loop.inner_stride[0];
            int32_t *result = to + loop.offset[1] + i * loop.inner_stride[1];
            const void *row = rnne_rows_read(&rows, at, scratch);
            if (floats) {
                *(float *)result = reduce_f32(ctx->program->kernels, what, row, (size_t)rows.n);
            } else if (reduce_i32(what, row, rows.n, result)) {
                return RNNE_E_RANGE;
            }
        }
    }
    return RNNE_OK;
}

/* ---- y = place of the extreme along the last axis: operands x [.., n], y int32 [..]; ints: 1 for the
 * smallest, 1 for the last of several. NaN is more extreme than any number. -------------------------- */

static rnne_status arg_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                            int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    *scratch = 0;
    if (!x || !y || x->rank < 1 || rnne_dtype_of(ctx, y) != RNNE_I32) {
        return RNNE_E_SHAPE;
    }
    const rnne_view outer = rnne_rows_outer(x, 1);
    const int64_t n = x->dim[x->rank - 1];
    if (!rnne_same_shape(&outer, y) || n > INT32_MAX || (n == 0 && rnne_view_count(y) > 0)) {
        return RNNE_E_SHAPE;
    }
    *cost = nanoseconds(rnne_view_count(x));
    return RNNE_OK;
}

/* Whether `b` takes the place of `a`, the extreme so far. */
static int more_extreme(float a, float b, int smallest, int last)
{
    if (a != a || b != b) {
        return b != b && (a == a || last);
    }
    return (smallest ? b < a : b > a) || (last && b == a);
}

static int32_t place_f32(const float *x, int64_t n, int64_t stride, int smallest, int last)
{
    int32_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (more_extreme(x[best * stride], x[i * stride], smallest, last)) {
            best = (int32_t)i;
        }
    }
    return best;
}

static int32_t place_i32(const int32_t *x, int64_t n, int64_t stride, int smallest, int last)
{
    int32_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        const int32_t a = x[best * stride], b = x[i * stride];
        if ((smallest ? b < a : b > a) || (last && b == a)) {
            best = (int32_t)i;
        }
    }
    return best;
}

static rnne_status arg_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    const int smallest = rnne_int(ctx, in, 0) != 0, last = rnne_int(ctx, in, 1) != 0;
    const int floats = rnne_dtype_of(ctx, x) == RNNE_F32;
    const int32_t *from = (const int32_t *)ctx->base[x->buffer] + x->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    const int64_t n = x->dim[x->rank - 1], step = x->stride[x->rank - 1];
    const rnne_view outer = rnne_rows_outer(x, 1);
    const rnne_view *views[] = {&outer, y};
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int32_t *row = from + loop.offset[0] + i * loop.inner_stride[0];
            to[loop.offset[1] + i * loop.inner_stride[1]] =
                floats ? place_f32((const float *)row, n, step, smallest, last)
                       : place_i32(row, n, step, smallest, last);
        }
    }
    return RNNE_OK;
}

/* ---- running sums along the last axis: operands x [.., n], y; ints: 1 to leave out the element itself,
 * 1 to start at the end. One chain of additions in that order. -------------------------------------- */

static rnne_status cumsum_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    *scratch = 0;
    if (!rnne_same_shape(x, y) || x->rank < 1 || rnne_dtype_of(ctx, x) != rnne_dtype_of(ctx, y)) {
        return RNNE_E_SHAPE;
    }
    *cost = nanoseconds(rnne_product(rnne_view_count(x), 4));
    return RNNE_OK;
}

static int cumsum_row(const int32_t *x, int64_t sx, int32_t *y, int64_t sy, int64_t n, int exclusive,
                      int floats)
{
    const float *xf = (const float *)x;
    float *yf = (float *)y;
    float total = 0.0f;
    int32_t whole = 0;
    for (int64_t i = 0; i < n; i++) {
        const float before = total;
        const int32_t whole_before = whole;
        if (floats) {
            total = i ? total + xf[i * sx] : xf[0];
            yf[i * sy] = exclusive ? (i ? before : 0.0f) : total;
            continue;
        }
        if (__builtin_add_overflow(whole, x[i * sx], &whole)) {
            return 1;
        }
        y[i * sy] = exclusive ? whole_before : whole;
    }
    return 0;
}

static rnne_status cumsum_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    const int exclusive = rnne_int(ctx, in, 0) != 0, reverse = rnne_int(ctx, in, 1) != 0;
    const int floats = rnne_dtype_of(ctx, x) == RNNE_F32;
    const int32_t *from = (const int32_t *)ctx->base[x->buffer] + x->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    const int64_t last = x->rank - 1, n = x->dim[last];
    const int64_t sx = reverse ? -x->stride[last] : x->stride[last];
    const int64_t sy = reverse ? -y->stride[last] : y->stride[last];
    const int64_t first_x = reverse ? x->stride[last] * (n - 1) : 0;
    const int64_t first_y = reverse ? y->stride[last] * (n - 1) : 0;
    const rnne_view outer[] = {rnne_rows_outer(x, 1), rnne_rows_outer(y, 1)};
    const rnne_view *views[] = {&outer[0], &outer[1]};
    rnne_loop loop;
    (void)scratch;
    if (n == 0) {
        return RNNE_OK;
    }
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int32_t *row = from + first_x + loop.offset[0] + i * loop.inner_stride[0];
            int32_t *result = to + first_y + loop.offset[1] + i * loop.inner_stride[1];
            if (cumsum_row(row, sx, result, sy, n, exclusive, floats)) {
                return RNNE_E_RANGE;
            }
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_reduce = {"reduce", 2, 2, 0, 1u << 1, reduce_bind, reduce_run, 0, NULL, 0};
const rnne_op rnne_op_arg = {"arg", 2, 2, 0, 1u << 1, arg_bind, arg_run, 0, NULL, 0};
const rnne_op rnne_op_cumsum = {"cumsum", 2, 2, 0, 1u << 1, cumsum_bind, cumsum_run, 0, NULL, 0};
