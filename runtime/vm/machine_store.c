#include "vm/machine_store.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bits.h"
#include "store/chunk.h"
#include "vm/machine_parts.h"

enum { STORE_FORMAT = 1, HEAD_FIELDS = 6, SESSION_FIELDS = 4, SESSION_KEY_SIZE = 1 + 8 };
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

/* A machine alone takes over what was staged. */
static void keep_own(struct vm_store *store)
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
    wire_pack_array(&packer, HEAD_FIELDS);
    wire_pack_uint(&packer, STORE_FORMAT);
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
    char name[SESSION_KEY_SIZE] = {'s'};
    struct peri_slice key = {name, sizeof name};
    bits_put_be64(name + 1, id);
    if (session == NULL)
        return vm_store_stage(store, key, peri_slice_of(NULL, 0));
    struct wire_packer packer = {&store->value, 0};
    store->value.size = 0;
    wire_pack_array(&packer, SESSION_FIELDS);
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
        keep_own(store);
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

/* ---- what a machine remembers ---- */

static int take_head(struct vm_machine *machine, struct peri_slice value)
{
    struct wire_unpacker unpacker = wire_unpack(value);
    bool is_one = wire_unpack_array(&unpacker) == HEAD_FIELDS;
    is_one = is_one && wire_unpack_uint(&unpacker) == STORE_FORMAT;
    machine->tables.hash = wire_unpack_uint(&unpacker);
    machine->clock_us = wire_unpack_uint(&unpacker);
    machine->sessions.last_id = wire_unpack_uint(&unpacker);
    machine->prepared.index = wire_unpack_uint(&unpacker);
    machine->prepared.expires_us = wire_unpack_uint(&unpacker);
    machine->store.stored_prepared = machine->prepared.index;
    return is_one && wire_unpack_end(&unpacker) == 0 ? 0 : PERI_EFORMAT;
}

static int take_session(struct vm_machine *machine, struct peri_slice key, struct peri_slice value)
{
    struct vm_session session = {.id = 0};
    struct wire_unpacker unpacker = wire_unpack(value);
    bool is_one = key.size == SESSION_KEY_SIZE && wire_unpack_array(&unpacker) == SESSION_FIELDS;
    session.sequence = wire_unpack_uint(&unpacker);
    session.ttl_us = wire_unpack_uint(&unpacker);
    session.expires_us = wire_unpack_uint(&unpacker);
    struct peri_slice result = wire_unpack_bytes(&unpacker);
    if (!is_one || wire_unpack_end(&unpacker) != 0)
        return PERI_EFORMAT;
    session.id = bits_get_be64(key.data + 1);
    return vm_sessions_add(&machine->sessions, &session, result);
}

static int take(struct vm_machine *machine, struct peri_slice key, struct peri_slice value)
{
    struct vm_store *store = &machine->store;
    switch (key.size > 0 ? key.data[0] : '\0') {
    case 'h':
        return take_head(machine, value);
    case 'p':
        machine->prepared.body.size = 0;
        return peri_buffer_append(&machine->prepared.body, value.data, value.size);
    case 's':
        return take_session(machine, key, value);
    case 't':
        store->is_text_stored = true;
        return peri_buffer_append(&store->program, value.data, value.size);
    default:
        return PERI_EFORMAT;
    }
}

/* Takes what was read; returns as vm_store_load. */
static int take_pages(struct vm_machine *machine, int rc)
{
    enum { PAIRS_MAX = 1024 };
    struct vm_store *store = &machine->store;
    struct peri_slice key, value;
    while (rc == 1) {
        size_t at = 0;
        while (rc == 1 && at < store->read.found.size) {
            (void)store_chunk_next(peri_buffer_slice(&store->read.found), &at, &key, &value);
            rc = take(machine, key, value);
            rc = rc == 0 ? 1 : rc;
        }
        if (rc != 1 || !store->read.is_more)
            break;
        store->key.size = 0;
        rc = peri_buffer_append(&store->key, store->read.next.data, store->read.next.size);
        if (rc == 0)
            rc = vm_store_range(machine, peri_buffer_slice(&store->key), peri_slice_of("u", 1),
                                PAIRS_MAX, false);
    }
    store->is_loading = rc == 0;
    return rc;
}

/* The pairs of a snapshot that vm_store_pack made. */
static int take_snapshot(struct vm_store *store, struct peri_slice input)
{
    struct peri_slice key, value;
    struct wire_unpacker unpacker = wire_unpack(input);
    uint32_t count = wire_unpack_array(&unpacker);
    int rc = count > 0 && count % 2 == 0 ? 0 : PERI_EFORMAT;
    node_keymap_clear(&store->staged);
    for (uint32_t i = 0; i < count / 2 && rc == 0; i++) {
        key = wire_unpack_bytes(&unpacker);
        value = wire_unpack_bytes(&unpacker);
        rc = unpacker.rc != 0 || value.data == NULL ? PERI_EFORMAT
                                                    : vm_store_stage(store, key, value);
    }
    if (rc == 0 && wire_unpack_end(&unpacker) != 0)
        rc = PERI_EFORMAT;
    if (rc != 0)
        return rc;
    node_keymap_clear(&store->own);
    keep_own(store);
    return 0;
}

int vm_store_load(struct vm_machine *machine, struct peri_slice input)
{
    struct vm_store *store = &machine->store;
    int rc = store->keys == NULL ? take_snapshot(store, input) : 0;
    if (rc != 0)
        return rc;
    vm_sessions_deinit(&machine->sessions);
    machine->sessions.is_tracked = true;
    machine->prepared.index = store->stored_prepared = 0;
    store->program.size = 0;
    store->is_text_stored = false;
    rc = vm_store_range(machine, peri_slice_of("", 0), peri_slice_of("u", 1), 1024, false);
    return take_pages(machine, rc);
}

int vm_store_load_on(struct vm_machine *machine)
{
    int status = machine->store.read_status;
    return take_pages(machine, status == 0 ? 1 : status);
}

void vm_store_load_program(lua_State *L, struct vm_machine *machine)
{
    struct wire_unpacker unpacker = wire_unpack(peri_buffer_slice(&machine->store.program));
    if (!machine->store.is_text_stored)
        return; /* no command has been applied: all is as it begins */
    bool is_one = wire_unpack_array(&unpacker) == 2;
    struct peri_slice name = wire_unpack_bytes(&unpacker), text = wire_unpack_bytes(&unpacker);
    if (!is_one || wire_unpack_end(&unpacker) != 0)
        luaL_error(L, "the store has no program of a machine");
    if (peri_slice_compare(text, peri_buffer_slice(&machine->text)) == 0)
        return;
    vm_upgrade_load(L, machine, name, text);
    vm_upgrade_switch(L, machine, name, text);
    machine->store.is_text_stored = true;
}

static uint32_t count_from(const struct node_keymap_entry *first)
{
    uint32_t count = 0;
    for (const struct node_keymap_entry *entry = first; entry != NULL; entry = entry->next[0])
        count++;
    return count;
}

void vm_store_pack(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out)
{
    struct wire_packer packer = {out, 0};
    const struct node_keymap_entry *first = machine->store.own.heads[0];
    wire_pack_array(&packer, 2 * count_from(first));
    for (const struct node_keymap_entry *entry = first; entry != NULL; entry = entry->next[0]) {
        wire_pack_bytes(&packer, node_keymap_key(entry));
        wire_pack_bytes(&packer, node_keymap_value(entry));
    }
    if (packer.rc != 0)
        vm_call_fail_memory(L);
}

void vm_store_pack_state(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out)
{
    const struct node_keymap_entry *first =
        node_keymap_seek(&machine->store.own, peri_slice_of("u", 1));
    struct wire_packer packer = {out, 0};
    wire_pack_array(&packer, 2 * count_from(first));
    for (const struct node_keymap_entry *entry = first; entry != NULL; entry = entry->next[0]) {
        struct peri_slice key = node_keymap_key(entry), value = node_keymap_value(entry);
        wire_pack_bytes(&packer, peri_slice_of(key.data + 1, key.size - 1));
        if (packer.rc == 0)
            packer.rc = peri_buffer_append(out, value.data, value.size);
    }
    if (packer.rc != 0)
        vm_call_fail_memory(L);
}
