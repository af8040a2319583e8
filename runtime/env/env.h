/* env.h - the one door to the world: time, randomness, signals, work, files, streams, processes.
 *
 * Everything above this folder reaches the world through a struct env and nothing else, so that a
 * whole cluster can live in one process and replay from a seed. Behind the door stands libuv
 * (env_uv_create in uv.h) or, for the same code, the simulator. Nothing here is global. What is
 * large has a header of its own, which this one includes: file.h, conn.h, process.h.
 *
 * One thread runs the loop; every function without the word "blocking" belongs to it, and every
 * callback runs on it, never from inside the call that asked for it. Times are microseconds.
 * Handles are made by *_create or *_open and ended by *_close; a close is asynchronous where the
 * world is, but no callback of the handle runs after it, except that requests still open complete
 * first with PERI_ECANCELLED. */
#ifndef PERI_ENV_ENV_H
#define PERI_ENV_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "env/conn.h"
#include "env/file.h"
#include "env/process.h"

struct env;
struct env_timer;
struct env_turn;
struct env_signal;
struct env_ticker;
struct env_lane;

/* ---- the loop ---- */

/* Runs the loop until env_stop is called or nothing is left that could wake it. */
void env_run(struct env *env);

/* Makes env_run return after the callback that is running. */
void env_stop(struct env *env);

/* Closes what is left, drains the loop and frees env. */
void env_close(struct env *env);

/* ---- time and randomness ---- */

/* Monotonic clock; starts anywhere. Safe on any thread. */
uint64_t env_now_us(struct env *env);

/* Wall clock since 1970-01-01 UTC; may jump. Safe on any thread. */
int64_t env_wall_us(struct env *env);

/* CPU time that this process has used so far. */
uint64_t env_cpu_us(struct env *env);

/* Fills size bytes at out from the environment's generator (the kernel's, or the seeded one). */
void env_random(struct env *env, void *out, size_t size);

/* ---- timers: one shot ---- */

/* Creates a stopped timer that the caller owns. Errors: PERI_ENOMEM. */
int env_timer_create(struct env *env, void (*on_timer)(void *data), void *data,
                     struct env_timer **out);
/* (Re)starts the timer: on_timer runs once, not before delay_us from now. */
void env_timer_start(struct env_timer *timer, uint64_t delay_us);
void env_timer_stop(struct env_timer *timer);
void env_timer_close(struct env_timer *timer); /* accepts NULL */

/* ---- turns: run again as soon as timers and I/O that are due have been served ---- */

/* Creates a stopped turn that the caller owns. While started, on_turn runs once per round of the
 * loop and the loop does not sleep. Errors: PERI_ENOMEM. */
int env_turn_create(struct env *env, void (*on_turn)(void *data), void *data,
                    struct env_turn **out);
void env_turn_start(struct env_turn *turn);
void env_turn_stop(struct env_turn *turn);
void env_turn_close(struct env_turn *turn); /* accepts NULL */

/* ---- signals ---- */

/* Watches a signal until closed; does not keep env_run alive. A SIGHUP that our parent told us to
 * ignore, as nohup does, stays ignored. Errors: PERI_ENOMEM, errno codes. */
int env_signal_watch(struct env *env, int signum, void (*on_signal)(void *data, int signum),
                     void *data, struct env_signal **out);
void env_signal_close(struct env_signal *watch); /* accepts NULL */

/* Ends the process with status 128 + signal when it is still there limit_us after one of the
 * signals arrived, whatever the loop's thread does then, or when a second one arrives. Lasts until
 * env_close has done everything else; at most one an environment, at most 4 signals. Errors:
 * PERI_ENOMEM, errno codes. */
int env_signal_guard(struct env *env, const int *signums, size_t count, uint64_t limit_us);

/* Changes the limit of the environment's guard, for signals to come; no effect without one. */
void env_signal_guard_limit(struct env *env, uint64_t limit_us);

/* ---- ticker: interrupts the code that runs on the loop thread ---- */

/* Creates a stopped ticker. While started, tick(data) runs every period_us of real time on the
 * thread that created it, from a signal handler: it may do only what is async-signal-safe (and
 * lua_sethook). In simulation a ticker never ticks, unless the event that runs does not return:
 * then it ends the code, and the run with it. Errors: PERI_ENOMEM, errno codes. */
int env_ticker_create(struct env *env, uint64_t period_us, void (*tick)(void *data), void *data,
                      struct env_ticker **out);
void env_ticker_start(struct env_ticker *ticker);
void env_ticker_stop(struct env_ticker *ticker);
void env_ticker_close(struct env_ticker *ticker); /* accepts NULL */

/* ---- background work ---- */

/* Calls run(data) on a background thread, then done(data, 0) on the loop. When env closes before
 * run started, only done(data, PERI_ECANCELLED) is called. Errors: PERI_ENOMEM; PERI_ECANCELLED
 * while env closes. */
int env_work(struct env *env, void (*run)(void *data), void (*done)(void *data, int status),
             void *data);

/* ---- lanes: background work that waits for nobody else's ---- */

/* Creates a lane: a thread that does what it is given one by one, in order, and nothing else. The
 * caller owns it. Errors: PERI_ENOMEM, errno codes. */
int env_lane_create(struct env *env, struct env_lane **out);

/* Like env_work, on the lane's thread and behind what the lane was given before. Without a done
 * (NULL) nobody is told, and the loop is not woken; data must stay until a later job is done. */
int env_lane_work(struct env_lane *lane, void (*run)(void *data),
                  void (*done)(void *data, int status), void *data);

/* Takes no more work; what was given is still done, and says so. Allowed inside a done. Accepts
 * NULL. */
void env_lane_close(struct env_lane *lane);

/* ---- regions: large memory that is walked at random; safe on any thread ---- */

/* Lends size bytes, whose contents are whatever they are, in huge pages where the system has them
 * (the walk then misses the address cache less). Ended by env_region_give. NULL without memory. */
void *env_region_take(struct env *env, size_t size);

/* Takes a region back and keeps it for the next who asks for as much, without the cost of fresh
 * pages; one region at a time, which stays part of the process's memory until env_region_trim or
 * env_close. Accepts NULL. */
void env_region_give(struct env *env, void *memory);

/* Lets go of the region that is kept. */
void env_region_trim(struct env *env);

/* ---- the process itself ---- */

/* The id of this process. */
int64_t env_pid(struct env *env);
/* True when a process with that pid exists. */
bool env_pid_is_alive(struct env *env, int64_t pid);
/* Sends a signal to another process. Errors: -ESRCH, -EPERM, PERI_EINVAL for a pid that is not of
 * one process; PERI_ENONDETERMINISTIC in simulation. */
int env_pid_kill(struct env *env, int64_t pid, int signum);
/* Sends text as one datagram to a Unix socket; a path that begins with '@' is an abstract one
 * (sd_notify(3)). Errors: errno codes, PERI_EINVAL for a path that is too long;
 * PERI_ENONDETERMINISTIC in simulation. */
int env_notify(struct env *env, const char *path, const char *text);
/* Value of an environment variable, or NULL; lent until the environment changes. */
const char *env_variable(struct env *env, const char *name);
/* All environment variables, "NAME=value", ended by NULL; lent until the environment changes. */
const char *const *env_variables(struct env *env);
/* Path of the running program; the caller frees *out with free(). */
int env_executable(struct env *env, char **out, struct peri_error *err);
uint32_t env_processors(struct env *env);
/* Columns of the terminal behind fd 0, 1 or 2; 0 when it is not one. */
uint32_t env_terminal_columns(struct env *env, int fd);
/* The most memory that this process has had resident so far, in bytes. */
uint64_t env_max_rss_bytes(struct env *env);
/* From now on memory that this process frees goes back to the system at once. Otherwise each thread
 * keeps what it had for its next use, for good when there is none. */
void env_return_memory(struct env *env);

#endif
