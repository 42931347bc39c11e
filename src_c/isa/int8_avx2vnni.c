/* int8 on AVX-VNNI: 16 registers of 8 sums. */
#if !defined(__AVX2__) || !defined(__FMA__) || defined(__AVX512F__) || !defined(__AVXVNNI__)
#error "isa/int8_avx2vnni.c must be compiled with -mavx2 -mfma -mavxvnni and no more"
#endif
#include "core/cpu.h"
#include "simd/dot_avx2vnni.h"

#define ROW1_PANELS(sums) ((sums) > 4 ? 1 : (sums) > 2 ? 1 : (sums) == 2 ? 2 : 4)
#define ROW1_VECS 1
#define TILE_ROWS(sums) ((sums) == 8 ? 1 : (sums) == 6 ? 2 : (sums) == 3 ? 4 : 3)
#define TILE_PANELS(sums) ((sums) == 1 ? 2 : 1)
#define TILE_VECS(sums) ((sums) < 3 ? 2 : 1)
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_avx2vnni = {
    .name = "avx2vnni", .needs = RNNE_CPU_AVX2 | RNNE_CPU_FMA | RNNE_CPU_AVX_VNNI, INT8_ENTRIES};
