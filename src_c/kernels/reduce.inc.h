/* Sums and extremes over a row: lane i of 16 takes elements i, i + 16, ... in index order, then a tree
 * joins the upper half of the lanes to the lower, 8, 4, 2, 1. */

INLINE float reduce_fill(const int KIND, float centre)
{
    switch (KIND) {
    case RNNE_RED_SQUARE: return centre;
    case RNNE_RED_PROD: return 1.0f;
    case RNNE_RED_MAX: return -INFINITY;
    case RNNE_RED_MIN: return INFINITY;
    case RNNE_RED_EXP: return -INFINITY;
    default: return 0.0f;
    }
}

/* NaN, once met, stays: a comparison with it is false. */
INLINE vf reduce_step(vf acc, vf x, vf centre, const int KIND)
{
    vf d;
    switch (KIND) {
    case RNNE_RED_ABS: return vf_add(acc, vf_abs(x));
    case RNNE_RED_SQUARE: d = vf_sub(x, centre); return vf_fma(d, d, acc);
    case RNNE_RED_PROD: return vf_mul(acc, x);
    case RNNE_RED_MAX: return vf_select(vm_or(vf_gt(x, acc), vf_isnan(x)), x, acc);
    case RNNE_RED_MIN: return vf_select(vm_or(vf_lt(x, acc), vf_isnan(x)), x, acc);
    case RNNE_RED_EXP: return vf_add(acc, exp_f32(vf_sub(x, centre)));
    default: return vf_add(acc, x);
    }
}

INLINE float reduce_join(float a, float b, const int KIND)
{
    switch (KIND) {
    case RNNE_RED_PROD: return a * b;
    case RNNE_RED_MAX: return b > a || b != b ? b : a;
    case RNNE_RED_MIN: return b < a || b != b ? b : a;
    default: return a + b;
    }
}

INLINE float reduce_row(const float *x, size_t n, float centre, const int KIND)
{
    const float fill = reduce_fill(KIND, centre);
    const float start = KIND == RNNE_RED_SQUARE || KIND == RNNE_RED_EXP ? 0.0f : fill;
    float lanes[RNNE_PANEL];
    vf acc[PANEL_VECS], c = vf_set1(centre);
    for (int v = 0; v < PANEL_VECS; v++) {
        acc[v] = vf_set1(start);
    }
    for (size_t i = 0; i < n; i += RNNE_PANEL) {
        for (int v = 0; v < PANEL_VECS; v++) {
            acc[v] = reduce_step(acc[v], load_lanes(x, i, v, n, fill), c, KIND);
        }
    }
    for (int v = 0; v < PANEL_VECS; v++) {
        vf_store(lanes + v * VF_LANES, acc[v]);
    }
    for (int half = RNNE_PANEL / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            lanes[i] = reduce_join(lanes[i], lanes[i + half], KIND);
        }
    }
    return lanes[0];
}

static float reduce(int32_t kind, const float *x, size_t n, float centre)
{
    switch (kind) {
    case RNNE_RED_ABS: return reduce_row(x, n, centre, RNNE_RED_ABS);
    case RNNE_RED_SQUARE: return reduce_row(x, n, centre, RNNE_RED_SQUARE);
    case RNNE_RED_PROD: return reduce_row(x, n, centre, RNNE_RED_PROD);
    case RNNE_RED_MAX: return reduce_row(x, n, centre, RNNE_RED_MAX);
    case RNNE_RED_MIN: return reduce_row(x, n, centre, RNNE_RED_MIN);
    case RNNE_RED_EXP: return reduce_row(x, n, centre, RNNE_RED_EXP);
    default: return reduce_row(x, n, centre, RNNE_RED_SUM);
    }
}

/* y[i] = fma((x[i] - mean) * inverse, scale[i * ss], bias[i * sb]); without a bias, their product. */
static void normalize(const float *x, float mean, float inverse, const float *scale, ptrdiff_t ss,
                      const float *bias, ptrdiff_t sb, float *y, size_t n)
{
    const vf m = vf_set1(mean), r = vf_set1(inverse);
    for (size_t i = 0; i < n; i += VF_LANES) {
        const size_t left = n - i < VF_LANES ? n - i : VF_LANES;
        vf t = vf_mul(vf_sub(vf_load_n(x + i, left), m), r);
        vf s = ss ? vf_load_n(scale + i, left) : vf_set1(*scale);
        if (bias) {
            vf b = sb ? vf_load_n(bias + i, left) : vf_set1(*bias);
            t = vf_fma(t, s, b);
        } else {
            t = vf_mul(t, s);
        }
        vf_store_n(y + i, t, left);
    }
}
