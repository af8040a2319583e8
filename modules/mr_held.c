/* Layout: struct item_head, name, key, value; item after item. */
#include "mr_held.h"

#include <string.h>

struct item_head {
    int64_t number;
    uint64_t key_size, value_size;
    uint32_t name_size;
    uint32_t kind;
};

int mr_held_init(struct mr_held *held, size_t limit_bytes, struct peri_error *err)
{
    held->size_limit = limit_bytes;
    if (peri_buffer_reserve(&held->bytes, limit_bytes) != 0)
        return peri_fail(err, PERI_ENOMEM, "holding records back");
    return 0;
}

void mr_held_deinit(struct mr_held *held)
{
    peri_buffer_deinit(&held->bytes);
}

void mr_held_begin(struct mr_held *held)
{
    held->bytes.size = held->at = 0;
    held->is_holding = held->size_limit > 0;
}

void mr_held_end(struct mr_held *held)
{
    held->is_holding = false;
}

static void append(struct peri_buffer *bytes, const void *data, size_t size)
{
    if (size > 0)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

int mr_held_add(struct mr_held *held, const struct mr_held_item *item, struct peri_error *err)
{
    struct item_head head = {.number = item->number,
                             .key_size = item->key.size,
                             .value_size = item->value.size,
                             .name_size = (uint32_t)item->name.size,
                             .kind = item->kind};
    size_t room = held->size_limit - held->bytes.size; /* no part is longer than memory: no wrap */
    if (sizeof head + item->name.size + item->key.size + item->value.size > room)
        return peri_fail_plain(err, PERI_EMEMORY,
                               "one record puts out more than %zu KiB, which is what is held back "
                               "of it while bad records may be skipped; give more memory",
                               held->size_limit >> 10);
    append(&held->bytes, &head, sizeof head);
    append(&held->bytes, item->name.data, item->name.size);
    append(&held->bytes, item->key.data, item->key.size);
    append(&held->bytes, item->value.data, item->value.size);
    return 0;
}

static struct peri_slice take(struct mr_held *held, size_t size)
{
    struct peri_slice slice = peri_slice_of(held->bytes.data + held->at, size);
    held->at += size;
    return slice;
}

bool mr_held_next(struct mr_held *held, struct mr_held_item *item)
{
    struct item_head head;
    if (held->at == held->bytes.size)
        return false;
    memcpy(&head, take(held, sizeof head).data, sizeof head);
    item->kind = (enum mr_held_kind)head.kind;
    item->number = head.number;
    item->name = take(held, head.name_size);
    item->key = take(held, (size_t)head.key_size);
    item->value = take(held, (size_t)head.value_size);
    return true;
}
