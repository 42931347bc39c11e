/* Dot products of four bytes on one lane of portable C: the specification of the other dot_*.h.
 * Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_DOT_SCALAR_H
#define RNNE_SIMD_DOT_SCALAR_H

#include "scalar.h"

#define DOT_PARTS(bits) (1 + 0 * (bits)) /* words hold either width */
#define DOT_BYTES(bits) 8
#define DOT_OFFSET 0

typedef const int16_t *da;
typedef const int8_t *dw;

VF_INLINE void dot_store(unsigned char *row, size_t k, vi a, const int bits)
{
    const int16_t word = (int16_t)a;
    (void)bits;
    memcpy(row + 2 * k, &word, sizeof word);
}
VF_INLINE da dot_row(const unsigned char *p) { return (const int16_t *)(const void *)p; }
VF_INLINE dw dot_weights(const int8_t *p) { return p; }
VF_INLINE vi dot(vi acc, da a, dw w)
{
    return acc + a[0] * w[0] + a[1] * w[1] + a[2] * w[2] + a[3] * w[3];
}

#endif
