/* The roofs of this machine: how fast one core reads memory and multiplies. */

static float read_floats(const float *data, size_t n, size_t repeat)
{
    vf acc[8];
    for (int i = 0; i < 8; i++) {
        acc[i] = vf_zero();
    }
    for (size_t r = 0; r < repeat; r++) {
        for (size_t i = 0; i + 8 * VF_LANES <= n; i += 8 * VF_LANES) {
            UNROLL for (int v = 0; v < 8; v++)
            {
                acc[v] = vf_add(acc[v], vf_load(data + i + (size_t)v * VF_LANES));
            }
        }
    }
    float total = 0.0f, lanes[VF_LANES];
    for (int v = 0; v < 8; v++) {
        vf_store(lanes, acc[v]);
        total += lanes[0];
    }
    return total;
}

static size_t fma_chain(size_t repeat, float *sink)
{
    vf acc[12], a = vf_set1(0.999f), b = vf_set1(0.001f);
    for (int i = 0; i < 12; i++) {
        acc[i] = vf_set1((float)i);
    }
    for (size_t r = 0; r < repeat; r++) {
        UNROLL for (int v = 0; v < 12; v++)
        {
            acc[v] = vf_fma(acc[v], a, b);
        }
    }
    float lanes[VF_LANES];
    for (int v = 0; v < 12; v++) {
        vf_store(lanes, acc[v]);
        *sink += lanes[0];
    }
    return 2 * 12 * VF_LANES;
}
