#include "vm/machine_store.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "store/chunk.h"
#include "vm/machine_parts.h"

enum { PAGE_BYTES = 128 << 10 };

/* ---- life ---- */

static void free_pages(struct vm_store *store)
{
    for (size_t i = 0; i < VM_STORE_PAGES; i++) {
        peri_buffer_deinit(&store->pages[i].pairs);
        peri_buffer_deinit(&store->pages[i].next);
        store->pages[i] = (struct vm_store_page){.walk = 0};
    }
    store->next_page = 0;
}

void vm_store_close(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    if (store->is_reading)
        node_keys_cancel(&store->read);
    node_keymap_clear(&store->own);
    node_keymap_clear(&store->staged);
    free_pages(store);
    peri_buffer_deinit(&store->key);
    peri_buffer_deinit(&store->value);
    peri_buffer_deinit(&store->bound);
    peri_buffer_deinit(&store->program);
    peri_buffer_deinit(&store->read.found);
    peri_buffer_deinit(&store->read.next);
}

void vm_store_begin(struct vm_machine *machine, struct node_keys *keys)
{
    struct vm_store *store = &machine->store;
    store->keys = keys;
    vm_store_undo(machine);
}

void vm_store_undo(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    if (store->staged.heads[0] != NULL)
        node_keymap_clear(&store->staged);
    store->effect_bytes = 0;
    if (store->walks > 0) {
        free_pages(store);
        store->walks = 0;
    }
}

/* ---- writing ---- */

int vm_store_stage(struct vm_store *store, struct peri_slice key, struct peri_slice value)
{
    struct node_keymap_entry *entry = node_keymap_entry_create(key, value, value.data == NULL);
    if (entry == NULL)
        return PERI_ENOMEM;
    free(node_keymap_put(&store->staged, entry));
    return 0;
}

void vm_store_keep_own(struct vm_store *store)
{
    struct node_keymap_entry *entry = store->staged.heads[0];
    store->staged = (struct node_keymap){.heads = {NULL}};
    while (entry != NULL) {
        struct node_keymap_entry *next = entry->next[0], *old = node_keymap_put(&store->own, entry);
        free(old);
        if (entry->is_deleted) {
            node_keymap_remove(&store->own, entry);
            free(entry);
        }
        entry = next;
    }
}

static int stage_head(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    struct wire_packer packer = {&store->value, 0};
    store->value.size = 0;
    wire_pack_array(&packer, VM_STORE_HEAD_FIELDS);
    wire_pack_uint(&packer, VM_STORE_FORMAT);
    wire_pack_uint(&packer, machine->tables.hash);
    wire_pack_uint(&packer, machine->clock_us);
    wire_pack_uint(&packer, machine->sessions.last_id);
    wire_pack_uint(&packer, machine->prepared.index);
    wire_pack_uint(&packer, machine->prepared.expires_us);
    return packer.rc != 0
               ? packer.rc
               : vm_store_stage(store, peri_slice_of("h", 1), peri_buffer_slice(&store->value));
}

static int stage_text(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    struct wire_packer packer = {&store->value, 0};
    if (store->is_text_stored)
        return 0;
    store->value.size = 0;
    wire_pack_array(&packer, 2);
    wire_pack_bytes(&packer, peri_slice_of(machine->name.data, machine->name.size - 1));
    wire_pack_bytes(&packer, peri_buffer_slice(&machine->text));
    store->is_text_stored = true;
    return packer.rc != 0
               ? packer.rc
               : vm_store_stage(store, peri_slice_of("t", 1), peri_buffer_slice(&store->value));
}

static int stage_prepared(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    if (store->stored_prepared == machine->prepared.index)
        return 0;
    store->stored_prepared = machine->prepared.index;
    return vm_store_stage(store, peri_slice_of("p", 1),
                          machine->prepared.index != 0 ? peri_buffer_slice(&machine->prepared.body)
                                                       : peri_slice_of(NULL, 0));
}

static int stage_session(struct vm_machine *machine, uint64_t id)
{
    struct vm_store *store = &machine->store;
    const struct vm_session *session = vm_sessions_find(&machine->sessions, id);
    char name[VM_STORE_SESSION_KEY_SIZE] = {'s'};
    struct peri_slice key = {name, sizeof name};
    bits_put_be64(name + 1, id);
    if (session == NULL)
        return vm_store_stage(store, key, peri_slice_of(NULL, 0));
    struct wire_packer packer = {&store->value, 0};
    store->value.size = 0;
    wire_pack_array(&packer, VM_STORE_SESSION_FIELDS);
    wire_pack_uint(&packer, session->sequence);
    wire_pack_uint(&packer, session->ttl_us);
    wire_pack_uint(&packer, session->expires_us);
    wire_pack_bytes(&packer, peri_buffer_slice(&session->result));
    return packer.rc != 0 ? packer.rc
                          : vm_store_stage(store, key, peri_buffer_slice(&store->value));
}

static int stage_sessions(struct vm_machine *machine)
{
    struct vm_sessions *sessions = &machine->sessions;
    int rc = sessions->touched_rc;
    for (size_t at = 0; at < sessions->touched.size && rc == 0; at += sizeof(uint64_t)) {
        uint64_t id;
        memcpy(&id, sessions->touched.data + at, sizeof id);
        rc = stage_session(machine, id);
    }
    sessions->touched.size = 0;
    return rc;
}

int vm_store_commit(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    int rc = stage_head(machine);
    if (rc == 0)
        rc = stage_text(machine);
    if (rc == 0)
        rc = stage_prepared(machine);
    if (rc == 0)
        rc = stage_sessions(machine);
    if (rc == 0 && store->keys != NULL)
        rc = node_keys_write(store->keys, &store->staged, NULL);
    else if (rc == 0)
        vm_store_keep_own(store);
    vm_store_undo(machine);
    return rc;
}

/* ---- reading what is not staged ---- */

static void on_read(struct node_keys_read *read, int status)
{
    struct vm_machine *machine = read->data;
    machine->store.is_reading = false;
    machine->store.read_status = status;
    machine->on_read(machine->on_read_data);
}

/* The last entry of a machine alone that is below key, or the first that is not. */
static const struct node_keymap_entry *own_entry(const struct vm_store *store,
                                                 struct peri_slice from, struct peri_slice to,
                                                 bool is_reverse)
{
    const struct node_keymap_entry *entry =
        is_reverse ? node_keymap_seek_below(&store->own, to) : node_keymap_seek(&store->own, from);
    bool is_inside = entry != NULL && peri_slice_compare(node_keymap_key(entry), from) >= 0 &&
                     peri_slice_compare(node_keymap_key(entry), to) < 0;
    return is_inside ? entry : NULL;
}

/* The same answer as node_keys_range gives, of one pair. */
static int own_range(struct vm_store *store, struct peri_slice from, struct peri_slice to,
                     bool is_reverse)
{
    struct node_keys_read *read = &store->read;
    const struct node_keymap_entry *entry = own_entry(store, from, to, is_reverse);
    read->count = entry != NULL;
    read->is_more = entry != NULL;
    if (entry == NULL)
        return 1;
    struct peri_slice key = node_keymap_key(entry);
    int rc = store_chunk_put(&read->found, key, node_keymap_value(entry));
    if (rc == 0)
        rc = peri_buffer_append(&read->next, key.data, key.size);
    if (rc == 0 && !is_reverse)
        rc = peri_buffer_append(&read->next, "", 1);
    return rc == 0 ? 1 : rc;
}

static void begin_read(struct vm_machine *machine)
{
    struct vm_store *store = &machine->store;
    struct peri_buffer found = store->read.found, next = store->read.next;
    found.size = next.size = 0;
    store->read =
        (struct node_keys_read){.on_done = on_read, .data = machine, .found = found, .next = next};
    store->read_status = 0;
}

int vm_store_get(struct vm_machine *machine, struct peri_slice key)
{
    struct vm_store *store = &machine->store;
    begin_read(machine);
    store->read.from = key;
    if (store->keys != NULL) {
        int rc = node_keys_get(store->keys, &store->read, NULL);
        store->is_reading = rc == 0;
        return rc;
    }
    const struct node_keymap_entry *entry = node_keymap_find(&store->own, key);
    if (entry == NULL)
        return 1;
    struct peri_slice value = node_keymap_value(entry);
    store->read.count = 1;
    int rc = peri_buffer_append(&store->read.found, value.data, value.size);
    return rc == 0 ? 1 : rc;
}

int vm_store_range(struct vm_machine *machine, struct peri_slice from, struct peri_slice to,
                   uint32_t count_max, bool is_reverse)
{
    struct vm_store *store = &machine->store;
    begin_read(machine);
    if (store->keys == NULL)
        return own_range(store, from, to, is_reverse);
    store->read.from = from;
    store->read.to = to;
    store->read.count_max = count_max;
    store->read.size_max = PAGE_BYTES;
    store->read.is_reverse = is_reverse;
    int rc = node_keys_range(store->keys, &store->read, NULL);
    store->is_reading = rc == 0;
    return rc;
}
