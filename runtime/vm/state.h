/* state.h - one Lua state, and what the runtime knows about it.
 *
 * A process holds many states: the script's, one for each replicated machine, one for each attempt
 * of a MapReduce task. vm_state_of finds the record of any coroutine: each lua_State keeps a
 * pointer to it in the word before itself (lua_getextraspace). The lowest bit of that word says
 * whether the coroutine is held by a resume (see vm/coroutine.h); nothing outside this folder needs
 * it. */
#ifndef PERI_VM_STATE_H
#define PERI_VM_STATE_H

#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "env/env.h"
#include "vm/alloc.h"
#include "vm/arena.h"
#include "vm/budget.h"
#include "vm/embedded.h"

struct fiber_scheduler;
struct vm_recent;
struct vm_recent_taker;

struct vm_state {
    struct env *env;
    lua_State *L;                      /* the main thread: scratch of the scheduler */
    struct vm_alloc alloc;             /* every byte of Lua's memory is counted here */
    struct vm_arena arena;             /* of a simulated state: where that memory lies */
    struct vm_budget budget;           /* of a machine's call */
    struct vm_recent *recent;          /* see vm/recent.h; NULL before it is opened */
    struct fiber_scheduler *scheduler; /* NULL in a task's state, which runs no fibers */
    struct env_ticker *ticker;         /* see vm/preempt.h */
    lua_State *volatile running;       /* innermost coroutine that runs now; NULL between runs */
    volatile sig_atomic_t attention;   /* the slice is over: the core wants the baton */
    volatile sig_atomic_t ticks;       /* ticks since the slice began */
    bool to_core;                      /* a yield under way is the runtime's, not the user's */
    bool is_stopping;                  /* code that must not go on gets an error: no handlers */
    uint32_t barriers;                 /* C calls below that no yield may cross */
    uint64_t rest_until_us;            /* hooks are not armed by ticks before, see preempt.c */
    uint64_t slice_start_us;           /* when the core last handed out the baton */
    uint64_t deadline_us;              /* of a task's state: when user code is stopped; 0: never */
    const char *deadline_reason;       /* what the error then says; lent */
    lua_State *closing;                /* coroutine whose __close handlers run, or NULL */
    uint64_t close_until_us;           /* while __close handlers run: when they are abandoned */
    lua_State *hooked;                 /* coroutine whose own hook ours has displaced, or NULL */
    lua_Hook hook;                     /* the displaced hook, its mask and its count */
    int hook_mask;
    int hook_count;
    const struct vm_options *options;    /* lent by the creator for the life of the state */
    const struct vm_recent_taker *taker; /* of the sums in recent, lent; NULL: nobody wants any */
};

/* What makes a state's behaviour the same in every run: set by the simulator for its nodes. */
struct vm_simulated {
    uint32_t slot; /* whose addresses its memory has, 1 to ENV_REGION_SLOTS_MAX; see env/pin.h */
    uint64_t hash_seed; /* decides the order of pairs over strings; see vm/hash_seed.h */
    /* The simulator's watchdog, the only one that ticks here, stops code that cannot yield: L still
     * stands where that is; then an error unwinds it. May raise. NULL: nobody looks. */
    void (*on_stopped)(const struct vm_simulated *simulated, lua_State *L);
    /* The fiber that runs has slept FIBER_NAPS_MAX times in a row for FIBER_NAP_US or less, which
     * hardly moves virtual time. NULL: nobody looks. */
    void (*on_naps)(const struct vm_simulated *simulated, lua_State *L);
};

struct vm_options {
    struct env *env;
    size_t memory_limit_bytes;          /* 0: none */
    bool bare;                          /* open no library: a sandbox does that */
    const struct vm_embedded *embedded; /* Lua modules inside the binary */
    size_t embedded_count;
    const struct vm_module *modules; /* C modules inside the binary */
    size_t module_count;
    const char *lua_path;                 /* a directory that wins over embedded modules, or NULL */
    const struct vm_simulated *simulated; /* NULL: an ordinary state */
    /* A fiber failed and nobody waits for it; text, its error with a traceback in one line, is lent
     * for the call. After the log line; NULL: nobody else wants to know. */
    void (*on_lost)(void *data, const char *text);
    void *on_lost_data;
};

/* Creates a Lua state with the standard libraries, the runtime's replacements and the searchers for
 * embedded modules; no fibers yet (fiber_scheduler_create adds them). options stays lent until
 * vm_state_close. On success the caller owns *out. Errors: PERI_ENOMEM, PERI_ELUA; of a simulated
 * state also PERI_EINVAL outside env_pinned_call, PERI_EBUSY when its slot is in use. */
int vm_state_create(struct vm_state **out, const struct vm_options *options,
                    struct peri_error *err);

/* Closes the scheduler, then the Lua state. Accepts NULL. */
void vm_state_close(struct vm_state *vm);

/* Adds the searchers for embedded modules to package.searchers. Raises; vm_state_create and the
 * sandbox call it. */
void vm_state_open_modules(lua_State *L);

/* The record of the state that L belongs to. */
static inline struct vm_state *vm_state_of(lua_State *L)
{
    uintptr_t word = *(uintptr_t *)lua_getextraspace(L);
    return (struct vm_state *)(word & ~(uintptr_t)1); /* NOLINT(performance-no-int-to-ptr) */
}

#endif
