/* fiber.h - Lua coroutines run by the core.
 *
 * Code between two blocking calls is atomic towards the other fibers of its Lua state: n = n + 1 is
 * never a race. A fiber that blocks, yields or ends passes the baton on. One that is interrupted at
 * the end of its slice keeps it: the core serves timers, I/O and other states, then the same fiber
 * goes on. Only a preemptible fiber gives the baton away at the end of a slice.
 *
 * Cancelling means never resuming, then closing the coroutine, so pcall cannot swallow it. */
#ifndef PERI_VM_FIBER_H
#define PERI_VM_FIBER_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "vm/state.h"

struct fiber;

enum { FIBER_CPU_DEADLINE_US = 30000000 }; /* of spawned fibers, unless they say otherwise */

/* ---- what a blocking C function needs ---- */

/* One operation that a fiber waits for: embedded in the operation, zeroed before use. It must stay
 * in place until it was woken or cancelled; work that may outlive the fiber (a thread pool's) lives
 * on the heap and is freed by its completion when on_cancel has marked it abandoned. */
struct fiber_wait {
    struct fiber *fiber;                        /* set by fiber_suspend, NULL again once woken */
    const char *what;                           /* "fs.read": what reports say it waits for; lent */
    void (*on_cancel)(struct fiber_wait *wait); /* the fiber goes away: abandon it; may be NULL */
    uint64_t due_us; /* when the operation ends by itself, on env_now_us's clock; 0: perhaps never.
                        For reports only */
};

/* Raises "FUNCTION: call from inside a fiber" unless L may suspend here. Call it first. */
void fiber_check(lua_State *L, const char *function);

/* Suspends the fiber until fiber_wake; then k(L, LUA_YIELD, (lua_KContext)wait) runs. A
 * lua_CFunction returns its value. Works inside a user's own coroutine as well. */
int fiber_suspend(lua_State *L, struct fiber_wait *wait, lua_KFunction k);

/* Makes the waiting fiber ready, from any callback of the loop or from another fiber; it runs
 * later, never inside the call. No effect on a wait that nobody waits in. */
void fiber_wake(struct fiber_wait *wait);

/* ---- scheduler ---- */

/* Adds a scheduler to vm; vm_state_close ends it. Errors: PERI_ENOMEM, errno codes. */
int fiber_scheduler_create(struct vm_state *vm, struct peri_error *err);

/* Cancels and closes every fiber that is left. Accepts a vm without scheduler. */
void fiber_scheduler_close(struct vm_state *vm);

/* The process of vm was killed: fiber_scheduler_close then runs no __close handler. */
void fiber_scheduler_abandon(struct vm_state *vm);

/* Asks the state's program to end with the exit status: nothing is resumed any more, the loop
 * stops (or on_end is called, soon). The first status wins. Callable from fibers (which then yield)
 * and from callbacks. */
void fiber_scheduler_exit(struct vm_state *vm, int status);

struct fiber_result {
    int status; /* 0: returned; PERI_ELUA: raised; PERI_ECANCELLED, PERI_EDEADLINE, PERI_ECPU */
    int exit_status; /* os.exit's or fiber_scheduler_exit's, or what the function returned */
};

/* Runs the Lua function on top of vm->L's stack (popped) as the main fiber, until it ends and the
 * program with it: env_run is called inside. When nothing can wake the main fiber any more, logs
 * what every fiber waits for. Reports an error with its traceback on the log's stream. */
struct fiber_result fiber_scheduler_main(struct vm_state *vm, int argument_count);

/* The same for a loop that is not this state's alone, as in a simulation: starts the main fiber and
 * returns. on_end(data) runs once, last in a callback of the loop, when the program has ended, and
 * may close the state. Whoever wants the result, from on_end or when nothing can wake the main
 * fiber any more, calls fiber_scheduler_finish. Errors: PERI_ELUA (lack of memory), with nothing
 * started.
 */
int fiber_scheduler_start(struct vm_state *vm, int argument_count, void (*on_end)(void *data),
                          void *data, struct peri_error *err);

/* Ends the program of fiber_scheduler_start: reports a deadlock when the main fiber has not ended,
 * or the error that it raised, and closes every fiber. */
struct fiber_result fiber_scheduler_finish(struct vm_state *vm);

/* A signal came: starts the fiber that fiber_scheduler_trap has asked for; or cancels the main
 * fiber with the reason, so that the program ends with status 128 + signal. signum 0: with status
 * 0, trap or not. */
void fiber_scheduler_interrupt(struct vm_state *vm, const char *reason, int signum);

/* The Lua function on top of the state's stack (popped) is called with the number of the next
 * signal, once, in a fiber of its own that is detached. */
void fiber_scheduler_trap(lua_State *L);

/* ---- fibers, for modules ---- */

struct fiber_options {
    const char *name; /* copied; NULL: named after the function's source line */
    bool preemptible;
    bool detached;            /* outlives its parent */
    uint64_t deadline_us;     /* from now; 0: none */
    uint64_t cpu_deadline_us; /* without blocking; 0: none */
};

/* Starts a fiber that calls the function below argument_count arguments on top of L, pops them and
 * pushes its handle (a userdata). Raises on lack of memory, with nothing started. */
struct fiber *fiber_spawn(lua_State *L, const struct fiber_options *options, int argument_count);

/* The fiber at the stack index; raises when it is something else. */
struct fiber *fiber_check_handle(lua_State *L, int index);

/* The fiber that runs now, or NULL. Lent until it ends. */
struct fiber *fiber_current(lua_State *L);

/* Whom a fiber works for: owner is of whoever spawned it; due_us is when nobody waits for it any
 * more, on env_now_us's clock, or 0. Those that it spawns work for the same owner, unless they are
 * detached. */
void fiber_set_owner(struct fiber *fiber, void *owner, uint64_t due_us);

/* The owner of the fiber that runs now, or NULL. */
void *fiber_owner(lua_State *L);

/* When the fiber that runs now has to be done: the earliest deadline of its own and of those that
 * it works for; 0: never. */
uint64_t fiber_due_us(lua_State *L);

/* Cancels a fiber and its children that are not detached. code is what joiners get:
 * PERI_ECANCELLED, PERI_EDEADLINE or PERI_ECPU. reason is copied (cut at 200 bytes). A fiber that
 * runs is closed when it next gives up the baton. No effect on one that has ended. */
void fiber_cancel(struct fiber *fiber, int code, const char *reason);

#endif
