/* bounds.h - what the replaced library functions of one Lua state may use, and how they give way.
 *
 * The functions replaced here have the names, results and errors of Lua 5.4.4's, but none of them
 * holds the core or grows without bound: each looks at vm_attention() every few microseconds. */
#ifndef PERI_VM_BOUNDS_H
#define PERI_VM_BOUNDS_H

#include <lua.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm_bounds {
    uint64_t match_steps_max; /* steps of one call of find, match, gsub or a gmatch iterator */
    size_t string_bytes_max;  /* the longest result of string.rep */
};

#define VM_MATCH_STEPS_MAX 50000000u
#define VM_STRING_BYTES_MAX ((size_t)256 << 20)

/* The bounds of the state, made with the defaults above by the first call. Lent while the state
 * lives; write to them to change them. */
struct vm_bounds *vm_bounds(lua_State *L);

/* The same, or NULL where none were made. Never raises. */
struct vm_bounds *vm_bounds_find(lua_State *L);

/* Pushes the same bounds as a userdata, for a closure's upvalue. */
void vm_bounds_push(lua_State *L);

/* What a continuation returns when vm_attend called it without having yielded: the caller's own
 * loop goes on, so that the C stack does not grow. */
#define VM_GO_ON (-1)

/* Ends a lua_CFunction: calls the function kept as its first upvalue with its arguments, and
 * returns what that returns. May yield. */
int vm_call_kept(lua_State *L);

/* Compiles a chunk of our own Lua text and leaves what it returns on the stack. */
void vm_push_helper(lua_State *L, const char *name, const char *text);

#endif
