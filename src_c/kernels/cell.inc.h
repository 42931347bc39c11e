/* What the three cells share: clamps, the settling of stored states, activations by option. */

/* clamp(x, -limit, limit); NaN is kept because both comparisons are then false. */
INLINE vf clamp_to(vf x, vf limit)
{
    vf low = vf_neg(limit);
    x = vf_select(vf_gt(x, limit), limit, x);
    return vf_select(vf_lt(x, low), low, x);
}

/* A stored state below 2^-64 becomes +0, so that decaying states never turn subnormal. */
INLINE vf settle(vf state)
{
    return vf_select(vf_lt(vf_abs(state), vf_set1(0x1p-64f)), vf_zero(), state);
}

/* Gate activation: the default function when GENERAL is 0, else clip and the cell's own. */
INLINE vf gate(const rnne_cell *cell, int which, vf a, vf (*standard)(vf), const int GENERAL)
{
    if (!GENERAL) {
        return standard(a);
    }
    const rnne_act *act = &cell->act[which];
    return act_apply(act->id, act->alpha, act->beta, act->gamma, clamp_to(a, vf_set1(cell->clip)));
}

/* Accumulators of a block at this step: projected here from x (one row) or read from xp. */
INLINE void start_block(vf *acc, const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                        int v, const int ROWS, const int PANELS, const int GATES, const int VECS)
{
    const size_t gates = (size_t)GATES * RNNE_PANEL;
    if (ROWS == 1 && s->x) {
        const float *x[1] = {s->x};
        load_block(acc, cell->x.bias + panel * gates + v * VF_LANES, 0, gates, ROWS, PANELS, GATES,
                   VECS);
        mac_matrix(acc, &cell->x, panel, v, x, RNNE_W_F32, 1, PANELS, GATES, VECS);
    } else {
        load_block(acc, s->xp + panel * s->xp_panel + row * gates + v * VF_LANES, gates, s->xp_panel,
                   ROWS, PANELS, GATES, VECS);
    }
}

INLINE void row_pointers(const float **rows, const float *first, size_t stride, const int ROWS)
{
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        rows[i] = first + (size_t)i * stride;
    }
}
