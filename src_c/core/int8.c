/* Rows quantised for int8 products, and products of matrices of any type with rows of floats. */
#include "core/int8.h"

#include "core/checked.h"
#include "core/program.h"

int64_t rnne_int8_row_bytes(int64_t k)
{
    return k < INT64_MAX / 4 ? (int64_t)rnne_row_bytes((size_t)k) : INT64_MAX;
}

int64_t rnne_int8_area(int64_t rows, int64_t k)
{
    const int64_t addresses = rnne_product(rows, sizeof(rnne_row *));
    int64_t total = addresses < INT64_MAX - 64 ? rnne_align(addresses) : INT64_MAX;
    return rnne_add_product(&total, rows, rnne_int8_row_bytes(k)) ? INT64_MAX : total;
}

void rnne_int8_quantize(const rnne_program *program, const rnne_matrix *m, const float *x, int bounded,
                        rnne_row *row)
{
    program->int8->quantize(x, m->k, m->type == RNNE_W_INT8 ? 16 : 8, bounded, row);
}

const rnne_row *const *rnne_int8_rows(const rnne_program *program, const rnne_matrix *m,
                                      const float *const *rows, size_t n_rows, int bounded,
                                      void *area)
{
    const rnne_row **quantized = area;
    char *at = (char *)area + rnne_align((int64_t)(n_rows * sizeof *quantized));
    for (size_t i = 0; i < n_rows; i++, at += rnne_row_bytes(m->k)) {
        rnne_int8_quantize(program, m, rows[i], bounded, (rnne_row *)at);
        quantized[i] = (const rnne_row *)at;
    }
    return quantized;
}

void rnne_linear(const rnne_program *program, const rnne_matrix *m, const float *const *rows,
                 float *const *out, size_t n_rows, size_t n, const rnne_act *act, void *area)
{
    if (!rnne_is_int8(m)) {
        program->kernels->linear(m, rows, out, n_rows, n, act);
        return;
    }
    program->int8->linear(m, rnne_int8_rows(program, m, rows, n_rows, 0, area), out, n_rows, n);
    for (size_t i = 0; i < n_rows && act->id != RNNE_ACT_IDENTITY; i++) {
        program->kernels->unary(act->id, act->alpha, act->beta, act->gamma, out[i], out[i], n);
    }
}
