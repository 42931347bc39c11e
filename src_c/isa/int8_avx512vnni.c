/* int8 on AVX-512 VNNI: 32 registers of 16 sums. */
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__)
#error "isa/int8_avx512vnni.c must be compiled with the flags of avx512 and -mavx512vnni"
#endif
#include "core/cpu.h"
#include "simd/dot_avx512vnni.h"

#define ROW1_PANELS(sums) ((sums) == 8 ? 2 : (sums) > 2 ? 4 : 8)
#define ROW1_VECS 1
#define TILE_ROWS(sums) ((sums) == 8 ? 3 : (sums) == 6 ? 4 : (sums) == 3 ? 8 : 6)
#define TILE_PANELS(sums) ((sums) == 1 ? 4 : (sums) == 2 ? 2 : 1)
#define TILE_VECS(sums) 1
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_avx512vnni = {
    .name = "avx512vnni", .needs = RNNE_CPU_AVX512_VNNI, INT8_ENTRIES};
