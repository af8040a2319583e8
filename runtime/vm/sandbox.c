#include "vm/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>

#include <ctype.h>

#include "vm/coroutine.h"
#include "vm/library.h"
#include "vm/loader.h"
#include "vm/xpcall.h"

static const char sandbox_key = 0; /* its address names the registry field */

static const struct vm_sandbox *sandbox_of(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sandbox_key);
    const struct vm_sandbox *sandbox = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return sandbox;
}

static int l_print(lua_State *L)
{
    const struct vm_sandbox *sandbox = sandbox_of(L);
    int count = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int arg = 1; arg <= count; arg++) {
        if (arg > 1)
            luaL_addchar(&line, '\t');
        (void)luaL_tolstring(L, arg, NULL);
        luaL_addvalue(&line);
    }
    luaL_addchar(&line, '\n');
    luaL_pushresult(&line);
    size_t size;
    const char *text = lua_tolstring(L, -1, &size);
    if (sandbox->print != NULL)
        sandbox->print(sandbox->print_data, text, size);
    return 0;
}

/* Names that stay below the directory: "a.b-c_1". */
static bool is_module_name(const char *name)
{
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-' && *p != '.')
            return false;
    return *name != '\0';
}

/* The searcher for files beside the job. */
static int search_beside(lua_State *L)
{
    static const char *const patterns[] = {"%s/%s.lua", "%s/%s/init.lua"};
    const struct vm_sandbox *sandbox = sandbox_of(L);
    const char *name = luaL_checkstring(L, 1);
    if (sandbox->directory == NULL || !is_module_name(name)) {
        lua_pushliteral(L, "a job can only require files beside it");
        return 1;
    }
    const char *file = luaL_gsub(L, name, ".", "/");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        const char *path = lua_pushfstring(L, patterns[i], sandbox->directory, file);
        int status = luaL_loadfilex(L, path, "t");
        if (status == LUA_OK) {
            lua_pushstring(L, path);
            return 2;
        }
        if (status != LUA_ERRFILE)
            return luaL_error(L, "error loading module '%s':\n\t%s", name, lua_tostring(L, -1));
    }
    lua_pushfstring(L, "no file '%s/%s.lua'", sandbox->directory, file);
    return 1;
}

static void remove_unsafe(lua_State *L)
{
    lua_pushnil(L);
    lua_setglobal(L, "dofile");
    lua_pushnil(L);
    lua_setglobal(L, "loadfile");
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_pop(L, 1);
}

/* A "package" with loaded, searchers and nothing that opens C libraries, and its require. */
static void open_require(lua_State *L)
{
    lua_newtable(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_setfield(L, -2, "loaded");
    lua_createtable(L, 1, 0);
    lua_pushcfunction(L, search_beside);
    lua_rawseti(L, -2, 1);
    lua_setfield(L, -2, "searchers");
    lua_pushvalue(L, -1);
    lua_setglobal(L, LUA_LOADLIBNAME);
    lua_pushcclosure(L, vm_require, 1);
    lua_setglobal(L, "require");
}

void vm_sandbox_open(lua_State *L, const struct vm_sandbox *sandbox)
{
    struct vm_sandbox *kept = lua_newuserdatauv(L, sizeof *kept, 0);
    *kept = *sandbox;
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sandbox_key);
    vm_library_open_pure(L);
    vm_coroutine_open(L);
    vm_xpcall_open(L);
    remove_unsafe(L);
    lua_register(L, "print", l_print);
    vm_library_open(L);
    vm_loader_text_only(L);
    open_require(L);
    lua_getglobal(L, LUA_MATHLIBNAME);
    lua_getfield(L, -1, "randomseed");
    lua_pushinteger(L, (lua_Integer)sandbox->seed);
    lua_call(L, 1, 0);
    lua_pop(L, 1);
}
