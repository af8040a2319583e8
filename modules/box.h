/* box.h - what every module needs to hand results and errors to Lua. */
#ifndef PERI_MODULES_BOX_H
#define PERI_MODULES_BOX_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/buffer.h"
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

static inline int box_push_cstring(lua_State *L)
{
    lua_pushstring(L, lua_touserdata(L, 1));
    return 1;
}

/* Pushes a string that came from malloc and frees it, also when Lua has no memory for it (then
 * raises). Returns 1. */
static inline int box_take_string(lua_State *L, char *string)
{
    lua_pushcfunction(L, box_push_cstring);
    lua_pushlightuserdata(L, string);
    int status = lua_pcall(L, 1, 1, 0);
    free(string);
    return status == LUA_OK ? 1 : lua_error(L);
}

static inline int box_push_bytes(lua_State *L)
{
    const struct peri_buffer *buffer = lua_touserdata(L, 1);
    lua_pushlstring(L, buffer->data, buffer->size);
    return 1;
}

/* Pushes the bytes as a string and frees them, also when Lua has no memory for it (then raises).
 * Returns 1. */
static inline int box_take_buffer(lua_State *L, struct peri_buffer *buffer)
{
    lua_pushcfunction(L, box_push_bytes);
    lua_pushlightuserdata(L, buffer);
    int status = lua_pcall(L, 1, 1, 0);
    peri_buffer_deinit(buffer);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* Set a field of the table on top. Raise on lack of memory. */
static inline void box_set_string(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static inline void box_set_slice(lua_State *L, const char *name, struct peri_slice bytes)
{
    lua_pushlstring(L, bytes.data != NULL ? bytes.data : "", bytes.size);
    lua_setfield(L, -2, name);
}

static inline void box_set_integer(lua_State *L, const char *name, lua_Integer number)
{
    lua_pushinteger(L, number);
    lua_setfield(L, -2, name);
}

static inline void box_set_count(lua_State *L, const char *name, uint64_t count)
{
    box_set_integer(L, name, (lua_Integer)count);
}

/* The same with a boolean. */
static inline void box_set_flag(lua_State *L, const char *name, bool flag)
{
    lua_pushboolean(L, flag);
    lua_setfield(L, -2, name);
}

static inline void box_set_number(lua_State *L, const char *name, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, name);
}

/* Has missing(methods, name) answer for the names that the table of methods at the top of the stack
 * does not have. */
static inline void box_set_missing(lua_State *L, lua_CFunction missing)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, missing);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

#endif
