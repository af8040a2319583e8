#include "vm/bounds.h"

#include <lauxlib.h>

#include <string.h>

static const char bounds_key = 0; /* its address names the registry field */

void vm_bounds_push(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &bounds_key) == LUA_TNIL) {
        lua_pop(L, 1);
        struct vm_bounds *fresh = lua_newuserdatauv(L, sizeof *fresh, 0);
        fresh->match_steps_max = VM_MATCH_STEPS_MAX;
        fresh->string_bytes_max = VM_STRING_BYTES_MAX;
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &bounds_key);
    }
}

struct vm_bounds *vm_bounds(lua_State *L)
{
    vm_bounds_push(L);
    struct vm_bounds *bounds = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return bounds;
}

struct vm_bounds *vm_bounds_find(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &bounds_key);
    struct vm_bounds *bounds = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return bounds;
}

static int finish_kept(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    return lua_gettop(L);
}

int vm_call_kept(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, finish_kept);
    return lua_gettop(L);
}

void vm_push_helper(lua_State *L, const char *name, const char *text)
{
    if (luaL_loadbufferx(L, text, strlen(text), name, "t") != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 1);
}
