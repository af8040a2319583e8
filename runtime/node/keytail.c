#include "node/keytail.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/error.h"

struct header {
    uint64_t tag, hash;
    size_t size;
};

enum { SMALL_CHUNK = 4 << 10 }; /* the first one */

static struct node_keytail_chunk *chunk_of(const struct peri_list *link)
{
    return container_of((struct peri_list *)(uintptr_t)link, struct node_keytail_chunk, link);
}

static size_t space_of(size_t size)
{
    return sizeof(struct header) + (size + 7) / 8 * 8; /* headers stay aligned */
}

static uint64_t *filter_word(struct node_keytail_chunk *chunk, uint64_t hash)
{
    return &chunk->filter[hash % NODE_KEYTAIL_FILTER];
}

static uint64_t filter_bit(uint64_t hash)
{
    return UINT64_C(1) << (hash >> 58);
}

void node_keytail_init(struct node_keytail *tail)
{
    *tail = (struct node_keytail){.bytes = 0};
    peri_list_init(&tail->chunks);
}

void node_keytail_free(struct peri_list *chunks)
{
    while (!peri_list_is_empty(chunks)) {
        struct node_keytail_chunk *chunk = chunk_of(chunks->next);
        peri_list_remove(&chunk->link);
        free(chunk);
    }
}

void node_keytail_clear(struct node_keytail *tail)
{
    node_keytail_free(&tail->chunks);
    tail->bytes = 0;
}

/* ---- appending ---- */

/* A chunk with room for so much; NULL without memory. */
static struct node_keytail_chunk *make_room(struct node_keytail *tail, size_t space)
{
    bool is_first = tail->chunks.prev == &tail->chunks;
    if (!is_first) {
        struct node_keytail_chunk *last = chunk_of(tail->chunks.prev);
        if (!last->is_sealed && last->room - last->used >= space)
            return last;
    }
    size_t room = is_first ? SMALL_CHUNK : NODE_KEYTAIL_CHUNK;
    room = space > room ? space : room;
    struct node_keytail_chunk *chunk = malloc(sizeof *chunk + room);
    if (chunk == NULL)
        return NULL;
    chunk->used = 0;
    chunk->room = room;
    chunk->first_tag = 0;
    memset(chunk->filter, 0, sizeof chunk->filter);
    chunk->is_sealed = false;
    peri_list_append(&tail->chunks, &chunk->link);
    return chunk;
}

int node_keytail_append(struct node_keytail *tail, uint64_t tag, uint64_t hash,
                        struct peri_slice bytes)
{
    const struct header header = {tag, hash, bytes.size};
    struct node_keytail_chunk *chunk = make_room(tail, space_of(bytes.size));
    if (chunk == NULL)
        return PERI_ENOMEM;
    if (chunk->used == 0)
        chunk->first_tag = tag;
    memcpy(chunk->bytes + chunk->used, &header, sizeof header);
    if (bytes.size > 0)
        memcpy(chunk->bytes + chunk->used + sizeof header, bytes.data, bytes.size);
    *filter_word(chunk, hash) |= filter_bit(hash);
    chunk->used += space_of(bytes.size);
    tail->bytes += space_of(bytes.size);
    return 0;
}

void node_keytail_cut(struct node_keytail *tail, size_t bytes)
{
    if (tail->bytes <= bytes)
        return;
    while (tail->bytes > bytes) {
        struct node_keytail_chunk *chunk = chunk_of(tail->chunks.prev);
        size_t more = tail->bytes - bytes < chunk->used ? tail->bytes - bytes : chunk->used;
        chunk->used -= more; /* bits too many in the filter do no harm */
        tail->bytes -= more;
        if (chunk->used > 0 || (tail->bytes == 0 && chunk->room <= SMALL_CHUNK))
            continue;
        peri_list_remove(&chunk->link);
        free(chunk);
    }
    if (tail->bytes == 0 && !peri_list_is_empty(&tail->chunks))
        memset(chunk_of(tail->chunks.next)->filter, 0, sizeof(uint64_t[NODE_KEYTAIL_FILTER]));
}

int node_keytail_append_all(struct node_keytail *tail, const struct node_keytail *from)
{
    struct node_keytail_place place = {.chunk = NULL};
    struct node_keytail_item item;
    int rc = 0;
    while (rc == 0 && node_keytail_next(from, &place, &item))
        rc = node_keytail_append(tail, item.tag, item.hash, item.bytes);
    return rc;
}

/* ---- reading ---- */

static struct node_keytail_item read_item(const struct node_keytail_chunk *chunk, size_t *at)
{
    struct header header;
    memcpy(&header, chunk->bytes + *at, sizeof header);
    struct peri_slice bytes = peri_slice_of(chunk->bytes + *at + sizeof header, header.size);
    *at += space_of(header.size);
    return (struct node_keytail_item){header.tag, header.hash, bytes};
}

bool node_keytail_next(const struct node_keytail *tail, struct node_keytail_place *place,
                       struct node_keytail_item *item)
{
    if (place->chunk == NULL) {
        if (tail == NULL || peri_list_is_empty(&tail->chunks))
            return false;
        place->chunk = chunk_of(tail->chunks.next);
    }
    while (place->at == place->chunk->used) {
        /* The link behind the last chunk of a piece is not the reader's. */
        if (place->chunk == place->last ||
            (place->last == NULL && place->chunk->link.next == &tail->chunks))
            return false;
        place->chunk = chunk_of(place->chunk->link.next);
        place->at = 0;
    }
    *item = read_item(place->chunk, &place->at);
    return true;
}

struct node_keytail_place node_keytail_begin(const struct node_keytail_piece *piece)
{
    return (struct node_keytail_place){.chunk = piece->first, .last = piece->last};
}

struct node_keytail_place node_keytail_seek(const struct node_keytail *tail, uint64_t tag)
{
    struct node_keytail_place place = {.chunk = NULL}, next;
    struct node_keytail_item item;
    for (const struct peri_list *at = tail->chunks.prev; at != &tail->chunks; at = at->prev) {
        place.chunk = chunk_of(at);
        if (place.chunk->used > 0 && place.chunk->first_tag < tag)
            break;
    }
    for (next = place; node_keytail_next(tail, &next, &item) && item.tag < tag;)
        place = next;
    return place;
}

static bool find_in_chunk(const struct node_keytail_chunk *chunk, uint64_t hash, uint64_t tag_min,
                          uint64_t tag_max,
                          bool (*is_it)(void *data, const struct node_keytail_item *item),
                          void *data, struct node_keytail_item *found)
{
    bool is_found = false;
    for (size_t at = 0; at < chunk->used;) {
        const struct node_keytail_item item = read_item(chunk, &at);
        if (item.tag > tag_max)
            break;
        if (item.hash == hash && item.tag >= tag_min && is_it(data, &item)) {
            *found = item;
            is_found = true;
        }
    }
    return is_found;
}

bool node_keytail_find(const struct node_keytail *tail, uint64_t hash, uint64_t tag_min,
                       uint64_t tag_max,
                       bool (*is_it)(void *data, const struct node_keytail_item *item), void *data,
                       struct node_keytail_item *found)
{
    for (const struct peri_list *at = tail->chunks.prev; at != &tail->chunks; at = at->prev) {
        struct node_keytail_chunk *chunk = chunk_of(at);
        bool may_have = (*filter_word(chunk, hash) & filter_bit(hash)) != 0;
        if (may_have && chunk->used > 0 && chunk->first_tag <= tag_max &&
            find_in_chunk(chunk, hash, tag_min, tag_max, is_it, data, found))
            return true;
        if (chunk->used > 0 && chunk->first_tag < tag_min)
            break;
    }
    return false;
}

/* ---- rounds ---- */

struct node_keytail_piece node_keytail_seal(struct node_keytail *tail,
                                            const struct node_keytail_chunk *after)
{
    const struct peri_list *first = after != NULL ? after->link.next : tail->chunks.next;
    if (first == &tail->chunks || tail->bytes == 0)
        return (struct node_keytail_piece){NULL, NULL};
    struct node_keytail_chunk *last = chunk_of(tail->chunks.prev);
    last->is_sealed = true;
    return (struct node_keytail_piece){chunk_of(first), last};
}

/* Only the links at the two ends change, which nobody who reads a piece looks at. */
size_t node_keytail_take(struct node_keytail *tail, struct node_keytail_chunk *last,
                         struct peri_list *out)
{
    struct peri_list *first = tail->chunks.next, *rest = last->link.next;
    size_t bytes = last->used;
    for (const struct peri_list *at = first; at != &last->link; at = at->next)
        bytes += chunk_of(at)->used;
    tail->chunks.next = rest;
    rest->prev = &tail->chunks;
    out->prev->next = first;
    first->prev = out->prev;
    last->link.next = out;
    out->prev = &last->link;
    tail->bytes -= bytes;
    return bytes;
}
