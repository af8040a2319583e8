/* coroutine.h - the coroutine library, with the core able to reach through it.
 *
 * A runtime yield (a fiber suspends, a slice ends) inside a user's own coroutine must arrive at the
 * scheduler, not at the code that resumed the coroutine. So resume and wrap pass it up: they yield
 * themselves and, when the fiber goes on, resume the inner coroutine again. For everything else the
 * functions do what the standard ones do. A coroutine is *held* from its resume until it yields to
 * its resumer or ends; one that waits for the core stays held, so nobody else can resume or close
 * it. */
#ifndef PERI_VM_COROUTINE_H
#define PERI_VM_COROUTINE_H

#include <lua.h>
#include <stdbool.h>

/* Replaces the functions of the global table "coroutine", which is open already. Raises. */
void vm_coroutine_open(lua_State *L);

/* Marks co as held, or not. Fibers hold their own coroutine. */
void vm_coroutine_hold(lua_State *co, bool held);

/* The coroutine that the suspended coroutine outer waits for in resume or wrap, or NULL. */
lua_State *vm_coroutine_inner(lua_State *outer);

#endif
