/* stand_in.h - tables that stand for another one, and keep nothing themselves.
 *
 * A machine's state is made of such tables (machine_tables.h), and so is what its file made when it
 * was loaded: an empty table whose metatable reaches the real one, so that reading and assigning
 * can be seen. Functions that work on tables without metamethods ask here for the real one. */
#ifndef PERI_VM_STAND_IN_H
#define PERI_VM_STAND_IN_H

#include <lua.h>
#include <stdbool.h>

extern const char vm_stand_in_key; /* its address is the key under which the real table lies */

/* When the value at index is a table that stands for another one, puts that in its place and
 * returns true. Needs a free stack slot; never raises. */
static inline bool vm_stand_in(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
        return false;
    lua_pop(L, 1);
    bool is_one = lua_rawgetp(L, index, &vm_stand_in_key) == LUA_TTABLE;
    if (is_one)
        lua_replace(L, index);
    else
        lua_pop(L, 1);
    return is_one;
}

#endif
