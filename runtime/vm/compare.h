/* compare.h - comparisons of long strings, charged to the budget of the machine that makes them.
 *
 * One instruction of Lua compares any two strings, be they megabytes long, and so do look-ups of
 * long keys. The linker hands us the two functions that do it (--wrap): luaS_eqlngstr, by which
 * Lua tells whether two strings of more than 40 bytes are equal, and strcoll, by which it orders
 * strings. What is charged depends on the contents alone, never on whether two strings are one
 * object, nor on which keys lie in one slot of a table: replicas differ there. So what is equal
 * costs by its length, and what is not is told apart by the hashes that strings keep, which costs
 * nothing after the first time. */
#ifndef PERI_VM_COMPARE_H
#define PERI_VM_COMPARE_H

#include <lua.h>

#include "vm/budget.h"

/* From now on this thread's comparisons are paid by budget; NULL: by nobody. Who runs Lua of
 * another state in between puts back what it found, which is returned. */
struct vm_budget *vm_compare_charge(struct vm_budget *budget);

/* Asserts that L's strings lie in memory as compare.c believes. Raises on lack of memory. */
void vm_compare_open(lua_State *L);

#endif
