/* sandbox.h - which libraries untrusted Lua sees, and the state that one MapReduce attempt runs in.
 *
 * No os, io, debug, package.loadlib, dofile, loadfile, string.dump, collectgarbage options that
 * stop the collector, nor bytecode. What is left are the bounded versions of library.h. require
 * finds Lua files beside the job file only; math.random starts from the attempt's seed. A limit
 * that is reached ends the call with an error that says which one (mapreduce.md 3.5). */
#ifndef PERI_VM_SANDBOX_H
#define PERI_VM_SANDBOX_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "env/env.h"

struct vm_sandbox {
    const char *directory; /* where require finds "a.b" as a/b.lua or a/b/init.lua; NULL: nowhere */
    uint64_t seed;         /* of math.random */
    void (*print)(void *data, const char *line, size_t size); /* with its '\n'; NULL: lost */
    void *print_data;
};

/* Opens the safe libraries in a bare state. sandbox is copied (its directory is not: lent while the
 * state lives). Raises on lack of memory. */
void vm_sandbox_open(lua_State *L, const struct vm_sandbox *sandbox);

struct vm_task;

struct vm_task_options {
    struct env *env;
    size_t memory_limit_bytes; /* of the Lua state; 0: none */
    struct vm_sandbox sandbox;
};

/* Creates the state of one attempt. On success the caller owns *out and ends it with
 * vm_task_close. Errors: PERI_ENOMEM, PERI_ELUA. */
int vm_task_create(struct vm_task **out, const struct vm_task_options *options,
                   struct peri_error *err);

/* The task's Lua state, to push functions and arguments on. */
lua_State *vm_task_lua(struct vm_task *task);

/* A counter that the task loop increments, as cheaply as it likes: while it moves, no call is
 * stopped for lack of progress. */
volatile uint64_t *vm_task_progress(struct vm_task *task);

/* Reads the Lua file at path (text only) and leaves its chunk on the stack, named "@path". Errors:
 * errno codes; PERI_ELUA for a syntax error. Then the stack is as before. */
int vm_task_load(struct vm_task *task, const char *path, struct peri_error *err);

/* lua_pcall in which user code is stopped, so that no pcall of its own helps it, once no progress
 * was seen for no_progress_ms (0: no limit): the error is then "no progress for 60 s". The memory
 * limit's error is "memory limit of 512 MiB reached". Errors: PERI_ELUA, PERI_EMEMORY, PERI_ECPU,
 * with the error value (or what the handler made of it) on the stack. handler is the stack index of
 * a message handler or 0. */
int vm_task_call(struct vm_task *task, int argument_count, int result_count, int handler,
                 uint64_t no_progress_ms);

/* Closes the state; finalizers still due run at most 100 ms together. Accepts NULL. */
void vm_task_close(struct vm_task *task);

#endif
