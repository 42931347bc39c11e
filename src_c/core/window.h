/** Windows along one axis, worked out for the sizes bound: which taps count for which outputs.
 *
 * Output o of a convolution or pool reads elements o*stride - before + j*dilation, j = 0..kernel-1;
 * output o of a transposed convolution reads the elements i with i*stride - before + j*dilation = o.
 * What lies outside the axis is padding and is skipped. */
#ifndef RNNE_WINDOW_H
#define RNNE_WINDOW_H

#include "core/program.h"

/* Numbers of an instruction from which windows are read, and the largest of each. */
#define RNNE_WINDOW_INTS 8
#define RNNE_WINDOW_LIMIT (1 << 20)

typedef struct rnne_window {
    int64_t kernel, stride, dilation, before;
    int64_t size, outputs; /* of the axis */
    int transposed;
} rnne_window;

/** Read the windows of axes 2 and 3 (kernel, stride, dilation, before of each) from the integers of
 * an instruction, first one at `at`; x and y are [N, C, H, W]. Fails where a number is out of range or a
 * position could overflow. */
rnne_status rnne_windows_read(const rnne_context *ctx, const rnne_instr *in, int at, int transposed,
                              const rnne_view *x, const rnne_view *y, rnne_window windows[2]);

/** 1 where no tap of any output reads padding; 0 also for some windows of which that is true. */
static inline int rnne_window_inside(const rnne_window *w)
{
    return !w->transposed && w->before == 0 &&
           (w->outputs - 1) * w->stride + (w->kernel - 1) * w->dilation < w->size;
}

/** Taps of one output, in ascending order: x is the element it reads, times x_stride, and w the
 * number of the tap times w_stride. Returns how many there are. */
size_t rnne_window_taps(const rnne_window *w, int64_t output, int64_t x_stride, int64_t w_stride,
                        rnne_tap *taps);

/** How many of the outputs share one list of taps: every `phases`-th one. */
static inline int64_t rnne_window_phases(const rnne_window *w)
{
    return w->transposed && w->outputs > 1 ? (w->stride < w->outputs ? w->stride : w->outputs) : 1;
}

/** Taps of the outputs phase, phase + phases, ...: x is what output number 0 of them reads, begin
 * and end the ones that read inside the axis. *n: how many outputs they are. */
size_t rnne_window_phase(const rnne_window *w, int64_t phase, int64_t x_stride, int64_t w_stride,
                         rnne_tap *taps, size_t *n);

#endif
