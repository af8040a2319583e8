/* How memory_bytes is divided: a quarter is kept for the spill writer's block, key and footer, the
 * rest holds the emissions. Before the runs are merged the emissions' memory is given back, and
 * the merge works within memory_bytes in turn. */
#include "mapreduce/emit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "mapreduce/kept.h"
#include "mapreduce/pass.h"
#include "mapreduce/room.h"

enum {
    PAIR_SHARE = 8,     /* a pair may take this part of the memory */
    KEY_SHARE = 32,     /* and its key this part */
    FOOTER_BYTES = 160, /* a partition's cost in writer, footer and reader */
};
static const size_t memory_max = (size_t)16 << 30; /* sort items address 32 GiB */

struct mr_emit {
    struct env *env;
    struct mr_emit_options options;
    char *path;
    struct mr_kept kept;
    struct mr_runs runs;
    struct mr_spill_part *parts; /* of the finished file */
    struct mr_position position; /* of the next emission */
    struct mr_emit_stats stats;
    struct peri_buffer scratch;   /* a key being encoded */
    struct mr_bounded_room trial; /* of mr_emit_check */
    bool has_file, is_finished;
    bool is_writing; /* the memory's content is being walked */
};

/* ---- creating ---- */

static int check_options(const struct mr_emit_options *options, struct peri_error *err)
{
    size_t memory = options->memory_bytes;
    uint32_t partitions = options->partitioner.partitions;
    if (memory < MR_EMIT_MEMORY_MIN || memory > memory_max)
        return peri_fail_plain(err, PERI_EINVAL,
                               "memory must be between %d KiB and 16 GiB, not %zu bytes",
                               MR_EMIT_MEMORY_MIN >> 10, memory);
    if (partitions < 1 || partitions > MR_PARTITIONS_MAX)
        return peri_fail_plain(err, PERI_EINVAL, "there can be 1 to %d partitions, not %" PRIu32,
                               MR_PARTITIONS_MAX, partitions);
    if ((size_t)partitions * FOOTER_BYTES > memory / PAIR_SHARE)
        return peri_fail_plain(err, PERI_EMEMORY,
                               "%" PRIu32 " partitions need at least %zu KiB of memory", partitions,
                               ((size_t)partitions * FOOTER_BYTES * PAIR_SHARE + 1023) / 1024);
    return 0;
}

static int prepare(struct mr_emit *emit, struct peri_error *err)
{
    size_t room = emit->options.memory_bytes / 4 * 3;
    emit->trial = mr_bounded_room(emit->options.memory_bytes / MR_STATE_SHARE);
    emit->path = strdup(emit->options.path);
    emit->parts = calloc(emit->options.partitioner.partitions, sizeof *emit->parts);
    if (emit->path == NULL || emit->parts == NULL)
        return peri_fail(err, PERI_ENOMEM, "emit");
    emit->runs.pass = (struct mr_pass){
        .env = emit->env,
        .partitions = emit->options.partitioner.partitions,
        .first = 0,
        .last = emit->options.partitioner.partitions - 1,
        .reducer = emit->options.reducer,
        .combine = emit->options.combine,
        .combine_data = emit->options.combine_data,
        .memory_bytes = emit->options.memory_bytes,
        .temp_path = emit->path,
    };
    return mr_kept_init(&emit->kept, emit->env, &emit->options.reducer, room, err);
}

int mr_emit_create(struct mr_emit **out, struct env *env, const struct mr_emit_options *options,
                   struct peri_error *err)
{
    int rc = check_options(options, err);
    if (rc != 0)
        return rc;
    struct mr_emit *emit = calloc(1, sizeof *emit);
    if (emit == NULL)
        return peri_fail(err, PERI_ENOMEM, "emit");
    emit->env = env;
    emit->options = *options;
    rc = prepare(emit, err);
    if (rc != 0) {
        mr_emit_close(emit);
        return rc;
    }
    *out = emit;
    return 0;
}

/* ---- writing what is in memory ---- */

static int write_memory(struct mr_emit *emit, struct mr_spill_writer *writer,
                        struct peri_error *err)
{
    return mr_kept_write(&emit->kept, writer, emit->options.combine, emit->options.combine_data,
                         err);
}

static int write_runs(struct mr_emit *emit, struct mr_spill_writer *writer, struct peri_error *err)
{
    return mr_runs_merge(&emit->runs, writer, err);
}

/* Makes a spill file at path from what write gives. */
static int make_file(struct mr_emit *emit, const char *path,
                     int (*write)(struct mr_emit *, struct mr_spill_writer *, struct peri_error *),
                     struct peri_error *err)
{
    struct mr_spill_options options = {
        .partitions = emit->options.partitioner.partitions,
        .block_bytes = mr_pass_block_bytes(emit->options.memory_bytes),
        .lz4 = emit->options.lz4,
    };
    struct mr_spill_writer *writer = NULL;
    int rc = mr_spill_writer_open(&writer, emit->env, path, &options, err);
    if (rc != 0)
        return rc;
    emit->has_file |= path == emit->path;
    rc = write(emit, writer, err);
    if (rc == 0)
        rc = mr_spill_writer_finish(writer, err);
    emit->stats.spilled_bytes += mr_spill_writer_bytes(writer);
    memcpy(emit->parts, mr_spill_writer_parts(writer), options.partitions * sizeof *emit->parts);
    mr_spill_writer_close(writer);
    return rc;
}

/* ---- spilling ---- */

static void note_memory(struct mr_emit *emit)
{
    size_t used = mr_kept_used_bytes(&emit->kept);
    if (used > emit->stats.memory_peak_bytes)
        emit->stats.memory_peak_bytes = used;
}

static int spill(struct mr_emit *emit, struct peri_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s.run-%" PRIu32, emit->path, emit->stats.runs) < 0)
        return peri_fail(err, PERI_ENOMEM, "emit");
    note_memory(emit);
    int rc = mr_runs_add(&emit->runs, path, -1, true, err); /* first, so that close removes it */
    if (rc == 0)
        rc = make_file(emit, path, write_memory, err);
    free(path);
    if (rc != 0)
        return rc;
    emit->stats.runs++;
    mr_kept_clear(&emit->kept);
    return 0;
}

/* ---- adding ---- */

void mr_emit_at(struct mr_emit *emit, uint64_t file, uint64_t offset)
{
    emit->position = (struct mr_position){file, offset, 0};
}

static int check_size(const struct mr_emit *emit, struct peri_slice key, size_t size,
                      struct peri_error *err)
{
    size_t memory = emit->options.memory_bytes;
    if (key.size <= memory / KEY_SHARE && size <= memory / PAIR_SHARE)
        return 0;
    if (key.size > memory / KEY_SHARE)
        return peri_fail_plain(err, PERI_ETOOBIG,
                               "a key of %zu bytes; with %zu KiB of memory a key has at most %zu",
                               key.size, memory >> 10, memory / KEY_SHARE);
    return peri_fail_plain(err, PERI_ETOOBIG,
                           "a pair of %zu bytes; with %zu KiB of memory a pair has at most %zu",
                           size, memory >> 10, memory / PAIR_SHARE);
}

/* Spills because an addition found no room; an empty memory cannot give any. */
static int make_room(struct mr_emit *emit, struct peri_slice key, struct peri_error *err)
{
    if (!mr_kept_is_empty(&emit->kept)) {
        emit->is_writing = true;
        int rc = spill(emit, err);
        emit->is_writing = false;
        return rc;
    }
    return peri_fail_plain(
        err, PERI_EMEMORY,
        "the state of one key (of %zu bytes) does not fit into %zu KiB of memory", key.size,
        emit->options.memory_bytes >> 10);
}

static int add_state(struct mr_emit *emit, const uint32_t *part, struct peri_slice key,
                     struct peri_slice value, struct peri_error *err)
{
    const struct mr_partitioner *partitioner = &emit->options.partitioner;
    for (;;) {
        int rc =
            mr_table_add(emit->kept.table, partitioner, part, key, value, &emit->position, err);
        if (rc != PERI_EMEMORY)
            return rc;
        rc = make_room(emit, key, err);
        if (rc != 0)
            return rc;
    }
}

static int add_pair(struct mr_emit *emit, uint32_t part, struct peri_slice key,
                    struct peri_slice value, struct peri_error *err)
{
    while (!mr_collect_add(&emit->kept.collect, part, key, value)) {
        int rc = make_room(emit, key, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int add(struct mr_emit *emit, const uint32_t *part, struct peri_slice key,
               struct peri_slice value, struct peri_error *err)
{
    size_t size = key.size + value.size;
    PERI_ASSERT(key.size > 0);
    if (emit->is_writing)
        return peri_fail_plain(err, PERI_EINVAL, "map's out cannot be used while combine runs");
    int rc = check_size(emit, key, size, err);
    if (rc != 0)
        return rc;
    if (emit->kept.table != NULL)
        rc = add_state(emit, part, key, value, err);
    else
        rc = add_pair(emit, part != NULL ? *part : mr_partition_of(&emit->options.partitioner, key),
                      key, value, err);
    if (rc != 0)
        return rc;
    emit->position.sequence++;
    emit->stats.records_in++;
    emit->stats.bytes_in += size;
    return 0;
}

int mr_emit_check(struct mr_emit *emit, struct peri_slice key, struct peri_slice value,
                  struct peri_error *err)
{
    int rc = check_size(emit, key, key.size + value.size, err);
    if (rc != 0 || emit->kept.table == NULL)
        return rc;
    return mr_room_try(&emit->options.reducer, &emit->trial, value, err);
}

int mr_emit_add(struct mr_emit *emit, struct peri_slice key, struct peri_slice value,
                struct peri_error *err)
{
    return add(emit, NULL, key, value, err);
}

int mr_emit_add_to(struct mr_emit *emit, uint32_t part, struct peri_slice key,
                   struct peri_slice value, struct peri_error *err)
{
    PERI_ASSERT(part < emit->options.partitioner.partitions);
    return add(emit, &part, key, value, err);
}

/* The general path of mr_emit_add_string: encodes both. */
static int add_encoded(struct mr_emit *emit, struct peri_slice string, int64_t integer,
                       struct peri_error *err)
{
    char value[MR_VALUE_SCALAR_MAX];
    const struct mr_datum part = {.type = MR_STRING, .string = string};
    emit->scratch.size = 0;
    int rc = mr_key_encode(&part, 1, &emit->scratch, err);
    if (rc != 0)
        return rc;
    size_t size = mr_value_write_integer(integer, value);
    struct peri_buffer key = emit->scratch; /* a combiner that misuses out comes here as well */
    emit->scratch = (struct peri_buffer){0};
    rc = mr_emit_add(emit, peri_buffer_slice(&key), peri_slice_of(value, size), err);
    peri_buffer_deinit(&emit->scratch);
    emit->scratch = key;
    return rc;
}

bool mr_emit_is_sum(const struct mr_emit *emit)
{
    return emit->options.reducer.kind == MR_REDUCE_SUM;
}

static bool is_counting(const struct mr_emit *emit)
{
    enum mr_reducer_kind kind = emit->options.reducer.kind;
    return kind == MR_REDUCE_SUM || kind == MR_REDUCE_COUNT;
}

/* How many of the strings, from the first on, may be keys of the table without a look at their
 * size. */
static size_t count_short(const struct mr_emit *emit, const struct mr_tally *tallies, size_t count,
                          uint64_t *bytes)
{
    size_t limit = emit->options.memory_bytes / KEY_SHARE;
    size_t i = 0;
    for (; i < count && tallies[i].string.size < limit; i++)
        *bytes += tallies[i].string.size + 2;
    return i;
}

/* Adds the strings that fit into the table as it is; *done is how many. */
static int add_fitting(struct mr_emit *emit, const struct mr_tally *tallies, size_t count,
                       size_t *done, struct peri_error *err)
{
    uint64_t bytes = 0;
    size_t fitting = count_short(emit, tallies, count, &bytes);
    int rc = mr_table_add_tallies(emit->kept.table, &emit->options.partitioner, tallies, fitting,
                                  done, err);
    for (size_t i = *done; i < fitting; i++)
        bytes -= tallies[i].string.size + 2;
    emit->stats.records_in += *done;
    emit->stats.bytes_in += bytes;
    return rc == PERI_EMEMORY ? 0 : rc;
}

int mr_emit_add_tallies(struct mr_emit *emit, const struct mr_tally *tallies, size_t count,
                        struct peri_error *err)
{
    size_t added = 0;
    while (added < count) {
        size_t done = 0;
        int rc =
            is_counting(emit) ? add_fitting(emit, tallies + added, count - added, &done, err) : 0;
        added += done;
        if (rc == 0 && added < count) { /* one that does not fit, or another reducer */
            rc = add_encoded(emit, tallies[added].string, tallies[added].integer, err);
            added++;
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

int mr_emit_add_string(struct mr_emit *emit, struct peri_slice string, int64_t integer,
                       struct peri_error *err)
{
    if (!is_counting(emit) || string.size >= emit->options.memory_bytes / KEY_SHARE)
        return add_encoded(emit, string, integer, err);
    int rc =
        mr_table_add_string(emit->kept.table, &emit->options.partitioner, string, integer, err);
    if (rc == PERI_EMEMORY)
        return add_encoded(emit, string, integer, err);
    if (rc != 0)
        return rc;
    emit->stats.records_in++;
    emit->stats.bytes_in += string.size + 2;
    return 0;
}

/* ---- finishing ---- */

/* Everything fitted into memory, or nothing did: one file, or one merge of the runs. */
static int write_all(struct mr_emit *emit, struct peri_error *err)
{
    if (emit->runs.count == 0)
        return make_file(emit, emit->path, write_memory, err);
    int rc = mr_kept_is_empty(&emit->kept) ? 0 : spill(emit, err);
    if (rc != 0)
        return rc;
    mr_kept_deinit(&emit->kept);
    rc = mr_runs_shrink(&emit->runs, err);
    return rc != 0 ? rc : make_file(emit, emit->path, write_runs, err);
}

int mr_emit_finish(struct mr_emit *emit, struct peri_error *err)
{
    note_memory(emit);
    emit->is_writing = true; /* until close */
    int rc = write_all(emit, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < emit->options.partitioner.partitions; i++)
        emit->stats.records_out += emit->parts[i].sum.records;
    emit->stats.spilled_bytes += emit->runs.temp_bytes;
    emit->is_finished = true;
    mr_kept_deinit(&emit->kept);
    mr_runs_deinit(&emit->runs);
    return 0;
}

const struct mr_spill_part *mr_emit_parts(const struct mr_emit *emit)
{
    return emit->parts;
}

void mr_emit_stats(const struct mr_emit *emit, struct mr_emit_stats *out)
{
    *out = emit->stats;
}

void mr_emit_close(struct mr_emit *emit)
{
    if (emit == NULL)
        return;
    mr_runs_deinit(&emit->runs);
    if (emit->has_file && !emit->is_finished)
        (void)env_path_remove(emit->env, emit->path, NULL);
    mr_kept_deinit(&emit->kept);
    peri_buffer_deinit(&emit->scratch);
    mr_bounded_room_deinit(&emit->trial);
    free(emit->parts);
    free(emit->path);
    free(emit);
}
