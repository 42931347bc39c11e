/* int8 on AVX-512BW: 32 registers of 16 sums. */
#if !defined(__AVX512BW__) || !defined(__AVX512VL__) || defined(__AVX512VNNI__)
#error "isa/int8_avx512.c must be compiled with the flags of avx512"
#endif
#include "core/cpu.h"
#include "simd/dot_avx512.h"

#define ROW1_PANELS(sums) ((sums) == 4 ? 2 : (sums) > 1 ? 4 : 8)
#define ROW1_VECS 1
#define TILE_ROWS(sums) ((sums) == 3 ? 8 : 6)
#define TILE_PANELS(sums) ((sums) == 1 ? 4 : (sums) == 2 ? 2 : 1)
#define TILE_VECS(sums) 1
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_avx512 = {.name = "avx512", .needs = RNNE_CPU_AVX512, INT8_ENTRIES};
