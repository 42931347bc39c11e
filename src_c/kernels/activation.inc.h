/* Activations by number: core/activation.h defines them.
 *
 * NaN gives NaN: the operand that may be NaN is second in vf_min and vf_max, and a comparison that
 * decides against x is written so that NaN does not satisfy it. Functions that are x times what
 * vanishes hold x above a bound where the product is zero anyway, so that -infinity gives -0.
 * relu(-0) is -0, as are all clamps from below at 0. Errors, where not those of math.inc.h, are
 * stated with each function and measured by tests/test_math.py. */
#include <float.h>
#include <stddef.h>

#include "core/activation.h"

VF_INLINE vf act_clamp(vf x, float low, float high)
{
    return vf_min(vf_set1(high), vf_max(vf_set1(low), x));
}

VF_INLINE vf act_relu_keras(vf x, float slope, float ceiling, float threshold)
{
    const float low = ceiling < INFINITY ? 0.0f : -INFINITY;
    vf above = vf_select(vf_le(x, vf_set1(threshold)), vf_zero(), x);
    above = act_clamp(above, low, ceiling);
    vf below = vf_max(vf_zero(), vf_sub(vf_set1(threshold), x));
    return slope == 0.0f ? above : vf_fnma(vf_set1(slope), below, above);
}

/* Error <= 3.5 ULP. */
VF_INLINE vf act_elu(vf x, float scale, float alpha)
{
    vf negative = vf_mul(vf_set1(alpha), expm1_f32(x));
    return vf_select(vf_lt(x, vf_zero()), negative, vf_mul(vf_set1(scale), x));
}

/* Error <= 3.5 ULP, and below FLT_MIN what x / alpha loses by being denormal. */
VF_INLINE vf act_celu(vf x, float alpha)
{
    vf curve = vf_mul(vf_set1(alpha), expm1_f32(vf_div(x, vf_set1(alpha))));
    return vf_add(vf_max(vf_zero(), x), vf_min(vf_zero(), curve));
}

/* log(1 + exp(-|x|)): both softplus(-|x|) and -log_sigmoid(|x|). Error <= 3.5 ULP. */
VF_INLINE vf act_soft_tail(vf x)
{
    return log1p_unit_f32(exp_nonpos_f32(vf_neg(vf_abs(x))));
}

/* x tanh(log(1 + e^x)) = x p / (p + 2), p = e^x (e^x + 2); for x > 0 both sides of the quotient
 * times e^-2x. Error <= 4 ULP; below -87, where e^x is denormal, 2^-143 more. */
VF_INLINE vf act_mish(vf x)
{
    const vf one = vf_set1(1.0f), two = vf_set1(2.0f);
    vm negative = vf_lt(x, vf_zero());
    vf e = exp_nonpos_f32(vf_neg(vf_abs(x)));
    vf p = vf_select(negative, vf_mul(e, vf_add(e, two)), vf_fma(two, e, one));
    vf rest = vf_select(negative, two, vf_mul(vf_mul(two, e), e));
    return vf_mul(vf_max(vf_set1(-110.0f), x), vf_div(p, vf_add(p, rest)));
}

/* Error <= 1.5 ULP of the larger of |x| and 1. */
VF_INLINE vf act_gelu(vf x)
{
    vf cdf2 = vf_add(erf_f32(vf_mul(x, vf_set1(0x1.6a09e6p-1f))), vf_set1(1.0f));
    return vf_mul(vf_mul(vf_max(vf_set1(-20.0f), x), vf_set1(0.5f)), cdf2);
}

/* x * sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)). Error <= 2 ULP of the larger of |x| and 1. */
VF_INLINE vf act_gelu_tanh(vf x)
{
    vf slope = vf_fma(vf_mul(x, x), vf_set1(0x1.2444f2p-4f), vf_set1(0x1.988454p0f));
    return vf_mul(vf_max(vf_set1(-20.0f), x), sigmoid_f32(vf_mul(x, slope)));
}

/* Error <= 2.5 ULP. */
VF_INLINE vf act_hard_silu(vf x)
{
    vf sixth = vf_mul(vf_add(x, vf_set1(3.0f)), vf_set1(1.0f / 6.0f));
    return vf_mul(vf_max(vf_set1(-3.0f), x), act_clamp(sixth, 0.0f, 1.0f));
}

/* Error <= 1.5 ULP. */
VF_INLINE vf act_softsign(vf x)
{
    vf bounded = act_clamp(x, -FLT_MAX, FLT_MAX);
    return vf_div(bounded, vf_add(vf_set1(1.0f), vf_abs(bounded)));
}

/* For x < 0 as b / (2 (root - x)), which does not cancel; squares of large x are taken of x / 2^64.
 * Error <= 3 ULP if b is 0 or between 2^-20 and 2^20. */
VF_INLINE vf act_squareplus(vf x, float b)
{
    vm large = vf_gt(vf_abs(x), vf_set1(0x1p60f));
    vf scaled = vf_mul(x, vf_select(large, vf_set1(0x1p-64f), vf_set1(1.0f)));
    vf root = vf_sqrt(vf_fma(scaled, scaled, vf_select(large, vf_zero(), vf_set1(b))));
    root = vf_mul(root, vf_select(large, vf_set1(0x1p64f), vf_set1(1.0f)));
    vf half = vf_mul(vf_set1(0.5f), root);
    vf negative = vf_div(vf_set1(0.25f * b), vf_fnma(vf_set1(0.5f), x, half));
    vf curve = vf_select(vf_lt(x, vf_zero()), negative, vf_fma(vf_set1(0.5f), x, half));
    return b == 0.0f ? vf_max(vf_zero(), x) : curve;
}

/* Error <= 3 ULP; below -87, where the sigmoid is denormal, 2^-143 more. */
VF_INLINE vf act_silu(vf x)
{
    return vf_mul(vf_max(vf_set1(-110.0f), x), sigmoid_f32(x));
}

VF_INLINE vf act_soft_shrink(vf x, float alpha)
{
    const vf a = vf_set1(alpha), minus_a = vf_set1(-alpha);
    vf inside = vf_select(vf_isnan(x), x, vf_zero());
    vf low = vf_select(vf_lt(x, minus_a), vf_add(x, a), inside);
    return vf_select(vf_gt(x, a), vf_sub(x, a), low);
}

VF_INLINE vf act_shrink(vf x, float lambda, float bias)
{
    vf inside = vf_select(vf_isnan(x), x, vf_zero());
    vf high = vf_select(vf_gt(x, vf_set1(lambda)), vf_sub(x, vf_set1(bias)), inside);
    return vf_select(vf_lt(x, vf_set1(-lambda)), vf_add(x, vf_set1(bias)), high);
}

VF_INLINE vf act_sign(vf x)
{
    vf below = vf_select(vf_lt(x, vf_zero()), vf_set1(-1.0f), x);
    return vf_select(vf_gt(x, vf_zero()), vf_set1(1.0f), below);
}

/* The nearest integer, ties to even: adding 2^23 drops the fraction of anything smaller. Exact, as
 * are floor and ceil, which correct it by 1; all keep the sign of x in a zero. */
VF_INLINE vf act_round(vf x)
{
    const vf big = vf_set1(0x1p23f);
    vf size = vf_abs(x), whole = vf_sub(vf_add(size, big), big);
    return vf_select(vf_lt(size, big), vf_copysign(whole, x), x);
}

VF_INLINE vf act_floor(vf x)
{
    vf near = act_round(x);
    return vf_select(vf_gt(near, x), vf_sub(near, vf_set1(1.0f)), near);
}

/* Error <= 2 ULP. */
VF_INLINE vf act_sparse_plus(vf x)
{
    const vf one = vf_set1(1.0f);
    vf half = vf_fma(vf_set1(0.5f), x, vf_set1(0.5f));
    vf inside = vf_select(vf_lt(x, one), vf_mul(half, half), x);
    return vf_select(vf_le(x, vf_set1(-1.0f)), vf_zero(), inside);
}

/* The one list of what each number computes. ID is a constant where this is inlined. */
VF_INLINE vf act_inline(const int ID, float alpha, float beta, float gamma, vf x)
{
    const vf a = vf_set1(alpha), b = vf_set1(beta), zero = vf_zero();
    switch (ID) {
    case RNNE_ACT_TANH: return tanh_f32(x);
    case RNNE_ACT_SIGMOID: return sigmoid_f32(x);
    case RNNE_ACT_RELU: return vf_max(zero, x);
    case RNNE_ACT_RELU_KERAS: return act_relu_keras(x, alpha, beta, gamma);
    case RNNE_ACT_LEAKY_RELU: return vf_select(vf_lt(x, zero), vf_mul(a, x), x);
    case RNNE_ACT_THRESHOLDED_RELU: return vf_select(vf_lt(x, a), zero, x);
    case RNNE_ACT_AFFINE: return vf_fma(a, x, b);
    case RNNE_ACT_SCALED_TANH: return vf_mul(a, tanh_f32(vf_mul(b, x)));
    case RNNE_ACT_HARD_SIGMOID: return act_clamp(vf_fma(a, x, b), 0.0f, 1.0f);
    case RNNE_ACT_ELU: return act_elu(x, 1.0f, alpha);
    case RNNE_ACT_SOFTSIGN: return act_softsign(x);
    case RNNE_ACT_SOFTPLUS: return vf_add(vf_max(zero, x), act_soft_tail(x));
    case RNNE_ACT_SELU: return act_elu(x, 0x1.0cfabep0f, 0x1.c212ccp0f);
    case RNNE_ACT_CELU: return act_celu(x, alpha);
    case RNNE_ACT_SILU: return act_silu(x);
    case RNNE_ACT_HARD_SILU: return act_hard_silu(x);
    case RNNE_ACT_GELU: return act_gelu(x);
    case RNNE_ACT_GELU_TANH: return act_gelu_tanh(x);
    case RNNE_ACT_MISH: return act_mish(x);
    case RNNE_ACT_EXPONENTIAL: return exp_f32(x);
    case RNNE_ACT_HARD_TANH: return act_clamp(x, -1.0f, 1.0f);
    case RNNE_ACT_TANH_SHRINK: return vf_sub(x, tanh_f32(x));
    case RNNE_ACT_SOFT_SHRINK: return act_soft_shrink(x, alpha);
    case RNNE_ACT_HARD_SHRINK: return vf_select(vf_le(vf_abs(x), a), zero, x);
    case RNNE_ACT_SQUAREPLUS: return act_squareplus(x, alpha);
    case RNNE_ACT_SPARSE_PLUS: return act_sparse_plus(x);
    case RNNE_ACT_SPARSE_SIGMOID:
        return act_clamp(vf_fma(vf_set1(0.5f), x, vf_set1(0.5f)), 0.0f, 1.0f);
    case RNNE_ACT_LOG_SIGMOID: return vf_sub(vf_min(zero, x), act_soft_tail(x));
    case RNNE_ACT_THRESHOLD: return vf_select(vf_le(x, a), b, x);
    case RNNE_ACT_LOG: return log_f32(x);
    case RNNE_ACT_SQRT: return vf_sqrt(x);
    case RNNE_ACT_NEG: return vf_neg(x);
    case RNNE_ACT_ABS: return vf_abs(x);
    case RNNE_ACT_RECIPROCAL: return vf_div(vf_set1(1.0f), x);
    case RNNE_ACT_ERF: return erf_f32(x);
    case RNNE_ACT_SHRINK: return act_shrink(x, alpha, beta);
    case RNNE_ACT_SIGN: return act_sign(x);
    case RNNE_ACT_FLOOR: return act_floor(x);
    case RNNE_ACT_CEIL: return vf_neg(act_floor(vf_neg(x)));
    case RNNE_ACT_ROUND: return act_round(x);
    case RNNE_ACT_SIN: return vf_each(x, sin_one);
    case RNNE_ACT_COS: return vf_each(x, cos_one);
    case RNNE_ACT_TAN: return vf_each(x, tan_one);
    case RNNE_ACT_ASIN: return vf_each(x, asin_one);
    case RNNE_ACT_ACOS: return vf_each(x, acos_one);
    case RNNE_ACT_ATAN: return vf_each(x, atan_one);
    case RNNE_ACT_SINH: return vf_each(x, sinh_one);
    case RNNE_ACT_COSH: return vf_each(x, cosh_one);
    case RNNE_ACT_ASINH: return vf_each(x, asinh_one);
    case RNNE_ACT_ACOSH: return vf_each(x, acosh_one);
    case RNNE_ACT_ATANH: return vf_each(x, atanh_one);
    default: return x;
    }
}

/* One activation of one vector, for loops that cannot take the choice out. */
static __attribute__((noinline, unused)) vf act_apply(int id, float alpha, float beta, float gamma,
                                                      vf x)
{
    return act_inline(id, alpha, beta, gamma, x);
}

VF_INLINE void unary_loop(const int ID, float alpha, float beta, float gamma, const float *x,
                          float *y, size_t n)
{
    size_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) {
        vf_store(y + i, act_inline(ID, alpha, beta, gamma, vf_load(x + i)));
    }
    if (i < n) {
        vf last = vf_load_n(x + i, n - i);
        vf_store_n(y + i, act_inline(ID, alpha, beta, gamma, last), n - i);
    }
}

#define UNARY_CASE(ID) \
    case ID: unary_loop(ID, alpha, beta, gamma, x, y, n); break

/* y[i] = activation(x[i]); x and y are equal or do not overlap. */
static __attribute__((unused)) void unary_f32(int id, float alpha, float beta, float gamma,
                                              const float *x, float *y, size_t n)
{
    switch (id) {
        UNARY_CASE(RNNE_ACT_TANH);
        UNARY_CASE(RNNE_ACT_SIGMOID);
        UNARY_CASE(RNNE_ACT_RELU);
        UNARY_CASE(RNNE_ACT_RELU_KERAS);
        UNARY_CASE(RNNE_ACT_LEAKY_RELU);
        UNARY_CASE(RNNE_ACT_THRESHOLDED_RELU);
        UNARY_CASE(RNNE_ACT_AFFINE);
        UNARY_CASE(RNNE_ACT_SCALED_TANH);
        UNARY_CASE(RNNE_ACT_HARD_SIGMOID);
        UNARY_CASE(RNNE_ACT_ELU);
        UNARY_CASE(RNNE_ACT_SOFTSIGN);
        UNARY_CASE(RNNE_ACT_SOFTPLUS);
        UNARY_CASE(RNNE_ACT_SELU);
        UNARY_CASE(RNNE_ACT_CELU);
        UNARY_CASE(RNNE_ACT_SILU);
        UNARY_CASE(RNNE_ACT_HARD_SILU);
        UNARY_CASE(RNNE_ACT_GELU);
        UNARY_CASE(RNNE_ACT_GELU_TANH);
        UNARY_CASE(RNNE_ACT_MISH);
        UNARY_CASE(RNNE_ACT_EXPONENTIAL);
        UNARY_CASE(RNNE_ACT_HARD_TANH);
        UNARY_CASE(RNNE_ACT_TANH_SHRINK);
        UNARY_CASE(RNNE_ACT_SOFT_SHRINK);
        UNARY_CASE(RNNE_ACT_HARD_SHRINK);
        UNARY_CASE(RNNE_ACT_SQUAREPLUS);
        UNARY_CASE(RNNE_ACT_SPARSE_PLUS);
        UNARY_CASE(RNNE_ACT_SPARSE_SIGMOID);
        UNARY_CASE(RNNE_ACT_LOG_SIGMOID);
        UNARY_CASE(RNNE_ACT_THRESHOLD);
        UNARY_CASE(RNNE_ACT_LOG);
        UNARY_CASE(RNNE_ACT_SQRT);
        UNARY_CASE(RNNE_ACT_NEG);
        UNARY_CASE(RNNE_ACT_ABS);
        UNARY_CASE(RNNE_ACT_RECIPROCAL);
        UNARY_CASE(RNNE_ACT_ERF);
        UNARY_CASE(RNNE_ACT_SHRINK);
        UNARY_CASE(RNNE_ACT_SIGN);
        UNARY_CASE(RNNE_ACT_FLOOR);
        UNARY_CASE(RNNE_ACT_CEIL);
        UNARY_CASE(RNNE_ACT_ROUND);
        UNARY_CASE(RNNE_ACT_SIN);
        UNARY_CASE(RNNE_ACT_COS);
        UNARY_CASE(RNNE_ACT_TAN);
        UNARY_CASE(RNNE_ACT_ASIN);
        UNARY_CASE(RNNE_ACT_ACOS);
        UNARY_CASE(RNNE_ACT_ATAN);
        UNARY_CASE(RNNE_ACT_SINH);
        UNARY_CASE(RNNE_ACT_COSH);
        UNARY_CASE(RNNE_ACT_ASINH);
        UNARY_CASE(RNNE_ACT_ACOSH);
        UNARY_CASE(RNNE_ACT_ATANH);
    default: unary_loop(RNNE_ACT_IDENTITY, alpha, beta, gamma, x, y, n);
    }
}
