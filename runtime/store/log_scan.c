/* log_scan.c - reading what is on the disk, without judging it yet.
 *
 * A generation that its store refuses to open is copied aside as it is, for people, and then opened
 * for salvage, which reads around the damage. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/log.h"
#include "store/configuration.h"
#include "store/log_internal.h"

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

/* ---- opening ---- */

static int copy_file(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    struct env_file *in = NULL, *out = NULL;
    char *bytes = malloc(1 << 16);
    int rc = bytes == NULL ? PERI_ENOMEM : env_file_open(env, from, ENV_FILE_READ, &in, err);
    if (rc == 0)
        rc =
            env_file_open(env, to, ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE, &out, err);
    while (rc == 0) {
        int64_t got = env_file_read(in, bytes, 1 << 16, err);
        if (got == 0)
            break;
        rc = got < 0 ? (int)got : env_file_write(out, bytes, (size_t)got, err);
    }
    free(bytes);
    if (in != NULL)
        (void)env_file_close(in, NULL);
    if (out != NULL)
        (void)env_file_close(out, NULL);
    return rc;
}

static int copy_directory(struct env *env, const char *from, const char *to, struct peri_error *err)
{
    char source[LOG_PATH_MAX + 256], target[LOG_PATH_MAX + 256];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    int rc = env_path_mkdir(env, to, err);
    if (rc == -EEXIST)
        return 0; /* the first copy is the one to keep */
    if (rc == 0)
        rc = env_dir_open(env, from, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        (void)snprintf(source, sizeof source, "%s/%s", from, name);
        (void)snprintf(target, sizeof target, "%s/%s", to, name);
        rc = copy_file(env, source, target, err);
        if (rc != 0)
            break;
    }
    env_dir_close(dir);
    return rc;
}

/* The store of a generation as far as it can be read. */
static int open_source(struct store_log *log, struct log_source *source, struct peri_error *err)
{
    char path[LOG_PATH_MAX], aside[LOG_PATH_MAX + 16];
    struct store_options options = log_generation_options(&log->options);
    log_generation_path(path, log->path, source->number);
    int rc = store_open(&source->store, log->env, path, &options, err);
    if (rc != PERI_ECORRUPT)
        return rc;
    source->is_damaged = true;
    (void)snprintf(aside, sizeof aside, "%s.damaged", path);
    env_log(log->env, ENV_LOG_ERROR, "store", "%s; kept as it was in %s", err->text, aside);
    rc = copy_directory(log->env, path, aside, err);
    if (rc != 0)
        return rc;
    options.is_salvage = true;
    rc = store_open(&source->store, log->env, path, &options, err);
    return rc == PERI_ECORRUPT ? 0 : rc; /* then there is no store */
}

static int check_identity(const struct store_log *log, const struct log_source *source,
                          struct peri_error *err)
{
    const struct log_identity *identity = &source->identity;
    if (!source->has_identity || log->options.node == 0)
        return 0;
    if (identity->cluster != log->options.cluster)
        return peri_fail_plain(err, PERI_ECLUSTER,
                               "log %s belongs to cluster %016" PRIx64 ", not to %016" PRIx64,
                               log->path, identity->cluster, log->options.cluster);
    if (identity->node != log->options.node)
        return peri_fail_plain(err, PERI_ECLUSTER,
                               "log %s belongs to node %" PRIu64 ", not to %" PRIu64
                               ": give the node the directory that is its own",
                               log->path, identity->node, log->options.node);
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    const struct log_source *left = a, *right = b;
    return left->number < right->number ? -1 : left->number > right->number;
}

/* The number that name stands for; 0 when it is not that of a generation. */
static uint64_t number_of(const char *name)
{
    uint64_t number = 0;
    for (const char *at = name; *at != '\0'; at++) {
        if (*at < '0' || *at > '9')
            return 0;
        number = 10 * number + (uint64_t)(*at - '0');
    }
    return number;
}

static bool is_dropped(const char *name)
{
    size_t size = strlen(name), suffix = strlen(LOG_DROPPED_SUFFIX);
    return size > suffix && strcmp(name + size - suffix, LOG_DROPPED_SUFFIX) == 0;
}

/* Goes on removing what was being removed. */
static int remove_dropped(const struct store_log *log, const char *name, struct peri_error *err)
{
    char path[2 * LOG_PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", log->path, name);
    return store_remove(log->env, path, err);
}

static int list_sources(struct store_log *log, struct log_found *found, struct peri_error *err)
{
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    int rc = env_dir_open(log->env, log->path, &dir, err);
    if (rc != 0)
        return rc;
    while ((rc = env_dir_next(dir, &name, &type, err)) == 1) {
        uint64_t number = number_of(name);
        if (is_dropped(name) && (rc = remove_dropped(log, name, err)) != 0)
            break;
        if (number == 0)
            continue;
        struct log_source *sources =
            realloc(found->sources, (found->source_count + 1) * sizeof *sources);
        if (sources == NULL) {
            rc = peri_fail(err, PERI_ENOMEM, "read %s", log->path);
            break;
        }
        found->sources = sources;
        sources[found->source_count++] = (struct log_source){.number = number};
    }
    env_dir_close(dir);
    if (found->source_count > 0)
        qsort(found->sources, found->source_count, sizeof *found->sources, compare_numbers);
    return rc;
}

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
    int rc = list_sources(log, found, err);
    if (rc == 0)
        rc = log_witness_read(log->env, log->path, &found->witness, err);
    for (size_t i = 0; rc == 0 && i < found->source_count; i++) {
        struct log_source *source = &found->sources[i];
        rc = open_source(log, source, err);
        if (rc == 0 && source->store != NULL)
            rc = scan_store(found, source, err);
        if (rc == 0)
            rc = check_identity(log, source, err);
    }
    if (rc == 0)
        rc = adopt_identity(log, found, err);
    if (rc == 0)
        rc = note_touches(found, found->witness.batch, &found->witness.touched);
    struct peri_buffer census = {0};
    if (rc == 0)
        rc = log_census_read(log->env, log->path, &census, err);
    if (rc == 0)
        rc = note_touches(found, 0, &census);
    peri_buffer_deinit(&census);
    if (found->witness.batch > found->last_batch)
        found->last_batch = found->witness.batch;
    return rc;
}
