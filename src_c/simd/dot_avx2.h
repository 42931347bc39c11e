/* Dot products of four bytes on AVX2: bytes are spread to words, of odd and of even k, and multiplied
 * as words. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_AVX2_H
#define RNNE_SIMD_DOT_AVX2_H

#include "avx2.h"
#include "dot_words.h"

/* Four k as the words 0, 2, 1, 3. */
VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, a), 0x08);
    (void)bits;
    _mm_storeu_si128((__m128i *)(row + 2 * k), _mm_shuffle_epi8(_mm256_castsi256_si128(words), order));
}
VF_INLINE dw dot_weights(const int8_t *p)
{
    const __m256i w = _mm256_loadu_si256((const __m256i *)p);
    return (dw){_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), _mm256_srai_epi16(w, 8)};
}
VF_INLINE vi dot(vi acc, da a, dw w)
{
    return _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(w.even, a.even),
                                                  _mm256_madd_epi16(w.odd, a.odd)));
}

#endif
