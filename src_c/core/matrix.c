/* Packed matrices of every type: sizes, checks at bind time, parts. */
#include "core/matrix.h"

#include "core/checked.h"

/* k, padded to what is stored together. */
static int64_t padded(rnne_dtype dtype, int64_t k)
{
    const int64_t depth = dtype == RNNE_I8 ? 4 : dtype == RNNE_BF16 ? 2 : 1;
    return k < INT64_MAX - depth ? (k + depth - 1) / depth * depth : INT64_MAX;
}

int64_t rnne_matrix_elements(rnne_dtype dtype, const rnne_matrix_size *s)
{
    return rnne_product(rnne_product(rnne_product(s->panels, RNNE_PANEL), s->gates),
                        padded(dtype, s->k));
}

/* Packed operands have their address at bind time, so they never are an input or output itself. */
static int flat(const rnne_context *ctx, const rnne_view *v, rnne_dtype dtype, int64_t count)
{
    if (!rnne_view_is(ctx, v, 1, dtype) || v->dim[0] != count || count == INT64_MAX) {
        return 0;
    }
    const int64_t kind = ctx->program->buffers[v->buffer].kind;
    return kind == RNNE_CONSTANT || (kind == RNNE_ARENA && dtype == RNNE_F32);
}

/* Scales, offsets and zero points of integer weights; outputs are those of all directions. */
static int integers_fit(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                        const rnne_matrix_size *size, int64_t outputs)
{
    const rnne_view *zero = rnne_view_of(ctx, in, at->zero);
    const int64_t block = zero ? RNNE_SUM_BLOCK : RNNE_BLOCK, bits = rnne_int(ctx, in, at->bits);
    const int64_t blocks = size->k / block + (size->k % block != 0);
    return size->k > 0 && (bits == 0 || bits == 1) &&
           flat(ctx, rnne_view_of(ctx, in, at->scale), RNNE_F32, outputs) &&
           flat(ctx, rnne_view_of(ctx, in, at->offset), RNNE_I32, rnne_product(outputs, blocks)) &&
           (!zero || flat(ctx, zero, RNNE_I32, outputs));
}

int rnne_matrix_fits(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                     const rnne_matrix_size *size)
{
    const rnne_view *w = rnne_view_of(ctx, in, at->weights);
    if (!w) {
        return 0;
    }
    const rnne_dtype dtype = rnne_dtype_of(ctx, w);
    const int64_t outputs = rnne_product(rnne_product(rnne_product(size->panels, RNNE_PANEL),
                                                      size->gates), size->directions);
    if (!flat(ctx, w, dtype, rnne_product(rnne_matrix_elements(dtype, size), size->directions))) {
        return 0;
    }
    if (dtype == RNNE_I8) {
        return integers_fit(ctx, in, at, size, outputs);
    }
    return (dtype == RNNE_F32 || dtype == RNNE_BF16 || dtype == RNNE_F16) &&
           !rnne_view_of(ctx, in, at->scale) && !rnne_view_of(ctx, in, at->offset) &&
           !rnne_view_of(ctx, in, at->zero);
}

static int32_t type_of(rnne_dtype dtype, int64_t bits)
{
    switch (dtype) {
    case RNNE_I8: return bits ? RNNE_W_INT8_FAST : RNNE_W_INT8;
    case RNNE_BF16: return RNNE_W_BF16;
    case RNNE_F16: return RNNE_W_F16;
    default: return RNNE_W_F32;
    }
}

/* Bytes from one panel to the next. */
static size_t panel_bytes(const rnne_matrix *m)
{
    const size_t lanes = m->gates * RNNE_PANEL;
    switch (m->type) {
    case RNNE_W_BF16: return lanes * (m->k + m->k % 2) * sizeof(uint16_t);
    case RNNE_W_F16: return lanes * m->k * sizeof(uint16_t);
    case RNNE_W_INT8:
    case RNNE_W_INT8_FAST: return lanes * ((m->k + 3) / 4 * 4);
    default: return lanes * m->k * sizeof(float);
    }
}

/* What direction d has of an operand; NULL without it. */
static const void *share(const rnne_context *ctx, const rnne_instr *in, int operand,
                         int64_t directions, int64_t d)
{
    const rnne_view *v = rnne_view_of(ctx, in, operand);
    if (!v) {
        return NULL;
    }
    const int64_t element = v->offset + v->dim[0] / directions * d;
    return (const char *)ctx->base[v->buffer] + element * rnne_dtype_bytes(rnne_dtype_of(ctx, v));
}

rnne_matrix rnne_matrix_read(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                             const rnne_matrix_size *size, int64_t d)
{
    const rnne_dtype dtype = rnne_dtype_of(ctx, rnne_view_of(ctx, in, at->weights));
    const int64_t directions = size->directions;
    rnne_matrix m = {.w = share(ctx, in, at->weights, directions, d),
                     .panels = (size_t)size->panels,
                     .gates = (size_t)size->gates,
                     .k = (size_t)size->k,
                     .type = type_of(dtype, dtype == RNNE_I8 ? rnne_int(ctx, in, at->bits) : 0)};
    if (dtype == RNNE_I8) {
        m.scale = share(ctx, in, at->scale, directions, d);
        m.offset = share(ctx, in, at->offset, directions, d);
        m.zero = share(ctx, in, at->zero, directions, d);
    }
    return m;
}

rnne_matrix rnne_matrix_part(const rnne_matrix *m, size_t begin, size_t end)
{
    const size_t first = begin * m->gates * RNNE_PANEL;
    rnne_matrix part = *m;
    part.w = (const char *)m->w + begin * panel_bytes(m);
    part.bias = m->bias ? m->bias + first : NULL;
    if (rnne_is_int8(m)) {
        part.scale = m->scale + first;
        part.offset = m->offset + first * rnne_int8_blocks(m);
        part.zero = m->zero ? m->zero + first : NULL;
    }
    part.panels = end - begin;
    return part;
}

double rnne_matrix_bytes(const rnne_matrix *m)
{
    return (double)m->panels * (double)panel_bytes(m);
}
