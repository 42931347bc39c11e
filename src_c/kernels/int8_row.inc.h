/* A row of floats to the integers that int8 matrices are multiplied with.
 *
 *   range = max |x|, or max(1, max |x|) where the caller knows |x| <= 1 to be usual
 *   A = round(x * (most / range)), ties to even     scale = range / most     (32639 or 127 is most)
 *
 * |A| <= most without a clamp: most / range is rounded once, so x * that is below most + 1/2.
 */

#define INT8_EXPONENTS 0x7f800000    /* bits of infinity: those of NaN are larger */
#define INT8_SMALLEST 0x1p-100f      /* rows below it are zeros */
#define INT8_ROUND 0x1.8p23f         /* added to a number below 2^22, leaves its nearest integer */

/* The bits of the largest magnitude, which order like the magnitudes themselves; NaN is largest. */
INLINE int32_t int8_largest(const float *x, size_t n)
{
    int32_t lane[RNNE_PANEL], most = 0;
    vi largest = vi_set1(0);
    size_t i = 0;
    for (; i + VF_LANES <= n; i += VF_LANES) {
        largest = vi_max(largest, vf_bits(vf_abs(vf_load(x + i))));
    }
    if (i < n) {
        largest = vi_max(largest, vf_bits(vf_abs(vf_load_n(x + i, n - i))));
    }
    vi_store_i32(lane, largest);
    for (int l = 0; l < VF_LANES; l++) {
        most = lane[l] > most ? lane[l] : most;
    }
    return most;
}

/* The integers of [begin, end) and their sum, padded with zeros to a multiple of 16. */
INLINE int32_t int8_write(unsigned char *row, const float *x, size_t begin, size_t end, float inverse,
                          const int BITS)
{
    const vf factor = vf_set1(inverse), rounder = vf_set1(INT8_ROUND);
    const vi zero = vf_bits(rounder);
    int32_t lane[RNNE_PANEL], sum = 0;
    vi total = vi_set1(0);
    size_t i = begin;
    for (; i + VF_LANES <= end; i += VF_LANES) {
        const vi a = vi_sub(vf_bits(vf_fma(vf_load(x + i), factor, rounder)), zero);
        dot_store(row, i, a, BITS);
        total = vi_add(total, a);
    }
    for (; i < end || i % RNNE_PANEL != 0; i += VF_LANES) {
        const vf last = i < end ? vf_load_n(x + i, end - i) : vf_zero();
        const vi a = vi_sub(vf_bits(vf_fma(last, factor, rounder)), zero);
        dot_store(row, i, a, BITS);
        total = vi_add(total, a);
    }
    vi_store_i32(lane, total);
    for (int l = 0; l < VF_LANES; l++) {
        sum += lane[l];
    }
    return sum;
}

INLINE void int8_fill(unsigned char *data, int32_t *sums, const float *x, size_t k, float inverse,
                      const int BITS)
{
    for (size_t begin = 0; begin < k; begin += RNNE_SUM_BLOCK, sums++) {
        const size_t end = k - begin < RNNE_SUM_BLOCK ? k : begin + RNNE_SUM_BLOCK;
        *sums = int8_write(data, x, begin, end, inverse, BITS);
    }
}

static void int8_zeros(unsigned char *data, size_t k, int bits)
{
    for (size_t i = 0; i < k || i % RNNE_PANEL != 0; i += VF_LANES) {
        if (bits == 16) {
            dot_store(data, i, vi_set1(0), 16);
        } else {
            dot_store(data, i, vi_set1(0), 8);
        }
    }
}

static void int8_quantize(const float *x, size_t k, int bits, int bounded, rnne_row *row)
{
    const int32_t bits_of_largest = int8_largest(x, k);
    const float most = bits == 16 ? RNNE_INT8_MOST : RNNE_INT8_FAST_MOST;
    unsigned char *data = (unsigned char *)row + rnne_row_head(k);
    float range, inverse;
    memcpy(&range, &bits_of_largest, sizeof range);
    range = bounded && range < 1.0f ? 1.0f : range;
    if (bits_of_largest >= INT8_EXPONENTS || range < INT8_SMALLEST) {
        /* NaN makes every output NaN; zeros add nothing. */
        row->scale = bits_of_largest >= INT8_EXPONENTS ? NAN : 0.0f;
        memset(row->sums, 0, rnne_row_head(k) - offsetof(rnne_row, sums));
        int8_zeros(data, k, bits);
        return;
    }
    row->scale = range / most;
    inverse = most / range;
    if (bits == 16) {
        int8_fill(data, row->sums, x, k, inverse, 16);
    } else {
        int8_fill(data, row->sums, x, k, inverse, 8);
    }
}
