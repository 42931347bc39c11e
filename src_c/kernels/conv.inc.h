/* Convolutions, one row of outputs at a time. Two ways to fill the lanes with the same chains:
 *
 *   positions in the lanes, weights broadcast: rows of some length, any number of units;
 *   units in the lanes, inputs broadcast: short rows of many units.
 *
 * A chain is continued only by taps that count, so where a tap counts for some of the lanes alone, the
 * others are selected as they were. The ISA file states the block: CONV_UNITS x CONV_VECS, up to MAX_ACC
 * accumulators. */
#define MAX_VECS 4

/* Vectors of positions: the last one is moved back to end at the last position, so that no lane lies
 * beyond it; what is computed twice is the same. Rows shorter than a vector use their first lanes. */
INLINE size_t position_of(const rnne_conv *c, size_t from, int v)
{
    const size_t at = from + (size_t)(v * VF_LANES);
    return c->n <= VF_LANES ? 0 : at + VF_LANES <= c->n ? at : c->n - VF_LANES;
}

/* Lanes [low, high) of positions step apart; the others are 0 and nothing is read for them. */
INLINE vf load_part(const float *x, ptrdiff_t step, size_t low, size_t high)
{
    float lanes[VF_LANES] = {0.0f};
    for (size_t i = low; i < high; i++) {
        lanes[i] = x[(ptrdiff_t)i * step];
    }
    return vf_load(lanes);
}

INLINE vf load_all(const float *x, ptrdiff_t step)
{
    return step == 1 ? vf_load(x) : step == 2 ? vf_load2(x) : load_part(x, step, 0, VF_LANES);
}

INLINE vm lanes_between(size_t low, size_t high)
{
    static const float lane[RNNE_PANEL] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const vf i = vf_load(lane);
    return vm_and(vf_le(vf_set1((float)low), i), vf_lt(i, vf_set1((float)high)));
}

/* One tap that counts for lanes [low, high) of one vector. */
INLINE void tap_part(vf *acc, const float *x, ptrdiff_t step, const float *w, size_t low, size_t high,
                     const int UNITS, const int VECS)
{
    const vm which = lanes_between(low, high);
    const vf input = step == 1 ? vf_load_between(x, low, high) : load_part(x, step, low, high);
    UNROLL for (int u = 0; u < UNITS; u++)
    {
        acc[u * VECS] = vf_select(which, vf_fma(input, vf_set1(w[u]), acc[u * VECS]), acc[u * VECS]);
    }
}

/* One tap that counts for some of the lanes of a block. */
INLINE void tap_edge(vf *acc, const rnne_conv *c, const rnne_tap *tap, const float *x, const float *w,
                     const size_t *at, const int UNITS, const int VECS)
{
    UNROLL for (int v = 0; v < VECS; v++)
    {
        const size_t low = tap->begin > at[v] ? tap->begin - at[v] : 0;
        const size_t high = tap->end > at[v] ? tap->end - at[v] : 0;
        if (low < high && low < VF_LANES) {
            tap_part(acc + v, x + (ptrdiff_t)at[v] * c->x_step, c->x_step, w, low,
                     high < VF_LANES ? high : VF_LANES, UNITS, VECS);
        }
    }
}

/* The activation of a finished sum; with slopes it is the PRelu of them. */
INLINE vf conv_act(const rnne_conv *c, vf y, vf slope)
{
    switch (c->act.id) {
    case RNNE_ACT_IDENTITY: return y;
    case RNNE_ACT_RELU: return vf_max(vf_zero(), y);
    case RNNE_ACT_LEAKY_RELU: return vf_select(vf_lt(y, vf_zero()), vf_mul(slope, y), y);
    default: return act_apply(c->act.id, c->act.alpha, c->act.beta, c->act.gamma, y);
    }
}

INLINE void finish_positions(const vf *acc, const rnne_conv *c, size_t unit, const size_t *at,
                             const int UNITS, const int VECS)
{
    const size_t lanes = c->n < VF_LANES ? c->n : VF_LANES;
    UNROLL for (int u = 0; u < UNITS; u++)
    {
        const vf slope = vf_set1(c->slope ? c->slope[unit + (size_t)u] : c->act.alpha);
        UNROLL for (int v = 0; v < VECS; v++)
        {
            const vf y = conv_act(c, acc[u * VECS + v], slope);
            float *to = c->y + (ptrdiff_t)(unit + (size_t)u) * c->y_unit + (ptrdiff_t)at[v] * c->y_step;
            if (c->y_step == 1) {
                vf_store_n(to, y, lanes);
                continue;
            }
            float t[VF_LANES];
            vf_store(t, y);
            for (size_t i = 0; i < lanes; i++) {
                to[(ptrdiff_t)i * c->y_step] = t[i];
            }
        }
    }
}

INLINE void positions_block(const rnne_conv *c, size_t from, size_t unit, const int UNITS,
                            const int VECS)
{
    const size_t lane = c->first + unit;
    const float *w0 = c->w + lane / RNNE_PANEL * c->w_panel + lane % RNNE_PANEL;
    const float *bias = c->bias + lane;
    const ptrdiff_t step = c->x_step;
    size_t at[MAX_VECS];
    vf acc[MAX_ACC];
    UNROLL for (int v = 0; v < VECS; v++)
    {
        at[v] = position_of(c, from, v);
        UNROLL for (int u = 0; u < UNITS; u++)
        {
            acc[u * VECS + v] = vf_set1(bias[u]);
        }
    }
    for (size_t k = 0; k < c->channels; k++) {
        for (size_t r = 0; r < c->n_rows; r++) {
            const float *x_row = c->x + (ptrdiff_t)k * c->x_channel + c->rows[r].x;
            const float *w_row = w0 + k * c->w_channel + c->rows[r].w;
            for (size_t t = 0; t < c->n_cols; t++) {
                const rnne_tap *tap = &c->cols[t];
                const float *x = x_row + tap->x, *w = w_row + tap->w;
                if (tap->begin > at[0] || tap->end < at[VECS - 1] + VF_LANES) {
                    tap_edge(acc, c, tap, x, w, at, UNITS, VECS);
                    continue;
                }
                vf input[MAX_VECS];
                UNROLL for (int v = 0; v < VECS; v++)
                {
                    input[v] = load_all(x + (ptrdiff_t)at[v] * step, step);
                }
                UNROLL for (int u = 0; u < UNITS; u++)
                {
                    const vf weight = vf_set1(w[u]);
                    UNROLL for (int v = 0; v < VECS; v++)
                    {
                        acc[u * VECS + v] = vf_fma(input[v], weight, acc[u * VECS + v]);
                    }
                }
            }
        }
    }
    finish_positions(acc, c, unit, at, UNITS, VECS);
}

/* All positions for UNITS units that share a panel. */
INLINE void positions_units(const rnne_conv *c, size_t unit, const int UNITS)
{
    size_t from = 0;
    for (; from + (CONV_VECS - 1) * VF_LANES < c->n; from += CONV_VECS * VF_LANES) {
        positions_block(c, from, unit, UNITS, CONV_VECS);
    }
    for (; from < c->n; from += VF_LANES) {
        positions_block(c, from, unit, UNITS, 1);
    }
}

static void conv_positions(const rnne_conv *c)
{
    size_t unit = 0;
    while (unit < c->units) {
        const size_t left = c->units - unit, room = RNNE_PANEL - (c->first + unit) % RNNE_PANEL;
        const size_t most = left < room ? left : room;
        if (most >= CONV_UNITS) {
            positions_units(c, unit, CONV_UNITS);
            unit += CONV_UNITS;
        } else if (most >= 2) {
            positions_units(c, unit, 2);
            unit += 2;
        } else {
            positions_units(c, unit, 1);
            unit += 1;
        }
    }
}

/* One tap for positions that it counts for all of, or for [begin, end) of. */
INLINE void tap_units(vf *acc, const rnne_conv *c, const float *const *x, ptrdiff_t at, const float *w,
                      size_t begin, size_t end, const int WHOLE, const int ROWS, const int PANELS,
                      const int VECS)
{
    vf weight[MAX_ACC];
    UNROLL for (int a = 0; a < PANELS * VECS; a++)
    {
        weight[a] = vf_load(w + (size_t)(a / VECS) * c->w_panel + a % VECS * VF_LANES);
    }
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        if (WHOLE || ((size_t)i >= begin && (size_t)i < end)) {
            const vf input = vf_set1(x[i][at]);
            UNROLL for (int a = 0; a < PANELS * VECS; a++)
            {
                acc[i * PANELS * VECS + a] = vf_fma(input, weight[a], acc[i * PANELS * VECS + a]);
            }
        }
    }
}

INLINE void finish_units(const vf *acc, const rnne_conv *c, size_t from, size_t panel, int first,
                         const int ROWS, const int PANELS, const int VECS)
{
    UNROLL for (int i = 0; i < ROWS * PANELS * VECS; i++)
    {
        const size_t unit = (panel + (size_t)(i / VECS % PANELS)) * RNNE_PANEL +
                            (size_t)((first + i % VECS) * VF_LANES);
        const size_t left = unit < c->units ? c->units - unit : 0;
        const size_t lanes = left < VF_LANES ? left : VF_LANES;
        const vf slope = c->slope ? vf_load_n(c->slope + (lanes ? unit : 0), lanes)
                                  : vf_set1(c->act.alpha);
        float t[VF_LANES];
        float *to = c->y + (ptrdiff_t)(from + (size_t)(i / VECS / PANELS)) * c->y_step +
                    (ptrdiff_t)unit * c->y_unit;
        vf_store(t, conv_act(c, acc[i], slope));
        for (size_t lane = 0; lane < lanes; lane++) {
            to[(ptrdiff_t)lane * c->y_unit] = t[lane];
        }
    }
}

/* Taps [first, last) count for all ROWS positions from `from` on; those are a run, for taps follow each
 * other along the row. */
INLINE void whole_taps(const rnne_conv *c, size_t from, size_t *first, size_t *last, const int ROWS)
{
    size_t t = 0;
    while (t < c->n_cols && (c->cols[t].begin > from || c->cols[t].end < from + (size_t)ROWS)) {
        t++;
    }
    *first = t;
    while (t < c->n_cols && c->cols[t].begin <= from && c->cols[t].end >= from + (size_t)ROWS) {
        t++;
    }
    *last = t;
}

/* Taps [t, last) that each count for some of ROWS positions from `from` on. */
INLINE void some_taps(vf *acc, const rnne_conv *c, const float *const *x, ptrdiff_t at, const float *w,
                      size_t from, size_t t, size_t last, const int ROWS, const int PANELS,
                      const int VECS)
{
    for (; t < last; t++) {
        const rnne_tap *tap = &c->cols[t];
        const size_t begin = tap->begin > from ? tap->begin - from : 0;
        const size_t end = tap->end > from ? tap->end - from : 0;
        tap_units(acc, c, x, at + tap->x, w + tap->w, begin, end, 0, ROWS, PANELS, VECS);
    }
}

/* ROWS positions from `from` on, PANELS panels of units, VECS of their vectors at a time. */
INLINE void units_block(const rnne_conv *c, size_t from, size_t panel, const int ROWS,
                        const int PANELS, const int VECS)
{
    const float *x[MAX_ROWS];
    size_t whole, edge;
    whole_taps(c, from, &whole, &edge, ROWS);
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        x[i] = c->x + (ptrdiff_t)(from + (size_t)i) * c->x_step;
    }
    for (int first = 0; first < PANEL_VECS; first += VECS) {
        vf acc[MAX_ACC];
        load_block(acc, c->bias + panel * RNNE_PANEL + first * VF_LANES, 0, RNNE_PANEL, ROWS, PANELS, 1,
                   VECS);
        for (size_t k = 0; k < c->channels; k++) {
            for (size_t r = 0; r < c->n_rows; r++) {
                const ptrdiff_t at = (ptrdiff_t)k * c->x_channel + c->rows[r].x;
                const float *w = c->w + panel * c->w_panel + k * c->w_channel + c->rows[r].w +
                                 first * VF_LANES;
                some_taps(acc, c, x, at, w, from, 0, whole, ROWS, PANELS, VECS);
                for (size_t t = whole; t < edge; t++) {
                    tap_units(acc, c, x, at + c->cols[t].x, w + c->cols[t].w, 0, 0, 1, ROWS, PANELS,
                              VECS);
                }
                some_taps(acc, c, x, at, w, from, edge, c->n_cols, ROWS, PANELS, VECS);
            }
        }
        finish_units(acc, c, from, panel, first, ROWS, PANELS, VECS);
    }
}

#define UNITS_BLOCK(R, P, V, row, p) units_block(c, row, p, R, P, V)

static void conv_units(const rnne_conv *c)
{
    const size_t panels = (c->units + RNNE_PANEL - 1) / RNNE_PANEL;
    FOR_BLOCKS(UNITS_BLOCK, 1, c->n, 0, panels, 0);
}

/* Whichever way needs less: multiply-adds, twice where positions have to be gathered, and writing the
 * outputs of a block one at a time where those of neighbouring units do not lie together. The bits are
 * the same. */
static void conv(const rnne_conv *c)
{
    const size_t panels = (c->units + RNNE_PANEL - 1) / RNNE_PANEL;
    const size_t taps = c->channels * c->n_rows * c->n_cols;
    const size_t each = c->x_step == 1 ? 1 : 2;
    const size_t by_position = c->units * ((c->n + VF_LANES - 1) / VF_LANES) * taps * each;
    const size_t scattered = c->y_unit == 1 ? 0 : c->n * c->units;
    const size_t by_unit = c->n * panels * PANEL_VECS * taps + scattered;
    if (c->first == 0 && by_unit < by_position) {
        conv_units(c);
    } else {
        conv_positions(c);
    }
}
