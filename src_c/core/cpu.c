/* CPU feature detection: CPUID says what the instructions are, XGETBV what the operating system
 * saves; a feature counts only when both agree. */
#include "core/cpu.h"

#include "core/os.h"
#include "rnnengine.h"

#if defined(__AVX__)
#error "core/ must be compiled at the baseline, or detection itself could use what it looks for"
#endif

static const char *const names[] = {"avx2",     "fma",  "avx512f", "avx512bw",    "avx512dq", "avx512vl",
                                    "neon",     "f16c", "avx512_vnni", "avx_vnni", "dotprod",   "amx_int8"};

const char *rnne_cpu_feature_name(int i)
{
    return i >= 0 && i < (int)(sizeof names / sizeof names[0]) ? names[i] : NULL;
}

#define KNOWN (1u << 31)

#if defined(__x86_64__)

#include <cpuid.h>

static uint64_t enabled_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}

static uint32_t detect(void)
{
    uint32_t a, b, c, d, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) {
        return 0;
    }
    int os_saves = (int)(c >> 27) & 1;
    if (!os_saves) {
        return 0;
    }
    uint64_t state = enabled_state();
    int ymm = (state & 0x06) == 0x06;   /* XMM and upper YMM halves */
    int zmm = (state & 0xe6) == 0xe6;   /* and opmask, upper ZMM halves, ZMM16-31 */
    if (ymm && ((c >> 12) & 1)) {
        found |= RNNE_CPU_FMA;
    }
    if (ymm && ((c >> 29) & 1)) {
        found |= RNNE_CPU_F16C;
    }
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return found;
    }
    if (ymm && ((b >> 5) & 1)) {
        found |= RNNE_CPU_AVX2;
    }
    if (zmm) {
        found |= ((b >> 16) & 1) ? RNNE_CPU_AVX512F : 0;
        found |= ((b >> 17) & 1) ? RNNE_CPU_AVX512DQ : 0;
        found |= ((b >> 30) & 1) ? RNNE_CPU_AVX512BW : 0;
        found |= ((b >> 31) & 1) ? RNNE_CPU_AVX512VL : 0;
        found |= ((c >> 11) & 1) ? RNNE_CPU_AVX512_VNNI : 0;
    }
    const int tiles = ((d >> 24) & 1) && ((d >> 25) & 1) && (state & 0x60000) == 0x60000;
    if (tiles && rnne_os_permit_tiles()) {
        found |= RNNE_CPU_AMX_INT8;
    }
    if (ymm && a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        found |= ((a >> 4) & 1) ? RNNE_CPU_AVX_VNNI : 0;
    }
    return found;
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#define HWCAP_BIT_ASIMD (1ul << 1)
#define HWCAP_BIT_ASIMDDP (1ul << 20)
static uint32_t detect(void)
{
    const unsigned long given = getauxval(AT_HWCAP);
    return ((given & HWCAP_BIT_ASIMD) ? RNNE_CPU_NEON : 0) |
           ((given & HWCAP_BIT_ASIMDDP) ? RNNE_CPU_DOTPROD : 0);
}
#else
static uint32_t detect(void)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return RNNE_CPU_NEON | RNNE_CPU_DOTPROD; /* what the compiler may take for granted */
#else
    return RNNE_CPU_NEON; /* part of the base architecture */
#endif
}
#endif

#else

static uint32_t detect(void)
{
    return 0;
}

#endif

uint32_t rnne_cpu_features(void)
{
    static uint32_t found; /* with the top bit set once it is known */
    uint32_t features = __atomic_load_n(&found, __ATOMIC_RELAXED);
    if (features == 0) {
        features = detect() | KNOWN;
        __atomic_store_n(&found, features, __ATOMIC_RELAXED);
    }
    return features & ~KNOWN;
}
