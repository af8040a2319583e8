#include "vm/identity.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <string.h>

#include "vm/bounds.h"

static const char numbers_key = 0; /* its address names the registry field: object -> number */

static bool has_address(int type)
{
    return type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TTHREAD ||
           type == LUA_TUSERDATA || type == LUA_TLIGHTUSERDATA;
}

/* The number of the object at index; the table holds the latest at 0. */
static lua_Integer number_of(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &numbers_key);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_rawgeti(L, -1, 0);
        lua_pushinteger(L, lua_tointeger(L, -1) + 1);
        lua_replace(L, -2);
        lua_pushvalue(L, -1);
        lua_rawseti(L, -3, 0);
        lua_pushvalue(L, index);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
    }
    lua_Integer number = lua_tointeger(L, -1);
    lua_pop(L, 2);
    return number;
}

void vm_identity_push_text(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (!has_address(lua_type(L, index)) || luaL_getmetafield(L, index, "__tostring") != LUA_TNIL) {
        if (has_address(lua_type(L, index)))
            lua_pop(L, 1);
        (void)luaL_tolstring(L, index, NULL);
        return;
    }
    int name = luaL_getmetafield(L, index, "__name");
    const char *kind = name == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, index);
    lua_pushfstring(L, "%s: %I", kind, (LUAI_UACINT)number_of(L, index));
    if (name != LUA_TNIL)
        lua_remove(L, -2);
}

static int l_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    vm_identity_push_text(L, 1);
    return 1;
}

/* Arguments without a text of their own get one; stock's format, upvalue 1, does the rest. */
static int l_format(lua_State *L)
{
    size_t size;
    const char *at = luaL_checklstring(L, 1, &size);
    const char *end = at + size;
    int argument = 1;
    while ((at = memchr(at, '%', (size_t)(end - at))) != NULL) {
        at += 1 + strspn(at + 1, "-+ #0123456789.");
        if (*at == 'p')
            return luaL_error(L, "string.format: '%%p' is not available in a machine: addresses "
                                 "differ between replicas");
        if (at < end && *at++ == '%')
            continue;
        argument++;
        if (has_address(lua_type(L, argument))) {
            vm_identity_push_text(L, argument);
            if (at[-1] == 's')
                lua_replace(L, argument);
            else
                lua_pop(L, 1);
        }
    }
    return vm_call_kept(L);
}

void vm_identity_reset(lua_State *L)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &numbers_key);
}

void vm_identity_open(lua_State *L)
{
    vm_identity_reset(L);
    lua_register(L, "tostring", l_tostring);
    lua_getglobal(L, LUA_STRLIBNAME);
    lua_getfield(L, -1, "format");
    lua_pushcclosure(L, l_format, 1);
    lua_setfield(L, -2, "format");
    lua_pop(L, 1);
}
