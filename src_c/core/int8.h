/** Products of int8 matrices: the rows they take, the contract of their kernels, and the tables.
 *
 * A row of floats is quantised on its own, to 16 or 8 bits and one scale; sums of activations times
 * weights are exact integers, so every instruction set, block shape and order gives the same bits. */
#ifndef RNNE_INT8_H
#define RNNE_INT8_H

#include "core/kernels.h"
#include "rnnengine.h"

#define RNNE_INT8_MOST 32639.0f     /* the largest activation of 16 bits: two signed bytes of 127 */
#define RNNE_INT8_FAST_MOST 127.0f  /* of 8 bits */
#define RNNE_BLOCK 512              /* k whose products fit one 32-bit sum */
#define RNNE_SUM_BLOCK 256          /* the same for weights less their zero point: up to 255 in size */

/** A quantised row: this, then from rnne_row_head on the integers in a form of the table's own. */
typedef struct rnne_row {
    float scale;    /* of one step of an integer; NaN makes every output NaN */
    int32_t sums[]; /* of the integers of each RNNE_SUM_BLOCK k */
} rnne_row;

static inline size_t rnne_row_head(size_t k)
{
    const size_t blocks = (k + RNNE_SUM_BLOCK - 1) / RNNE_SUM_BLOCK;
    return (sizeof(rnne_row) + blocks * sizeof(int32_t) + 63) / 64 * 64;
}

/** Bytes of a row, a multiple of 64. */
static inline size_t rnne_row_bytes(size_t k)
{
    return rnne_row_head(k) + (2 * k + 63) / 64 * 64;
}

/** k of one block of a matrix. */
static inline size_t rnne_int8_block(const rnne_matrix *m)
{
    return m->zero ? RNNE_SUM_BLOCK : RNNE_BLOCK;
}

static inline size_t rnne_int8_blocks(const rnne_matrix *m)
{
    return m->zero ? (m->k + RNNE_SUM_BLOCK - 1) / RNNE_SUM_BLOCK
                   : (m->k + RNNE_BLOCK - 1) / RNNE_BLOCK;
}

/** k in [begin, end) of every row: block `number` of a matrix. */
typedef struct rnne_depth {
    size_t begin, end, number;
} rnne_depth;

/** Block `number`; past the last one it begins at k or beyond. */
static inline rnne_depth rnne_int8_depth(const rnne_matrix *m, size_t number)
{
    const size_t most = rnne_int8_block(m), begin = number * most;
    return (rnne_depth){begin, begin + most < m->k ? begin + most : m->k, number};
}

static inline int rnne_is_int8(const rnne_matrix *m)
{
    return m->type == RNNE_W_INT8 || m->type == RNNE_W_INT8_FAST;
}

typedef struct rnne_int8 {
    const char *name;
    uint32_t needs; /* feature bits, beside those of the table of floats */
    double many;    /* time of a product of many rows beside float32's, roughly; 0: as that of one row */

    /** Row x of k floats to integers of 16 or 8 bits. Its range is the largest magnitude, at least 1
     * where bounded is not 0. row is aligned to 64 and has rnne_row_bytes(k). */
    void (*quantize)(const float *x, size_t k, int bits, int bounded, rnne_row *row);
    /** Sums of a matrix of 1 to 4 gates and rows quantised as its type says, in the place of those in
     * `sums`; its bias is not read. */
    void (*accumulate)(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *sums);
    /** One-gate matrix to n outputs a row, without an activation. */
    void (*linear)(const rnne_matrix *m, const rnne_row *const *rows, float *const *out,
                   size_t n_rows, size_t n);
} rnne_int8;

/** The kernels of a name that can be asked for: that of the int8 products. */
struct rnne_tables {
    const rnne_kernels *kernels;
    const rnne_int8 *int8;
};

/** Bytes of a quantised row; INT64_MAX where that does not fit. */
int64_t rnne_int8_row_bytes(int64_t k);
/** Bytes of working memory for that many quantised rows of k and their addresses; INT64_MAX where that
 * does not fit. It starts at a multiple of 64. */
int64_t rnne_int8_area(int64_t rows, int64_t k);
/** Quantise one row of m->k floats as m, an int8 matrix, wants it. */
void rnne_int8_quantize(const rnne_program *program, const rnne_matrix *m, const float *x, int bounded,
                        rnne_row *row);
/** Quantise rows so; they and their addresses, which are
 * returned, lie in area. */
const rnne_row *const *rnne_int8_rows(const rnne_program *program, const rnne_matrix *m,
                                      const float *const *rows, size_t n_rows, int bounded,
                                      void *area);
/** n outputs a row of a one-gate matrix of any type, activation applied. */
void rnne_linear(const rnne_program *program, const rnne_matrix *m, const float *const *rows,
                 float *const *out, size_t n_rows, size_t n, const rnne_act *act, void *area);

/** Bytes of working memory for a convolution as a product: k = channels * taps. */
int64_t rnne_conv_rows_area(int64_t k, int64_t units, int64_t taps);
/** Positions [first, end) of a row of a convolution of one group, as the product of m, with its bias, and
 * what each of them reads; c->w is not read. m is an int8 matrix; or of floats, and all taps count for
 * these positions. Outputs of integers are there after rnne_conv_rows_end: positions of several rows are
 * multiplied together. Between begin and end, calls differ in x, y, taps and positions alone. */
void rnne_conv_rows(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c, size_t first,
                    size_t end, void *area);
void rnne_conv_rows_begin(void *area);
/** Room for a list of all taps of the weights, free between calls. */
rnne_tap *rnne_conv_rows_taps(void *area);
void rnne_conv_rows_end(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c, void *area);

extern const rnne_int8 rnne_int8_scalar;
extern const rnne_int8 rnne_int8_avx2;
extern const rnne_int8 rnne_int8_avx2vnni;
extern const rnne_int8 rnne_int8_avx512;
extern const rnne_int8 rnne_int8_avx512vnni;
extern const rnne_int8 rnne_int8_avx512amx;
extern const rnne_int8 rnne_int8_neon;
extern const rnne_int8 rnne_int8_neondot;

#endif
