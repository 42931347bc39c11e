/* Elementwise instructions: unary, binary with broadcasting (stride 0), copy, softmax.
 *
 * Sizes of all operands of an instruction are equal; broadcasting is a stride of 0. The compiler
 * gives the output rows that are contiguous along the last axis where a kernel needs that.
 */
#include <string.h>

#include "core/loop.h"
#include "core/share.h"

static int64_t nanoseconds(int64_t elements, int64_t each_hundredth)
{
    return elements < INT32_MAX ? elements * each_hundredth / 100 + 5 : INT32_MAX;
}

/* Hundredths of a nanosecond an element. */
enum { UNARY_COST = 80, BINARY_COST = 10, SOFTMAX_COST = 150 };

static void share(const rnne_context *ctx, const rnne_instr *in, rnne_elements *run,
                  const rnne_view *const *views, int n, int keep_last, int64_t each)
{
    const double cost = (double)nanoseconds(rnne_view_count(views[0]), each);
    rnne_share_elements(ctx, in, run, views, n, keep_last, cost);
}

static rnne_status bind_pair(const rnne_context *ctx, const rnne_instr *in, int64_t each,
                             int64_t *cost)
{
    const int last = (int)in->operands.count - 1;
    const rnne_view *y = rnne_view_of(ctx, in, last);
    for (int i = 0; i < last; i++) {
        const rnne_view *x = rnne_view_of(ctx, in, i);
        if (!rnne_same_shape(x, y) || rnne_dtype_of(ctx, x) != rnne_dtype_of(ctx, y)) {
            return RNNE_E_SHAPE;
        }
    }
    *cost = y ? nanoseconds(rnne_view_count(y), each) : 0;
    return y ? RNNE_OK : RNNE_E_SHAPE;
}

static int is_f32(const rnne_context *ctx, const rnne_instr *in)
{
    return rnne_dtype_of(ctx, rnne_view_of(ctx, in, 0)) == RNNE_F32;
}

/* ---- y = f(x): operands x, y; ints: activation id; floats: alpha, beta, gamma ----------------- */

static rnne_status unary_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                              int64_t *cost)
{
    rnne_status s = bind_pair(ctx, in, UNARY_COST, cost);
    *scratch = 0;
    return s == RNNE_OK && !(is_f32(ctx, in) && rnne_act_known(rnne_int(ctx, in, 0))) ? RNNE_E_SHAPE
                                                                                     : s;
}

static void unary_elements(const rnne_context *ctx, const rnne_instr *in,
                           const rnne_view *const *views)
{
    const float *x = rnne_f32(ctx, views[0]);
    float *y = rnne_f32(ctx, views[1]);
    const int32_t id = (int32_t)rnne_int(ctx, in, 0);
    const float a = rnne_float(ctx, in, 0), b = rnne_float(ctx, in, 1), c = rnne_float(ctx, in, 2);
    const rnne_kernels *k = ctx->program->kernels;
    rnne_loop loop;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        const float *from = x + loop.offset[0];
        float *to = y + loop.offset[1];
        if (loop.inner_stride[0] == 1 && loop.inner_stride[1] == 1) {
            k->unary(id, a, b, c, from, to, (size_t)loop.inner);
            continue;
        }
        for (int64_t i = 0; i < loop.inner; i++) {
            k->unary(id, a, b, c, from + i * loop.inner_stride[0], to + i * loop.inner_stride[1], 1);
        }
    }
}

static rnne_status unary_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1)};
    (void)scratch;
    share(ctx, in, unary_elements, views, 2, 0, UNARY_COST);
    return RNNE_OK;
}

/* ---- y = a op b: operands a, b, y; ints: operation ------------------------------------------- */

static int binary_known(const rnne_context *ctx, const rnne_instr *in)
{
    const int64_t op = rnne_int(ctx, in, 0);
    if (op < 0 || op >= RNNE_BINARY_COUNT) {
        return 0;
    }
    return is_f32(ctx, in) ? op != RNNE_MOD_FLOOR : op != RNNE_PRELU && op != RNNE_POW;
}

/* Quotients are truncated. 1 where the result is undefined or needs more than 32 bits. */
static int integer_op(int64_t op, int32_t a, int32_t b, int32_t *y)
{
    switch (op) {
    case RNNE_ADD: return __builtin_add_overflow(a, b, y);
    case RNNE_SUB: return __builtin_sub_overflow(a, b, y);
    case RNNE_MUL: return __builtin_mul_overflow(a, b, y);
    case RNNE_MIN: *y = a < b ? a : b; return 0;
    case RNNE_MAX: *y = a > b ? a : b; return 0;
    default: break;
    }
    if (b == 0 || (a == INT32_MIN && b == -1)) {
        return 1;
    }
    *y = op == RNNE_DIV ? a / b : a % b;
    if (op == RNNE_MOD_FLOOR && *y != 0 && (*y < 0) != (b < 0)) {
        *y += b;
    }
    return 0;
}

static rnne_status binary_i32(const rnne_context *ctx, const rnne_view *const *views, int64_t op)
{
    const int32_t *a = (const int32_t *)ctx->base[views[0]->buffer] + views[0]->offset;
    const int32_t *b = (const int32_t *)ctx->base[views[1]->buffer] + views[1]->offset;
    int32_t *y = (int32_t *)ctx->base[views[2]->buffer] + views[2]->offset;
    rnne_loop loop;
    for (int more = rnne_loop_start(&loop, views, 3, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int32_t left = a[loop.offset[0] + i * loop.inner_stride[0]];
            const int32_t right = b[loop.offset[1] + i * loop.inner_stride[1]];
            if (integer_op(op, left, right, &y[loop.offset[2] + i * loop.inner_stride[2]])) {
                return RNNE_E_RANGE;
            }
        }
    }
    return RNNE_OK;
}

static rnne_status binary_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    rnne_status s = bind_pair(ctx, in, BINARY_COST, cost);
    *scratch = 0;
    return s == RNNE_OK && !binary_known(ctx, in) ? RNNE_E_SHAPE : s;
}

static void binary_elements(const rnne_context *ctx, const rnne_instr *in,
                            const rnne_view *const *views)
{
    const float *a = rnne_f32(ctx, views[0]), *b = rnne_f32(ctx, views[1]);
    float *y = rnne_f32(ctx, views[2]);
    const int32_t op = (int32_t)rnne_int(ctx, in, 0);
    const rnne_kernels *k = ctx->program->kernels;
    rnne_loop loop;
    for (int more = rnne_loop_start(&loop, views, 3, 0); more; more = rnne_loop_next(&loop)) {
        const float *left = a + loop.offset[0], *right = b + loop.offset[1];
        float *to = y + loop.offset[2];
        k->binary(op, left, loop.inner_stride[0], right, loop.inner_stride[1], to,
                  loop.inner_stride[2], (size_t)loop.inner);
    }
}

static rnne_status binary_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1),
                                rnne_view_of(ctx, in, 2)};
    (void)scratch;
    if (!is_f32(ctx, in)) {
        return binary_i32(ctx, views, rnne_int(ctx, in, 0));
    }
    share(ctx, in, binary_elements, views, 3, 0, BINARY_COST);
    return RNNE_OK;
}

/* ---- y = x: operands x, y, any element type --------------------------------------------------- */

static rnne_status copy_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                             int64_t *cost)
{
    *scratch = 0;
    return bind_pair(ctx, in, 20, cost);
}

static rnne_status copy_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1)};
    const int32_t *x = (const int32_t *)ctx->base[views[0]->buffer] + views[0]->offset;
    int32_t *y = (int32_t *)ctx->base[views[1]->buffer] + views[1]->offset;
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        const int32_t *from = x + loop.offset[0];
        int32_t *to = y + loop.offset[1];
        if (loop.inner_stride[0] == 1 && loop.inner_stride[1] == 1) {
            memmove(to, from, (size_t)loop.inner * sizeof *to);
            continue;
        }
        for (int64_t i = 0; i < loop.inner; i++) {
            to[i * loop.inner_stride[1]] = from[i * loop.inner_stride[0]];
        }
    }
    return RNNE_OK;
}

/* ---- softmax along the last axis: operands x, y; ints: 1 for its logarithm --------------------- */

static rnne_status softmax_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                                int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    rnne_status s = bind_pair(ctx, in, SOFTMAX_COST, cost);
    *scratch = 0;
    return s == RNNE_OK && !(y->rank >= 1 && rnne_view_is(ctx, x, y->rank, RNNE_F32) &&
                             rnne_view_is(ctx, y, y->rank, RNNE_F32))
               ? RNNE_E_SHAPE
               : s;
}

static void softmax_rows(const rnne_context *ctx, const rnne_instr *in,
                         const rnne_view *const *views)
{
    const float *x = rnne_f32(ctx, views[0]);
    float *y = rnne_f32(ctx, views[1]);
    const int logarithm = (int)rnne_int(ctx, in, 0);
    rnne_loop loop;
    for (int more = rnne_loop_start(&loop, views, 2, 1); more; more = rnne_loop_next(&loop)) {
        ctx->program->kernels->softmax(x + loop.offset[0], y + loop.offset[1], (size_t)loop.inner,
                                       logarithm);
    }
}

static rnne_status softmax_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1)};
    (void)scratch;
    share(ctx, in, softmax_rows, views, 2, 1, SOFTMAX_COST);
    return RNNE_OK;
}

const rnne_op rnne_op_unary = {"unary", 2, 1, 3, 1u << 1, unary_bind, unary_run, 0, NULL, 0};
const rnne_op rnne_op_binary = {"binary", 3, 1, 0, 1u << 2, binary_bind, binary_run, 0, NULL, 0};
const rnne_op rnne_op_copy = {"copy", 2, 0, 0, 1u << 1, copy_bind, copy_run, 0, NULL, 0};
const rnne_op rnne_op_softmax = {"softmax", 2, 1, 0, 1u << 1, softmax_bind, softmax_run, 0, NULL, 0};
