/* Matrix products on packed weights: the input projection of recurrent layers, and linear layers. */

INLINE void project_block(const rnne_matrix *m, const float *const *rows, float *out,
                          size_t panel_stride, size_t row, size_t panel, const int ROWS,
                          const int PANELS, const int GATES, const int VECS)
{
    const size_t w_panel = m->k * (size_t)GATES * RNNE_PANEL;
    const float *r[MAX_ROWS];
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        r[i] = rows[row + (size_t)i];
    }
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        load_block(acc, m->bias + panel * (size_t)GATES * RNNE_PANEL + v * VF_LANES, 0,
                   (size_t)GATES * RNNE_PANEL, ROWS, PANELS, GATES, VECS);
        mac(acc, m->w + panel * w_panel + v * VF_LANES, w_panel, m->k, r, ROWS, PANELS, GATES, VECS);
        store_block(acc, out + panel * panel_stride + row * (size_t)GATES * RNNE_PANEL + v * VF_LANES,
                    (size_t)GATES * RNNE_PANEL, panel_stride, ROWS, PANELS, GATES, VECS);
    }
}

#define PROJECT_KERNEL(GATES)                                                                      \
    static void project_##GATES(const rnne_matrix *m, size_t begin, size_t end,                   \
                                const float *const *rows, size_t n_rows, float *out,               \
                                size_t panel_stride)                                               \
    {                                                                                              \
        FOR_BLOCKS(PROJECT_##GATES, GATES, n_rows, begin, end);                                    \
    }
#define PROJECT_1(R, P, V, row, p) project_block(m, rows, out, panel_stride, row, p, R, P, 1, V)
#define PROJECT_3(R, P, V, row, p) project_block(m, rows, out, panel_stride, row, p, R, P, 3, V)
#define PROJECT_4(R, P, V, row, p) project_block(m, rows, out, panel_stride, row, p, R, P, 4, V)
PROJECT_KERNEL(1)
PROJECT_KERNEL(3)
PROJECT_KERNEL(4)

static void project(const rnne_matrix *m, size_t begin, size_t end, const float *const *rows,
                    size_t n_rows, float *out, size_t panel_stride)
{
    if (m->gates == 4) {
        project_4(m, begin, end, rows, n_rows, out, panel_stride);
    } else if (m->gates == 3) {
        project_3(m, begin, end, rows, n_rows, out, panel_stride);
    } else {
        project_1(m, begin, end, rows, n_rows, out, panel_stride);
    }
}

INLINE void linear_block(const rnne_matrix *m, const float *const *rows, float *const *out, size_t n,
                         size_t row, size_t panel, const int ROWS, const int PANELS, const int VECS)
{
    const size_t w_panel = m->k * RNNE_PANEL;
    const float *r[MAX_ROWS];
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        r[i] = rows[row + (size_t)i];
    }
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        load_block(acc, m->bias + panel * RNNE_PANEL + v * VF_LANES, 0, RNNE_PANEL, ROWS, PANELS, 1,
                   VECS);
        mac(acc, m->w + panel * w_panel + v * VF_LANES, w_panel, m->k, r, ROWS, PANELS, 1, VECS);
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

#define LINEAR_BLOCK(R, P, V, row, p) linear_block(m, rows, out, n, row, p, R, P, V)

static void linear(const rnne_matrix *m, const float *const *rows, float *const *out, size_t n_rows,
                   size_t n, const rnne_act *act)
{
    FOR_BLOCKS(LINEAR_BLOCK, 1, n_rows, 0, m->panels);
    if (act->id != RNNE_ACT_IDENTITY) {
        for (size_t i = 0; i < n_rows; i++) {
            unary_f32(act->id, act->alpha, act->beta, act->gamma, out[i], out[i], n);
        }
    }
}
