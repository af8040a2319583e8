#include "vm/xpcall.h"

#include <lauxlib.h>

#include "vm/state.h"

enum { EXTRA_VALUES = 2 }; /* function and handler stay below the results */

/* Upvalue 1 is the user's handler. */
static int handle(lua_State *L)
{
    const struct vm_state *vm = vm_state_of(L);
    if (vm->is_stopping || vm->budget.is_spent)
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int finish(lua_State *L, int status, lua_KContext extra)
{
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_pushboolean(L, 0);
        lua_pushvalue(L, -2);
        return 2;
    }
    return lua_gettop(L) - (int)extra;
}

static int l_xpcall(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, 1); /* the first result */
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2); /* below the arguments */
    int status = lua_pcallk(L, count - 2, LUA_MULTRET, 2, EXTRA_VALUES, finish);
    return finish(L, status, EXTRA_VALUES);
}

void vm_xpcall_open(lua_State *L)
{
    lua_pushcfunction(L, l_xpcall);
    lua_setglobal(L, "xpcall");
}
