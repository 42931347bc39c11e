/* NEON on 64-bit ARM: 32 registers of 4 lanes. */
#if !defined(__aarch64__)
#error "isa/neon.c is for 64-bit ARM"
#endif
#include "core/cpu.h"
#include "simd/neon.h"

#define ROW1_PANELS(gates) ((gates) > 2 ? 1 : (gates) == 2 ? 2 : 4)
#define ROW1_VECS 4
#define TILE_ROWS(gates) ((gates) == 4 ? 6 : (gates) == 3 ? 8 : (gates) == 2 ? 3 : 6)
#define TILE_PANELS(gates) 1
#define TILE_VECS(gates) ((gates) > 2 ? 1 : 4)
#define PREFETCH_BYTES 0
#define CONV_UNITS 4
#define CONV_VECS 4

#include "kernels/table.inc.h"

const struct rnne_kernels rnne_kernels_neon = {
    .name = "neon", .needs = RNNE_CPU_NEON, TABLE_ENTRIES};
