/* record_path.c - how fast the record path is by itself: words into emit, sort, merge.
 *
 * Usage: bench_record_path [MEGABYTES]. Prints MB/s of input on one core, best of 3. The words
 * follow a Zipf law (exponent 1, 300,000 words), the records are 10 + 90 random bytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/uv.h"
#include "mapreduce/emit.h"
#include "mapreduce/token.h"

enum { VOCABULARY = 300000, RECORD = 100, KEY = 10, ROUNDS = 3, RUNS = 16, BATCH = 256 };

struct bench {
    struct env *env;
    size_t bytes;
    char *text;
    uint64_t seed;
};

static uint64_t next_random(struct bench *bench)
{
    uint64_t z = bench->seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void must(int rc, const struct peri_error *err)
{
    if (rc >= 0)
        return;
    (void)fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* The word of a rank: letters only, short for the frequent ones. */
static size_t write_word(unsigned rank, char *out)
{
    size_t size = 0;
    for (unsigned left = rank + 20; left > 0; left /= 20)
        out[size++] = (char)('a' + left % 20);
    if (rank % 3 != 0)
        for (unsigned i = 0; i < rank % 6; i++)
            out[size++] = (char)('a' + (rank >> i) % 26);
    return size;
}

static void make_text(struct bench *bench)
{
    double scale = log(VOCABULARY);
    size_t at = 0;
    while (at + 32 < bench->bytes) {
        double uniform = (double)(next_random(bench) >> 11) * 0x1p-53;
        at += write_word((unsigned)exp(uniform * scale) - 1, bench->text + at);
        bench->text[at++] = next_random(bench) % 8 == 0 ? '\n' : ' ';
    }
    memset(bench->text + at, ' ', bench->bytes - at);
}

static void make_records(struct bench *bench)
{
    for (size_t at = 0; at + 8 <= bench->bytes; at += 8) {
        uint64_t word = next_random(bench);
        memcpy(bench->text + at, &word, sizeof word);
    }
}

static struct mr_emit *open_emit(struct bench *bench, enum mr_reducer_kind kind, size_t memory,
                                 const char *path)
{
    struct mr_emit *emit = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_emit_options options = {.partitioner = {.partitions = 4},
                                      .reducer = {.kind = kind},
                                      .memory_bytes = memory,
                                      .path = path};
    must(mr_emit_create(&emit, bench->env, &options, &err), &err);
    return emit;
}

static void finish(struct bench *bench, struct mr_emit *emit, const char *path)
{
    struct peri_error err = PERI_ERROR_INIT;
    must(mr_emit_finish(emit, &err), &err);
    mr_emit_close(emit);
    if (path != NULL)
        must(env_path_remove(bench->env, path, &err), &err);
}

static void count_words(struct bench *bench)
{
    static const char path[] = "/tmp/bench_record_path.words";
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_emit *emit = open_emit(bench, MR_REDUCE_SUM, (size_t)64 << 20, path);
    struct mr_words words =
        mr_words_of(peri_slice_of(bench->text, bench->bytes), &mr_class_letters);
    struct peri_slice batch[BATCH];
    size_t count = 0;
    while (mr_words_next(&words, &batch[count])) {
        if (++count == BATCH) {
            must(mr_emit_add_strings(emit, batch, count, 1, &err), &err);
            count = 0;
        }
    }
    must(mr_emit_add_strings(emit, batch, count, 1, &err), &err);
    finish(bench, emit, path);
}

static void emit_records(struct bench *bench, size_t from, size_t to, size_t memory,
                         const char *path, bool keep)
{
    struct mr_emit *emit = open_emit(bench, MR_REDUCE_NONE, memory, path);
    struct peri_error err = PERI_ERROR_INIT;
    char key[1 + KEY] = {MR_KEY_STRING};
    char value[1 + RECORD] = {5};
    for (size_t at = from; at + RECORD <= to; at += RECORD) {
        memcpy(key + 1, bench->text + at, KEY);
        memcpy(value + 1, bench->text + at, RECORD);
        must(mr_emit_add(emit, peri_slice_of(key, sizeof key), peri_slice_of(value, sizeof value),
                         &err),
             &err);
    }
    finish(bench, emit, keep ? NULL : path);
}

static void sort_in_memory(struct bench *bench)
{
    emit_records(bench, 0, bench->bytes, 2 * bench->bytes + ((size_t)64 << 20),
                 "/tmp/bench_record_path.sort", false);
}

static void sort_in_64_mb(struct bench *bench)
{
    emit_records(bench, 0, bench->bytes, (size_t)64 << 20, "/tmp/bench_record_path.sort", false);
}

static void path_of(size_t run, char *out, size_t size)
{
    (void)snprintf(out, size, "/tmp/bench_record_path.run-%zu", run);
}

static void write_runs(struct bench *bench)
{
    char path[64];
    size_t share = bench->bytes / RUNS / RECORD * RECORD;
    for (size_t i = 0; i < RUNS; i++) {
        path_of(i, path, sizeof path);
        emit_records(bench, i * share, (i + 1) * share, (size_t)1 << 30, path, true);
    }
}

static void remove_runs(struct bench *bench)
{
    char path[64];
    for (size_t i = 0; i < RUNS; i++) {
        path_of(i, path, sizeof path);
        (void)env_path_remove(bench->env, path, NULL);
    }
}

static void merge_part(struct bench *bench, const struct mr_merge_input *inputs, uint32_t part)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_merge *merge = NULL;
    struct peri_slice key;
    struct peri_slice value;
    struct mr_values *values;
    int64_t failed;
    struct mr_merge_options options = {.inputs = inputs,
                                       .inputs_count = RUNS,
                                       .part = part,
                                       .memory_bytes = (size_t)64 << 20,
                                       .temp_path = "/tmp/bench_record_path.temp"};
    must(mr_merge_open(&merge, bench->env, &options, &failed, &err), &err);
    int rc;
    while ((rc = mr_merge_next(merge, &key, &values, &err)) == 1)
        while ((rc = mr_values_next(values, &value, &err)) == 1)
            ;
    must(rc, &err);
    mr_merge_close(merge);
}

static void merge_runs(struct bench *bench)
{
    char paths[RUNS][64];
    struct mr_merge_input inputs[RUNS] = {{0}};
    for (size_t i = 0; i < RUNS; i++) {
        path_of(i, paths[i], sizeof paths[i]);
        inputs[i].path = paths[i];
    }
    for (uint32_t part = 0; part < 4; part++)
        merge_part(bench, inputs, part);
}

static void measure(struct bench *bench, const char *name, void (*run)(struct bench *))
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = env_cpu_us(bench->env);
        run(bench);
        double rate = (double)bench->bytes / (double)(env_cpu_us(bench->env) - start + 1);
        best = rate > best ? rate : best;
    }
    (void)printf("%-40s %8.0f MB/s\n", name, best);
}

int main(int argc, char **argv)
{
    struct bench bench = {.bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 100) * 1000000};
    struct peri_error err = PERI_ERROR_INIT;
    must(env_uv_create(&bench.env, &err), &err);
    bench.text = malloc(bench.bytes);
    if (bench.text == NULL)
        return 1;
    make_text(&bench);
    measure(&bench, "words into emit with sum, and spill", count_words);
    make_records(&bench);
    measure(&bench, "sort 100-byte records in memory, spill", sort_in_memory);
    measure(&bench, "sort 100-byte records in 64 MB, spill", sort_in_64_mb);
    write_runs(&bench);
    measure(&bench, "merge 16 runs of 100-byte records", merge_runs);
    remove_runs(&bench);
    free(bench.text);
    env_close(bench.env);
    return 0;
}
