/* log_read.c - entries for those who ask.
 *
 * A read is a list of pieces, each a stretch of one record that is in memory or in a generation. A
 * round of chores (log_chores.c) serves those that wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

static int load_piece(struct log_chores *chores, struct piece *piece, struct peri_slice *bytes,
                      struct peri_error *err)
{
    char key[LOG_KEY_MAX];
    if (piece->value != NULL) {
        *bytes = peri_buffer_slice(&piece->value->bytes);
        return 0;
    }
    int rc = piece->store == NULL ? log_chores_open(chores, piece->generation) : 0;
    if (rc != 0)
        return rc;
    struct store *store = piece->store != NULL ? piece->store : piece->generation->store;
    rc = store_get(store, NULL, log_key_write(&piece->key, key), &piece->bytes, err);
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

void log_read_serve(struct store_log_fetch *fetch, struct log_chores *chores,
                    struct peri_error *err)
{
    size_t size = 0;
    int rc = fetch->status;
    for (size_t i = 0; rc == 0 && i < fetch->pieces.count; i++) {
        struct peri_slice bytes;
        rc = load_piece(chores, &fetch->pieces.at[i], &bytes, err);
        if (rc == 0)
            rc = decode_piece(fetch, &fetch->pieces.at[i], bytes, &size);
    }
    fetch->status = rc < 0 && fetch->entries.size == 0 ? rc : 0;
}

/* ---- and back ---- */

struct store_log_fetch *log_read_take(struct store_log *log)
{
    if (peri_list_is_empty(&log->reads))
        return NULL;
    struct store_log_read *read = container_of(log->reads.next, struct store_log_read, link);
    peri_list_remove(&read->link);
    return read->fetch;
}

void log_read_put_back(struct store_log *log, struct store_log_fetch *fetch)
{
    peri_list_append(&log->reads, &fetch->read->link);
}

void log_read_finish(struct store_log_fetch *fetch, int status)
{
    struct store_log_read *read = fetch->read;
    if (status == 0)
        status = fetch->status;
    if (read != NULL) {
        read->fetch = NULL;
        read->on_read(read, status,
                      (const struct store_log_entry *)(const void *)fetch->entries.data,
                      fetch->entries.size / sizeof(struct store_log_entry));
    }
    free_fetch(fetch);
}

void log_read_refuse(struct store_log_fetch *fetch, int status)
{
    struct store_log_read *read = fetch->read;
    fetch->read = NULL;
    if (read != NULL)
        read->on_read(read, status, NULL, 0);
}

void log_read_refuse_waiting(struct store_log *log, int status)
{
    for (struct store_log_fetch *fetch; (fetch = log_read_take(log)) != NULL;)
        log_read_finish(fetch, status);
}
