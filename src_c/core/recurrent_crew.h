/** Recurrent layers under way on several threads.
 *
 * A track is one direction of one layer: a loop over time with a state. One thread leads it; others may
 * help, each with a share of the units, from the step on at which they have come. Nobody is waited for
 * who has not come: a worker that the system keeps from running takes no part. The directions of a
 * layer are tracks beside each other. Layers of a chain (recurrent_chain.c) are tracks that follow each
 * other: a track goes on where the one before has been, a chunk of steps at a time, led by whoever is
 * free.
 */
#ifndef RNNE_RECURRENT_CREW_H
#define RNNE_RECURRENT_CREW_H

#include "core/recurrent_pass.h"

/** Layers of a chain, at most. */
#define RNNE_CHAIN 16

/** Who leads a track now. */
typedef enum rnne_lead { RNNE_FREE = 0, RNNE_LED = 1, RNNE_OVER = 2 } rnne_lead;

typedef struct rnne_track {
    rnne_barrier barrier;          /* of those who share the steps */
    _Alignas(64) atomic_int arrived; /* helpers that have come */
    atomic_int released;           /* of them, those that may begin; above them all when it is over */
    atomic_int asleep;
    int most;                      /* threads that are worth it */
    /* The leader's: helpers it has told when to begin; those it has not released yet; where the loop
     * stands between chunks, and stood when it released some; nanoseconds asleep, and since when. */
    int told, waiting, begun;
    rnne_place at, joined;
    int64_t slept, since;
    /* Step from which helper number i takes part, counted from 1; from which the leader is alone. */
    atomic_llong from[RNNE_MAX_THREADS], until;
    _Alignas(64) atomic_int lead;  /* rnne_lead */
    atomic_llong done;             /* steps whose outputs are written, all helpers' shares */
} rnne_track;

/** At the start of step at->s: how many share it, in p->parties, and this thread's units. 0 when this
 * thread, a helper, is not needed any more. */
int rnne_track_step(rnne_pass *p, const rnne_place *at);
/** Meet the others of the track. */
void rnne_track_meet(rnne_pass *p);
/** This thread's units: share number p->member of p->parties. */
void rnne_track_share(rnne_pass *p);

/** How many of the `most` instructions from `in` on are layers that run as a chain, with the bytes of
 * working memory they need then; 1 where `in` runs alone. Sizes are bound. */
int64_t rnne_chain_length(const rnne_context *ctx, const rnne_instr *in, int64_t most,
                          int64_t *scratch);
/** Run a chain. */
rnne_status rnne_chain_run(const rnne_context *ctx, const rnne_instr *in, int64_t count, void *scratch);
/** Threads worth using for a chain, and the steps of a chunk. */
int64_t rnne_chain_workers(const rnne_context *ctx, const rnne_instr *in, int64_t count);
int64_t rnne_chain_steps(const rnne_context *ctx, const rnne_instr *in, int64_t count);

/** Run the layers of `count` instructions from `in` on, with up to `workers` threads of the pool; each
 * reads what the one before writes. A single one may have two directions. Lengths are sorted. */
void rnne_crew_run(const rnne_context *ctx, const rnne_instr *in, int64_t count, char *scratch,
                   int workers);

#endif
