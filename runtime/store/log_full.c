/* log_full.c - a disk that is full.
 *
 * Beside the generations lies a file, the reserve, that holds nothing but room. A batch that finds
 * no room was acknowledged to nobody: the reserve is removed, and the batch is written again, with
 * all that is pending by then, at the beginning of a new generation. The old one is written to no
 * more, for after a write that failed nobody knows where it ends; what it had before was synced. A
 * record that it holds after all is the same as its copy.
 *
 * From then on the log is full (store_log_is_full), until there is room for a reserve again. When
 * the room of the first one is used up as well, the batch waits and is tried again, as if the disk
 * had stalled. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/log.h"
#include "store/log_internal.h"
#include "store/store.h"

enum { RETRY_US = 1000000 };

/* ---- the reserve; blocking ---- */

static void reserve_path(char *out, const char *log_path)
{
    (void)snprintf(out, LOG_PATH_MAX, "%s/reserve", log_path);
}

int log_reserve_drop(struct env *env, const char *log_path, struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct env_stat stat;
    reserve_path(path, log_path);
    if (env_path_stat(env, path, &stat, NULL) == -ENOENT)
        return 0;
    int rc = env_path_remove(env, path, err);
    return rc == 0 ? env_path_sync(env, log_path, err) : rc;
}

int log_reserve_take(struct env *env, const char *log_path, uint64_t size, struct peri_error *err)
{
    char path[LOG_PATH_MAX];
    struct env_file *file = NULL;
    if (size == 0)
        return 0;
    reserve_path(path, log_path);
    int rc = env_file_open(env, path, ENV_FILE_WRITE | ENV_FILE_CREATE, &file, err);
    if (rc != 0)
        return rc;
    rc = env_file_reserve(file, size, err);
    int closed = env_file_close(file, rc == 0 ? err : NULL);
    rc = rc == 0 ? closed : rc;
    if (rc != 0)
        (void)log_reserve_drop(env, log_path, NULL);
    return rc;
}

int log_reserve_begin(struct store_log *log, struct peri_error *err)
{
    int rc = log_reserve_take(log->env, log->path, log->options.reserve_bytes, err);
    log->has_reserve = rc == 0;
    log->is_full = store_is_want_of_room(rc);
    if (rc != 0)
        env_log(log->env, ENV_LOG_WARN, "store", "the log has no room of its own: %s", err->text);
    return rc == PERI_ENOMEM ? rc : 0;
}

/* ---- in the background ---- */

struct reserve_job {
    struct store_log *log;
    struct env *env;
    const char *path;
    uint64_t size; /* to be taken; 0: dropped */
    int status;
    struct peri_error err;
};

static void reserve_on_run(void *data)
{
    struct reserve_job *job = data;
    job->status = job->size == 0 ? log_reserve_drop(job->env, job->path, &job->err)
                                 : log_reserve_take(job->env, job->path, job->size, &job->err);
}

/* Room was there for a reserve, or not. */
static void on_taken(struct store_log *log, int status)
{
    log->has_reserve = status == 0;
    if (status != 0 || log->is_stuck) {
        env_timer_start(log->room, RETRY_US);
        return;
    }
    log->is_full = false;
    env_log(log->env, ENV_LOG_INFO, "store", "log %s has room again", log->path);
}

static void reserve_on_done(void *data, int status)
{
    struct reserve_job *job = data;
    struct store_log *log = job->log;
    status = status != 0 ? status : job->status;
    if (job->size != 0 && !log->is_closing)
        on_taken(log, status);
    else if (status != 0 && status != PERI_ECANCELLED)
        env_log(log->env, ENV_LOG_WARN, "store", "%s", job->err.text);
    free(job);
    log_release(log);
}

static int start_job(struct store_log *log, uint64_t size)
{
    struct reserve_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return PERI_ENOMEM;
    *job = (struct reserve_job){.log = log, .env = log->env, .path = log->path, .size = size};
    int rc = env_lane_work(log->lane, reserve_on_run, reserve_on_done, job);
    if (rc != 0)
        free(job);
    else
        log_hold(log);
    return rc;
}

/* ---- the log ---- */

/* The batch's items wait again, before those that came since. */
static void put_back(struct store_log *log)
{
    struct peri_list *lists[] = {&log->pending, &log->batch.items};
    for (size_t i = 0; i < 2; i++)
        while (!peri_list_is_empty(lists[i])) {
            struct peri_list *link = lists[i]->next;
            peri_list_remove(link);
            peri_list_append(lists[1 - i], link);
        }
    log->batch.touched.size = 0;
    log->batch.store = NULL;
}

/* One that was begun with the batch goes; an older one stays for what it has. */
static void leave_generation(struct store_log *log)
{
    struct log_generation *last = log->generations[log->generation_count - 1];
    last->is_sealed = last->is_heavy = true;
    last->is_doomed = last->bytes == 0;
    (void)log_chores_start(log); /* else another time */
}

bool log_full_takes_batch(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    if (!store_is_want_of_room(batch->status) || log->is_closing || log->failed != 0)
        return false;
    if (!log->is_full)
        env_log(log->env, ENV_LOG_ERROR, "store",
                "the disk is full, new commands are refused until there is room: %s",
                batch->err.text);
    log->is_full = true;
    put_back(log);
    leave_generation(log);
    bool is_freed = log->has_reserve && start_job(log, 0) == 0;
    log->has_reserve = log->has_reserve && !is_freed;
    log->is_stuck = !is_freed;
    if (is_freed)
        env_turn_start(log->turn); /* the lane frees first, and then writes */
    env_timer_start(log->room, RETRY_US);
    return true;
}

void log_full_on_timer(void *data)
{
    struct store_log *log = data;
    if (log->failed != 0)
        return;
    if (log->is_stuck) {
        log->is_stuck = false;
        env_turn_start(log->turn);
        env_timer_start(log->room, RETRY_US);
    } else if (start_job(log, log->options.reserve_bytes) != 0) {
        env_timer_start(log->room, RETRY_US);
    }
}

bool store_log_is_full(const struct store_log *log)
{
    return log->is_full;
}
