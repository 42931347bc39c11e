/** Packed matrices as operands of instructions: weights of any type, and what belongs to them.
 *
 * The type of a matrix is the element type of its weights' buffer. Matrices of several directions
 * follow each other in every operand. Weights that are no float32 are constants, always.
 */
#ifndef RNNE_MATRIX_H
#define RNNE_MATRIX_H

#include "core/program.h"

/** Where the operands of a matrix stand in an instruction. Scales, offsets and zero points belong to
 * integer weights; any other type has none of them. */
typedef struct rnne_matrix_at {
    int weights, scale, offset, zero;
    int bits; /* integer of the instruction: 1 where activations of integer weights have 8 bits */
} rnne_matrix_at;

typedef struct rnne_matrix_size {
    int64_t directions, panels, gates, k;
} rnne_matrix_size;

/** Elements of the weights of one direction; INT64_MAX where that does not fit. */
int64_t rnne_matrix_elements(rnne_dtype dtype, const rnne_matrix_size *size);
/** 1 when all operands of the matrix are there, of the right types and exactly of that size. */
int rnne_matrix_fits(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                     const rnne_matrix_size *size);
/** Direction d of a matrix that fits; its bias is not set. */
rnne_matrix rnne_matrix_read(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                             const rnne_matrix_size *size, int64_t d);
/** Panels [begin, end) of a matrix, as a matrix. */
rnne_matrix rnne_matrix_part(const rnne_matrix *m, size_t begin, size_t end);
/** Bytes of its weights. */
double rnne_matrix_bytes(const rnne_matrix *m);

#endif
