/* box.h - what every module needs to hand results and errors to Lua. */
#ifndef PERI_MODULES_BOX_H
#define PERI_MODULES_BOX_H

#include <lauxlib.h>
#include <lua.h>

#include "base/assert.h"
#include "base/error.h"

/* Pushes nil, message, code: how the world's failures look in Lua. Returns 3. */
static inline int box_fail(lua_State *L, int code, const char *message)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    lua_pushstring(L, peri_error_name(code));
    return 3;
}

/* Like box_fail with the detail of a failed call. */
static inline int box_error(lua_State *L, const struct peri_error *err)
{
    return box_fail(L, err->code, err->text);
}

#endif
