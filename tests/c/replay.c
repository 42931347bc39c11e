/* Replays programs recorded with their expected bits on every kernel table this machine can run, and
 * compares exactly (any NaN equals any NaN). Usage: replay FILE [THREADS]: with THREADS, that many
 * share every instruction that can be shared. Exit code 1 on any difference. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rnnengine.h"

enum { TABLES = 8, FIELDS = 16 };

typedef struct bytes {
    void *data;
    int64_t size;
} bytes;

static int threads = 1;

static void stop(const char *why)
{
    fprintf(stderr, "replay: %s\n", why);
    exit(2);
}

static void read_exactly(FILE *file, void *to, size_t size)
{
    if (size > 0 && fread(to, 1, size, file) != size) {
        stop("the file ends early");
    }
}

static bytes read_block(FILE *file)
{
    bytes block = {NULL, 0};
    read_exactly(file, &block.size, sizeof block.size);
    if (block.size < 0 || block.size > (1 << 28)) {
        stop("a block has an impossible size");
    }
    size_t room = ((size_t)block.size + 127) & ~(size_t)63;
    block.data = aligned_alloc(64, room);
    if (!block.data) {
        stop("out of memory");
    }
    read_exactly(file, block.data, (size_t)block.size);
    return block;
}

static int same_bits(const bytes *got, const bytes *expected)
{
    const float *a = got->data, *b = expected->data;
    for (int64_t i = 0; i < expected->size / 4; i++) {
        if (memcmp(&a[i], &b[i], 4) != 0 && (a[i] == a[i] || b[i] == b[i])) {
            fprintf(stderr, "  element %lld: %a, expected %a\n", (long long)i, (double)a[i],
                    (double)b[i]);
            return 0;
        }
    }
    return 1;
}

static int run_table(const rnne_program_desc *desc, const char *isa, const int64_t *symbols,
                     const bytes *inputs, const bytes *expected)
{
    rnne_program *program;
    rnne_context *context;
    int64_t fault;
    const void *in[256];
    void *out[256];
    bytes got[256];
    int bad = 0;
    if (rnne_program_create(desc, rnne_kernels_find(isa), &program) != RNNE_OK ||
        rnne_context_create(program, &context) != RNNE_OK ||
        rnne_context_bind(context, symbols, threads, &fault) != RNNE_OK) {
        stop("a program was refused");
    }
    for (int64_t i = 0; i < desc->n_inputs; i++) {
        in[i] = inputs[i].data;
    }
    for (int64_t i = 0; i < desc->n_outputs; i++) {
        got[i] = (bytes){malloc((size_t)expected[i].size + 64), expected[i].size};
        out[i] = got[i].data;
        memset(out[i], 0x5a, (size_t)expected[i].size + 64);
    }
    if (rnne_context_run(context, in, out, &fault) != RNNE_OK) {
        stop("a program failed");
    }
    for (int64_t i = 0; i < desc->n_outputs; i++) {
        bad |= !same_bits(&got[i], &expected[i]);
        for (int k = 0; k < 64; k++) {
            bad |= ((unsigned char *)out[i])[expected[i].size + k] != 0x5a;
        }
        free(out[i]);
    }
    rnne_context_free(context);
    rnne_program_free(program);
    return bad;
}

static int run_case(FILE *file, int64_t number)
{
    int64_t f[FIELDS], constant_bytes[4096];
    const void *constants[4096];
    bytes table[TABLES], symbols, blocks[4096 + 512];
    int64_t n = 0;
    int bad = 0;
    read_exactly(file, f, sizeof f);
    if (f[0] < 0 || f[0] > 256 || f[1] < 0 || f[1] > 256 || f[12] < 0 || f[12] > 4096) {
        stop("a header is out of range");
    }
    for (int i = 0; i < TABLES; i++) {
        table[i] = read_block(file);
    }
    symbols = read_block(file);
    for (int64_t i = 0; i < f[12] + f[0] + f[1]; i++) {
        blocks[n++] = read_block(file);
    }
    for (int64_t i = 0; i < f[12]; i++) {
        constants[i] = blocks[i].data;
        constant_bytes[i] = blocks[i].size;
    }
    const rnne_program_desc desc = {
        .n_symbols = f[3], .terms = table[0].data, .n_terms = f[4], .exprs = table[1].data,
        .n_exprs = f[5], .buffers = table[2].data, .n_buffers = f[6], .operands = table[3].data,
        .n_operands = f[7], .instrs = table[4].data, .n_instrs = f[8], .refs = table[5].data,
        .n_refs = f[9], .ints = table[6].data, .n_ints = f[10], .floats = table[7].data,
        .n_floats = f[11], .constants = constants, .constant_bytes = constant_bytes,
        .n_constants = f[12], .n_inputs = f[0], .n_outputs = f[1], .n_slots = f[2]};
    for (int i = 0; i < rnne_kernels_count(); i++) {
        if (rnne_kernels_usable(i) &&
            run_table(&desc, rnne_kernels_name(i), symbols.data, blocks + f[12],
                      blocks + f[12] + f[0])) {
            fprintf(stderr, "case %lld differs on %s\n", (long long)number, rnne_kernels_name(i));
            bad = 1;
        }
    }
    for (int i = 0; i < TABLES; i++) {
        free(table[i].data);
    }
    free(symbols.data);
    while (n > 0) {
        free(blocks[--n].data);
    }
    return bad;
}

int main(int argc, char **argv)
{
    char magic[8];
    int64_t cases = 0, bad = 0;
    FILE *file = argc == 2 || argc == 3 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        stop("usage: replay FILE [THREADS]");
    }
    threads = argc == 3 ? -atoi(argv[2]) : 1;
    read_exactly(file, magic, sizeof magic);
    read_exactly(file, &cases, sizeof cases);
    if (memcmp(magic, "RNNEVEC1", sizeof magic) != 0) {
        stop("not a vector file");
    }
    for (int64_t i = 0; i < cases; i++) {
        bad += run_case(file, i);
    }
    fclose(file);
    printf("cases %lld tables", (long long)cases);
    for (int i = 0; i < rnne_kernels_count(); i++) {
        printf("%s", rnne_kernels_usable(i) ? " " : "");
        printf("%s", rnne_kernels_usable(i) ? rnne_kernels_name(i) : "");
    }
    printf(" different %lld\n", (long long)bad);
    return bad != 0;
}
