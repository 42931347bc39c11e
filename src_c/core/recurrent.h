/** The recurrent instruction: operands, numbers and working memory.
 *
 * Operands (absent ones are -1): x [T,B,I]; packed input weights, bias, recurrent weights of all
 * directions; GRU reset-before candidate weights; GRU reset-after inner bias; LSTM peepholes;
 * packed projection and its bias; lengths int32 [B]; h0 [D,B,P]; c0 [D,B,H]; y [T,D,B,P]; h_n; c_n;
 * mask int32 [T,B]: 0 where a step of a row does not count; scale, offset and zero point of each of
 * the four matrices (matrix.h). The candidate's weights of a GRU may be apart in reset-after too.
 * Integers: cell, directions (bit 0 forward, bit 1 reverse), H, P, coupling, reset_after, for each
 * of two directions three activation ids, what y shows at a masked step (rnne_masked_output), 1 where
 * activations of integer weights have 8 bits.
 * Floats: clip, cell_clip, h_clip, proj_clip (infinity where absent), then alpha, beta, gamma of the
 * six activations.
 */
#ifndef RNNE_RECURRENT_H
#define RNNE_RECURRENT_H

#include "core/program.h"

enum {
    RX, RW, RBIAS, RR, RR_N, RB_RN, RPEEPHOLE, RPROJ, RPROJ_BIAS, RLENGTHS, RH0, RC0, RY, RH_N, RC_N,
    RMASK,
    RW_SCALE, RW_OFFSET, RW_ZERO, RR_SCALE, RR_OFFSET, RR_ZERO,
    RR_N_SCALE, RR_N_OFFSET, RR_N_ZERO, RPROJ_SCALE, RPROJ_OFFSET, RPROJ_ZERO
};
enum { R_OPERANDS = 28, R_INTS = 14, R_FLOATS = 22 };
enum { RI_MASKED = 12, RI_BITS = 13 };
enum { R_LSTM = 0, R_GRU = 1, R_RNN = 2 };

/** A masked step shows the output before it (zeros while there is none), or zeros. */
typedef enum rnne_masked_output { RNNE_MASKED_CARRY = 0, RNNE_MASKED_ZERO = 1 } rnne_masked_output;

/** Sizes of one execution, and where its working memory lies in the scratch area (bytes). */
typedef struct rnne_layer {
    int64_t steps, batch, inputs, hidden, out; /* T, B, I, H, P */
    int64_t gates, directions, panels, out_panels;
    int64_t kind, reset_after, has_reverse_first;
    int64_t apart; /* GRU: the candidate's recurrent weights are a matrix of their own */
    int64_t has_proj;
    double weight_cost; /* time of a product beside that of float32 weights */
    int64_t chunk_rows; /* rows of input projected at a time */
    int64_t workers;    /* threads worth using, at most */
    int64_t share;      /* of them, those worth using for one direction */
    int64_t sides;      /* directions under way at the same time */
    /* Working memory: of the whole layer; of each direction under way; of each thread. */
    int64_t order_at, length_at, count_at, side_at, own_at, bytes;
    int64_t track_at, xp_at, h_at, m_at, c_at, z_at, rh_at, inner_at, saved_at, side_bytes;
    int64_t rows_at, state_rows_at, area_at, input_area_at, from_at, to_at, seen_at, own_bytes;
} rnne_layer;

/** What is worked out once per set of sizes. A recurrent matrix that the step kernels cannot multiply
 * themselves (halves, a candidate apart in reset-after) is multiplied before them, and is empty (k 0) in
 * the cell that they see. */
typedef struct rnne_recurrent {
    rnne_layer layer;
    struct {
        rnne_cell cell;
        rnne_matrix r, r_n; /* multiplied before the step; k 0 where the step does it */
        rnne_matrix proj;
        rnne_step_fn *first, *second; /* second: GRU reset-before's candidate */
        int reverse, bounded;
    } sides[2];
} rnne_recurrent;

/** Read and check sizes; RNNE_E_SHAPE where operands disagree. */
rnne_status rnne_layer_read(const rnne_context *ctx, const rnne_instr *in, rnne_layer *layer);
/** Choose the threads, up to the context's, and lay out the working memory. */
rnne_status rnne_layer_place(const rnne_context *ctx, const rnne_instr *in, rnne_layer *layer);
/** Estimated work of one step in nanoseconds. */
double rnne_layer_step_cost(const rnne_layer *layer);
/** The cell of direction d, and its projection where it has one. */
void rnne_layer_cell(const rnne_context *ctx, const rnne_instr *in, const rnne_layer *layer,
                     int64_t d, rnne_cell *cell, rnne_matrix *proj);
/** 1 when the functions of the cell keep |h| within 1: int8 products then take h in a fixed range. */
int rnne_cell_is_bounded(const rnne_cell *cell, const rnne_layer *layer);
/** 1 when direction d needs the kernels that honour every option. */
int rnne_cell_is_general(const rnne_cell *cell, int64_t kind);

#endif
