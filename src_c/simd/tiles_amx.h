/* Products of blocks of bytes in the tile registers of AMX. Contract of each name: README.md beside this
 * file. Written out in assembly: compilers know nothing of what these instructions read from memory. */
#ifndef RNNE_SIMD_TILES_AMX_H
#define RNNE_SIMD_TILES_AMX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "avx512.h"

#define TILE_ROWS_MOST ((size_t)16)
#define TILE_K ((size_t)64)
#define TILE_BYTES ((size_t)1024)

/* Registers 0 to 3 hold sums, 4 and 5 activations, 6 and 7 weights. */
VF_INLINE void tiles_begin(int rows)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        shape.row_bytes[i] = 64;
        shape.rows[i] = i < 6 ? (uint8_t)rows : 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(shape) : "memory");
}

VF_INLINE void tiles_end(void) { __asm__ volatile("tilerelease" : : : "memory"); }

VF_INLINE void tiles_zero(void)
{
    __asm__ volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3"
                     : : : "memory");
}

/* Sums += 64 k of activations times those of weights, of which each 4 k of 16 units lie `stride` bytes
 * apart. With 8 bits a is one tile, and the sums are of w[0] to w[3]; with 16 bits it is two, high bytes
 * before low ones, and the sums are of w[0] high and low, then of w[1]. */
VF_INLINE void tiles_dot(const unsigned char *a, const int8_t *const *w, size_t stride, const int BITS)
{
    if (BITS == 16) {
        __asm__ volatile("tileloadd (%0,%4,1), %%tmm4\n\t"
                         "tileloadd (%1,%3,1), %%tmm6\n\t"
                         "tdpbusd %%tmm6, %%tmm4, %%tmm0\n\t"
                         "tileloadd 1024(%0,%4,1), %%tmm5\n\t"
                         "tdpbusd %%tmm6, %%tmm5, %%tmm1\n\t"
                         "tileloadd (%2,%3,1), %%tmm7\n\t"
                         "tdpbusd %%tmm7, %%tmm4, %%tmm2\n\t"
                         "tdpbusd %%tmm7, %%tmm5, %%tmm3"
                         : : "r"(a), "r"(w[0]), "r"(w[1]), "r"(stride), "r"((size_t)64) : "memory");
    } else {
        __asm__ volatile("tileloadd (%0,%6,1), %%tmm4\n\t"
                         "tileloadd (%1,%5,1), %%tmm6\n\t"
                         "tdpbusd %%tmm6, %%tmm4, %%tmm0\n\t"
                         "tileloadd (%2,%5,1), %%tmm7\n\t"
                         "tdpbusd %%tmm7, %%tmm4, %%tmm1\n\t"
                         "tileloadd (%3,%5,1), %%tmm6\n\t"
                         "tdpbusd %%tmm6, %%tmm4, %%tmm2\n\t"
                         "tileloadd (%4,%5,1), %%tmm7\n\t"
                         "tdpbusd %%tmm7, %%tmm4, %%tmm3"
                         : : "r"(a), "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "r"(stride),
                           "r"((size_t)64) : "memory");
    }
}

VF_INLINE void tiles_store(int32_t *sums)
{
    __asm__ volatile("tilestored %%tmm0, (%0,%1,1)\n\t"
                     "tilestored %%tmm1, 1024(%0,%1,1)\n\t"
                     "tilestored %%tmm2, 2048(%0,%1,1)\n\t"
                     "tilestored %%tmm3, 3072(%0,%1,1)"
                     : : "r"(sums), "r"((size_t)64) : "memory");
}

/* One row of 64 k, of which the last may be missing: `fours` groups of four are there, the rest become
 * zeros. of 16 bits, the high bytes to a0 and the low ones to a1; of 8 bits, all to a0. */
VF_INLINE void tiles_row(unsigned char *a0, unsigned char *a1, const unsigned char *row, size_t fours,
                         const int BITS)
{
    const size_t n = BITS == 16 ? 2 * fours : fours;
    const __mmask16 first = (__mmask16)(n < 16 ? (1u << n) - 1 : 0xffff);
    const __m512i low = _mm512_maskz_loadu_epi32(first, row);
    if (BITS == 8) {
        _mm512_store_si512(a0, low);
        return;
    }
    const __mmask16 second = (__mmask16)(n <= 16 ? 0 : n < 32 ? (1u << (n - 16)) - 1 : 0xffff);
    const __m512i high = _mm512_maskz_loadu_epi32(second, row + 64);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    _mm512_store_si512(a0, _mm512_permutex2var_epi32(low, even, high));
    _mm512_store_si512(a1, _mm512_permutex2var_epi32(low, odd, high));
}

#endif
