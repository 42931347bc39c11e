/* Linear layers on packed weights, and the packing of weights that arrive at run time. */
#include "core/checked.h"
#include "core/loop.h"
#include "core/matrix.h"
#include "core/threads.h"

/* Rows handed to the kernel at a time: enough to reuse each weight, few enough to stay on the stack
 * of addresses in the private cache. */
#define ROWS_AT_ONCE 192

/* ---- y = act(x W + b): operands x [.., K], packed W, packed b, y [.., N], then scale, offset and zero
 * point of W; ints: activation, N, 1 where activations of integer weights have 8 bits --------------- */

static const rnne_matrix_at w_at = {1, 4, 5, 6, 2};

static int64_t rows_of(const rnne_view *y)
{
    int64_t rows = 1;
    for (int64_t axis = 0; axis < y->rank - 1; axis++) {
        rows *= y->dim[axis];
    }
    return rows;
}

/* In nanoseconds, of 100 operations or 100 bytes of weights each. */
static int64_t linear_cost(const rnne_context *ctx, const rnne_instr *in)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *b = rnne_view_of(ctx, in, 2);
    const rnne_view *y = rnne_view_of(ctx, in, 3);
    int64_t products = 0;
    return rnne_add_product(&products, rows_of(y), rnne_product(b->dim[0], x->dim[x->rank - 1]))
               ? INT32_MAX
               : products / (rows_of(y) > 1 ? 50 : 25) + 10;
}

static int64_t linear_workers(const rnne_context *ctx, const rnne_instr *in)
{
    const rnne_view *b = rnne_view_of(ctx, in, 2), *y = rnne_view_of(ctx, in, 3);
    const int64_t blocks = rows_of(y) / ROWS_AT_ONCE, panels = b->dim[0] / RNNE_PANEL;
    return rnne_context_worth(ctx, (double)linear_cost(ctx, in), blocks > panels ? blocks : panels);
}

/* Working memory of a thread: addresses of rows and, for int8 weights, the rows quantised. */
static int64_t part_bytes(const rnne_context *ctx, const rnne_instr *in)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 3);
    const int64_t rows = rows_of(y), addresses = 2 * ROWS_AT_ONCE * (int64_t)sizeof(float *);
    if (rnne_dtype_of(ctx, rnne_view_of(ctx, in, 1)) != RNNE_I8) {
        return addresses;
    }
    const int64_t area = rnne_int8_area(rows < ROWS_AT_ONCE ? rows : ROWS_AT_ONCE,
                                        x->dim[x->rank - 1]);
    return area < INT64_MAX - addresses ? area + addresses : INT64_MAX;
}

static rnne_status linear_bind(const rnne_context *ctx, const rnne_instr *in, int64_t *scratch,
                               int64_t *cost)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *b = rnne_view_of(ctx, in, 2);
    const rnne_view *y = rnne_view_of(ctx, in, 3);
    if (!x || !y || y->rank < 1 || !rnne_view_is(ctx, x, y->rank, RNNE_F32) ||
        !rnne_view_is(ctx, y, y->rank, RNNE_F32) || !rnne_view_is(ctx, b, 1, RNNE_F32)) {
        return RNNE_E_SHAPE;
    }
    const int64_t last = y->rank - 1, n = rnne_int(ctx, in, 1), k = x->dim[last];
    if (n < 0 || n > INT32_MAX || !rnne_act_known(rnne_int(ctx, in, 0))) {
        return RNNE_E_SHAPE;
    }
    const rnne_matrix_size size = {1, (n + RNNE_PANEL - 1) / RNNE_PANEL, 1, k};
    for (int64_t axis = 0; axis < last; axis++) {
        if (x->dim[axis] != y->dim[axis]) {
            return RNNE_E_SHAPE;
        }
    }
    if (y->dim[last] != n || !rnne_matrix_fits(ctx, in, &w_at, &size) ||
        b->dim[0] != size.panels * RNNE_PANEL) {
        return RNNE_E_SHAPE;
    }
    *scratch = rnne_product(linear_workers(ctx, in), part_bytes(ctx, in));
    *cost = linear_cost(ctx, in);
    return *scratch < INT64_MAX / 2 ? RNNE_OK : RNNE_E_SIZE;
}

/* A product, as the threads that share it see it: blocks of rows in turn or, where there are fewer of
 * them than threads, ranges of panels. */
typedef struct linear_job {
    const rnne_context *ctx;
    const rnne_view *x, *y;
    rnne_matrix m;
    rnne_act act;
    int64_t n;
    char *scratch;
    int64_t part_bytes;
    int by_rows;
} linear_job;

/* Panels [begin, end) of a block of rows; `to` is moved to the first of them. */
static void linear_block(const linear_job *job, const float **from, float **to, size_t rows,
                         int64_t begin, int64_t end, void *area)
{
    const int64_t first = begin * RNNE_PANEL, last = end * RNNE_PANEL;
    const rnne_matrix part = rnne_matrix_part(&job->m, (size_t)begin, (size_t)end);
    for (size_t i = 0; i < rows; i++) {
        to[i] += first;
    }
    rnne_linear(job->ctx->program, &part, from, to, rows,
                (size_t)((last < job->n ? last : job->n) - first), &job->act, area);
}

static void linear_part(void *argument, int worker, int workers)
{
    const linear_job *job = argument;
    const int64_t panels = (int64_t)job->m.panels;
    const int64_t begin = job->by_rows ? 0 : panels * worker / workers;
    const int64_t end = job->by_rows ? panels : panels * (worker + 1) / workers;
    const float **from = (const float **)(job->scratch + job->part_bytes * worker);
    float **to = (float **)(from + ROWS_AT_ONCE);
    void *area = to + ROWS_AT_ONCE;
    const float *x = rnne_f32(job->ctx, job->x);
    float *y = rnne_f32(job->ctx, job->y);
    rnne_view rows[2] = {*job->x, *job->y};
    const rnne_view *views[] = {&rows[0], &rows[1]};
    size_t filled = 0;
    int turn = job->by_rows ? 0 : worker; /* whose block it is */
    rnne_loop loop;
    rows[0].rank = rows[1].rank = job->y->rank - 1;
    for (int more = rnne_loop_start(&loop, views, 2, 0); more; more = rnne_loop_next(&loop)) {
        for (int64_t i = 0; i < loop.inner; i++) {
            from[filled] = x + loop.offset[0] + i * loop.inner_stride[0];
            to[filled] = y + loop.offset[1] + i * loop.inner_stride[1];
            if (++filled == ROWS_AT_ONCE) {
                if (turn == worker) {
                    linear_block(job, from, to, filled, begin, end, area);
                }
                turn = job->by_rows ? (turn + 1) % workers : worker;
                filled = 0;
            }
        }
    }
    if (filled > 0 && turn == worker) {
        linear_block(job, from, to, filled, begin, end, area);
    }
}

static rnne_status linear_run(const rnne_context *ctx, const rnne_instr *in, void *scratch)
{
    const rnne_view *x = rnne_view_of(ctx, in, 0), *y = rnne_view_of(ctx, in, 3);
    const int64_t last = y->rank - 1, n = rnne_int(ctx, in, 1);
    const rnne_matrix_size size = {1, (n + RNNE_PANEL - 1) / RNNE_PANEL, 1, x->dim[last]};
    linear_job job = {.ctx = ctx,
                      .x = x,
                      .y = y,
                      .m = rnne_matrix_read(ctx, in, &w_at, &size, 0),
                      .act = {(int32_t)rnne_int(ctx, in, 0), rnne_float(ctx, in, 0),
                              rnne_float(ctx, in, 1), rnne_float(ctx, in, 2)},
                      .n = n,
                      .scratch = scratch,
                      .part_bytes = part_bytes(ctx, in)};
    if (n == 0) {
        return RNNE_OK;
    }
    job.m.bias = rnne_f32(ctx, rnne_view_of(ctx, in, 2));
    const int workers = rnne_context_crew(ctx, linear_workers(ctx, in));
    job.by_rows = rows_of(y) / ROWS_AT_ONCE >= workers;
    if (workers > 1) {
        rnne_pool_run(linear_part, &job, workers);
    } else {
        linear_part(&job, 0, 1);
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

const rnne_op rnne_op_linear = {"linear", 7, 3, 3, 1u << 3, linear_bind,
                                linear_run, 0, NULL, 1u << 1};
const rnne_op rnne_op_pack = {"pack", 2, 0, 0, 1u << 1, pack_bind, pack_run, 0, NULL, 0};
