/* Vector mathematics under test, compiled once for each vector header:
 *
 *   cc -std=c11 -O3 -ffp-contract=off -Isrc_c -DISA_HEADER='"simd/avx2.h"' -mavx2 -mfma ... -lm
 *
 *   math_sweep sweep FUNCTION STRIDE OFFSET PART PARTS [hash]
 *       Evaluates the float32 bit patterns OFFSET, OFFSET + STRIDE, ... below 2^32, of which this
 *       run takes one of PARTS consecutive shares. Prints the number of inputs, the largest error
 *       in ULP against the C library in double and where it is, results out of bounds, NaN
 *       failures, f(-x) != -f(x) of odd functions, and a hash of all result bits; with `hash` only
 *       that. The hash is 64-bit FNV-1a over words of 32 bits, all NaN taken as one.
 *   math_sweep apply ID ALPHA BETA GAMMA   float32 from stdin through unary_f32 to stdout
 *   math_sweep op NAME                     float32 triples from stdin through one operation
 *   math_sweep lanes                       partial loads and stores, vm_any; prints faults
 *   math_sweep functions | ops             the names
 */
#define _GNU_SOURCE
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include ISA_HEADER
#include "kernels/math.inc.h"
#include "kernels/precise.inc.h"
#include "kernels/activation.inc.h"

#define BLOCK 4096

static uint32_t bits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static float float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* ---- functions and their references ---------------------------------------------------------- */

#define EACH_FUNCTION(X)                                                                           \
    X(exp, exp_f32(a), exp(x), -INFINITY, INFINITY, 0.0, INFINITY, 0)                              \
    X(exp_nonpos, exp_nonpos_f32(a), exp(x), -INFINITY, 0.0, 0.0, 1.0, 0)                          \
    X(expm1, expm1_f32(a), expm1(x), -INFINITY, INFINITY, -1.0, INFINITY, 0)                       \
    X(sigmoid, sigmoid_f32(a), 1.0 / (1.0 + exp(-x)), -INFINITY, INFINITY, 0.0, 1.0, 0)            \
    X(tanh, tanh_f32(a), tanh(x), -INFINITY, INFINITY, -1.0, 1.0, 1)                               \
    X(log1p_unit, log1p_unit_f32(a), log1p(x), 0.0, 1.0, 0.0, 0.6931472, 0)                        \
    X(log, log_f32(a), log(x), -INFINITY, INFINITY, -INFINITY, INFINITY, 0)                        \
    X(erf, erf_f32(a), erf(x), -INFINITY, INFINITY, -1.0, 1.0, 1)

#define DEFINE_FUNCTION(NAME, VECTOR, REFERENCE, FROM, TO, LOW, HIGH, ODD)                         \
    static void run_##NAME(const float *in, float *out)                                            \
    {                                                                                              \
        for (size_t i = 0; i < BLOCK; i += VF_LANES) {                                             \
            vf a = vf_load(in + i);                                                                \
            vf_store(out + i, VECTOR);                                                             \
        }                                                                                          \
    }                                                                                              \
    static double reference_##NAME(double x) { return REFERENCE; }
EACH_FUNCTION(DEFINE_FUNCTION)

typedef struct function {
    const char *name;
    void (*run)(const float *in, float *out);
    double (*reference)(double x);
    double from, to;  /* domain */
    double low, high; /* bounds of the result */
    int odd;
} function;

#define LIST_FUNCTION(NAME, VECTOR, REFERENCE, FROM, TO, LOW, HIGH, ODD)                           \
    {#NAME, run_##NAME, reference_##NAME, FROM, TO, LOW, HIGH, ODD},
static const function functions[] = {EACH_FUNCTION(LIST_FUNCTION)};
#define FUNCTIONS (sizeof functions / sizeof *functions)

/* ---- sweep ----------------------------------------------------------------------------------- */

typedef struct tally {
    uint64_t count, hash, bound, nan, odd;
    double worst;
    uint32_t worst_at;
} tally;

/* Distance in units in the last place of a float32 as large as `exact`; infinity is 2^128. */
static double ulp_error(float got, double exact)
{
    int exponent;
    double value = isinf(got) ? copysign(0x1p128, got) : got;
    double target = fabs(exact) > 0x1p128 ? copysign(0x1p128, exact) : exact;
    if (isinf(got) && fabs(exact) >= 0x1.ffffffp127) {
        return 0.0;
    }
    (void)frexp(target, &exponent);
    exponent = exponent > 128 ? 128 : exponent < -125 ? -125 : exponent;
    return ldexp(fabs(value - target), 24 - exponent);
}

static void judge(const function *f, float x, float got, float mirrored, tally *t)
{
    double exact = f->reference(x);
    if (isnan(exact) || isnan(got)) {
        t->nan += isnan(exact) != isnan(got);
        return;
    }
    t->bound += got < f->low || got > f->high;
    t->odd += f->odd && bits_of(mirrored) != (bits_of(got) ^ 0x80000000u);
    double error = ulp_error(got, exact);
    if (error > t->worst) {
        t->worst = error;
        t->worst_at = bits_of(x);
    }
}

static void add_to_hash(tally *t, float result)
{
    uint32_t bits = isnan(result) ? 0x7fc00000u : bits_of(result);
    t->hash = (t->hash ^ bits) * UINT64_C(0x100000001b3);
}

static void sweep_block(const function *f, const float *x, size_t n, int hash_only, tally *t)
{
    static float result[BLOCK], minus_x[BLOCK], mirrored[BLOCK];
    f->run(x, result);
    if (f->odd && !hash_only) {
        for (size_t i = 0; i < BLOCK; i++) {
            minus_x[i] = -x[i];
        }
        f->run(minus_x, mirrored);
    }
    for (size_t i = 0; i < n; i++) {
        if (x[i] < f->from || x[i] > f->to) {
            continue;
        }
        t->count++;
        add_to_hash(t, result[i]);
        if (!hash_only) {
            judge(f, x[i], result[i], mirrored[i], t);
        }
    }
}

static int sweep(const function *f, char **arg, int hash_only)
{
    static float x[BLOCK];
    const uint64_t stride = strtoull(arg[0], NULL, 0), offset = strtoull(arg[1], NULL, 0);
    const uint64_t part = strtoull(arg[2], NULL, 0), parts = strtoull(arg[3], NULL, 0);
    const uint64_t total = ((UINT64_C(1) << 32) - offset + stride - 1) / stride;
    const uint64_t end = total * (part + 1) / parts;
    tally t = {.hash = UINT64_C(0xcbf29ce484222325)};
    for (uint64_t k = total * part / parts; k < end; k += BLOCK) {
        size_t n = end - k < BLOCK ? (size_t)(end - k) : BLOCK;
        for (size_t i = 0; i < n; i++) {
            x[i] = float_of((uint32_t)(offset + (k + i) * stride));
        }
        sweep_block(f, x, n, hash_only, &t);
    }
    printf("count=%" PRIu64 " max_ulp=%.6f worst=%a bound=%" PRIu64 " nan=%" PRIu64 " odd=%" PRIu64
           " hash=%016" PRIx64 "\n",
           t.count, t.worst, (double)float_of(t.worst_at), t.bound, t.nan, t.odd, t.hash);
    return 0;
}

/* ---- single operations ----------------------------------------------------------------------- */

/* The low 16 bits of every lane, as numbers of binary16 or as pairs of equal bits. */
static vf wide_f16(vf a)
{
    float lanes[VF_LANES];
    uint16_t low[VF_LANES];
    vf_store(lanes, a);
    for (size_t i = 0; i < VF_LANES; i++) {
        low[i] = (uint16_t)bits_of(lanes[i]);
    }
    return vf_load_f16(low);
}

static vi pairs(vf a)
{
    float lanes[VF_LANES];
    uint16_t halves[2 * VF_LANES];
    vf_store(lanes, a);
    for (size_t i = 0; i < VF_LANES; i++) {
        halves[2 * i] = (uint16_t)bits_of(lanes[i]);
        halves[2 * i + 1] = (uint16_t)(bits_of(lanes[i]) >> 16);
    }
    return vi_load(halves);
}

static vi through_memory(vi a)
{
    int32_t lanes[VF_LANES];
    vi_store_i32(lanes, a);
    return vi_load_i32(lanes);
}

#define TRUTH(MASK) vf_select(MASK, vf_set1(1.0f), vf_zero())
#define EACH_OP(X)                                                                                 \
    X(add, vf_add(a, b))                                                                           \
    X(sub, vf_sub(a, b))                                                                           \
    X(mul, vf_mul(a, b))                                                                           \
    X(div, vf_div(a, b))                                                                           \
    X(sqrt, vf_sqrt(a))                                                                            \
    X(fma, vf_fma(a, b, c))                                                                        \
    X(fnma, vf_fnma(a, b, c))                                                                      \
    X(neg, vf_neg(a))                                                                              \
    X(abs, vf_abs(a))                                                                              \
    X(keep, vf_keep(a))                                                                            \
    X(copysign, vf_copysign(a, b))                                                                 \
    X(lt, TRUTH(vf_lt(a, b)))                                                                      \
    X(le, TRUTH(vf_le(a, b)))                                                                      \
    X(gt, TRUTH(vf_gt(a, b)))                                                                      \
    X(eq, TRUTH(vf_eq(a, b)))                                                                      \
    X(isnan, TRUTH(vf_isnan(a)))                                                                   \
    X(select, vf_select(vf_lt(a, b), c, a))                                                        \
    X(min, vf_min(a, b))                                                                           \
    X(max, vf_max(a, b))                                                                           \
    X(mask_and, TRUTH(vm_and(vf_lt(a, b), vf_lt(b, c))))                                           \
    X(mask_or, TRUTH(vm_or(vf_lt(a, b), vf_lt(b, c))))                                             \
    X(bits_add, vi_float(vi_add(vf_bits(a), vf_bits(b))))                                          \
    X(bits_sub, vi_float(vi_sub(vf_bits(a), vf_bits(b))))                                          \
    X(bits_shl, vi_float(vi_shl(vf_bits(a), 23)))                                                  \
    X(bits_sar, vi_float(vi_sar(vf_bits(a), 5)))                                                   \
    X(bits_and, vi_float(vi_and(vf_bits(a), vi_set1(-0x10000))))                                   \
    X(bits_pairs, vi_float(vi_shl(pairs(a), 16)))                                                  \
    X(wide_f16, wide_f16(a))                                                                       \
    X(bits_set1, vi_float(vi_add(vf_bits(a), vi_set1(-7))))                                        \
    X(bits_mul, vi_float(vi_mul(vf_bits(a), vf_bits(b))))                                          \
    X(bits_max, vi_float(vi_max(vf_bits(a), vf_bits(b))))                                          \
    X(bits_memory, vi_float(through_memory(vf_bits(a))))                                           \
    X(bits_to_float, vi_to_float(vf_bits(a)))

#define DEFINE_OP(NAME, EXPRESSION)                                                                \
    static vf op_##NAME(vf a, vf b, vf c)                                                          \
    {                                                                                              \
        (void)b, (void)c;                                                                          \
        return EXPRESSION;                                                                         \
    }
EACH_OP(DEFINE_OP)

typedef struct operation {
    const char *name;
    vf (*run)(vf a, vf b, vf c);
} operation;

#define LIST_OP(NAME, EXPRESSION) {#NAME, op_##NAME},
static const operation operations[] = {EACH_OP(LIST_OP)};
#define OPERATIONS (sizeof operations / sizeof *operations)

static int run_operation(const operation *op)
{
    float triple[3], lanes[3][VF_LANES], out[VF_LANES];
    size_t filled = 0;
    int more = 1;
    while (more) {
        more = fread(triple, sizeof triple, 1, stdin) == 1;
        for (int i = 0; more && i < 3; i++) {
            lanes[i][filled] = triple[i];
        }
        filled += (size_t)more;
        if (filled == VF_LANES || (!more && filled)) {
            vf_store(out, op->run(vf_load(lanes[0]), vf_load(lanes[1]), vf_load(lanes[2])));
            fwrite(out, sizeof *out, filled, stdout);
            filled = 0;
        }
    }
    return 0;
}

static int apply(char **arg)
{
    size_t n = 0, room = 0;
    float *x = NULL;
    for (size_t got = 1; got; n += got) {
        room = n + BLOCK;
        x = realloc(x, room * sizeof *x);
        if (!x) {
            return 1;
        }
        got = fread(x + n, sizeof *x, BLOCK, stdin);
    }
    unary_f32(atoi(arg[0]), strtof(arg[1], NULL), strtof(arg[2], NULL), strtof(arg[3], NULL), x, x,
              n);
    fwrite(x, sizeof *x, n, stdout);
    free(x);
    return 0;
}

/* ---- partial vectors ------------------------------------------------------------------------- */

/* `readable` floats that end where memory that must not be touched begins. */
static float *before_guard(size_t readable)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + page, page, PROT_NONE)) {
        return NULL;
    }
    return (float *)(void *)(base + page) - readable;
}

static int partial_faults(size_t n)
{
    int faults = 0;
    float *p = before_guard(n), loaded[VF_LANES], stored[VF_LANES], all[VF_LANES];
    if (!p) {
        return 1;
    }
    for (size_t i = 0; i < VF_LANES; i++) {
        all[i] = (float)(i + 1);
        stored[i] = -1.0f;
    }
    vf_store_n(p, vf_load(all), n);
    vf_store(loaded, vf_load_n(p, n));
    vf_store_n(stored, vf_load(all), n);
    for (size_t i = 0; i < VF_LANES; i++) {
        faults += loaded[i] != (i < n ? all[i] : 0.0f);
        faults += stored[i] != (i < n ? all[i] : -1.0f);
    }
    return faults;
}

static int strided_faults(void)
{
    int faults = 0;
    float *p = before_guard(2 * VF_LANES - 1), loaded[VF_LANES];
    if (!p) {
        return 1;
    }
    for (size_t i = 0; i < 2 * VF_LANES - 1; i++) {
        p[i] = (float)(i + 1);
    }
    vf_store(loaded, vf_load2(p));
    for (size_t i = 0; i < VF_LANES; i++) {
        faults += loaded[i] != (float)(2 * i + 1);
    }
    return faults;
}

static int between_faults(void)
{
    int faults = 0;
    float all[VF_LANES], loaded[VF_LANES];
    for (size_t i = 0; i < VF_LANES; i++) {
        all[i] = (float)(i + 1);
    }
    for (size_t high = 0; high <= VF_LANES; high++) {
        float *p = before_guard(high);
        if (!p) {
            return 1;
        }
        for (size_t i = 0; i < high; i++) {
            p[i] = all[i];
        }
        for (size_t low = 0; low <= high; low++) {
            vf_store(loaded, vf_load_between(p, low, high));
            for (size_t i = 0; i < VF_LANES; i++) {
                faults += loaded[i] != (i >= low && i < high ? all[i] : 0.0f);
            }
        }
    }
    return faults;
}

/* Four vectors become four floats a lane, 4 and 5 floats apart, and nothing beside them changes. */
static int columns_faults(void)
{
    int faults = 0;
    for (size_t step = 4; step <= 5; step++) {
        const size_t size = (VF_LANES - 1) * step + 4;
        float *p = before_guard(size), rows[4][VF_LANES];
        if (!p) {
            return 1;
        }
        for (size_t i = 0; i < 4 * VF_LANES; i++) {
            rows[i / VF_LANES][i % VF_LANES] = (float)(i + 1);
        }
        for (size_t i = 0; i < size; i++) {
            p[i] = -1.0f;
        }
        vf_store4(p, (ptrdiff_t)step, vf_load(rows[0]), vf_load(rows[1]), vf_load(rows[2]),
                  vf_load(rows[3]));
        for (size_t i = 0; i < size; i++) {
            faults += p[i] != (i % step < 4 ? rows[i % step][i / step] : -1.0f);
        }
    }
    return faults;
}

static int check_lanes(void)
{
    int faults = strided_faults() + between_faults() + columns_faults();
    float one_hot[VF_LANES] = {0};
    for (size_t n = 0; n <= VF_LANES; n++) {
        faults += partial_faults(n);
    }
    faults += vm_any(vf_lt(vf_zero(), vf_load(one_hot))) != 0;
    for (size_t i = 0; i < VF_LANES; i++) {
        one_hot[i] = 1.0f;
        faults += vm_any(vf_lt(vf_zero(), vf_load(one_hot))) != 1;
        one_hot[i] = 0.0f;
    }
    printf("lanes=%d faults=%d\n", VF_LANES, faults);
    return faults != 0;
}

/* ---- command line ---------------------------------------------------------------------------- */

static const function *function_named(const char *name)
{
    for (size_t i = 0; i < FUNCTIONS; i++) {
        if (!strcmp(functions[i].name, name)) {
            return &functions[i];
        }
    }
    return NULL;
}

static const operation *operation_named(const char *name)
{
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (!strcmp(operations[i].name, name)) {
            return &operations[i];
        }
    }
    return NULL;
}

static int list_names(int of_operations)
{
    for (size_t i = 0; i < (of_operations ? OPERATIONS : FUNCTIONS); i++) {
        puts(of_operations ? operations[i].name : functions[i].name);
    }
    return 0;
}

int main(int count, char **arg)
{
    const char *mode = count > 1 ? arg[1] : "";
    const function *f = count > 2 ? function_named(arg[2]) : NULL;
    const operation *op = count > 2 ? operation_named(arg[2]) : NULL;
    if (!strcmp(mode, "sweep") && f && (count == 7 || count == 8)) {
        return sweep(f, arg + 3, count == 8 && !strcmp(arg[7], "hash"));
    }
    if (!strcmp(mode, "op") && op) {
        return run_operation(op);
    }
    if (!strcmp(mode, "apply") && count == 6) {
        return apply(arg + 2);
    }
    if (!strcmp(mode, "lanes")) {
        return check_lanes();
    }
    if (!strcmp(mode, "functions") || !strcmp(mode, "ops")) {
        return list_names(mode[0] == 'o');
    }
    fprintf(stderr, "usage: math_sweep sweep|apply|op|lanes|functions|ops ...\n");
    return 2;
}
