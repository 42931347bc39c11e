/* int8 on NEON of 64-bit ARM: 32 registers of 4 sums. */
#if !defined(__aarch64__) || defined(__ARM_FEATURE_DOTPROD)
#error "isa/int8_neon.c is for 64-bit ARM without the dot product extension"
#endif
#include "core/cpu.h"
#include "simd/dot_neon.h"

#define ROW1_PANELS(sums) ((sums) > 2 ? 1 : (sums) == 2 ? 2 : 4)
#define ROW1_VECS 4
#define TILE_ROWS(sums) ((sums) == 4 ? 4 : (sums) == 3 ? 6 : (sums) == 2 ? 2 : 4)
#define TILE_PANELS(sums) 1
#define TILE_VECS(sums) ((sums) > 2 ? 1 : 4)
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_neon = {.name = "neon", .needs = RNNE_CPU_NEON, INT8_ENTRIES};
