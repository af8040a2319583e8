/* log.c - the life of a log: open, close, figures. */
#include "store/log.h"

#include <stdlib.h>
#include <string.h>

#include "store/log_found.h"

void store_log_options_init(struct store_log_options *options, uint64_t cluster, uint64_t node)
{
    *options = (struct store_log_options){
        .cluster = cluster,
        .node = node,
        .generation_max_bytes = 64 << 20,
        .cache_max_bytes = 16 << 20,
        .quiet_us = 5000,
        .reserve_bytes = 16 << 20,
        .backend = STORE_BY_ENV,
    };
}

int log_refusal(const struct store_log *log)
{
    PERI_ASSERT(log->is_open && !log->is_closing);
    return log->failed != 0 ? PERI_EFENCED : 0;
}

/* ---- the end ---- */

static void free_log(struct store_log *log)
{
    while (log->group_count > 0) {
        struct log_group *group = log->groups[log->group_count - 1];
        log_group_remove(log, group);
        log_group_free(log, group);
    }
    for (size_t i = 0; i < log->generation_count; i++)
        free(log->generations[i]);
    log_copies_free(&log->moving);
    free(log->groups);
    free(log->generations);
    peri_buffer_deinit(&log->dropped);
    peri_buffer_deinit(&log->batch.touched);
    peri_buffer_deinit(&log->batch.before);
    log_witness_deinit(&log->batch.witness);
    peri_buffer_deinit(&log->batch.census);
    store_batch_deinit(&log->batch.changes);
    free(log);
}

static void close_stores(struct store_log *log)
{
    log_witness_close(&log->batch.witness);
    for (size_t i = 0; i < log->generation_count; i++) {
        store_close(log->generations[i]->store);
        log->generations[i]->store = NULL;
    }
}

static void close_on_run(void *data)
{
    struct store_log *log = data;
    if (log->failed == 0) /* else the witness says what it said before */
        (void)log_witness_write(&log->batch.witness, log->env, log->path, true, NULL);
    close_stores(log);
}

static void on_stores_closed(void *data, int status)
{
    struct store_log *log = data;
    struct env_lane *lane = log->lane;
    void (*on_closed)(void *closed_data) = log->on_closed;
    void *closed_data = log->closed_data;
    if (status != 0)
        close_stores(log); /* the environment ends: there is no loop left to hold up */
    free_log(log);
    env_lane_close(lane);
    if (on_closed != NULL)
        on_closed(closed_data);
}

void log_hold(struct store_log *log)
{
    log->holds++;
}

void log_release(struct store_log *log)
{
    PERI_ASSERT(log->holds > 0);
    if (--log->holds > 0 || !log->is_closing)
        return;
    if (env_lane_work(log->lane, close_on_run, on_stores_closed, log) != 0)
        on_stores_closed(log, PERI_ECANCELLED);
}

void store_log_when_closed(struct store_log *log, void (*on_closed)(void *data), void *data)
{
    log->on_closed = on_closed;
    log->closed_data = data;
}

void store_log_close(struct store_log *log)
{
    if (log == NULL)
        return;
    PERI_ASSERT(!log->is_closing);
    log_hold(log);
    log->is_closing = true;
    env_turn_close(log->turn);
    env_timer_close(log->quiet);
    env_timer_close(log->room);
    log->turn = NULL;
    log->quiet = log->room = NULL;
    log_items_disown(&log->batch.items, PERI_ECANCELLED);
    (void)log_items_complete(log, &log->pending, PERI_ECANCELLED);
    log_chores_refuse_reads(log, PERI_ECANCELLED);
    log_release(log);
}

/* ---- opening ---- */

struct open_job {
    struct store_log *log;
    struct log_found *found;
    bool has_room; /* that of the reserve: a full disk must not keep the log from opening */
    int status;
    struct peri_error err;
};

static void open_on_run(void *data)
{
    struct open_job *job = data;
    job->status = job->has_room ? log_load(job->log, &job->found, &job->err)
                                : log_reserve_drop(job->log->env, job->log->path, &job->err);
}

static void open_on_done(void *data, int status)
{
    struct open_job *job = data;
    struct store_log *log = job->log;
    if (status == 0 && job->status == 0 && !job->has_room && !log->is_closing) {
        job->has_room = true;
        status = env_lane_work(log->lane, open_on_run, open_on_done, job);
        if (status == 0)
            return;
    }
    if (status != 0)
        job->status = peri_fail(&job->err, status, "open log %s", log->path);
    if (!log->is_closing) {
        log->is_open = job->status == 0;
        const struct log_found *found = log->is_open ? job->found : &(struct log_found){.count = 0};
        log->on_open(log->open_data, job->status, found->groups, found->group_count, &job->err);
    }
    if (!log->is_closing && log->is_open) {
        log_generation_retire(log);
        if (log->options.quiet_us > 0)
            env_timer_start(log->quiet, log->options.quiet_us);
        if (log->is_full)
            env_timer_start(log->room, 0);
    }
    log_found_free(job->found);
    free(job);
    log_release(log);
}

static int start_open(struct store_log *log)
{
    struct open_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return PERI_ENOMEM;
    job->log = log;
    int rc = env_lane_create(log->env, &log->lane);
    if (rc == 0)
        rc = env_turn_create(log->env, log_batch_on_turn, log, &log->turn);
    if (rc == 0)
        rc = env_timer_create(log->env, log_batch_on_quiet, log, &log->quiet);
    if (rc == 0)
        rc = env_timer_create(log->env, log_full_on_timer, log, &log->room);
    if (rc == 0)
        rc = env_lane_work(log->lane, open_on_run, open_on_done, job);
    if (rc != 0)
        free(job);
    else
        log_hold(log);
    return rc;
}

static int check_options(const struct store_log_options *options, const char *path,
                         struct peri_error *err)
{
    if ((options->cluster == 0) != (options->node == 0) || options->generation_max_bytes == 0)
        return peri_fail_plain(err, PERI_EINVAL, "log %s: cluster, node and generations are not 0",
                               path);
    if (strlen(path) > LOG_PATH_MAX / 2)
        return peri_fail_plain(err, PERI_EINVAL, "log: its path is too long");
    return 0;
}

int store_log_open(struct store_log **out, struct env *env, const char *path,
                   const struct store_log_options *options, store_log_open_cb on_open, void *data,
                   struct peri_error *err)
{
    int rc = check_options(options, path, err);
    if (rc != 0)
        return rc;
    struct store_log *log = calloc(1, sizeof *log + strlen(path) + 1);
    if (log == NULL)
        return peri_fail(err, PERI_ENOMEM, "open log %s", path);
    log->env = env;
    log->options = *options;
    log->on_open = on_open;
    log->open_data = data;
    memcpy(log->path, path, strlen(path) + 1);
    peri_list_init(&log->pending);
    peri_list_init(&log->moving);
    peri_list_init(&log->batch.items);
    peri_list_init(&log->cache);
    peri_list_init(&log->reads);
    log->batch.env = env;
    log->batch.path = log->path;
    log->batch.store_options = log_generation_options(log);
    rc = start_open(log);
    if (rc != 0) {
        env_turn_close(log->turn);
        env_timer_close(log->quiet);
        env_timer_close(log->room);
        env_lane_close(log->lane);
        free_log(log);
        return peri_fail(err, rc, "open log %s", path);
    }
    *out = log;
    return 0;
}

void store_log_owner(const struct store_log *log, uint64_t *cluster, uint64_t *node)
{
    *cluster = log->options.cluster;
    *node = log->options.node;
}

/* ---- figures ---- */

static uint64_t blocking_group(const struct store_log *log)
{
    if (log->generation_count < 2)
        return 0;
    uint64_t oldest = log->generations[0]->number;
    for (size_t i = 0; i < log->group_count; i++) {
        const struct log_group *group = log->groups[i];
        if (group->count > 0 && group->records[group->start].generation == oldest)
            return group->group;
    }
    return 0;
}

static uint64_t oldest_asked_us(const struct store_log *log)
{
    const struct peri_list *from =
        !peri_list_is_empty(&log->batch.items) ? &log->batch.items : &log->pending;
    if (peri_list_is_empty(from))
        return UINT64_MAX;
    return container_of(from->next, struct log_item, link)->asked_us;
}

void store_log_stats(const struct store_log *log, struct store_log_stats *out)
{
    uint64_t asked_us = oldest_asked_us(log), now_us = env_now_us(log->env);
    *out = log->stats;
    out->pending_us = asked_us < now_us ? now_us - asked_us : 0;
    out->generations = log->generation_count;
    out->cache_bytes = log->cache_bytes;
    out->blocking_group = blocking_group(log);
    for (size_t i = 0; i < log->group_count; i++)
        for (size_t k = 0; k < log->groups[i]->count; k++)
            out->live_bytes += log->groups[i]->records[log->groups[i]->start + k].size;
}
