/** CPU features, detected once: the only file that knows CPUID, XGETBV and HWCAP is cpu.c. */
#ifndef RNNE_CPU_H
#define RNNE_CPU_H

#include <stdint.h>

#define RNNE_CPU_AVX2 (1u << 0)
#define RNNE_CPU_FMA (1u << 1)
#define RNNE_CPU_AVX512F (1u << 2)
#define RNNE_CPU_AVX512BW (1u << 3)
#define RNNE_CPU_AVX512DQ (1u << 4)
#define RNNE_CPU_AVX512VL (1u << 5)
#define RNNE_CPU_NEON (1u << 6)
#define RNNE_CPU_F16C (1u << 7)
#define RNNE_CPU_AVX512_VNNI (1u << 8)
#define RNNE_CPU_AVX_VNNI (1u << 9)
#define RNNE_CPU_DOTPROD (1u << 10)
#define RNNE_CPU_AMX_INT8 (1u << 11) /* and its tiles, which the system lets this process use */

#define RNNE_CPU_AVX512                                                                            \
    (RNNE_CPU_AVX512F | RNNE_CPU_AVX512BW | RNNE_CPU_AVX512DQ | RNNE_CPU_AVX512VL)

#endif
