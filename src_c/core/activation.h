/** The functions of one variable that cells and elementwise instructions know, by number.
 *
 * alpha, beta and gamma are the three parameters an activation takes; those it does not use are 0.
 * NaN gives NaN. Infinity gives the limit of the definition where there is one. Numbers are stored
 * in programs: new ones are added at the end. Errors, signs of zero: kernels/activation.inc.h. */
#ifndef RNNE_ACTIVATION_H
#define RNNE_ACTIVATION_H

typedef enum rnne_activation {
    RNNE_ACT_IDENTITY = 0,          /* x */
    RNNE_ACT_TANH = 1,              /* tanh(x) */
    RNNE_ACT_SIGMOID = 2,           /* 1 / (1 + exp(-x)) */
    RNNE_ACT_RELU = 3,              /* max(0, x) */
    RNNE_ACT_RELU_KERAS = 4,        /* x > gamma ? x : 0, clamped to [0, beta] if beta is finite,
                                       less alpha * max(0, gamma - x); alpha = negative_slope,
                                       beta = max_value (infinity without), gamma = threshold */
    RNNE_ACT_LEAKY_RELU = 5,        /* x >= 0 ? x : alpha * x */
    RNNE_ACT_THRESHOLDED_RELU = 6,  /* x >= alpha ? x : 0 */
    RNNE_ACT_AFFINE = 7,            /* alpha * x + beta */
    RNNE_ACT_SCALED_TANH = 8,       /* alpha * tanh(beta * x) */
    RNNE_ACT_HARD_SIGMOID = 9,      /* clamp(alpha * x + beta, 0, 1) */
    RNNE_ACT_ELU = 10,              /* x >= 0 ? x : alpha * (exp(x) - 1) */
    RNNE_ACT_SOFTSIGN = 11,         /* x / (1 + |x|) */
    RNNE_ACT_SOFTPLUS = 12,         /* log(1 + exp(x)) */
    RNNE_ACT_SELU = 13,             /* s * (x >= 0 ? x : a * (exp(x) - 1)), s = 1.0507, a = 1.67326 */
    RNNE_ACT_CELU = 14,             /* max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) */
    RNNE_ACT_SILU = 15,             /* x * sigmoid(x) */
    RNNE_ACT_HARD_SILU = 16,        /* x * clamp(x / 6 + 1/2, 0, 1) */
    RNNE_ACT_GELU = 17,             /* x * (1 + erf(x / sqrt(2))) / 2 */
    RNNE_ACT_GELU_TANH = 18,        /* x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2 */
    RNNE_ACT_MISH = 19,             /* x * tanh(softplus(x)) */
    RNNE_ACT_EXPONENTIAL = 20,      /* exp(x) */
    RNNE_ACT_HARD_TANH = 21,        /* clamp(x, -1, 1) */
    RNNE_ACT_TANH_SHRINK = 22,      /* x - tanh(x) */
    RNNE_ACT_SOFT_SHRINK = 23,      /* x > alpha ? x - alpha : x < -alpha ? x + alpha : 0 */
    RNNE_ACT_HARD_SHRINK = 24,      /* |x| > alpha ? x : 0 */
    RNNE_ACT_SQUAREPLUS = 25,       /* (x + sqrt(x * x + alpha)) / 2, alpha >= 0 */
    RNNE_ACT_SPARSE_PLUS = 26,      /* x <= -1 ? 0 : x < 1 ? (x + 1)^2 / 4 : x */
    RNNE_ACT_SPARSE_SIGMOID = 27,   /* clamp((x + 1) / 2, 0, 1) */
    RNNE_ACT_LOG_SIGMOID = 28,      /* -log(1 + exp(-x)) */
    RNNE_ACT_THRESHOLD = 29,        /* x > alpha ? x : beta */
    RNNE_ACT_LOG = 30,              /* log(x): -infinity at 0, NaN below */
    RNNE_ACT_SQRT = 31,             /* sqrt(x): NaN below 0 */
    RNNE_ACT_NEG = 32,              /* -x */
    RNNE_ACT_ABS = 33,              /* |x| */
    RNNE_ACT_RECIPROCAL = 34,       /* 1 / x */
    RNNE_ACT_ERF = 35,              /* erf(x) */
    RNNE_ACT_SHRINK = 36,           /* x < -alpha ? x + beta : x > alpha ? x - beta : 0 */
    RNNE_ACT_SIGN = 37,             /* -1, 0 or 1 */
    RNNE_ACT_FLOOR = 38,            /* the largest integer that is not above x */
    RNNE_ACT_CEIL = 39,             /* the smallest integer that is not below x */
    RNNE_ACT_ROUND = 40,            /* the nearest integer, of two the even one */
    RNNE_ACT_SIN = 41,               /* sin(x) */
    RNNE_ACT_COS = 42,               /* cos(x) */
    RNNE_ACT_TAN = 43,               /* tan(x) */
    RNNE_ACT_ASIN = 44,              /* asin(x): NaN where it is undefined */
    RNNE_ACT_ACOS = 45,              /* acos(x): NaN where it is undefined */
    RNNE_ACT_ATAN = 46,              /* atan(x) */
    RNNE_ACT_SINH = 47,              /* sinh(x) */
    RNNE_ACT_COSH = 48,              /* cosh(x) */
    RNNE_ACT_ASINH = 49,             /* asinh(x) */
    RNNE_ACT_ACOSH = 50,             /* acosh(x): NaN where it is undefined */
    RNNE_ACT_ATANH = 51,             /* atanh(x): NaN where it is undefined */
    RNNE_ACT_COUNT = 52,
} rnne_activation;

#endif
