/* The pool of worker threads: taken by one call, handed jobs through a numbered slot a worker. */
#include "core/threads.h"

#include <stddef.h>

#include "core/fpenv.h"
#include "core/os.h"

/* Rounds of spinning before sleep: ten to twenty microseconds. */
#define SPINS 500

/* A word that threads wait on; `asleep` spares the wakers a system call while nobody sleeps. */
static void wait_while(atomic_int *word, int value, atomic_int *asleep)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value) {
            return;
        }
        rnne_os_relax();
    }
    atomic_fetch_add(asleep, 1);
    while (atomic_load(word) == value) {
        rnne_os_sleep(word, value);
    }
    atomic_fetch_sub(asleep, 1);
}

static void change(atomic_int *word, int value, atomic_int *asleep)
{
    atomic_store(word, value);
    if (atomic_load(asleep) > 0) {
        rnne_os_wake(word);
    }
}

void rnne_barrier_init(rnne_barrier *b, int parties)
{
    atomic_init(&b->arrived, 0);
    atomic_init(&b->phase, 0);
    atomic_init(&b->asleep, 0);
    b->parties = parties;
}

void rnne_barrier_wait(rnne_barrier *b)
{
    if (b->parties == 1) {
        return;
    }
    const int phase = atomic_load_explicit(&b->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 == b->parties) {
        atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
        change(&b->phase, (int)((unsigned)phase + 1u), &b->asleep);
    } else {
        wait_while(&b->phase, phase, &b->asleep);
    }
}

typedef struct slot {
    _Alignas(64) atomic_int number; /* of the last job given; changing it starts the worker */
    atomic_int asleep;
    int index;
} slot;

static struct pool {
    atomic_int taken;
    atomic_int hooked;  /* the handler for forks is installed */
    atomic_int resting; /* 1 while no call holds the pool: workers sleep at once */
    int started;        /* threads besides the callers; changed by the holder only */
    rnne_job *job;
    void *argument;
    int workers;
    _Alignas(64) atomic_int left; /* workers that have not finished the job */
    atomic_int asleep;
    slot slots[RNNE_MAX_THREADS];
} pool = {.resting = 1};

/* Wait for a new job: spinning while a call holds the pool, asleep otherwise. */
static int next_job(slot *s, int seen)
{
    for (int i = 0; i < SPINS && !atomic_load_explicit(&pool.resting, memory_order_relaxed); i++) {
        if (atomic_load_explicit(&s->number, memory_order_acquire) != seen) {
            break;
        }
        rnne_os_relax();
    }
    if (atomic_load_explicit(&s->number, memory_order_acquire) == seen) {
        atomic_fetch_add(&s->asleep, 1);
        while (atomic_load(&s->number) == seen) {
            rnne_os_sleep(&s->number, seen);
        }
        atomic_fetch_sub(&s->asleep, 1);
    }
    return atomic_load_explicit(&s->number, memory_order_acquire);
}

static void *work(void *argument)
{
    slot *s = argument;
    rnne_fpenv_enter();
    for (int seen = 0;;) {
        seen = next_job(s, seen);
        pool.job(pool.argument, s->index, pool.workers);
        if (atomic_fetch_sub(&pool.left, 1) == 1 && atomic_load(&pool.asleep) > 0) {
            rnne_os_wake(&pool.left);
        }
    }
    return NULL;
}

/* In a forked process the workers do not exist, whatever they were doing. */
static void forget(void)
{
    atomic_store(&pool.taken, 0);
    atomic_store(&pool.left, 0);
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.resting, 1);
    pool.started = 0;
}

int rnne_pool_take(int wanted)
{
    int expected = 0;
    wanted = wanted < RNNE_MAX_THREADS ? wanted : RNNE_MAX_THREADS;
    if (wanted < 2 || !atomic_compare_exchange_strong(&pool.taken, &expected, 1)) {
        return 1;
    }
    if (!atomic_exchange(&pool.hooked, 1)) {
        rnne_os_at_fork(forget);
    }
    while (pool.started < wanted - 1) {
        slot *s = &pool.slots[pool.started];
        atomic_store(&s->number, 0);
        atomic_store(&s->asleep, 0);
        s->index = pool.started + 1;
        if (rnne_os_start(work, s)) {
            break;
        }
        pool.started++;
    }
    if (pool.started == 0) {
        atomic_store(&pool.taken, 0);
        return 1;
    }
    atomic_store_explicit(&pool.resting, 0, memory_order_relaxed);
    return pool.started + 1 < wanted ? pool.started + 1 : wanted;
}

void rnne_pool_release(void)
{
    atomic_store_explicit(&pool.resting, 1, memory_order_relaxed);
    atomic_store(&pool.taken, 0);
}

void rnne_pool_run(rnne_job *job, void *argument, int workers)
{
    pool.job = job;
    pool.argument = argument;
    pool.workers = workers;
    atomic_store(&pool.left, workers - 1);
    for (int i = 0; i < workers - 1; i++) {
        slot *s = &pool.slots[i];
        int number = (int)((unsigned)atomic_load_explicit(&s->number, memory_order_relaxed) + 1u);
        change(&s->number, number, &s->asleep);
    }
    job(argument, 0, workers);
    for (int left; (left = atomic_load_explicit(&pool.left, memory_order_acquire)) > 0;) {
        wait_while(&pool.left, left, &pool.asleep);
    }
}
