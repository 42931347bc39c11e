/* Dot products of four bytes on AVX-VNNI: activations unsigned, 128 above their value, in a high and
 * a low byte. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_AVX2VNNI_H
#define RNNE_SIMD_DOT_AVX2VNNI_H

#include <string.h>

#include "avx2.h"

#define DOT_PARTS(bits) ((bits) == 16 ? 2 : 1)
#define DOT_BYTES(bits) (4 * DOT_PARTS(bits))
#define DOT_OFFSET 1

typedef __m256i da;
typedef __m256i dw;

/* Four k as their high bytes + 128, then their low bytes; with 8 bits, as bytes + 128. */
VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    const __m128i words =
        _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packs_epi32(a, a), 0x08));
    if (bits == 16) {
        const __m128i order = _mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14);
        const __m128i top = _mm_set1_epi64x(INT64_C(0x80808080));
        _mm_storeu_si128((__m128i *)(row + 2 * k), _mm_xor_si128(_mm_shuffle_epi8(words, order), top));
    } else {
        const __m128i bytes = _mm_packs_epi16(words, words);
        _mm_storel_epi64((__m128i *)(row + k), _mm_xor_si128(bytes, _mm_set1_epi8(-128)));
    }
}
VF_INLINE da dot_row(const unsigned char *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}
VF_INLINE dw dot_weights(const int8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
/* Written out, because gcc moves the accumulators of the intrinsic around. */
VF_INLINE vi dot(vi acc, da a, dw w)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(w));
    return acc;
}

#endif
