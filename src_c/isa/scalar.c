/* The portable table, and the specification of the bits: fmaf, one lane at a time. */
#if defined(__AVX__)
#error "isa/scalar.c must be compiled at the baseline"
#endif
#include "simd/scalar.h"

#define ROW1_PANELS(gates) 1
#define ROW1_VECS 1
#define TILE_ROWS(gates) 2
#define TILE_PANELS(gates) 1
#define TILE_VECS(gates) 1
#define PREFETCH_BYTES 0
#define CONV_UNITS 4
#define CONV_VECS 1

#include "kernels/table.inc.h"

const struct rnne_kernels rnne_kernels_scalar = {.name = "scalar", .needs = 0, TABLE_ENTRIES};
