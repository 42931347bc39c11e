/* Walking several strided views together. */
#include "core/loop.h"

int rnne_same_shape(const rnne_view *a, const rnne_view *b)
{
    if (!a || !b || a->rank != b->rank) {
        return 0;
    }
    for (int64_t axis = 0; axis < a->rank; axis++) {
        if (a->dim[axis] != b->dim[axis]) {
            return 0;
        }
    }
    return 1;
}

/* Append an axis, or join it with the one before when every view steps evenly over both. */
static void add_axis(rnne_loop *loop, const rnne_view *const *views, int64_t axis, int may_join)
{
    const int64_t n = views[0]->dim[axis], last = loop->rank - 1;
    int joins = may_join && last >= 0;
    for (int v = 0; v < loop->views && joins; v++) {
        joins = loop->stride[v][last] == views[v]->stride[axis] * n;
    }
    const int64_t to = joins ? last : loop->rank++;
    loop->dim[to] = joins ? loop->dim[to] * n : n;
    for (int v = 0; v < loop->views; v++) {
        loop->stride[v][to] = views[v]->stride[axis];
    }
}

int rnne_loop_start(rnne_loop *loop, const rnne_view *const *views, int n, int keep_last)
{
    const int64_t rank = views[0]->rank;
    *loop = (rnne_loop){.views = n, .inner = 1};
    if (rnne_view_count(views[0]) == 0) {
        return 0;
    }
    for (int64_t axis = 0; axis < rank; axis++) {
        const int last = keep_last && axis == rank - 1;
        if (views[0]->dim[axis] != 1 || last) {
            add_axis(loop, views, axis, !last);
        }
    }
    if (loop->rank > 0) {
        loop->rank--;
        loop->inner = loop->dim[loop->rank];
        for (int v = 0; v < n; v++) {
            loop->inner_stride[v] = loop->stride[v][loop->rank];
        }
    } else {
        for (int v = 0; v < n; v++) {
            loop->inner_stride[v] = 1;
        }
    }
    return 1;
}

int rnne_loop_next(rnne_loop *loop)
{
    for (int64_t axis = loop->rank - 1; axis >= 0; axis--) {
        loop->at[axis]++;
        for (int v = 0; v < loop->views; v++) {
            loop->offset[v] += loop->stride[v][axis];
        }
        if (loop->at[axis] < loop->dim[axis]) {
            return 1;
        }
        for (int v = 0; v < loop->views; v++) {
            loop->offset[v] -= loop->stride[v][axis] * loop->dim[axis];
        }
        loop->at[axis] = 0;
    }
    return 0;
}
