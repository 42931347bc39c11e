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

/* acc += weight * row for all parts of all rows, whose fours of k stand at `at`. */
INLINE void int8_weight(vi *acc, dw weight, const unsigned char *const *rows, size_t at,
                        const int ROWS, const int PARTS, const int STRIDE)
{
    UNROLL for (int i = 0; i < ROWS * PARTS; i++)
    {
        vi *a = acc + i / PARTS * STRIDE + i % PARTS;
        *a = dot(*a, dot_row(rows[i / PARTS] + at + 4 * (i % PARTS)), weight);
    }
}

/* acc += w * row over fours of k: w is [panel][k/4][gate][16][4], moved to the first vector. Of weights
 * and rows, the fewer stay in registers while the others pass; where they are about as many, the rows
 * stay, because weights are read where they are used. */
INLINE void int8_mac(vi *acc, const int8_t *w, size_t panel_stride, size_t fours,
                     const unsigned char *const *rows, const int BITS, const int ROWS,
                     const int PANELS, const int GATES, const int VECS)
{
    const int PARTS = DOT_PARTS(BITS), WEIGHTS = PANELS * GATES * VECS;
    const int BY_ROW = ROWS * PARTS > WEIGHTS + 2;
    for (size_t k = 0; k < fours; k++, w += 4 * GATES * RNNE_PANEL) {
        const size_t at = k * (size_t)DOT_BYTES(BITS);
        dw weight[MAX_ACC];
        UNROLL for (int i = 0; i < WEIGHTS; i++)
        {
            weight[i] = dot_weights(w + (size_t)(i / VECS / GATES) * panel_stride +
                                    4 * (i / VECS % GATES * RNNE_PANEL + i % VECS * VF_LANES));
            if (!BY_ROW) {
                int8_weight(acc + i * PARTS, weight[i], rows, at, ROWS, PARTS, WEIGHTS * PARTS);
            }
        }
        UNROLL for (int r = BY_ROW ? 0 : ROWS * PARTS; r < ROWS * PARTS; r++)
        {
            const da activations = dot_row(rows[r / PARTS] + at + 4 * (r % PARTS));
            UNROLL for (int i = 0; i < WEIGHTS; i++)
            {
                vi *a = acc + (r / PARTS * WEIGHTS + i) * PARTS + r % PARTS;
                *a = dot(*a, activations, weight[i]);
            }
        }
    }
}

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

/* The outputs of one block of k: where they start, or what the blocks before left, plus its sums.
 * Addresses are worked out before the first store: after it, a compiler reads all of s anew. */
INLINE void int8_block(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s,
                       rnne_depth span, size_t row, size_t panel, const int BITS, const int ROWS,
                       const int PANELS, const int GATES, const int VECS)
{
    const size_t out_panel = s->out_panel, out_row = s->out_row;
    const size_t from_panel = span.number == 0 ? s->start_panel : out_panel;
    const size_t from_row = span.number == 0 ? s->start_row : out_row;
    const float *const from =
        (span.number == 0 ? s->start : s->out) + panel * from_panel + row * from_row;
    const float *const scale = m->scale + panel * (size_t)GATES * RNNE_PANEL;
    float *const out = s->out + panel * out_panel + row * out_row;
    for (int v = 0; v < PANEL_VECS; v += VECS) {
        vi sum[MAX_ACC];
        vf step[MAX_ROWS];
        int8_sums(sum, m, rows + row, span, panel, v, BITS, ROWS, PANELS, GATES, VECS);
        UNROLL for (int i = 0; i < ROWS; i++)
        {
            step[i] = vf_set1(rows[row + (size_t)i]->scale);
        }
        UNROLL for (int i = 0; i < ROWS * PANELS * GATES * VECS; i++)
        {
            const size_t p = (size_t)(i / VECS / GATES % PANELS);
            const size_t r = (size_t)(i / VECS / GATES / PANELS);
            const size_t lane = (size_t)(i / VECS % GATES * RNNE_PANEL + (v + i % VECS) * VF_LANES);
            const vf each = vf_mul(vf_load(scale + p * (size_t)GATES * RNNE_PANEL + lane), step[r]);
            vf_store(out + p * out_panel + r * out_row + lane,
                     vf_fma(vi_to_float(sum[i]), each,
                            vf_load(from + p * from_panel + r * from_row + lane)));
        }
    }
}

/* For block after block of k, all blocks of outputs: the weights of one panel and block of k stay in
 * the cache for all rows. One row has a function of its own, and so registers of its own. */
#define INT8_ACCUMULATE(BITS, GATES)                                                               \
    static void int8_one_##BITS##_##GATES(const rnne_matrix *m, const rnne_row *const *rows,       \
                                          const rnne_sums *s, rnne_depth span)                      \
    {                                                                                              \
        FOR_BLOCKS(INT8_BLOCK_##BITS##_##GATES, (GATES) * DOT_PARTS(BITS), 1, s->begin, s->end,    \
                   s->backwards);                                                                  \
    }                                                                                              \
    static void int8_many_##BITS##_##GATES(const rnne_matrix *m, const rnne_row *const *rows,      \
                                           const rnne_sums *s, rnne_depth span)                     \
    {                                                                                              \
        if (s->n_rows < 2) {                                                                       \
            __builtin_unreachable();                                                               \
        }                                                                                          \
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
    static kernel *const one[2][4] = {
        {int8_one_16_1, int8_one_16_2, int8_one_16_3, int8_one_16_4},
        {int8_one_8_1, int8_one_8_2, int8_one_8_3, int8_one_8_4}};
    static kernel *const many[2][4] = {
        {int8_many_16_1, int8_many_16_2, int8_many_16_3, int8_many_16_4},
        {int8_many_8_1, int8_many_8_2, int8_many_8_3, int8_many_8_4}};
    const int fast = m->type == RNNE_W_INT8_FAST;
    kernel *const accumulate = (sums->n_rows == 1 ? one : many)[fast][m->gates - 1];
    if (sums->n_rows == 0) {
        return;
    }
    for (rnne_depth span = rnne_int8_depth(m, 0); span.begin < m->k;
         span = rnne_int8_depth(m, span.number + 1)) {
        accumulate(m, rows, sums, span);
    }
}
