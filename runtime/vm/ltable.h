/* ltable.h - table functions that give way while they work.
 *
 * Replaces in the library table "table": sort (stock's algorithm, so also its order of equal
 * elements; comparators may yield), concat, and insert, remove and move over long ranges. Results
 * and errors are Lua 5.4.4's; only sort's random pivots, drawn for hostile input, come from the
 * range instead of the clock. Tables with metamethods go to the stock functions: those cannot yield
 * in between, and are bounded by VM_UNYIELDABLE_MAX_US. */
#ifndef PERI_VM_LTABLE_H
#define PERI_VM_LTABLE_H

#include <lua.h>
#include <stdbool.h>

/* Replaces the functions in the table "table", which must be open. */
void vm_table_open(lua_State *L);

/* table.sort as a lua_CFunction. Upvalue: the stock function. */
int vm_sort(lua_State *L);

/* True when the value is a table whose elements and length no metamethod gives. */
bool vm_table_is_plain(lua_State *L, int index);

#endif
