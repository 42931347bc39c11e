/* The ordered list of kernel tables and the choice among them. */
#include <string.h>

#include "core/cpu.h"
#include "core/kernels.h"
#include "rnnengine.h"

static const rnne_kernels *const tables[] = {
#if defined(__x86_64__)
    &rnne_kernels_avx512,
    &rnne_kernels_avx2,
#elif defined(__aarch64__)
    &rnne_kernels_neon,
#endif
    &rnne_kernels_scalar,
};

#define TABLE_COUNT ((int)(sizeof tables / sizeof tables[0]))

int rnne_kernels_count(void)
{
    return TABLE_COUNT;
}

const char *rnne_kernels_name(int i)
{
    return i >= 0 && i < TABLE_COUNT ? tables[i]->name : NULL;
}

int rnne_kernels_usable(int i)
{
    if (i < 0 || i >= TABLE_COUNT) {
        return 0;
    }
    uint32_t needs = tables[i]->needs;
    return (rnne_cpu_features() & needs) == needs;
}

const rnne_kernels *rnne_kernels_find(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++) {
        if ((name == NULL || strcmp(name, tables[i]->name) == 0) && rnne_kernels_usable(i)) {
            return tables[i];
        }
    }
    return NULL;
}

float rnne_read_floats(const rnne_kernels *kernels, const float *data, size_t n, size_t repeat)
{
    return kernels->read_floats(data, n, repeat);
}

size_t rnne_fma_chain(const rnne_kernels *kernels, size_t repeat, float *sink)
{
    return kernels->fma_chain(repeat, sink);
}

void rnne_unary(const rnne_kernels *kernels, int32_t id, float alpha, float beta, float gamma,
                const float *x, float *y, size_t n)
{
    kernels->unary(id, alpha, beta, gamma, x, y, n);
}
