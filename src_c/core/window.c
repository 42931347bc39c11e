/* Windows that slide along an axis; see window.h. */
#include "core/window.h"

#include "core/checked.h"

/* Numbers small enough that positions, and floats from the first to any of them, fit 64 bits. */
static int window_ok(const rnne_window *w, int64_t x_stride, int64_t y_stride)
{
    int64_t reach = w->before, floats = 0;
    return w->kernel >= 1 && w->kernel <= RNNE_WINDOW_LIMIT && w->stride >= 1 &&
           w->stride <= INT32_MAX && w->dilation >= 1 && w->dilation <= INT32_MAX &&
           w->before >= 0 && w->before <= INT64_MAX / 4 && w->size <= INT64_MAX / 4 &&
           !rnne_add_product(&reach, w->outputs, w->stride) &&
           !rnne_add_product(&reach, w->kernel, w->dilation) &&
           !rnne_add_product(&reach, w->size, w->stride) &&
           !rnne_add_product(&floats, reach, x_stride) && floats > INT64_MIN / 4 &&
           floats < INT64_MAX / 4 && !rnne_add_product(&floats, reach, y_stride);
}

rnne_status rnne_windows_read(const rnne_context *ctx, const rnne_instr *in, int at, int transposed,
                              const rnne_view *x, const rnne_view *y, rnne_window windows[2])
{
    for (int axis = 0; axis < 2; axis++) {
        const int first = at + 4 * axis;
        windows[axis] = (rnne_window){
            rnne_int(ctx, in, first),     rnne_int(ctx, in, first + 1), rnne_int(ctx, in, first + 2),
            rnne_int(ctx, in, first + 3), x->dim[2 + axis],             y->dim[2 + axis],
            transposed};
        if (!window_ok(&windows[axis], x->stride[2 + axis], y->stride[2 + axis])) {
            return RNNE_E_SHAPE;
        }
    }
    return RNNE_OK;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a <= 0 ? 0 : b == 1 ? a : (a + b - 1) / b;
}

static size_t clamp_to(int64_t value, size_t low, size_t high)
{
    return value <= (int64_t)low ? low : value >= (int64_t)high ? high : (size_t)value;
}

size_t rnne_window_taps(const rnne_window *w, int64_t output, int64_t x_stride, int64_t w_stride,
                        rnne_tap *taps)
{
    size_t count = 0;
    for (int64_t j = 0; j < w->kernel; j++) {
        int64_t at = w->transposed ? output + w->before - j * w->dilation
                                   : output * w->stride - w->before + j * w->dilation;
        if (w->transposed && w->stride > 1) {
            at = at % w->stride == 0 ? at / w->stride : -1;
        }
        if (at >= 0 && at < w->size) {
            taps[count++] = (rnne_tap){at * x_stride, j * w_stride, 0, 1};
        }
    }
    return count;
}

size_t rnne_window_phase(const rnne_window *w, int64_t phase, int64_t x_stride, int64_t w_stride,
                         rnne_tap *taps, size_t *n)
{
    const int64_t step = w->transposed ? 1 : w->stride, every = w->transposed ? w->stride : 1;
    const size_t outputs = (size_t)ceil_div(w->outputs - phase, every);
    size_t count = 0;
    for (int64_t j = 0; j < w->kernel; j++) {
        int64_t start = j * w->dilation - w->before;
        if (w->transposed) {
            start = phase - start;
            if (w->stride > 1 && start % w->stride != 0) {
                continue;
            }
            start /= w->stride;
        }
        const size_t begin = clamp_to(ceil_div(-start, step), 0, outputs);
        const size_t end = clamp_to(ceil_div(w->size - start, step), begin, outputs);
        if (begin < end) {
            taps[count++] = (rnne_tap){start * x_stride, j * w_stride, begin, end};
        }
    }
    *n = outputs;
    return count;
}
