/* log_read.c - entries for those who ask, and chores: what old generations need in the background.
 *
 * A read is a list of pieces, each a stretch of one record that is in memory or in a generation.
 * One round of chores at a time serves all reads that wait, closes sealed generations and removes
 * doomed ones; so nobody else ever touches the store of a sealed generation. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/log.h"
#include "store/log_internal.h"

struct piece {
    struct log_value *value; /* in memory, or NULL */
    struct log_generation *generation;
    struct store *store; /* of the generation that is written; NULL: a sealed one's own */
    struct log_key key;
    uint64_t first, last;     /* of what is wanted */
    struct peri_buffer bytes; /* that were read */
};

struct store_log_fetch {
    struct store_log_read *read; /* NULL: cancelled */
    struct fetch_pieces {
        struct piece *at;
        size_t count;
    } pieces;
    size_t max_bytes;
    struct peri_buffer entries; /* struct store_log_entry */
    int status;
};

struct log_chores {
    struct store_log *log;
    struct env *env;
    const char *path;
    struct store_options store_options;
    uint64_t kept_bytes_min; /* files of doomed generations that are so large serve new ones */
    struct store_log_fetch **fetches;
    size_t fetch_count;
    struct tending {
        struct log_generation *generation; /* a sealed one that has something to do */
        bool is_doomed;                    /* as of the beginning of the round */
        struct peri_list copies;           /* struct log_item: what moves from it */
    } * tendings;
    size_t tending_count;
    struct peri_error err;
};

/* ---- what is in memory ---- */

bool store_log_recent(struct store_log *log, uint64_t group, uint64_t first, uint64_t last,
                      struct store_log_entry *out)
{
    const struct log_group *target = log_group_find(log, group);
    while (first <= last) {
        const struct log_record *record = target == NULL ? NULL : log_group_record(target, first);
        if (record == NULL || record->value == NULL)
            return false;
        const struct log_value *value = record->value;
        uint64_t end = record->last < last ? record->last : last;
        PERI_ASSERT(first >= value->first && end - value->first < value->count);
        memcpy(out, &value->entries[first - value->first], (size_t)(end - first + 1) * sizeof *out);
        out += end - first + 1;
        first = end + 1;
    }
    return true;
}

/* ---- asking ---- */

static void free_fetch(struct store_log_fetch *fetch)
{
    for (size_t i = 0; i < fetch->pieces.count; i++) {
        if (fetch->pieces.at[i].value != NULL)
            log_value_give(fetch->pieces.at[i].value);
        if (fetch->pieces.at[i].generation != NULL)
            fetch->pieces.at[i].generation->readers--;
        peri_buffer_deinit(&fetch->pieces.at[i].bytes);
    }
    free(fetch->pieces.at);
    peri_buffer_deinit(&fetch->entries);
    free(fetch);
}

static void add_piece(struct store_log *log, const struct log_group *group,
                      const struct log_record *record, uint64_t first, uint64_t last,
                      struct piece *piece)
{
    size_t at = (size_t)(record - group->records) - group->start;
    *piece = (struct piece){
        .key = {LOG_KEY_RECORD, group->group, group->replica, log_group_first_serial(group) + at},
        .first = first,
        .last = last < record->last ? last : record->last,
    };
    if (record->value != NULL) {
        piece->value = log_value_take(record->value);
        return;
    }
    piece->generation = log_generation_find(log, record->generation);
    PERI_ASSERT(piece->generation != NULL);
    piece->generation->readers++;
    piece->store = piece->generation->is_sealed ? NULL : piece->generation->store;
}

/* Pieces until they hold max_bytes for certain, or the range ends. */
static int gather(struct store_log *log, const struct log_group *group,
                  struct store_log_fetch *fetch, uint64_t first, uint64_t last)
{
    size_t capacity = 0, bytes = 0;
    if (last > group->last_index)
        last = group->last_index;
    while (first <= last && bytes <= fetch->max_bytes) {
        const struct log_record *record = log_group_record(group, first);
        if (fetch->pieces.count == capacity) {
            capacity = capacity == 0 ? 4 : 2 * capacity;
            struct piece *at = realloc(fetch->pieces.at, capacity * sizeof *at);
            if (at == NULL)
                return PERI_ENOMEM;
            fetch->pieces.at = at;
        }
        add_piece(log, group, record, first, last, &fetch->pieces.at[fetch->pieces.count++]);
        /* Of the first one nobody knows how much is wanted. */
        bytes += fetch->pieces.count > 1 ? (size_t)record->size : 0;
        first = record->last + 1;
    }
    return 0;
}

int store_log_read(struct store_log *log, struct store_log_read *read)
{
    const struct log_group *group = log_group_find(log, read->group);
    struct store_log_fetch *fetch = calloc(1, sizeof *fetch);
    PERI_ASSERT(log->is_open && !log->is_closing);
    if (fetch == NULL)
        return PERI_ENOMEM;
    fetch->read = read;
    fetch->max_bytes = read->max_bytes;
    if (group == NULL || read->first <= group->base_index || read->first > group->last_index)
        fetch->status = -ENOENT;
    else if (gather(log, group, fetch, read->first, read->last) != 0) {
        free_fetch(fetch);
        return PERI_ENOMEM;
    }
    read->fetch = fetch;
    peri_list_append(&log->reads, &read->link);
    int rc = log_chores_start(log);
    if (rc != 0) {
        peri_list_remove(&read->link);
        free_fetch(fetch);
    }
    return rc;
}

/* ---- in the background ---- */

static int open_sealed(struct log_chores *chores, struct log_generation *generation)
{
    if (generation->store != NULL)
        return 0;
    return log_generation_open(chores->env, chores->path, generation->number,
                               &chores->store_options, &generation->store, &chores->err);
}

static int load_piece(struct log_chores *chores, struct piece *piece, struct peri_slice *bytes)
{
    char key[LOG_KEY_MAX];
    if (piece->value != NULL) {
        *bytes = peri_buffer_slice(&piece->value->bytes);
        return 0;
    }
    int rc = piece->store == NULL ? open_sealed(chores, piece->generation) : 0;
    if (rc != 0)
        return rc;
    struct store *store = piece->store != NULL ? piece->store : piece->generation->store;
    rc = store_get(store, NULL, log_key_write(&piece->key, key), &piece->bytes, &chores->err);
    *bytes = peri_buffer_slice(&piece->bytes);
    return rc == 1 ? 0 : rc == 0 ? PERI_ECORRUPT : rc;
}

/* Adds the wanted entries of a record; *size is what all of them hold so far. */
static int decode_piece(struct store_log_fetch *fetch, const struct piece *piece,
                        struct peri_slice bytes, size_t *size)
{
    struct log_record_info info = {
        .group = piece->key.group, .replica = piece->key.replica, .serial = piece->key.number};
    size_t at = 0;
    uint64_t term = 0;
    struct store_log_entry entry;
    int rc = log_record_decode(bytes, &info, &at);
    for (uint64_t index = info.first; rc == 0 && index <= piece->last; index++) {
        rc = log_record_next(bytes, &at, &term, &entry);
        if (rc != 0 || index < piece->first)
            continue;
        if (fetch->entries.size > 0 && *size + entry.payload.size > fetch->max_bytes)
            return 1;
        *size += entry.payload.size;
        rc = peri_buffer_append(&fetch->entries, &entry, sizeof entry);
    }
    return rc;
}

static void serve(struct log_chores *chores, struct store_log_fetch *fetch)
{
    size_t size = 0;
    int rc = fetch->status;
    for (size_t i = 0; rc == 0 && i < fetch->pieces.count; i++) {
        struct peri_slice bytes;
        rc = load_piece(chores, &fetch->pieces.at[i], &bytes);
        if (rc == 0)
            rc = decode_piece(fetch, &fetch->pieces.at[i], bytes, &size);
    }
    fetch->status = rc < 0 && fetch->entries.size == 0 ? rc : 0;
}

/* First under a name that says that nobody needs it: a start in the middle of it must not take what
 * is left for damage. */
static void remove_generation(struct log_chores *chores, const char *path, bool is_clean)
{
    char dropped[LOG_PATH_MAX + 16];
    struct env_stat stat;
    (void)snprintf(dropped, sizeof dropped, "%s" LOG_DROPPED_SUFFIX, path);
    if (env_path_stat(chores->env, path, &stat, NULL) == -ENOENT)
        return; /* there was no room to make it */
    if (env_path_rename(chores->env, path, dropped, &chores->err) != 0)
        return;
    if (is_clean)
        (void)store_keep_file(chores->env, dropped, chores->path, chores->kept_bytes_min,
                              &chores->err);
    (void)store_remove(chores->env, dropped, &chores->err);
}

static void tend(struct log_chores *chores, struct tending *tending)
{
    char path[LOG_PATH_MAX];
    struct log_generation *generation = tending->generation;
    if (!peri_list_is_empty(&tending->copies) && open_sealed(chores, generation) != 0)
        log_copies_free(&tending->copies);
    else
        log_copies_read(generation->store, &tending->copies, &chores->err);
    log_generation_path(path, chores->path, generation->number);
    bool is_clean = generation->store == NULL || store_is_clean(generation->store);
    store_close(generation->store);
    generation->store = NULL;
    if (tending->is_doomed)
        remove_generation(chores, path, is_clean);
}

static void chores_on_run(void *data)
{
    struct log_chores *chores = data;
    for (size_t i = 0; i < chores->fetch_count; i++)
        serve(chores, chores->fetches[i]);
    for (size_t i = 0; i < chores->tending_count; i++)
        tend(chores, &chores->tendings[i]);
}

/* ---- and back ---- */

static void forget_generation(struct store_log *log, struct log_generation *generation)
{
    size_t kept = 0;
    for (size_t i = 0; i < log->generation_count; i++)
        if (log->generations[i] != generation)
            log->generations[kept++] = log->generations[i];
    log->generation_count = kept;
    free(generation);
}

static void finish_fetch(struct store_log_fetch *fetch)
{
    struct store_log_read *read = fetch->read;
    if (read != NULL) {
        read->fetch = NULL;
        read->on_read(read, fetch->status,
                      (const struct store_log_entry *)(const void *)fetch->entries.data,
                      fetch->entries.size / sizeof(struct store_log_entry));
    }
    free_fetch(fetch);
}

static void free_chores(struct log_chores *chores)
{
    for (size_t i = 0; i < chores->tending_count; i++)
        log_copies_free(&chores->tendings[i].copies);
    free(chores->fetches);
    free(chores->tendings);
    free(chores);
}

/* Reads for which there was no round. */
static void refuse_waiting(struct store_log *log, int status)
{
    while (!peri_list_is_empty(&log->reads)) {
        struct store_log_read *read = container_of(log->reads.next, struct store_log_read, link);
        peri_list_remove(&read->link);
        read->fetch->status = status;
        finish_fetch(read->fetch);
    }
}

static void chores_on_done(void *data, int status)
{
    struct log_chores *chores = data;
    struct store_log *log = chores->log;
    if (chores->err.code != 0)
        env_log(log->env, ENV_LOG_WARN, "store", "log %s: %s", log->path, chores->err.text);
    for (size_t i = 0; status == 0 && i < chores->tending_count; i++) {
        chores->tendings[i].generation->is_heavy = false;
        if (chores->tendings[i].is_doomed)
            forget_generation(log, chores->tendings[i].generation);
        if (!log->is_closing && log->failed == 0)
            log_move_begin(log, &chores->tendings[i].copies);
    }
    for (size_t i = 0; i < chores->fetch_count; i++) {
        if (status != 0)
            chores->fetches[i]->status = status;
        finish_fetch(chores->fetches[i]);
    }
    log->chores = NULL;
    int rc = log->is_closing ? 0 : log_chores_start(log);
    if (rc != 0)
        refuse_waiting(log, rc);
    free_chores(chores);
    log_release(log);
}

/* ---- a round ---- */

static bool needs_tending(const struct store_log *log, size_t at)
{
    const struct log_generation *generation = log->generations[at];
    return generation->readers == 0 && generation->is_sealed &&
           (generation->is_doomed || generation->is_heavy || log_move_is_due(log, at));
}

static int add_tending(struct store_log *log, struct log_chores *chores, size_t at)
{
    struct tending *tending = &chores->tendings[chores->tending_count++];
    *tending = (struct tending){.generation = log->generations[at],
                                .is_doomed = log->generations[at]->is_doomed};
    peri_list_init(&tending->copies);
    return log_move_is_due(log, at) ? log_move_choose(log, tending->generation, &tending->copies)
                                    : 0;
}

static int gather_chores(struct store_log *log, struct log_chores *chores)
{
    size_t reads = 0;
    for (struct peri_list *at = log->reads.next; at != &log->reads; at = at->next)
        reads++;
    chores->fetches = calloc(reads + 1, sizeof(struct store_log_fetch *));
    chores->tendings = calloc(log->generation_count, sizeof *chores->tendings);
    if (chores->fetches == NULL || chores->tendings == NULL)
        return PERI_ENOMEM;
    for (size_t i = 0; i < log->generation_count; i++)
        if (needs_tending(log, i) && add_tending(log, chores, i) != 0)
            return PERI_ENOMEM;
    while (!peri_list_is_empty(&log->reads)) {
        struct store_log_read *read = container_of(log->reads.next, struct store_log_read, link);
        peri_list_remove(&read->link);
        chores->fetches[chores->fetch_count++] = read->fetch;
    }
    return 0;
}

static void put_back(struct store_log *log, struct log_chores *chores)
{
    for (size_t i = 0; i < chores->fetch_count; i++)
        peri_list_append(&log->reads, &chores->fetches[i]->read->link);
    chores->fetch_count = 0;
}

int log_chores_start(struct store_log *log)
{
    if (log->chores != NULL)
        return 0;
    struct log_chores *chores = calloc(1, sizeof *chores);
    if (chores == NULL)
        return PERI_ENOMEM;
    *chores = (struct log_chores){.log = log,
                                  .env = log->env,
                                  .path = log->path,
                                  .store_options = log_generation_options(log),
                                  .kept_bytes_min = log->options.generation_max_bytes / 2};
    chores->store_options.is_salvage = true; /* records have checks of their own */
    if (log->is_full)
        chores->kept_bytes_min = UINT64_MAX;
    int rc = gather_chores(log, chores);
    bool is_idle = chores->fetch_count == 0 && chores->tending_count == 0;
    if (rc == 0 && !is_idle)
        rc = env_work(log->env, chores_on_run, chores_on_done, chores);
    if (rc != 0 || is_idle) {
        put_back(log, chores);
        free_chores(chores);
        return rc;
    }
    log->chores = chores;
    log_hold(log);
    return 0;
}

void log_reads_refuse(struct store_log *log, int status)
{
    for (size_t i = 0; log->chores != NULL && i < log->chores->fetch_count; i++) {
        struct store_log_read *read = log->chores->fetches[i]->read;
        log->chores->fetches[i]->read = NULL;
        if (read != NULL)
            read->on_read(read, status, NULL, 0);
    }
    refuse_waiting(log, status);
}
