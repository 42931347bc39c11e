/* Linear layers on the sums of int8_accumulate, which the file that includes this one has. Outputs are made
 * in pieces of INT8_PIECE_ROWS rows and INT8_PIECE_PANELS panels, which that file states too, so that they
 * need not lie as sums do. */

#define INT8_PIECE_UNITS ((size_t)(INT8_PIECE_PANELS * RNNE_PANEL))

static void int8_linear(const rnne_matrix *m, const rnne_row *const *rows, float *const *out,
                        size_t n_rows, size_t n)
{
    float piece[INT8_PIECE_ROWS * INT8_PIECE_PANELS * RNNE_PANEL];
    for (size_t first = 0; first < n; first += INT8_PIECE_UNITS) {
        const size_t some = n - first < INT8_PIECE_UNITS ? n - first : INT8_PIECE_UNITS;
        const size_t begin = first / RNNE_PANEL, end = begin + (some + RNNE_PANEL - 1) / RNNE_PANEL;
        for (size_t row = 0; row < n_rows; row += INT8_PIECE_ROWS) {
            const size_t left = n_rows - row;
            const rnne_sums sums = {.n_rows = left < INT8_PIECE_ROWS ? left : INT8_PIECE_ROWS,
                                    .begin = begin, .end = end, .start = m->bias,
                                    .start_panel = RNNE_PANEL, .out = piece - first,
                                    .out_panel = RNNE_PANEL, .out_row = INT8_PIECE_UNITS};
            int8_accumulate(m, rows + row, &sums);
            for (size_t r = 0; r < sums.n_rows; r++) {
                memcpy(out[row + r] + first, piece + r * INT8_PIECE_UNITS, some * sizeof(float));
            }
        }
    }
}
