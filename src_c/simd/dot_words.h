/* What dot products share on AVX2 and AVX-512BW, where bytes are spread to words, of odd and of even k:
 * the rows. Included after the vector header. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_WORDS_H
#define RNNE_SIMD_DOT_WORDS_H

#include <string.h>

#define DOT_PARTS(bits) (1 + 0 * (bits)) /* words hold either width */
#define DOT_BYTES(bits) 8
#define DOT_OFFSET 0

typedef struct dot_words {
    vi even, odd; /* of each unit: k and k + 2, k + 1 and k + 3 */
} dot_words;
typedef dot_words da;
typedef dot_words dw;

VF_INLINE da dot_row(const unsigned char *p)
{
    int32_t pairs[2];
    memcpy(pairs, p, sizeof pairs);
    return (da){vi_set1(pairs[0]), vi_set1(pairs[1])};
}

#endif
