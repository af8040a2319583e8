/* source.c - the sending half of a snapshot: chunks of a group's state as it was at one index. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "store/chunk.h"
#include "store/snapshot.h"
#include "store/state_internal.h"

/* Where a chunk ended: the next begins behind key. */
struct mark {
    uint64_t position, hash;
    struct peri_buffer key;
};

struct store_source {
    struct store_state *state;
    struct peri_list link;           /* in state->sources */
    struct store_snapshot *snapshot; /* NULL: the store was opened again */
    struct store_applied applied;
    struct peri_buffer value; /* what applied was read from */
    struct mark *marks;       /* [0] is the beginning */
    size_t count, capacity;
};

void state_source_end(struct peri_list *link)
{
    struct store_source *source = container_of(link, struct store_source, link);
    if (source->snapshot != NULL)
        store_snapshot_release(source->state->store, source->snapshot);
    source->snapshot = NULL;
}

void state_source_free(struct peri_list *link)
{
    store_source_close(container_of(link, struct store_source, link));
}

void store_source_close(struct store_source *source)
{
    if (source == NULL)
        return;
    for (size_t i = 0; i < source->count; i++)
        peri_buffer_deinit(&source->marks[i].key);
    free(source->marks);
    state_source_end(&source->link);
    peri_list_remove(&source->link);
    peri_buffer_deinit(&source->value);
    free(source);
}

static struct mark *add_mark(struct store_source *source, uint64_t position, uint64_t hash)
{
    if (source->count == source->capacity) {
        size_t capacity = source->capacity == 0 ? 8 : 2 * source->capacity;
        struct mark *marks = realloc(source->marks, capacity * sizeof *marks);
        if (marks == NULL)
            return NULL;
        source->marks = marks;
        source->capacity = capacity;
    }
    struct mark *mark = &source->marks[source->count++];
    *mark = (struct mark){.position = position, .hash = hash};
    return mark;
}

int store_source_open(struct store_source **out, struct store_state *state, uint64_t group,
                      struct peri_error *err)
{
    struct store_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return peri_fail(err, PERI_ENOMEM, "snapshot of group %" PRIu64, group);
    source->state = state;
    peri_list_init(&source->link);
    peri_list_append(&state->sources, &source->link);
    int rc = store_snapshot_take(state->store, &source->snapshot);
    if (rc == 0 && add_mark(source, 0, 0) == NULL)
        rc = PERI_ENOMEM;
    if (rc != 0)
        (void)peri_fail(err, rc, "snapshot of group %" PRIu64, group);
    else
        rc = store_state_applied(state, source->snapshot, group, &source->applied, &source->value,
                                 err);
    if (rc == 1) {
        *out = source;
        return 0;
    }
    if (rc == 0)
        rc = peri_fail(err, -ENOENT, "snapshot of group %" PRIu64, group);
    store_source_close(source);
    return rc;
}

const struct store_applied *store_source_applied(const struct store_source *source)
{
    return &source->applied;
}

/* ---- one chunk ---- */

struct gathering {
    struct peri_slice behind; /* the key that the chunk begins behind */
    bool is_first;
    struct peri_buffer pairs, last_key;
    uint64_t count;
};

enum { GATHERED_ENOUGH = 1 };

static int gather_pair(void *data, struct peri_slice key, struct peri_slice value)
{
    struct gathering *gathering = data;
    if (!gathering->is_first && peri_slice_compare(key, gathering->behind) == 0)
        return 0;
    if (gathering->pairs.size >= STORE_CHUNK_BYTES)
        return GATHERED_ENOUGH;
    int rc = store_chunk_put(&gathering->pairs, key, value);
    gathering->last_key.size = 0;
    if (rc == 0)
        rc = peri_buffer_append(&gathering->last_key, key.data, key.size);
    gathering->count++;
    return rc;
}

static int put_chunk(struct store_source *source, size_t at, const struct gathering *gathering,
                     bool is_last, struct peri_buffer *out)
{
    const struct mark *mark = &source->marks[at];
    struct store_chunk chunk = {
        .is_last = is_last,
        .hash = store_chunk_hash(mark->hash, peri_buffer_slice(&gathering->pairs)),
        .group = source->applied.group,
        .index = source->applied.index,
        .term = source->applied.term,
        .position = mark->position,
        .count = gathering->count,
        .about = at == 0 ? peri_buffer_slice(&source->value) : peri_slice_of(NULL, 0),
        .pairs = peri_buffer_slice(&gathering->pairs),
    };
    return store_chunk_encode(&chunk, out);
}

/* Remembers where the chunk after mark at ends, if that is not known yet. */
static int mark_end(struct store_source *source, size_t at, struct gathering *gathering)
{
    if (at + 1 < source->count)
        return 0;
    uint64_t hash = store_chunk_hash(source->marks[at].hash, peri_buffer_slice(&gathering->pairs));
    struct mark *mark = add_mark(source, source->marks[at].position + gathering->count, hash);
    if (mark == NULL)
        return PERI_ENOMEM;
    mark->key = gathering->last_key;
    gathering->last_key = (struct peri_buffer){0};
    return 0;
}

static int gather(struct store_source *source, size_t at, struct gathering *out, bool *is_last,
                  struct peri_error *err)
{
    *out = (struct gathering){.behind = peri_buffer_slice(&source->marks[at].key),
                              .is_first = at == 0};
    int rc = store_state_scan(source->state, source->snapshot, &source->applied, out->behind,
                              gather_pair, out, err);
    *is_last = rc == 0;
    return rc == GATHERED_ENOUGH ? mark_end(source, at, out) : rc;
}

static void end_gathering(struct gathering *gathering)
{
    peri_buffer_deinit(&gathering->pairs);
    peri_buffer_deinit(&gathering->last_key);
}

/* Finds the mark at a position, walking on from the last one that is known. */
static int find_mark(struct store_source *source, uint64_t position, size_t *at,
                     struct peri_error *err)
{
    int rc = 0;
    bool is_last = false;
    *at = 0;
    while (rc == 0 && source->marks[*at].position < position && !is_last) {
        struct gathering gathering = {.count = 0};
        if (*at + 1 == source->count)
            rc = gather(source, *at, &gathering, &is_last, err);
        end_gathering(&gathering);
        *at += rc == 0 && !is_last;
    }
    if (rc == 0 && source->marks[*at].position != position)
        rc = peri_fail_plain(err, PERI_EINVAL,
                             "snapshot of group %" PRIu64 ": no chunk ends at %" PRIu64,
                             source->applied.group, position);
    return rc;
}

int store_source_read(struct store_source *source, uint64_t position, struct peri_buffer *out,
                      uint64_t *next, struct peri_error *err)
{
    struct gathering gathering = {.count = 0};
    bool is_last = false;
    size_t at;
    if (source->snapshot == NULL)
        return peri_fail(err, PERI_ECANCELLED, "snapshot of group %" PRIu64, source->applied.group);
    int rc = find_mark(source, position, &at, err);
    if (rc == 0)
        rc = gather(source, at, &gathering, &is_last, err);
    if (rc == 0)
        rc = put_chunk(source, at, &gathering, is_last, out);
    if (rc == 0)
        *next = is_last ? UINT64_MAX : source->marks[at].position + gathering.count;
    end_gathering(&gathering);
    return rc;
}
