/* Dot products of four bytes on AArch64 with the dot product extension: activations in a high and a
 * low byte, both signed. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_NEONDOT_H
#define RNNE_SIMD_DOT_NEONDOT_H

#include "neon.h"

#define DOT_PARTS(bits) ((bits) == 16 ? 2 : 1)
#define DOT_BYTES(bits) (4 * DOT_PARTS(bits))
#define DOT_OFFSET 0

typedef int8x16_t da;
typedef int8x16_t dw;

/* Four k as their high bytes, then their low bytes, which are in -128..127; with 8 bits, as bytes. */
VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    const int16x4_t words = vmovn_s32(a);
    const int16x4_t high = vshr_n_s16(vadd_s16(words, vdup_n_s16(128)), 8);
    const uint8x8_t bytes =
        vreinterpret_u8_s8(vmovn_s16(vcombine_s16(bits == 16 ? high : words, words)));
    if (bits == 16) {
        vst1_u8(row + 2 * k, bytes);
    } else {
        vst1_lane_u32((uint32_t *)(void *)(row + k), vreinterpret_u32_u8(bytes), 0);
    }
}
VF_INLINE da dot_row(const unsigned char *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
VF_INLINE dw dot_weights(const int8_t *p) { return vld1q_s8(p); }
VF_INLINE vi dot(vi acc, da a, dw w) { return vdotq_s32(acc, w, a); }

#endif
