/* Convolutions as matrix products: what a position reads is a row of the product. Weights of integers
 * need it, because each of these rows has a scale of its own; a tap that reads padding is a 0 of its
 * row. For weights of floats it gives the bits of the convolution where no tap reads padding. */
#include <string.h>

#include "core/checked.h"
#include "core/int8.h"
#include "core/program.h"

#define POSITIONS 48 /* of one product of integers, of one row of outputs or several; floats: WINDOWS */
#define WINDOWS 16   /* gathered at a time: they stay in the cache until they are quantised */

/* Outputs that follow each other, and how many positions they are. */
typedef struct piece {
    float *y;
    size_t n;
} piece;

/* Positions whose rows are there and whose outputs are not: at the start of the working memory. */
typedef struct pending {
    size_t n, pieces;
    piece piece[POSITIONS];
} pending;

#define TAPS_AT (int64_t)((sizeof(pending) + 63) / 64 * 64)

/* The working memory, part after part. */
typedef struct places {
    int64_t taps, windows, rows, quantized, sums, total; /* where each starts, bytes */
    int64_t window, sum;                                 /* floats from one to the next */
} places;

static int64_t after(int64_t at, int64_t count, int64_t size, int *bad)
{
    *bad |= rnne_add_product(&at, count, size) || at > INT64_MAX / 2;
    return *bad ? 0 : rnne_align(at);
}

/* Windows are an odd number of cache lines apart, so that they do not share the same few sets. */
static places lay_out(int64_t k, int64_t units, int64_t taps)
{
    int bad = k > INT64_MAX / 2 || units > INT64_MAX / 2;
    places p = {.total = INT64_MAX};
    if (bad) {
        return p;
    }
    p.window = ((k + 15) / 16 | 1) * 16;
    p.sum = (units + RNNE_PANEL - 1) / RNNE_PANEL * RNNE_PANEL;
    p.taps = TAPS_AT;
    p.windows = after(p.taps, taps, sizeof(rnne_tap), &bad);
    p.rows = after(p.windows, rnne_product(p.window, WINDOWS), sizeof(float), &bad);
    p.quantized = after(p.rows, POSITIONS, sizeof(void *), &bad);
    p.sums = after(p.quantized, POSITIONS, rnne_int8_row_bytes(k), &bad);
    p.total = after(p.sums, rnne_product(p.sum, POSITIONS), sizeof(float), &bad);
    p.total = bad ? INT64_MAX : p.total;
    return p;
}

int64_t rnne_conv_rows_area(int64_t k, int64_t units, int64_t taps)
{
    return lay_out(k, units, taps).total;
}

/* All taps of the weights as one row of them, in their order; those that are missing count nowhere. */
static rnne_conv one_row(const rnne_conv *c, rnne_tap *taps)
{
    rnne_conv all = *c;
    all.n_cols = c->w_channel / RNNE_PANEL;
    all.cols = taps;
    memset(taps, 0, all.n_cols * sizeof *taps);
    for (size_t r = 0; r < c->n_rows; r++) {
        for (size_t t = 0; t < c->n_cols; t++) {
            const rnne_tap *row = &c->rows[r], *col = &c->cols[t];
            taps[(row->w + col->w) / RNNE_PANEL] =
                (rnne_tap){row->x + col->x, row->w + col->w, col->begin, col->end};
        }
    }
    return all;
}

/* 1 where the windows of positions [first, end) lie in the input as their rows would. */
static int lies_whole(const rnne_conv *c, size_t first, size_t end)
{
    int whole = c->channels == 1 || c->x_channel == (ptrdiff_t)c->n_cols;
    for (size_t t = 0; t < c->n_cols && whole; t++) {
        const rnne_tap *tap = &c->cols[t];
        whole = tap->x == c->cols[0].x + (ptrdiff_t)t && tap->begin <= first && tap->end >= end;
    }
    return whole;
}

/* What n <= WINDOWS positions from `first` on read, as rows of the product. */
static void fill_rows(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c,
                      size_t first, size_t n, const places *at, char *area, size_t row)
{
    const int whole = lies_whole(c, first, first + n);
    const float *x = (const float *)(area + at->windows);
    const size_t step = whole ? (size_t)c->x_step : (size_t)at->window;
    const void **rows = (const void **)(area + at->rows) + row;
    if (whole) {
        x = c->x + c->cols[0].x + (ptrdiff_t)first * c->x_step;
    } else {
        program->kernels->windows(c, first, n, (float *)(area + at->windows), step);
    }
    for (size_t i = 0; i < n; i++) {
        rows[i] = x + i * step;
        if (rnne_is_int8(m)) {
            char *to = area + at->quantized + (row + i) * rnne_row_bytes(m->k);
            rnne_int8_quantize(program, m, rows[i], 0, (rnne_row *)to);
            rows[i] = to;
        }
    }
}

/* The activation of n positions and their units where they belong. */
static void finish(const rnne_program *program, const rnne_conv *c, const piece *to, float *sums,
                   size_t step)
{
    const rnne_kernels *kernels = program->kernels;
    for (size_t i = 0; c->slope && i < to->n; i++) {
        kernels->binary(RNNE_PRELU, sums + i * step, 1, c->slope, 1, sums + i * step, 1, c->units);
    }
    if (!c->slope && c->act.id != RNNE_ACT_IDENTITY) {
        kernels->unary(c->act.id, c->act.alpha, c->act.beta, c->act.gamma, sums, sums, to->n * step);
    }
    if (c->y_step == 1) {
        kernels->transpose(sums, step, to->n, c->units, to->y, c->y_unit);
        return;
    }
    for (size_t i = 0; i < to->n; i++) {
        for (size_t u = 0; u < c->units; u++) {
            to->y[(ptrdiff_t)i * c->y_step + (ptrdiff_t)u * c->y_unit] = sums[i * step + u];
        }
    }
}

/* Positions whose rows have just been made; those that continue the last piece join it. */
static void append(pending *p, const rnne_conv *c, float *y, size_t n)
{
    piece *last = p->pieces > 0 ? &p->piece[p->pieces - 1] : NULL;
    if (last && last->y + (ptrdiff_t)last->n * c->y_step == y) {
        last->n += n;
    } else {
        p->piece[p->pieces++] = (piece){y, n};
    }
    p->n += n;
}

static void multiply(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c,
                     const places *at, char *area)
{
    pending *p = (pending *)(void *)area;
    float *out = (float *)(area + at->sums);
    const rnne_sums sums = {.n_rows = p->n, .end = m->panels, .start = m->bias,
                            .start_panel = RNNE_PANEL, .out = out, .out_panel = RNNE_PANEL,
                            .out_row = (size_t)at->sum, .rows = (void *)(area + at->rows)};
    if (rnne_is_int8(m)) {
        program->int8->accumulate(m, (void *)(area + at->rows), &sums);
    } else {
        program->kernels->accumulate(m, &sums);
    }
    for (size_t i = 0; i < p->pieces; i++) {
        finish(program, c, &p->piece[i], out, (size_t)at->sum);
        out += p->piece[i].n * (size_t)at->sum;
    }
    p->n = p->pieces = 0;
}

static places places_of(const rnne_matrix *m, const rnne_conv *c)
{
    return lay_out((int64_t)m->k, (int64_t)c->units, (int64_t)(c->w_channel / RNNE_PANEL));
}

rnne_tap *rnne_conv_rows_taps(void *area)
{
    return (rnne_tap *)(void *)((char *)area + TAPS_AT);
}

void rnne_conv_rows_begin(void *area)
{
    memset(area, 0, sizeof(pending));
}

void rnne_conv_rows(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c, size_t first,
                    size_t end, void *area)
{
    const places at = places_of(m, c);
    const rnne_conv all = one_row(c, rnne_conv_rows_taps(area));
    const size_t most = rnne_is_int8(m) ? POSITIONS : WINDOWS;
    pending *p = area;
    if (p->n > 0 && p->n + (end - first) > most) {
        multiply(program, m, c, &at, area); /* so that rows are not cut where vectors would be */
    }
    while (first < end) {
        const size_t room = most - p->n < WINDOWS ? most - p->n : WINDOWS;
        const size_t some = end - first < room ? end - first : room;
        fill_rows(program, m, &all, first, some, &at, area, p->n);
        append(p, c, c->y + (ptrdiff_t)first * c->y_step, some);
        first += some;
        if (p->n == most || (first == end && !rnne_is_int8(m))) {
            multiply(program, m, c, &at, area);
        }
    }
}

void rnne_conv_rows_end(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c, void *area)
{
    const places at = places_of(m, c);
    if (((pending *)area)->n > 0) {
        multiply(program, m, c, &at, area);
    }
}
