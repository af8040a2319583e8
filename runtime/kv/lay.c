/* lay.c - history that commands have told becomes keys.
 *
 * Of what is compacted by then only the last event of each key is laid, for reads at the revision
 * where history begins. It says that the event before it is the one that the first of those left
 * out had before it, so that sweep.c finds that one. A deletion with nothing before it is none. */
#include "kv/lay.h"

#include <stdlib.h>

#include "kv/history.h"

/* The last compacted event of a key in the piece. */
struct last {
    struct peri_slice key; /* data NULL: an empty slot */
    uint64_t hash;
    uint64_t revision;
    uint32_t number;
    uint64_t before, before_number; /* the first one's */
};

struct laying {
    struct node_keys_layer *layer;
    struct last *slots; /* NULL: none, or no memory for them: all is laid then */
    size_t mask;
    struct peri_buffer bytes;
};

static struct last *find_slot(const struct laying *laying, uint64_t hash, struct peri_slice key)
{
    size_t at = hash & laying->mask;
    while (laying->slots[at].key.data != NULL &&
           (laying->slots[at].hash != hash || peri_slice_compare(laying->slots[at].key, key) != 0))
        at = (at + 1) & laying->mask;
    return &laying->slots[at];
}

static size_t count_compacted(const struct node_keytail_piece *piece, uint64_t mark)
{
    struct node_keytail_place place = node_keytail_begin(piece);
    struct node_keytail_item item;
    size_t count = 0;
    while (node_keytail_next(NULL, &place, &item) && item.tag <= mark)
        count++;
    return count;
}

/* Finds the last compacted event of each key. */
static int find_last(struct laying *laying, const struct node_keytail_piece *piece, uint64_t mark)
{
    size_t count = count_compacted(piece, mark), size = 16;
    struct node_keytail_place place = node_keytail_begin(piece);
    struct node_keytail_item item;
    struct kv_told told;
    while (size < 2 * count)
        size *= 2;
    laying->slots = count > 0 ? calloc(size, sizeof *laying->slots) : NULL;
    laying->mask = size - 1;
    while (laying->slots != NULL && node_keytail_next(NULL, &place, &item) && item.tag <= mark) {
        if (kv_told_get(&item, &told) != 0)
            return PERI_ECORRUPT;
        struct last *last = find_slot(laying, item.hash, told.event.key);
        if (last->key.data == NULL)
            *last = (struct last){.key = told.event.key,
                                  .hash = item.hash,
                                  .before = told.event.before,
                                  .before_number = told.event.before_number};
        last->revision = told.revision;
        last->number = told.number;
    }
    return 0;
}

static int put(struct laying *laying, const struct kv_name *name, int rc)
{
    if (rc == 0)
        rc = laying->layer->put(laying->layer, kv_name_slice(name),
                                peri_buffer_slice(&laying->bytes));
    laying->bytes.size = 0;
    return rc;
}

static int put_records(struct laying *laying, const struct kv_told *told)
{
    const struct kv_version version = {told->event.is_delete, told->number};
    struct kv_name name;
    kv_name_event(&name, told->revision, told->number);
    int rc = put(laying, &name, kv_event_put(&laying->bytes, &told->event));
    kv_name_version(&name, told->event.key, told->revision);
    return rc == 0 ? put(laying, &name, kv_version_put(&laying->bytes, &version)) : rc;
}

/* A compacted event is left out, or takes the place of those before it. */
static int put_compacted(struct laying *laying, uint64_t hash, struct kv_told *told)
{
    const struct last *last = find_slot(laying, hash, told->event.key);
    if (last->revision != told->revision || last->number != told->number)
        return 0;
    told->event.before = last->before;
    told->event.before_number = last->before_number;
    return told->event.is_delete && last->before == 0 ? 0 : put_records(laying, told);
}

int kv_lay(const struct node_keytail_piece *piece, uint64_t mark, struct node_keys_layer *layer)
{
    struct laying laying = {.layer = layer};
    struct node_keytail_place place = node_keytail_begin(piece);
    struct node_keytail_item item;
    struct kv_told told;
    int rc = find_last(&laying, piece, mark);
    while (rc == 0 && node_keytail_next(NULL, &place, &item)) {
        rc = kv_told_get(&item, &told);
        if (rc == 0)
            rc = laying.slots != NULL && item.tag <= mark ? put_compacted(&laying, item.hash, &told)
                                                          : put_records(&laying, &told);
    }
    free(laying.slots);
    peri_buffer_deinit(&laying.bytes);
    return rc;
}
