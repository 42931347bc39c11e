/** The worker threads of the process, and the barrier they meet at.
 *
 * There is one pool. It is made on first use, grows to what is asked for, and serves one call at a
 * time: a call that finds it taken computes alone, with the same bits. Workers that wait spin for a
 * bounded time within a call and sleep between calls. A forked process starts with an empty pool.
 */
#ifndef RNNE_THREADS_H
#define RNNE_THREADS_H

#include <stdatomic.h>
#include <stdint.h>

/** Threads that one call may use. */
#define RNNE_MAX_THREADS 64

/** What threads cost, in nanoseconds: sharing a step, each; waking a sleeping one; a piece of work that
 * is not worth any. */
#define RNNE_BARRIER_NS 500.0
#define RNNE_WAKE_NS 16000.0
#define RNNE_WORTH_NS 80000.0

/** Part `worker` of `workers` of a job; workers 0 is the thread that called. */
typedef void rnne_job(void *argument, int worker, int workers);

/** Take the pool for a call of up to `wanted` threads, this one included; returns how many there
 * are. Above 1 the pool is held until rnne_pool_release. After calls whose workers were no help, some
 * get none unless they insist. */
int rnne_pool_take(int wanted, int insist);
void rnne_pool_release(void);
/** Say that the workers of the call under way do not get the time to be a help. */
void rnne_pool_crowded(void);
/** Run a job on `workers` threads of the pool that this thread holds, and wait for all of them. */
void rnne_pool_run(rnne_job *job, void *argument, int workers);
/** The same without waiting for anybody to come: a worker that is not there when the caller's part is
 * done takes none, so the parts of those who come have to make up the whole. */
void rnne_pool_offer(rnne_job *job, void *argument, int workers);

/** Return when *word is not `value` any more: spins, then sleeps. Returns the nanoseconds spent asleep.
 * `asleep` counts who sleeps, which spares the others a system call while nobody does. */
int64_t rnne_wait_while(atomic_int *word, int value, atomic_int *asleep);
/** Give *word another value and wake who sleeps on it. */
void rnne_change(atomic_int *word, int value, atomic_int *asleep);

/** A meeting point of threads. */
typedef struct rnne_barrier {
    _Alignas(64) atomic_int arrived;
    _Alignas(64) atomic_int phase;
    atomic_int asleep;
} rnne_barrier;

void rnne_barrier_init(rnne_barrier *barrier);
/** Return when that many threads have arrived; what they wrote before is then visible. All of them give
 * the same number. Returns the nanoseconds this thread slept. */
int64_t rnne_barrier_meet(rnne_barrier *barrier, int parties);

/** The part [*begin, *end) of `count` things that falls to one of `parts`; sizes differ by at most
 * one. */
static inline void rnne_share(long count, int part, int parts, long *begin, long *end)
{
    *begin = count * part / parts;
    *end = count * (part + 1) / parts;
}

#endif
