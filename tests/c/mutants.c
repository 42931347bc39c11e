/* Changes numbers in the tables of recorded programs and runs what the verifier lets through, on
 * arrays of exactly the bound sizes. Built with the address and undefined-behaviour sanitizers, any
 * access outside a buffer ends the process. Usage: mutants FILE SEED ROUNDS TABLE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rnnengine.h"

enum { TABLES = 8, FIELDS = 16, FLOATS = 7, MOST = 4096, BUFFER_INPUT = 1, BUFFER_OUTPUT = 2 };
enum { LARGEST = 1 << 20 }; /* elements of an input or output that is worth running */

typedef struct block {
    int64_t *data;
    int64_t size;
} block;

typedef struct recorded {
    int64_t field[FIELDS];
    block table[TABLES], symbols, constants[MOST];
} recorded;

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

static void stop(const char *why)
{
    fprintf(stderr, "mutants: %s\n", why);
    exit(2);
}

static block read_block(FILE *file)
{
    block b = {NULL, 0};
    if (fread(&b.size, sizeof b.size, 1, file) != 1 || b.size < 0 || b.size > 1 << 28) {
        stop("a block has an impossible size");
    }
    b.data = malloc((size_t)b.size + 8);
    if (!b.data || (b.size > 0 && fread(b.data, (size_t)b.size, 1, file) != 1)) {
        stop("the file ends early");
    }
    return b;
}

static recorded *read_case(FILE *file)
{
    recorded *r = calloc(1, sizeof *r);
    if (!r || fread(r->field, sizeof r->field, 1, file) != 1 || r->field[12] > MOST) {
        stop("a header is out of range");
    }
    for (int i = 0; i < TABLES; i++) {
        r->table[i] = read_block(file);
    }
    r->symbols = read_block(file);
    for (int64_t i = 0; i < r->field[12]; i++) {
        r->constants[i] = read_block(file);
    }
    for (int64_t i = 0; i < r->field[0] + r->field[1]; i++) {
        free(read_block(file).data);
    }
    return r;
}

static void free_case(recorded *r)
{
    for (int i = 0; i < TABLES; i++) {
        free(r->table[i].data);
    }
    free(r->symbols.data);
    for (int64_t i = 0; i < r->field[12]; i++) {
        free(r->constants[i].data);
    }
    free(r);
}

/* A number that verifiers get wrong, another number of the table, or a neighbour of the old one. */
static int64_t odd_number(const block *table, int64_t old)
{
    static const int64_t odd[] = {-1, 0, 1, 2, 3, 7, 8, 15, 16, 17, 255, 1 << 20, INT32_MAX,
                                  (int64_t)1 << 31, (int64_t)1 << 32, (int64_t)1 << 40,
                                  (int64_t)1 << 59, (int64_t)1 << 60, (int64_t)1 << 62, INT64_MAX,
                                  -2, INT32_MIN, -((int64_t)1 << 62), INT64_MIN};
    switch (draw(3)) {
    case 0: return odd[draw(sizeof odd / sizeof odd[0])];
    case 1: return table->data[draw((uint64_t)table->size / 8)];
    default: return (int64_t)((uint64_t)old + draw(7) - 3);
    }
}

static void mutate(block *copies)
{
    for (uint64_t changes = 1 + draw(4) * draw(2); changes > 0; changes--) {
        block *table = &copies[draw(FLOATS)];
        if (table->size >= 8) {
            int64_t *at = &table->data[draw((uint64_t)table->size / 8)];
            *at = odd_number(table, *at);
        }
    }
}

/* Elements of input or output number i: the largest of its buffers; -1 where that is too large. */
static int64_t elements(const rnne_context *context, const block *buffers, int64_t kind, int64_t i)
{
    int64_t most = 0;
    for (int64_t row = 0; row < buffers->size / 32; row++) {
        const int64_t *b = buffers->data + 4 * row;
        if (b[0] == kind && b[1] == i) {
            int64_t n = rnne_context_value(context, b[3]);
            most = n > most ? n : most;
        }
    }
    return most > LARGEST ? -1 : most;
}

/* 1 when the program ran, 0 when it was refused or is too large to run. */
static int run_bound(rnne_context *context, const rnne_program_desc *d, const block *buffers)
{
    void *arrays[2 * 256];
    int64_t n = 0, total = d->n_inputs + d->n_outputs, fault;
    for (; n < total; n++) {
        const int in = n < d->n_inputs;
        int64_t size = elements(context, buffers, in ? BUFFER_INPUT : BUFFER_OUTPUT,
                                in ? n : n - d->n_inputs);
        if (size < 0) {
            break;
        }
        arrays[n] = malloc((size_t)size * 4 + 1);
        memset(arrays[n], in ? 1 : 0, (size_t)size * 4 + 1);
    }
    const int ran = n == total && rnne_context_run(context, (const void *const *)arrays,
                                                   arrays + d->n_inputs, &fault) == RNNE_OK;
    while (n > 0) {
        free(arrays[--n]);
    }
    return ran;
}

static int try_mutant(const recorded *r, const char *isa)
{
    block copies[TABLES];
    const void *constants[MOST];
    int64_t bytes[MOST], symbols[RNNE_MAX_SYMBOLS] = {0}, fault;
    rnne_program *program;
    rnne_context *context;
    int ran = 0;
    for (int i = 0; i < TABLES; i++) {
        copies[i] = (block){malloc((size_t)r->table[i].size + 8), r->table[i].size};
        memcpy(copies[i].data, r->table[i].data, (size_t)r->table[i].size);
    }
    for (int64_t i = 0; i < r->field[12]; i++) {
        constants[i] = r->constants[i].data;
        bytes[i] = r->constants[i].size;
    }
    mutate(copies);
    for (int64_t i = 0; i < r->field[3]; i++) {
        symbols[i] = draw(16) ? (int64_t)draw(6) : odd_number(&copies[0], 0);
    }
    const int64_t *f = r->field;
    const rnne_program_desc d = {
        .n_symbols = f[3], .terms = copies[0].data, .n_terms = f[4], .exprs = copies[1].data,
        .n_exprs = f[5], .buffers = copies[2].data, .n_buffers = f[6], .operands = copies[3].data,
        .n_operands = f[7], .instrs = copies[4].data, .n_instrs = f[8], .refs = copies[5].data,
        .n_refs = f[9], .ints = copies[6].data, .n_ints = f[10],
        .floats = (const float *)copies[7].data, .n_floats = f[11], .constants = constants,
        .constant_bytes = bytes, .n_constants = f[12], .n_inputs = f[0], .n_outputs = f[1],
        .n_slots = f[2]};
    if (rnne_program_create(&d, rnne_kernels_find(isa), &program) == RNNE_OK) {
        if (rnne_context_create(program, &context) == RNNE_OK) {
            ran = rnne_context_bind(context, symbols, 1, &fault) == RNNE_OK &&
                  rnne_context_bytes(context) < 4 * (int64_t)LARGEST &&
                  run_bound(context, &d, &copies[2]);
            rnne_context_free(context);
        }
        rnne_program_free(program);
    }
    for (int i = 0; i < TABLES; i++) {
        free(copies[i].data);
    }
    return ran;
}

int main(int argc, char **argv)
{
    char magic[8];
    int64_t cases = 0, ran = 0, tried = 0;
    FILE *file = argc == 5 && rnne_kernels_find(argv[4]) ? fopen(argv[1], "rb") : NULL;
    if (!file || fread(magic, sizeof magic, 1, file) != 1 ||
        fread(&cases, sizeof cases, 1, file) != 1 || memcmp(magic, "RNNEVEC1", sizeof magic) != 0) {
        stop("usage: mutants FILE SEED ROUNDS TABLE");
    }
    state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
    for (int64_t i = 0; i < cases; i++) {
        recorded *r = read_case(file);
        for (long round = strtol(argv[3], NULL, 10); round > 0; round--) {
            ran += try_mutant(r, argv[4]);
            tried++;
        }
        free_case(r);
    }
    fclose(file);
    printf("tried %lld ran %lld\n", (long long)tried, (long long)ran);
    return 0;
}
