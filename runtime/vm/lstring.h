/* lstring.h - string functions that neither block the core nor grow without bound.
 *
 * Replaces in the library table "string" of a state: find, match, gmatch, gsub (patterns of
 * pattern.h; callbacks of gsub may yield) and rep (bounded by vm_bounds). Results and errors are
 * Lua 5.4.4's otherwise. */
#ifndef PERI_VM_LSTRING_H
#define PERI_VM_LSTRING_H

#include <lua.h>

/* Replaces the functions in the table "string", which must be open. */
void vm_string_open(lua_State *L);

/* string.gsub as a lua_CFunction. Upvalues: the state's vm_bounds; a Lua function that returns
 * t[k]; a spare state between calls, or nil. */
int vm_gsub(lua_State *L);

/* Index of the first byte that a position argument names: Lua 5.4's posrelatI. */
size_t vm_string_start(lua_Integer position, size_t size);

#endif
