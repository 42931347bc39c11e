/** Rows of a view: the elements of its last axes, in index order, for each place of the first ones.
 *
 * A row whose elements lie side by side is used where it is; any other is gathered into scratch. */
#ifndef RNNE_ROWS_H
#define RNNE_ROWS_H

#include "core/loop.h"

typedef struct rnne_rows {
    int64_t n;        /* elements of a row */
    int adjacent;     /* 1 where they lie side by side */
    rnne_view inside; /* the last axes */
    rnne_loop loop;   /* over them; back at its start after each row */
} rnne_rows;

/** The first axes of a view, without the last `count`. */
rnne_view rnne_rows_outer(const rnne_view *view, int64_t count);
/** Its last `count` axes, from its first element on. */
rnne_view rnne_rows_inner(const rnne_view *view, int64_t count);
void rnne_rows_start(rnne_rows *rows, const rnne_view *view, int64_t count);
/** The row that starts at `at`; `scratch` holds n elements of 4 bytes. */
const void *rnne_rows_read(rnne_rows *rows, const int32_t *at, int32_t *scratch);

#endif
