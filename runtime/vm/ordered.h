/* ordered.h - pairs and next in the order of the keys.
 *
 * Numbers first, by value, then strings, by bytes; any other key is an error that names it. So the
 * order does not depend on how a table came to be. pairs takes the keys at its start: fields may be
 * changed and cleared during the traversal, those cleared before their turn are not visited, and
 * neither are those added. next(t, k) goes on in the order of when it was first asked for what
 * comes behind a key of t; next(t) is the first key now, and looks at all of them. A traversal
 * costs a unit of the budget a key, and of time 2 times stock's for a list, 3 to 4 for a few
 * fields, 6 for a thousand. */
#ifndef PERI_VM_ORDERED_H
#define PERI_VM_ORDERED_H

#include <lua.h>

/* Replaces the globals pairs and next. Raises. */
void vm_ordered_open(lua_State *L);

/* Forgets which table next was asked about last: what a call sees must not depend on earlier ones.
 * Raises on lack of memory. */
void vm_ordered_reset(lua_State *L);

#endif
