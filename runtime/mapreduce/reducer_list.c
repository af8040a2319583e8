/* topk, set and concat: lists of items, put in order when the state is full and at the end.
 *
 * An item of topk and set is an encoded value, one of concat the big-endian input position and the
 * text. A state that is full is tidied (sorted; repeats of a set and all but the greatest of topk
 * dropped) and only grows when that freed less than half. Encoded: the tidy items, each with its
 * size as a varint in front. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "mapreduce/state.h"
#include "mapreduce/text.h"

enum { POSITION_SIZE = 24, SIZE_SIZE = 4 };

struct list {
    uint64_t count;
    uint64_t tidied; /* bytes of the state that were tidy last time */
    char items[];    /* each: size u32, bytes */
};

static struct list *list_of(const struct mr_fold *fold)
{
    return (struct list *)(void *)fold->state->data;
}

static struct peri_slice item_at(const char *at)
{
    uint32_t size;
    memcpy(&size, at, sizeof size);
    return peri_slice_of(at + SIZE_SIZE, size);
}

/* ---- tidying ---- */

static int ascending(const void *a, const void *b)
{
    const struct peri_slice *x = a;
    const struct peri_slice *y = b;
    return mr_value_compare(*x, *y);
}

static int descending(const void *a, const void *b)
{
    return ascending(b, a);
}

static int by_position(const void *a, const void *b)
{
    const struct peri_slice *x = a;
    const struct peri_slice *y = b;
    return peri_slice_compare(*x, *y);
}

static void sort_items(enum mr_reducer_kind kind, struct peri_slice *items, size_t count)
{
    if (kind == MR_REDUCE_TOPK)
        qsort(items, count, sizeof *items, descending);
    else
        qsort(items, count, sizeof *items, kind == MR_REDUCE_SET ? ascending : by_position);
}

static size_t drop_items(const struct mr_reducer *reducer, struct peri_slice *items, size_t count)
{
    size_t kept = 0;
    if (reducer->kind == MR_REDUCE_TOPK)
        return count < reducer->limit ? count : (size_t)reducer->limit;
    if (reducer->kind == MR_REDUCE_CONCAT)
        return count;
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || peri_slice_compare(items[i], items[kept - 1]) != 0)
            items[kept++] = items[i];
    return kept;
}

static void write_item(struct mr_state *state, struct peri_slice item)
{
    uint32_t size = (uint32_t)item.size;
    memcpy(state->data + state->size, &size, sizeof size);
    memcpy(state->data + state->size + SIZE_SIZE, item.data, item.size);
    state->size += SIZE_SIZE + item.size;
}

/* The set or text that the items make must stay within the reducer's limit. */
static int check_limit(const struct mr_fold *fold)
{
    const struct mr_reducer *reducer = fold->reducer;
    uint64_t count = list_of(fold)->count;
    uint64_t bytes = fold->state->size - sizeof(struct list) - count * (SIZE_SIZE + POSITION_SIZE) +
                     (count > 0 ? (count - 1) * reducer->sep.size : 0);
    if (reducer->kind == MR_REDUCE_SET && count > reducer->limit)
        return peri_fail(fold->err, PERI_ETOOBIG, "set of more than %" PRIu64 " values",
                         reducer->limit);
    if (reducer->kind == MR_REDUCE_CONCAT && bytes > reducer->limit)
        return peri_fail(fold->err, PERI_ETOOBIG, "concat of more than %" PRIu64 " bytes",
                         reducer->limit);
    return 0;
}

static void rewrite(const struct mr_fold *fold, const char *copy, struct peri_slice *items)
{
    struct list *list = list_of(fold);
    const char *at = copy;
    for (size_t i = 0; i < list->count; i++) {
        items[i] = item_at(at);
        at = items[i].data + items[i].size;
    }
    sort_items(fold->reducer->kind, items, list->count);
    list->count = drop_items(fold->reducer, items, list->count);
    fold->state->size = sizeof *list;
    for (size_t i = 0; i < list->count; i++)
        write_item(fold->state, items[i]);
    list->tidied = fold->state->size;
}

static int tidy(const struct mr_fold *fold)
{
    struct list *list = list_of(fold);
    if (list->tidied == fold->state->size)
        return 0;
    size_t bytes = fold->state->size - sizeof *list;
    struct peri_slice *items = calloc(list->count, sizeof *items);
    char *copy = malloc(bytes);
    if (items != NULL && copy != NULL) {
        memcpy(copy, list->items, bytes);
        rewrite(fold, copy, items);
    }
    bool is_done = items != NULL && copy != NULL;
    free(items);
    free(copy);
    if (!is_done)
        return peri_fail(fold->err, PERI_ENOMEM, "%s", mr_reducer_name(fold->reducer->kind));
    return check_limit(fold);
}

/* ---- adding ---- */

static int prepare(const struct mr_fold *fold)
{
    if (fold->state->size > 0)
        return 0;
    int rc = mr_fold_reserve(fold, sizeof(struct list));
    if (rc != 0)
        return rc;
    memset(fold->state->data, 0, sizeof(struct list));
    fold->state->size = sizeof(struct list);
    return 0;
}

static int make_room(const struct mr_fold *fold, size_t more)
{
    int rc = prepare(fold);
    if (rc != 0 || fold->state->size + more <= fold->state->capacity)
        return rc;
    rc = tidy(fold);
    if (rc != 0 || fold->state->size + more <= fold->state->capacity / 2)
        return rc;
    rc = mr_fold_reserve(fold, 2 * (fold->state->size + more));
    return fold->state->size + more <= fold->state->capacity ? 0 : rc;
}

static int add_item(const struct mr_fold *fold, struct peri_slice item)
{
    int rc = make_room(fold, SIZE_SIZE + item.size);
    if (rc != 0)
        return rc;
    write_item(fold->state, item);
    list_of(fold)->count++;
    return 0;
}

static void write_position(const struct mr_position *position, char *out)
{
    PERI_ASSERT(position != NULL);
    bits_put_be64(out, position->file);
    bits_put_be64(out + 8, position->offset);
    bits_put_be64(out + 16, position->sequence);
}

static int concat_add(const struct mr_fold *fold, struct peri_slice value,
                      const struct mr_position *position)
{
    struct mr_datum datum;
    char number[MR_NUMBER_TEXT_MAX];
    struct peri_buffer item = {0};
    char at[POSITION_SIZE];
    if (mr_value_decode(value, &datum) != 0)
        return mr_fold_malformed(fold);
    if (datum.type == MR_INTEGER || datum.type == MR_FLOAT)
        datum.string = peri_slice_of(number, mr_number_text(&datum, number));
    else if (datum.type != MR_STRING)
        return mr_fold_refuse(fold, value, "strings and numbers");
    write_position(position, at);
    int rc = peri_buffer_append(&item, at, sizeof at);
    if (rc == 0)
        rc = peri_buffer_append(&item, datum.string.data, datum.string.size);
    rc = rc != 0 ? peri_fail(fold->err, rc, "concat") : add_item(fold, peri_buffer_slice(&item));
    peri_buffer_deinit(&item);
    return rc;
}

static int list_add(const struct mr_fold *fold, struct peri_slice value,
                    const struct mr_position *position)
{
    if (fold->reducer->kind == MR_REDUCE_CONCAT)
        return concat_add(fold, value, position);
    return add_item(fold, value);
}

static int list_merge(const struct mr_fold *fold, struct peri_slice encoded)
{
    const char *at = encoded.data;
    const char *end = encoded.data + encoded.size;
    size_t least = fold->reducer->kind == MR_REDUCE_CONCAT ? POSITION_SIZE : 1;
    int rc = 0;
    while (rc == 0 && at < end) {
        uint64_t size;
        at = bits_get_varint(at, end, &size);
        if (at == NULL || size > (uint64_t)(end - at) || size < least)
            return mr_fold_malformed(fold);
        rc = add_item(fold, peri_slice_of(at, size));
        at += size;
    }
    return rc;
}

/* ---- results ---- */

static int list_encode(const struct mr_fold *fold, struct peri_buffer *out)
{
    int rc = tidy(fold);
    if (rc != 0)
        return rc;
    const char *at = list_of(fold)->items;
    for (uint64_t i = 0; rc == 0 && i < list_of(fold)->count; i++) {
        char size[BITS_VARINT_MAX];
        struct peri_slice item = item_at(at);
        rc = peri_buffer_append(out, size, (size_t)(bits_put_varint(size, item.size) - size));
        if (rc == 0)
            rc = peri_buffer_append(out, item.data, item.size);
        at = item.data + item.size;
    }
    return rc != 0 ? peri_fail(fold->err, rc, "%s", mr_reducer_name(fold->reducer->kind)) : 0;
}

static int append_array(const struct mr_fold *fold, struct peri_buffer *out)
{
    uint64_t count = list_of(fold)->count;
    const char *at = list_of(fold)->items;
    char head[6] = {6, (char)0xdd}; /* a table: MessagePack array 32 */
    for (int i = 0; i < 4; i++)
        head[2 + i] = (char)(count >> (24 - 8 * i));
    int rc = peri_buffer_append(out, head, sizeof head);
    for (uint64_t i = 0; rc == 0 && i < count; i++) {
        struct peri_slice item = item_at(at);
        rc = mr_value_to_msgpack(item, out);
        at = item.data + item.size;
    }
    return rc;
}

static int append_text(const struct mr_fold *fold, struct peri_buffer *out)
{
    const struct mr_datum empty = {.type = MR_STRING, .string = {"", 0}};
    const char *at = list_of(fold)->items;
    int rc = mr_value_encode(&empty, out);
    for (uint64_t i = 0; rc == 0 && i < list_of(fold)->count; i++) {
        struct peri_slice item = item_at(at);
        if (i > 0)
            rc = peri_buffer_append(out, fold->reducer->sep.data, fold->reducer->sep.size);
        if (rc == 0)
            rc = peri_buffer_append(out, item.data + POSITION_SIZE, item.size - POSITION_SIZE);
        at = item.data + item.size;
    }
    return rc;
}

static int list_finish(const struct mr_fold *fold, struct peri_buffer *out)
{
    int rc = tidy(fold);
    if (rc != 0)
        return rc;
    rc = fold->reducer->kind == MR_REDUCE_CONCAT ? append_text(fold, out) : append_array(fold, out);
    return rc != 0 ? peri_fail(fold->err, rc, "%s", mr_reducer_name(fold->reducer->kind)) : 0;
}

const struct mr_reducer_ops mr_reducer_list_ops = {list_add, list_merge, list_encode, list_finish};
