/* AVX-512: 32 registers of 16 lanes. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "isa/avx512.c must be compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma"
#endif
#include "core/cpu.h"
#include "simd/avx512.h"

#define ROW1_PANELS(gates) ((gates) == 4 ? 2 : (gates) == 3 ? 3 : (gates) == 2 ? 4 : 8)
#define ROW1_VECS 1
#define TILE_ROWS(gates) ((gates) == 3 ? 8 : 6)
#define TILE_PANELS(gates) ((gates) == 1 ? 4 : (gates) == 2 ? 2 : 1)
#define TILE_VECS(gates) 1
#define PREFETCH_BYTES 2048
#define CONV_UNITS 8
#define CONV_VECS 3

#include "kernels/table.inc.h"

const struct rnne_kernels rnne_kernels_avx512 = {
    .name = "avx512", .needs = RNNE_CPU_AVX512 | RNNE_CPU_FMA, TABLE_ENTRIES};
