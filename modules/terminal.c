/* terminal.c - require "perilune.terminal": what the standard streams are attached to.
 *
 * columns(fd) gives the width of the terminal behind file descriptor 0, 1 or 2; 0 when that is not
 * a terminal. */
#include <lauxlib.h>
#include <lua.h>

#include "env/env.h"
#include "vm/state.h"

int luaopen_perilune_terminal(lua_State *L);

static int l_columns(lua_State *L)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= 0 && fd <= 2, 1, "must be 0, 1 or 2");
    lua_pushinteger(L, env_terminal_columns(vm_state_of(L)->env, (int)fd));
    return 1;
}

int luaopen_perilune_terminal(lua_State *L)
{
    static const luaL_Reg functions[] = {{"columns", l_columns}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
