#include "vm/machine_parts.h"

#include <lauxlib.h>

#include "vm/identity.h"
#include "vm/machine_freeze.h"
#include "vm/ordered.h"
#include "vm/stand_in.h"
#include "wire/codec.h"

enum { RESULT_MAX = 8 << 20, SESSION_ROOM = 64 };

static void raise_error(lua_State *L, const struct peri_error *err)
{
    vm_state_of(L)->alloc.has_failed = vm_state_of(L)->alloc.has_failed || err->code == PERI_ENOMEM;
    luaL_error(L, "%s", err->text);
}

void vm_call_fail_memory(lua_State *L)
{
    vm_state_of(L)->alloc.has_failed = true;
    luaL_error(L, "not enough memory");
}

/* ---- budgets ---- */

/* What a restored machine gives is compared with what it came from: two functions. */
enum { WHOLE = 16, RESTORE_WHOLE = 2 * WHOLE };

/* How many budgets of a command the job has; 0: no end. */
static uint64_t budgets_of(const struct vm_machine *machine, const struct vm_program *program)
{
    switch (machine->job->kind) {
    case VM_MACHINE_APPLY:
        return machine->entry.kind == VM_ENTRY_COMMAND ? 1 : WHOLE;
    case VM_MACHINE_QUERY:
        return 1;
    case VM_MACHINE_INIT:
        return WHOLE;
    case VM_MACHINE_SNAPSHOT:
        return program->functions[VM_FUNCTION_SNAPSHOT] != LUA_NOREF ? WHOLE : 0;
    case VM_MACHINE_RESTORE:
        return program->functions[VM_FUNCTION_RESTORE] != LUA_NOREF ? RESTORE_WHOLE : 0;
    default:
        return 0;
    }
}

static uint64_t multiply(uint64_t number, uint64_t times)
{
    return number > UINT64_MAX / times ? UINT64_MAX : number * times;
}

void vm_call_begin_budget(struct vm_machine *machine, const struct vm_program *program)
{
    uint64_t times = budgets_of(machine, program);
    vm_budget_begin(machine->co, times == 0 ? UINT64_MAX : multiply(program->instructions, times));
    vm_budget_bound(machine->co, times == 0 ? 0 : multiply(program->bytes, times),
                    machine->slice_looks);
}

const char *vm_call_name(const struct vm_machine *machine)
{
    switch (machine->job->kind) {
    case VM_MACHINE_APPLY:
        return machine->entry.kind == VM_ENTRY_COMMAND ? "" : "migrate: ";
    case VM_MACHINE_INIT:
        return "init: ";
    case VM_MACHINE_SNAPSHOT:
        return "snapshot: ";
    case VM_MACHINE_RESTORE:
        return "restore: ";
    default:
        return "";
    }
}

/* ---- values ---- */

void vm_call_push_decoded(lua_State *L, struct peri_slice bytes, const char *what)
{
    struct peri_error err = PERI_ERROR_INIT;
    size_t used = 0;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (wire_decode(L, bytes, &used, &err) != 0)
        raise_error(L, &err);
    if (used != bytes.size)
        luaL_error(L, "bytes follow the %s", what);
}

void vm_call_encode(lua_State *L, int index, const char *name, size_t size_max,
                    struct peri_buffer *out)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_encode_standing(L, index, name, size_max, &vm_stand_in_key, out, &err) != 0)
        raise_error(L, &err);
}

void vm_call_push_context(lua_State *L, struct vm_machine *machine)
{
    const struct vm_entry *entry = &machine->entry;
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)machine->job->index);
    lua_setfield(L, -2, "index");
    lua_pushnumber(L, (lua_Number)machine->clock_us / 1e6);
    lua_setfield(L, -2, "now");
    if (machine->program.is_stored) {
        vm_store_push(L);
        lua_setfield(L, -2, "store");
    }
    if (machine->job->kind == VM_MACHINE_QUERY)
        return;
    vm_draw_seed(&machine->draw, entry->seed, machine->job->index);
    vm_draw_push(L, &machine->draw);
    lua_setfield(L, -2, "random");
    lua_pushinteger(L, (lua_Integer)entry->session);
    lua_setfield(L, -2, "client");
}

bool vm_call_push_function(lua_State *L, const struct vm_machine *machine,
                           enum vm_function function)
{
    if (machine->program.functions[function] == LUA_NOREF)
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.functions[function]);
    return true;
}

void vm_call_push_state(lua_State *L, const struct vm_machine *machine)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, machine->state);
}

void vm_call_set_state(lua_State *L, struct vm_machine *machine, const char *function)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        luaL_error(L, "%s gives the state, which is a table, not a %s", function,
                   luaL_typename(L, -1));
    vm_tables_adopt(L, &machine->tables);
    luaL_unref(L, LUA_REGISTRYINDEX, machine->state);
    machine->state = luaL_ref(L, LUA_REGISTRYINDEX);
}

void vm_call_check_variables(lua_State *L, const struct vm_program *program)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, program->variables);
    const char *changed = vm_freeze_restore(L, lua_gettop(L));
    if (changed != NULL)
        luaL_error(L, "the file's local variable '%s' was changed: keep what changes in the state",
                   changed);
    lua_pop(L, 1);
}

void vm_call(lua_State *L, int arguments, int results)
{
    if (lua_pcall(L, arguments, results, 0) != LUA_OK)
        (void)lua_error(L);
}

/* What the function gave, which is on top. */
static int finish(lua_State *L, int status, lua_KContext context)
{
    struct vm_machine *machine =
        (struct vm_machine *)context; /* NOLINT(performance-no-int-to-ptr) */
    const struct vm_machine_job *job = machine->job;
    if (status != LUA_OK && status != LUA_YIELD)
        return lua_error(L);
    switch (job->kind) {
    case VM_MACHINE_INIT:
        if (!machine->program.is_stored)
            vm_call_set_state(L, machine, "init");
        vm_call_check_variables(L, &machine->program);
        break;
    case VM_MACHINE_APPLY:
        if (machine->entry.kind != VM_ENTRY_COMMAND) {
            vm_upgrade_finish(L, machine);
            break;
        }
        vm_call_encode(L, lua_gettop(L), "result", RESULT_MAX - SESSION_ROOM, job->output);
        vm_call_check_variables(L, &machine->program);
        vm_tables_commit(L, &machine->tables);
        break;
    case VM_MACHINE_QUERY:
        vm_call_encode(L, lua_gettop(L), "answer", RESULT_MAX, job->output);
        vm_call_check_variables(L, &machine->program);
        break;
    case VM_MACHINE_SNAPSHOT:
        if (machine->program.is_stored) {
            vm_store_pack(L, machine, job->output);
            break;
        }
        vm_snapshot_pack(L, machine, job->output);
        vm_call_encode(L, lua_gettop(L), "snapshot", SIZE_MAX, job->output);
        vm_call_check_variables(L, &machine->program);
        break;
    case VM_MACHINE_RESTORE:
        if (machine->program.is_stored || machine->has_work)
            break;
        vm_call_set_state(L, machine, "restore");
        vm_snapshot_check(L, machine);
        vm_call_check_variables(L, &machine->program);
        break;
    case VM_MACHINE_STATE:
        if (machine->program.is_stored)
            vm_store_pack_state(L, machine, job->output);
        else
            vm_call_encode(L, lua_gettop(L), "state", SIZE_MAX, job->output);
        break;
    case VM_MACHINE_SAMPLES:
        vm_call_encode(L, lua_gettop(L), "state", SIZE_MAX, job->output);
        break;
    case VM_MACHINE_KINDS:
        break;
    }
    return 0;
}

/* Pushes what finish gets when there is a function for the job, or not. Returns how many arguments
 * the function on the stack has; negative: it is not needed. */
static int push_job(lua_State *L, struct vm_machine *machine)
{
    const struct vm_machine_job *job = machine->job;
    bool has_function = true;
    switch (job->kind) {
    case VM_MACHINE_INIT:
        if (vm_call_push_function(L, machine, VM_FUNCTION_INIT))
            return 0;
        lua_newtable(L);
        return -1;
    case VM_MACHINE_APPLY:
        if (machine->entry.kind != VM_ENTRY_COMMAND)
            return vm_upgrade_push(L, machine);
        (void)vm_call_push_function(L, machine, VM_FUNCTION_APPLY);
        vm_call_push_state(L, machine);
        vm_call_push_decoded(L, machine->entry.body, "command");
        vm_call_push_context(L, machine);
        return 3;
    case VM_MACHINE_QUERY:
        if (!vm_call_push_function(L, machine, VM_FUNCTION_QUERY))
            return luaL_error(L, "the machine answers no queries: it has no function query");
        vm_call_push_state(L, machine);
        vm_call_push_decoded(L, job->input, "query");
        vm_call_push_context(L, machine);
        return 3;
    case VM_MACHINE_SNAPSHOT:
        if (machine->program.is_stored)
            return -1;
        (void)vm_call_push_function(L, machine, VM_FUNCTION_SNAPSHOT);
        vm_call_push_state(L, machine);
        return 1;
    case VM_MACHINE_RESTORE:
        if (machine->program.is_stored) {
            vm_store_load_program(L, machine);
            return -1;
        }
        vm_snapshot_load_program(L, machine, job->input);
        vm_call_begin_budget(machine, &machine->program);
        has_function = vm_call_push_function(L, machine, VM_FUNCTION_RESTORE);
        machine->has_work = !has_function && machine->on_read != NULL;
        if (machine->has_work)
            return -1;
        vm_snapshot_push(L, machine, job->input);
        return has_function ? 1 : -1;
    case VM_MACHINE_STATE:
        vm_call_push_state(L, machine);
        return -1;
    case VM_MACHINE_SAMPLES:
        lua_rawgeti(L, LUA_REGISTRYINDEX, machine->program.samples);
        return -1;
    case VM_MACHINE_KINDS:
        break;
    }
    return -1;
}

int vm_call_run(lua_State *L)
{
    struct vm_machine *machine = lua_touserdata(L, 1);
    lua_KContext context = (lua_KContext)machine;
    lua_settop(L, 0);
    vm_ordered_reset(L);
    vm_identity_reset(L);
    int arguments = push_job(L, machine);
    int status = LUA_OK;
    if (arguments >= 0)
        status = lua_pcallk(L, arguments, 1, 0, context, finish);
    return finish(L, status, context);
}
