/* log_scan.c - reading what is on the disk, without judging it yet. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/configuration.h"
#include "store/log_found.h"

/* ---- findings ---- */

static int compare_replicas(const struct log_finding *finding, uint64_t group, uint64_t replica)
{
    if (finding->group != group)
        return finding->group < group ? -1 : 1;
    return finding->replica < replica ? -1 : finding->replica > replica;
}

struct log_finding *log_found_replica(struct log_found *found, uint64_t group, uint64_t replica)
{
    size_t low = 0, high = found->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_replicas(&found->findings[middle], group, replica) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < found->count && compare_replicas(&found->findings[low], group, replica) == 0)
        return &found->findings[low];
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 8 : 2 * found->capacity;
        struct log_finding *findings = realloc(found->findings, capacity * sizeof *findings);
        if (findings == NULL)
            return NULL;
        found->findings = findings;
        found->capacity = capacity;
    }
    struct log_finding *finding = &found->findings[low];
    memmove(finding + 1, finding, (found->count - low) * sizeof *finding);
    *finding = (struct log_finding){.group = group, .replica = replica};
    found->count++;
    return finding;
}

static struct log_meta *add_meta(struct log_finding *finding)
{
    if (finding->count == finding->capacity) {
        size_t capacity = finding->capacity == 0 ? 16 : 2 * finding->capacity;
        struct log_meta *metas = realloc(finding->metas, capacity * sizeof *metas);
        if (metas == NULL)
            return NULL;
        finding->metas = metas;
        finding->capacity = capacity;
    }
    struct log_meta *meta = &finding->metas[finding->count++];
    *meta = (struct log_meta){.generation = 0};
    return meta;
}

/* ---- records ---- */

static int note_entry(struct log_meta *meta, uint64_t index, const struct store_log_entry *entry)
{
    size_t runs = meta->runs.size / sizeof(struct raft_run);
    const struct raft_run *last = (const struct raft_run *)(const void *)meta->runs.data;
    struct raft_run run = {entry->term, index};
    int rc = 0;
    if (runs == 0 || last[runs - 1].term != entry->term)
        rc = peri_buffer_append(&meta->runs, &run, sizeof run);
    if (rc != 0 || entry->type != RAFT_CONFIGURATION)
        return rc;
    struct raft_history history = {.index = index};
    if (store_configuration_decode(entry->payload, &history.configuration, NULL) != 0)
        return PERI_ECORRUPT;
    return peri_buffer_append(&meta->configurations, &history, sizeof history);
}

static int read_record(struct log_meta *meta, struct peri_slice bytes)
{
    size_t at = 0;
    uint64_t term = 0;
    int rc = log_record_decode(bytes, &meta->info, &at);
    for (uint64_t i = 0; rc == 0 && i < meta->info.count; i++) {
        struct store_log_entry entry;
        rc = log_record_next(bytes, &at, &term, &entry);
        if (rc == 0)
            rc = note_entry(meta, meta->info.first + i, &entry);
    }
    return rc;
}

static int scan_record(struct log_found *found, const struct log_source *source,
                       const struct log_key *key, struct peri_slice value)
{
    struct log_finding *finding = log_found_replica(found, key->group, key->replica);
    struct log_meta *meta = finding == NULL ? NULL : add_meta(finding);
    if (meta == NULL)
        return PERI_ENOMEM;
    meta->generation = source->number;
    meta->size = LOG_KEY_MAX + value.size;
    meta->info.group = key->group;
    meta->info.replica = key->replica;
    meta->info.serial = key->number;
    int rc = read_record(meta, value);
    meta->is_bad = rc == PERI_ECORRUPT;
    return meta->is_bad ? 0 : rc;
}

/* ---- the other values ---- */

static int scan_head(struct log_found *found, const struct log_source *source,
                     const struct log_key *key, struct peri_slice value)
{
    struct log_finding *finding = log_found_replica(found, key->group, key->replica);
    struct log_head head;
    if (finding == NULL)
        return PERI_ENOMEM;
    int rc = log_head_decode(key->group, key->replica, value, &head);
    finding->has_bad_head = rc == PERI_ECORRUPT;
    if (rc != 0)
        return rc == PERI_ECORRUPT ? 0 : rc;
    finding->has_head = true;
    finding->head = head;
    finding->head_generation = source->number;
    if (head.serial > finding->known_serial)
        finding->known_serial = head.serial;
    return 0;
}

static int scan_dropped(struct log_found *found, const struct log_key *key, struct peri_slice value)
{
    struct log_finding *finding = log_found_replica(found, key->group, key->replica);
    if (finding == NULL)
        return PERI_ENOMEM;
    int rc = log_dropped_check(key->group, key->replica, value);
    if (rc == 0)
        finding->is_dropped = true;
    finding->has_bad_head = finding->has_bad_head || rc == PERI_ECORRUPT;
    return rc == PERI_ECORRUPT ? 0 : rc;
}

static int note_touches(struct log_found *found, uint64_t batch, const struct peri_buffer *touches)
{
    const struct log_touch *at = (const struct log_touch *)(const void *)touches->data;
    for (size_t i = 0; i < touches->size / sizeof *at; i++) {
        struct log_finding *finding = log_found_replica(found, at[i].group, at[i].replica);
        if (finding == NULL)
            return PERI_ENOMEM;
        if (at[i].serial > finding->known_serial)
            finding->known_serial = at[i].serial;
        if (batch > finding->touched_batch)
            finding->touched_batch = batch;
    }
    return 0;
}

static int scan_summary(struct log_found *found, const struct log_key *key, struct peri_slice value)
{
    struct peri_buffer touched = {0}, before = {0};
    int rc = log_summary_decode(key->number, value, &touched, &before);
    if (rc == 0)
        rc = note_touches(found, key->number, &touched);
    if (rc == 0)
        rc = note_touches(found, key->number - 1, &before);
    if (rc == 0)
        rc = peri_buffer_append(&found->batches, &key->number, sizeof key->number);
    /* What this batch and the one before touched is known: neither leaves anybody in doubt. */
    if (rc == 0 && key->number > found->last_batch)
        found->last_batch = key->number;
    peri_buffer_deinit(&touched);
    peri_buffer_deinit(&before);
    return rc == PERI_ECORRUPT ? 0 : rc;
}

static int scan_identity(struct log_source *source, struct peri_slice value)
{
    int rc = log_identity_decode(value, &source->identity);
    source->has_identity = rc == 0;
    source->is_damaged = source->is_damaged || rc == PERI_ECORRUPT;
    return rc == PERI_ECORRUPT ? 0 : rc;
}

static int scan_pair(struct log_found *found, struct log_source *source, struct peri_slice name,
                     struct peri_slice value)
{
    struct log_key key;
    if (!log_key_read(name, &key)) {
        source->is_damaged = true;
        return 0;
    }
    switch (key.kind) {
    case LOG_KEY_BATCH:
        return scan_summary(found, &key, value);
    case LOG_KEY_DROPPED:
        return scan_dropped(found, &key, value);
    case LOG_KEY_HEAD:
        return scan_head(found, source, &key, value);
    case LOG_KEY_IDENTITY:
        return scan_identity(source, value);
    case LOG_KEY_RECORD:
        return scan_record(found, source, &key, value);
    }
    return 0;
}

static int scan_store(struct log_found *found, struct log_source *source, struct peri_error *err)
{
    struct store_iterator *iterator = NULL;
    int rc = store_iterator_open(source->store, NULL, &iterator);
    if (rc != 0)
        return peri_fail(err, rc, "read the log");
    source->is_empty = true;
    store_iterator_seek(iterator, peri_slice_of("", 0));
    while (rc == 0 && store_iterator_is_valid(iterator)) {
        if (source->is_empty)
            found->batches.size = 0; /* only those of the last generation matter */
        source->is_empty = false;
        rc = scan_pair(found, source, store_iterator_key(iterator), store_iterator_value(iterator));
        if (rc != 0)
            (void)peri_fail(err, rc, "generation %" PRIu64 " of the log", source->number);
        else
            store_iterator_next(iterator);
    }
    if (rc == 0 && store_iterator_status(iterator, NULL) != 0)
        source->is_damaged = true;
    store_iterator_close(iterator);
    source->is_damaged = source->is_damaged || store_is_damaged(source->store);
    return rc;
}

/* ---- all of it ---- */

/* Of who did not say whose log it is: it is the newest generation's. */
static int adopt_identity(struct store_log *log, const struct log_found *found,
                          struct peri_error *err)
{
    for (size_t i = found->source_count; i-- > 0 && log->options.node == 0;)
        if (found->sources[i].has_identity) {
            log->options.cluster = found->sources[i].identity.cluster;
            log->options.node = found->sources[i].identity.node;
        }
    return log->options.node != 0
               ? 0
               : peri_fail_plain(err, -ENOENT, "%s holds no log of a node", log->path);
}

int log_scan(struct store_log *log, struct log_found *found, struct peri_error *err)
{
    int rc = log_sources_list(log, found, err);
    if (rc == 0)
        rc = log_witness_read(log->env, log->path, &found->witness, err);
    for (size_t i = 0; rc == 0 && i < found->source_count; i++) {
        struct log_source *source = &found->sources[i];
        rc = log_source_open(log, source, err);
        if (rc == 0 && source->store != NULL)
            rc = scan_store(found, source, err);
        if (rc == 0)
            rc = log_source_check(log, source, err);
    }
    if (rc == 0)
        rc = adopt_identity(log, found, err);
    if (rc == 0)
        rc = note_touches(found, found->witness.batch, &found->witness.touched);
    struct peri_buffer census = {0};
    if (rc == 0)
        rc = log_census_read(log->env, log->path, &census, &found->is_census_lost, err);
    if (rc == 0)
        rc = note_touches(found, 0, &census);
    peri_buffer_deinit(&census);
    if (found->witness.batch > found->last_batch)
        found->last_batch = found->witness.batch;
    return rc;
}
