/* Products of int8 matrices with quantised rows, for one width of the activations: BITS is 16 or 8.
 *
 * Blocks of up to 512 k are summed in exact 32-bit integers, in any order; each block's sum becomes a
 * float once and joins its output by one fused multiply-add, blocks ascending. Accumulators of a block
 * of outputs are indexed (((row*PANELS + panel)*GATES + gate)*VECS + vec)*PARTS + part: where an
 * instruction set multiplies bytes alone, the two bytes of an activation have a sum each.
 */

INLINE void int8_start(vi *acc, const int32_t *offset, size_t panel_stride, const int ROWS,
                       const int PANELS, const int GATES, const int VECS, const int PARTS)
{
    UNROLL for (int i = 0; i < ROWS * PANELS * GATES * VECS; i++)
    {
        const int v = i % VECS, g = i / VECS % GATES, p = i / VECS / GATES % PANELS;
        acc[i * PARTS] = DOT_OFFSET ? vi_load_i32(offset + (size_t)p * panel_stride + g * RNNE_PANEL +
                                              v * VF_LANES)
                                    : vi_set1(0);
        if (PARTS == 2) {
            acc[i * PARTS + 1] = vi_set1(0);
        }
    }
}

/* Weights number i of a panel: gate i / VECS, vector i % VECS. */
#define INT8_WEIGHTS(i)                                                                            \
    dot_weights(w + (size_t)p * panel_stride +                                                     \
                4 * ((i) / VECS * RNNE_PANEL + (i) % VECS * VF_LANES))

/* acc += w * row over fours of k: w is [panel][k/4][gate][16][4], moved to the first vector. Of weights
 * and rows, the fewer stay in registers while the others pass. */
INLINE void int8_mac(vi *acc, const int8_t *w, size_t panel_stride, size_t fours,
                     const unsigned char *const *rows, const int BITS, const int ROWS,
                     const int PANELS, const int GATES, const int VECS)
{
    const int PARTS = DOT_PARTS(BITS), WEIGHTS = GATES * VECS;
    for (size_t k = 0; k < fours; k++, w += 4 * GATES * RNNE_PANEL) {
        UNROLL for (int p = 0; p < PANELS; p++)
        {
            dw weights[MAX_ACC];
            UNROLL for (int i = 0; i < WEIGHTS * (ROWS * PARTS > WEIGHTS); i++)
            {
                weights[i] = INT8_WEIGHTS(i);
            }
            UNROLL for (int i = 0; i < WEIGHTS * ROWS * PARTS; i++)
            {
                const int by_rows = ROWS * PARTS > WEIGHTS;
                const int row = by_rows ? i / WEIGHTS : i % (ROWS * PARTS);
                const int at = by_rows ? i % WEIGHTS : i / (ROWS * PARTS);
                const int a = ((row / PARTS * PANELS + p) * WEIGHTS + at) * PARTS + row % PARTS;
                const dw weight = by_rows ? weights[at] : INT8_WEIGHTS(at);
                acc[a] = dot(acc[a], dot_row(rows[row / PARTS] + k * (size_t)DOT_BYTES(BITS) +
                                             4 * (row % PARTS)), weight);
            }
        }
    }
}
#undef INT8_WEIGHTS

/* Exact sums of one block, high and low bytes joined, zero points taken off. */
INLINE void int8_sums(vi *sum, const rnne_matrix *m, const rnne_row *const *rows, rnne_depth span,
                      size_t panel, int v, const int BITS, const int ROWS, const int PANELS,
                      const int GATES, const int VECS)
{
    const int PARTS = DOT_PARTS(BITS);
    const size_t gates = (size_t)GATES * RNNE_PANEL, fours = (m->k + 3) / 4;
    const size_t blocks = rnne_int8_blocks(m);
    const unsigned char *r[MAX_ROWS];
    vi acc[MAX_ACC];
    UNROLL for (int i = 0; i < ROWS; i++)
    {
        r[i] = (const unsigned char *)rows[i] + rnne_row_head(m->k) +
               span.begin / 4 * (size_t)DOT_BYTES(BITS);
    }
    int8_start(acc, DOT_OFFSET ? m->offset + (panel * blocks + span.number) * gates + v * VF_LANES
                               : NULL,
               blocks * gates, ROWS, PANELS, GATES, VECS, PARTS);
    int8_mac(acc,
             (const int8_t *)m->w + 4 * ((panel * fours + span.begin / 4) * gates +
                                         (size_t)v * VF_LANES),
             4 * fours * gates, (span.end - span.begin + 3) / 4, r, BITS, ROWS, PANELS, GATES, VECS);
    UNROLL for (int i = 0; i < ROWS * PANELS * GATES * VECS; i++)
    {
        sum[i] = PARTS == 2 ? vi_add(vi_shl(acc[2 * i], 8), acc[2 * i + 1]) : acc[i];
    }
    if (m->zero) {
        UNROLL for (int i = 0; i < ROWS * PANELS * GATES * VECS; i++)
        {
            const int g = i / VECS % GATES, p = i / VECS / GATES % PANELS;
            const int row = i / VECS / GATES / PANELS;
            const vi zero = vi_load_i32(m->zero + (panel + (size_t)p) * gates +
                                    (size_t)(g * RNNE_PANEL + (v + i % VECS) * VF_LANES));
            sum[i] = vi_sub(sum[i], vi_mul(zero, vi_set1(rows[row]->sums[span.number])));
        }
    }
}

/* The outputs of one block of k: where they start, or what the blocks before left, plus its sums. */
INLINE void int8_block(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s,
                       rnne_depth span, size_t row, size_t panel, const int BITS, const int ROWS,
                       const int PANELS, const int GATES, const int VECS)
{
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vi sum[MAX_ACC];
        int8_sums(sum, m, rows + row, span, panel, v, BITS, ROWS, PANELS, GATES, VECS);
        UNROLL for (int i = 0; i < ROWS * PANELS * GATES * VECS; i++)
        {
            const size_t p = panel + (size_t)(i / VECS / GATES % PANELS);
            const size_t r = row + (size_t)(i / VECS / GATES / PANELS);
            const size_t lane = (size_t)(i / VECS % GATES * RNNE_PANEL + (v + i % VECS) * VF_LANES);
            const float *from = span.number == 0 ? s->start + p * s->start_panel + r * s->start_row
                                                 : s->out + p * s->out_panel + r * s->out_row;
            const vf scale = vf_mul(vf_load(m->scale + p * (size_t)GATES * RNNE_PANEL + lane),
                                    vf_set1(rows[r]->scale));
            vf_store(s->out + p * s->out_panel + r * s->out_row + lane,
                     vf_fma(vi_to_float(sum[i]), scale, vf_load(from + lane)));
        }
    }
}

/* For block after block of k, all blocks of outputs: the weights of one panel and block of k stay in
 * the cache for all rows. */
#define INT8_ACCUMULATE(BITS, GATES)                                                               \
    static void int8_accumulate_##BITS##_##GATES(const rnne_matrix *m,                             \
                                                 const rnne_row *const *rows, const rnne_sums *s,  \
                                                 rnne_depth span)                                   \
    {                                                                                              \
        FOR_BLOCKS(INT8_BLOCK_##BITS##_##GATES, (GATES) * DOT_PARTS(BITS), s->n_rows, s->begin,    \
                   s->end, s->backwards);                                                          \
    }
#define INT8_BLOCK(BITS, G, R, P, V, row, p) int8_block(m, rows, s, span, row, p, BITS, R, P, G, V)
#define INT8_BLOCK_16_1(R, P, V, row, p) INT8_BLOCK(16, 1, R, P, V, row, p)
#define INT8_BLOCK_16_2(R, P, V, row, p) INT8_BLOCK(16, 2, R, P, V, row, p)
#define INT8_BLOCK_16_3(R, P, V, row, p) INT8_BLOCK(16, 3, R, P, V, row, p)
#define INT8_BLOCK_16_4(R, P, V, row, p) INT8_BLOCK(16, 4, R, P, V, row, p)
#define INT8_BLOCK_8_1(R, P, V, row, p) INT8_BLOCK(8, 1, R, P, V, row, p)
#define INT8_BLOCK_8_2(R, P, V, row, p) INT8_BLOCK(8, 2, R, P, V, row, p)
#define INT8_BLOCK_8_3(R, P, V, row, p) INT8_BLOCK(8, 3, R, P, V, row, p)
#define INT8_BLOCK_8_4(R, P, V, row, p) INT8_BLOCK(8, 4, R, P, V, row, p)
INT8_ACCUMULATE(16, 1)
INT8_ACCUMULATE(16, 2)
INT8_ACCUMULATE(16, 3)
INT8_ACCUMULATE(16, 4)
INT8_ACCUMULATE(8, 1)
INT8_ACCUMULATE(8, 2)
INT8_ACCUMULATE(8, 3)
INT8_ACCUMULATE(8, 4)

static void int8_accumulate(const rnne_matrix *m, const rnne_row *const *rows,
                            const rnne_sums *sums)
{
    typedef void kernel(const rnne_matrix *, const rnne_row *const *, const rnne_sums *, rnne_depth);
    static kernel *const kernels[2][4] = {
        {int8_accumulate_16_1, int8_accumulate_16_2, int8_accumulate_16_3, int8_accumulate_16_4},
        {int8_accumulate_8_1, int8_accumulate_8_2, int8_accumulate_8_3, int8_accumulate_8_4}};
    kernel *const accumulate = kernels[m->type == RNNE_W_INT8_FAST][m->gates - 1];
    for (rnne_depth span = rnne_int8_depth(m, 0); span.begin < m->k;
         span = rnne_int8_depth(m, span.number + 1)) {
        accumulate(m, rows, sums, span);
    }
}
