/* Vector mathematics, written once in correctly rounded operations, so that every ISA gives the
 * same bits. No tables, no estimates, no branches.
 *
 * The errors stated are the largest over every float32 input, denormal results included, in units
 * in the last place of the exact result; tests/test_math.py measures them. NaN always gives NaN.
 * Coefficients: tools/fit_math.py, which prints these lines. */
#include <math.h>

/* exp(r) = 1 + r E(r) for |r| <= log(2)/2, error relative to exp(r): 2^-28.22 */
#define EXP_C1 0x1.fffffcp-2f
#define EXP_C2 0x1.55548cp-3f
#define EXP_C3 0x1.555858p-5f
#define EXP_C4 0x1.123ddep-7f
#define EXP_C5 0x1.6ac72p-10f
/* tanh(r) = r + r^3 T(r^2) for r <= log(2): 2^-25.33, at the end a ninth of that */
#define TANH_C0 -0x1.5554cep-2f
#define TANH_C1 0x1.10f486p-3f
#define TANH_C2 -0x1.b61eb8p-5f
#define TANH_C3 0x1.4613a8p-6f
#define TANH_C4 -0x1.465c34p-8f
/* 2 atanh(s) = 2 s + s^3 L(s^2) for s <= 1/3: 2^-27.73 */
#define LOG_C0 0x1.555502p-1f
#define LOG_C1 0x1.99d1cep-2f
#define LOG_C2 0x1.1ec006p-2f
#define LOG_C3 0x1.1ecba2p-2f
/* erf(x) = x + x S(x^2) for x <= 0.9: 2^-26.05 */
#define ERF_S0 0x1.06eba6p-3f
#define ERF_S1 -0x1.8126ecp-2f
#define ERF_S2 0x1.ce1b86p-4f
#define ERF_S3 -0x1.b69b96p-6f
#define ERF_S4 0x1.479c9ep-8f
#define ERF_S5 -0x1.3ba9cep-11f
/* erf(x) = 1 - exp(-G(x)) for 0.9 <= x <= 3.95: 2^-28.94 */
#define ERF_G0 0x1.5cc64ap-13f
#define ERF_G1 0x1.20b75cp0f
#define ERF_G2 0x1.462198p-1f
#define ERF_G3 0x1.aa741p-4f
#define ERF_G4 -0x1.6d9eap-6f
#define ERF_G5 0x1.91d04ep-9f
#define ERF_G6 -0x1.9fb716p-13f

/* 1.5 * 2^23: adding it rounds to the nearest integer (ties to even), which is then in the low
 * bits. A bias added to it arrives there too, and a shift makes a power of two of both. */
#define ROUND_TO_INT 0x1.8p23f
#define LOG2_E 0x1.715476p0f
/* log(2) in two parts; the first has 15 bits, so that its products with exponents are exact. */
#define LN2_HI 0x1.62e4p-1f
#define LN2_LO 0x1.7f7d1cp-20f
#define LN2 0x1.62e43p-1f

/* ---- exponentials ---------------------------------------------------------------------------- */

/* x = n log(2) + r. `power` holds n + bias in its low bits, ready for a shift by 23. */
typedef struct exp_parts {
    vi power;
    vf r;
} exp_parts;

/* Splits sign * x; the remainder is that of x, so sign * r. sign is 1 or -1, |x| < 2^15. */
VF_INLINE exp_parts exp_split(vf x, const float sign, const int bias)
{
    const vf shift = vf_set1(ROUND_TO_INT + (float)bias);
    vf t = vf_fma(x, vf_set1(sign * LOG2_E), shift);
    vf n = vf_sub(t, shift);
    vf r = vf_fma(n, vf_set1(-sign * LN2_HI), x);
    return (exp_parts){vf_bits(t), vf_fma(n, vf_set1(-sign * LN2_LO), r)};
}

/* (exp(sign * r) - 1) / (sign * r) */
VF_INLINE vf exp_slope(vf r, const float sign)
{
    vf r2 = vf_mul(r, r);
    vf low = vf_fma(vf_set1(sign * EXP_C1), r, vf_set1(1.0f));
    vf mid = vf_fma(vf_set1(sign * EXP_C3), r, vf_set1(EXP_C2));
    vf high = vf_fma(vf_set1(sign * EXP_C5), r, vf_set1(EXP_C4));
    return vf_fma(vf_fma(high, r2, mid), r2, low);
}

/* exp(x). Error <= 1.02; overflow gives infinity. 2^n goes on in two halves, so that a denormal
 * result is rounded once and the largest finite one is reached. */
VF_INLINE vf exp_f32(vf x)
{
    exp_parts e = exp_split(vf_min(vf_set1(89.0f), vf_max(vf_set1(-104.0f), x)), 1.0f, 254);
    vf value = vf_fma(e.r, exp_slope(e.r, 1.0f), vf_set1(1.0f));
    vi half = vi_sar(e.power, 1);
    vf first = vi_float(vi_shl(half, 23));
    vf second = vi_float(vi_shl(vi_sub(e.power, half), 23));
    return vf_mul(vf_mul(value, first), second);
}

/* exp(x) for x <= 0 or NaN: the bits of exp_f32 in four operations less. One constant factor can
 * undo a bias that keeps every power normal. */
VF_INLINE vf exp_nonpos_f32(vf x)
{
    exp_parts e = exp_split(vf_max(vf_set1(-104.0f), x), 1.0f, 127 + 64);
    vf s = vi_float(vi_shl(e.power, 23));
    vf value = vf_fma(vf_mul(s, e.r), exp_slope(e.r, 1.0f), s);
    return vf_mul(value, vf_set1(0x1p-64f));
}

/* exp(x) - 1. Error <= 2.6; -0 gives +0. Computed at half its size, so that the largest finite
 * results are reached. */
VF_INLINE vf expm1_f32(vf x)
{
    exp_parts e = exp_split(vf_min(vf_set1(89.0f), vf_max(vf_set1(-18.0f), x)), 1.0f, 126);
    vf s = vi_float(vi_shl(e.power, 23));
    vf half = vf_fma(vf_mul(s, e.r), exp_slope(e.r, 1.0f), vf_sub(s, vf_set1(0.5f)));
    return vf_add(half, half);
}

/* 1 / (1 + exp(-x)). Error <= 1.75, 0 <= result <= 1, one division, denormal results included.
 *
 * With exp(-x) = s + s r E, s = 2^n, the denominator is (1 + s) + s r E: the first sum is exact but
 * for |n| > 23, where `rest` is what it dropped, so only the last addition rounds visibly. All is
 * scaled by 2^-64, which keeps s and the denominator normal; the division removes it. */
VF_INLINE vf sigmoid_f32(vf x)
{
    const vf one = vf_set1(0x1p-64f);
    vf bounded = vf_min(vf_set1(18.0f), vf_max(vf_set1(-110.0f), x));
    exp_parts e = exp_split(bounded, -1.0f, 127 - 64);
    vf s = vi_float(vi_shl(e.power, 23));
    vf sum = vf_add(s, one);
    vf rest = vf_sub(one, vf_sub(sum, s));
    vf tail = vf_fnma(vf_mul(s, e.r), exp_slope(e.r, -1.0f), rest);
    return vf_div(one, vf_add(sum, tail));
}

/* tanh(x). Error <= 1.94, |result| <= 1, odd, -0 gives -0, one division.
 *
 * |x| = n log(4) + r with |r| <= log(2). For n = 0 the result is h = tanh(r). Otherwise, with
 * s = 16^n, it is 1 - 2 (1 - h) / ((s + 1) + (s - 1) h), where the subtraction from 1 makes errors
 * smaller. Both are b + (h - b) / d with b = min(n, 1) and d = ((s + 1) + (s - 1) h) / 2; d is 1
 * exactly for n = 0. The power arrives as s / 8, so the quotient is 4 times too large. log(4) needs
 * no second part: its error, 2^-28, is multiplied by 1 - tanh(x)^2. */
VF_INLINE vf tanh_f32(vf x)
{
    const vf shift = vf_set1(ROUND_TO_INT + 31.0f), eighth = vf_set1(0.125f);
    vf size = vf_min(vf_set1(10.0f), vf_abs(x));
    vf t = vf_fma(size, vf_set1(LOG2_E / 2), shift);
    vf n = vf_sub(t, shift);
    vf r = vf_fnma(n, vf_set1(2 * LN2), size);
    vf s = vi_float(vi_shl(vf_bits(t), 25));
    vf r2 = vf_mul(r, r);
    vf p = vf_fma(vf_set1(TANH_C4), r2, vf_set1(TANH_C3));
    p = vf_fma(vf_fma(p, r2, vf_set1(TANH_C2)), r2, vf_set1(TANH_C1));
    vf h = vf_fma(vf_mul(r, r2), vf_fma(p, r2, vf_set1(TANH_C0)), r);
    vf base = vf_min(n, vf_set1(1.0f));
    vf quotient = vf_div(vf_sub(h, base), vf_fma(vf_sub(s, eighth), h, vf_add(s, eighth)));
    return vf_copysign(vf_fma(quotient, vf_set1(0.25f), base), x);
}

/* ---- logarithms ------------------------------------------------------------------------------ */

/* s^3 L(s^2): what 2 atanh(s) is beyond 2 s. */
VF_INLINE vf atanh_tail(vf s)
{
    vf s2 = vf_mul(s, s);
    vf p = vf_fma(vf_set1(LOG_C3), s2, vf_set1(LOG_C2));
    p = vf_fma(vf_fma(p, s2, vf_set1(LOG_C1)), s2, vf_set1(LOG_C0));
    return vf_mul(vf_mul(s, s2), p);
}

/* log(1 + e) for 0 <= e <= 1, as 2 atanh(e / (2 + e)). Error <= 1.98. */
VF_INLINE vf log1p_unit_f32(vf e)
{
    vf s = vf_div(e, vf_add(e, vf_set1(2.0f)));
    return vf_add(vf_add(s, s), atanh_tail(s));
}

/* log(x): -infinity at +-0, NaN below 0, infinity at infinity. Error <= 1.98.
 * x = 2^n m with sqrt(1/2) <= m < sqrt(2), f = m - 1, log(m) = 2 atanh(f / (2 + f)). */
VF_INLINE vf log_f32(vf x)
{
    const vi root_half = vi_set1(0x3f3504f3), shift = vf_bits(vf_set1(ROUND_TO_INT));
    vm tiny = vf_lt(x, vf_set1(0x1p-126f));
    vi bits = vf_bits(vf_select(tiny, vf_mul(x, vf_set1(0x1p24f)), x));
    vi exponent = vi_sar(vi_sub(bits, root_half), 23);
    vf n = vf_sub(vi_float(vi_add(exponent, shift)), vf_set1(ROUND_TO_INT));
    n = vf_sub(n, vf_select(tiny, vf_set1(24.0f), vf_zero()));
    vf f = vf_sub(vi_float(vi_sub(bits, vi_shl(exponent, 23))), vf_set1(1.0f));
    vf s = vf_div(f, vf_add(f, vf_set1(2.0f)));
    vf low = vf_fma(n, vf_set1(LN2_LO), atanh_tail(s));
    vf value = vf_fma(n, vf_set1(LN2_HI), vf_add(vf_add(s, s), low));
    value = vf_select(vf_lt(x, vf_set1(INFINITY)), value, x);
    value = vf_select(vf_eq(x, vf_zero()), vf_set1(-INFINITY), value);
    return vf_select(vf_lt(x, vf_zero()), vf_set1(NAN), value);
}

/* ---- error function -------------------------------------------------------------------------- */

/* erf(x). Error <= 1.11, |result| <= 1, odd, -0 gives -0. */
VF_INLINE vf erf_f32(vf x)
{
    vf size = vf_min(vf_set1(3.95f), vf_abs(x)), x2 = vf_mul(size, size);
    vf p = vf_fma(vf_set1(ERF_S5), x2, vf_set1(ERF_S4));
    p = vf_fma(vf_fma(p, x2, vf_set1(ERF_S3)), x2, vf_set1(ERF_S2));
    p = vf_fma(vf_fma(p, x2, vf_set1(ERF_S1)), x2, vf_set1(ERF_S0));
    vf g = vf_fma(vf_set1(ERF_G6), size, vf_set1(ERF_G5));
    g = vf_fma(vf_fma(g, size, vf_set1(ERF_G4)), size, vf_set1(ERF_G3));
    g = vf_fma(vf_fma(g, size, vf_set1(ERF_G2)), size, vf_set1(ERF_G1));
    g = vf_fma(g, size, vf_set1(ERF_G0));
    vf large = vf_sub(vf_set1(1.0f), exp_nonpos_f32(vf_neg(g)));
    vf small = vf_fma(size, p, size);
    return vf_copysign(vf_select(vf_lt(size, vf_set1(0.9f)), small, large), x);
}
