/* Products of two operands that both arrive at run time: y = a b for every place of the first axes.
 *
 * Operands a [.., M, K], b [.., K, N], y [.., M, N], each with any strides for the first axes, a and y
 * with unit stride along the last; ints: none. Each b is packed as weights are, so subnormals in it
 * become 0, and every element is one chain from 0, as in any other product. */
#include <string.h>

#include "core/checked.h"
#include "core/loop.h"

#define ROWS_AT_ONCE 192

static int64_t panels_of(int64_t n)
{
    return n > INT64_MAX - RNNE_PANEL ? INT64_MAX : (n + RNNE_PANEL - 1) / RNNE_PANEL;
}

/* Scratch: packed b, a bias of zeros, addresses of rows. */
static rnne_status matmul_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *a = rnne_view_of(ctx, in, 0), *b = rnne_view_of(ctx, in, 1);
    const rnne_view *y = rnne_view_of(ctx, in, 2);
    if (!y || y->rank < 2 || !b || b->rank != y->rank || !rnne_view_is(ctx, a, y->rank, RNNE_F32) ||
        !rnne_view_is(ctx, y, y->rank, RNNE_F32) || rnne_dtype_of(ctx, b) != RNNE_F32) {
        return RNNE_E_SHAPE;
    }
    const int64_t m = y->rank - 2, n = m + 1;
    for (int64_t axis = 0; axis < m; axis++) {
        if (a->dim[axis] != y->dim[axis] || b->dim[axis] != y->dim[axis]) {
            return RNNE_E_SHAPE;
        }
    }
    if (a->dim[m] != y->dim[m] || b->dim[n] != y->dim[n] || a->dim[n] != b->dim[m]) {
        return RNNE_E_SHAPE;
    }
    const int64_t units = rnne_product(panels_of(y->dim[n]), RNNE_PANEL);
    const int64_t floats = rnne_product(units, a->dim[n]);
    int64_t total = 2 * ROWS_AT_ONCE * (int64_t)sizeof(float *) + 64, flops = 0;
    if (rnne_add_product(&total, floats, 4) || rnne_add_product(&total, units, 4)) {
        return RNNE_E_SIZE;
    }
    *scratch = total;
    const int64_t rows = y->dim[n] ? rnne_view_count(y) / y->dim[n] : 0;
    *cost = rnne_add_product(&flops, rows, floats) ? INT32_MAX : flops / 25 + 10;
    return RNNE_OK;
}

static void one_product(const rnne_kernels *k, const rnne_matrix *matrix, const float *a,
                        int64_t a_step, float *y, int64_t y_step, int64_t rows, int64_t n,
                        const float **from, float **to)
{
    const rnne_act none = {RNNE_ACT_IDENTITY, 0.0f, 0.0f, 0.0f};
    for (int64_t done = 0; done < rows; done += ROWS_AT_ONCE) {
        const int64_t left = rows - done, count = left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE;
        for (int64_t i = 0; i < count; i++) {
            from[i] = a + (done + i) * a_step;
            to[i] = y + (done + i) * y_step;
        }
        k->linear(matrix, from, to, (size_t)count, (size_t)n, &none);
    }
}

static rnne_status matmul_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *given[] = {rnne_view_of(ctx, in, 0), rnne_view_of(ctx, in, 1),
                                rnne_view_of(ctx, in, 2)};
    const int64_t m = given[2]->rank - 2, n = m + 1;
    const int64_t rows = given[2]->dim[m], units = given[2]->dim[n], depth = given[0]->dim[n];
    const float **from = scratch;
    float **to = (float **)scratch + ROWS_AT_ONCE;
    float *bias = (float *)(to + ROWS_AT_ONCE);
    float *packed = bias + panels_of(units) * RNNE_PANEL;
    const rnne_matrix matrix = {.w = packed, .bias = bias, .panels = (size_t)panels_of(units),
                                .gates = 1, .k = (size_t)depth};
    rnne_view outer[3];
    const rnne_view *views[3];
    float *base[3];
    rnne_loop loop;
    for (int i = 0; i < 3; i++) {
        outer[i] = *given[i];
        outer[i].rank = m;
        views[i] = &outer[i];
        base[i] = rnne_f32(ctx, given[i]);
    }
    if (rows == 0 || units == 0) {
        return RNNE_OK;
    }
    memset(bias, 0, (size_t)(panels_of(units) * RNNE_PANEL) * sizeof *bias);
    for (int more = rnne_loop_start(&loop, views, 3, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            const float *a = base[0] + loop.offset[0] + i * loop.inner_stride[0];
            const float *b = base[1] + loop.offset[1] + i * loop.inner_stride[1];
            float *y = base[2] + loop.offset[2] + i * loop.inner_stride[2];
            const int again = i > 0 && loop.inner_stride[1] == 0;
            if (!again && depth > 0) {
                rnne_pack(packed, b, 1, (size_t)units, (size_t)depth, 0,
                          (ptrdiff_t)given[1]->stride[n], (ptrdiff_t)given[1]->stride[m]);
            }
            one_product(ctx->program->kernels, &matrix, a, given[0]->stride[m], y,
                        given[2]->stride[m], rows, units, from, to);
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_matmul = {"matmul", 3, 0, 0, 1u << 2, matmul_bind, matmul_run, 0, NULL, 0};
