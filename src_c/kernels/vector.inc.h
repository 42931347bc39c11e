/* Elementwise kernels and softmax. */

INLINE vf binary_op(vf a, vf b, const int OP)
{
    switch (OP) {
    case RNNE_ADD: return vf_add(a, b);
    case RNNE_SUB: return vf_sub(a, b);
    case RNNE_MUL: return vf_mul(a, b);
    case RNNE_DIV: return vf_div(a, b);
    case RNNE_MIN: return vf_select(vm_or(vf_lt(a, b), vf_isnan(a)), a, b);
    case RNNE_PRELU: return vf_select(vf_lt(a, vf_zero()), vf_mul(a, b), a);
    default: return vf_select(vm_or(vf_gt(a, b), vf_isnan(a)), a, b);
    }
}

INLINE float binary_one(float a, float b, const int OP)
{
    switch (OP) {
    case RNNE_ADD: return a + b;
    case RNNE_SUB: return a - b;
    case RNNE_MUL: return a * b;
    case RNNE_DIV: return a / b;
    case RNNE_MIN: return a < b || a != a ? a : b;
    case RNNE_PRELU: return a < 0.0f ? a * b : a;
    case RNNE_POW: return pow_one(a, b);
    case RNNE_MOD: return fmodf(a, b); /* exact, so the same everywhere */
    default: return a > b || a != a ? a : b;
    }
}

/* Floats that neighbours in the lanes may be apart. */
INLINE int loads(ptrdiff_t step)
{
    return step >= 0 && step <= 2;
}

INLINE vf load_by(const float *x, size_t i, ptrdiff_t step)
{
    return step == 1 ? vf_load(x + i) : step == 2 ? vf_load2(x + 2 * i) : vf_set1(*x);
}

INLINE void store_by(float *y, size_t i, ptrdiff_t step, vf v)
{
    if (step == 1) {
        vf_store(y + i, v);
        return;
    }
    float t[VF_LANES];
    vf_store(t, v);
    for (size_t lane = 0; lane < VF_LANES; lane++) {
        y[(ptrdiff_t)(i + lane) * step] = t[lane];
    }
}

INLINE void binary_loop(const float *a, ptrdiff_t sa, const float *b, ptrdiff_t sb, float *y,
                        ptrdiff_t sy, size_t n, const int OP)
{
    size_t i = 0;
    if (OP != RNNE_MOD && OP != RNNE_POW && loads(sa) && loads(sb)) {
        for (; i + VF_LANES <= n; i += VF_LANES) {
            const vf left = load_by(a, i, sa), right = load_by(b, i, sb);
            store_by(y, i, sy, binary_op(left, right, OP));
        }
    }
    for (; i < n; i++) {
        y[(ptrdiff_t)i * sy] = binary_one(a[(ptrdiff_t)i * sa], b[(ptrdiff_t)i * sb], OP);
    }
}

static void binary(int32_t op, const float *a, ptrdiff_t sa, const float *b, ptrdiff_t sb, float *y,
                   ptrdiff_t sy, size_t n)
{
    switch (op) {
    case RNNE_ADD: binary_loop(a, sa, b, sb, y, sy, n, RNNE_ADD); break;
    case RNNE_SUB: binary_loop(a, sa, b, sb, y, sy, n, RNNE_SUB); break;
    case RNNE_MUL: binary_loop(a, sa, b, sb, y, sy, n, RNNE_MUL); break;
    case RNNE_DIV: binary_loop(a, sa, b, sb, y, sy, n, RNNE_DIV); break;
    case RNNE_MIN: binary_loop(a, sa, b, sb, y, sy, n, RNNE_MIN); break;
    case RNNE_PRELU: binary_loop(a, sa, b, sb, y, sy, n, RNNE_PRELU); break;
    case RNNE_MOD: binary_loop(a, sa, b, sb, y, sy, n, RNNE_MOD); break;
    case RNNE_POW: binary_loop(a, sa, b, sb, y, sy, n, RNNE_POW); break;
    default: binary_loop(a, sa, b, sb, y, sy, n, RNNE_MAX); break;
    }
}

/* Lane i of 16 holds the sum (or maximum) of elements i, i+16, ...; the tree folds halves. */
static float fold_sum(const float *lanes)
{
    float t[RNNE_PANEL];
    memcpy(t, lanes, sizeof t);
    for (int half = RNNE_PANEL / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) {
            t[i] += t[i + half];
        }
    }
    return t[0];
}

static float fold_max(const float *lanes)
{
    float m = lanes[0];
    for (int i = 1; i < RNNE_PANEL; i++) {
        m = lanes[i] > m ? lanes[i] : m;
    }
    return m;
}

/* Vector v of the 16-lane group starting at i, `fill` in lanes past n. */
INLINE vf load_lanes(const float *x, size_t i, int v, size_t n, float fill)
{
    size_t at = i + (size_t)(v * VF_LANES);
    if (at + VF_LANES <= n) {
        return vf_load(x + at);
    }
    float t[VF_LANES];
    for (size_t k = 0; k < VF_LANES; k++) {
        t[k] = at + k < n ? x[at + k] : fill;
    }
    return vf_load(t);
}

static float largest(const float *x, size_t n)
{
    float lanes[RNNE_PANEL];
    vf acc[PANEL_VECS];
    for (int v = 0; v < PANEL_VECS; v++) {
        acc[v] = vf_set1(-INFINITY);
    }
    for (size_t i = 0; i < n; i += RNNE_PANEL) {
        for (int v = 0; v < PANEL_VECS; v++) {
            vf t = load_lanes(x, i, v, n, -INFINITY);
            acc[v] = vf_select(vf_gt(t, acc[v]), t, acc[v]);
        }
    }
    for (int v = 0; v < PANEL_VECS; v++) {
        vf_store(lanes + v * VF_LANES, acc[v]);
    }
    return fold_max(lanes);
}

/* Sum of exp(x - top); the exponentials are stored to y when it is not NULL. */
static float exp_sum(const float *x, float *y, size_t n, float top)
{
    float lanes[RNNE_PANEL];
    vf acc[PANEL_VECS];
    for (int v = 0; v < PANEL_VECS; v++) {
        acc[v] = vf_zero();
    }
    for (size_t i = 0; i < n; i += RNNE_PANEL) {
        for (int v = 0; v < PANEL_VECS; v++) {
            size_t at = i + (size_t)(v * VF_LANES);
            vf e = exp_f32(vf_sub(load_lanes(x, i, v, n, -INFINITY), vf_set1(top)));
            acc[v] = vf_add(acc[v], e);
            if (y && at < n) {
                vf_store_n(y + at, e, n - at < VF_LANES ? n - at : VF_LANES);
            }
        }
    }
    for (int v = 0; v < PANEL_VECS; v++) {
        vf_store(lanes + v * VF_LANES, acc[v]);
    }
    return fold_sum(lanes);
}

static void softmax(const float *x, float *y, size_t n, int logarithm)
{
    float top = largest(x, n);
    if (logarithm) {
        float total, log_total;
        total = exp_sum(x, NULL, n, top);
        unary_f32(RNNE_ACT_LOG, 0.0f, 0.0f, 0.0f, &total, &log_total, 1);
        for (size_t i = 0; i < n; i++) {
            y[i] = (x[i] - top) - log_total;
        }
    } else {
        float total = exp_sum(x, y, n, top);
        binary_loop(y, 1, &total, 0, y, 1, n, RNNE_DIV);
    }
}

/* 2^31 less the bits of |x|: above those of infinity for a non-zero subnormal, below 0 for a zero. */
INLINE vi subnormal_rank(vf x)
{
    return vi_sub(vi_set1(INT32_MIN), vf_bits(vf_abs(x)));
}

static int has_subnormal(const float *x, size_t n)
{
    vi most[4];
    size_t i = 0;
    UNROLL for (int v = 0; v < 4; v++)
    {
        most[v] = vi_set1(INT32_MIN);
    }
    for (; i + 4 * VF_LANES <= n; i += 4 * VF_LANES) {
        UNROLL for (int v = 0; v < 4; v++)
        {
            most[v] = vi_max(most[v], subnormal_rank(vf_load(x + i + (size_t)(v * VF_LANES))));
        }
    }
    for (; i < n; i += VF_LANES) {
        const vf last = vf_load_n(x + i, n - i < VF_LANES ? n - i : VF_LANES);
        most[0] = vi_max(most[0], subnormal_rank(last));
    }
    most[0] = vi_max(vi_max(most[0], most[1]), vi_max(most[2], most[3]));
    return vm_any(vf_isnan(vi_float(most[0]))); /* bits above those of infinity */
}

static void flush_subnormal(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] != 0.0f && fabsf(x[i]) < FLT_MIN ? 0.0f : x[i];
    }
}

static void clamp(const float *x, float *y, size_t n, float limit)
{
    for (size_t i = 0; i < n; i++) {
        float t = x[i] > limit ? limit : x[i];
        y[i] = t < -limit ? -limit : t;
    }
}

static void settle_states(const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = x[i] > -0x1p-64f && x[i] < 0x1p-64f ? 0.0f : x[i];
    }
}
