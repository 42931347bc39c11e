/* One table of int8 products on cases from standard input: quantises rows, multiplies, writes float32
 * to standard output. Compiled once for each table, with INT8_SOURCE its file and INT8_TABLE its name.
 *
 * A case: ten int64 (gates, units, k, rows, 16 or 8 bits, bounded, whether there are zero points,
 * outputs a row asked of `linear`, first and last panel), then as packed: weights, scales, offsets,
 * zero points, biases; the rows. Its result: sums of all panels asked for, biases elsewhere; of a
 * matrix of one gate also the outputs of `linear`, n a row.
 */
#include INT8_SOURCE

#include "core/os.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { GATES, UNITS, K, ROWS, BITS, BOUNDED, ZERO, N, BEGIN, END, FIELDS };

static void *take(size_t size)
{
    void *data = malloc(size + 1); /* so that the sanitizer sees its end */
    if (!data || (size > 0 && fread(data, 1, size, stdin) != size)) {
        fprintf(stderr, "int8_products: the input ends early\n");
        exit(2);
    }
    return data;
}

/* aligned_alloc, exactly as large as asked. */
static unsigned char *room(size_t rows, size_t bytes)
{
    unsigned char *data = aligned_alloc(64, rows * bytes + 64);
    memset(data, 0xa5, rows * bytes + 64);
    return data;
}

static void products(const rnne_matrix *m, const int64_t *f, const float *x)
{
    const size_t n_rows = (size_t)f[ROWS], n = (size_t)f[N], row = m->gates * RNNE_PANEL;
    const size_t bytes = rnne_row_bytes(m->k), size = n_rows * m->panels * row;
    unsigned char *data = room(n_rows, bytes);
    const rnne_row **rows = malloc((n_rows + 1) * sizeof *rows);
    float **to = malloc((n_rows + 1) * sizeof *to), *out = malloc((size + 1) * sizeof *out);
    float *y = malloc((n_rows * n + 1) * sizeof *y);
    for (size_t r = 0; r < n_rows; r++) {
        INT8_TABLE.quantize(x + r * m->k, m->k, (int)f[BITS], (int)f[BOUNDED],
                            (rnne_row *)(data + r * bytes));
        rows[r] = (const rnne_row *)(data + r * bytes);
        to[r] = y + r * n;
        for (size_t p = 0; p < m->panels; p++) {
            memcpy(out + (p * n_rows + r) * row, m->bias + p * row, row * sizeof *out);
        }
    }
    const rnne_sums sums = {.n_rows = n_rows, .begin = (size_t)f[BEGIN], .end = (size_t)f[END],
                            .start = m->bias, .start_panel = row, .out = out,
                            .out_panel = n_rows * row, .out_row = row};
    INT8_TABLE.accumulate(m, rows, &sums);
    fwrite(out, sizeof *out, size, stdout);
    if (m->gates == 1) {
        INT8_TABLE.linear(m, rows, to, n_rows, n);
        fwrite(y, sizeof *y, n_rows * n, stdout);
    }
    free(data);
    free(rows);
    free(to);
    free(out);
    free(y);
}

int main(void)
{
    int64_t f[FIELDS];
    rnne_os_permit_tiles(); /* where there are none, no table of tiles is driven */
    while (fread(f, sizeof f, 1, stdin) == 1) {
        rnne_matrix m = {.type = f[BITS] == 16 ? RNNE_W_INT8 : RNNE_W_INT8_FAST,
                         .panels = (size_t)((f[UNITS] + RNNE_PANEL - 1) / RNNE_PANEL),
                         .gates = (size_t)f[GATES], .k = (size_t)f[K]};
        const size_t outputs = m.panels * m.gates * RNNE_PANEL;
        void *w = take(outputs * ((m.k + 3) / 4 * 4));
        float *scale = take(outputs * sizeof *scale);
        m.zero = f[ZERO] ? (const int32_t *)w : NULL; /* for the number of blocks */
        int32_t *offset = take(outputs * rnne_int8_blocks(&m) * sizeof *offset);
        int32_t *zero = take(f[ZERO] ? outputs * sizeof *zero : 0);
        float *bias = take(outputs * sizeof *bias);
        float *x = take((size_t)f[ROWS] * m.k * sizeof *x);
        m.w = w, m.scale = scale, m.offset = offset, m.bias = bias;
        m.zero = f[ZERO] ? zero : NULL;
        products(&m, f, x);
        free(w), free(scale), free(offset), free(zero), free(bias), free(x);
    }
    return 0;
}
