/* Vector names on one lane of portable C: the specification of every other header in this folder.
 * Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_SCALAR_H
#define RNNE_SIMD_SCALAR_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VF_LANES 1
#define VF_INLINE static inline __attribute__((always_inline))

typedef float vf;
typedef int32_t vi;
typedef int vm;

/* memory */
VF_INLINE vf vf_load(const float *p) { return *p; }
VF_INLINE vf vf_load2(const float *p) { return *p; }
VF_INLINE void vf_store(float *p, vf v) { *p = v; }
VF_INLINE vf vf_load_n(const float *p, size_t n) { return n ? *p : 0.0f; }
VF_INLINE vf vf_load_between(const float *p, size_t low, size_t high)
{
    return low < high ? *p : 0.0f;
}
VF_INLINE void vf_store_n(float *p, vf v, size_t n)
{
    if (n) {
        *p = v;
    }
}
VF_INLINE void vf_store4(float *p, ptrdiff_t step, vf a, vf b, vf c, vf d)
{
    (void)step;
    p[0] = a, p[1] = b, p[2] = c, p[3] = d;
}

VF_INLINE vi vi_load_i32(const int32_t *p) { return *p; }
VF_INLINE void vi_store_i32(int32_t *p, vi v) { *p = v; }

/* constants and bits */
VF_INLINE vf vf_set1(float x) { return x; }
VF_INLINE vf vf_keep(vf a) { return a; }
VF_INLINE vf vf_zero(void) { return 0.0f; }
VF_INLINE vi vi_set1(int32_t x) { return x; }
VF_INLINE vi vf_bits(vf a)
{
    vi b;
    memcpy(&b, &a, sizeof b);
    return b;
}
VF_INLINE vf vi_float(vi a)
{
    vf f;
    memcpy(&f, &a, sizeof f);
    return f;
}

/* arithmetic */
VF_INLINE vf vf_add(vf a, vf b) { return a + b; }
VF_INLINE vf vf_sub(vf a, vf b) { return a - b; }
VF_INLINE vf vf_mul(vf a, vf b) { return a * b; }
VF_INLINE vf vf_div(vf a, vf b) { return a / b; }
VF_INLINE vf vf_sqrt(vf a) { return sqrtf(a); }
VF_INLINE vf vf_fma(vf a, vf b, vf c) { return fmaf(a, b, c); }
VF_INLINE vf vf_fnma(vf a, vf b, vf c) { return fmaf(-a, b, c); }

/* sign */
VF_INLINE vf vf_neg(vf a) { return vi_float(vf_bits(a) ^ INT32_MIN); }
VF_INLINE vf vf_abs(vf a) { return vi_float(vf_bits(a) & INT32_MAX); }
VF_INLINE vf vf_copysign(vf mag, vf sign)
{
    return vi_float((vf_bits(mag) & INT32_MAX) | (vf_bits(sign) & INT32_MIN));
}

/* comparison: ordered and quiet, false if either side is NaN */
VF_INLINE vm vf_lt(vf a, vf b) { return isless(a, b); }
VF_INLINE vm vf_le(vf a, vf b) { return islessequal(a, b); }
VF_INLINE vm vf_gt(vf a, vf b) { return isgreater(a, b); }
VF_INLINE vm vf_eq(vf a, vf b) { return a == b; }
VF_INLINE vm vf_isnan(vf a) { return a != a; }

/* choice: min is a < b ? a : b and max is a > b ? a : b, so b where they tie or one is NaN */
VF_INLINE vf vf_select(vm m, vf a, vf b) { return m ? a : b; }
VF_INLINE vf vf_min(vf a, vf b) { return vf_select(vf_lt(a, b), a, b); }
VF_INLINE vf vf_max(vf a, vf b) { return vf_select(vf_gt(a, b), a, b); }
VF_INLINE vm vm_and(vm a, vm b) { return a & b; }
VF_INLINE vm vm_or(vm a, vm b) { return a | b; }
VF_INLINE int vm_any(vm a) { return a; }

/* integers: wrap on overflow; the count of a shift is a constant from 0 to 31 */
VF_INLINE vi vi_add(vi a, vi b) { return (vi)((uint32_t)a + (uint32_t)b); }
VF_INLINE vi vi_sub(vi a, vi b) { return (vi)((uint32_t)a - (uint32_t)b); }
VF_INLINE vi vi_shl(vi a, int count) { return (vi)((uint32_t)a << count); }
VF_INLINE vi vi_and(vi a, vi b) { return a & b; }
VF_INLINE vi vi_sar(vi a, int count) { return a >> count; }
VF_INLINE vi vi_mul(vi a, vi b) { return (vi)((uint32_t)a * (uint32_t)b); }
VF_INLINE vi vi_max(vi a, vi b) { return a > b ? a : b; }
VF_INLINE vf vi_to_float(vi a) { return (float)a; }

/* halves */
VF_INLINE vi vi_load(const uint16_t *p) { return (vi)(p[0] | (uint32_t)p[1] << 16); }
VF_INLINE vf vf_load_f16(const uint16_t *p)
{
    const vi size = *p & 0x7fff, wide = size << 13;
    const vf f = size < 0x7c00 ? vi_float(wide) * 0x1p112f : vi_float(wide | 0x7f800000);
    return *p >> 15 ? vf_neg(f) : f;
}

#endif
