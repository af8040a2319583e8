/* machine_freeze.h - what a machine's file made when it was loaded never changes again.
 *
 * Else it would be state that no snapshot holds: a counter in a local variable of the file, a cache
 * in a table beside the functions. Tables are emptied into others and stand for them from then on
 * (stand_in.h), so assigning raises. Names that begin with two underscores stay where they are,
 * because Lua looks for metamethods there. Variables are compared after each call. */
#ifndef PERI_VM_MACHINE_FREEZE_H
#define PERI_VM_MACHINE_FREEZE_H

#include <lua.h>

/* Makes the globals unchangeable. Raises. */
void vm_freeze_globals(lua_State *L);

/* Makes all that is reached from the value at index unchangeable, and pushes the list of variables
 * that are shared by functions. Raises, also for coroutines, which cannot outlive a call. */
void vm_freeze(lua_State *L, int index);

/* Gives the variables of the list at index the values that they had. Returns the name of one that
 * had another, lent while the list lives, or NULL. */
const char *vm_freeze_restore(lua_State *L, int index);

#endif
