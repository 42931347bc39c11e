/* Vector names on 16 lanes of AVX-512F. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_AVX512_H
#define RNNE_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VF_LANES 16
#define VF_INLINE static inline __attribute__((always_inline))

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

/* memory */
VF_INLINE __mmask16 vf_lanes_below(size_t n) { return (__mmask16)((1u << n) - 1u); }
VF_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
VF_INLINE vf vf_load2(const float *p)
{
    const __m512i index = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(_mm512_loadu_ps(p), index, _mm512_loadu_ps(p + 15));
}
VF_INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
VF_INLINE vf vf_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(vf_lanes_below(n), p);
}
VF_INLINE vf vf_load_between(const float *p, size_t low, size_t high)
{
    return _mm512_maskz_loadu_ps((__mmask16)(vf_lanes_below(high) & ~vf_lanes_below(low)), p);
}
VF_INLINE void vf_store_n(float *p, vf v, size_t n)
{
    _mm512_mask_storeu_ps(p, vf_lanes_below(n), v);
}
/* Column 4 * q, which lies in 128 bits number q, for each q. */
VF_INLINE void put_columns(float *p, ptrdiff_t step, vf v)
{
    _mm_storeu_ps(p, _mm512_castps512_ps128(v));
    _mm_storeu_ps(p + 4 * step, _mm512_extractf32x4_ps(v, 1));
    _mm_storeu_ps(p + 8 * step, _mm512_extractf32x4_ps(v, 2));
    _mm_storeu_ps(p + 12 * step, _mm512_extractf32x4_ps(v, 3));
}
/* Columns 4 * q and 4 * q + 1, from pairs of rows. */
VF_INLINE void put_pairs(float *p, ptrdiff_t step, vf ab, vf cd)
{
    const __m512d low = _mm512_castps_pd(ab), high = _mm512_castps_pd(cd);
    put_columns(p, step, _mm512_castpd_ps(_mm512_unpacklo_pd(low, high)));
    put_columns(p + step, step, _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)));
}
VF_INLINE void vf_store4(float *p, ptrdiff_t step, vf a, vf b, vf c, vf d)
{
    put_pairs(p, step, _mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
    put_pairs(p + 2 * step, step, _mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
}

VF_INLINE vi vi_load_i32(const int32_t *p) { return _mm512_loadu_si512(p); }
VF_INLINE void vi_store_i32(int32_t *p, vi v) { _mm512_storeu_si512(p, v); }

/* constants and bits */
VF_INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
VF_INLINE vf vf_keep(vf a)
{
    __asm__("" : "+v"(a));
    return a;
}
VF_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
VF_INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
VF_INLINE vi vf_bits(vf a) { return _mm512_castps_si512(a); }
VF_INLINE vf vi_float(vi a) { return _mm512_castsi512_ps(a); }

/* arithmetic */
VF_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
VF_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
VF_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
VF_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
VF_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
VF_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
VF_INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }

/* sign: integer operations, because the float forms of and, or, xor need AVX-512DQ */
VF_INLINE vf vf_neg(vf a)
{
    return vi_float(_mm512_xor_si512(vf_bits(a), _mm512_set1_epi32(INT32_MIN)));
}
VF_INLINE vf vf_abs(vf a)
{
    return vi_float(_mm512_and_si512(vf_bits(a), _mm512_set1_epi32(INT32_MAX)));
}
VF_INLINE vf vf_copysign(vf mag, vf sign)
{
    const vi top = _mm512_set1_epi32(INT32_MIN); /* 0xD8: top ? sign : mag, bit by bit */
    return vi_float(_mm512_ternarylogic_epi32(vf_bits(mag), vf_bits(sign), top, 0xD8));
}

/* comparison: ordered and quiet, false if either side is NaN */
VF_INLINE vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
VF_INLINE vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
VF_INLINE vm vf_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
VF_INLINE vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
VF_INLINE vm vf_isnan(vf a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }

/* choice: VMINPS and VMAXPS are a < b ? a : b and a > b ? a : b, which is the contract */
VF_INLINE vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
VF_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
VF_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
VF_INLINE vm vm_and(vm a, vm b) { return (vm)(a & b); }
VF_INLINE vm vm_or(vm a, vm b) { return (vm)(a | b); }
VF_INLINE int vm_any(vm a) { return a != 0; }

/* integers: wrap on overflow; the count of a shift is a constant from 0 to 31 */
VF_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
VF_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
VF_INLINE vi vi_shl(vi a, int count) { return _mm512_slli_epi32(a, (unsigned int)count); }
VF_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
VF_INLINE vi vi_sar(vi a, int count) { return _mm512_srai_epi32(a, (unsigned int)count); }
VF_INLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
VF_INLINE vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }
VF_INLINE vf vi_to_float(vi a) { return _mm512_cvtepi32_ps(a); }

/* halves */
VF_INLINE vi vi_load(const uint16_t *p) { return _mm512_loadu_si512(p); }
VF_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}

#endif
