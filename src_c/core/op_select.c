/* Instructions on integers: rows of a table by index, the steps of a sequence that count, and integers
 * as numbers. */
#include <string.h>

#include "core/checked.h"
#include "core/loop.h"

/* ---- y[i] = table[index[i]]: operands table [V,E], index int32 [N], y [N,E] ---------------------- */

static rnne_status gather_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *table = rnne_view_of(ctx, in, 0), *index = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    *scratch = 0;
    const rnne_dtype dtype = table ? rnne_dtype_of(ctx, table) : RNNE_F32;
    if (!rnne_view_is(ctx, table, 2, dtype) || !rnne_view_is(ctx, index, 1, RNNE_I32) ||
        !rnne_view_is(ctx, y, 2, dtype) || y->dim[0] != index->dim[0] ||
        y->dim[1] != table->dim[1]) {
        return RNNE_E_SHAPE;
    }
    const int64_t n = rnne_product(y->dim[0], y->dim[1]);
    *cost = n < INT32_MAX ? n / 8 + 5 : INT32_MAX;
    return RNNE_OK;
}

static rnne_status gather_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *table = rnne_view_of(ctx, in, 0), *index = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int32_t *at = (const int32_t *)ctx->base[index->buffer] + index->offset;
    const int32_t *rows = (const int32_t *)ctx->base[table->buffer] + table->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    (void)scratch;
    for (int64_t i = 0; i < index->dim[0]; i++) {
        int64_t row = at[i];
        row += row < 0 ? table->dim[0] : 0;
        if (row < 0 || row >= table->dim[0]) {
            *ctx->detail = at[i];
            return RNNE_E_INDEX;
        }
        memcpy(to + i * y->stride[0], rows + row * table->stride[0],
               (size_t)y->dim[1] * sizeof *to);
    }
    return RNNE_OK;
}

/* ---- y = any(x != value) along the last axis: operands x [.., N], y int32 [..]; floats: value ---- */

static rnne_status mask_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                             int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    *scratch = 0;
    if (!x || !y || x->rank < 1 || rnne_dtype_of(ctx, y) != RNNE_I32) {
        return RNNE_E_SHAPE;
    }
    rnne_view rows = *x;
    rows.rank--;
    if (!rnne_same_shape(&rows, y)) {
        return RNNE_E_SHAPE;
    }
    const int64_t n = rnne_view_count(x);
    *cost = n < INT32_MAX ? n + 5 : INT32_MAX;
    return RNNE_OK;
}

/* Whether any of n numbers, stride apart, is not the value; NaN never is. */
static int differs(const void *data, rnne_dtype dtype, int64_t n, int64_t stride, float value)
{
    const int32_t *ids = data;
    const float *numbers = data;
    for (int64_t i = 0; i < n; i++) {
        if (dtype == RNNE_I32 ? (float)ids[i * stride] != value : numbers[i * stride] != value) {
            return 1;
        }
    }
    return 0;
}

static rnne_status mask_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    const float value = rnne_float(ctx, in, 0);
    const rnne_dtype dtype = rnne_dtype_of(ctx, x);
    const int64_t last = x->rank - 1;
    const char *from = (const char *)ctx->base[x->buffer] + x->offset * 4;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    rnne_view rows = *x;
    const rnne_view *views[] = {&rows, y};
    rnne_loop loop;
    (void)scratch;
    rows.rank--;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int64_t at = loop.offset[0] + i * loop.inner_stride[0];
            to[loop.offset[1] + i * loop.inner_stride[1]] =
                differs(from + at * 4, dtype, x->dim[last], x->stride[last], value);
        }
    }
    return RNNE_OK;
}

/* ---- y = x in the other type: int32 to float32 rounded to nearest; float32 to int32 towards zero, which
 * NaN and what needs more than 32 bits cannot be: operands x, y -------------------------------------- */

static rnne_status convert_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                                int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 1);
    *scratch = 0;
    if (!rnne_same_shape(x, y) || rnne_dtype_of(ctx, x) == rnne_dtype_of(ctx, y)) {
        return RNNE_E_SHAPE;
    }
    const int64_t n = rnne_view_count(x);
    *cost = n < INT32_MAX ? n / 4 + 5 : INT32_MAX;
    return RNNE_OK;
}

static rnne_status convert_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *views[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1)};
    const int whole = rnne_dtype_of(ctx, views[0]) == RNNE_I32;
    void *x = rnne_f32(ctx, views[0]), *y = rnne_f32(ctx, views[1]);
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int64_t from = loop.offset[0] + i * loop.inner_stride[0];
            const int64_t to = loop.offset[1] + i * loop.inner_stride[1];
            const float number = ((const float *)x)[from];
            if (whole) {
                ((float *)y)[to] = (float)((const int32_t *)x)[from];
            } else if (number >= -0x1p31f && number < 0x1p31f) {
                ((int32_t *)y)[to] = (int32_t)number;
            } else {
                return RNNE_E_RANGE;
            }
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_gather = {"gather", 3, 0, 0, 1u << 2, gather_bind, gather_run, 0, NULL, 0};
const rnne_op rnne_op_mask = {"mask", 2, 0, 1, 1u << 1, mask_bind, mask_run, 0, NULL, 0};
const rnne_op rnne_op_convert = {"convert", 2, 0, 0, 1u << 1, convert_bind, convert_run, 0, NULL, 0};
