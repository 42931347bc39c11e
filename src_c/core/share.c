/* Ranges of pieces, one for each thread, taken from both ends. */
#include "core/share.h"

#include "core/loop.h"
#include "core/threads.h"

/* Pieces taken at once are this part of a thread's range: enough turns to even out who comes late. */
#define TURNS 8
/* Slices of contiguous elements are whole cache lines and registers. */
#define ELEMENTS 64

typedef struct range {
    _Alignas(64) atomic_ullong left; /* first piece in the upper half, the one after the last below */
} range;

typedef struct share {
    rnne_pieces *pieces;
    void *argument;
    int64_t each; /* pieces taken at once */
    range ranges[RNNE_MAX_THREADS];
} share;

static unsigned long long pack(int64_t begin, int64_t end)
{
    return (unsigned long long)begin << 32 | (unsigned long long)end;
}

/* Take pieces from the front of a range, or from its back; 0 when none are left. */
static int take(range *r, int64_t each, int front, int64_t *begin, int64_t *end)
{
    unsigned long long now = atomic_load_explicit(&r->left, memory_order_relaxed), then;
    do {
        const int64_t first = (int64_t)(now >> 32), last = (int64_t)(now & 0xffffffff);
        if (first >= last) {
            return 0;
        }
        const int64_t n = last - first < each ? last - first : each;
        *begin = front ? first : last - n;
        *end = front ? first + n : last;
        then = front ? pack(*end, last) : pack(first, *begin);
    } while (!atomic_compare_exchange_weak_explicit(&r->left, &now, then, memory_order_relaxed,
                                                    memory_order_relaxed));
    return 1;
}

static void take_part(void *argument, int worker, int workers)
{
    share *s = argument;
    int64_t begin, end;
    for (int i = 0; i < workers; i++) {
        range *r = &s->ranges[(worker + i) % workers];
        while (take(r, s->each, i == 0, &begin, &end)) {
            s->pieces(s->argument, worker, begin, end);
        }
    }
}

void rnne_share_out(const rnne_context *ctx, rnne_pieces *pieces, void *argument, int64_t count,
                    int64_t workers)
{
    share s = {.pieces = pieces, .argument = argument};
    const int n = rnne_context_crew(ctx, workers);
    if (n < 2 || count > INT32_MAX) {
        pieces(argument, 0, 0, count);
        return;
    }
    for (int i = 0; i < n; i++) {
        atomic_init(&s.ranges[i].left, pack(count * i / n, count * (i + 1) / n));
    }
    s.each = count / (n * TURNS) > 1 ? count / (n * TURNS) : 1;
    rnne_pool_offer(take_part, &s, n);
}

/* Views cut along one axis into pieces. */
typedef struct slices {
    const rnne_context *ctx;
    const rnne_instr *in;
    rnne_elements *run;
    const rnne_view *const *views;
    int n;
    int64_t axis, size; /* elements of a piece along the axis */
} slices;

static void run_slices(void *argument, int worker, int64_t begin, int64_t end)
{
    const slices *s = argument;
    const int64_t whole = s->views[0]->dim[s->axis], first = begin * s->size;
    const int64_t last = end * s->size < whole ? end * s->size : whole;
    rnne_view cut[RNNE_LOOP_VIEWS];
    const rnne_view *views[RNNE_LOOP_VIEWS];
    (void)worker;
    for (int i = 0; i < s->n; i++) {
        cut[i] = *s->views[i];
        cut[i].offset += first * cut[i].stride[s->axis];
        cut[i].dim[s->axis] = last - first;
        views[i] = &cut[i];
    }
    s->run(s->ctx, s->in, views);
}

void rnne_share_elements(const rnne_context *ctx, const rnne_instr *in, rnne_elements *run,
                         const rnne_view *const *views, int n, int keep_last, double nanoseconds)
{
    const int64_t rank = views[0]->rank, axes = rank - (keep_last && rank > 0);
    slices s = {.ctx = ctx, .in = in, .run = run, .views = views, .n = n, .size = 1};
    for (int64_t axis = 0; axis < axes && ctx->threads != 1; axis++) {
        s.axis = axis;
        s.size = axis == rank - 1 ? ELEMENTS : 1;
        const int64_t pieces = (views[0]->dim[axis] + s.size - 1) / s.size;
        const int64_t workers = rnne_context_worth(ctx, nanoseconds, pieces);
        if (workers > 1) {
            rnne_share_out(ctx, run_slices, &s, pieces, workers);
            return;
        }
    }
    run(ctx, in, views);
}
