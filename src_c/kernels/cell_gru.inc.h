/* GRU step, gates r, z, n; h' = n + z*(h - n).
 *
 * reset after  (linear_before_reset != 0): n = g(x_n + r*(R_n h + b_rn)), one pass
 * reset before (linear_before_reset == 0): n = g(x_n + R_n (r*h)), two passes over the units
 */

INLINE vf gru_blend(vf n, vf z, vf h)
{
    return settle(vf_fma(z, vf_sub(h, n), n));
}

INLINE void gru_after_block(const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                            const int GENERAL, const int ROWS, const int PANELS, const int VECS)
{
    const float *h[MAX_ROWS];
    row_pointers(h, s->h + row * s->h_stride, s->h_stride, ROWS);
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC], xn[MAX_ACC];
        start_block(acc, cell, s, row, panel, v, ROWS, PANELS, 3, VECS);
        UNROLL for (int i = 0; i < ROWS * PANELS * VECS; i++)
        {
            int n = (i / VECS * 3 + 2) * VECS + i % VECS;
            xn[i] = acc[n];
            acc[n] = vf_load(s->inner + (panel + (size_t)(i / VECS % PANELS)) * s->inner_panel +
                             (row + (size_t)(i / VECS / PANELS)) * s->inner_row +
                             (v + i % VECS) * VF_LANES);
        }
        mac_matrix(acc, &cell->r, panel, v, h, RNNE_W_F32, ROWS, PANELS, 3, VECS);
        for (int i = 0; i < ROWS * PANELS * VECS; i++) {
            const vf *a = acc + i / VECS * 3 * VECS + i % VECS;
            size_t unit = (panel + (size_t)(i / VECS % PANELS)) * RNNE_PANEL +
                          (size_t)((v + i % VECS) * VF_LANES);
            size_t r_row = row + (size_t)(i / VECS / PANELS);
            vf r = gate(cell, 0, a[0], sigmoid_f32, GENERAL);
            vf z = gate(cell, 0, a[VECS], sigmoid_f32, GENERAL);
            vf n = gate(cell, 1, vf_fma(r, a[2 * VECS], xn[i]), tanh_f32, GENERAL);
            vf_store(s->h_next + r_row * s->next_stride + unit,
                     gru_blend(n, z, vf_load(s->h + r_row * s->h_stride + unit)));
        }
    }
}

/* First pass of reset-before: z, and r*h into rh. xp holds all three gates, r packs only r and z. */
INLINE void gru_gates_block(const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                            const int GENERAL, const int ROWS, const int PANELS, const int VECS)
{
    const float *h[MAX_ROWS];
    row_pointers(h, s->h + row * s->h_stride, s->h_stride, ROWS);
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        load_block(acc, s->xp + panel * s->xp_panel + row * 3 * RNNE_PANEL + v * VF_LANES,
                   3 * RNNE_PANEL, s->xp_panel, ROWS, PANELS, 2, VECS);
        mac_matrix(acc, &cell->r, panel, v, h, RNNE_W_F32, ROWS, PANELS, 2, VECS);
        for (int i = 0; i < ROWS * PANELS * VECS; i++) {
            const vf *a = acc + i / VECS * 2 * VECS + i % VECS;
            size_t unit = (panel + (size_t)(i / VECS % PANELS)) * RNNE_PANEL +
                          (size_t)((v + i % VECS) * VF_LANES);
            size_t r_row = row + (size_t)(i / VECS / PANELS);
            vf r = gate(cell, 0, a[0], sigmoid_f32, GENERAL);
            vf z = gate(cell, 0, a[VECS], sigmoid_f32, GENERAL);
            vf_store(s->z + r_row * s->next_stride + unit, z);
            vf_store(s->rh + r_row * s->next_stride + unit,
                     vf_mul(r, vf_load(s->h + r_row * s->h_stride + unit)));
        }
    }
}

/* Second pass of reset-before: the candidate from rh, then h'. */
INLINE void gru_candidate_block(const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                                const int GENERAL, const int ROWS, const int PANELS, const int VECS)
{
    const float *rh[MAX_ROWS];
    row_pointers(rh, s->rh + row * s->next_stride, s->next_stride, ROWS);
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        load_block(acc,
                   s->xp + panel * s->xp_panel + row * 3 * RNNE_PANEL + 2 * RNNE_PANEL + v * VF_LANES,
                   3 * RNNE_PANEL, s->xp_panel, ROWS, PANELS, 1, VECS);
        mac_matrix(acc, &cell->r_n, panel, v, rh, RNNE_W_F32, ROWS, PANELS, 1, VECS);
        for (int i = 0; i < ROWS * PANELS * VECS; i++) {
            size_t unit = (panel + (size_t)(i / VECS % PANELS)) * RNNE_PANEL +
                          (size_t)((v + i % VECS) * VF_LANES);
            size_t r_row = row + (size_t)(i / VECS / PANELS);
            vf n = gate(cell, 1, acc[i], tanh_f32, GENERAL);
            vf_store(s->h_next + r_row * s->next_stride + unit,
                     gru_blend(n, vf_load(s->z + r_row * s->next_stride + unit),
                               vf_load(s->h + r_row * s->h_stride + unit)));
        }
    }
}

#define GRU_KERNELS(NAME, GATES)                                                                   \
    static void NAME##_step(const rnne_cell *cell, const rnne_step *s)                             \
    {                                                                                              \
        FOR_BLOCKS(NAME##_DEFAULT, GATES, s->rows, s->panel_begin, s->panel_end, s->backwards);    \
    }                                                                                              \
    static void NAME##_step_general(const rnne_cell *cell, const rnne_step *s)                     \
    {                                                                                              \
        FOR_BLOCKS(NAME##_GENERAL, GATES, s->rows, s->panel_begin, s->panel_end, s->backwards);    \
    }
#define gru_after_DEFAULT(R, P, V, row, p) gru_after_block(cell, s, row, p, 0, R, P, V)
#define gru_after_GENERAL(R, P, V, row, p) gru_after_block(cell, s, row, p, 1, R, P, V)
#define gru_gates_DEFAULT(R, P, V, row, p) gru_gates_block(cell, s, row, p, 0, R, P, V)
#define gru_gates_GENERAL(R, P, V, row, p) gru_gates_block(cell, s, row, p, 1, R, P, V)
#define gru_candidate_DEFAULT(R, P, V, row, p) gru_candidate_block(cell, s, row, p, 0, R, P, V)
#define gru_candidate_GENERAL(R, P, V, row, p) gru_candidate_block(cell, s, row, p, 1, R, P, V)
GRU_KERNELS(gru_after, 3)
GRU_KERNELS(gru_gates, 2)
GRU_KERNELS(gru_candidate, 1)
