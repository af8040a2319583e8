/* machine_store_load.c - what a machine of ctx.store remembers, from its keys or a snapshot, and
 * back (machine_store.h has the layout). */
#include <lauxlib.h>

#include "base/bits.h"
#include "store/chunk.h"
#include "vm/machine_parts.h"

/* ---- taking it over ---- */

static int take_head(struct vm_machine *machine, struct peri_slice value)
{
    struct wire_unpacker unpacker = wire_unpack(value);
    bool is_one = wire_unpack_array(&unpacker) == VM_STORE_HEAD_FIELDS;
    is_one = is_one && wire_unpack_uint(&unpacker) == VM_STORE_FORMAT;
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
    bool is_one = key.size == VM_STORE_SESSION_KEY_SIZE &&
                  wire_unpack_array(&unpacker) == VM_STORE_SESSION_FIELDS;
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
    vm_store_keep_own(store);
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
