#include "vm/machine_parts.h"

#include <lauxlib.h>
#include <string.h>

#include "base/assert.h"

#include "wire/pack.h"

/* Format 1 had no upgrade that waits. */
enum { SNAPSHOT_FORMAT = 2, SNAPSHOT_FIELDS = 9 };

#define NO_SNAPSHOT "this is no snapshot of a machine"

static struct peri_slice name_of(const struct vm_machine *machine)
{
    return peri_slice_of(machine->name.data, machine->name.size - 1);
}

void vm_snapshot_pack(lua_State *L, const struct vm_machine *machine, struct peri_buffer *out)
{
    struct wire_packer packer = {out, 0};
    wire_pack_array(&packer, SNAPSHOT_FIELDS);
    wire_pack_uint(&packer, SNAPSHOT_FORMAT);
    wire_pack_bytes(&packer, name_of(machine));
    wire_pack_bytes(&packer, peri_buffer_slice(&machine->text));
    wire_pack_uint(&packer, machine->tables.hash);
    wire_pack_uint(&packer, machine->clock_us);
    vm_sessions_pack(&machine->sessions, &packer);
    vm_upgrade_pack(machine, &packer);
    if (packer.rc != 0)
        vm_call_fail_memory(L);
}

/* Takes over the head of a snapshot. Returns what comes behind it. */
static struct wire_unpacker open_snapshot(lua_State *L, struct vm_machine *machine,
                                          struct peri_slice bytes)
{
    struct wire_unpacker unpacker = wire_unpack(bytes);
    uint32_t count = wire_unpack_array(&unpacker);
    uint64_t format = wire_unpack_uint(&unpacker);
    bool is_first = format == 1 && count == SNAPSHOT_FIELDS - 1;
    if (!is_first && (count != SNAPSHOT_FIELDS || format != SNAPSHOT_FORMAT))
        luaL_error(L, NO_SNAPSHOT);
    (void)wire_unpack_bytes(&unpacker);
    (void)wire_unpack_bytes(&unpacker);
    machine->tables.hash = wire_unpack_uint(&unpacker);
    machine->clock_us = wire_unpack_uint(&unpacker);
    int rc = vm_sessions_unpack(&machine->sessions, &unpacker);
    if (rc == 0 && !is_first)
        rc = vm_upgrade_unpack(machine, &unpacker);
    if (rc == PERI_ENOMEM)
        vm_call_fail_memory(L);
    if (rc != 0 || unpacker.rc != 0)
        luaL_error(L, NO_SNAPSHOT);
    return unpacker;
}

void vm_snapshot_check(lua_State *L, struct vm_machine *machine)
{
    const struct vm_machine_job *job = machine->job;
    struct wire_unpacker rest;
    size_t before = job->output->size;
    if (!vm_call_push_function(L, machine, VM_FUNCTION_SNAPSHOT))
        return;
    vm_call_push_state(L, machine);
    vm_call(L, 1, 1);
    vm_call_encode(L, lua_gettop(L), "snapshot", SIZE_MAX, job->output);
    lua_pop(L, 1);
    rest = open_snapshot(L, machine, job->input);
    struct peri_slice given = {rest.at, (size_t)(rest.end - rest.at)};
    struct peri_slice again = {job->output->data + before, job->output->size - before};
    bool is_same = given.size == again.size && memcmp(given.data, again.data, given.size) == 0;
    job->output->size = before;
    if (!is_same)
        luaL_error(L, "restore does not match snapshot: what was restored gives another snapshot "
                      "than the one that it came from");
}

void vm_snapshot_push(lua_State *L, struct vm_machine *machine, struct peri_slice bytes)
{
    struct wire_unpacker rest = open_snapshot(L, machine, bytes);
    vm_call_push_decoded(L, peri_slice_of(rest.at, (size_t)(rest.end - rest.at)), "state");
}

void vm_snapshot_take(lua_State *L, struct vm_machine *machine, struct peri_slice bytes)
{
    vm_snapshot_push(L, machine, bytes);
    vm_call_set_state(L, machine, "restore");
}

void vm_snapshot_load_program(lua_State *L, struct vm_machine *machine, struct peri_slice bytes)
{
    struct wire_unpacker unpacker = wire_unpack(bytes);
    (void)wire_unpack_array(&unpacker);
    (void)wire_unpack_uint(&unpacker);
    struct peri_slice name = wire_unpack_bytes(&unpacker);
    struct peri_slice text = wire_unpack_bytes(&unpacker);
    if (unpacker.rc != 0)
        luaL_error(L, NO_SNAPSHOT);
    if (peri_slice_compare(text, peri_buffer_slice(&machine->text)) == 0)
        return;
    vm_upgrade_load(L, machine, name, text);
    vm_upgrade_switch(L, machine, name, text);
}

/* ---- on another thread ---- */

void vm_machine_lend(struct vm_machine *machine)
{
    PERI_ASSERT(!machine->is_lent);
    machine->lent_memory = vm_machine_memory(machine);
    machine->lent_hash = machine->tables.hash;
    machine->is_lent = true;
}

void vm_machine_take_back(struct vm_machine *machine)
{
    machine->is_lent = false;
}

bool vm_machine_has_work(const struct vm_machine *machine)
{
    return machine->has_work;
}

static int l_take(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_snapshot_take(L, machine, machine->job->input);
    return 0;
}

void vm_machine_work(struct vm_machine *machine)
{
    lua_State *co = machine->co;
    lua_pushcfunction(co, l_take);
    lua_pushlightuserdata(co, machine);
    machine->work_status = lua_pcall(co, 1, 0, 0);
}

/* ---- piece by piece ---- */

static int l_begin(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    vm_snapshot_pack(L, machine, &machine->shot.out);
    vm_call_push_state(L, machine);
    vm_shot_begin(L, &machine->shot);
    return 0;
}

/* Calls the function below its arguments. What it raises is popped. */
static int call(struct vm_machine *machine, int arguments, int results, struct peri_error *err)
{
    lua_State *L = machine->vm->L;
    vm_alloc_forget(&machine->vm->alloc);
    int status = lua_pcall(L, arguments, results, 0);
    if (status == LUA_OK)
        return 0;
    bool is_memory = status == LUA_ERRMEM || vm_alloc_has_failed(&machine->vm->alloc);
    int rc = peri_fail_plain(err, is_memory ? PERI_EMEMORY : PERI_ELUA, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return rc;
}

int vm_machine_snapshot_begin(struct vm_machine *machine, struct peri_error *err)
{
    lua_State *L = machine->vm->L;
    PERI_ASSERT(machine->job == NULL || machine->job->kind == VM_MACHINE_SNAPSHOT);
    PERI_ASSERT(!machine->is_lent && !machine->shot.is_open);
    if (machine->program.is_stored || machine->program.functions[VM_FUNCTION_SNAPSHOT] != LUA_NOREF)
        return 0;
    machine->shot = (struct vm_shot){.store = LUA_NOREF};
    lua_pushcfunction(L, l_begin);
    lua_pushlightuserdata(L, machine);
    int rc = call(machine, 1, 0, err);
    if (rc != 0)
        vm_machine_snapshot_end(machine, NULL);
    return rc == 0 ? 1 : rc;
}

bool vm_machine_snapshot_is_open(const struct vm_machine *machine)
{
    return machine->shot.is_open;
}

static int l_walk(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    const struct vm_shot_pace *pace = lua_touserdata(L, 2);
    lua_pushinteger(L, vm_shot_walk(L, &machine->shot, pace));
    return 1;
}

int vm_machine_snapshot_walk(struct vm_machine *machine, const struct vm_shot_pace *pace,
                             struct peri_error *err)
{
    lua_State *L = machine->vm->L;
    lua_pushcfunction(L, l_walk);
    lua_pushlightuserdata(L, machine);
    lua_pushlightuserdata(L, (void *)pace);
    int rc = call(machine, 2, 1, err);
    if (rc != 0)
        return rc;
    int end = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return end;
}

void vm_machine_snapshot_sort(struct vm_machine *machine)
{
    vm_shot_sort(&machine->shot);
}

void vm_machine_snapshot_end(struct vm_machine *machine, struct peri_buffer *output)
{
    PERI_ASSERT(!machine->is_lent);
    if (output != NULL) {
        peri_buffer_deinit(output);
        *output = machine->shot.out;
        machine->shot.out = (struct peri_buffer){NULL, 0, 0};
    }
    vm_shot_end(machine->vm->L, &machine->shot);
}

int vm_snapshot_whole(struct vm_machine *machine)
{
    const struct vm_shot_pace pace = {.most = SIZE_MAX};
    struct vm_machine_job *job = machine->job;
    int rc = vm_machine_snapshot_begin(machine, job->err);
    if (rc < 0)
        return rc;
    do {
        rc = vm_machine_snapshot_walk(machine, &pace, job->err);
        if (rc == VM_SHOT_SORT)
            vm_machine_snapshot_sort(machine);
    } while (rc == VM_SHOT_MORE || rc == VM_SHOT_SORT);
    vm_machine_snapshot_end(machine, rc == VM_SHOT_DONE ? job->output : NULL);
    return rc < 0 ? rc : 0;
}
