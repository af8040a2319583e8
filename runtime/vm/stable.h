/* stable.h - a stable sort.
 *
 * Merge sort: equal elements stay in their order, whatever the comparator, and the comparisons made
 * depend on the elements alone. The list is written when everything is in order: after an error it
 * is as it was. n log2 n comparisons at most, n - 1 for a sorted list. A comparator may yield, and
 * the sort gives way between comparisons. */
#ifndef PERI_VM_STABLE_H
#define PERI_VM_STABLE_H

#include <lua.h>

/* Sorts elements 1 to size of the value at stack index 1 by the function at index 2, or by < when
 * that is nil. The stack holds nothing else; ends a lua_CFunction: return what it returns. Raises.
 */
int vm_stable_sort(lua_State *L, lua_Integer size);

#endif
