/* The ordered list of kernel tables and the choice among them. Kernels of floats and of int8 products
 * are tables of their own: a name of both stands for floats and the int8 products without a dot product
 * instruction, a longer name for the same floats with one. */
#include <string.h>

#include "core/cpu.h"
#include "core/int8.h"
#include "rnnengine.h"

static const rnne_tables tables[] = {
#if defined(__x86_64__)
    {&rnne_kernels_avx512, &rnne_int8_avx512amx},
    {&rnne_kernels_avx512, &rnne_int8_avx512vnni},
    {&rnne_kernels_avx512, &rnne_int8_avx512},
    {&rnne_kernels_avx2, &rnne_int8_avx2vnni},
    {&rnne_kernels_avx2, &rnne_int8_avx2},
#elif defined(__aarch64__)
    {&rnne_kernels_neon, &rnne_int8_neondot},
    {&rnne_kernels_neon, &rnne_int8_neon},
#endif
    {&rnne_kernels_scalar, &rnne_int8_scalar},
};

#define TABLE_COUNT ((int)(sizeof tables / sizeof tables[0]))

int rnne_kernels_count(void)
{
    return TABLE_COUNT;
}

const char *rnne_kernels_name(int i)
{
    return i >= 0 && i < TABLE_COUNT ? tables[i].int8->name : NULL;
}

int rnne_kernels_usable(int i)
{
    if (i < 0 || i >= TABLE_COUNT) {
        return 0;
    }
    uint32_t needs = tables[i].kernels->needs | tables[i].int8->needs;
    return (rnne_cpu_features() & needs) == needs;
}

const rnne_tables *rnne_kernels_find(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        if ((name == NULL || strcmp(name, tables[i].int8->name) == 0) && rnne_kernels_usable(i)) {
            return &tables[i];
        }
    }
    return NULL;
}

float rnne_read_floats(const rnne_tables *chosen, const float *data, size_t n, size_t repeat)
{
    return chosen->kernels->read_floats(data, n, repeat);
}

size_t rnne_fma_chain(const rnne_tables *chosen, size_t repeat, float *sink)
{
    return chosen->kernels->fma_chain(repeat, sink);
}

void rnne_unary(const rnne_tables *chosen, int32_t id, float alpha, float beta, float gamma,
                const float *x, float *y, size_t n)
{
    chosen->kernels->unary(id, alpha, beta, gamma, x, y, n);
}
