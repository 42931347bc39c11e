/** Arithmetic on sizes that says when it overflows. */
#ifndef RNNE_CHECKED_H
#define RNNE_CHECKED_H

#include <stdint.h>

/** *total += a * b; 0 on success, 1 on overflow. */
static inline int rnne_add_product(int64_t *total, int64_t a, int64_t b)
{
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(*total, product, total);
}

/** a * b for sizes that are not negative; INT64_MAX where it does not fit, which no buffer has. */
static inline int64_t rnne_product(int64_t a, int64_t b)
{
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

/** Round up to a multiple of 64 bytes. */
static inline int64_t rnne_align(int64_t bytes)
{
    return (bytes + 63) & ~(int64_t)63;
}

#endif
