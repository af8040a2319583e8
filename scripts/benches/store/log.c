/* log.c - how fast the log of all groups commits, beside a bare file on the same disk.
 *
 * Usage: bench_store DIRECTORY [ENTRY_BYTES] [BATCH] [GROUPS] [ROUNDS]
 *
 * Rounds of both take turns, so that they meet the same disk: one appends BATCH entries to a file
 * and syncs it, a hundred times over; the other writes BATCH entries, spread over GROUPS groups, to
 * the log and waits for all of them, as often. Prints JSON: entries/s of both, their ratio, the p50
 * of a commit, and write amplification: bytes that the process wrote while the log ran, by payload.
 * Before, so much goes through the log that its files are used again: those of the first
 * generations are zeroed ahead of what is written, once. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "env/uv.h"
#include "store/log.h"

enum {
    WARM_UP_BYTES = 200 << 20,
    WARM_UP_ENTRY = 1 << 20,
    COMMITS = 100,
    GROUPS_MAX = 1000,
    SAMPLES_MAX = 1 << 20
};

struct bench {
    struct env *env;
    struct store_log *log;
    struct env_file *file;
    uint64_t file_offset;
    size_t entry_bytes, batch, groups, rounds;
    char *payload;
    struct store_log_entry *entries;
    struct store_log_write writes[GROUPS_MAX];
    uint64_t last[GROUPS_MAX];
    size_t waiting, commits;
    uint64_t began_us;
    uint64_t raw_us, log_us, log_bytes;
    uint64_t raw_samples[SAMPLES_MAX], log_samples[SAMPLES_MAX];
    size_t raw_count, log_count;
};

static void must(int rc, const char *what)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, peri_strerror(rc));
    exit(1);
}

/* What write() and its like have taken from this process so far. */
static uint64_t written_bytes(struct env *env)
{
    char text[512];
    struct env_file *file = NULL;
    must(env_file_open(env, "/proc/self/io", ENV_FILE_READ, &file, NULL), "open /proc/self/io");
    int64_t got = env_file_read(file, text, sizeof text - 1, NULL);
    (void)env_file_close(file, NULL);
    PERI_ASSERT(got > 0);
    text[got] = '\0';
    const char *at = strstr(text, "wchar: ");
    PERI_ASSERT(at != NULL);
    return strtoull(at + strlen("wchar: "), NULL, 10);
}

static void run_raw(struct bench *bench)
{
    size_t size = bench->entry_bytes * bench->batch;
    for (int i = 0; i < COMMITS; i++) {
        uint64_t began_us = env_now_us(bench->env);
        must(env_file_pwrite(bench->file, bench->payload, size, bench->file_offset, NULL), "write");
        must(env_file_sync(bench->file, NULL), "sync");
        bench->file_offset += size;
        bench->raw_samples[bench->raw_count++] = env_now_us(bench->env) - began_us;
        bench->raw_us += env_now_us(bench->env) - began_us;
    }
}

static void commit(struct bench *bench);

static void on_written(struct store_log_write *write, int status)
{
    struct bench *bench = write->data;
    must(status, "write to the log");
    if (--bench->waiting > 0)
        return;
    uint64_t took_us = env_now_us(bench->env) - bench->began_us;
    bench->log_us += took_us;
    bench->log_samples[bench->log_count++] = took_us;
    if (--bench->commits > 0)
        commit(bench);
    else
        env_stop(bench->env);
}

static void commit(struct bench *bench)
{
    size_t share = bench->batch / bench->groups;
    bench->waiting = bench->groups;
    bench->began_us = env_now_us(bench->env);
    for (size_t i = 0; i < bench->groups; i++) {
        struct raft_record record = {
            .term = 1, .first = bench->last[i] + 1, .last = bench->last[i] + share};
        must(store_log_write(bench->log, &bench->writes[i], i + 1, &record, bench->entries),
             "write to the log");
        bench->last[i] += share;
    }
}

static const struct raft_configuration members = {{1}, {RAFT_VOTER}, 1};

static void run_log(struct bench *bench)
{
    uint64_t before = written_bytes(bench->env);
    bench->commits = COMMITS;
    commit(bench);
    env_run(bench->env);
    for (size_t i = 0; i < bench->groups; i++)
        if (bench->last[i] > 10000)
            must(store_log_cut(bench->log, i + 1, bench->last[i] - 10000, 1, &members), "cut");
    bench->log_bytes += written_bytes(bench->env) - before;
}

static void on_prepared(struct store_log_write *write, int status)
{
    struct bench *bench = write->data;
    must(status, "prepare the log");
    if (--bench->waiting == 0)
        env_stop(bench->env);
}

static void on_open(void *data, int status, const struct store_log_found *groups, size_t count,
                    const struct peri_error *err)
{
    struct bench *bench = data;
    (void)groups;
    if (status != 0 || count > 0)
        (void)fprintf(stderr, "%s\n", status != 0 ? err->text : "the directory is not empty");
    must(status != 0 ? status : count > 0 ? PERI_EUSAGE : 0, "open the log");
    bench->waiting = bench->groups;
    for (size_t i = 0; i < bench->groups; i++) {
        bench->writes[i].on_written = on_prepared;
        bench->writes[i].data = bench;
        must(store_log_create_group(bench->log, &bench->writes[i], i + 1, 1, &members), "create");
    }
}

/* Writes large entries until the first generations are gone. */
static void warm_up(struct bench *bench)
{
    char *payload = calloc(1, WARM_UP_ENTRY);
    PERI_ASSERT(payload != NULL);
    struct store_log_entry entry = {1, RAFT_COMMAND, peri_slice_of(payload, WARM_UP_ENTRY)};
    for (size_t bytes = 0; bytes < WARM_UP_BYTES; bytes += WARM_UP_ENTRY) {
        uint64_t index = ++bench->last[0];
        struct raft_record record = {.term = 1, .first = index, .last = index};
        bench->waiting = 1;
        must(store_log_write(bench->log, &bench->writes[0], 1, &record, &entry), "write");
        env_run(bench->env);
        must(store_log_cut(bench->log, 1, index, 1, &members), "cut");
    }
    free(payload);
}

static void open_all(struct bench *bench, const char *directory)
{
    char path[4096];
    struct store_log_options options;
    store_log_options_init(&options, 1, 1);
    (void)snprintf(path, sizeof path, "%s/raw", directory);
    must(env_file_open(bench->env, path, ENV_FILE_WRITE | ENV_FILE_CREATE, &bench->file, NULL),
         "open");
    (void)snprintf(path, sizeof path, "%s/log", directory);
    must(store_log_open(&bench->log, bench->env, path, &options, on_open, bench, NULL), "open");
    env_run(bench->env);
    warm_up(bench);
    for (size_t i = 0; i < bench->groups; i++)
        bench->writes[i].on_written = on_written;
}

static int compare(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return left < right ? -1 : left > right;
}

static uint64_t quantile(uint64_t *samples, size_t count, unsigned percent)
{
    qsort(samples, count, sizeof *samples, compare);
    return samples[(count - 1) * percent / 100];
}

static void report(struct bench *bench)
{
    double entries = (double)(bench->batch * COMMITS * bench->rounds);
    double raw = entries * 1e6 / (double)bench->raw_us, log = entries * 1e6 / (double)bench->log_us;
    struct store_log_stats stats;
    store_log_stats(bench->log, &stats);
    (void)printf(
        "{\"entry_bytes\":%zu,\"batch\":%zu,\"groups\":%zu,\"raw_per_s\":%.0f,"
        "\"log_per_s\":%.0f,\"ratio\":%.2f,\"raw_p50_us\":%" PRIu64 ",\"log_p50_us\":%" PRIu64
        ",\"log_p99_us\":%" PRIu64 ",\"write_amplification\":%.3f,\"generations\":%" PRIu64 "}\n",
        bench->entry_bytes, bench->batch, bench->groups, raw, log, log / raw,
        quantile(bench->raw_samples, bench->raw_count, 50),
        quantile(bench->log_samples, bench->log_count, 50),
        quantile(bench->log_samples, bench->log_count, 99),
        (double)bench->log_bytes / ((double)bench->entry_bytes * entries), stats.generations);
}

static size_t argument(int argc, char **argv, int at, size_t otherwise)
{
    return argc > at ? (size_t)strtoull(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench.entry_bytes = argument(argc, argv, 2, 256);
    bench.batch = argument(argc, argv, 3, 100);
    bench.groups = argument(argc, argv, 4, 1);
    bench.rounds = argument(argc, argv, 5, 20);
    if (argc < 2 || bench.groups == 0 || bench.groups > GROUPS_MAX || bench.groups > bench.batch ||
        bench.batch % bench.groups != 0 || bench.rounds * COMMITS > SAMPLES_MAX) {
        (void)fprintf(stderr, "usage: bench_store DIRECTORY [ENTRY_BYTES] [BATCH] [GROUPS] "
                              "[ROUNDS]; BATCH is a multiple of GROUPS\n");
        return 2;
    }
    must(env_uv_create(&bench.env, NULL), "create the environment");
    bench.payload = calloc(bench.batch, bench.entry_bytes);
    bench.entries = calloc(bench.batch, sizeof *bench.entries);
    PERI_ASSERT(bench.payload != NULL && bench.entries != NULL);
    env_random(bench.env, bench.payload, bench.batch * bench.entry_bytes);
    for (size_t i = 0; i < bench.batch; i++)
        bench.entries[i] = (struct store_log_entry){
            1, RAFT_COMMAND,
            peri_slice_of(bench.payload + i * bench.entry_bytes, bench.entry_bytes)};
    open_all(&bench, argv[1]);
    for (size_t i = 0; i < bench.rounds; i++) {
        run_raw(&bench);
        run_log(&bench);
    }
    report(&bench);
    store_log_close(bench.log);
    (void)env_file_close(bench.file, NULL);
    env_run(bench.env);
    env_close(bench.env);
    free(bench.payload);
    free(bench.entries);
    return 0;
}
