/* loader.h - functions that call back into Lua code, made yieldable.
 *
 * require (a module's top level may block and be preempted), load with a reader function, and
 * __tostring in tostring, print and string.format. Two fibers that require a module at the same
 * time each run it, as stock does for a module that requires itself. */
#ifndef PERI_VM_LOADER_H
#define PERI_VM_LOADER_H

#include <lua.h>

/* Replaces those of the functions that the state has. */
void vm_loader_open(lua_State *L);

/* Afterwards load refuses bytecode, whatever mode it is given. */
void vm_loader_text_only(lua_State *L);

/* require as a lua_CFunction. Upvalue: the table "package" with its searchers. */
int vm_require(lua_State *L);

#endif
