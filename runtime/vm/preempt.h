/* preempt.h - taking the baton from code that does not give it away.
 *
 * A ticker interrupts the thread every half slice. When a slice is over it sets vm->attention and
 * installs a one-shot count hook on the innermost running coroutine (an always-on hook costs 2x,
 * this one 0-3 %). The hook removes itself and yields to the core; where a C function in between
 * cannot be yielded across, it comes back every few instructions until that function has returned.
 * Code that stays in C for long asks vm_attention in its loop instead.
 *
 * Where it cannot yield and time is up (a task's deadline, a cancelled fiber,
 * VM_UNYIELDABLE_MAX_US) the hook raises at every instruction until the code has been left: no
 * pcall can go on from that. */
#ifndef PERI_VM_PREEMPT_H
#define PERI_VM_PREEMPT_H

#include <lua.h>
#include <stdbool.h>

#include "vm/state.h"

enum {
    VM_SLICE_US = 5000,
    VM_TICK_US = VM_SLICE_US / 2,
    VM_UNYIELDABLE_MAX_US = 1000000, /* code under a C function that cannot yield, then an error */
    VM_CLOSE_MAX_US = 100000,        /* all __close handlers of one coroutine together */
};

/* Creates the ticker of vm, stopped. Errors: PERI_ENOMEM, errno codes. */
int vm_preempt_create(struct vm_state *vm);

/* Starts a slice: clears attention. */
void vm_preempt_begin_slice(struct vm_state *vm);

/* True when the slice of L's state is over. Cheap: one load. */
static inline bool vm_attention(lua_State *L)
{
    return vm_state_of(L)->attention != 0;
}

/* Called by long C functions, holding no C resource, when vm_attention is true; the caller returns
 * its value. In a fiber that can yield: gives the baton to the core; later k(L, LUA_YIELD, ctx)
 * goes on. Elsewhere: clears attention and goes on with k(L, LUA_OK, ctx) at once. Raises when a
 * task's deadline passed, or when code that cannot yield ran longer than VM_UNYIELDABLE_MAX_US. */
int vm_attend(lua_State *L, lua_KContext ctx, lua_KFunction k);

/* lua_pcall on vm->L, for a state without fibers: the ticker runs meanwhile, and user code that is
 * still at work at vm->deadline_us is stopped with an error. */
int vm_preempt_pcall(struct vm_state *vm, int argument_count, int result_count, int handler);

/* True when a yield of L would reach the core. */
bool vm_can_yield(lua_State *L);

/* What a count hook does when the state wants attention, as its last act: gives the baton to the
 * core when L can yield, and then returns true; raises when code that cannot is overdue. */
bool vm_preempt_attend_in_hook(lua_State *L, lua_Debug *activation);

/* Makes L call the hook at its next instruction, unless a budget's hook looks anyway (budget.h).
 * Async-signal-safe. */
void vm_preempt_arm(struct vm_state *vm, lua_State *L);

/* Closes the coroutine co, running its __close handlers, at most VM_CLOSE_MAX_US long; handlers
 * that take longer are abandoned, even when they catch errors. Returns lua_resetthread's status; an
 * error object is then on top of co's stack. */
int vm_preempt_reset_thread(struct vm_state *vm, lua_State *co);

#endif
