#include "vm/refusal.h"

#include <lauxlib.h>
#include <string.h>

static int l_refuse(lua_State *L)
{
    const struct vm_refusal *refusal = lua_touserdata(L, lua_upvalueindex(1));
    const char *where = lua_touserdata(L, lua_upvalueindex(2));
    if (refusal->library == NULL)
        return luaL_error(L, "%s: not available %s: %s", refusal->name, where, refusal->instead);
    const char *joint = strcmp(refusal->library, "file") == 0 ? ":" : ".";
    return luaL_error(L, "%s%s%s: not available %s: %s", refusal->library, joint, refusal->name,
                      where, refusal->instead);
}

/* Pushes the table that holds the function. */
static void push_library(lua_State *L, const char *name)
{
    lua_pushglobaltable(L);
    if (name == NULL)
        return;
    if (strcmp(name, "file") == 0) {
        luaL_getmetatable(L, LUA_FILEHANDLE);
        lua_getfield(L, -1, "__index");
        lua_replace(L, -3);
        lua_pop(L, 1);
    } else {
        (void)luaL_getsubtable(L, -1, name);
        lua_remove(L, -2);
    }
}

void vm_refuse(lua_State *L, const struct vm_refusal *list, size_t count, const char *where)
{
    for (size_t i = 0; i < count; i++) {
        push_library(L, list[i].library);
        lua_pushlightuserdata(L, (void *)&list[i]); /* both are read only, by l_refuse */
        lua_pushlightuserdata(L, (void *)where);
        lua_pushcclosure(L, l_refuse, 2);
        lua_setfield(L, -2, list[i].name);
        lua_pop(L, 1);
    }
}
