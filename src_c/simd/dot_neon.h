/* Dot products of four bytes on AArch64: bytes are spread to words, of odd and of even k, and
 * multiplied as words. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_NEON_H
#define RNNE_SIMD_DOT_NEON_H

#include "neon.h"

#define DOT_PARTS(bits) (1 + 0 * (bits)) /* words hold either width */
#define DOT_BYTES(bits) 8
#define DOT_OFFSET 0

typedef struct dot_words {
    int16x8_t even, odd; /* of each unit: k and k + 2, k + 1 and k + 3 */
} dot_words;
typedef dot_words da;
typedef dot_words dw;

/* Four k as the words 0, 2, 1, 3. */
VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    const int16x4_t words = vmovn_s32(a);
    (void)bits;
    vst1_u8(row + 2 * k, vreinterpret_u8_s16(vuzp1_s16(words, vext_s16(words, words, 1))));
}
VF_INLINE da dot_row(const unsigned char *p)
{
    int32_t pairs[2];
    memcpy(pairs, p, sizeof pairs);
    return (da){vreinterpretq_s16_s32(vdupq_n_s32(pairs[0])),
                vreinterpretq_s16_s32(vdupq_n_s32(pairs[1]))};
}
VF_INLINE dw dot_weights(const int8_t *p)
{
    const int16x8_t w = vreinterpretq_s16_s8(vld1q_s8(p));
    return (dw){vshrq_n_s16(vshlq_n_s16(w, 8), 8), vshrq_n_s16(w, 8)};
}
VF_INLINE vi dot(vi acc, da a, dw w)
{
    int32x4_t low = vmull_s16(vget_low_s16(w.even), vget_low_s16(a.even));
    int32x4_t high = vmull_high_s16(w.even, a.even);
    low = vmlal_s16(low, vget_low_s16(w.odd), vget_low_s16(a.odd));
    return vaddq_s32(acc, vpaddq_s32(low, vmlal_high_s16(high, w.odd, a.odd)));
}

#endif
