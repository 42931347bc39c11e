/* Packed matrices of every type: sizes, checks at bind time, parts. */
#include "core/matrix.h"

#include "core/checked.h"

static int64_t even(int64_t k)
{
    return k < INT64_MAX ? k + k % 2 : k;
}

int64_t rnne_matrix_elements(rnne_dtype dtype, const rnne_matrix_size *s)
{
    const int64_t depth = dtype == RNNE_BF16 ? even(s->k) : s->k;
    return rnne_product(rnne_product(rnne_product(s->panels, RNNE_PANEL), s->gates), depth);
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

int rnne_matrix_fits(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                     const rnne_matrix_size *size)
{
    const rnne_view *w = rnne_view_of(ctx, in, at->weights);
    if (!w) {
        return 0;
    }
    const rnne_dtype dtype = rnne_dtype_of(ctx, w);
    const int known = dtype == RNNE_F32 || dtype == RNNE_BF16 || dtype == RNNE_F16;
    return known && flat(ctx, w, dtype, rnne_product(rnne_matrix_elements(dtype, size), size->directions)) &&
           !rnne_view_of(ctx, in, at->scale) && !rnne_view_of(ctx, in, at->offset) &&
           !rnne_view_of(ctx, in, at->zero);
}

static int32_t type_of(rnne_dtype dtype)
{
    switch (dtype) {
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
    default: return lanes * m->k * sizeof(float);
    }
}

rnne_matrix rnne_matrix_read(const rnne_context *ctx, const rnne_instr *in, const rnne_matrix_at *at,
                             const rnne_matrix_size *size, int64_t d)
{
    const rnne_view *w = rnne_view_of(ctx, in, at->weights);
    rnne_matrix m = {.type = type_of(rnne_dtype_of(ctx, w)),
                     .panels = (size_t)size->panels,
                     .gates = (size_t)size->gates,
                     .k = (size_t)size->k};
    const int64_t at_byte = (w->offset + w->dim[0] / size->directions * d) *
                            rnne_dtype_bytes(rnne_dtype_of(ctx, w));
    m.w = (const char *)ctx->base[w->buffer] + at_byte;
    return m;
}

rnne_matrix rnne_matrix_part(const rnne_matrix *m, size_t begin, size_t end)
{
    rnne_matrix part = *m;
    part.w = (const char *)m->w + begin * panel_bytes(m);
    part.bias = m->bias ? m->bias + begin * m->gates * RNNE_PANEL : NULL;
    part.panels = end - begin;
    return part;
}

double rnne_matrix_bytes(const rnne_matrix *m)
{
    return (double)m->panels * (double)panel_bytes(m);
}
