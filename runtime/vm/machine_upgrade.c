#include "vm/machine_parts.h"

#include <lauxlib.h>

#include "wire/pack.h"

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
}

static void read_program(lua_State *L, const struct vm_machine *machine, struct peri_slice *name,
                         struct peri_slice *text)
{
    struct wire_unpacker unpacker = wire_unpack(machine->entry.body);
    uint32_t count = wire_unpack_array(&unpacker);
    *name = wire_unpack_bytes(&unpacker);
    *text = wire_unpack_bytes(&unpacker);
    if (wire_unpack_end(&unpacker) != 0 || count != 2)
        luaL_error(L, "an upgrade is a name and a text");
}

void vm_upgrade_finish(lua_State *L, struct vm_machine *machine)
{
    struct peri_slice name, text;
    struct wire_packer packer = {machine->job->output, 0};
    vm_call_check_variables(L, &machine->next);
    vm_tables_commit(L, &machine->tables);
    wire_pack_int(&packer, machine->next.version);
    if (packer.rc != 0)
        luaL_error(L, "not enough memory");
    if (machine->entry.kind == VM_ENTRY_TRY) {
        vm_tables_undo(L, &machine->tables);
        vm_program_unload(L, &machine->next);
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
    if (machine->next.functions[VM_FUNCTION_MIGRATE] == LUA_NOREF)
        return -1;
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->next.functions[VM_FUNCTION_MIGRATE]);
    vm_call_push_state(L, machine);
    lua_pushinteger(L, machine->program.version);
    vm_call_push_context(L, machine);
    return 3;
}
