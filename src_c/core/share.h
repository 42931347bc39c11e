/** Work that falls into pieces of any order, shared by whoever comes.
 *
 * Every thread has a range of the pieces to begin with and takes them from the front; one that is done
 * takes pieces from the back of the others' ranges. A worker that wakes late, or never, so leaves its
 * pieces to the rest.
 */
#ifndef RNNE_SHARE_H
#define RNNE_SHARE_H

#include "core/program.h"

/** Do pieces [begin, end) as thread number `worker`. */
typedef void rnne_pieces(void *argument, int worker, int64_t begin, int64_t end);

/** Do `count` pieces, on up to `workers` threads of this run's crew. */
void rnne_share_out(const rnne_context *ctx, rnne_pieces *pieces, void *argument, int64_t count,
                    int64_t workers);

/** What is done with views of equal sizes, element by element or row by row. */
typedef void rnne_elements(const rnne_context *ctx, const rnne_instr *in,
                           const rnne_view *const *views);

/** Do it with the views (RNNE_LOOP_VIEWS at most) whole, or slices of them on several threads where
 * that many nanoseconds are worth it. keep_last: rows along the last axis stay whole. */
void rnne_share_elements(const rnne_context *ctx, const rnne_instr *in, rnne_elements *run,
                         const rnne_view *const *views, int n, int keep_last, double nanoseconds);

#endif
