/* Canonical weights to panels of 16 units: [panel][k][gate][16]. */
#include <float.h>
#include <math.h>

#include "core/kernels.h"
#include "rnnengine.h"

size_t rnne_packed_size(size_t gates, size_t units, size_t k)
{
    return (units + RNNE_PANEL - 1) / RNNE_PANEL * RNNE_PANEL * k * gates;
}

void rnne_pack(float *dst, const float *src, size_t gates, size_t units, size_t k,
               ptrdiff_t stride_g, ptrdiff_t stride_u, ptrdiff_t stride_k)
{
    size_t panels = (units + RNNE_PANEL - 1) / RNNE_PANEL;
    for (size_t p = 0; p < panels; p++) {
        for (size_t i = 0; i < k; i++) {
            for (size_t g = 0; g < gates; g++) {
                const float *from = src + (ptrdiff_t)i * stride_k + (ptrdiff_t)g * stride_g;
                for (size_t lane = 0; lane < RNNE_PANEL; lane++) {
                    size_t unit = p * RNNE_PANEL + lane;
                    float value = unit < units ? from[(ptrdiff_t)unit * stride_u] : 0.0f;
                    *dst++ = fabsf(value) < FLT_MIN ? 0.0f : value;
                }
            }
        }
    }
}
