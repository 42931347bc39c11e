/* AVX2 with FMA and F16C: 16 registers of 8 lanes. */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__) || defined(__AVX512F__)
#error "isa/avx2.c must be compiled with -mavx2 -mfma -mf16c and no more"
#endif
#include "core/cpu.h"
#include "simd/avx2.h"

#define ROW1_PANELS(gates) ((gates) == 4 ? 1 : (gates) == 3 ? 2 : (gates) == 2 ? 2 : 4)
#define ROW1_VECS 2
#define TILE_ROWS(gates) ((gates) == 4 ? 3 : (gates) == 3 ? 4 : 6)
#define TILE_PANELS(gates) ((gates) == 1 ? 2 : 1)
#define TILE_VECS(gates) 1
#define PREFETCH_BYTES 2048
#define CONV_UNITS 4
#define CONV_VECS 2

#include "kernels/table.inc.h"

const struct rnne_kernels rnne_kernels_avx2 = {
    .name = "avx2", .needs = RNNE_CPU_AVX2 | RNNE_CPU_FMA | RNNE_CPU_F16C, TABLE_ENTRIES};
