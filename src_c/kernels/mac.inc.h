/* The multiply-add core that every matrix kernel shares, and the shapes of its register blocks.
 *
 * A block is ROWS rows x PANELS panels x GATES gates x VECS vectors of accumulators, indexed
 * ((row*PANELS + panel)*GATES + gate)*VECS + vec. The sizes are compile-time constants after
 * inlining, so the accumulators live in registers. Each accumulator is one chain over ascending k:
 * the shape of the block never changes a bit of the result.
 *
 * The ISA file states the shapes: for one row, ROW1_PANELS(gates) panels of ROW1_VECS vectors; for
 * many rows, TILE_ROWS(gates) rows of TILE_PANELS(gates) panels of TILE_VECS(gates) vectors; and
 * PREFETCH_BYTES, how far ahead many rows ask for weights, 0 for not at all.
 */
#include "kernels/inline.inc.h"

#define PANEL_VECS (RNNE_PANEL / VF_LANES) /* vectors of one gate of one panel */
#define MAX_ACC 32
#define MAX_ROWS 8

/* acc += weight * row[k] for the accumulators of one vector of weights. */
INLINE void mac_weight(vf *acc, vf weight, size_t k, const float *const *rows, const int ROWS,
                       const int STRIDE)
{
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        acc[r * STRIDE] = vf_fma(vf_set1(rows[r][k]), weight, acc[r * STRIDE]);
    }
}

/* How a vector of weights is read. A place holds a float, a binary16 number, or two bfloat16 ones: an even
 * k in the low half of a 32-bit lane and the next k in the high half, each of which, moved up, is the
 * float32 of the same number. */
enum { READ_F32, READ_F16, READ_LOW, READ_HIGH };

INLINE const char *place_of(const void *w, size_t place, const int HOW)
{
    return (const char *)w + place * (HOW == READ_F16 ? sizeof(uint16_t) : sizeof(float));
}

INLINE vf read_weights(const char *at, const int HOW)
{
    switch (HOW) {
    case READ_F16: return vf_load_f16((const uint16_t *)(const void *)at);
    case READ_LOW: return vi_float(vi_shl(vi_load((const uint16_t *)(const void *)at), 16));
    case READ_HIGH:
        return vi_float(vi_and(vi_load((const uint16_t *)(const void *)at), vi_set1(-0x10000)));
    default: return vf_load((const float *)(const void *)at);
    }
}

/* acc += w * row for one k; panels lie panel_stride places apart.
 *
 * A panel may be larger than the nearest cache, and blocks of rows that follow each other read it again
 * from the next one; asking for weights PREFETCH_BYTES ahead hides that. A single row takes weights as
 * fast as that cache gives them, and only loses by asking.
 *
 * In registers, besides the accumulators: all values of the rows and one weight, or all weights and one
 * value, whichever are fewer. */
INLINE void mac_k(vf *acc, const void *w, size_t panel_stride, size_t k, const float *const *rows,
                  const int HOW, const int ROWS, const int PANELS, const int GATES, const int VECS)
{
    const int BY_ROW = ROWS > PANELS * GATES * VECS;
    vf weight[MAX_ACC];
    UNROLL for (int i = 0; i < PANELS * GATES * VECS; i++)
    {
        const int p = i / VECS / GATES, g = i / VECS % GATES, v = i % VECS;
        const char *at = place_of(
            w, (size_t)p * panel_stride + (size_t)(g * RNNE_PANEL + v * VF_LANES), HOW);
        if (v == 0 && ROWS > 1 && PREFETCH_BYTES > 0 && HOW != READ_HIGH) {
            __builtin_prefetch(at + PREFETCH_BYTES, 0, 3);
        }
        weight[i] = ROWS > 1 ? vf_keep(read_weights(at, HOW)) : read_weights(at, HOW);
        if (!BY_ROW) {
            mac_weight(acc + i, weight[i], k, rows, ROWS, PANELS * GATES * VECS);
        }
    }
    UNROLL for (int r = 0; BY_ROW && r < ROWS; r++)
    {
        const vf x = vf_keep(vf_set1(rows[r][k]));
        UNROLL for (int i = 0; i < PANELS * GATES * VECS; i++)
        {
            vf *a = acc + r * PANELS * GATES * VECS + i;
            *a = vf_fma(x, weight[i], *a);
        }
    }
}

/* The same for k in [0, n_k): w is [panel][k][gate][16], already moved to the first vector. */
INLINE void mac(vf *acc, const void *w, size_t panel_stride, size_t n_k, const float *const *rows,
                const int HOW, const int ROWS, const int PANELS, const int GATES, const int VECS)
{
    for (size_t k = 0; k < n_k; k++, w = place_of(w, (size_t)GATES * RNNE_PANEL, HOW)) {
        mac_k(acc, w, panel_stride, k, rows, HOW, ROWS, PANELS, GATES, VECS);
    }
}

/* The same for pairs, [panel][k/2][gate][16][2]. */
INLINE void mac_pairs(vf *acc, const void *w, size_t panel_stride, size_t n_k,
                      const float *const *rows, const int ROWS, const int PANELS, const int GATES,
                      const int VECS)
{
    size_t k = 0;
    for (; k + 1 < n_k; k += 2, w = place_of(w, (size_t)GATES * RNNE_PANEL, READ_LOW)) {
        mac_k(acc, w, panel_stride, k, rows, READ_LOW, ROWS, PANELS, GATES, VECS);
        mac_k(acc, w, panel_stride, k + 1, rows, READ_HIGH, ROWS, PANELS, GATES, VECS);
    }
    if (k < n_k) {
        mac_k(acc, w, panel_stride, k, rows, READ_LOW, ROWS, PANELS, GATES, VECS);
    }
}

/* acc += matrix * row for one block: PANELS panels from `panel` on, VECS vectors from `first` on. */
INLINE void mac_matrix(vf *acc, const rnne_matrix *m, size_t panel, int first,
                       const float *const *rows, const int TYPE, const int ROWS, const int PANELS,
                       const int GATES, const int VECS)
{
    const int HOW = TYPE == RNNE_W_F16 ? READ_F16 : TYPE == RNNE_W_BF16 ? READ_LOW : READ_F32;
    const size_t depth = TYPE == RNNE_W_BF16 ? m->k / 2 + m->k % 2 : m->k;
    const size_t stride = depth * (size_t)GATES * RNNE_PANEL;
    const void *w = place_of(m->w, panel * stride + (size_t)(first * VF_LANES), HOW);
    if (TYPE == RNNE_W_BF16) {
        mac_pairs(acc, w, stride, m->k, rows, ROWS, PANELS, GATES, VECS);
    } else {
        mac(acc, w, stride, m->k, rows, HOW, ROWS, PANELS, GATES, VECS);
    }
}

/* acc = from: rows are row_stride apart, panels panel_stride, gates 16, vectors VF_LANES. */
INLINE void load_block(vf *acc, const float *from, size_t row_stride, size_t panel_stride,
                       const int ROWS, const int PANELS, const int GATES, const int VECS)
{
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int p = 0; p < PANELS; p++)
        {
            UNROLL for (int g = 0; g < GATES; g++)
            {
                UNROLL for (int v = 0; v < VECS; v++)
                {
                    acc[((r * PANELS + p) * GATES + g) * VECS + v] =
                        vf_load(from + (size_t)r * row_stride + (size_t)p * panel_stride +
                                g * RNNE_PANEL + v * VF_LANES);
                }
            }
        }
    }
}

/* The reverse of load_block. */
INLINE void store_block(const vf *acc, float *to, size_t row_stride, size_t panel_stride,
                        const int ROWS, const int PANELS, const int GATES, const int VECS)
{
    UNROLL for (int r = 0; r < ROWS; r++)
    {
        UNROLL for (int p = 0; p < PANELS; p++)
        {
            UNROLL for (int g = 0; g < GATES; g++)
            {
                UNROLL for (int v = 0; v < VECS; v++)
                {
                    vf_store(to + (size_t)r * row_stride + (size_t)p * panel_stride +
                                 g * RNNE_PANEL + v * VF_LANES,
                             acc[((r * PANELS + p) * GATES + g) * VECS + v]);
                }
            }
        }
    }
}

/* Calls BLOCK(rows, panels, vecs, row, panel) over n_rows rows and panels [begin, end): blocks of the
 * largest shape first, from the last to the first where `backwards`, then the smaller ones. BLOCK covers
 * all vectors of its panels itself. */
#define FOR_BLOCKS(BLOCK, GATES, n_rows, begin, end, backwards)                                    \
    do {                                                                                           \
        const size_t first_ = (begin), end_ = (end), rows_ = (n_rows);                             \
        const size_t wide_ = rows_ == 1 ? ROW1_PANELS(GATES) : TILE_PANELS(GATES);                 \
        const size_t blocks_ = (end_ - first_) / wide_;                                            \
        const int back_ = (backwards);                                                             \
        size_t p_ = first_ + blocks_ * wide_; /* panels that fill no whole block */                \
        for (size_t i_ = 0; i_ < blocks_; i_++) {                                                  \
            const size_t at_ = first_ + (back_ ? blocks_ - 1 - i_ : i_) * wide_;                   \
            if (rows_ == 1) {                                                                      \
                BLOCK(1, ROW1_PANELS(GATES), ROW1_VECS, 0, at_);                                   \
            } else if (rows_ > 1) {                                                                \
                FOR_ROWS(BLOCK, GATES, TILE_PANELS(GATES), rows_, at_);                            \
            }                                                                                      \
        }                                                                                          \
        for (; rows_ == 1 && ROW1_PANELS(GATES) > 3 && p_ + ROW1_PANELS(GATES) / 2 <= end_;        \
             p_ += ROW1_PANELS(GATES) / 2) {                                                       \
            BLOCK(1, ROW1_PANELS(GATES) / 2, ROW1_VECS, 0, p_);                                    \
        }                                                                                          \
        for (; p_ < end_; p_++) {                                                                  \
            if (rows_ == 1) {                                                                      \
                BLOCK(1, 1, ROW1_VECS, 0, p_);                                                     \
            } else if (rows_ > 1) {                                                                \
                FOR_ROWS(BLOCK, GATES, 1, rows_, p_);                                              \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Rows in blocks of TILE_ROWS, the rest in blocks that leave neither one nor two alone where that can
 * be: a block reads its weights once, however few rows it has. n_rows is at least 2. */
#define FOR_ROWS(BLOCK, GATES, PANELS, n_rows, p)                                                  \
    do {                                                                                           \
        size_t r_ = 0, left_ = (n_rows);                                                           \
        while (left_ >= TILE_ROWS(GATES) &&                                                        \
               (TILE_ROWS(GATES) < 3 ||                                                            \
                left_ - TILE_ROWS(GATES) - 1 > (TILE_ROWS(GATES) > 4))) {                          \
            DO_ROWS(BLOCK, TILE_ROWS(GATES), GATES, PANELS, p);                                    \
        }                                                                                          \
        while (TILE_ROWS(GATES) > 4 && left_ >= 4 && left_ - 5 > 1) {                              \
            DO_ROWS(BLOCK, 4, GATES, PANELS, p);                                                   \
        }                                                                                          \
        while (TILE_ROWS(GATES) > 3 && left_ >= 3 && left_ != 4) {                                 \
            DO_ROWS(BLOCK, 3, GATES, PANELS, p);                                                   \
        }                                                                                          \
        while (left_ >= 2) {                                                                       \
            DO_ROWS(BLOCK, 2, GATES, PANELS, p);                                                   \
        }                                                                                          \
        if (TILE_ROWS(GATES) < 3 && left_ > 0) {                                                   \
            DO_ROWS(BLOCK, 1, GATES, PANELS, p);                                                   \
        }                                                                                          \
    } while (0)

#define DO_ROWS(BLOCK, ROWS, GATES, PANELS, p)                                                     \
    BLOCK(ROWS, PANELS, TILE_VECS(GATES), r_, p);                                                  \
    r_ += (ROWS), left_ -= (ROWS)
