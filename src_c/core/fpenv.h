/** The floating-point environment kernels run in: IEEE, no flush-to-zero, round to nearest. It is
 * read on entry, written only where it differs, and restored on exit. */
#ifndef RNNE_FPENV_H
#define RNNE_FPENV_H

#include <stdint.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
/* flush-to-zero, denormals-are-zero, rounding mode */
#define FPENV_BITS 0xe040u
typedef unsigned int rnne_fpenv;
static inline rnne_fpenv rnne_fpenv_enter(void)
{
    rnne_fpenv saved = _mm_getcsr();
    if (saved & FPENV_BITS) {
        _mm_setcsr(saved & ~FPENV_BITS);
    }
    return saved;
}
static inline void rnne_fpenv_leave(rnne_fpenv saved)
{
    if (saved & FPENV_BITS) {
        _mm_setcsr(saved);
    }
}
#elif defined(__aarch64__)
/* FZ, FZ16, rounding mode, default NaN */
#define FPENV_BITS ((1ull << 24) | (1ull << 19) | (3ull << 22) | (1ull << 25))
typedef uint64_t rnne_fpenv;
static inline rnne_fpenv rnne_fpenv_enter(void)
{
    rnne_fpenv saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    if (saved & FPENV_BITS) {
        __asm__ volatile("msr fpcr, %0" : : "r"(saved & ~FPENV_BITS));
    }
    return saved;
}
static inline void rnne_fpenv_leave(rnne_fpenv saved)
{
    if (saved & FPENV_BITS) {
        __asm__ volatile("msr fpcr, %0" : : "r"(saved));
    }
}
#else
typedef int rnne_fpenv;
static inline rnne_fpenv rnne_fpenv_enter(void)
{
    return 0;
}
static inline void rnne_fpenv_leave(rnne_fpenv saved)
{
    (void)saved;
}
#endif

#endif
