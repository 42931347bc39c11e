/* What threads cost, for benchmarks; the caller has the clock. */
#include "core/threads.h"
#include "rnnengine.h"

typedef struct meeting {
    rnne_barrier barrier;
    size_t rounds;
} meeting;

static void meet(void *argument, int worker, int workers)
{
    meeting *m = argument;
    (void)worker;
    for (size_t i = 0; i < m->rounds; i++) {
        rnne_barrier_meet(&m->barrier, workers);
    }
}

int rnne_meet(int threads, size_t rounds)
{
    meeting m = {.rounds = rounds};
    const int workers = rnne_pool_take(threads, 1);
    if (workers > 1) {
        rnne_barrier_init(&m.barrier);
        rnne_pool_run(meet, &m, workers);
        rnne_pool_release();
    }
    return workers;
}
