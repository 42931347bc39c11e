/* Tracks, and the threads that take their steps. */
#include "core/recurrent_crew.h"

#include <limits.h>

#include "core/os.h"

/* A leader waits for helpers before a first step of this many nanoseconds; later ones they just join. */
#define HEAVY_STEP_NS (2.0 * RNNE_WAKE_NS)
/* Nanoseconds a leader may sleep at a track's barriers before it asks whether helpers are a help. */
#define PATIENCE_NS 100000

/* The tracks of one or more layers, as the threads that take them see them. */
typedef struct crew {
    const rnne_context *ctx;
    const rnne_instr *in;
    char *scratch;
    int64_t layers, count; /* of tracks */
    int64_t chunk;         /* steps that a leader takes at a time */
    rnne_track *tracks[RNNE_CHAIN];
    char *at[RNNE_CHAIN]; /* working memory of each layer */
    _Alignas(64) atomic_int progress; /* changes with every chunk that is done */
    atomic_int asleep;
} crew;

static const rnne_recurrent *layer_of(const crew *c, int64_t i)
{
    return rnne_prepared(c->ctx, c->in + (c->layers > 1 ? i : 0));
}

static rnne_units share_units(int64_t panels, int64_t units, int part, int parts)
{
    rnne_units u = {.panel_begin = panels * part / parts, .panel_end = panels * (part + 1) / parts};
    u.begin = u.panel_begin * RNNE_PANEL;
    u.end = u.panel_end * RNNE_PANEL < units ? u.panel_end * RNNE_PANEL : units;
    return u;
}

void rnne_track_share(rnne_pass *p)
{
    p->hidden = share_units(p->layer->panels, p->layer->hidden, p->member, p->parties);
    p->out = share_units(p->layer->out_panels, p->layer->out, p->member, p->parties);
}

/* Direction d of a layer as share `member` sees it; side: whose working memory it has, of those under
 * way. */
static rnne_pass pass_of(const rnne_context *ctx, const rnne_instr *in, char *scratch, int64_t d,
                         int64_t side, int64_t own)
{
    const rnne_recurrent *r = rnne_prepared(ctx, in);
    const rnne_layer *l = &r->layer;
    const int sorted = rnne_view_of(ctx, in, RLENGTHS) != NULL;
    rnne_pass p = {.ctx = ctx, .in = in, .d = d, .parties = 1};
    rnne_pass_set_up(&p, l, scratch + l->side_at + side * l->side_bytes,
                     scratch + l->own_at + own * l->own_bytes);
    p.order = sorted ? (const int64_t *)(scratch + l->order_at) : NULL;
    p.length = sorted ? (const int64_t *)(scratch + l->length_at) : NULL;
    p.reverse = r->sides[d].reverse;
    p.cell = &r->sides[d].cell;
    p.r = &r->sides[d].r;
    p.r_n = &r->sides[d].r_n;
    p.proj = &r->sides[d].proj;
    p.first = r->sides[d].first;
    p.second = r->sides[d].second;
    p.bounded = r->sides[d].bounded;
    rnne_track_share(&p);
    return p;
}

/* ---- the steps of one track ------------------------------------------------------------------- */

/* Let those helpers begin that were told this step. */
static void release(rnne_track *t, const rnne_place *at)
{
    t->joined = *at;
    t->waiting = 0;
    rnne_change(&t->released, t->told, &t->asleep);
}

/* Whether the leader, one of `parties`, sleeps through more than the others take off it. */
static int helpers_slow(const rnne_track *t, int parties)
{
    return parties > 1 && t->slept > PATIENCE_NS &&
           t->slept > (rnne_os_clock() - t->since) / parties * (parties - 1);
}

/* The leader at the start of a step: who takes part from this one on, where it is alone, or from the
 * next one, which those who share this one learn in time. */
static void direct(const rnne_pass *p, const rnne_place *at)
{
    rnne_track *t = p->track;
    const int64_t next = p->parties > 1 ? at->s + 1 : at->s;
    int arrived = atomic_load_explicit(&t->arrived, memory_order_relaxed);
    if (t->waiting) {
        release(t, at);
    }
    if (atomic_load_explicit(&t->until, memory_order_relaxed) != LLONG_MAX) {
        return;
    }
    if (helpers_slow(t, p->parties)) {
        atomic_store_explicit(&t->until, at->s + 1, memory_order_relaxed);
        rnne_pool_crowded();
        return;
    }
    arrived = arrived < t->most ? arrived : t->most - 1;
    if (arrived > t->told) {
        t->since = t->told == 0 ? rnne_os_clock() : t->since;
        while (t->told < arrived) {
            atomic_store_explicit(&t->from[++t->told], next, memory_order_relaxed);
        }
        t->waiting = 1;
        if (next == at->s) {
            release(t, at);
        }
    }
}

int rnne_track_step(rnne_pass *p, const rnne_place *at)
{
    rnne_track *t = p->track;
    int parties = p->parties;
    if (p->member == 0) {
        direct(p, at);
    }
    while (parties < t->most &&
           atomic_load_explicit(&t->from[parties], memory_order_relaxed) <= at->s) {
        parties++;
    }
    if (atomic_load_explicit(&t->until, memory_order_relaxed) <= at->s) {
        parties = 1;
    }
    if (p->member >= parties) {
        return 0;
    }
    if (parties != p->parties) {
        p->parties = parties;
        rnne_track_share(p);
    }
    return 1;
}

void rnne_track_meet(rnne_pass *p)
{
    if (p->parties > 1) {
        const int64_t slept = rnne_barrier_meet(&p->track->barrier, p->parties);
        if (p->member == 0) {
            p->track->slept += slept;
        }
    }
}

/* Helpers on their way are worth waiting for where a step is long beside waking them. */
static void await_helpers(const crew *c, rnne_track *t, const rnne_layer *l, int workers)
{
    const int expected = workers / (int)c->count - 1 < t->most - 1 ? workers / (int)c->count - 1
                                                                   : t->most - 1;
    if (rnne_layer_step_cost(l) < HEAVY_STEP_NS) {
        return;
    }
    for (const int64_t end = rnne_os_clock() + (int64_t)HEAVY_STEP_NS;
         atomic_load_explicit(&t->arrived, memory_order_relaxed) < expected &&
         rnne_os_clock() < end;) {
        rnne_os_relax();
    }
}

/* Take the next chunk of track i, which this thread holds. */
static void lead(crew *c, int64_t i, int worker, int workers)
{
    rnne_track *t = c->tracks[i];
    const rnne_layer *l = &layer_of(c, i)->layer;
    const int chained = c->layers > 1;
    rnne_pass p = pass_of(c->ctx, c->in + (chained ? i : 0), c->at[chained ? i : 0], chained ? 0 : i,
                          chained ? 0 : i, chained ? 0 : worker);
    p.track = t;
    if (!t->begun) {
        t->begun = 1;
        rnne_pass_begin(&p, &t->at);
        await_helpers(c, t, l, workers);
    }
    const int64_t left = l->steps - t->at.s;
    rnne_pass_run(&p, &t->at, t->at.s + (left < c->chunk ? left : c->chunk));
    const int over = t->at.rows == 0 || t->at.s >= l->steps;
    atomic_store_explicit(&t->done, over ? l->steps : t->at.s, memory_order_release);
    if (over) {
        rnne_change(&t->released, INT_MAX, &t->asleep);
    }
    atomic_store_explicit(&t->lead, over ? RNNE_OVER : RNNE_FREE, memory_order_release);
    if (chained) {
        atomic_fetch_add(&c->progress, 1);
        if (atomic_load(&c->asleep) > 0) {
            rnne_os_wake(&c->progress);
        }
    }
}

/* Share track i from some step on; 0 when it is over or has enough threads. */
static int help(crew *c, int64_t i, int worker)
{
    rnne_track *t = c->tracks[i];
    const int member = atomic_fetch_add(&t->arrived, 1) + 1;
    if (member >= t->most) {
        return 0;
    }
    int released;
    while ((released = atomic_load(&t->released)) < member) {
        rnne_wait_while(&t->released, released, &t->asleep);
    }
    if (released == INT_MAX) {
        return 0;
    }
    rnne_place at = t->joined;
    rnne_pass p = pass_of(c->ctx, c->in, c->scratch, i, i, worker);
    p.track = t;
    p.member = member;
    rnne_pass_catch_up(&p, at.s);
    return rnne_pass_run(&p, &at, layer_of(c, i)->layer.steps);
}

/* ---- which track a thread takes --------------------------------------------------------------- */

/* Whether the inputs of track i's next chunk are there. */
static int is_ready(const crew *c, int64_t i)
{
    if (c->layers == 1 || i == 0) {
        return 1;
    }
    const int64_t steps = layer_of(c, i)->layer.steps;
    const int64_t from = atomic_load_explicit(&c->tracks[i]->done, memory_order_acquire);
    const int64_t until = steps - from < c->chunk ? steps : from + c->chunk;
    return atomic_load_explicit(&c->tracks[i - 1]->done, memory_order_acquire) >= until;
}

static int hold(const crew *c, int64_t i)
{
    int expected = RNNE_FREE;
    rnne_track *t = c->tracks[i];
    if (atomic_load_explicit(&t->lead, memory_order_relaxed) != RNNE_FREE || !is_ready(c, i) ||
        !atomic_compare_exchange_strong(&t->lead, &expected, RNNE_LED)) {
        return 0;
    }
    if (!is_ready(c, i)) { /* another thread has taken the chunk in between */
        atomic_store_explicit(&t->lead, RNNE_FREE, memory_order_release);
        return 0;
    }
    return 1;
}

/* Hold a track: the last one where every thread can have one of its own, so that its weights stay in
 * this core's cache; else the last of a chain that can go on, which keeps all of them busy. */
static int64_t choose(const crew *c, int64_t last, int workers)
{
    if (last >= 0 && workers >= c->count && hold(c, last)) {
        return last;
    }
    for (int64_t i = c->layers > 1 ? c->count - 1 : 0; i >= 0 && i < c->count;
         i += c->layers > 1 ? -1 : 1) {
        if (hold(c, i)) {
            return i;
        }
    }
    return -1;
}

/* Whether a track that nobody leads has steps to come. */
static int more_to_come(const crew *c)
{
    int more = 0;
    for (int64_t i = 0; i < c->count; i++) {
        more |= atomic_load_explicit(&c->tracks[i]->lead, memory_order_acquire) == RNNE_FREE;
    }
    return more;
}

/* Help at a track that takes helpers; 0 when there is none. */
static int help_any(crew *c, int worker)
{
    for (int64_t i = 0; i < c->count && c->layers == 1; i++) {
        rnne_track *t = c->tracks[i];
        if (atomic_load_explicit(&t->lead, memory_order_relaxed) == RNNE_LED &&
            atomic_load_explicit(&t->arrived, memory_order_relaxed) < t->most - 1 && help(c, i, worker)) {
            return 1;
        }
    }
    return 0;
}

static void take_part(void *argument, int worker, int workers)
{
    crew *c = argument;
    for (int64_t last = -1;;) {
        const int seen = atomic_load(&c->progress);
        const int64_t i = choose(c, last, workers);
        if (i >= 0) {
            lead(c, i, worker, workers);
            last = i;
        } else if (!help_any(c, worker)) {
            if (!more_to_come(c)) {
                return;
            }
            rnne_wait_while(&c->progress, seen, &c->asleep);
        }
    }
}

static void track_init(rnne_track *t, int most)
{
    *t = (rnne_track){.most = most};
    rnne_barrier_init(&t->barrier);
    for (int i = 0; i < most; i++) {
        atomic_init(&t->from[i], LLONG_MAX);
    }
    atomic_init(&t->until, LLONG_MAX);
}

static void run_alone(const rnne_context *ctx, const rnne_instr *in, char *scratch)
{
    const rnne_recurrent *r = rnne_prepared(ctx, in);
    rnne_place at;
    for (int64_t d = 0; d < r->layer.directions; d++) {
        rnne_pass p = pass_of(ctx, in, scratch, d, 0, 0);
        rnne_pass_begin(&p, &at);
        rnne_pass_run(&p, &at, r->layer.steps);
    }
}

void rnne_crew_run(const rnne_context *ctx, const rnne_instr *in, int64_t count, char *scratch,
                   int workers)
{
    const rnne_layer *first = &((const rnne_recurrent *)rnne_prepared(ctx, in))->layer;
    crew c = {.ctx = ctx, .in = in, .scratch = scratch, .layers = count,
              .count = count > 1 ? count : first->directions,
              .chunk = count > 1 ? rnne_chain_steps(ctx, in, count) : INT64_MAX};
    for (int64_t i = 0; i < count; i++) {
        c.at[i] = scratch;
        scratch += layer_of(&c, i)->layer.bytes;
        if (workers == 1) {
            run_alone(ctx, in + i, c.at[i]);
        }
    }
    if (workers == 1) {
        return;
    }
    for (int64_t i = 0; i < c.count; i++) {
        const rnne_layer *l = &layer_of(&c, i)->layer;
        char *side = c.at[count > 1 ? i : 0] + l->side_at + (count > 1 ? 0 : i) * l->side_bytes;
        c.tracks[i] = (rnne_track *)(side + l->track_at);
        track_init(c.tracks[i], count > 1 ? 1 : (int)l->share);
    }
    rnne_pool_offer(take_part, &c, workers);
}
