/* border.h - a length that is decided by content.
 *
 * Any n with t[n] ~= nil and t[n+1] == nil is a border; stock finds one of them by looking at how
 * the table is laid out. Here it is the one that a fixed search finds: double from 1 while the
 * element is there, then halve. Without holes that is what stock gives. O(log n): 0.1 us for a list
 * of 100, where stock takes 0.01. Every function that asks for the length of a table asks here: #
 * (rewrite.h), rawlen, and those of "table". */
#ifndef PERI_VM_BORDER_H
#define PERI_VM_BORDER_H

#include <lua.h>

/* The border of the table at index, without metamethods. Never raises. */
lua_Integer vm_border(lua_State *L, int index);

/* What # gives: a string's size, the result of __len as an integer, or the border. Raises. */
lua_Integer vm_length(lua_State *L, int index);

/* Installs the metamethod that the text for # calls, and replaces rawlen and, in the open library
 * "table", concat, insert, move, remove, sort and unpack. Calls are charged by how many elements
 * they move (budget.h). Raises. */
void vm_border_open(lua_State *L);

#endif
