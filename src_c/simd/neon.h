/* Vector names on 4 lanes of AArch64. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_NEON_H
#define RNNE_SIMD_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 4
#define VF_INLINE static inline __attribute__((always_inline))

typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;

/* memory */
VF_INLINE vf vf_load(const float *p) { return vld1q_f32(p); }
VF_INLINE vf vf_load2(const float *p)
{
    float32x4_t low = vld1q_f32(p), high = vld1q_f32(p + 3);
    return vcombine_f32(vget_low_f32(vuzp1q_f32(low, low)), vget_low_f32(vuzp2q_f32(high, high)));
}
VF_INLINE void vf_store(float *p, vf v) { vst1q_f32(p, v); }
VF_INLINE vf vf_load_n(const float *p, size_t n)
{
    float lanes[VF_LANES] = {0.0f, 0.0f, 0.0f, 0.0f};
    memcpy(lanes, p, n * sizeof *p);
    return vld1q_f32(lanes);
}
VF_INLINE vf vf_load_between(const float *p, size_t low, size_t high)
{
    float lanes[VF_LANES] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (size_t i = low; i < high; i++) {
        lanes[i] = p[i];
    }
    return vld1q_f32(lanes);
}
VF_INLINE void vf_store_n(float *p, vf v, size_t n)
{
    float lanes[VF_LANES];
    vst1q_f32(lanes, v);
    memcpy(p, lanes, n * sizeof *p);
}
/* Columns 0 and 1, from pairs of rows. */
VF_INLINE void put_pairs(float *p, ptrdiff_t step, vf ab, vf cd)
{
    vst1q_f32(p, vcombine_f32(vget_low_f32(ab), vget_low_f32(cd)));
    vst1q_f32(p + step, vcombine_f32(vget_high_f32(ab), vget_high_f32(cd)));
}
VF_INLINE void vf_store4(float *p, ptrdiff_t step, vf a, vf b, vf c, vf d)
{
    put_pairs(p, step, vzip1q_f32(a, b), vzip1q_f32(c, d));
    put_pairs(p + 2 * step, step, vzip2q_f32(a, b), vzip2q_f32(c, d));
}

VF_INLINE vi vi_load_i32(const int32_t *p) { return vld1q_s32(p); }
VF_INLINE void vi_store_i32(int32_t *p, vi v) { vst1q_s32(p, v); }

/* constants and bits */
VF_INLINE vf vf_set1(float x) { return vdupq_n_f32(x); }
VF_INLINE vf vf_keep(vf a)
{
    __asm__("" : "+w"(a));
    return a;
}
VF_INLINE vf vf_zero(void) { return vdupq_n_f32(0.0f); }
VF_INLINE vi vi_set1(int32_t x) { return vdupq_n_s32(x); }
VF_INLINE vi vf_bits(vf a) { return vreinterpretq_s32_f32(a); }
VF_INLINE vf vi_float(vi a) { return vreinterpretq_f32_s32(a); }

/* arithmetic */
VF_INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
VF_INLINE vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
VF_INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
VF_INLINE vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
VF_INLINE vf vf_sqrt(vf a) { return vsqrtq_f32(a); }
VF_INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
VF_INLINE vf vf_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }

/* sign */
VF_INLINE vf vf_neg(vf a) { return vnegq_f32(a); }
VF_INLINE vf vf_abs(vf a) { return vabsq_f32(a); }
VF_INLINE vf vf_copysign(vf mag, vf sign)
{
    return vbslq_f32(vdupq_n_u32(UINT32_C(0x80000000)), sign, mag);
}

/* comparison: ordered, false if either side is NaN */
VF_INLINE vm vf_lt(vf a, vf b) { return vcltq_f32(a, b); }
VF_INLINE vm vf_le(vf a, vf b) { return vcleq_f32(a, b); }
VF_INLINE vm vf_gt(vf a, vf b) { return vcgtq_f32(a, b); }
VF_INLINE vm vf_eq(vf a, vf b) { return vceqq_f32(a, b); }
VF_INLINE vm vf_isnan(vf a) { return vmvnq_u32(vceqq_f32(a, a)); }

/* choice: FMIN and FMAX order zeros and NaN otherwise, so compare and select */
VF_INLINE vf vf_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
VF_INLINE vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
VF_INLINE vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
VF_INLINE vm vm_and(vm a, vm b) { return vandq_u32(a, b); }
VF_INLINE vm vm_or(vm a, vm b) { return vorrq_u32(a, b); }
VF_INLINE int vm_any(vm a) { return vmaxvq_u32(a) != 0; }

/* integers: wrap on overflow; the count of a shift is a constant from 0 to 31 */
VF_INLINE vi vi_add(vi a, vi b) { return vaddq_s32(a, b); }
VF_INLINE vi vi_sub(vi a, vi b) { return vsubq_s32(a, b); }
VF_INLINE vi vi_shl(vi a, int count) { return vshlq_s32(a, vdupq_n_s32(count)); }
VF_INLINE vi vi_and(vi a, vi b) { return vandq_s32(a, b); }
VF_INLINE vi vi_sar(vi a, int count) { return vshlq_s32(a, vdupq_n_s32(-count)); }
VF_INLINE vi vi_mul(vi a, vi b) { return vmulq_s32(a, b); }
VF_INLINE vi vi_max(vi a, vi b) { return vmaxq_s32(a, b); }
VF_INLINE vf vi_to_float(vi a) { return vcvtq_f32_s32(a); }

/* halves */
VF_INLINE vi vi_load(const uint16_t *p) { return vreinterpretq_s32_u16(vld1q_u16(p)); }
VF_INLINE vf vf_load_f16(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

#endif
