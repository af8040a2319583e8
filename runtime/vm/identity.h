/* identity.h - tostring without addresses.
 *
 * Tables, functions, coroutines and userdata are numbered, in the order in which a call asks for
 * their text: "table: 1", "function: 2". The numbers start anew with each call
 * (vm_identity_reset), because replicas differ in what was asked before. "%p" is refused. */
#ifndef PERI_VM_IDENTITY_H
#define PERI_VM_IDENTITY_H

#include <lua.h>

/* Replaces tostring and string.format, which must be open. Raises. */
void vm_identity_open(lua_State *L);

/* Forgets all numbers. Raises on lack of memory. */
void vm_identity_reset(lua_State *L);

/* Pushes the text of the value at index: what tostring gives, asking __tostring and __name. */
void vm_identity_push_text(lua_State *L, int index);

#endif
