/* Reading and writing elements at indices that are known at run time. */
#include <string.h>

#include "core/checked.h"
#include "core/loop.h"

static int64_t nanoseconds(int64_t elements)
{
    return elements < INT32_MAX ? elements * 2 + 5 : INT32_MAX;
}

/* Place of an index that may count from the end; -1, and the index as detail, where there is none. */
static int64_t place(const rnne_context *ctx, int32_t index, int64_t size)
{
    const int64_t at = index < 0 ? index + size : index;
    if (at < 0 || at >= size) {
        *ctx->detail = index;
        return -1;
    }
    return at;
}

typedef enum combination { REPLACE = 0, ADD = 1, MUL = 2, LARGER = 3, SMALLER = 4, WAYS = 5 } combination;

/* What becomes of the element that was there. NaN stays, whoever brings it. */
static float combined_f32(float old, float new_, combination how)
{
    switch (how) {
    case ADD: return old + new_;
    case MUL: return old * new_;
    case LARGER: return old > new_ || old != old ? old : new_;
    case SMALLER: return old < new_ || old != old ? old : new_;
    default: return new_;
    }
}

static int combine_i32(int32_t *old, int32_t new_, combination how)
{
    switch (how) {
    case ADD: return __builtin_add_overflow(*old, new_, old);
    case MUL: return __builtin_mul_overflow(*old, new_, old);
    case LARGER: *old = *old > new_ ? *old : new_; return 0;
    case SMALLER: *old = *old < new_ ? *old : new_; return 0;
    default: *old = new_; return 0;
    }
}

/* 1 where an integer leaves 32 bits. */
static int combine(int32_t *old, const int32_t *new_, combination how, rnne_dtype dtype)
{
    if (dtype == RNNE_I32) {
        return combine_i32(old, *new_, how);
    }
    *(float *)old = combined_f32(*(float *)old, *(const float *)new_, how);
    return 0;
}

/* ---- elements along an axis: operands x, index int32, and y of the index's sizes (gather) or updates of
 * them and y = x changed in place (scatter); ints: axis, and for the scatter the combination. Sizes of
 * other axes of the index are at most those of the data. -------------------------------------------- */

static int index_fits(const rnne_view *data, const rnne_view *index, int64_t axis)
{
    if (!data || !index || data->rank != index->rank || axis < 0 || axis >= data->rank) {
        return 0;
    }
    for (int64_t i = 0; i < data->rank; i++) {
        if (i != axis && index->dim[i] > data->dim[i]) {
            return 0;
        }
    }
    return 1;
}

static rnne_status gather_elements_bind(const rnne_context *ctx, const rnne_instr *in,
                                        int64_t *scratch, int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *index = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    *scratch = 0;
    if (!index_fits(x, index, rnne_int(ctx, in, 0)) || !rnne_same_shape(index, y) ||
        rnne_dtype_of(ctx, index) != RNNE_I32 || rnne_dtype_of(ctx, x) != rnne_dtype_of(ctx, y)) {
        return RNNE_E_SHAPE;
    }
    *cost = nanoseconds(rnne_view_count(y));
    return RNNE_OK;
}

/* The data seen with the index's sizes, standing still along the axis that the index chooses. */
static rnne_view held(const rnne_view *data, const rnne_view *index, int64_t axis)
{
    rnne_view view = *data;
    memcpy(view.dim, index->dim, sizeof view.dim);
    view.stride[axis] = 0;
    return view;
}

static rnne_status gather_elements_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *index = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int64_t axis = rnne_int(ctx, in, 0);
    const rnne_view data = held(x, index, axis);
    const rnne_view *views[] = {&data, index, y};
    const int32_t *from = (const int32_t *)ctx->base[x->buffer] + x->offset;
    const int32_t *at = (const int32_t *)ctx->base[index->buffer] + index->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 3, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int64_t k = place(ctx, at[loop.offset[1] + i * loop.inner_stride[1]], x->dim[axis]);
            if (k < 0) {
                return RNNE_E_INDEX;
            }
            to[loop.offset[2] + i * loop.inner_stride[2]] =
                from[loop.offset[0] + i * loop.inner_stride[0] + k * x->stride[axis]];
        }
    }
    return RNNE_OK;
}

static rnne_status scatter_elements_bind(const rnne_context *ctx, const rnne_instr *in,
                                         int64_t *scratch, int64_t *cost)
{
    const rnne_view *index = rnne_view_of(ctx, in, 0), *updates = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int64_t how = rnne_int(ctx, in, 1);
    *scratch = 0;
    if (!index_fits(y, index, rnne_int(ctx, in, 0)) || !rnne_same_shape(index, updates) || how < 0 ||
        how >= WAYS || rnne_dtype_of(ctx, index) != RNNE_I32 ||
        rnne_dtype_of(ctx, updates) != rnne_dtype_of(ctx, y)) {
        return RNNE_E_SHAPE;
    }
    *cost = nanoseconds(rnne_view_count(index));
    return RNNE_OK;
}

static rnne_status scatter_elements_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *index = rnne_view_of(ctx, in, 0), *updates = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int64_t axis = rnne_int(ctx, in, 0);
    const combination how = (combination)rnne_int(ctx, in, 1);
    const rnne_view data = held(y, index, axis);
    const rnne_view *views[] = {index, updates, &data};
    const int32_t *at = (const int32_t *)ctx->base[index->buffer] + index->offset;
    const int32_t *from = (const int32_t *)ctx->base[updates->buffer] + updates->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    rnne_loop loop;
    (void)scratch;
    for (int more = rnne_loop_start(&loop, views, 3, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const int64_t k = place(ctx, at[loop.offset[0] + i * loop.inner_stride[0]], y->dim[axis]);
            if (k < 0) {
                return RNNE_E_INDEX;
            }
            int32_t *old = to + loop.offset[2] + i * loop.inner_stride[2] + k * y->stride[axis];
            if (combine(old, from + loop.offset[1] + i * loop.inner_stride[1], how,
                        rnne_dtype_of(ctx, y))) {
                return RNNE_E_RANGE;
            }
        }
    }
    return RNNE_OK;
}

/* ---- y = number of the row at an index of several axes: operands index int32 [N, depth], like: any view
 * whose first axes are those indexed, y int32 [N] --------------------------------------------------- */

static rnne_status flat_index_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                                   int64_t *cost)
{
    const rnne_view *index = rnne_view_of(ctx, in, 0), *like = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    *scratch = 0;
    if (!rnne_view_is(ctx, index, 2, RNNE_I32) || !like || !rnne_view_is(ctx, y, 1, RNNE_I32) ||
        index->dim[0] != y->dim[0] || index->dim[1] > like->rank) {
        return RNNE_E_SHAPE;
    }
    int64_t rows = 1;
    for (int64_t axis = 0; axis < index->dim[1]; axis++) {
        rows = rnne_product(rows, like->dim[axis]);
    }
    *cost = nanoseconds(rnne_product(index->dim[0], index->dim[1]));
    return rows > INT32_MAX ? RNNE_E_SIZE : RNNE_OK;
}

static rnne_status flat_index_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *index = rnne_view_of(ctx, in, 0), *like = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int32_t *at = (const int32_t *)ctx->base[index->buffer] + index->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    (void)scratch;
    for (int64_t i = 0; i < index->dim[0]; i++) {
        int64_t row = 0;
        for (int64_t axis = 0; axis < index->dim[1]; axis++) {
            const int64_t k = place(ctx, at[i * index->stride[0] + axis], like->dim[axis]);
            if (k < 0) {
                return RNNE_E_INDEX;
            }
            row = row * like->dim[axis] + k;
        }
        to[i * y->stride[0]] = (int32_t)row;
    }
    return RNNE_OK;
}

/* ---- rows of y changed: operands index int32 [N], updates [N, E], y [V, E]; ints: combination ------- */

static rnne_status scatter_rows_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                                     int64_t *cost)
{
    const rnne_view *index = rnne_view_of(ctx, in, 0), *updates = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const int64_t how = rnne_int(ctx, in, 0);
    *scratch = 0;
    if (!rnne_view_is(ctx, index, 1, RNNE_I32) || !updates || !y || updates->rank != 2 ||
        y->rank != 2 || updates->dim[0] != index->dim[0] || updates->dim[1] != y->dim[1] || how < 0 ||
        how >= WAYS || rnne_dtype_of(ctx, updates) != rnne_dtype_of(ctx, y)) {
        return RNNE_E_SHAPE;
    }
    *cost = nanoseconds(rnne_view_count(updates));
    return RNNE_OK;
}

static rnne_status scatter_rows_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *index = rnne_view_of(ctx, in, 0), *updates = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    const combination how = (combination)rnne_int(ctx, in, 0);
    const int32_t *at = (const int32_t *)ctx->base[index->buffer] + index->offset;
    const int32_t *from = (const int32_t *)ctx->base[updates->buffer] + updates->offset;
    int32_t *to = (int32_t *)ctx->base[y->buffer] + y->offset;
    (void)scratch;
    for (int64_t i = 0; i < index->dim[0]; i++) {
        const int64_t row = place(ctx, at[i * index->stride[0]], y->dim[0]);
        if (row < 0) {
            return RNNE_E_INDEX;
        }
        for (int64_t e = 0; e < y->dim[1]; e++) {
            if (combine(to + row * y->stride[0] + e * y->stride[1],
                        from + i * updates->stride[0] + e * updates->stride[1], how,
                        rnne_dtype_of(ctx, y))) {
                return RNNE_E_RANGE;
            }
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_gather_elements = {
    "gather_elements", 3, 1, 0, 1u << 2, gather_elements_bind, gather_elements_run, 0, NULL, 0};
const rnne_op rnne_op_scatter_elements = {
    "scatter_elements", 3, 2, 0, 1u << 2, scatter_elements_bind, scatter_elements_run, 0, NULL, 0};
const rnne_op rnne_op_flat_index = {"flat_index",   3, 0,   0, 1u << 2, flat_index_bind,
                                    flat_index_run, 0, NULL, 0};
const rnne_op rnne_op_scatter_rows = {"scatter_rows",   3, 1,   0, 1u << 2, scatter_rows_bind,
                                      scatter_rows_run, 0, NULL, 0};
