/* deterministic.h - the Lua that replicated machines are written in.
 *
 * Replicas run the same calls but differ in history: one was restored from a snapshot, one runs on
 * another processor, one was paused. Here nothing of that can be seen, by construction:
 *
 *   order of pairs, next        by key                                  ordered.h
 *   #, table functions          decided by content                      border.h, rewrite.h
 *   table.sort                  stable                                  stable.h
 *   tostring(t), "%p"           numbers of the call; refused            identity.h
 *   weak tables                 refused; the collector knows no __mode
 *   __gc                        refused                                 rewrite.h, setmetatable,
 *                                                                       rawset
 *   clock, files, environment,  absent; using one raises and says what to use instead
 *   global random numbers,
 *   debug, require, bytecode,
 *   collectgarbage
 *   pow, exp, sin ...           the same bits everywhere                runtime/libm.cmake
 *   how long a call may run     counted in instructions                 budget.h
 *
 * load, and loading the machine itself, go through rewrite.h. What is left to whoever runs
 * machines: memory. A state's limit counts what is allocated, which depends on history; a replica
 * that reaches it has failed, not the command (PERI_EMEMORY), so that limit must lie far above what
 * a budget can make. And values that outlive a call must be data: a closure or a coroutine that
 * lives on is history. */
#ifndef PERI_VM_DETERMINISTIC_H
#define PERI_VM_DETERMINISTIC_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct vm_deterministic {
    void (*print)(void *data, struct peri_slice line); /* what print prints; NULL: lost */
    void *print_data;
};

/* Opens the libraries of a bare state (vm_options.bare). options is copied. Raises on lack of
 * memory. */
void vm_deterministic_open(lua_State *L, const struct vm_deterministic *options);

/* Pushes the function that text compiles to, or an error message. chunk is its name for people, as
 * in luaL_loadbuffer ("@file"). Returns LUA_OK, LUA_ERRSYNTAX or LUA_ERRMEM. Never raises. */
int vm_deterministic_load(lua_State *L, struct peri_slice text, const char *chunk);

struct vm_deterministic_use {
    uint64_t instructions; /* charged, see budget.h */
};

/* lua_pcall with a budget: pops the function and its arguments, pushes results or an error value.
 * Errors: PERI_ELUA when it raised, PERI_ECPU when the budget is spent, also when the code caught
 * that error; both are the same on every replica, error value included, and the effects must be
 * undone. PERI_EMEMORY: this replica lacks memory; PERI_ECANCELLED: the fiber was cancelled or the
 * program ends. use may be NULL. */
int vm_deterministic_call(lua_State *L, int argument_count, int result_count, uint64_t budget,
                          struct vm_deterministic_use *use);

#endif
