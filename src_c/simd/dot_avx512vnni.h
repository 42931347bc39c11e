/* Dot products of four bytes on AVX-512 VNNI: activations unsigned, 128 above their value, in a high
 * and a low byte. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_AVX512VNNI_H
#define RNNE_SIMD_DOT_AVX512VNNI_H

#include <string.h>

#include "avx512.h"

#define DOT_PARTS(bits) ((bits) == 16 ? 2 : 1)
#define DOT_BYTES(bits) (4 * DOT_PARTS(bits))
#define DOT_OFFSET 1

typedef __m512i da;
typedef __m512i dw;

/* Four k as their high bytes + 128, then their low bytes; with 8 bits, as bytes + 128. */
VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    if (bits == 16) {
        const __m256i order = _mm256_broadcastsi128_si256(
            _mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, 9, 11, 13, 15, 8, 10, 12, 14));
        const __m256i bytes = _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(a), order);
        _mm256_storeu_si256((__m256i *)(row + 2 * k),
                            _mm256_xor_si256(bytes, _mm256_set1_epi64x(INT64_C(0x80808080))));
    } else {
        _mm_storeu_si128((__m128i *)(row + k),
                         _mm_xor_si128(_mm512_cvtepi32_epi8(a), _mm_set1_epi8(-128)));
    }
}
VF_INLINE da dot_row(const unsigned char *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}
VF_INLINE dw dot_weights(const int8_t *p) { return _mm512_loadu_si512(p); }
/* Written out, because gcc moves the accumulators of the intrinsic around. */
VF_INLINE vi dot(vi acc, da a, dw w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(w));
    return acc;
}

#endif
