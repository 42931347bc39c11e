/* Simple RNN step: h' = f(x W + h R + b). */

INLINE void rnn_block(const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                      const int GENERAL, const int ROWS, const int PANELS, const int VECS)
{
    const float *h[MAX_ROWS];
    row_pointers(h, s->h + row * s->h_stride, s->h_stride, ROWS);
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        start_block(acc, cell, s, row, panel, v, ROWS, PANELS, 1, VECS);
        mac_matrix(acc, &cell->r, panel, v, h, RNNE_W_F32, ROWS, PANELS, 1, VECS);
        for (int i = 0; i < ROWS * PANELS * VECS; i++) {
            size_t unit = (panel + (size_t)(i / VECS % PANELS)) * RNNE_PANEL +
                          (size_t)((v + i % VECS) * VF_LANES);
            size_t r_row = row + (size_t)(i / VECS / PANELS);
            vf_store(s->h_next + r_row * s->next_stride + unit,
                     settle(gate(cell, 0, acc[i], tanh_f32, GENERAL)));
        }
    }
}

#define RNN_DEFAULT(R, P, V, row, p) rnn_block(cell, s, row, p, 0, R, P, V)
#define RNN_GENERAL(R, P, V, row, p) rnn_block(cell, s, row, p, 1, R, P, V)

static void rnn_step(const rnne_cell *cell, const rnne_step *s)
{
    FOR_BLOCKS(RNN_DEFAULT, 1, s->rows, s->panel_begin, s->panel_end, s->backwards);
}

static void rnn_step_general(const rnne_cell *cell, const rnne_step *s)
{
    FOR_BLOCKS(RNN_GENERAL, 1, s->rows, s->panel_begin, s->panel_end, s->backwards);
}
