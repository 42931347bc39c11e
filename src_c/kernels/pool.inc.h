/* Pools, one row of outputs at a time, positions in the lanes. Taps are taken rows first, columns
 * next, each ascending; those in the padding are skipped. */

/* A sum starts from 0, and so does the empty window; a maximum starts below everything. */
INLINE vf pool_tap(vf acc, vf x, const int KIND)
{
    switch (KIND) {
    case RNNE_POOL_MAX: return vf_select(vm_or(vf_gt(x, acc), vf_isnan(x)), x, acc);
    case RNNE_POOL_L1: return vf_add(acc, vf_abs(x));
    case RNNE_POOL_L2: return vf_fma(x, x, acc);
    default: return vf_add(acc, x);
    }
}

INLINE vf pool_block(const rnne_pool *p, size_t at, size_t lanes, const int KIND)
{
    vf acc = KIND == RNNE_POOL_MAX ? vf_set1(-INFINITY) : vf_zero();
    for (size_t r = 0; r < p->n_rows; r++) {
        for (size_t t = 0; t < p->n_cols; t++) {
            const rnne_tap *tap = &p->cols[t];
            const size_t low = tap->begin > at ? tap->begin - at : 0;
            const size_t high = tap->end > at ? (tap->end - at < lanes ? tap->end - at : lanes) : 0;
            const float *x = p->x + p->rows[r].x + tap->x + (ptrdiff_t)at * p->x_step;
            if (low == 0 && high == VF_LANES) {
                acc = pool_tap(acc, load_all(x, p->x_step), KIND);
            } else if (low < high) {
                const vf part = load_part(x, p->x_step, low, high);
                acc = vf_select(lanes_between(low, high), pool_tap(acc, part, KIND), acc);
            }
        }
    }
    return acc;
}

INLINE void pool_row(const rnne_pool *p, const int KIND)
{
    for (size_t at = 0; at < p->n; at += VF_LANES) {
        const size_t left = p->n - at, lanes = left < VF_LANES ? left : VF_LANES;
        vf y = pool_block(p, at, lanes, KIND);
        if (KIND == RNNE_POOL_MEAN) {
            y = vf_div(y, vf_load_n(p->counts + at, lanes));
        } else if (KIND == RNNE_POOL_L2) {
            y = vf_sqrt(y);
        }
        float t[VF_LANES];
        vf_store(t, y);
        for (size_t i = 0; i < lanes; i++) {
            p->y[(ptrdiff_t)(at + i) * p->y_step] = t[i];
        }
    }
}

static void pool(const rnne_pool *p)
{
    switch (p->kind) {
    case RNNE_POOL_MAX: pool_row(p, RNNE_POOL_MAX); break;
    case RNNE_POOL_MEAN: pool_row(p, RNNE_POOL_MEAN); break;
    case RNNE_POOL_L1: pool_row(p, RNNE_POOL_L1); break;
    default: pool_row(p, RNNE_POOL_L2); break;
    }
}
