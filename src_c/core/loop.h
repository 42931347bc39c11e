/** Walking views of equal sizes together: adjacent axes that can be joined are, and what is left is
 * an odometer over outer axes around one inner run. */
#ifndef RNNE_LOOP_H
#define RNNE_LOOP_H

#include "core/program.h"

#define RNNE_LOOP_VIEWS 4

typedef struct rnne_loop {
    int views;
    int64_t rank; /* of the outer odometer */
    int64_t dim[RNNE_MAX_RANK], at[RNNE_MAX_RANK];
    int64_t stride[RNNE_LOOP_VIEWS][RNNE_MAX_RANK];
    int64_t offset[RNNE_LOOP_VIEWS]; /* of the current inner run, from each view's first element */
    int64_t inner, inner_stride[RNNE_LOOP_VIEWS];
} rnne_loop;

/** Start over views of identical sizes; 0 when there is nothing to visit. keep_last leaves the last
 * axis alone as the inner run. */
int rnne_loop_start(rnne_loop *loop, const rnne_view *const *views, int n, int keep_last);
/** Move to the next inner run; 0 at the end. */
int rnne_loop_next(rnne_loop *loop);

/** 1 when both views have the same rank and sizes. */
int rnne_same_shape(const rnne_view *a, const rnne_view *b);

#endif
