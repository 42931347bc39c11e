/* int8 on NEON with the dot product extension: 32 registers of 4 sums. */
#if !defined(__aarch64__) || !defined(__ARM_FEATURE_DOTPROD)
#error "isa/int8_neondot.c must be compiled with -march=armv8.2-a+dotprod"
#endif
#include "core/cpu.h"
#include "simd/dot_neondot.h"

#define ROW1_PANELS(sums) ((sums) > 2 ? 1 : (sums) == 2 ? 2 : 4)
#define ROW1_VECS 2
#define TILE_ROWS(sums) ((sums) == 8 ? 3 : (sums) == 6 ? 4 : (sums) == 4 ? 6 : (sums) == 3 ? 8 : (sums) == 2 ? 3 : 6)
#define TILE_PANELS(sums) 1
#define TILE_VECS(sums) ((sums) > 2 ? 1 : 4)
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_neondot = {
    .name = "neondot", .needs = RNNE_CPU_NEON | RNNE_CPU_DOTPROD, INT8_ENTRIES};
