/* Everything an int8 file includes after its dot products and its block shapes. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/int8.h"
#include "kernels/mac.inc.h"
#include "kernels/int8_row.inc.h"
#include "kernels/int8.inc.h"

#define INT8_PIECE_ROWS 24
#define INT8_PIECE_PANELS 4
#include "kernels/int8_linear.inc.h"

#define INT8_ENTRIES .quantize = int8_quantize, .accumulate = int8_accumulate, .linear = int8_linear
