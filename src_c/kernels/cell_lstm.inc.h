/* LSTM step: gates i, f, g, o of 16 units stay in registers from the first multiply to h.
 *
 *   i = f(a_i + p_i*c)   f = f(a_f + p_f*c)   g = g(a_g)      c' = f*c + i*g
 *   o = f(a_o + p_o*c')  h' = o * h(c')                        (semantics: ONNX LSTM)
 */

typedef struct lstm_place {
    const float *peephole; /* of this vector: i, f, o 16 apart; NULL without */
    float *c, *h;
} lstm_place;

/* The first half of the tail, up to c'. */
INLINE void lstm_state(const rnne_cell *cell, const vf *a, const int STRIDE, lstm_place at,
                       const int GENERAL)
{
    vf c = vf_load(at.c), ai = a[0], af = a[STRIDE];
    if (GENERAL && at.peephole) {
        ai = vf_fma(vf_load(at.peephole), c, ai);
        af = vf_fma(vf_load(at.peephole + RNNE_PANEL), c, af);
    }
    vf i = gate(cell, 0, ai, sigmoid_f32, GENERAL);
    vf f = gate(cell, 0, af, sigmoid_f32, GENERAL);
    if (GENERAL && cell->coupling == RNNE_FORGET_FROM_INPUT) {
        f = vf_sub(vf_set1(1.0f), i);
    } else if (GENERAL && cell->coupling == RNNE_INPUT_FROM_FORGET) {
        i = vf_sub(vf_set1(1.0f), f);
    }
    vf g = gate(cell, 1, a[2 * STRIDE], tanh_f32, GENERAL);
    c = vf_fma(f, c, vf_mul(i, g));
    if (GENERAL) {
        c = clamp_to(c, vf_set1(cell->cell_clip));
    }
    vf_store(at.c, settle(c));
}

/* The second half, from c' on. */
INLINE void lstm_output(const rnne_cell *cell, const vf *a, const int STRIDE, lstm_place at,
                        const int GENERAL)
{
    vf c = vf_load(at.c), ao = a[3 * STRIDE], m;
    if (GENERAL && at.peephole) {
        ao = vf_fma(vf_load(at.peephole + 2 * RNNE_PANEL), c, ao);
    }
    vf o = gate(cell, 0, ao, sigmoid_f32, GENERAL);
    if (GENERAL) {
        const rnne_act *act = &cell->act[2];
        m = act_apply(act->id, act->alpha, act->beta, act->gamma, clamp_to(c, vf_set1(cell->h_clip)));
    } else {
        m = tanh_f32(c);
    }
    vf_store(at.h, settle(vf_mul(o, m)));
}

/* Of vector i of a block that starts at this row, panel and vector. */
INLINE lstm_place lstm_place_of(const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                                int v, int i, const int PANELS, const int VECS)
{
    const size_t p = panel + (size_t)(i / VECS % PANELS), lane = (size_t)((v + i % VECS) * VF_LANES);
    const size_t at = (row + (size_t)(i / VECS / PANELS)) * s->next_stride + p * RNNE_PANEL + lane;
    return (lstm_place){cell->peephole ? cell->peephole + p * 3 * RNNE_PANEL + lane : NULL, s->c + at,
                        s->h_next + at};
}

/* The halves of the tail are loops of their own: each is a chain of some hundred cycles, and a
 * processor that sees several vectors of the same half at once works on them side by side. */
INLINE void lstm_block(const rnne_cell *cell, const rnne_step *s, size_t row, size_t panel,
                       const int GENERAL, const int ROWS, const int PANELS, const int VECS)
{
    const float *h[MAX_ROWS];
    row_pointers(h, s->h + row * s->h_stride, s->h_stride, ROWS);
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vf acc[MAX_ACC];
        start_block(acc, cell, s, row, panel, v, ROWS, PANELS, 4, VECS);
        mac_matrix(acc, &cell->r, panel, v, h, RNNE_W_F32, ROWS, PANELS, 4, VECS);
        for (int i = 0; i < ROWS * PANELS * VECS; i++) {
            lstm_state(cell, acc + i / VECS * 4 * VECS + i % VECS, VECS,
                       lstm_place_of(cell, s, row, panel, v, i, PANELS, VECS), GENERAL);
        }
        for (int i = 0; i < ROWS * PANELS * VECS; i++) {
            lstm_output(cell, acc + i / VECS * 4 * VECS + i % VECS, VECS,
                        lstm_place_of(cell, s, row, panel, v, i, PANELS, VECS), GENERAL);
        }
    }
}

#define LSTM_DEFAULT(R, P, V, row, p) lstm_block(cell, s, row, p, 0, R, P, V)
#define LSTM_GENERAL(R, P, V, row, p) lstm_block(cell, s, row, p, 1, R, P, V)

static void lstm_step(const rnne_cell *cell, const rnne_step *s)
{
    FOR_BLOCKS(LSTM_DEFAULT, 4, s->rows, s->panel_begin, s->panel_end, s->backwards);
}

static void lstm_step_general(const rnne_cell *cell, const rnne_step *s)
{
    FOR_BLOCKS(LSTM_GENERAL, 4, s->rows, s->panel_begin, s->panel_end, s->backwards);
}
