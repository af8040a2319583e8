/* mr_task.h - one attempt of a map or reduce task, run to its end on this thread.
 *
 * Two Lua states take part. The host is the worker's own: the task's description is a table on its
 * stack, whose strings are lent by it while the attempt runs. The attempt's state is fresh, has a
 * memory limit and no access to the world; it holds the job file and runs map and reduce.
 *
 * What the world does to an attempt (a full disk, a damaged spill) is kept in failure, out of reach
 * of a pcall in user code, and ends the attempt at the next record. */
#ifndef PERI_MODULES_MR_TASK_H
#define PERI_MODULES_MR_TASK_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "env/env.h"
#include "mapreduce/reducer.h"
#include "vm/sandbox.h"
#include "vm/state.h"

enum { MR_TASK_RECORD_SHOWN = 200 }; /* bytes of a bad record that an error carries */

/* Slots of the host's stack: the description, and whether progress is reported. */
enum { MR_HOST_SPEC = 1, MR_HOST_PROGRESS = 2 };

/* Where an attempt stood when it failed, for the person who wrote the job. */
struct mr_where {
    const char *file; /* lent by the host; NULL when the task reads no file */
    uint64_t offset;  /* of the record that the failure concerns, when has_offset */
    bool has_offset;
    char record[MR_TASK_RECORD_SHOWN];
    size_t record_size; /* shown bytes */
    size_t record_full; /* all bytes */
    bool has_record;
};

struct mr_task {
    struct env *env;
    lua_State *host;
    struct vm_task *state;       /* the attempt's; NULL before mr_job_open */
    lua_State *L;                /* its main coroutine */
    volatile uint64_t *progress; /* what the state's watch looks at */
    char *job_directory;
    uint64_t memory_bytes; /* of the whole attempt; Lua has a part of it */
    uint64_t timeout_us;
    struct peri_error failure; /* code 0: none yet */
    struct peri_buffer traceback;
    struct mr_where where;
    int64_t damaged_input; /* index of the input whose spill is damaged, or -1 */
    uint64_t records;      /* read so far */
    uint64_t skipped;
    uint32_t stride, countdown; /* records between two looks at the clock */
    uint64_t looked_us, reported_us;
};

/* ---- the description ---- */

/* The string, integer or boolean field of the description; the default when it is absent. */
const char *mr_spec_string(struct mr_task *task, const char *field, const char *absent);
uint64_t mr_spec_integer(struct mr_task *task, const char *field, uint64_t absent);
bool mr_spec_boolean(struct mr_task *task, const char *field);

/* Reads a reducer from the table in field: { name =, count =, limit =, separator = }. Kind NONE
 * when there is none, or a Lua function's. Errors: PERI_EINVAL. */
int mr_spec_reducer(struct mr_task *task, const char *field, struct mr_reducer *out,
                    struct peri_error *err);

/* ---- failing ---- */

/* Keeps the failure unless there is one already; returns its code. */
int mr_task_fail(struct mr_task *task, const struct peri_error *err);

/* True when code is the user's doing, so that user code may catch it. */
bool mr_task_is_user_error(int code);

/* Turns a failed lua_pcall (its error object on top of L, popped) into err, with a clear text for
 * memory and time limits. */
int mr_task_caught(struct mr_task *task, lua_State *L, int status, struct peri_error *err);

/* ---- progress ---- */

/* Called once a record, cheap: true when it is time for mr_task_report. */
static inline bool mr_task_breathe(struct mr_task *task)
{
    task->records++;
    ++*task->progress;
    return --task->countdown == 0;
}

/* Looks at the clock, and tells the parent how much is done (0..1) at most every 100 ms. */
void mr_task_report(struct mr_task *task, double done);

/* ---- the two kinds ---- */

/* Run the described attempt; the result's fields are set in the table on top of the host's stack.
 * Errors: the code of task->failure. */
int mr_map_run(struct mr_task *task);
int mr_reduce_run(struct mr_task *task);

#endif
