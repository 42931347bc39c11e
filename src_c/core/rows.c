/* Rows of views, gathered where they are scattered. */
#include "core/rows.h"

rnne_view rnne_rows_outer(const rnne_view *view, int64_t count)
{
    rnne_view outer = *view;
    outer.rank -= count;
    return outer;
}

rnne_view rnne_rows_inner(const rnne_view *view, int64_t count)
{
    rnne_view inner = *view;
    inner.rank = count;
    for (int64_t axis = 0; axis < count; axis++) {
        inner.dim[axis] = view->dim[view->rank - count + axis];
        inner.stride[axis] = view->stride[view->rank - count + axis];
    }
    return inner;
}

void rnne_rows_start(rnne_rows *rows, const rnne_view *view, int64_t count)
{
    rows->inside = rnne_rows_inner(view, count);
    rows->n = rnne_view_count(&rows->inside);
    const rnne_view *views[] = {&rows->inside};
    const int some = rnne_loop_start(&rows->loop, views, 1, 0);
    rows->adjacent = !some || (rows->loop.rank == 0 &&
                               (rows->loop.inner_stride[0] == 1 || rows->loop.inner == 1));
}

const void *rnne_rows_read(rnne_rows *rows, const int32_t *at, int32_t *scratch)
{
    if (rows->adjacent) {
        return at;
    }
    int32_t *to = scratch;
    do {
        for (int64_t i = 0; i < rows->loop.inner; i++) {
            *to++ = at[rows->loop.offset[0] + i * rows->loop.inner_stride[0]];
        }
    } while (rnne_loop_next(&rows->loop));
    return scratch;
}
