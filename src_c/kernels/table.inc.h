/* Everything an ISA file includes after its vector header and its block shapes. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/activation.h"
#include "core/kernels.h"
#include "kernels/math.inc.h"
#include "kernels/precise.inc.h"
#include "kernels/activation.inc.h"
#include "kernels/mac.inc.h"
#include "kernels/project.inc.h"
#include "kernels/cell.inc.h"
#include "kernels/cell_lstm.inc.h"
#include "kernels/cell_gru.inc.h"
#include "kernels/cell_rnn.inc.h"
#include "kernels/conv.inc.h"
#include "kernels/windows.inc.h"
#include "kernels/pool.inc.h"
#include "kernels/vector.inc.h"
#include "kernels/reduce.inc.h"
#include "kernels/measure.inc.h"

#define TABLE_ENTRIES                                                                              \
    .accumulate = accumulate, .widen = widen, .linear = linear,                                                          \
    .steps = {lstm_step, lstm_step_general, gru_after_step, gru_after_step_general,                \
              gru_gates_step, gru_gates_step_general, gru_candidate_step,                          \
              gru_candidate_step_general, rnn_step, rnn_step_general},                             \
    .conv = conv, .windows = windows, .transpose = transpose, .pool = pool, .unary = unary_f32, .binary = binary, .softmax = softmax,          \
    .reduce = reduce, .normalize = normalize, .has_subnormal = has_subnormal,                      \
    .flush_subnormal = flush_subnormal, .clamp = clamp, .settle = settle_states,                   \
    .read_floats = read_floats, .fma_chain = fma_chain
