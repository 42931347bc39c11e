/* Matrix products on packed weights: sums with chosen starts (input projections, recurrent products
 * of halves), and linear layers. */

INLINE void sums_block(const rnne_matrix *m, const rnne_sums *s, size_t row, size_t panel,
                       const int TYPE, const int ROWS, const int PANELS, const int GATES,
                       const int VECS)
{
    const float *r[MAX_ROWS];
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        r[i] = s->rows[row + (size_t)i];
    }
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        load_block(acc, s->start + panel * s->start_panel + row * s->start_row + v * VF_LANES,
                   s->start_row, s->start_panel, ROWS, PANELS, GATES, VECS);
        mac_matrix(acc, m, panel, v, r, TYPE, ROWS, PANELS, GATES, VECS);
        store_block(acc, s->out + panel * s->out_panel + row * s->out_row + v * VF_LANES, s->out_row,
                    s->out_panel, ROWS, PANELS, GATES, VECS);
    }
}

/* One row has a function of its own, and so registers of its own. */
#define SUMS_KERNEL(NAME, TYPE, GATES)                                                             \
    static void NAME##_row(const rnne_matrix *m, const rnne_sums *s)                               \
    {                                                                                              \
        FOR_BLOCKS(TYPE##_##GATES, GATES, 1, s->begin, s->end, s->backwards);                      \
    }                                                                                              \
    static void NAME##_rows(const rnne_matrix *m, const rnne_sums *s)                              \
    {                                                                                              \
        if (s->n_rows < 2) {                                                                       \
            __builtin_unreachable();                                                               \
        }                                                                                          \
        FOR_BLOCKS(TYPE##_##GATES, GATES, s->n_rows, s->begin, s->end, s->backwards);              \
    }
#define F32_1(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F32, R, P, 1, V)
#define F32_2(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F32, R, P, 2, V)
#define F32_3(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F32, R, P, 3, V)
#define F32_4(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F32, R, P, 4, V)
#define BF16_1(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_BF16, R, P, 1, V)
#define BF16_2(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_BF16, R, P, 2, V)
#define BF16_3(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_BF16, R, P, 3, V)
#define BF16_4(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_BF16, R, P, 4, V)
#define F16_1(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F16, R, P, 1, V)
#define F16_2(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F16, R, P, 2, V)
#define F16_3(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F16, R, P, 3, V)
#define F16_4(R, P, V, row, p) sums_block(m, s, row, p, RNNE_W_F16, R, P, 4, V)
SUMS_KERNEL(sums_f32_1, F32, 1)
SUMS_KERNEL(sums_f32_2, F32, 2)
SUMS_KERNEL(sums_f32_3, F32, 3)
SUMS_KERNEL(sums_f32_4, F32, 4)
SUMS_KERNEL(sums_bf16_1, BF16, 1)
SUMS_KERNEL(sums_bf16_2, BF16, 2)
SUMS_KERNEL(sums_bf16_3, BF16, 3)
SUMS_KERNEL(sums_bf16_4, BF16, 4)
SUMS_KERNEL(sums_f16_1, F16, 1)
SUMS_KERNEL(sums_f16_2, F16, 2)
SUMS_KERNEL(sums_f16_3, F16, 3)
SUMS_KERNEL(sums_f16_4, F16, 4)

#define SUMS_TABLE(TYPE, ROWS)                                                                     \
    {sums_##TYPE##_1_##ROWS, sums_##TYPE##_2_##ROWS, sums_##TYPE##_3_##ROWS, sums_##TYPE##_4_##ROWS}

static void accumulate(const rnne_matrix *m, const rnne_sums *sums)
{
    typedef void kernel(const rnne_matrix *, const rnne_sums *);
    static kernel *const row[][4] = {
        [RNNE_W_F32] = SUMS_TABLE(f32, row),
        [RNNE_W_BF16] = SUMS_TABLE(bf16, row),
        [RNNE_W_F16] = SUMS_TABLE(f16, row),
    };
    static kernel *const rows[][4] = {
        [RNNE_W_F32] = SUMS_TABLE(f32, rows),
        [RNNE_W_BF16] = SUMS_TABLE(bf16, rows),
        [RNNE_W_F16] = SUMS_TABLE(f16, rows),
    };
    if (sums->n_rows > 0) {
        (sums->n_rows == 1 ? row : rows)[m->type][m->gates - 1](m, sums);
    }
}

/* Pairs of k become two rows of lanes; of an odd k, one counts. */
static void widen(const rnne_matrix *m, size_t panel, float *out)
{
    const size_t lanes = m->gates * RNNE_PANEL;
    const int pairs = m->type == RNNE_W_BF16;
    const size_t depth = pairs ? m->k / 2 + m->k % 2 : m->k;
    const int how = pairs ? READ_LOW : READ_F16;
    for (size_t i = 0; i < depth; i++) {
        const void *w = place_of(m->w, (panel * depth + i) * lanes, how);
        float *to = out + i * lanes * (pairs ? 2 : 1);
        for (size_t lane = 0; lane < lanes; lane += VF_LANES) {
            const char *at = place_of(w, lane, how);
            vf_store(to + lane, pairs ? read_weights(at, READ_LOW) : read_weights(at, READ_F16));
            if (pairs && 2 * i + 1 < m->k) {
                vf_store(to + lanes + lane, read_weights(at, READ_HIGH));
            }
        }
    }
}

INLINE void linear_block(const rnne_matrix *m, const float *const *rows, float *const *out, size_t n,
                         size_t row, size_t panel, const int TYPE, const int ROWS, const int PANELS,
                         const int VECS)
{
    const float *r[MAX_ROWS];
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        r[i] = rows[row + (size_t)i];
    }
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        load_block(acc, m->bias + panel * RNNE_PANEL + v * VF_LANES, 0, RNNE_PANEL, ROWS, PANELS, 1,
                   VECS);
        mac_matrix(acc, m, panel, v, r, TYPE, ROWS, PANELS, 1, VECS);
        UNROLL for (int i = 0; i < ROWS * PANELS * VECS; i++)
        {
            size_t unit = (panel + (size_t)(i / VECS % PANELS)) * RNNE_PANEL +
                          (size_t)((v + i % VECS) * VF_LANES);
            size_t left = unit < n ? n - unit : 0;
            vf_store_n(out[row + (size_t)(i / VECS / PANELS)] + unit, acc[i],
                       left < VF_LANES ? left : VF_LANES);
        }
    }
}

#define LINEAR_F32(R, P, V, row, p) linear_block(m, rows, out, n, row, p, RNNE_W_F32, R, P, V)
#define LINEAR_BF16(R, P, V, row, p) linear_block(m, rows, out, n, row, p, RNNE_W_BF16, R, P, V)
#define LINEAR_F16(R, P, V, row, p) linear_block(m, rows, out, n, row, p, RNNE_W_F16, R, P, V)

static void linear(const rnne_matrix *m, const float *const *rows, float *const *out, size_t n_rows,
                   size_t n, const rnne_act *act)
{
    if (m->type == RNNE_W_BF16) {
        FOR_BLOCKS(LINEAR_BF16, 1, n_rows, 0, m->panels, 0);
    } else if (m->type == RNNE_W_F16) {
        FOR_BLOCKS(LINEAR_F16, 1, n_rows, 0, m->panels, 0);
    } else {
        FOR_BLOCKS(LINEAR_F32, 1, n_rows, 0, m->panels, 0);
    }
    if (act->id != RNNE_ACT_IDENTITY) {
        for (size_t i = 0; i < n_rows; i++) {
            unary_f32(act->id, act->alpha, act->beta, act->gamma, out[i], out[i], n);
        }
    }
}
