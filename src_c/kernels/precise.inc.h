/* Functions that are rare in networks: one element at a time in float64, rounded once to float32.
 *
 * Only additions, products, quotients, square roots and integers, so every table computes the same
 * bits. Errors of the float64 part are below 2^-40 of the result, so results are within 0.51 ULP.
 * NaN gives NaN; arguments outside a function's domain do too. */

#define PI_2 0x1.921fb54442d18p+0
/* pi / 2 in three parts, of which the first two have 25 bits, so that products with integers below
 * 2^27 are exact. */
#define PI_2_A 0x1.921fb5p+0
#define PI_2_B 0x1.110b46p-26
#define PI_2_C 0x1.1a62633145c07p-54
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
/* log(2) in two parts, the first of 32 bits. */
#define LOG2_A 0x1.62e42feep-1
#define LOG2_B 0x1.a39ef35793c76p-33
#define PER_LOG2 0x1.71547652b82fep+0
#define TO_INTEGER 0x1.8p52

static double bits_f64(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t f64_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double polynomial(double x, const double *c, int n)
{
    double sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--) {
        sum = sum * x + c[i];
    }
    return sum;
}

/* ---- exponential and logarithm -------------------------------------------------------------------- */

/* exp(x) for |x| <= 700; further out what it is there. */
static double exp_f64(double x)
{
    static const double c[] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040,
                               1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800};
    const double bounded = x > 700.0 ? 700.0 : x < -700.0 ? -700.0 : x;
    const double n = (bounded * PER_LOG2 + TO_INTEGER) - TO_INTEGER;
    const double r = (bounded - n * LOG2_A) - n * LOG2_B;
    if (x != x) {
        return x;
    }
    return polynomial(r, c, 12) * bits_f64((uint64_t)((int64_t)n + 1023) << 52);
}

/* 2 atanh(s) for |s| <= 0.18 */
static double atanh2_f64(double s)
{
    static const double c[] = {2.0,      2.0 / 3,  2.0 / 5,  2.0 / 7, 2.0 / 9,
                               2.0 / 11, 2.0 / 13, 2.0 / 15, 2.0 / 17};
    return s * polynomial(s * s, c, 9);
}

/* log(x) of a normal number, 0 or infinity; NaN below 0. */
static double log_f64(double x)
{
    if (!(x > 0.0) || x > 0x1.fffffffffffffp1023) {
        return x == 0.0 ? -INFINITY : x > 0.0 ? x : NAN;
    }
    const uint64_t root_half = 0x3fe6a09e667f3bcd;
    const int64_t n = (int64_t)(f64_bits(x) - root_half) >> 52;
    const double m = bits_f64(f64_bits(x) - ((uint64_t)n << 52));
    const double whole = (double)n;
    return whole * LOG2_A + (atanh2_f64((m - 1.0) / (m + 1.0)) + whole * LOG2_B);
}

/* log(1 + x) */
static double log1p_f64(double x)
{
    return x > -0.25 && x < 0.4 ? atanh2_f64(x / (2.0 + x)) : log_f64(1.0 + x);
}

/* ---- trigonometric functions ---------------------------------------------------------------------- */

/* x = quadrant pi / 2 + r for |x| >= 2^27: 2/pi to as many bits as decide, in integers. */
static double reduce_large(float x, int *quadrant)
{
    static const uint32_t two_over_pi[] = {0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                           0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561};
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const int e = (int)(bits >> 23 & 0xff) - 150; /* |x| = m 2^e, e >= 4 */
    const uint64_t m = (bits & 0x7fffff) | 0x800000;
    const int word = (e - 2) / 32, shift = (e - 2) % 32;
    /* 96 bits of 2/pi: those before are multiples of 4 in the product, those after do not matter. */
    uint64_t part[3];
    for (int i = 0; i < 3; i++) {
        const uint64_t pair = (uint64_t)two_over_pi[word + i] << 32 | two_over_pi[word + i + 1];
        part[i] = pair << shift >> 32;
    }
    const uint64_t low = m * part[2] >> 32;
    const uint64_t middle = m * part[1] + low;
    const uint64_t top = (m * part[0] << 32) + middle; /* 2 bits of quadrant, 62 of fraction */
    const uint64_t rounded = top + ((uint64_t)1 << 61);
    const int64_t fraction = (int64_t)(top << 2); /* of a turn through one quadrant, signed */
    *quadrant = (int)(rounded >> 62);
    const double r = (double)fraction * 0x1p-64 * PI_2;
    *quadrant = bits >> 31 ? 4 - *quadrant : *quadrant;
    return bits >> 31 ? -r : r;
}

/* x = quadrant pi / 2 + r with |r| <= pi / 4. */
static double reduce_angle(float x, int *quadrant)
{
    const double wide = x;
    if (wide >= 0x1p27 || wide <= -0x1p27) {
        return reduce_large(x, quadrant);
    }
    const double n = (wide * TWO_OVER_PI + TO_INTEGER) - TO_INTEGER;
    *quadrant = (int)((int64_t)n & 3);
    return ((wide - n * PI_2_A) - n * PI_2_B) - n * PI_2_C;
}

static double sin_reduced(double r)
{
    static const double c[] = {1.0,           -1.0 / 6,       1.0 / 120,       -1.0 / 5040,
                               1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800};
    return r * polynomial(r * r, c, 7);
}

static double cos_reduced(double r)
{
    static const double c[] = {1.0,           -1.0 / 2,      1.0 / 24,       -1.0 / 720,
                               1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200};
    return polynomial(r * r, c, 8);
}

/* sin(x + turns pi / 2) */
static double sin_turned(float x, int turns)
{
    int quadrant;
    if (!(x - x == 0.0f)) {
        return NAN;
    }
    const double r = reduce_angle(x, &quadrant);
    const int at = quadrant + turns;
    const double value = at & 1 ? cos_reduced(r) : sin_reduced(r);
    return at & 2 ? -value : value;
}

/* The sign of a zero is that of x. */
static float sin_one(float x)
{
    return x == 0.0f ? x : (float)sin_turned(x, 0);
}

static float cos_one(float x)
{
    return (float)sin_turned(x, 1);
}

static float tan_one(float x)
{
    return x == 0.0f ? x : (float)(sin_turned(x, 0) / sin_turned(x, 1));
}

/* atan(x) for x >= 0 or NaN: halved twice, then the series for at most tan(pi / 16). */
static double atan_f64(double x)
{
    static const double c[] = {1.0,       -1.0 / 3, 1.0 / 5,   -1.0 / 7, 1.0 / 9,
                               -1.0 / 11, 1.0 / 13, -1.0 / 15, 1.0 / 17, -1.0 / 19};
    double t = x > 1.0 ? 1.0 / x : x;
    t = t / (1.0 + sqrt(1.0 + t * t));
    t = t / (1.0 + sqrt(1.0 + t * t));
    const double angle = 4.0 * t * polynomial(t * t, c, 10);
    return x > 1.0 ? PI_2 - angle : angle;
}

static float atan_one(float x)
{
    return copysignf((float)atan_f64(fabs((double)x)), x);
}

static float asin_one(float x)
{
    const double size = fabs((double)x);
    return copysignf((float)atan_f64(size / sqrt((1.0 - size) * (1.0 + size))), x);
}

static float acos_one(float x)
{
    const double wide = x;
    return (float)(2.0 * atan_f64(sqrt((1.0 - wide) / (1.0 + wide))));
}

/* ---- hyperbolic functions ------------------------------------------------------------------------- */

static float sinh_one(float x)
{
    static const double c[] = {1.0, 1.0 / 6, 1.0 / 120, 1.0 / 5040, 1.0 / 362880, 1.0 / 39916800,
                               1.0 / 6227020800};
    const double wide = x, e = exp_f64(wide);
    if (wide > -1.0 && wide < 1.0) {
        return x == 0.0f ? x : (float)(wide * polynomial(wide * wide, c, 7));
    }
    return (float)(0.5 * (e - 1.0 / e));
}

static float cosh_one(float x)
{
    const double e = exp_f64((double)x);
    return (float)(0.5 * (e + 1.0 / e));
}

static float asinh_one(float x)
{
    const double size = fabs((double)x);
    const double root = sqrt(1.0 + size * size);
    const double value = log1p_f64(size + size * (size / (1.0 + root)));
    return copysignf((float)(size > 0x1p127 * 2.0 ? size : value), x);
}

static float acosh_one(float x)
{
    const double less = (double)x - 1.0;
    return less >= 0.0 ? (float)log1p_f64(less + sqrt(less * ((double)x + 1.0))) : NAN;
}

static float atanh_one(float x)
{
    const double size = fabs((double)x);
    return size > 1.0 ? NAN : copysignf((float)(0.5 * log1p_f64(2.0 * size / (1.0 - size))), x);
}

/* ---- powers --------------------------------------------------------------------------------------- */

/* 2 for an even integer, 1 for an odd one, 0 for anything else. */
static int parity(float y)
{
    const float size = fabsf(y);
    if (size >= 0x1p24f) {
        return 2;
    }
    const int32_t whole = (int32_t)size;
    return (float)whole != size ? 0 : whole & 1 ? 1 : 2;
}

/* x^y as IEEE 754 defines pow. */
static __attribute__((unused)) float pow_one(float x, float y)
{
    if (y == 0.0f || x == 1.0f) {
        return 1.0f;
    }
    if (x != x || y != y) {
        return NAN;
    }
    const int kind = parity(y);
    const double size = fabs((double)x);
    const int negative = copysignf(1.0f, x) < 0.0f;
    if (negative && kind == 0 && size > 0.0 && size < INFINITY) {
        return NAN;
    }
    double value;
    if (size == 1.0) {
        value = 1.0;
    } else if (size == 0.0 || size > 0x1p128 || fabsf(y) > 0x1.fffffep127f) {
        value = (size > 1.0) == (y > 0.0f) ? INFINITY : 0.0;
    } else {
        value = exp_f64((double)y * log_f64(size));
    }
    return (float)(negative && kind == 1 ? -value : value);
}

/* ---- one vector ----------------------------------------------------------------------------------- */

static __attribute__((noinline, unused)) vf vf_each(vf x, float (*function)(float))
{
    float lanes[VF_LANES];
    vf_store(lanes, x);
    for (int i = 0; i < VF_LANES; i++) {
        lanes[i] = function(lanes[i]);
    }
    return vf_load(lanes);
}
