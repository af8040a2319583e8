#include "kv/history.h"

#include "base/bits.h"

enum { NUMBER_SIZE = 4 }; /* in front of the event */

int kv_told_get(const struct node_keytail_item *item, struct kv_told *out)
{
    if (item->bytes.size < NUMBER_SIZE)
        return PERI_ECORRUPT;
    out->revision = item->tag;
    out->number = bits_get_le32(item->bytes.data);
    return kv_event_get(
        peri_slice_of(item->bytes.data + NUMBER_SIZE, item->bytes.size - NUMBER_SIZE), &out->event);
}

/* What the record takes that says where an event is. */
static int size_version(struct kv_view *view, const struct kv_told *told, size_t *size)
{
    const struct kv_version version = {told->event.is_delete, told->number};
    struct kv_name name;
    kv_name_version(&name, told->event.key, told->revision);
    view->scratch.size = 0;
    int rc = kv_version_put(&view->scratch, &version);
    *size = name.size + view->scratch.size;
    return rc;
}

int kv_history_tell(struct kv_view *view, const struct kv_told *told)
{
    struct kv_name name;
    char number[NUMBER_SIZE];
    size_t written = 0;
    int rc = size_version(view, told, &written);
    kv_name_event(&name, told->revision, told->number);
    bits_put_le32(number, told->number);
    view->scratch.size = 0;
    if (rc == 0)
        rc = peri_buffer_append(&view->scratch, number, sizeof number);
    if (rc == 0)
        rc = kv_event_put(&view->scratch, &told->event);
    written += name.size + view->scratch.size - NUMBER_SIZE;
    return rc == 0 ? kv_view_tell(view, told->revision, node_keymap_hash(told->event.key), written)
                   : rc;
}

int kv_history_count(struct kv_view *view, const struct kv_told *told)
{
    size_t size = 0;
    int rc = size_version(view, told, &size);
    return rc == 0 ? kv_view_count(view, size) : rc;
}

/* ---- finding ---- */

static bool is_of_key(void *data, const struct node_keytail_item *item)
{
    const struct peri_slice *key = data;
    struct kv_told told;
    return kv_told_get(item, &told) == 0 && peri_slice_compare(told.event.key, *key) == 0;
}

int kv_history_find(const struct kv_view *view, struct peri_slice key, uint64_t first,
                    uint64_t last, struct kv_told *out)
{
    uint64_t hash = node_keymap_hash(key);
    struct node_keytail_item item;
    bool is_found = node_keytail_find(&view->told, hash, first, last, is_of_key, &key, &item) ||
                    (view->tail != NULL &&
                     node_keytail_find(view->tail, hash, first, last, is_of_key, &key, &item));
    return is_found ? (kv_told_get(&item, out) == 0 ? 1 : PERI_ECORRUPT) : 0;
}

int kv_history_event(const struct kv_view *view, uint64_t revision, uint64_t number,
                     struct kv_told *out)
{
    struct node_keytail_place place;
    struct node_keytail_item item;
    if (view->tail == NULL)
        return 0;
    place = node_keytail_seek(view->tail, revision);
    while (node_keytail_next(view->tail, &place, &item) && item.tag == revision) {
        if (kv_told_get(&item, out) != 0)
            return PERI_ECORRUPT;
        if (out->number == number)
            return 1;
    }
    return 0;
}
