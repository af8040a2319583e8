#include "mapreduce/pass.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "mapreduce/groups.h"
#include "mapreduce/room.h"

uint32_t mr_pass_block_bytes(size_t memory_bytes)
{
    enum { BLOCK_MIN = 4 << 10, BLOCK_MAX = 256 << 10, BLOCKS = 64 };
    size_t share = memory_bytes / BLOCKS;
    if (share < BLOCK_MIN)
        return BLOCK_MIN;
    return share > BLOCK_MAX ? BLOCK_MAX : (uint32_t)share;
}

/* ---- the list ---- */

int mr_runs_add(struct mr_runs *runs, const char *path, int64_t input, bool is_temp,
                struct peri_error *err)
{
    enum { FIRST = 16 };
    if (runs->count == runs->capacity) {
        size_t capacity = runs->capacity == 0 ? FIRST : 2 * runs->capacity;
        struct mr_run *items = realloc(runs->items, capacity * sizeof *items);
        if (items == NULL)
            return peri_fail(err, PERI_ENOMEM, "merge");
        runs->items = items;
        runs->capacity = capacity;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return peri_fail(err, PERI_ENOMEM, "merge");
    runs->items[runs->count++] = (struct mr_run){.path = copy, .input = input, .is_temp = is_temp};
    return 0;
}

static void close_run(struct mr_run *run)
{
    mr_spill_file_close(run->file);
    run->file = NULL;
}

/* Ends a run for good. */
static void drop_run(struct mr_runs *runs, struct mr_run *run)
{
    close_run(run);
    if (run->is_temp)
        (void)env_path_remove(runs->pass.env, run->path, NULL);
    free(run->path);
}

void mr_runs_deinit(struct mr_runs *runs)
{
    for (size_t i = 0; i < runs->count; i++)
        drop_run(runs, &runs->items[i]);
    free(runs->items);
    runs->items = NULL;
    runs->count = runs->capacity = 0;
}

/* ---- merging the records of a fan into a writer ---- */

static int copy_records(struct mr_fan *fan, struct mr_spill_writer *writer, uint32_t part,
                        struct peri_error *err)
{
    struct peri_slice key;
    struct peri_slice value;
    int rc;
    while ((rc = mr_fan_next(fan, &key, &value, err)) == 1) {
        rc = mr_spill_writer_add(writer, part, key, value, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int combine_groups(const struct mr_pass *pass, struct mr_groups *groups,
                          struct mr_spill_writer *writer, uint32_t part, struct peri_error *err)
{
    struct peri_slice key;
    int rc;
    while ((rc = mr_groups_next(groups, &key, err)) == 1) {
        struct mr_combine_out out = {.writer = writer, .part = part, .key = key};
        rc = pass->combine(pass->combine_data, key, &groups->values, &out, err);
        if (rc != 0)
            return rc;
    }
    return rc;
}

static int reduce_groups(const struct mr_pass *pass, struct mr_groups *groups,
                         struct mr_spill_writer *writer, uint32_t part, struct peri_error *err)
{
    struct peri_slice key;
    struct peri_buffer encoded = {0};
    struct mr_bounded_room room = mr_bounded_room(pass->memory_bytes / MR_STATE_SHARE);
    int rc;
    while ((rc = mr_groups_next(groups, &key, err)) == 1) {
        encoded.size = 0;
        rc = mr_group_reduce(&pass->reducer, &groups->values, &room, err);
        if (rc == 0)
            rc = mr_reducer_encode(&pass->reducer, &room.state, &encoded, err);
        if (rc == 0)
            rc = mr_spill_writer_add(writer, part, key, peri_buffer_slice(&encoded), err);
        if (rc != 0)
            break;
    }
    mr_bounded_room_deinit(&room);
    peri_buffer_deinit(&encoded);
    return rc;
}

static int merge_fan(const struct mr_pass *pass, struct mr_fan *fan, struct mr_spill_writer *writer,
                     uint32_t part, struct peri_error *err)
{
    bool is_reduced = mr_reducer_has_state(&pass->reducer);
    if (!is_reduced && pass->combine == NULL)
        return copy_records(fan, writer, part, err);
    struct mr_groups groups;
    mr_groups_init(&groups, fan, 0);
    int rc = is_reduced ? reduce_groups(pass, &groups, writer, part, err)
                        : combine_groups(pass, &groups, writer, part, err);
    mr_groups_deinit(&groups);
    return rc;
}

/* Opens a fan over part of the open runs [from, from + count). */
static int open_fan(struct mr_runs *runs, size_t from, size_t count, uint32_t part,
                    struct mr_fan **out, struct peri_error *err)
{
    struct mr_spill_file *files[MR_MERGE_FAN_IN];
    int64_t failed;
    for (size_t i = 0; i < count; i++)
        files[i] = runs->items[from + i].file;
    int rc = mr_fan_open(out, files, count, part, &failed, err);
    if (rc != 0)
        runs->failed_input = failed < 0 ? -1 : runs->items[from + (size_t)failed].input;
    return rc;
}

static int merge_part(struct mr_runs *runs, size_t from, size_t count, uint32_t part,
                      struct mr_spill_writer *writer, struct peri_error *err)
{
    struct mr_fan *fan = NULL;
    int rc = open_fan(runs, from, count, part, &fan, err);
    if (rc != 0)
        return rc;
    rc = merge_fan(&runs->pass, fan, writer, part, err);
    int64_t failed = mr_fan_failed(fan);
    if (rc != 0 && failed >= 0)
        runs->failed_input = runs->items[from + (size_t)failed].input;
    mr_fan_close(fan);
    return rc;
}

static int merge_range(struct mr_runs *runs, size_t from, size_t count,
                       struct mr_spill_writer *writer, struct peri_error *err)
{
    int rc = 0;
    runs->failed_input = -1;
    for (uint32_t part = runs->pass.first; rc == 0 && part <= runs->pass.last; part++)
        rc = merge_part(runs, from, count, part, writer, err);
    return rc;
}

int mr_runs_fan(struct mr_runs *runs, uint32_t part, struct mr_fan **out, struct peri_error *err)
{
    runs->failed_input = -1;
    return open_fan(runs, 0, runs->count, part, out, err);
}

int mr_runs_merge(struct mr_runs *runs, struct mr_spill_writer *writer, struct peri_error *err)
{
    return merge_range(runs, 0, runs->count, writer, err);
}

/* ---- passes ---- */

/* Replaces the runs [from, from + count) by the one at the list's end. */
static void replace_range(struct mr_runs *runs, size_t from, size_t count)
{
    struct mr_run merged = runs->items[--runs->count];
    for (size_t i = 0; i < count; i++)
        drop_run(runs, &runs->items[from + i]);
    runs->items[from] = merged;
    memmove(&runs->items[from + 1], &runs->items[from + count],
            (runs->count - from - count) * sizeof *runs->items);
    runs->count -= count - 1;
}

static int write_merged(struct mr_runs *runs, size_t from, size_t count, const char *path,
                        struct peri_error *err)
{
    struct mr_spill_options options = {
        .partitions = runs->pass.partitions,
        .block_bytes = mr_pass_block_bytes(runs->pass.memory_bytes),
    };
    struct mr_spill_writer *writer = NULL;
    int rc = mr_spill_writer_open(&writer, runs->pass.env, path, &options, err);
    if (rc != 0)
        return rc;
    rc = merge_range(runs, from, count, writer, err);
    if (rc == 0)
        rc = mr_spill_writer_finish(writer, err);
    runs->temp_bytes += mr_spill_writer_bytes(writer);
    mr_spill_writer_close(writer);
    return rc;
}

/* Merges the open runs [from, from + count) into one temporary run in their place. */
static int merge_to_temp(struct mr_runs *runs, size_t from, size_t count, struct peri_error *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s.merge-%" PRIu32, runs->pass.temp_path, runs->temp_count++) < 0)
        return peri_fail(err, PERI_ENOMEM, "merge");
    int rc = mr_runs_add(runs, path, -1, true, err); /* listed first, so that it gets removed */
    free(path);
    if (rc != 0)
        return rc;
    rc = write_merged(runs, from, count, runs->items[runs->count - 1].path, err);
    if (rc == 0)
        replace_range(runs, from, count);
    return rc;
}

static int open_run(struct mr_runs *runs, struct mr_run *run, struct peri_error *err)
{
    if (run->file != NULL)
        return 0;
    int rc = mr_spill_file_open(&run->file, runs->pass.env, run->path, err);
    if (rc == 0 && mr_spill_file_partitions(run->file) != runs->pass.partitions)
        rc = peri_fail(err, PERI_ECORRUPT, "spill %s: %" PRIu32 " partitions, not %" PRIu32,
                       run->path, mr_spill_file_partitions(run->file), runs->pass.partitions);
    if (rc != 0)
        runs->failed_input = run->input;
    return rc;
}

/* Opens runs from the given one on as long as fan-in and memory allow; *opened is how many. */
static int open_some(struct mr_runs *runs, size_t from, size_t memory, size_t *opened,
                     struct peri_error *err)
{
    size_t used = 0;
    *opened = 0;
    runs->failed_input = -1;
    while (from + *opened < runs->count && *opened < MR_MERGE_FAN_IN) {
        struct mr_run *run = &runs->items[from + *opened];
        int rc = open_run(runs, run, err);
        if (rc != 0)
            return rc;
        used += mr_spill_file_reader_bytes(run->file);
        if (used > memory) {
            close_run(run);
            return 0;
        }
        ++*opened;
    }
    return 0;
}

/* What readers may use: the rest is for the writer and for a state and its encoding. */
static size_t readers_memory(const struct mr_runs *runs)
{
    return runs->pass.memory_bytes / 2;
}

static int shrink_once(struct mr_runs *runs, struct peri_error *err)
{
    size_t before = runs->count;
    size_t opened;
    for (size_t from = 0; from < runs->count; from++) {
        int rc = open_some(runs, from, readers_memory(runs), &opened, err);
        if (rc == 0 && opened > 1)
            rc = merge_to_temp(runs, from, opened, err);
        if (rc != 0)
            return rc;
        close_run(&runs->items[from]);
    }
    if (runs->count == before)
        return peri_fail(err, PERI_EMEMORY, "merge: %zu bytes cannot hold the blocks of two runs",
                         runs->pass.memory_bytes);
    return 0;
}

int mr_runs_shrink(struct mr_runs *runs, struct peri_error *err)
{
    size_t opened;
    env_region_trim(runs->pass.env); /* merging takes the room that emissions had */
    for (;;) {
        int rc = open_some(runs, 0, readers_memory(runs), &opened, err);
        if (rc != 0 || opened == runs->count)
            return rc;
        for (size_t i = 0; i < opened; i++)
            close_run(&runs->items[i]);
        rc = shrink_once(runs, err);
        if (rc != 0)
            return rc;
    }
}
