/* What a recurrent layer does to its rows around a step: states in and out, masks, outputs. */
#include <string.h>

#include "core/recurrent_pass.h"

static size_t bytes_of(rnne_units u)
{
    return (size_t)(u.end - u.begin) * sizeof(float);
}

static float *state_row(const rnne_pass *p, const rnne_view *v, int64_t i)
{
    return rnne_f32(p->ctx, v) + p->d * v->stride[0] + rnne_pass_row(p, i) * v->stride[1];
}

static void load_state(const rnne_pass *p, const rnne_view *v, float *to, size_t stride,
                       rnne_units u)
{
    const size_t wide = (size_t)(u.panel_end - u.panel_begin) * RNNE_PANEL * sizeof *to;
    to += u.begin;
    for (int64_t i = 0; i < p->layer->batch; i++, to += stride) {
        memset(to, 0, wide);
        if (v) {
            memcpy(to, state_row(p, v, i) + u.begin, bytes_of(u));
        }
    }
}

/* Outputs past a row's length are zero. */
static void clear_tails(const rnne_pass *p)
{
    const rnne_view *y = p->y;
    for (int64_t i = 0; y && p->length && i < p->layer->batch; i++) {
        for (int64_t t = p->length[i]; t < p->layer->steps; t++) {
            memset(rnne_f32(p->ctx, y) + t * y->stride[0] + p->d * y->stride[1] +
                       p->order[i] * y->stride[2] + p->out.begin,
                   0, bytes_of(p->out));
        }
    }
}

void rnne_pass_load(const rnne_pass *p)
{
    load_state(p, rnne_view_of(p->ctx, p->in, RH0), p->h[0], p->h_stride, p->out);
    if (p->c) {
        load_state(p, rnne_view_of(p->ctx, p->in, RC0), p->c, p->c_stride, p->hidden);
    }
    if (p->mask && p->layer->batch > 0) {
        memset(p->seen, 0, (size_t)p->layer->batch * sizeof *p->seen);
    }
    clear_tails(p);
}

void rnne_pass_finish(const rnne_pass *p, const float *h, int64_t begin, int64_t end)
{
    const int64_t o = p->out.begin, u = p->hidden.begin;
    for (int64_t i = begin; i < end; i++) {
        if (p->h_n) {
            memcpy(state_row(p, p->h_n, i) + o, h + (size_t)i * p->h_stride + o, bytes_of(p->out));
        }
        if (p->c_n) {
            memcpy(state_row(p, p->c_n, i) + u, p->c + (size_t)i * p->c_stride + u,
                   bytes_of(p->hidden));
        }
    }
}

/* Whether step s of row i counts. */
static int counts(const rnne_pass *p, int64_t i, int64_t s)
{
    const rnne_view *m = p->mask;
    if (!m) {
        return 1;
    }
    const int32_t *data = (const int32_t *)p->ctx->base[m->buffer] + m->offset;
    return data[rnne_pass_time(p, i, s) * m->stride[0] + rnne_pass_row(p, i) * m->stride[1]] != 0;
}

void rnne_pass_catch_up(const rnne_pass *p, int64_t s)
{
    for (int64_t i = 0; p->mask && i < p->layer->batch; i++) {
        p->seen[i] = 0;
        for (int64_t k = 0; k < s && k < rnne_pass_length(p, i) && !p->seen[i]; k++) {
            p->seen[i] = counts(p, i, k);
        }
    }
}

void rnne_pass_save_masked(const rnne_pass *p, int64_t s, int64_t rows)
{
    for (int64_t i = 0; p->mask && p->c && i < rows; i++) {
        if (!counts(p, i, s)) {
            const size_t at = (size_t)i * p->c_stride + (size_t)p->hidden.begin;
            memcpy(p->saved + at, p->c + at, bytes_of(p->hidden));
        }
    }
}

void rnne_pass_restore_masked(const rnne_pass *p, const float *before, float *after, int64_t s,
                              int64_t rows)
{
    for (int64_t i = 0; p->mask && i < rows; i++) {
        if (counts(p, i, s)) {
            p->seen[i] = 1;
            continue;
        }
        const size_t h_at = (size_t)i * p->h_stride + (size_t)p->out.begin;
        memcpy(after + h_at, before + h_at, bytes_of(p->out));
        if (p->c) {
            const size_t c_at = (size_t)i * p->c_stride + (size_t)p->hidden.begin;
            memcpy(p->c + c_at, p->saved + c_at, bytes_of(p->hidden));
        }
    }
}

void rnne_pass_store(const rnne_pass *p, const float *h, int64_t s, int64_t rows)
{
    const rnne_view *y = p->y;
    if (!y) {
        return;
    }
    float *base = rnne_f32(p->ctx, y) + p->d * y->stride[1] + p->out.begin;
    h += p->out.begin;
    for (int64_t i = 0; i < rows; i++) {
        float *to = base + rnne_pass_time(p, i, s) * y->stride[0] + rnne_pass_row(p, i) * y->stride[2];
        if (p->mask && (!p->seen[i] || (p->zero_masked && !counts(p, i, s)))) {
            memset(to, 0, bytes_of(p->out));
        } else {
            memcpy(to, h + (size_t)i * p->h_stride, bytes_of(p->out));
        }
    }
}

void rnne_pass_set_up(rnne_pass *p, const rnne_layer *l, char *scratch, char *own)
{
    const int has_proj = rnne_view_of(p->ctx, p->in, RPROJ) != NULL;
    const int before = l->kind == R_GRU && !l->reset_after;
    p->layer = l;
    p->kernels = p->ctx->program->kernels;
    p->x = rnne_view_of(p->ctx, p->in, RX);
    p->y = rnne_view_of(p->ctx, p->in, RY);
    p->h_n = rnne_view_of(p->ctx, p->in, RH_N);
    p->c_n = rnne_view_of(p->ctx, p->in, RC_N);
    p->mask = rnne_view_of(p->ctx, p->in, RMASK);
    p->zero_masked = rnne_int(p->ctx, p->in, RI_MASKED) == RNNE_MASKED_ZERO;
    p->saved = (float *)(scratch + l->saved_at);
    p->h_stride = (size_t)l->out_panels * RNNE_PANEL;
    p->c_stride = (size_t)l->panels * RNNE_PANEL;
    p->xp = (float *)(scratch + l->xp_at);
    p->h[0] = (float *)(scratch + l->h_at);
    p->h[1] = p->h[0] + (size_t)l->batch * p->h_stride;
    p->m = has_proj ? (float *)(scratch + l->m_at) : NULL;
    p->c = l->kind == R_LSTM ? (float *)(scratch + l->c_at) : NULL;
    p->z = before ? (float *)(scratch + l->z_at) : NULL;
    p->rh = before ? (float *)(scratch + l->rh_at) : NULL;
    p->inner = l->apart && !before ? (float *)(scratch + l->inner_at) : NULL;
    p->proj_clip = rnne_float(p->ctx, p->in, 3);
    p->seen = (int32_t *)(own + l->seen_at);
    p->rows = (const float **)(own + l->rows_at);
    p->state_rows = (const float **)(own + l->state_rows_at);
    p->area = own + l->area_at;
    p->input_area = own + l->input_area_at;
    p->from = (const float **)(own + l->from_at);
    p->to = (float **)(own + l->to_at);
}
