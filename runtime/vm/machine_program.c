#include "vm/machine_program.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "vm/deterministic.h"
#include "vm/machine_freeze.h"
#include "vm/stand_in.h"

static const char *const function_names[VM_FUNCTIONS] = {
    [VM_FUNCTION_INIT] = "init",       [VM_FUNCTION_APPLY] = "apply",
    [VM_FUNCTION_QUERY] = "query",     [VM_FUNCTION_SNAPSHOT] = "snapshot",
    [VM_FUNCTION_RESTORE] = "restore", [VM_FUNCTION_MIGRATE] = "migrate",
};

static bool is_known(const char *name)
{
    for (int i = 0; i < VM_FUNCTIONS; i++)
        if (strcmp(name, function_names[i]) == 0)
            return true;
    return strcmp(name, "version") == 0 || strcmp(name, "budget") == 0 ||
           strcmp(name, "samples") == 0 || strcmp(name, "store") == 0;
}

/* The lowest name that means nothing, for the order of fields is not defined. */
static void check_names(lua_State *L, int table, const char *file)
{
    const char *unknown = NULL;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "[...]";
        if (!is_known(name) && (unknown == NULL || strcmp(name, unknown) < 0))
            unknown = name;
    }
    if (unknown != NULL)
        luaL_error(L,
                   "%s: a machine has no field '%s'; it has init, apply, query, snapshot, restore, "
                   "migrate, version, store, budget, samples",
                   file, unknown);
}

static uint64_t read_limit(lua_State *L, int budget, const char *name, uint64_t otherwise,
                           const char *file)
{
    lua_getfield(L, budget, name);
    int is_integer = 0;
    lua_Integer limit = lua_tointegerx(L, -1, &is_integer);
    bool is_absent = lua_isnil(L, -1);
    if (!is_absent && (!is_integer || limit < 1))
        luaL_error(L, "%s: budget.%s is an integer from 1", file, name);
    lua_pop(L, 1);
    return is_absent ? otherwise : (uint64_t)limit;
}

static void read_budget(lua_State *L, int table, struct vm_program *program, const char *file)
{
    int type = lua_getfield(L, table, "budget");
    if (type != LUA_TNIL && type != LUA_TTABLE)
        luaL_error(L, "%s: budget is a table { instructions, memory }, not a %s", file,
                   lua_typename(L, type));
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    int budget = lua_gettop(L);
    program->instructions = read_limit(L, budget, "instructions", VM_MACHINE_INSTRUCTIONS, file);
    program->bytes = read_limit(L, budget, "memory", VM_MACHINE_BYTES, file);
    lua_pop(L, 1);
}

static void read_version(lua_State *L, int table, struct vm_program *program, const char *file)
{
    int is_integer = 0;
    lua_getfield(L, table, "version");
    program->version = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer && !lua_isnil(L, -1))
        luaL_error(L, "%s: version is an integer", file);
    if (lua_isnil(L, -1))
        program->version = 1;
    lua_pop(L, 1);
}

static void read_samples(lua_State *L, int table, struct vm_program *program, const char *file)
{
    int type = lua_getfield(L, table, "samples");
    if (type != LUA_TTABLE && type != LUA_TNIL)
        luaL_error(L, "%s: samples is a list of commands, not a %s", file, lua_typename(L, type));
    program->samples = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void read_functions(lua_State *L, int table, struct vm_program *program, const char *file)
{
    for (int i = 0; i < VM_FUNCTIONS; i++) {
        int type = lua_getfield(L, table, function_names[i]);
        if (type != LUA_TFUNCTION && type != LUA_TNIL)
            luaL_error(L, "%s: %s is a function, not a %s", file, function_names[i],
                       lua_typename(L, type));
        if (type == LUA_TNIL)
            lua_pop(L, 1);
        else
            program->functions[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    if (program->functions[VM_FUNCTION_APPLY] == LUA_NOREF)
        luaL_error(L, "%s: the machine has no function apply", file);
    bool has_snapshot = program->functions[VM_FUNCTION_SNAPSHOT] != LUA_NOREF;
    if (has_snapshot != (program->functions[VM_FUNCTION_RESTORE] != LUA_NOREF))
        luaL_error(L, "%s: the machine has %s but no %s: it has both or none", file,
                   has_snapshot ? "snapshot" : "restore", has_snapshot ? "restore" : "snapshot");
}

/* Reads whether the state is in ctx.store: then there is none to make, take or give back. */
static void read_store(lua_State *L, int table, struct vm_program *program, const char *file)
{
    static const enum vm_function needless[] = {VM_FUNCTION_INIT, VM_FUNCTION_SNAPSHOT,
                                                VM_FUNCTION_RESTORE};
    int type = lua_getfield(L, table, "store");
    if (type != LUA_TBOOLEAN && type != LUA_TNIL)
        luaL_error(L, "%s: store is true or false, not a %s", file, lua_typename(L, type));
    program->is_stored = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    for (size_t i = 0; i < sizeof needless / sizeof needless[0]; i++)
        if (program->is_stored && program->functions[needless[i]] != LUA_NOREF)
            luaL_error(L,
                       "%s: a machine with store = true has no function %s: its state is in "
                       "ctx.store",
                       file, function_names[needless[i]]);
}

void vm_program_init(struct vm_program *program)
{
    *program = (struct vm_program){.variables = LUA_NOREF, .samples = LUA_NOREF};
    for (int i = 0; i < VM_FUNCTIONS; i++)
        program->functions[i] = LUA_NOREF;
}

void vm_program_load(lua_State *L, struct vm_program *program, struct peri_slice text,
                     const char *name)
{
    vm_program_init(program);
    const char *chunk = lua_pushfstring(L, "@%s", name);
    if (vm_deterministic_load(L, text, chunk) != LUA_OK)
        (void)lua_error(L);
    lua_call(L, 0, 1);
    int table = lua_gettop(L);
    if (lua_type(L, table) != LUA_TTABLE)
        luaL_error(L, "%s returns %s %s, but a machine is a table { apply = function ... }", name,
                   lua_isnil(L, table) ? "no value:" : "a", luaL_typename(L, table));
    check_names(L, table, name);
    read_functions(L, table, program, name);
    read_store(L, table, program, name);
    read_version(L, table, program, name);
    read_budget(L, table, program, name);
    read_samples(L, table, program, name);
    vm_freeze(L, table);
    program->variables = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 2);
}

void vm_program_unload(lua_State *L, struct vm_program *program)
{
    for (int i = 0; i < VM_FUNCTIONS; i++)
        luaL_unref(L, LUA_REGISTRYINDEX, program->functions[i]);
    luaL_unref(L, LUA_REGISTRYINDEX, program->variables);
    luaL_unref(L, LUA_REGISTRYINDEX, program->samples);
    vm_program_init(program);
}
