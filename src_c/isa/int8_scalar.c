/* int8 in portable C, and the specification of the bits: one lane at a time. */
#if defined(__AVX__)
#error "isa/int8_scalar.c must be compiled at the baseline"
#endif
#include "simd/dot_scalar.h"

#define ROW1_PANELS(sums) 1
#define ROW1_VECS 1
#define TILE_ROWS(sums) 2
#define TILE_PANELS(sums) 1
#define TILE_VECS(sums) 1
#define PREFETCH_BYTES 0

#include "kernels/int8_table.inc.h"

const rnne_int8 rnne_int8_scalar = {.name = "scalar", .needs = 0, INT8_ENTRIES};
