/* int8 on AMX: many rows in tiles, few rows as on AVX-512 VNNI, whose rows these are. */
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__)
#error "isa/int8_avx512amx.c must be compiled with the flags of avx512vnni"
#endif
#include <stddef.h>
#include <string.h>

#include "core/cpu.h"
#include "core/int8.h"
#include "simd/dot_avx512vnni.h"
#include "simd/tiles_amx.h"

#define FEW_ROWS rnne_int8_avx512vnni
#define INT8_PIECE_ROWS 32
#define INT8_PIECE_PANELS 16

#include "kernels/inline.inc.h"
#include "kernels/int8_tiles.inc.h"
#include "kernels/int8_linear.inc.h"

const rnne_int8 rnne_int8_avx512amx = {
    .name = "avx512amx", .needs = RNNE_CPU_AVX512_VNNI | RNNE_CPU_AMX_INT8, .many = 0.12,
    .quantize = int8_quantize, .accumulate = int8_accumulate, .linear = int8_linear};
