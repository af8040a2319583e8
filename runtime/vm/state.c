#include "vm/state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "vm/coroutine.h"
#include "vm/fiber.h"
#include "vm/finalizer.h"
#include "vm/hash_seed.h"
#include "vm/library.h"
#include "vm/preempt.h"
#include "vm/world.h"
#include "vm/xpcall.h"

#define MODULE_PREFIX "perilune."
#define CORE_PREFIX "perilune.core."

static bool starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int load_or_raise(lua_State *L, int status, const char *name)
{
    if (status != LUA_OK)
        return luaL_error(L, "cannot load module '%s': %s", name, lua_tostring(L, -1));
    return 1;
}

/* ---- searchers: each returns a loader and its data, or a text that says where it looked ---- */

static int search_directory(lua_State *L)
{
    static const char *const patterns[] = {"%s/%s.lua", "%s/%s/init.lua"};
    const struct vm_options *options = vm_state_of(L)->options;
    const char *directory = options->lua_path;
    const char *name = luaL_checkstring(L, 1);
    if (directory == NULL)
        return 0;
    const char *file = luaL_gsub(L, name, ".", "/");
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const char *path = lua_pushfstring(L, patterns[i], directory, file);
        int status =
            luaL_loadfilex(L, path, "t"); /* not by env: a simulated node has other files */
        if (status == LUA_ERRFILE)
            continue;
        (void)load_or_raise(L, status, name);
        lua_pushstring(L, path);
        return 2;
    }
    lua_pushfstring(L, "no file in '%s'", directory);
    return 1;
}

static int search_embedded(lua_State *L)
{
    const struct vm_options *options = vm_state_of(L)->options;
    const char *name = luaL_checkstring(L, 1);
    for (size_t i = 0; i < options->embedded_count; i++) {
        const struct vm_embedded *file = &options->embedded[i];
        if (strcmp(file->module, name) != 0)
            continue;
        const char *chunk = lua_pushfstring(L, "@%s", file->file);
        (void)load_or_raise(
            L, luaL_loadbufferx(L, file->start, (size_t)(file->end - file->start), chunk, "b"),
            name);
        lua_pushstring(L, file->file);
        return 2;
    }
    return 0;
}

static int search_core(lua_State *L)
{
    const struct vm_options *options = vm_state_of(L)->options;
    const char *name = luaL_checkstring(L, 1);
    const char *own = NULL;
    if (starts_with(name, CORE_PREFIX))
        own = name + strlen(CORE_PREFIX);
    else if (starts_with(name, MODULE_PREFIX))
        own = name + strlen(MODULE_PREFIX);
    for (size_t i = 0; own != NULL && i < options->module_count; i++) {
        if (strcmp(options->modules[i].name, own) != 0)
            continue;
        lua_pushcfunction(L, options->modules[i].open);
        lua_pushliteral(L, "(built in)");
        return 2;
    }
    lua_pushliteral(L, "not in the library of this perilune");
    return 1;
}

void vm_state_open_modules(lua_State *L)
{
    static const lua_CFunction searchers[] = {search_core, search_embedded, search_directory};
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_getfield(L, -1, "searchers");
    for (size_t i = 0; i < sizeof searchers / sizeof searchers[0]; i++) {
        for (lua_Integer slot = luaL_len(L, -1); slot >= 2;
             slot--) { /* package.preload stays first */
            lua_geti(L, -1, slot);
            lua_seti(L, -2, slot + 1);
        }
        lua_pushcfunction(L, searchers[i]);
        lua_seti(L, -2, 2);
    }
    lua_pop(L, 2);
}

/* ---- life ---- */

static int open_libraries(lua_State *L)
{
    vm_world_prepare(L);
    luaL_openlibs(L);
    vm_world_open(L);
    vm_coroutine_open(L);
    vm_library_open(L);
    vm_xpcall_open(L);
    vm_state_open_modules(L);
    return 0;
}

/* Makes vm->L. */
static int open_lua(struct vm_state *vm, struct peri_error *err)
{
    const struct vm_simulated *simulated = vm->options->simulated;
    if (simulated == NULL) {
        vm->L = lua_newstate(vm_alloc_function, &vm->alloc);
    } else {
        if (!env_is_pinned())
            return peri_fail(err, PERI_EINVAL, "a simulated Lua state outside a pinned call");
        int rc = vm_arena_init(&vm->arena, simulated->slot);
        if (rc != 0)
            return peri_fail(err, rc, "memory of a simulated Lua state (slot %u)", simulated->slot);
        vm->alloc.arena = &vm->arena;
        vm->L = vm_newstate_seeded(vm_alloc_function, &vm->alloc, simulated->hash_seed);
    }
    return vm->L != NULL ? 0 : peri_fail(err, PERI_ENOMEM, "a Lua state");
}

int vm_state_create(struct vm_state **out, const struct vm_options *options, struct peri_error *err)
{
    struct vm_state *vm = calloc(1, sizeof *vm);
    if (vm == NULL)
        return peri_fail(err, PERI_ENOMEM, "a Lua state");
    vm->env = options->env;
    vm->options = options;
    vm->alloc.limit_bytes = options->memory_limit_bytes;
    vm->alloc.budget = &vm->budget;
    int rc = vm_preempt_create(vm);
    rc = rc == 0 ? open_lua(vm, err) : peri_fail(err, rc, "a Lua state");
    if (rc != 0) {
        vm_state_close(vm);
        return rc;
    }
    *(struct vm_state **)lua_getextraspace(vm->L) = vm;
    if (!options->bare) {
        lua_pushcfunction(vm->L, open_libraries);
        if (lua_pcall(vm->L, 0, 0, 0) != LUA_OK) {
            rc = peri_fail(err, PERI_ELUA, "a Lua state: %s", lua_tostring(vm->L, -1));
            vm_state_close(vm);
            return rc;
        }
    }
    *out = vm;
    return 0;
}

void vm_state_close(struct vm_state *vm)
{
    if (vm == NULL)
        return;
    fiber_scheduler_close(vm);
    if (vm->L != NULL) {
        vm_finalizers_close(vm->L, VM_FINALIZERS_CLOSE_MAX);
        lua_close(vm->L);
    }
    vm_arena_deinit(&vm->arena);
    env_ticker_close(vm->ticker);
    free(vm);
}
