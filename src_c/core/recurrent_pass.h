/** One direction of a recurrent layer under way, as one of the threads that share it sees it.
 *
 * All threads of a direction run the same loop over time; each owns a range of hidden units (and of
 * output units, where a projection makes them differ) and computes, copies and stores those alone.
 */
#ifndef RNNE_RECURRENT_PASS_H
#define RNNE_RECURRENT_PASS_H

#include "core/recurrent.h"
#include "core/threads.h"

/** Units [begin, end), whole panels but for the last. */
typedef struct rnne_units {
    int64_t panel_begin, panel_end, begin, end;
} rnne_units;

/** Where a loop over time stands before step s. The state is in h[s % 2]. */
typedef struct rnne_place {
    int64_t s, rows;  /* rows that still run */
    int64_t projected; /* first step whose input is not projected */
    size_t xp_at, xp_panel; /* floats in xp: from the first row of a panel to this step's; of a panel */
} rnne_place;

struct rnne_track;

typedef struct rnne_pass {
    const rnne_context *ctx;
    const rnne_instr *in;
    const rnne_layer *layer;
    const rnne_kernels *kernels;
    const rnne_cell *cell;
    const rnne_matrix *r, *r_n, *proj; /* r and r_n: multiplied before the step, unless their k is 0 */
    rnne_step_fn *first, *second;
    const rnne_view *x, *y, *h_n, *c_n, *mask;
    int zero_masked;
    int32_t *seen; /* with a mask: 1 for rows that have had a step that counts */
    float *saved;  /* with a mask: c of the masked rows before the step */
    int64_t d;
    int reverse;
    const int64_t *order, *length; /* NULL without lengths */
    float *xp, *h[2], *m, *c, *z, *rh, *inner;
    const float **rows;
    const float **state_rows;
    void *area, *input_area; /* quantised rows of states and of inputs, where weights are int8 */
    int bounded; /* |h| <= 1 by the functions of the cell */
    const float **from;
    float **to;
    size_t h_stride, c_stride;
    float proj_clip;
    rnne_units hidden, out; /* this thread's share of c (and m, z, rh), and of h and y */
    struct rnne_track *track; /* what the threads of this direction share; NULL for one alone */
    int member, parties;      /* this thread's number (0 leads) and how many share the step */
} rnne_pass;

static inline int64_t rnne_pass_row(const rnne_pass *p, int64_t i)
{
    return p->order ? p->order[i] : i;
}

static inline int64_t rnne_pass_length(const rnne_pass *p, int64_t i)
{
    return p->length ? p->length[i] : p->layer->steps;
}

/** The time index that row i reads and writes at step s. */
static inline int64_t rnne_pass_time(const rnne_pass *p, int64_t i, int64_t s)
{
    return p->reverse ? rnne_pass_length(p, i) - 1 - s : s;
}

/** Set up everything that does not depend on the direction; scratch as rnne_layer_place laid out. */
void rnne_pass_set_up(rnne_pass *p, const rnne_layer *layer, char *scratch, char *own);
/** h and c of all rows: the initial states, zeros without; outputs past a row's length, zeros. */
void rnne_pass_load(const rnne_pass *p);
/** What a thread has to know of the masks of the steps before s. */
void rnne_pass_catch_up(const rnne_pass *p, int64_t s);
/** Load states, finish rows without steps, and stand before the first step. */
void rnne_pass_begin(const rnne_pass *p, rnne_place *at);
/** Take the steps up to `until`; 0 when this thread has left before. */
int rnne_pass_run(rnne_pass *p, rnne_place *at, int64_t until);
/** Write the final states of rows [begin, end), whose last h stands in buffer h. */
void rnne_pass_finish(const rnne_pass *p, const float *h, int64_t begin, int64_t end);
/** Before a step: remember what it would change in rows whose step does not count. */
void rnne_pass_save_masked(const rnne_pass *p, int64_t s, int64_t rows);
/** After a step: give those rows their state back. */
void rnne_pass_restore_masked(const rnne_pass *p, const float *before, float *after, int64_t s,
                              int64_t rows);
/** Write the outputs of step s. */
void rnne_pass_store(const rnne_pass *p, const float *h, int64_t s, int64_t rows);

#endif
