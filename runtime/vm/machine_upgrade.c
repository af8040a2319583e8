#include "vm/machine_parts.h"

#include <lauxlib.h>

bool vm_upgrade_set_text(struct vm_machine *machine, struct peri_slice name, struct peri_slice text)
{
    machine->name.size = machine->text.size = 0;
    return peri_buffer_append(&machine->name, name.data, name.size) == 0 &&
           peri_buffer_append(&machine->name, "", 1) == 0 &&
           peri_buffer_append(&machine->text, text.data, text.size) == 0;
}

void vm_upgrade_switch(lua_State *L, struct vm_machine *machine, struct peri_slice name,
                       struct peri_slice text)
{
    vm_program_unload(L, &machine->program);
    machine->program = machine->next;
    vm_program_init(&machine->next);
    machine->store.is_text_stored = false;
    machine->is_broken = !vm_upgrade_set_text(machine, name, text);
}

static int l_load_next(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    const struct peri_slice *text = lua_touserdata(L, 3);
    vm_program_load(L, &machine->next, *text, lua_tostring(L, 2));
    return 0;
}

void vm_upgrade_load(lua_State *L, struct vm_machine *machine, struct peri_slice name,
                     struct peri_slice text)
{
    lua_pushcfunction(L, l_load_next);
    lua_pushlightuserdata(L, machine);
    lua_pushlstring(L, name.data, name.size);
    lua_pushlightuserdata(L, &text);
    vm_call(L, 3, 0);
    if (machine->next.is_stored != machine->program.is_stored)
        luaL_error(L, "an upgrade cannot move the state: the file that runs %s store = true",
                   machine->program.is_stored ? "has" : "does not have");
    if (machine->next.is_stored && text.size > VM_STORE_TEXT_MAX)
        luaL_error(L, "a machine's file has at most %d MiB", VM_STORE_TEXT_MAX >> 20);
}

/* The name and the text in a body; *ttl_us, unless NULL, is what a VM_ENTRY_PREPARE has besides. */
static bool read_body(struct peri_slice body, struct peri_slice *name, struct peri_slice *text,
                      uint64_t *ttl_us)
{
    struct wire_unpacker unpacker = wire_unpack(body);
    uint32_t count = wire_unpack_array(&unpacker);
    *name = wire_unpack_bytes(&unpacker);
    *text = wire_unpack_bytes(&unpacker);
    if (ttl_us != NULL)
        *ttl_us = wire_unpack_uint(&unpacker);
    return wire_unpack_end(&unpacker) == 0 && count == (ttl_us != NULL ? 3 : 2);
}

static void read_program(lua_State *L, const struct vm_machine *machine, struct peri_slice *name,
                         struct peri_slice *text)
{
    enum vm_entry_kind kind = machine->entry.kind;
    uint64_t ttl_us;
    bool has_ttl = kind == VM_ENTRY_PREPARE || kind == VM_ENTRY_DECIDE;
    if (!read_body(machine->entry.body, name, text, has_ttl ? &ttl_us : NULL))
        luaL_error(L, "an upgrade is a name and a text");
}

/* ---- two steps ---- */

static void forget(struct vm_machine *machine)
{
    machine->prepared.index = machine->prepared.expires_us = 0;
    machine->prepared.body.size = 0;
}

bool vm_upgrade_is_pending(const struct vm_machine *machine)
{
    return machine->prepared.index != 0 && machine->clock_us < machine->prepared.expires_us;
}

/* It could be done: it waits for its decision. */
static void prepare(lua_State *L, struct vm_machine *machine)
{
    struct peri_slice name, text, body = machine->entry.body;
    uint64_t ttl_us = 0;
    (void)read_body(body, &name, &text, &ttl_us);
    forget(machine);
    machine->is_broken = peri_buffer_append(&machine->prepared.body, body.data, body.size) != 0;
    if (machine->is_broken)
        vm_call_fail_memory(L);
    machine->prepared.index = machine->job->index;
    machine->prepared.expires_us = machine->clock_us + ttl_us;
}

int vm_upgrade_decide(struct vm_machine *machine)
{
    struct vm_machine_job *job = machine->job;
    struct wire_unpacker unpacker = wire_unpack(machine->entry.body);
    struct wire_packer packer = {job->output, 0};
    uint32_t count = wire_unpack_array(&unpacker);
    uint64_t index = wire_unpack_uint(&unpacker);
    bool is_to_happen = wire_unpack_bool(&unpacker);
    if (wire_unpack_end(&unpacker) != 0 || count != 2)
        return peri_fail_plain(job->err, PERI_EFORMAT, "this is no decision about an upgrade");
    if (!vm_upgrade_is_pending(machine) || machine->prepared.index != index)
        return peri_fail_plain(job->err, PERI_EINVAL,
                               "there is no upgrade to decide: it has lapsed, or was decided");
    if (is_to_happen) {
        machine->entry.body = peri_buffer_slice(&machine->prepared.body);
        machine->prepared.index = 0; /* the body stays until it has happened */
        return 0;
    }
    forget(machine);
    wire_pack_bool(&packer, false);
    machine->is_broken = machine->is_broken || packer.rc != 0;
    return packer.rc == 0 ? 1 : packer.rc;
}

void vm_upgrade_pack(const struct vm_machine *machine, struct wire_packer *packer)
{
    wire_pack_array(packer, 3);
    wire_pack_uint(packer, machine->prepared.index);
    wire_pack_uint(packer, machine->prepared.expires_us);
    wire_pack_bytes(packer, peri_buffer_slice(&machine->prepared.body));
}

int vm_upgrade_unpack(struct vm_machine *machine, struct wire_unpacker *unpacker)
{
    forget(machine);
    if (wire_unpack_array(unpacker) != 3)
        return PERI_EFORMAT;
    machine->prepared.index = wire_unpack_uint(unpacker);
    machine->prepared.expires_us = wire_unpack_uint(unpacker);
    struct peri_slice body = wire_unpack_bytes(unpacker);
    return unpacker->rc != 0 ? PERI_EFORMAT
                             : peri_buffer_append(&machine->prepared.body, body.data, body.size);
}

/* ---- in the coroutine ---- */

static void pack_result(lua_State *L, const struct vm_machine *machine)
{
    struct wire_packer packer = {machine->job->output, 0};
    bool is_prepared = machine->entry.kind == VM_ENTRY_PREPARE;
    if (is_prepared)
        wire_pack_array(&packer, 2);
    wire_pack_int(&packer, machine->next.version);
    if (is_prepared)
        wire_pack_uint(&packer, machine->job->index);
    if (packer.rc != 0)
        vm_call_fail_memory(L);
}

void vm_upgrade_finish(lua_State *L, struct vm_machine *machine)
{
    struct peri_slice name, text;
    vm_call_check_variables(L, &machine->next);
    vm_tables_commit(L, &machine->tables);
    pack_result(L, machine);
    if (machine->entry.kind == VM_ENTRY_TRY || machine->entry.kind == VM_ENTRY_PREPARE) {
        vm_tables_undo(L, &machine->tables);
        vm_store_undo(machine);
        vm_program_unload(L, &machine->next);
        if (machine->entry.kind == VM_ENTRY_PREPARE)
            prepare(L, machine);
        return;
    }
    read_program(L, machine, &name, &text);
    vm_upgrade_switch(L, machine, name, text);
}

int vm_upgrade_push(lua_State *L, struct vm_machine *machine)
{
    struct peri_slice name, text;
    read_program(L, machine, &name, &text);
    vm_upgrade_load(L, machine, name, text);
    vm_call_begin_budget(machine, &machine->next);
    if (machine->next.functions[VM_FUNCTION_MIGRATE] == LUA_NOREF)
        return -1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->next.functions[VM_FUNCTION_MIGRATE]);
    vm_call_push_state(L, machine);
    lua_pushinteger(L, machine->program.version);
    vm_call_push_context(L, machine);
    return 3;
}
