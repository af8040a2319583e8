/* log_load.c - how a log begins: what was found, and a new generation for what comes.
 *
 * A generation is never written to again once it was closed. So that restarts do not leave a trail
 * of small ones, the live records of all generations move into the new one when they are few; those
 * of a damaged group always do, under new serials, for what is lost must not come back as something
 * else. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/log_found.h"

void log_found_free(struct log_found *found)
{
    if (found == NULL)
        return;
    for (size_t i = 0; i < found->count; i++) {
        struct log_finding *finding = &found->findings[i];
        for (size_t k = 0; k < finding->count; k++) {
            peri_buffer_deinit(&finding->metas[k].runs);
            peri_buffer_deinit(&finding->metas[k].configurations);
        }
        free(finding->metas);
        peri_buffer_deinit(&finding->runs);
        peri_buffer_deinit(&finding->configurations);
    }
    for (size_t i = 0; i < found->source_count; i++)
        store_close(found->sources[i].store); /* of those that became generations it is NULL */
    free(found->findings);
    free(found->sources);
    free(found->groups);
    peri_buffer_deinit(&found->batches);
    peri_buffer_deinit(&found->witness.touched);
    free(found);
}

/* ---- moving records into the new generation ---- */

static uint64_t live_bytes(const struct store_log *log)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < log->group_count; i++)
        for (size_t k = 0; k < log->groups[i]->count; k++)
            bytes += log->groups[i]->records[log->groups[i]->start + k].size;
    return bytes;
}

/* The entries first .. last of a record, appended to out; they point into bytes. */
static int read_entries(const struct store_log *log, const struct log_key *key,
                        const struct log_record *record, struct peri_buffer *bytes,
                        struct peri_buffer *out, struct peri_error *err)
{
    char name[LOG_KEY_MAX];
    struct store *store = log_generation_find(log, record->generation)->store;
    int rc = store_get(store, NULL, log_key_write(key, name), bytes, err);
    if (rc <= 0)
        return rc == 0 ? peri_fail(err, PERI_ECORRUPT, "log %s", log->path) : rc;
    struct log_record_info info = {
        .group = key->group, .replica = key->replica, .serial = key->number};
    size_t at = 0;
    uint64_t term = 0;
    rc = log_record_decode(peri_buffer_slice(bytes), &info, &at);
    for (uint64_t index = info.first; rc == 0 && index <= record->last; index++) {
        struct store_log_entry entry;
        rc = log_record_next(peri_buffer_slice(bytes), &at, &term, &entry);
        if (rc == 0 && index >= record->first)
            rc = peri_buffer_append(out, &entry, sizeof entry);
    }
    return rc == 0 ? 0 : peri_fail(err, rc, "log %s", log->path);
}

/* Encodes the entries as a record of the group's next serial, and puts it into out. */
static int put_record(struct log_group *group, uint64_t serial, struct log_record *record,
                      const struct peri_buffer *entries, struct store_batch *out)
{
    char name[LOG_KEY_MAX];
    struct log_key key = {LOG_KEY_RECORD, group->group, group->replica, serial};
    size_t count = entries->size / sizeof(struct store_log_entry);
    struct log_record_info info = {.group = group->group,
                                   .replica = group->replica,
                                   .serial = serial,
                                   .chain = group->chain,
                                   .term = group->term,
                                   .vote = group->vote,
                                   .first = record->first,
                                   .count = count};
    struct peri_buffer value = {0};
    uint32_t *starts = malloc((count + 1) * sizeof *starts);
    int rc = starts == NULL
                 ? PERI_ENOMEM
                 : log_record_encode(&info, (const struct store_log_entry *)(void *)entries->data,
                                     &value, starts);
    if (rc == 0)
        rc = store_batch_put(out, log_key_write(&key, name), peri_buffer_slice(&value));
    group->chain = info.check;
    record->size = LOG_KEY_MAX + value.size;
    free(starts);
    peri_buffer_deinit(&value);
    return rc;
}

/* Moves all live entries of a group under serials above known. */
static int move_group(struct store_log *log, struct log_group *group, uint64_t known,
                      uint64_t generation, struct store_batch *out, struct peri_error *err)
{
    struct peri_buffer bytes = {0}, entries = {0};
    uint64_t serial = log_group_first_serial(group);
    uint64_t shift = (known > group->serial ? known : group->serial) + 1 - serial;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < group->count; i++, serial++) {
        struct log_record *record = &group->records[group->start + i];
        struct log_key key = {LOG_KEY_RECORD, group->group, group->replica, serial};
        bytes.size = entries.size = 0;
        log_generation_lose(log_generation_find(log, record->generation), record);
        if (record->first <= record->last)
            rc = read_entries(log, &key, record, &bytes, &entries, err);
        if (rc == 0)
            rc = put_record(group, serial + shift, record, &entries, out);
        record->generation = generation;
    }
    group->serial += group->count > 0 ? shift : known > group->serial ? known - group->serial : 0;
    peri_buffer_deinit(&bytes);
    peri_buffer_deinit(&entries);
    return rc;
}

static int move_records(struct store_log *log, const struct log_found *found, uint64_t generation,
                        struct store_batch *out, struct peri_error *err)
{
    bool is_small = live_bytes(log) <= log->options.generation_max_bytes / 2;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < found->count; i++) {
        const struct log_finding *finding = &found->findings[i];
        struct log_group *group = finding->entered;
        if (group != NULL && (is_small || finding->known_serial > group->serial))
            rc = move_group(log, group, finding->known_serial, generation, out, err);
    }
    return rc;
}

/* ---- the new generation ---- */

static int write_first_batch(struct store_log *log, struct log_generation *generation,
                             struct store_batch *changes, struct peri_error *err)
{
    struct log_batch *batch = &log->batch;
    batch->generation = generation->number;
    int rc = log_batch_put_heads(log, generation->number, batch->number, changes);
    for (size_t i = 0; rc == 0 && i < log->group_count; i++) {
        struct log_group *group = log->groups[i];
        struct log_touch touch = {group->group, group->replica, group->serial};
        rc = peri_buffer_append(&batch->touched, &touch, sizeof touch);
    }
    struct log_summary summary = {
        .batch = batch->number,
        .touched = (const struct log_touch *)(void *)batch->touched.data,
        .touched_count = batch->touched.size / sizeof(struct log_touch),
    };
    if (rc == 0)
        rc = log_batch_put_summary(&summary, changes);
    if (rc != 0)
        return peri_fail(err, rc, "begin a generation of log %s", log->path);
    rc = store_write(generation->store, changes, true, err);
    if (rc == 0 && log_batch_take_census(log) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "take the census of log %s", log->path);
    if (rc == 0)
        rc = log_census_write(log->env, log->path, peri_buffer_slice(&batch->census), err);
    if (rc == 0) { /* else the witness must not speak of it */
        log_batch_testify(batch);
        log_witness_advance(&batch->witness);
        log_batch_remember(batch);
        rc = log_witness_begin(&batch->witness, log->env, log->path, err);
    }
    generation->bytes = store_written_bytes(generation->store);
    return rc;
}

static int begin_generation(struct store_log *log, const struct log_found *found,
                            struct peri_error *err)
{
    uint64_t number = found->witness.generation;
    if (found->source_count > 0 && found->sources[found->source_count - 1].number > number)
        number = found->sources[found->source_count - 1].number;
    number++;
    struct log_generation *generation = NULL;
    struct store_batch changes = {0};
    log->batch.number = found->last_batch + 1;
    int rc = log_generation_add(log, number, NULL, &generation);
    if (rc != 0)
        return peri_fail(err, rc, "begin a generation of log %s", log->path);
    rc = log_generation_open(log->env, log->path, number, &log->batch.store_options,
                             &generation->store, err);
    if (rc == 0)
        rc = move_records(log, found, number, &changes, err);
    if (rc == 0)
        rc = write_first_batch(log, generation, &changes, err);
    store_batch_deinit(&changes);
    for (size_t i = 0; i < log->group_count; i++)
        for (size_t k = 0; k < log->groups[i]->count; k++) {
            const struct log_record *record = &log->groups[i]->records[log->groups[i]->start + k];
            if (record->generation == number)
                log_generation_gain(generation, record);
        }
    return rc;
}

/* ---- all of it ---- */

static int adopt_sources(struct store_log *log, struct log_found *found)
{
    for (size_t i = 0; i < found->source_count; i++) {
        struct log_generation *generation = NULL;
        int rc = log_generation_add(log, found->sources[i].number, NULL, &generation);
        if (rc != 0)
            return rc;
        generation->store = found->sources[i].store;
        generation->is_sealed = true;
        found->sources[i].store = NULL;
    }
    return 0;
}

static void describe(const struct log_finding *finding, struct store_log_found *out)
{
    const struct log_group *group = finding->entered;
    *out = (struct store_log_found){
        .group = group->group,
        .replica = group->replica,
        .health = group->health,
        .has_forgotten = group->has_forgotten,
        .damaged_from = group->damaged_from,
        .why = finding->why,
        .boot =
            {
                .term = group->term,
                .vote = group->vote,
                .base_index = group->base_index,
                .base_term = group->base_term,
                .snapshot_index = group->base_index,
                .snapshot_term = group->base_term,
                .last_index = group->last_index,
                .runs = (const struct raft_run *)(const void *)finding->runs.data,
                .run_count = finding->runs.size / sizeof(struct raft_run),
                .configurations =
                    (const struct raft_history *)(const void *)finding->configurations.data,
                .configuration_count = finding->configurations.size / sizeof(struct raft_history),
                .last_applied = group->base_index,
            },
    };
}

static int describe_all(struct log_found *found)
{
    found->groups = calloc(found->count + 1, sizeof *found->groups);
    if (found->groups == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < found->count; i++)
        if (found->findings[i].entered != NULL)
            describe(&found->findings[i], &found->groups[found->group_count++]);
    return 0;
}

int log_load(struct store_log *log, struct log_found **out, struct peri_error *err)
{
    struct log_found *found = calloc(1, sizeof *found);
    if (found == NULL)
        return peri_fail(err, PERI_ENOMEM, "open log %s", log->path);
    *out = found;
    int rc = log->options.node != 0 ? store_make_directory(log->env, log->path, err) : 0;
    if (rc == 0)
        rc = log_scan(log, found, err);
    if (rc == 0 && adopt_sources(log, found) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "open log %s", log->path);
    if (rc == 0)
        rc = log_replay(log, found, err);
    if (rc == 0)
        rc = begin_generation(log, found, err);
    if (rc == 0)
        rc = log_reserve_begin(log, err);
    if (rc == 0 && describe_all(found) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "open log %s", log->path);
    return rc;
}
