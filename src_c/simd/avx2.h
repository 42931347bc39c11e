/* Vector names on 8 lanes of AVX2 + FMA. Contract of each name: README.md beside this file. */
#ifndef RNNE_SIMD_AVX2_H
#define RNNE_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VF_LANES 8
#define VF_INLINE static inline __attribute__((always_inline))

typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;

/* memory */
VF_INLINE __m256i vf_lanes_below(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)n), lane);
}
VF_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
VF_INLINE vf vf_load2(const float *p)
{
    __m256 mixed = _mm256_shuffle_ps(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 7), 0xd8);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
}
VF_INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
VF_INLINE vf vf_load_n(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, vf_lanes_below(n));
}
VF_INLINE vf vf_load_between(const float *p, size_t low, size_t high)
{
    return _mm256_maskload_ps(p, _mm256_andnot_si256(vf_lanes_below(low), vf_lanes_below(high)));
}
VF_INLINE void vf_store_n(float *p, vf v, size_t n)
{
    _mm256_maskstore_ps(p, vf_lanes_below(n), v);
}
/* Column 4 * q, which lies in 128 bits number q, for each q. */
VF_INLINE void put_columns(float *p, ptrdiff_t step, vf v)
{
    _mm_storeu_ps(p, _mm256_castps256_ps128(v));
    _mm_storeu_ps(p + 4 * step, _mm256_extractf128_ps(v, 1));
}
/* Columns 4 * q and 4 * q + 1, from pairs of rows. */
VF_INLINE void put_pairs(float *p, ptrdiff_t step, vf ab, vf cd)
{
    const __m256d low = _mm256_castps_pd(ab), high = _mm256_castps_pd(cd);
    put_columns(p, step, _mm256_castpd_ps(_mm256_unpacklo_pd(low, high)));
    put_columns(p + step, step, _mm256_castpd_ps(_mm256_unpackhi_pd(low, high)));
}
VF_INLINE void vf_store4(float *p, ptrdiff_t step, vf a, vf b, vf c, vf d)
{
    put_pairs(p, step, _mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
    put_pairs(p + 2 * step, step, _mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
}

VF_INLINE vi vi_load_i32(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
VF_INLINE void vi_store_i32(int32_t *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }

/* constants and bits */
VF_INLINE vf vf_set1(float x) { return _mm256_set1_ps(x); }
VF_INLINE vf vf_keep(vf a)
{
    __asm__("" : "+x"(a));
    return a;
}
VF_INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
VF_INLINE vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
VF_INLINE vi vf_bits(vf a) { return _mm256_castps_si256(a); }
VF_INLINE vf vi_float(vi a) { return _mm256_castsi256_ps(a); }

/* arithmetic */
VF_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
VF_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
VF_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
VF_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
VF_INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
VF_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
VF_INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }

/* sign */
VF_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
VF_INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
VF_INLINE vf vf_copysign(vf mag, vf sign)
{
    const __m256 top = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(top, mag), _mm256_and_ps(top, sign));
}

/* comparison: ordered and quiet, false if either side is NaN */
VF_INLINE vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
VF_INLINE vm vf_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
VF_INLINE vm vf_gt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
VF_INLINE vm vf_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
VF_INLINE vm vf_isnan(vf a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }

/* choice: MINPS and MAXPS are a < b ? a : b and a > b ? a : b, which is the contract */
VF_INLINE vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
VF_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
VF_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
VF_INLINE vm vm_and(vm a, vm b) { return _mm256_and_ps(a, b); }
VF_INLINE vm vm_or(vm a, vm b) { return _mm256_or_ps(a, b); }
VF_INLINE int vm_any(vm a) { return _mm256_movemask_ps(a) != 0; }

/* integers: wrap on overflow; the count of a shift is a constant from 0 to 31 */
VF_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
VF_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
VF_INLINE vi vi_shl(vi a, int count) { return _mm256_slli_epi32(a, count); }
VF_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
VF_INLINE vi vi_sar(vi a, int count) { return _mm256_srai_epi32(a, count); }
VF_INLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
VF_INLINE vi vi_max(vi a, vi b) { return _mm256_max_epi32(a, b); }
VF_INLINE vf vi_to_float(vi a) { return _mm256_cvtepi32_ps(a); }

/* halves */
VF_INLINE vi vi_load(const uint16_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
VF_INLINE vf vf_load_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}

#endif
