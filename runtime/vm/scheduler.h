/* scheduler.h - the insides of fibers, for the files that make them up.
 *
 * fiber.c         a fiber's life: spawn, suspend, wake, cancel, end
 * scheduler.c     who runs next, the main fiber, the end of the program
 * fiber_timer.c   one heap of wake-up times and deadlines for each scheduler
 * fiber_report.c  where a fiber stands, tracebacks, what it waits for */
#ifndef PERI_VM_SCHEDULER_H
#define PERI_VM_SCHEDULER_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "env/log_limit.h"
#include "vm/channel.h"
#include "vm/fiber.h"

#define FIBER_METATABLE "perilune.fiber"

enum { FIBER_NAP_US = 2, FIBER_NAPS_MAX = 500000 };

enum { FIBER_NAME_SIZE = 64, FIBER_REASON_SIZE = 200, FIBER_TIMERS = 2 };

/* User values of a handle. */
enum { FIBER_COROUTINE = 1, FIBER_TRACEBACK = 2, FIBER_USER_VALUES = 2 };

enum fiber_state {
    FIBER_READY,   /* in a queue */
    FIBER_RUNNING, /* has the baton: runs now, or was interrupted and goes on first */
    FIBER_WAITING, /* in fiber_suspend */
    FIBER_DONE,
};

/* One time at which something happens to a fiber. */
struct fiber_timer {
    uint64_t due_us;
    uint64_t sequence; /* earlier started fires first among equals */
    size_t slot;       /* place in the heap, from 1; 0 while stopped */
    void (*on_due)(struct fiber_timer *timer);
};

/* Lives in the userdata that is its handle. The scheduler anchors the handle until the fiber is
 * done. */
struct fiber {
    struct fiber_scheduler *scheduler;
    lua_State *L;
    struct fiber *queue_next; /* ready or background queue */
    enum fiber_state state;
    int argument_count; /* for the first resume */
    bool preemptible;
    bool detached;
    bool is_joined;   /* somebody asked for the result: an error is theirs to report */
    bool is_lost;     /* ended in an error that was logged because nobody had asked */
    bool is_settling; /* waits for the rest of the program to end */
    bool was_named;   /* the log has named it for holding the baton, since it last blocked */
    uint64_t atomic_until_us; /* keeps the baton until then although preemptible; 0: no */
    int status;      /* once done: 0 or an error code; results or the error object are on L */
    int cancel_code; /* not 0: close it instead of running it */
    struct fiber_wait *wait; /* what it waits in, or NULL */
    struct fiber_wait own;   /* for operations that need no more than this */
    struct fiber *joining;   /* the fiber that it joins, for own */
    struct fiber *join_next; /* next joiner of that fiber */
    struct fiber *joiners;
    struct channel_waiter waiter; /* for send and recv */
    struct fiber_timer sleep;
    struct fiber_timer deadline;
    uint64_t cpu_us;
    uint64_t busy_us; /* since it last blocked */
    uint64_t cpu_deadline_us;
    uint64_t deadline_us; /* as asked for, for the message */
    uint64_t started_us;
    uint64_t since_us; /* when it last gave the baton away, or started */
    void *owner;       /* fiber_set_owner */
    uint64_t due_us;   /* of the owner's; 0: none */
    uint64_t switches;
    uint64_t nap_switches; /* switches at its last nap */
    uint32_t naps;         /* in a row, see vm_simulated.on_naps */
    uint64_t id;
    int anchor;
    struct fiber *parent;
    struct fiber *children;
    struct fiber *sibling_next, *sibling_previous;
    struct fiber *all_next, *all_previous; /* every fiber that is not done, by age */
    char name[FIBER_NAME_SIZE];
    char reason[FIBER_REASON_SIZE];
};

struct fiber_queue {
    struct fiber *first, *last;
};

enum { RANDOM_POOL_SIZE = 256 };

struct fiber_scheduler {
    struct vm_state *vm;
    struct env_turn *turn;
    void (*on_end)(void *data); /* fiber_scheduler_start's; NULL: env_run is to return instead */
    void *on_end_data;
    bool end_was_told;
    bool is_turning; /* the turn is started */
    bool is_exiting; /* nothing is resumed any more */
    bool has_exit_status;
    bool background_owed;  /* the ready ones used up a slice: a preemptible one comes next */
    struct fiber *current; /* runs now, or is being closed */
    struct fiber *baton;   /* interrupted: goes on before everybody else */
    struct fiber *main;
    struct fiber_queue ready;      /* default fibers */
    struct fiber_queue background; /* preemptible fibers */
    struct fiber *first, *last;    /* every fiber that is not done */
    size_t fiber_count;
    uint64_t next_id;
    uint64_t now_us; /* when the last switch happened */
    uint64_t preemptions;
    uint64_t lost_count;        /* fibers that is_lost */
    uint64_t shutdown_until_us; /* past it, no __close handler runs any more; 0: no shutdown */
    int anchors;                /* registry reference of the table that anchors handles */
    int exit_status;
    int trap;                    /* registry reference of what a signal starts; 0: nothing */
    struct env_timer *alarm;     /* fires when the first of timers is due */
    uint64_t alarm_us;           /* what alarm is set to; 0: stopped */
    struct fiber_timer **timers; /* binary heap, from 1 */
    size_t timer_count, timer_capacity;
    uint64_t timer_sequence;
    struct env_log_limit log_limit; /* of errors in __close handlers */
    size_t random_left;             /* unused bytes at the end of random_pool */
    unsigned char random_pool[RANDOM_POOL_SIZE];
};

/* ---- fiber.c ---- */

/* True for a coroutine that is a fiber's own; true for the main fiber's. */
bool fiber_is_base(lua_State *L);
bool fiber_is_main(lua_State *L);

/* Yields to the core for good or until resumed; k then runs. The fiber's state says what it waits
 * for. */
int fiber_to_core(lua_State *L, lua_KFunction k);

/* Gives the baton away; continues behind the fibers that are ready now. */
int fiber_yield(lua_State *L, lua_KFunction k);

/* Suspends the current fiber in wait until fiber_wake or until due_us, whichever comes first;
 * on_due decides what to do then. due_us 0: no limit. */
int fiber_suspend_until(lua_State *L, struct fiber_wait *wait, uint64_t due_us, lua_KFunction k);

/* The fiber has ended: status as in struct fiber. Frees what its life needed and wakes joiners. */
void fiber_finish(struct fiber *fiber, int status);

/* Runs the __close handlers of a cancelled fiber, innermost coroutine first, and finishes it. */
void fiber_close(struct fiber *fiber);

/* Keeps joiner's own wait in fiber's list until the fiber is done. */
void fiber_add_joiner(struct fiber *fiber, struct fiber *joiner);

/* ---- scheduler.c ---- */

/* Queues a fiber that may run. */
void fiber_make_ready(struct fiber *fiber);

/* A random number, from the environment's generator. */
uint64_t fiber_random(struct fiber_scheduler *scheduler);

/* ---- fiber_timer.c ---- */

/* Creates and ends the alarm. Errors: PERI_ENOMEM. */
int fiber_timers_init(struct fiber_scheduler *scheduler);
void fiber_timers_deinit(struct fiber_scheduler *scheduler);

/* Makes room for the timers of one more fiber, so that starting one cannot fail. Errors:
 * PERI_ENOMEM. */
int fiber_timers_reserve(struct fiber_scheduler *scheduler);

/* (Re)starts a timer; stops one, if it runs. */
void fiber_timer_start(struct fiber_scheduler *scheduler, struct fiber_timer *timer,
                       uint64_t due_us);
void fiber_timer_stop(struct fiber_scheduler *scheduler, struct fiber_timer *timer);

/* ---- fiber_report.c ---- */

/* Writes "script.lua:12" of the innermost Lua function of the fiber, or "its start". */
void fiber_where(const struct fiber *fiber, char *out, size_t size);

/* What the fiber does: "ready", "running", "fs.read", "fiber.sleep", "done". Lent. */
const char *fiber_doing(const struct fiber *fiber);

/* When the fiber goes on at the latest, whatever others do, on env_now_us's clock; 0: perhaps
 * never.
 */
uint64_t fiber_until_us(const struct fiber *fiber);

/* Pushes on L "message" and the traceback of the fiber: Lua functions only, inner coroutines first.
 * Raises on lack of memory. */
void fiber_push_traceback(lua_State *L, lua_State *co, const char *message);

/* Keeps the traceback of a fiber that just raised the error on top of its stack in its handle, and
 * logs it when nobody joins. */
void fiber_record_error(struct fiber *fiber);

/* Logs what every fiber waits for and where: nothing can wake the main fiber any more. */
void fiber_report_deadlock(struct fiber_scheduler *scheduler);

#endif
