/* mr_job.h - the fresh Lua state of an attempt, with the job file loaded in it. */
#ifndef PERI_MODULES_MR_JOB_H
#define PERI_MODULES_MR_JOB_H

#include "mr_task.h"

/* Creates the attempt's state, loads the file named by the description's job field, calls it with
 * args, finds the step named by path and makes the job argument. Errors are in task->failure:
 * PERI_ELUA for what the file raises, errno codes. */
int mr_job_open(struct mr_task *task);

/* Pushes a plain copy of what the job file returned onto the host's stack: functions become
 * { ["function"] = "file:line" }, what is no data { unknown = type }. */
int mr_job_describe(struct mr_task *task);

/* Keeps the step's field in the registry; LUA_NOREF when it is no function, or when memory is
 * short: then task->failure says so. */
int mr_job_function(struct mr_task *task, const char *field);

/* Push the job argument, and the message handler that keeps the traceback, onto L. */
void mr_job_push_context(lua_State *L);
void mr_job_push_handler(lua_State *L);

/* Calls the step's function of that name, if it has one, with the job argument and the out that
 * stand at those slots of L. Raises what it raises. */
void mr_job_hook(lua_State *L, struct mr_task *task, const char *name, int context, int out);

/* Pushes a plain copy of the description's field onto L. */
void mr_job_push_spec(lua_State *L, struct mr_task *task, const char *field);

/* Calls body(L) with a light userdata of data inside the attempt's state, guarded by its limits;
 * what leaves it by an error is kept in task->failure. */
int mr_job_guard(struct mr_task *task, lua_CFunction body, void *data);

/* Closes the state. Accepts a task without one. */
void mr_job_close(struct mr_task *task);

#endif
