/* log_batch.c - one writer: what is pending becomes one batch with one fsync, again and again.
 *
 * A generation that is full ends with a batch; the next batch opens a new one, and begins it with
 * the heads of all groups, in the same atomic write as its records. */
#include <inttypes.h>
#include <stdlib.h>

#include "env/log.h"
#include "store/log_internal.h"

/* ---- in the background ---- */

static int write_changes(struct log_batch *batch)
{
    int rc = 0;
    for (struct peri_list *at = batch->items.next; rc == 0 && at != &batch->items; at = at->next)
        rc = log_batch_put_item(container_of(at, struct log_item, link), &batch->changes);
    if (rc != 0)
        return peri_fail(&batch->err, rc, "batch of log %s", batch->path);
    if (batch->store == NULL)
        rc = log_generation_open(batch->env, batch->path, batch->generation, &batch->store_options,
                                 &batch->store, &batch->err);
    return rc == 0 ? store_write(batch->store, &batch->changes, true, &batch->err) : rc;
}

/* The witness is due here when it could not be written behind the batch before. */
static void batch_on_run(void *data)
{
    struct log_batch *batch = data;
    batch->status = log_witness_write(&batch->witness, batch->env, batch->path, false, &batch->err);
    if (batch->status == 0)
        batch->status = write_changes(batch);
    if (batch->status == 0 && batch->census.size > 0)
        batch->status = log_census_write(batch->env, batch->path, peri_buffer_slice(&batch->census),
                                         &batch->err);
    if (batch->status == 0)
        log_witness_advance(&batch->witness);
}

/* While the loop goes on with what was acknowledged. */
static void witness_on_run(void *data)
{
    struct log_batch *batch = data;
    (void)log_witness_write(&batch->witness, batch->env, batch->path, false, NULL);
}

/* ---- and back ---- */

/* The records of the batch are durable. */
static void settle(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    struct log_generation *generation = log->generations[log->generation_count - 1];
    PERI_ASSERT(generation->number == batch->generation);
    uint64_t before = generation->bytes;
    generation->bytes = store_written_bytes(batch->store);
    log->stats.batch_records = 0;
    for (struct peri_list *at = batch->items.next; at != &batch->items; at = at->next) {
        const struct log_item *item = container_of(at, struct log_item, link);
        if (item->kind == LOG_ITEM_COPY)
            log_move_settle(log, item, generation);
        if (item->kind != LOG_ITEM_RECORD)
            continue;
        log->stats.batch_records++;
        log->stats.payload_bytes += item->payload_bytes;
        struct log_group *group = log_group_find(log, item->group);
        struct log_record *record = group != NULL && group->replica == item->replica
                                        ? log_group_serial(group, item->serial)
                                        : NULL;
        if (record == NULL)
            continue; /* cut, or dropped, meanwhile */
        record->generation = generation->number;
        log_generation_gain(generation, record);
        if (group->written_to != generation->number)
            group->written_bytes = 0;
        group->written_to = generation->number;
        group->written_bytes += record->size;
    }
    log->stats.records += log->stats.batch_records;
    log->stats.stored_bytes += generation->bytes - before;
    log->stats.batches++;
    log->stats.sync_us = env_now_us(log->env) - batch->began_us;
}

void log_batch_testify(struct log_batch *batch)
{
    struct log_summary summary = {
        .batch = batch->number,
        .touched = log_touches(&batch->touched),
        .touched_count = batch->touched.size / sizeof(struct log_touch),
    };
    /* Without memory there is no witness this time, as after a crash. */
    (void)log_witness_encode(batch->generation, &summary, log_witness_next(&batch->witness));
}

void log_batch_remember(struct log_batch *batch)
{
    struct peri_buffer touched = batch->touched;
    batch->touched = batch->before;
    batch->before = touched;
    batch->touched.size = 0;
}

static void batch_on_done(void *data, int status)
{
    struct log_batch *batch = data;
    struct store_log *log = container_of(batch, struct store_log, batch);
    bool is_new = log->generations[log->generation_count - 1]->store == NULL;
    if (status != 0)
        batch->status = status;
    if (is_new)
        log->generations[log->generation_count - 1]->store = batch->store;
    log->is_writing = false;
    store_batch_clear(&batch->changes);
    if (log_full_takes_batch(log)) {
        log_release(log);
        return;
    }
    if (batch->status == 0 && !log->is_closing) {
        settle(log);
        log_batch_remember(batch);
    } else if (batch->status != 0) {
        log->failed = batch->status;
        env_log(log->env, ENV_LOG_ERROR, "store", "the log is fenced, batch %" PRIu64 " failed: %s",
                batch->number, batch->err.text);
        if (log->options.on_failed != NULL && !log->is_closing && batch->status != PERI_ECANCELLED)
            log->options.on_failed(log->options.data, batch->status);
    }
    int rc = batch->status == 0 || batch->status == PERI_ECANCELLED ? batch->status : PERI_EFENCED;
    bool is_closed = log_items_complete(log, &batch->items, rc) || log->is_closing;
    if (!is_closed && log->failed != 0)
        is_closed = log_items_complete(log, &log->pending, rc);
    if (!is_closed && log->failed == 0) {
        log_cache_shrink(log);
        log_generation_retire(log);
        if (!peri_list_is_empty(&log->pending) || !peri_list_is_empty(&log->moving))
            env_turn_start(log->turn);
        else if (log->options.quiet_us > 0)
            env_timer_start(log->quiet, log->options.quiet_us);
    }
    log_release(log);
}

/* ---- beginning a batch ---- */

/* Which groups the batch writes records of, and up to which. */
static int gather_touched(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    for (struct peri_list *at = batch->items.next; at != &batch->items; at = at->next) {
        const struct log_item *item = container_of(at, struct log_item, link);
        struct log_touch touch = {item->group, item->replica, item->serial};
        struct log_group *group = log_group_find(log, item->group);
        if (item->kind == LOG_ITEM_COPY)
            continue; /* long since known */
        if (group != NULL && group->replica != item->replica)
            group = NULL; /* dropped, and another came */
        if (group != NULL && group->touched_batch == batch->number) {
            log_touches(&batch->touched)[group->touch] = touch;
            continue;
        }
        if (group != NULL) {
            group->touched_batch = batch->number;
            group->touch = batch->touched.size / sizeof touch;
        }
        if (item->kind != LOG_ITEM_DROP &&
            peri_buffer_append(&batch->touched, &touch, sizeof touch) != 0)
            return PERI_ENOMEM;
    }
    return 0;
}

/* The first batch of a generation holds the heads of all groups, and says so. */
static int touch_all(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    for (size_t i = 0; i < log->group_count; i++) {
        const struct log_group *group = log->groups[i];
        struct log_touch touch = {group->group, group->replica, group->serial};
        if (group->touched_batch != batch->number &&
            peri_buffer_append(&batch->touched, &touch, sizeof touch) != 0)
            return PERI_ENOMEM;
    }
    return 0;
}

/* The generation that the batch goes to: the last one, or a new one behind it. */
static int choose_generation(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    struct log_generation *last = log->generations[log->generation_count - 1], *next = NULL;
    batch->store = last->is_sealed ? NULL : last->store; /* of a sealed one it belongs to chores */
    batch->generation = last->number;
    if (!last->is_sealed && last->bytes < log->options.generation_max_bytes)
        return 0;
    uint64_t number = log->newest_generation + 1;
    int rc = touch_all(log);
    if (rc == 0)
        rc = log_batch_put_heads(log, number, batch->number, &batch->changes);
    if (rc == 0)
        rc = log_generation_add(log, number, NULL, &next);
    if (rc != 0)
        return rc;
    last->is_heavy = last->is_heavy || !last->is_sealed;
    last->is_sealed = true;
    batch->store = NULL;
    batch->generation = next->number;
    return 0;
}

static bool changes_census(const struct log_batch *batch)
{
    for (struct peri_list *at = batch->items.next; at != &batch->items; at = at->next)
        if (container_of(at, struct log_item, link)->changes_census)
            return true;
    return false;
}

static int prepare(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    batch->census.size = 0;
    peri_error_clear(&batch->err);
    int rc = changes_census(batch) ? log_batch_take_census(log) : 0;
    if (rc == 0)
        rc = gather_touched(log);
    if (rc == 0)
        rc = choose_generation(log);
    struct log_summary summary = {
        .batch = batch->number,
        .touched = log_touches(&batch->touched),
        .touched_count = batch->touched.size / sizeof(struct log_touch),
        .before = log_touches(&batch->before),
        .before_count = batch->before.size / sizeof(struct log_touch),
    };
    log_batch_testify(batch);
    return rc == 0 ? log_batch_put_summary(&summary, &batch->changes) : rc;
}

/* A batch that cannot even begin is one that failed: its records were promised an order. */
static void fail_batch(struct store_log *log, int rc)
{
    log->batch.status = rc;
    (void)peri_fail(&log->batch.err, rc, "begin a batch");
    batch_on_done(&log->batch, rc);
}

void log_batch_on_turn(void *data)
{
    struct store_log *log = data;
    struct log_batch *batch = &log->batch;
    env_turn_stop(log->turn);
    bool is_idle = peri_list_is_empty(&log->pending) && peri_list_is_empty(&log->moving);
    if (log->is_writing || log->is_stuck || is_idle)
        return;
    while (!peri_list_is_empty(&log->pending)) {
        struct peri_list *link = log->pending.next;
        peri_list_remove(link);
        peri_list_append(&batch->items, link);
    }
    log_move_into_batch(log);
    batch->number++;
    batch->began_us = env_now_us(log->env);
    log->is_writing = true;
    log_hold(log);
    int rc = prepare(log);
    if (rc == 0)
        rc = env_lane_work(log->lane, batch_on_run, batch_on_done, batch);
    if (rc != 0)
        fail_batch(log, rc);
    else /* without memory the next batch does it */
        (void)env_lane_work(log->lane, witness_on_run, NULL, batch);
}

void store_log_flush(struct store_log *log)
{
    log_batch_on_turn(log);
}

/* ---- quiet ---- */

struct quiet_job {
    struct store_log *log;
    struct log_batch *batch;
    struct peri_error err;
};

static void quiet_on_run(void *data)
{
    struct quiet_job *job = data;
    struct log_batch *batch = job->batch;
    (void)log_witness_write(&batch->witness, batch->env, batch->path, true, &job->err);
}

static void quiet_on_done(void *data, int status)
{
    struct quiet_job *job = data;
    if (status == 0 && job->err.code != 0)
        env_log(job->log->env, ENV_LOG_WARN, "store", "the witness was not synced: %s",
                job->err.text);
    log_release(job->log);
    free(job);
}

void log_batch_on_quiet(void *data)
{
    struct store_log *log = data;
    struct quiet_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return; /* the witness is made durable another time */
    *job = (struct quiet_job){.log = log, .batch = &log->batch};
    log_hold(log);
    if (env_lane_work(log->lane, quiet_on_run, quiet_on_done, job) != 0)
        quiet_on_done(job, PERI_ECANCELLED);
}
