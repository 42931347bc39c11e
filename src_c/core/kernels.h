/** The contract of every kernel. A kernel is void, allocates nothing and cannot fail; all sizes and
 * pointers were verified when the program was bound. Matrices are packed in panels of 16 units, as
 * rnne_weight_type says, zero where a panel has more lanes than units. Every output is one chain of
 * fused multiply-adds over ascending k, so no choice made here changes a bit. */
#ifndef RNNE_KERNELS_H
#define RNNE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define RNNE_PANEL 16

/** An activation and its parameters; see activation.h for what they mean. */
typedef struct rnne_act {
    int32_t id;
    float alpha, beta, gamma;
} rnne_act;

/** How the weights of a matrix are stored. Halves are widened exactly before they are multiplied, so
 * such a matrix gives the bits of the float32 matrix with the same numbers. */
typedef enum rnne_weight_type {
    RNNE_W_F32 = 0,  /* [panel][k][gate][16] */
    RNNE_W_BF16 = 1, /* bfloat16, [panel][k/2][gate][16][2]: two k beside each other; an odd k is padded */
    RNNE_W_F16 = 2,  /* IEEE binary16, [panel][k][gate][16] */
    RNNE_W_INT8 = 3, /* int8, [panel][k/4][gate][16][4], padded; activations of 16 bits (int8.h) */
    RNNE_W_INT8_FAST = 4, /* the same with activations of 8 bits */
} rnne_weight_type;

/** A packed matrix: y[g][u] = bias[g][u] + sum_k w[g][u][k] * x[k]. */
typedef struct rnne_matrix {
    const void *w;
    const float *bias; /* [panels][gates][16] */
    size_t panels, gates, k;
    int32_t type; /* rnne_weight_type */
    /* Of integer weights alone: */
    const float *scale;    /* [panels][gates][16]: of one step of a weight */
    const int32_t *offset; /* [panels][blocks of k][gates][16]: -128 times the sum of the weights */
    const int32_t *zero;   /* [panels][gates][16]: the weight is w less this; NULL where all are 0 */
} rnne_matrix;

/** Sums of a matrix and rows: out = start + W row for panels [begin, end) and n_rows rows. Panel p, row
 * r and gate g of start lie at p * start_panel + r * start_row + g * 16 floats, those of out likewise.
 * start may be out itself, place by place; out overlaps nothing else. */
typedef struct rnne_sums {
    const float *const *rows; /* k floats each */
    size_t n_rows, begin, end;
    const float *start;
    size_t start_panel, start_row; /* start_row 0: a bias */
    float *out;
    size_t out_panel, out_row;
    int backwards; /* as in rnne_step */
} rnne_sums;

typedef enum rnne_coupling {
    RNNE_UNCOUPLED = 0,
    RNNE_FORGET_FROM_INPUT = 1, /* f = 1 - i */
    RNNE_INPUT_FROM_FORGET = 2, /* i = 1 - f */
} rnne_coupling;

/** One direction of a recurrent layer. Gate order: LSTM i, f, g, o; GRU r, z, n. */
typedef struct rnne_cell {
    rnne_matrix x;         /* input projection, all gates */
    rnne_matrix r;         /* recurrent weights, k wide; a GRU whose candidate is apart: r and z only */
    rnne_matrix r_n;       /* candidate's recurrent weights, one gate: always apart in reset-before */
    const float *b_rn;     /* GRU reset-after: [panels][16], bias inside the reset product */
    const float *peephole; /* LSTM: [panels][3][16] for i, f, o; NULL without */
    size_t panels;         /* of hidden units */
    rnne_act act[3];       /* LSTM f, g, h; GRU f, g; RNN f */
    float clip;            /* pre-activations are clamped to +-clip; infinity without */
    float cell_clip;       /* LSTM: stored c is clamped; infinity without */
    float h_clip;          /* LSTM: c is clamped before h(); infinity without */
    int32_t coupling;
} rnne_cell;

/** Operands of one time step for a block of rows. State rows are padded to whole panels. The kernel
 * multiplies r (the candidate's: r_n) with h, float32 weights and k ascending; where k is 0 that was
 * done before, onto xp and inner, and the kernel does what is left of the step. */
typedef struct rnne_step {
    const float *x;       /* one row: its input, projected in the step; NULL: use xp */
    const float *xp;      /* [panel][row][gate][16]: bias + input part, row 0 of this step */
    size_t xp_panel;      /* floats from one panel of xp to the next */
    const float *h;       /* [rows][h_stride] recurrent input */
    size_t h_stride;
    float *h_next;        /* [rows][next_stride]; overlaps no input */
    size_t next_stride;
    float *c;             /* LSTM: [rows][next_stride], updated in place */
    float *z, *rh;        /* GRU reset-before: [rows][next_stride] between its two phases */
    const float *inner;   /* GRU reset-after: where the candidate's product starts: b_rn, or sums */
    size_t inner_panel, inner_row; /* floats from one panel, one row to the next; 0: the same row */
    size_t rows;
    size_t panel_begin, panel_end;
    int backwards;        /* take the last panels first: a hint, no number depends on it */
} rnne_step;

typedef void rnne_step_fn(const rnne_cell *cell, const rnne_step *step);

/** Indices into rnne_kernels.steps; the odd entries honour every option of rnne_cell, the even ones
 * are the default cell (sigmoid and tanh, no clip, no peephole, no coupling). */
typedef enum rnne_step_kind {
    RNNE_STEP_LSTM = 0,
    RNNE_STEP_GRU_AFTER = 2,
    RNNE_STEP_GRU_BEFORE_GATES = 4,
    RNNE_STEP_GRU_BEFORE_CANDIDATE = 6,
    RNNE_STEP_RNN = 8,
    RNNE_STEP_COUNT = 10,
} rnne_step_kind;

typedef enum rnne_binary_op {
    RNNE_ADD = 0,
    RNNE_SUB = 1,
    RNNE_MUL = 2,
    RNNE_DIV = 3,
    RNNE_MIN = 4, /* a < b ? a : b, NaN where either is NaN */
    RNNE_MAX = 5, /* a > b ? a : b, NaN where either is NaN */
    RNNE_PRELU = 6, /* a < 0 ? a * b : a */
    RNNE_MOD = 7, /* a - b * trunc(a / b), exactly: fmod */
    RNNE_MOD_FLOOR = 8, /* integers only: the remainder with the sign of b */
    RNNE_POW = 9, /* a to the power b, as IEEE 754 defines pow; floats only */
    RNNE_BINARY_COUNT = 10,
} rnne_binary_op;

/** What a row is reduced to. */
typedef enum rnne_reduction {
    RNNE_RED_SUM = 0,    /* sum x */
    RNNE_RED_ABS = 1,    /* sum |x| */
    RNNE_RED_SQUARE = 2, /* sum (x - centre)^2, each term a fused multiply-add */
    RNNE_RED_PROD = 3,   /* product x */
    RNNE_RED_MAX = 4,    /* the largest, NaN where any is; -infinity of nothing */
    RNNE_RED_MIN = 5,    /* the smallest, NaN where any is; infinity of nothing */
    RNNE_RED_EXP = 6,    /* sum exp(x - centre) */
} rnne_reduction;

/** One tap of a window: offsets into the input and the packed weights, and which of the outputs of a
 * row it counts for. */
typedef struct rnne_tap {
    ptrdiff_t x, w;
    size_t begin, end;
} rnne_tap;

/** One row of outputs of a convolution, for units [0, units) at n positions. The chain of an output
 * runs over channels, then rows, then columns, each ascending; taps that do not count are skipped. */
typedef struct rnne_conv {
    const float *x;        /* first channel; taps are counted from here */
    ptrdiff_t x_channel;   /* floats from one channel to the next */
    ptrdiff_t x_step;      /* from what one position reads to what the next one reads */
    size_t channels;
    const rnne_tap *rows;  /* kernel rows that count; begin and end are not used */
    const rnne_tap *cols;
    size_t n_rows, n_cols;
    const float *w;        /* [panel][channel][row][column][16] */
    const float *bias;     /* [panel][16] */
    size_t w_channel, w_panel; /* floats from one to the next */
    size_t first;          /* lane of unit 0 in its panel: 0 where whole panels are used */
    size_t units, n;
    float *y;
    ptrdiff_t y_unit, y_step;
    rnne_act act;
    const float *slope;    /* PRelu: one for each unit; NULL: act */
} rnne_conv;

/** One row of outputs of a pool at n positions; rows and cols as in rnne_conv. */
typedef struct rnne_pool {
    const float *x;
    ptrdiff_t x_step;
    const rnne_tap *rows, *cols;
    size_t n_rows, n_cols, n;
    float *y;
    ptrdiff_t y_step;
    const float *counts; /* mean: by what each position's sum is divided */
    int32_t kind;
} rnne_pool;

typedef enum rnne_pool_kind {
    RNNE_POOL_MAX = 0, /* the first of the largest; NaN where any is NaN */
    RNNE_POOL_MEAN = 1,
    RNNE_POOL_L1 = 2, /* sum |x| */
    RNNE_POOL_L2 = 3, /* sqrt(sum x^2) */
    RNNE_POOL_COUNT = 4,
} rnne_pool_kind;

typedef struct rnne_kernels {
    const char *name;
    uint32_t needs; /* feature bits */

    /** Sums of a matrix of 1 to 4 gates and rows; its bias is not read. */
    void (*accumulate)(const rnne_matrix *m, const rnne_sums *sums);
    /** The weights of one panel of a matrix of halves as float32, [k][gate][16]. */
    void (*widen)(const rnne_matrix *m, size_t panel, float *out);
    /** One-gate matrix to n outputs a row, activation applied; out rows overlap no input. */
    void (*linear)(const rnne_matrix *m, const float *const *rows, float *const *out, size_t n_rows,
                   size_t n, const rnne_act *act);
    rnne_step_fn *steps[RNNE_STEP_COUNT];
    /** One row of a convolution; y overlaps no input. */
    void (*conv)(const rnne_conv *c);
    /** What n positions of a convolution from `first` on read: tap t, of cols alone, of channel i to
     * out[position * stride + i * n_cols + t]; 0 where a tap does not count. Of stride, up to 3 floats
     * after the last tap are written. */
    void (*windows)(const rnne_conv *c, size_t first, size_t n, float *out, size_t stride);
    /** y[column * y_row + row] = x[row * x_row + column]. */
    void (*transpose)(const float *x, size_t x_row, size_t rows, size_t columns, float *y,
                      ptrdiff_t y_row);
    /** One row of a pool; y overlaps no input. */
    void (*pool)(const rnne_pool *p);
    /** y[i] = act(x[i]); x and y are equal or do not overlap. */
    void (*unary)(int32_t id, float alpha, float beta, float gamma, const float *x, float *y,
                  size_t n);
    /** y[i*sy] = a[i*sa] op b[i*sb]; y may equal a or b where the strides are equal. */
    void (*binary)(int32_t op, const float *a, ptrdiff_t sa, const float *b, ptrdiff_t sb, float *y,
                   ptrdiff_t sy, size_t n);
    /** Softmax (or its logarithm) of n values: 16 sums in index order, then one fixed tree. */
    void (*softmax)(const float *x, float *y, size_t n, int logarithm);
    /** One number of n values, 16 lanes in index order, then one fixed tree. */
    float (*reduce)(int32_t kind, const float *x, size_t n, float centre);
    /** y[i] = fma((x[i] - mean) * inverse, scale[i*ss], bias[i*sb]); ss and sb are 0 or 1; without a
     * bias (NULL) the product alone. y may equal x. */
    void (*normalize)(const float *x, float mean, float inverse, const float *scale, ptrdiff_t ss,
                      const float *bias, ptrdiff_t sb, float *y, size_t n);
    /** 1 when any of n values is a non-zero subnormal. */
    int (*has_subnormal)(const float *x, size_t n);
    /** y = x with subnormals replaced by +0; zeros keep their sign. */
    void (*flush_subnormal)(const float *x, float *y, size_t n);
    /** y = clamp(x, -limit, limit), NaN kept. */
    void (*clamp)(const float *x, float *y, size_t n, float limit);
    /** y = x with |x| < 2^-64 replaced by +0: what a stored state may hold. */
    void (*settle)(const float *x, float *y, size_t n);
    float (*read_floats)(const float *data, size_t n, size_t repeat);
    size_t (*fma_chain)(size_t repeat, float *sink);
} rnne_kernels;

extern const rnne_kernels rnne_kernels_scalar;
extern const rnne_kernels rnne_kernels_avx2;
extern const rnne_kernels rnne_kernels_avx512;
extern const rnne_kernels rnne_kernels_neon;

#endif
