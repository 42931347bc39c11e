/* Dot products of four bytes on AVX-512BW: bytes are spread to words, of odd and of even k, and
 * multiplied as words. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_AVX512_H
#define RNNE_SIMD_DOT_AVX512_H

#include "avx512.h"
#include "dot_words.h"

/* Four k as the words 0, 2, 1, 3. */
VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    const __m256i order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
    (void)bits;
    _mm256_storeu_si256((__m256i *)(row + 2 * k),
                        _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(a), order));
}
VF_INLINE dw dot_weights(const int8_t *p)
{
    const __m512i w = _mm512_loadu_si512(p);
    return (dw){_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), _mm512_srai_epi16(w, 8)};
}
VF_INLINE vi dot(vi acc, da a, dw w)
{
    return _mm512_add_epi32(acc, _mm512_add_epi32(_mm512_madd_epi16(w.even, a.even),
                                                  _mm512_madd_epi16(w.odd, a.odd)));
}

#endif
