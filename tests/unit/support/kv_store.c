#include "kv_store.h"

#include <stdlib.h>

#include "base/assert.h"
#include "check/hash.h"
#include "kv/lay.h"
#include "kv/sweep.h"
#include "store/chunk.h"
#include "wire/pack.h"

uint64_t kv_store_draw(struct kv_store *store, uint64_t below)
{
    store->random = store->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (store->random >> 33) % below;
}

struct peri_slice kv_text(const char *text)
{
    return peri_slice_of(text, strlen(text));
}

/* Between true and false no allocation fails. */
static void spare(const struct kv_store *store, bool is_spared)
{
    if (store->spare != NULL)
        store->spare(is_spared);
}

/* ---- the source ---- */

static int get(void *data, struct peri_slice name, struct peri_slice *value)
{
    struct kv_store *store = data;
    if (kv_store_draw(store, 4) == 0) {
        spare(store, true);
        PERI_ASSERT(store_chunk_put(&store->names, name, peri_slice_of(NULL, 0)) == 0);
        spare(store, false);
        return KV_LATER;
    }
    const struct node_keymap_entry *entry = node_keymap_find(&store->keys, name);
    if (entry == NULL)
        return 0;
    *value = node_keymap_value(entry);
    return 1;
}

static int range(void *data, const struct kv_page *wanted)
{
    struct kv_store *store = data;
    struct kv_page *page = kv_page_create(wanted);
    if (page == NULL)
        return PERI_ENOMEM;
    page->next_page = store->wanted;
    store->wanted = page;
    return KV_LATER;
}

static void fill_page(struct kv_store *store, struct kv_page *page)
{
    uint64_t most = kv_store_draw(store, 2) == 0 ? 3 : page->count_max;
    struct node_keymap_entry *entry =
        node_keymap_seek(&store->keys, peri_buffer_slice(&page->from));
    for (; entry != NULL; entry = entry->next[0]) {
        struct peri_slice name = node_keymap_key(entry);
        if (peri_slice_compare(name, peri_buffer_slice(&page->to)) >= 0)
            return;
        page->is_more = page->count == most;
        if (page->is_more) {
            PERI_ASSERT(peri_buffer_append(&page->next, name.data, name.size) == 0);
            return;
        }
        PERI_ASSERT(store_chunk_put(&page->pairs, name, node_keymap_value(entry)) == 0);
        page->count++;
    }
}

/* What was asked for comes: 0, or the view has no memory for it. */
static int come(struct kv_store *store)
{
    struct peri_slice names = peri_buffer_slice(&store->names), name, nothing;
    int rc = 0;
    for (size_t at = 0; at < names.size;) {
        PERI_ASSERT(store_chunk_next(names, &at, &name, &nothing) == 0);
        const struct node_keymap_entry *entry = node_keymap_find(&store->keys, name);
        struct peri_slice value = entry != NULL ? node_keymap_value(entry) : nothing;
        if (rc == 0)
            rc = kv_view_learn(&store->view, name, value, entry != NULL);
    }
    store->names.size = 0;
    while (store->wanted != NULL) {
        struct kv_page *page = store->wanted;
        store->wanted = page->next_page;
        spare(store, true);
        fill_page(store, page);
        spare(store, false);
        kv_view_learn_page(&store->view, page);
    }
    return rc;
}

/* ---- runs ---- */

static void begin(struct kv_store *store, struct peri_buffer *out, struct peri_error *err)
{
    if (store->tail.chunks.next == NULL)
        node_keytail_init(&store->tail);
    store->view.source = (struct kv_source){get, range, store};
    store->view.tail = &store->tail;
    store->runs++;
    out->size = 0;
    peri_error_clear(err);
    kv_view_begin(&store->view);
}

static uint64_t mix(uint64_t hash, struct peri_slice bytes)
{
    hash = check_mix(hash, bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        hash = check_mix(hash, (unsigned char)bytes.data[i]);
    return hash;
}

static uint64_t hash_effect(const struct kv_store *store)
{
    const struct node_keymap_entry *entry = store->view.written.heads[0];
    struct node_keytail_place place = {.chunk = NULL};
    struct node_keytail_item item;
    uint64_t hash = 0;
    for (; entry != NULL; entry = entry->next[0]) {
        hash = check_mix(mix(hash, node_keymap_key(entry)), entry->is_deleted);
        hash = entry->is_deleted ? hash : mix(hash, node_keymap_value(entry));
    }
    while (node_keytail_next(&store->view.told, &place, &item))
        hash = mix(check_mix(hash, item.tag), item.bytes);
    return hash;
}

static void change(struct kv_store *store, struct peri_slice name, struct peri_slice value,
                   bool is_deleted)
{
    struct node_keymap_entry *old = node_keymap_find(&store->keys, name);
    if (!is_deleted) {
        struct node_keymap_entry *copy = node_keymap_entry_create(name, value, false);
        PERI_ASSERT(copy != NULL);
        free(node_keymap_put(&store->keys, copy));
    } else if (old != NULL) {
        node_keymap_remove(&store->keys, old);
        free(old);
    }
}

static void take_effect(struct kv_store *store, const struct node_keymap *written)
{
    const struct node_keymap_entry *entry = written->heads[0];
    for (; entry != NULL; entry = entry->next[0])
        change(store, node_keymap_key(entry), node_keymap_value(entry), entry->is_deleted);
}

struct layer {
    struct node_keys_layer base;
    struct kv_store *store;
};

static int lay(struct node_keys_layer *base, struct peri_slice name, struct peri_slice value)
{
    change(container_of(base, struct layer, base)->store, name, value, false);
    return 0;
}

void kv_store_lay(struct kv_store *store)
{
    struct layer layer = {{lay}, store};
    struct peri_list chunks;
    if (store->tail.chunks.next == NULL)
        return;
    const struct node_keytail_piece piece = node_keytail_seal(&store->tail, NULL);
    if (piece.first == NULL)
        return;
    spare(store, true);
    PERI_ASSERT(kv_lay(&piece, store->mark, &layer.base) == 0);
    spare(store, false);
    peri_list_init(&chunks);
    (void)node_keytail_take(&store->tail, piece.last, &chunks);
    node_keytail_free(&chunks);
}

/* A command has happened: what it told is laid sooner or later. */
static void take_told(struct kv_store *store)
{
    spare(store, true);
    PERI_ASSERT(node_keytail_append_all(&store->tail, &store->view.told) == 0);
    spare(store, false);
    if (store->view.compacted > store->mark)
        store->mark = store->view.compacted;
    if (!store->lays_late && kv_store_draw(store, 8) == 0)
        kv_store_lay(store);
}

static void end(struct kv_store *store)
{
    (void)come(store); /* what is wanted no more */
    kv_view_clear(&store->view);
}

int kv_store_apply(struct kv_store *store, struct peri_slice bytes, struct peri_buffer *out,
                   struct peri_error *err)
{
    static struct kv_command command;
    out->size = 0;
    peri_error_clear(err);
    int rc = kv_command_decode(bytes, &command, err);
    if (rc != 0)
        return rc;
    do {
        rc = come(store);
        begin(store, out, err);
        rc = rc == 0 ? kv_apply(&store->view, &command, out, err) : rc;
    } while (rc == KV_LATER);
    store->effect = rc == 0 ? hash_effect(store) : 0;
    if (rc == 0 && !store->is_dry) {
        take_effect(store, &store->view.written);
        take_told(store);
    }
    end(store);
    return rc;
}

int kv_store_ask(struct kv_store *store, struct peri_slice bytes, struct peri_buffer *out,
                 struct peri_error *err)
{
    struct kv_query query;
    out->size = 0;
    peri_error_clear(err);
    int rc = kv_query_decode(bytes, &query, err);
    if (rc != 0)
        return rc;
    do {
        rc = come(store);
        begin(store, out, err);
        rc = rc == 0 ? kv_ask(&store->view, &query, out, err) : rc;
    } while (rc == KV_LATER);
    end(store);
    return rc;
}

/* ---- sweeps ---- */

struct sweep {
    struct node_keys_sweep keys;
    struct kv_store *store;
    struct node_keymap written; /* takes effect at the end */
};

static int sweep_get(struct node_keys_sweep *keys, struct peri_slice key, struct peri_buffer *out,
                     struct peri_error *err)
{
    const struct kv_store *store = container_of(keys, struct sweep, keys)->store;
    const struct node_keymap_entry *entry = node_keymap_find(&store->keys, key);
    (void)err;
    if (entry == NULL)
        return 0;
    struct peri_slice value = node_keymap_value(entry);
    PERI_ASSERT(peri_buffer_append(out, value.data, value.size) == 0);
    return 1;
}

static int sweep_scan(struct node_keys_sweep *keys, struct peri_slice from,
                      int (*each)(void *data, struct peri_slice key, struct peri_slice value),
                      void *data, struct peri_error *err)
{
    const struct kv_store *store = container_of(keys, struct sweep, keys)->store;
    struct node_keymap_entry *entry = node_keymap_seek(&store->keys, from);
    int rc = 0;
    (void)err;
    for (; entry != NULL && rc == 0; entry = entry->next[0])
        rc = each(data, node_keymap_key(entry), node_keymap_value(entry));
    return rc;
}

static int sweep_write(struct node_keys_sweep *keys, struct peri_slice key, struct peri_slice value,
                       bool is_deleted)
{
    struct sweep *sweep = container_of(keys, struct sweep, keys);
    struct node_keymap_entry *entry = node_keymap_entry_create(key, value, is_deleted);
    PERI_ASSERT(entry != NULL);
    free(node_keymap_put(&sweep->written, entry));
    return 0;
}

static int sweep_put(struct node_keys_sweep *keys, struct peri_slice key, struct peri_slice value)
{
    return sweep_write(keys, key, value, false);
}

static int sweep_remove(struct node_keys_sweep *keys, struct peri_slice key)
{
    return sweep_write(keys, key, peri_slice_of(NULL, 0), true);
}

unsigned kv_store_sweep(struct kv_store *store)
{
    struct sweep sweep = {.keys = {sweep_get, sweep_scan, sweep_put, sweep_remove}, .store = store};
    struct peri_error err = PERI_ERROR_INIT;
    unsigned steps = 0;
    int rc = 1;
    kv_store_lay(store); /* a round comes first */
    for (; rc == 1; steps++) {
        rc = kv_sweep(&sweep.keys, &err);
        PERI_ASSERT(rc >= 0);
        take_effect(store, &sweep.written);
        node_keymap_clear(&sweep.written);
    }
    return steps;
}

void kv_store_deinit(struct kv_store *store)
{
    if (store->tail.chunks.next != NULL)
        node_keytail_clear(&store->tail);
    kv_view_clear(&store->view);
    node_keymap_clear(&store->keys);
    peri_buffer_deinit(&store->names);
}

size_t kv_store_count(struct kv_store *store, char tag)
{
    kv_store_lay(store);
    const struct node_keymap_entry *entry = node_keymap_seek(&store->keys, peri_slice_of(&tag, 1));
    size_t count = 0;
    for (; entry != NULL && node_keymap_key(entry).data[0] == tag; entry = entry->next[0])
        count++;
    return count;
}

/* ---- bytes ---- */

static void put_bounds(struct wire_packer *out, const struct kv_bounds *bounds, bool has_flags)
{
    wire_pack_bytes(out, bounds->from);
    wire_pack_bytes(out, bounds->to);
    wire_pack_uint(out, bounds->limit);
    if (has_flags)
        wire_pack_uint(out, bounds->flags);
}

static void put_compare(struct wire_packer *out, const struct kv_compare *compare)
{
    static const char *const targets[] = {"revision", "created", "version",
                                          "lease",    "changed", "value"};
    static const char *const relations[] = {"=", "!=", "<", ">"};
    wire_pack_array(out, 4);
    wire_pack_bytes(out, kv_text(targets[compare->target]));
    wire_pack_bytes(out, compare->key);
    wire_pack_bytes(out, kv_text(relations[compare->relation]));
    if (compare->target == KV_VALUE)
        wire_pack_bytes(out, compare->value);
    else
        wire_pack_uint(out, compare->number);
}

static void put_operation(struct wire_packer *out, const struct kv_operation *operation)
{
    static const char *const words[] = {"get",   "put",          "delete",  "append",   "increment",
                                        "range", "delete_range", "set",     "fetch",    "size",
                                        "ttl",   "expire",       "persist", "add_float"};
    static const uint32_t parts[] = {2, 4, 2, 3, 3, 5, 4, 5, 2, 2, 2, 4, 2, 3};
    enum kv_operation_kind kind = operation->kind;
    wire_pack_array(out, parts[kind]);
    wire_pack_bytes(out, kv_text(words[kind]));
    if (kind == KV_RANGE || kind == KV_DELETE_RANGE) {
        put_bounds(out, &operation->bounds, kind == KV_RANGE);
        return;
    }
    wire_pack_bytes(out, operation->key);
    if (kind == KV_PUT || kind == KV_APPEND || kind == KV_SET || kind == KV_ADD_FLOAT)
        wire_pack_bytes(out, operation->value);
    if (kind == KV_PUT)
        wire_pack_int(out, operation->keeps_lease ? -1 : (int64_t)operation->lease);
    if (kind == KV_INCREMENT || kind == KV_SET || kind == KV_EXPIRE)
        wire_pack_int(out, operation->delta);
    if (kind == KV_SET || kind == KV_EXPIRE)
        wire_pack_uint(out, operation->flags);
}

void kv_store_encode(const struct kv_command *command, struct peri_buffer *buffer)
{
    static const char *const words[] = {"do",   "open",   "close", "resolve", "grant",
                                        "keep", "revoke", "tick",  "compact"};
    static const uint32_t parts[] = {3, 1, 0, 0, 1, 1, 1, 0, 1};
    struct wire_packer out = {buffer, 0};
    wire_pack_array(&out, 5 + parts[command->kind]);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    wire_pack_uint(&out, command->now_ms);
    wire_pack_uint(&out, command->session);
    wire_pack_uint(&out, command->sequence);
    wire_pack_bytes(&out, kv_text(words[command->kind]));
    if (parts[command->kind] == 1)
        wire_pack_uint(&out, command->number);
    if (command->kind == KV_DO) {
        wire_pack_array(&out, command->compare_count);
        for (uint32_t i = 0; i < command->compare_count; i++)
            put_compare(&out, &command->compares[i]);
        wire_pack_array(&out, command->then_count);
        for (uint32_t i = 0; i < command->then_count; i++)
            put_operation(&out, &command->then[i]);
        wire_pack_array(&out, command->else_count);
        for (uint32_t i = 0; i < command->else_count; i++)
            put_operation(&out, &command->otherwise[i]);
    }
    PERI_ASSERT(out.rc == 0);
}

void kv_store_encode_query(const struct kv_query *query, struct peri_buffer *buffer)
{
    static const char *const words[] = {"get",     "range",  "events", "lease",
                                        "outcome", "status", "read"};
    static const uint32_t parts[] = {2, 5, 5, 1, 2, 0, 1};
    struct wire_packer out = {buffer, 0};
    wire_pack_array(&out, 2 + parts[query->kind]);
    wire_pack_uint(&out, KV_COMMAND_VERSION);
    wire_pack_bytes(&out, kv_text(words[query->kind]));
    if (query->kind == KV_ASK_KEY)
        wire_pack_bytes(&out, query->bounds.from);
    if (query->kind == KV_ASK_RANGE || query->kind == KV_ASK_EVENTS)
        put_bounds(&out, &query->bounds, query->kind == KV_ASK_RANGE);
    if (query->kind == KV_ASK_READ) {
        wire_pack_array(&out, query->count);
        for (uint32_t i = 0; i < query->count; i++)
            put_operation(&out, &query->operations[i]);
    } else if (query->kind != KV_ASK_STATUS) {
        wire_pack_uint(&out, query->revision);
    }
    if (query->kind == KV_ASK_EVENTS || query->kind == KV_ASK_OUTCOME)
        wire_pack_uint(&out, query->number);
    PERI_ASSERT(out.rc == 0);
}
