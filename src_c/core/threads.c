/* The pool of worker threads: taken by one call, handed jobs through a numbered slot a worker. */
#include "core/threads.h"

#include <stddef.h>

#include "core/fpenv.h"
#include "core/os.h"

/* Rounds of spinning before sleep: ten to twenty microseconds. */
#define SPINS 500
/* Calls in a row that get no workers after one that other processes slowed, at most; it is twice as
 * many after the next one. */
#define MOST_PAUSE 63

int64_t rnne_wait_while(atomic_int *word, int value, atomic_int *asleep)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != value) {
            return 0;
        }
        rnne_os_relax();
    }
    const int64_t start = rnne_os_clock();
    atomic_fetch_add(asleep, 1);
    while (atomic_load(word) == value) {
        rnne_os_sleep(word, value);
    }
    atomic_fetch_sub(asleep, 1);
    return rnne_os_clock() - start;
}

void rnne_change(atomic_int *word, int value, atomic_int *asleep)
{
    atomic_store(word, value);
    if (atomic_load(asleep) > 0) {
        rnne_os_wake(word);
    }
}

void rnne_barrier_init(rnne_barrier *b)
{
    atomic_init(&b->arrived, 0);
    atomic_init(&b->phase, 0);
    atomic_init(&b->asleep, 0);
}

int64_t rnne_barrier_meet(rnne_barrier *b, int parties)
{
    if (parties == 1) {
        return 0;
    }
    const int phase = atomic_load_explicit(&b->phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->arrived, 1, memory_order_acq_rel) + 1 < parties) {
        return rnne_wait_while(&b->phase, phase, &b->asleep);
    }
    atomic_store_explicit(&b->arrived, 0, memory_order_relaxed);
    rnne_change(&b->phase, (int)((unsigned)phase + 1u), &b->asleep);
    return 0;
}

typedef struct slot {
    _Alignas(64) atomic_int number; /* of the last job offered; changing it starts the worker */
    atomic_int asleep;
    atomic_int thread; /* its number in the system; 0 until it runs */
    int index;
} slot;

/* The gate to the job on offer: its number, whether it is open, and how many workers are inside. */
enum { INSIDE = 0xff, OPEN = 0x100, NUMBER = 0x200 };

static struct pool {
    atomic_int taken;
    atomic_int hooked;  /* the handler for forks is installed */
    atomic_int resting; /* 1 while no call holds the pool: workers sleep at once */
    /* Changed by the holder only: threads besides the callers; how many of them keep off that core. */
    int started, placed, core;
    /* Calls that are to get no workers yet, and how many it was last time. */
    int alone, pause;
    atomic_int crowded; /* this call was */
    rnne_job *job;
    void *argument;
    int workers;
    _Alignas(64) atomic_int gate;
    atomic_int left; /* workers that have not done their part of the job */
    atomic_int asleep;
    slot slots[RNNE_MAX_THREADS];
} pool = {.resting = 1};

/* Wait for an offer: spinning while a call holds the pool, asleep otherwise. */
static int next_offer(slot *s, int seen)
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

/* Go through the gate, unless it is closed or this worker has been inside; the job's number or 0. */
static int enter(int last)
{
    int gate = atomic_load_explicit(&pool.gate, memory_order_relaxed);
    while ((gate & OPEN) && (gate & -NUMBER) != last) {
        if (atomic_compare_exchange_weak_explicit(&pool.gate, &gate, gate + 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            return gate & -NUMBER;
        }
    }
    return 0;
}

static void leave(void)
{
    if (!((atomic_fetch_sub(&pool.gate, 1) - 1) & INSIDE) && atomic_load(&pool.asleep) > 0) {
        rnne_os_wake(&pool.gate);
    }
}

static void *work(void *argument)
{
    slot *s = argument;
    rnne_fpenv_enter();
    atomic_store_explicit(&s->thread, rnne_os_thread(), memory_order_relaxed);
    for (int seen = 0, last = 0, number;;) {
        seen = next_offer(s, seen);
        number = enter(last);
        if (number) {
            last = number;
            if (s->index < pool.workers) {
                pool.job(pool.argument, s->index, pool.workers);
                if (atomic_fetch_sub(&pool.left, 1) == 1 && atomic_load(&pool.asleep) > 0) {
                    rnne_os_wake(&pool.left);
                }
            }
            leave();
        }
    }
    return NULL;
}

/* In a forked process the workers do not exist, whatever they were doing. */
static void forget(void)
{
    atomic_store(&pool.taken, 0);
    atomic_store(&pool.gate, 0);
    atomic_store(&pool.asleep, 0);
    atomic_store(&pool.resting, 1);
    pool.started = pool.placed = 0;
    atomic_store(&pool.crowded, 0);
    pool.alone = pool.pause = 0;
}

static void start(int wanted)
{
    if (!atomic_exchange(&pool.hooked, 1)) {
        rnne_os_at_fork(forget);
    }
    while (pool.started < wanted) {
        slot *s = &pool.slots[pool.started];
        atomic_store(&s->number, 0);
        atomic_store(&s->asleep, 0);
        atomic_store(&s->thread, 0);
        s->index = pool.started + 1;
        if (rnne_os_start(work, s)) {
            break;
        }
        pool.started++;
    }
}

/* Keep the workers off the caller's core. A system wakes a thread on the core that wakes it where the
 * others look taken, as the idle cores of a virtual machine do, and lets both share that core for
 * milliseconds before it moves one. */
static void place(void)
{
    const int core = rnne_os_core();
    int threads[RNNE_MAX_THREADS], known = 0;
    if (core == pool.core && pool.placed == pool.started) {
        return;
    }
    for (int i = 0; i < pool.started; i++) {
        threads[known] = atomic_load_explicit(&pool.slots[i].thread, memory_order_relaxed);
        known += threads[known] != 0;
    }
    rnne_os_keep_off(core, threads, known);
    pool.core = core;
    pool.placed = known;
}

int rnne_pool_take(int wanted, int insist)
{
    int expected = 0;
    wanted = wanted < RNNE_MAX_THREADS ? wanted : RNNE_MAX_THREADS;
    if (wanted < 2 || !atomic_compare_exchange_strong(&pool.taken, &expected, 1)) {
        return 1;
    }
    if (pool.alone > 0 && !insist) {
        pool.alone--;
        atomic_store(&pool.taken, 0);
        return 1;
    }
    start(wanted - 1);
    if (pool.started == 0) {
        atomic_store(&pool.taken, 0);
        return 1;
    }
    place();
    atomic_store_explicit(&pool.resting, 0, memory_order_relaxed);
    return pool.started + 1 < wanted ? pool.started + 1 : wanted;
}

void rnne_pool_crowded(void)
{
    atomic_store_explicit(&pool.crowded, 1, memory_order_relaxed);
}

void rnne_pool_release(void)
{
    const int crowded = atomic_exchange_explicit(&pool.crowded, 0, memory_order_relaxed);
    pool.pause = !crowded ? 0 : pool.pause < MOST_PAUSE ? 2 * pool.pause + 1 : pool.pause;
    pool.alone = pool.pause;
    atomic_store_explicit(&pool.resting, 1, memory_order_relaxed);
    atomic_store(&pool.taken, 0);
}

static void offer(rnne_job *job, void *argument, int workers)
{
    const unsigned before = (unsigned)atomic_load_explicit(&pool.gate, memory_order_relaxed);
    const unsigned number = (before & -(unsigned)NUMBER) + NUMBER;
    pool.job = job;
    pool.argument = argument;
    pool.workers = workers;
    atomic_store_explicit(&pool.left, workers - 1, memory_order_relaxed);
    atomic_store_explicit(&pool.gate, (int)(number ? number : NUMBER) | OPEN, memory_order_release);
    for (int i = 0; i < workers - 1; i++) {
        slot *s = &pool.slots[i];
        const unsigned last = (unsigned)atomic_load_explicit(&s->number, memory_order_relaxed);
        rnne_change(&s->number, (int)(last + 1u), &s->asleep);
    }
    job(argument, 0, workers);
}

/* Let no worker in any more, and wait for those inside. */
static void close_gate(void)
{
    atomic_fetch_and(&pool.gate, ~OPEN);
    for (int gate; (gate = atomic_load_explicit(&pool.gate, memory_order_acquire)) & INSIDE;) {
        rnne_wait_while(&pool.gate, gate, &pool.asleep);
    }
}

void rnne_pool_run(rnne_job *job, void *argument, int workers)
{
    offer(job, argument, workers);
    for (int left; (left = atomic_load_explicit(&pool.left, memory_order_acquire)) > 0;) {
        rnne_wait_while(&pool.left, left, &pool.asleep);
    }
    close_gate();
}

void rnne_pool_offer(rnne_job *job, void *argument, int workers)
{
    offer(job, argument, workers);
    close_gate();
}
