/* What the positions of a convolution read, as rows of a matrix product; and rows turned to columns.
 *
 * Both read vectors along one side of a table and write it along the other, four at a time. */

/* One tap of `n` positions from `first` on, n <= VF_LANES; 0 where it does not count. */
INLINE vf tap_input(const float *x, ptrdiff_t step, const rnne_tap *tap, size_t first, size_t n)
{
    const size_t end = tap->end > first ? tap->end - first : 0;
    const size_t low = tap->begin > first ? tap->begin - first : 0, high = end < n ? end : n;
    const float *at = x + tap->x + (ptrdiff_t)first * step;
    if (low == 0 && high == VF_LANES) {
        return load_all(at, step);
    }
    if (low >= high) {
        return vf_zero();
    }
    return step == 1 ? vf_load_between(at, low, high) : load_part(at, step, low, high);
}

/* Lane i of four vectors to y[i * step], for n lanes. */
INLINE void store_columns(float *y, ptrdiff_t step, const vf *v, size_t n)
{
    float some[4 * VF_LANES];
    if (n == VF_LANES) {
        vf_store4(y, step, v[0], v[1], v[2], v[3]);
        return;
    }
    vf_store4(some, 4, v[0], v[1], v[2], v[3]);
    for (size_t i = 0; i < n; i++) {
        memcpy(y + (ptrdiff_t)i * step, some + 4 * i, 4 * sizeof *y);
    }
}

/* Positions side by side: n <= VF_LANES of them. */
static void windows_beside(const rnne_conv *c, size_t first, size_t n, float *out, size_t stride)
{
    const float *x = c->x;
    size_t tap = 0, channel = 0;
    for (size_t k = 0; channel < c->channels; k += 4) {
        vf v[4];
        UNROLL for (int i = 0; i < 4; i++)
        {
            v[i] = channel < c->channels ? tap_input(x, c->x_step, &c->cols[tap], first, n) : vf_zero();
            if (++tap == c->n_cols) {
                tap = 0;
                x += ++channel < c->channels ? c->x_channel : 0;
            }
        }
        store_columns(out + k, (ptrdiff_t)stride, v, n);
    }
}

/* One position by itself. */
static void window_alone(const rnne_conv *c, size_t position, float *out)
{
    const ptrdiff_t at = (ptrdiff_t)position * c->x_step;
    for (size_t t = 0; t < c->n_cols; t++) {
        const rnne_tap *tap = &c->cols[t];
        const int counts = tap->begin <= position && position < tap->end;
        for (size_t i = 0; i < c->channels; i++) {
            out[i * c->n_cols + t] = counts ? c->x[(ptrdiff_t)i * c->x_channel + at + tap->x] : 0.0f;
        }
    }
}

static void windows(const rnne_conv *c, size_t first, size_t n, float *out, size_t stride)
{
    size_t j = 0;
    const int beside = c->x_step <= c->x_channel; /* where neighbours lie nearer than channels */
    while (beside && j < n && (n - j >= (VF_LANES < 4 ? VF_LANES : 4))) {
        const size_t some = n - j < VF_LANES ? n - j : VF_LANES;
        windows_beside(c, first + j, some, out + j * stride, stride);
        j += some;
    }
    for (; j < n; j++) {
        window_alone(c, first + j, out + j * stride);
    }
}

static void transpose(const float *x, size_t x_row, size_t rows, size_t columns, float *y,
                      ptrdiff_t y_row)
{
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) {
        for (size_t i = 0; i < columns; i += VF_LANES) {
            const size_t left = columns - i, n = left < VF_LANES ? left : VF_LANES;
            vf v[4];
            UNROLL for (int q = 0; q < 4; q++)
            {
                v[q] = vf_load_n(x + (r + (size_t)q) * x_row + i, n);
            }
            store_columns(y + (ptrdiff_t)i * y_row + r, y_row, v, n);
        }
    }
    for (; r < rows; r++) {
        for (size_t i = 0; i < columns; i++) {
            y[(ptrdiff_t)i * y_row + (ptrdiff_t)r] = x[r * x_row + i];
        }
    }
}
