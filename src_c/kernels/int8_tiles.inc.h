/* Products of int8 matrices with many rows, on tiles of 16 rows x 16 units x 64 k.
 *
 * Rows are copied into tiles once for a block of k; then, for a few columns of weights at a time (a column
 * is one gate of one panel), all their tiles pass. Four sums are in registers: of 8 bits, four columns; of
 * 16 bits, two columns with the high and with the low bytes. Sums are exact, so the bits are those of every
 * other order. */

#define TILES_MIN_WORK 640       /* bytes of rows, below which tiles cost more than they save; nor do they
                                  * save with fewer columns of weights than are multiplied together */
#define TILES_PACKED (32 * 1024) /* bytes of rows copied at a time: within the nearest cache */
#define TILE_SUMS (TILE_BYTES / sizeof(int32_t))
#define TILE_FOURS (TILE_K / 4)
#define TILE_COLUMNS(bits) ((bits) == 16 ? (size_t)2 : (size_t)4)
#define TILE_PARTS(bits) ((bits) == 16 ? (size_t)2 : (size_t)1)
#define TILES_ALIGNED __attribute__((aligned(64)))

/* A product's rows [row, row + n), copied into tiles for one block of k. */
typedef struct tile_rows {
    size_t row, n;
    size_t height; /* rows of a tile */
    size_t fours;  /* of k in the block */
    size_t depth;  /* 64 k, the last of which may be fewer */
    unsigned char *packed; /* [n / height][depth][part][16][64] */
    float *scale;          /* of each row */
} tile_rows;

INLINE void tiles_pack(const tile_rows *t, const rnne_row *const *rows, size_t k, size_t begin,
                       const int BITS)
{
    const size_t bytes = DOT_BYTES(BITS), parts = TILE_PARTS(BITS), whole = t->fours / TILE_FOURS;
    for (size_t first = 0, block = 0; first < t->n; first += t->height, block++) {
        for (size_t line = 0; line < t->height; line++) {
            const size_t r = first + line < t->n ? first + line : t->n - 1; /* of what is missing, any row */
            const unsigned char *row = (const unsigned char *)rows[t->row + r] + rnne_row_head(k) +
                                       begin / 4 * bytes;
            unsigned char *to = t->packed + block * t->depth * parts * TILE_BYTES + line * TILE_K;
            t->scale[r] = rows[t->row + r]->scale;
            for (size_t d = 0; d < whole; d++, row += TILE_FOURS * bytes, to += parts * TILE_BYTES) {
                tiles_row(to, to + TILE_BYTES, row, TILE_FOURS, BITS);
            }
            if (whole < t->depth) {
                tiles_row(to, to + TILE_BYTES, row, t->fours % TILE_FOURS, BITS);
            }
        }
    }
}

/* One gate of one panel: its weights at the first k of the block, what its sums become outputs with. `rest`
 * is its last tile where that is not full: what lies behind it is not read, and not a zero. */
typedef struct tile_column {
    const int8_t *w;
    const float *scale, *from; /* from, to: of the product's first row */
    const int32_t *offset, *zero;
    float *to;
    int8_t rest[TILE_BYTES] TILES_ALIGNED;
} tile_column;

INLINE void tiles_column(tile_column *c, const rnne_matrix *m, const rnne_sums *s, rnne_depth span,
                         size_t panel, size_t gate)
{
    const size_t units = gate * RNNE_PANEL, lanes = panel * m->gates * RNNE_PANEL + units;
    const size_t stride = m->gates * TILE_K, fours = (span.end - span.begin + 3) / 4;
    const size_t whole = fours / TILE_FOURS * TILE_FOURS, rest = fours - whole;
    c->w = (const int8_t *)m->w + (panel * ((m->k + 3) / 4) + span.begin / 4) * stride + gate * TILE_K;
    c->scale = m->scale + lanes;
    c->zero = m->zero ? m->zero + lanes : NULL;
    c->offset = m->offset + (panel * rnne_int8_blocks(m) + span.number) * m->gates * RNNE_PANEL + units;
    c->to = s->out + panel * s->out_panel + units;
    c->from = span.number == 0 ? s->start + panel * s->start_panel + units : c->to;
    for (size_t f = 0; f < rest; f++) {
        memcpy(c->rest + f * TILE_K, c->w + (whole + f) * stride, TILE_K);
    }
    if (rest > 0) {
        memset(c->rest + rest * TILE_K, 0, TILE_BYTES - rest * TILE_K);
    }
}

/* Columns that are multiplied together. Of fewer than that, the last stands for those that are missing. */
typedef struct tile_columns {
    size_t n, stride;
    tile_column at[4];
} tile_columns;

INLINE void tiles_columns(tile_columns *c, const rnne_matrix *m, const rnne_sums *s, rnne_depth span,
                          size_t first, size_t end, const int BITS)
{
    size_t panel = first / m->gates, gate = first % m->gates;
    c->n = end - first < TILE_COLUMNS(BITS) ? end - first : TILE_COLUMNS(BITS);
    c->stride = m->gates * TILE_K;
    for (size_t i = 0; i < TILE_COLUMNS(BITS); i++) {
        tiles_column(&c->at[i], m, s, span, panel, gate);
        if (i + 1 < c->n && ++gate == m->gates) {
            panel++;
            gate = 0;
        }
    }
}

/* Sums of a block of rows and some columns: [column][part][16][16]. */
INLINE void tiles_sums(int32_t *sums, const tile_rows *t, const tile_columns *c, size_t block,
                       const int BITS)
{
    const size_t step = TILE_PARTS(BITS) * TILE_BYTES, whole = t->fours / TILE_FOURS;
    const unsigned char *a = t->packed + block * t->depth * step;
    const int8_t *w[4];
    tiles_zero();
    for (size_t d = 0; d < whole; d++, a += step) {
        for (size_t i = 0; i < TILE_COLUMNS(BITS); i++) {
            w[i] = c->at[i].w + d * TILE_FOURS * c->stride;
        }
        tiles_dot(a, w, c->stride, BITS);
    }
    if (whole < t->depth) {
        for (size_t i = 0; i < TILE_COLUMNS(BITS); i++) {
            w[i] = c->at[i].rest;
        }
        tiles_dot(a, w, TILE_K, BITS);
    }
    tiles_store(sums);
}

/* Zero points times the sums of the rows, taken off the (low) sums. */
static void tiles_zero_points(int32_t *sums, const int32_t *zero, const rnne_row *const *rows, size_t n,
                              size_t block)
{
    for (size_t r = 0; r < n; r++, sums += RNNE_PANEL) {
        for (int v = 0; v < RNNE_PANEL; v += VF_LANES) {
            const vi taken = vi_mul(vi_load_i32(zero + v), vi_set1(rows[r]->sums[block]));
            vi_store_i32(sums + v, vi_sub(vi_load_i32(sums + v), taken));
        }
    }
}

/* Outputs of one column and the rows [row, row + n) of a product, from their exact sums. */
INLINE void tiles_outputs(const tile_column *c, const rnne_sums *s, int first_block, size_t row, size_t n,
                          const int32_t *sums, const float *scales, const int BITS)
{
    const size_t from_row = first_block ? s->start_row : s->out_row, to_row = s->out_row;
    UNROLL for (int v = 0; v < RNNE_PANEL; v += VF_LANES)
    {
        const vi offset = vi_load_i32(c->offset + v);
        const vf scale = vf_load(c->scale + v);
        const float *from = c->from + row * from_row + v;
        float *to = c->to + row * to_row + v;
        for (size_t r = 0; r < n; r++, from += from_row, to += to_row) {
            const int32_t *at = sums + r * RNNE_PANEL + (size_t)v;
            vi sum = vi_add(vi_load_i32(at), offset);
            if (BITS == 16) {
                sum = vi_add(vi_shl(sum, 8), vi_load_i32(at + TILE_SUMS));
            }
            vf_store(to, vf_fma(vi_to_float(sum), vf_mul(scale, vf_set1(scales[r])), vf_load(from)));
        }
    }
}

/* All columns of the panels asked for. */
INLINE void tiles_group(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s,
                        rnne_depth span, const tile_rows *t, const int BITS)
{
    const size_t begin = s->begin * m->gates, end = s->end * m->gates, most = TILE_COLUMNS(BITS);
    const size_t groups = (end - begin + most - 1) / most;
    int32_t sums[4 * TILE_SUMS] TILES_ALIGNED;
    tile_columns c;
    for (size_t i = 0; i < groups; i++) {
        tiles_columns(&c, m, s, span, begin + most * (s->backwards ? groups - 1 - i : i), end, BITS);
        for (size_t row = 0, block = 0; row < t->n; row += t->height, block++) {
            const size_t n = t->n - row < t->height ? t->n - row : t->height;
            tiles_sums(sums, t, &c, block, BITS);
            for (size_t k = 0; k < c.n; k++) {
                int32_t *own = sums + k * TILE_PARTS(BITS) * TILE_SUMS;
                if (m->zero) {
                    tiles_zero_points(own + (TILE_PARTS(BITS) - 1) * TILE_SUMS, c.at[k].zero,
                                      rows + t->row + row, n, span.number);
                }
                tiles_outputs(&c.at[k], s, span.number == 0, t->row + row, n, own, t->scale + row, BITS);
            }
        }
    }
}

INLINE void tiles_span(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s,
                       rnne_depth span, const int BITS)
{
    unsigned char packed[TILES_PACKED] TILES_ALIGNED;
    float scale[TILES_PACKED / TILE_K];
    const size_t blocks = (s->n_rows + TILE_ROWS_MOST - 1) / TILE_ROWS_MOST;
    tile_rows t = {.fours = (span.end - span.begin + 3) / 4, .packed = packed, .scale = scale};
    t.height = (s->n_rows + blocks - 1) / blocks;
    t.depth = (t.fours + TILE_FOURS - 1) / TILE_FOURS;
    const size_t most = TILES_PACKED / (TILE_PARTS(BITS) * TILE_BYTES * t.depth) * t.height;
    tiles_begin((int)t.height);
    for (; t.row < s->n_rows; t.row += most) {
        t.n = s->n_rows - t.row < most ? s->n_rows - t.row : most;
        tiles_pack(&t, rows, m->k, span.begin, BITS);
        tiles_group(m, rows, s, span, &t, BITS);
    }
    tiles_end();
}

static void int8_accumulate(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s)
{
    const int bits = m->type == RNNE_W_INT8 ? 16 : 8;
    const size_t columns = (s->end - s->begin) * m->gates;
    if (s->n_rows < 2 || s->n_rows * m->k * TILE_PARTS(bits) < TILES_MIN_WORK ||
        columns < TILE_COLUMNS(bits)) {
        FEW_ROWS.accumulate(m, rows, s);
        return;
    }
    for (rnne_depth span = rnne_int8_depth(m, 0); span.begin < m->k;
         span = rnne_int8_depth(m, span.number + 1)) {
        if (bits == 16) {
            tiles_span(m, rows, s, span, 16);
        } else {
            tiles_span(m, rows, s, span, 8);
        }
    }
}

static void int8_quantize(const float *x, size_t k, int bits, int bounded, rnne_row *row)
{
    FEW_ROWS.quantize(x, k, bits, bounded, row);
}
