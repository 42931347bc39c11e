/* Convolutions of int8 weights: the window of each position is gathered into a row, quantised, and
 * multiplied as the rows of a matrix product are. A tap that reads padding is a 0 of its row. */
#include <string.h>

#include "core/checked.h"
#include "core/int8.h"
#include "core/program.h"

#define POSITIONS 32 /* gathered before they are multiplied */

typedef struct places {
    int64_t window, rows, out, total;
} places;

static places lay_out(int64_t k, int64_t units)
{
    places p = {0};
    int bad = rnne_add_product(&p.rows, k, sizeof(float));
    p.rows = bad || p.rows > INT64_MAX / 4 ? INT64_MAX / 4 : rnne_align(p.rows);
    const int64_t area = rnne_int8_area(POSITIONS, k);
    p.out = area > INT64_MAX / 4 ? INT64_MAX / 2 : p.rows + area;
    p.out = rnne_align(p.out);
    p.total = p.out;
    bad |= rnne_add_product(&p.total, POSITIONS * (int64_t)sizeof(float), units) ||
           rnne_add_product(&p.total, POSITIONS, sizeof(float *)) || p.total > INT64_MAX / 2;
    p.total = bad ? INT64_MAX : p.total;
    return p;
}

int64_t rnne_int8_conv_area(int64_t k, int64_t units)
{
    return lay_out(k, units).total;
}

/* What position j reads, k in the order of the weights. */
static void gather(const rnne_conv *c, size_t j, size_t k, float *row)
{
    const size_t taps = c->w_channel / RNNE_PANEL;
    const float *x = c->x + (ptrdiff_t)j * c->x_step;
    memset(row, 0, k * sizeof *row);
    for (size_t r = 0; r < c->n_rows; r++) {
        for (size_t t = 0; t < c->n_cols; t++) {
            const rnne_tap *col = &c->cols[t];
            const float *from = x + c->rows[r].x + col->x;
            float *to = row + (c->rows[r].w + col->w) / RNNE_PANEL;
            for (size_t i = 0; i < c->channels && col->begin <= j && j < col->end; i++) {
                to[i * taps] = from[(ptrdiff_t)i * c->x_channel];
            }
        }
    }
}

/* The activation of one position, and its units where they belong. */
static void finish(const rnne_program *p, const rnne_conv *c, float *sums, size_t j)
{
    float *y = c->y + (ptrdiff_t)j * c->y_step;
    if (c->slope) {
        p->kernels->binary(RNNE_PRELU, sums, 1, c->slope, 1, sums, 1, c->units);
    } else if (c->act.id != RNNE_ACT_IDENTITY) {
        p->kernels->unary(c->act.id, c->act.alpha, c->act.beta, c->act.gamma, sums, sums, c->units);
    }
    for (size_t u = 0; u < c->units; u++) {
        y[(ptrdiff_t)u * c->y_unit] = sums[u];
    }
}

void rnne_int8_conv(const rnne_program *program, const rnne_matrix *m, const rnne_conv *c, void *area)
{
    const places at = lay_out((int64_t)m->k, (int64_t)c->units);
    float *window = area, *sums = (float *)((char *)area + at.out);
    const rnne_row **rows = (const rnne_row **)((char *)area + at.rows);
    char *quantized = (char *)rows + rnne_align(POSITIONS * (int64_t)sizeof *rows);
    float **out = (float **)(sums + POSITIONS * c->units);
    for (size_t first = 0; first < c->n; first += POSITIONS) {
        const size_t some = c->n - first < POSITIONS ? c->n - first : POSITIONS;
        for (size_t i = 0; i < some; i++) {
            rows[i] = (rnne_row *)(quantized + i * rnne_row_bytes(m->k));
            out[i] = sums + i * c->units;
            gather(c, first + i, m->k, window);
            program->int8->quantize(window, m->k, m->type == RNNE_W_INT8 ? 16 : 8, 0,
                                    (rnne_row *)(quantized + i * rnne_row_bytes(m->k)));
        }
        program->int8->linear(m, rows, out, some, c->units);
        for (size_t i = 0; i < some; i++) {
            finish(program, c, out[i], first + i);
        }
    }
}
