/* int8 on AVX2: 16 registers of 8 sums. */
#if !defined(__AVX2__) || !defined(__FMA__) || defined(__AVX512F__) || defined(__AVXVNNI__)
#error "isa/int8_avx2.c must be compiled with -mavx2 -mfma and no more"
#endif
#include "core/cpu.h"
#include "simd/dot_avx2.h"

#define ROW1_PANELS(sums) ((sums) > 2 ? 1 : (sums) == 2 ? 2 : 4)
#define ROW1_VECS 2
#define TILE_ROWS(sums) ((sums) == 3 ? 4 : 3)
#define TILE_PANELS(sums) ((sums) == 1 ? 2 : 1)
#define TILE_VECS(sums) ((sums) < 3 ? 2 : 1)
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_avx2 = {
    .name = "avx2", .needs = RNNE_CPU_AVX2 | RNNE_CPU_FMA, INT8_ENTRIES};
