/* Normalisation of rows: y = (x - mean) / sqrt(variance + epsilon) * scale + bias.
 *
 * Operands x, scale, bias or absent, y, all of one shape; ints: how many last axes are one row, 1 to
 * take the mean as 0; floats: epsilon. mean = sum / n, variance = sum (x - mean)^2 / n, both sums of 16
 * lanes; r = 1 / sqrt(variance + epsilon); y = fma((x - mean) * r, scale, bias). */
#include <math.h>

#include "core/checked.h"
#include "core/rows.h"

static rnne_status normalize_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                                  int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 3);
    const int64_t count = rnne_int(ctx, in, 0);
    for (int i = 0; i < 4; i++) {
        const rnne_view *view = rnne_view_of(ctx, in, i);
        if (i == 2 && !view) {
            continue;
        }
        if (!rnne_same_shape(view, y) || rnne_dtype_of(ctx, view) != RNNE_F32) {
            return RNNE_E_SHAPE;
        }
    }
    if (count < 0 || count > x->rank) {
        return RNNE_E_SHAPE;
    }
    const rnne_view inner = rnne_rows_inner(x, count);
    const int64_t n = rnne_view_count(x);
    *scratch = rnne_product(rnne_view_count(&inner), 4);
    *cost = n < INT32_MAX ? n + 20 : INT32_MAX;
    return *scratch == INT64_MAX ? RNNE_E_SIZE : RNNE_OK;
}

typedef struct factors {
    float mean, inverse;
} factors;

static factors statistics(const rnne_kernels *k, const float *x, size_t n, int centred, float epsilon)
{
    const float mean = centred ? k->reduce(RNNE_RED_SUM, x, n, 0.0f) / (float)n : 0.0f;
    const float variance = k->reduce(RNNE_RED_SQUARE, x, n, mean) / (float)n;
    return (factors){mean, 1.0f / sqrtf(variance + epsilon)};
}

/* One inner run: in one call where x and y are adjacent, else element by element. */
static void write_run(const rnne_kernels *k, const rnne_loop *loop, const float *const *at, float *y,
                      factors f)
{
    const int64_t *step = loop->inner_stride;
    const float *x = at[0] + loop->offset[0], *scale = at[1] + loop->offset[1];
    const float *bias = at[2] ? at[2] + loop->offset[2] : NULL;
    y += loop->offset[3];
    if (step[0] == 1 && step[3] == 1 && (step[1] | 1) == 1 && (step[2] | 1) == 1) {
        k->normalize(x, f.mean, f.inverse, scale, step[1], bias, step[2], y, (size_t)loop->inner);
        return;
    }
    for (int64_t i = 0; i < loop->inner; i++) {
        k->normalize(x + i * step[0], f.mean, f.inverse, scale + i * step[1], 0,
                     bias ? bias + i * step[2] : NULL, 0, y + i * step[3], 1);
    }
}

static rnne_status normalize_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const int64_t count = rnne_int(ctx, in, 0);
    const int centred = rnne_int(ctx, in, 1) == 0;
    const float epsilon = rnne_float(ctx, in, 0);
    const rnne_view *given[4];
    rnne_view outer[4], inner[4];
    const rnne_view *outside[4], *inside[4];
    float *base[4];
    for (int i = 0; i < 4; i++) {
        given[i] = rnne_view_of(ctx, in, i);
        base[i] = rnne_f32(ctx, given[i]);
        given[i] = given[i] ? given[i] : given[1]; /* an absent bias is walked like the scale */
        outer[i] = rnne_rows_outer(given[i], count);
        inner[i] = rnne_rows_inner(given[i], count);
        outside[i] = &outer[i];
        inside[i] = &inner[i];
    }
    rnne_rows rows;
    rnne_loop loop, run;
    rnne_rows_start(&rows, given[0], count);
    if (!rnne_loop_start(&run, inside, 4, 0)) {
        return RNNE_OK;
    }
    for (int more = rnne_loop_start(&loop, outside, 4, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            float *at[4];
            for (int v = 0; v < 4; v++) {
                at[v] = base[v] ? base[v] + loop.offset[v] + i * loop.inner_stride[v] : NULL;
            }
            const float *row = rnne_rows_read(&rows, (const int32_t *)at[0], scratch);
            const factors f =
                statistics(ctx->program->kernels, row, (size_t)rows.n, centred, epsilon);
            do {
                write_run(ctx->program->kernels, &run, (const float *const *)at, at[3], f);
            } while (rnne_loop_next(&run));
        }
    }
    return RNNE_OK;
}

const rnne_op rnne_op_normalize = {"normalize",    4, 2,   1, 1u << 3, normalize_bind,
                                   normalize_run, 0, NULL, 0};
