/* Products of int8 matrices with many rows, on tiles of 16 rows x 16 units x 64 k.
 *
 * Rows are copied into tiles once for a block of k; then, for a few columns of weights at a time (a column
 * is one gate of one panel), all their tiles pass. Four sums are in registers: of 8 bits, four columns; of
 * 16 bits, two columns with the high and with the low bytes. Sums are exact, so the bits are those of every
 * other order. */

#define TILES_MIN_WORK 640       /* bytes of rows, below which tiles cost more than they save */
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
} tile_rows;

INLINE void tiles_pack(const tile_rows *t, const rnne_row *const *rows, size_t k, size_t begin,
                       const int BITS)
{
    const size_t bytes = DOT_BYTES(BITS), parts = TILE_PARTS(BITS);
    const size_t lines = (t->n + t->height - 1) / t->height * t->height;
    for (size_t r = 0; r < lines; r++) {
        const int here = r < t->n;
        const unsigned char *row = (const unsigned char *)rows[t->row + (here ? r : 0)] +
                                   rnne_row_head(k) + begin / 4 * bytes;
        unsigned char *to = t->packed + r / t->height * t->depth * parts * TILE_BYTES +
                            r % t->height * TILE_K;
        for (size_t left = t->fours; left > 0; row += TILE_FOURS * bytes, to += parts * TILE_BYTES) {
            const size_t fours = left < TILE_FOURS ? left : TILE_FOURS;
            tiles_row(to, to + TILE_BYTES, row, here ? fours : 0, BITS);
            left -= fours;
        }
    }
}

/* Columns of weights, moved to the first k; `rest` are their last tiles where those are not full: what
 * lies behind them is not read, and not a zero. */
typedef struct tile_columns {
    size_t first, n; /* a column's number is panel * gates + gate */
    size_t stride;
    const int8_t *w[4];
    int8_t rest[4][TILE_BYTES] TILES_ALIGNED;
} tile_columns;

/* Where column number i of a group of columns lies at k = begin. Of fewer columns than are multiplied at a
 * time, the last stands for those that are missing. */
INLINE const int8_t *tiles_column(const rnne_matrix *m, size_t first, size_t n, size_t i, size_t begin)
{
    const size_t column = first + (i < n ? i : n - 1);
    return (const int8_t *)m->w + column % m->gates * TILE_K +
           (column / m->gates * ((m->k + 3) / 4) + begin / 4) * m->gates * TILE_K;
}

INLINE void tiles_weights(tile_columns *c, const rnne_matrix *m, const tile_rows *t, size_t begin,
                          const int BITS)
{
    const size_t whole = t->fours / TILE_FOURS * TILE_FOURS, rest = t->fours - whole;
    c->stride = m->gates * TILE_K;
    for (size_t i = 0; i < TILE_COLUMNS(BITS); i++) {
        c->w[i] = tiles_column(m, c->first, c->n, i, begin);
        for (size_t f = 0; f < rest; f++) {
            memcpy(c->rest[i] + f * TILE_K, c->w[i] + (whole + f) * c->stride, TILE_K);
        }
        if (rest > 0) {
            memset(c->rest[i] + rest * TILE_K, 0, TILE_BYTES - rest * TILE_K);
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
            w[i] = c->w[i] + d * TILE_FOURS * c->stride;
        }
        tiles_dot(a, w, c->stride, BITS);
    }
    if (whole < t->depth) {
        for (size_t i = 0; i < TILE_COLUMNS(BITS); i++) {
            w[i] = c->rest[i];
        }
        tiles_dot(a, w, TILE_K, BITS);
    }
    tiles_store(sums);
}

/* Zero points times the sums of the rows, taken off the (low) sums. */
static void tiles_zero_points(int32_t *sums, const rnne_matrix *m, const rnne_row *const *rows, size_t n,
                              size_t column, size_t block)
{
    for (size_t r = 0; r < n; r++, sums += RNNE_PANEL) {
        for (int v = 0; v < RNNE_PANEL; v += VF_LANES) {
            const vi zero = vi_load_i32(m->zero + column * RNNE_PANEL + (size_t)v);
            vi_store_i32(sums + v, vi_sub(vi_load_i32(sums + v), vi_mul(zero, vi_set1(rows[r]->sums[block]))));
        }
    }
}

/* What lies where for one column: the scale and the offset of its units, where outputs start and go. */
typedef struct tile_outputs {
    const float *scale, *from;
    const int32_t *offset;
    float *to;
} tile_outputs;

INLINE tile_outputs tiles_place(const rnne_matrix *m, const rnne_sums *s, size_t number, size_t column,
                                size_t row)
{
    const size_t panel = column / m->gates, gate = column % m->gates * RNNE_PANEL;
    const size_t block = panel * rnne_int8_blocks(m) + number;
    float *to = s->out + panel * s->out_panel + row * s->out_row + gate;
    return (tile_outputs){
        .scale = m->scale + column * RNNE_PANEL,
        .from = number == 0 ? s->start + panel * s->start_panel + row * s->start_row + gate : to,
        .offset = m->offset + block * m->gates * RNNE_PANEL + gate,
        .to = to};
}

/* Outputs of one column and n rows from their exact sums. */
INLINE void tiles_finish(const tile_outputs *o, const rnne_row *const *rows, size_t n,
                         const int32_t *sums, size_t from_row, size_t to_row, const int BITS)
{
    UNROLL for (int v = 0; v < RNNE_PANEL; v += VF_LANES)
    {
        const vi offset = vi_load_i32(o->offset + v);
        const vf scale = vf_load(o->scale + v);
        const float *from = o->from + v;
        float *to = o->to + v;
        for (size_t r = 0; r < n; r++, from += from_row, to += to_row) {
            const int32_t *at = sums + r * RNNE_PANEL + (size_t)v;
            vi sum = vi_add(vi_load_i32(at), offset);
            if (BITS == 16) {
                sum = vi_add(vi_shl(sum, 8), vi_load_i32(at + TILE_SUMS));
            }
            vf_store(to, vf_fma(vi_to_float(sum), vf_mul(scale, vf_set1(rows[r]->scale)), vf_load(from)));
        }
    }
}

/* A block of rows and columns whose sums are made and whose outputs are not. */
typedef struct tile_job {
    size_t first, n_columns, row, n;
    int32_t *sums;
} tile_job;

INLINE void tiles_outputs(const tile_job *j, const rnne_matrix *m, const rnne_row *const *rows,
                          const rnne_sums *s, size_t number, const int BITS)
{
    const size_t high = TILE_PARTS(BITS) - 1;
    for (size_t i = 0; i < j->n_columns; i++) {
        int32_t *sums = j->sums + i * TILE_PARTS(BITS) * TILE_SUMS;
        const tile_outputs o = tiles_place(m, s, number, j->first + i, j->row);
        if (m->zero) {
            tiles_zero_points(sums + high * TILE_SUMS, m, rows + j->row, j->n, j->first + i, number);
        }
        tiles_finish(&o, rows + j->row, j->n, sums, number == 0 ? s->start_row : s->out_row, s->out_row,
                     BITS);
    }
}

/* All columns of the panels asked for. The outputs of a block are made while the sums of the next one
 * are: the tiles are a unit of their own. */
INLINE void tiles_group(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s,
                        rnne_depth span, const tile_rows *t, const int BITS)
{
    const size_t begin = s->begin * m->gates, end = s->end * m->gates, most = TILE_COLUMNS(BITS);
    const size_t groups = (end - begin + most - 1) / most;
    int32_t sums[2][4 * TILE_SUMS] TILES_ALIGNED;
    tile_columns c;
    tile_job job = {.n = 0, .sums = sums[0]};
    for (size_t i = 0; i < groups; i++) {
        c.first = begin + most * (s->backwards ? groups - 1 - i : i);
        c.n = end - c.first < most ? end - c.first : most;
        tiles_weights(&c, m, t, span.begin, BITS);
        for (size_t row = 0; row < t->n; row += t->height) {
            const tile_job before = job;
            job.first = c.first;
            job.n_columns = c.n;
            job.row = t->row + row;
            job.n = t->n - row < t->height ? t->n - row : t->height;
            job.sums = before.sums == sums[0] ? sums[1] : sums[0];
            tiles_sums(job.sums, t, &c, row / t->height, BITS);
            if (before.n > 0) {
                tiles_outputs(&before, m, rows, s, span.number, BITS);
            }
        }
    }
    if (job.n > 0) {
        tiles_outputs(&job, m, rows, s, span.number, BITS);
    }
}

INLINE void tiles_span(const rnne_matrix *m, const rnne_row *const *rows, const rnne_sums *s,
                       rnne_depth span, const int BITS)
{
    unsigned char packed[TILES_PACKED] TILES_ALIGNED;
    const size_t blocks = (s->n_rows + TILE_ROWS_MOST - 1) / TILE_ROWS_MOST;
    tile_rows t = {.fours = (span.end - span.begin + 3) / 4, .packed = packed};
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
    const size_t parts = m->type == RNNE_W_INT8 ? TILE_PARTS(16) : TILE_PARTS(8);
    if (s->n_rows < 2 || s->n_rows * m->k * parts < TILES_MIN_WORK) {
        FEW_ROWS.accumulate(m, rows, s);
        return;
    }
    for (rnne_depth span = rnne_int8_depth(m, 0); span.begin < m->k;
         span = rnne_int8_depth(m, span.number + 1)) {
        if (m->type == RNNE_W_INT8) {
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
