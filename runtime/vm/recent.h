/* recent.h - strings given to Lua lately, given again for less.
 *
 * Text repeats its words. lua_pushlstring hashes all bytes, walks Lua's string table, and often
 * allocates what the collector has just freed; a small cache keeps the latest short strings alive
 * and finds them by a product. */
#ifndef PERI_VM_RECENT_H
#define PERI_VM_RECENT_H

#include <lua.h>

#include "base/slice.h"

struct vm_recent;

/* Pushes the table that keeps the strings of this state alive, made by the first call; *out goes
 * with it and is lent while the state lives. Raises when memory is short. */
void vm_recent_open(lua_State *L, struct vm_recent **out);

/* Pushes bytes as a string. keeper is the index of the table that vm_recent_open pushed; end is the
 * end of the memory around bytes that may be read. Raises when memory is short. */
void vm_recent_push(lua_State *L, struct vm_recent *recent, int keeper, struct peri_slice bytes,
                    const char *end);

#endif
