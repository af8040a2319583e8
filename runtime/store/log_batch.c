/* log_batch.c - one writer: what is pending becomes one batch with one fsync, again and again.
 *
 * A generation that is full ends with a batch; the next batch opens a new one, and begins it with
 * the heads of all groups, in the same atomic write as its records. */
#include <inttypes.h>
#include <stdlib.h>

#include "env/log.h"
#include "store/log_internal.h"

/* ---- items ---- */

void log_item_free(struct log_item *item)
{
    if (item->value != NULL)
        log_value_give(item->value);
    peri_buffer_deinit(&item->bytes);
    free(item);
}

void log_item_push(struct store_log *log, struct log_item *item)
{
    item->asked_us = env_now_us(log->env);
    peri_list_append(&log->pending, &item->link);
    log->stats.pending++;
    log->stats.pending_bytes += item->payload_bytes;
    log->pending_heads += item->kind != LOG_ITEM_RECORD;
    env_timer_stop(log->quiet);
    if (!log->is_writing)
        env_turn_start(log->turn);
}

bool log_items_complete(struct store_log *log, struct peri_list *items, int status)
{
    bool was_closing = log->is_closing;
    while (!peri_list_is_empty(items)) {
        struct log_item *item = container_of(items->next, struct log_item, link);
        struct store_log_write *write = item->write;
        peri_list_remove(&item->link);
        log->stats.pending--;
        log->stats.pending_bytes -= item->payload_bytes;
        log->pending_heads -= item->kind != LOG_ITEM_RECORD;
        log_item_free(item);
        if (write != NULL)
            write->on_written(write, status);
        if (log->is_closing != was_closing)
            return true; /* who closed has completed the rest */
    }
    return false;
}

void log_items_disown(const struct peri_list *items, int status)
{
    for (struct peri_list *at = items->next; at != items; at = at->next) {
        struct log_item *item = container_of(at, struct log_item, link);
        struct store_log_write *write = item->write;
        item->write = NULL;
        if (write != NULL)
            write->on_written(write, status);
    }
}

/* ---- what goes into a batch ---- */

static int put_value(const struct log_key *key, struct peri_buffer *value, struct store_batch *out)
{
    char bytes[LOG_KEY_MAX];
    return store_batch_put(out, log_key_write(key, bytes), peri_buffer_slice(value));
}

int log_batch_put_summary(const struct log_summary *summary, struct store_batch *out)
{
    struct peri_buffer value = {0};
    struct log_key key = {.kind = LOG_KEY_BATCH, .number = summary->batch};
    int rc = log_summary_encode(summary, &value);
    if (rc == 0)
        rc = put_value(&key, &value, out);
    peri_buffer_deinit(&value);
    return rc;
}

static int put_head(struct log_group *group, struct peri_buffer *value, struct store_batch *out)
{
    struct log_key key = {LOG_KEY_HEAD, group->group, group->replica, 0};
    struct log_head head;
    value->size = 0;
    log_group_head(group, &head);
    group->head_serial = group->serial;
    int rc = log_head_encode(&head, value);
    return rc == 0 ? put_value(&key, value, out) : rc;
}

static int put_dropped(const struct log_touch *touch, struct peri_buffer *value,
                       struct store_batch *out)
{
    struct log_key key = {LOG_KEY_DROPPED, touch->group, touch->replica, 0};
    value->size = 0;
    int rc = log_dropped_encode(touch->group, touch->replica, value);
    return rc == 0 ? put_value(&key, value, out) : rc;
}

static int put_identity(const struct log_identity *identity, struct peri_buffer *value,
                        struct store_batch *out)
{
    struct log_key key = {.kind = LOG_KEY_IDENTITY};
    value->size = 0;
    int rc = log_identity_encode(identity, value);
    return rc == 0 ? put_value(&key, value, out) : rc;
}

int log_batch_put_heads(struct store_log *log, uint64_t generation, uint64_t batch,
                        struct store_batch *out)
{
    struct peri_buffer value = {0};
    struct log_identity identity = {log->options.cluster, log->options.node, generation, batch};
    const struct log_touch *dropped = (const struct log_touch *)(const void *)log->dropped.data;
    int rc = put_identity(&identity, &value, out);
    for (size_t i = 0; rc == 0 && i < log->dropped.size / sizeof *dropped; i++)
        rc = put_dropped(&dropped[i], &value, out);
    for (size_t i = 0; rc == 0 && i < log->group_count; i++)
        rc = put_head(log->groups[i], &value, out);
    peri_buffer_deinit(&value);
    return rc;
}

static int put_item(const struct log_item *item, struct store_batch *out)
{
    char bytes[LOG_KEY_MAX];
    struct log_key key = {LOG_KEY_RECORD, item->group, item->replica, item->serial};
    if (item->kind == LOG_ITEM_RECORD)
        return store_batch_put(out, log_key_write(&key, bytes),
                               peri_buffer_slice(&item->value->bytes));
    key.kind = LOG_KEY_HEAD;
    if (item->kind == LOG_ITEM_HEAD)
        return store_batch_put(out, log_key_write(&key, bytes), peri_buffer_slice(&item->bytes));
    int rc = store_batch_delete(out, log_key_write(&key, bytes));
    key.kind = LOG_KEY_DROPPED;
    return rc == 0
               ? store_batch_put(out, log_key_write(&key, bytes), peri_buffer_slice(&item->bytes))
               : rc;
}

/* ---- in the background ---- */

static struct log_touch *touches(const struct peri_buffer *buffer)
{
    return (struct log_touch *)(void *)buffer->data;
}

static int write_changes(struct log_batch *batch)
{
    char path[LOG_PATH_MAX];
    int rc = 0;
    for (struct peri_list *at = batch->items.next; rc == 0 && at != &batch->items; at = at->next)
        rc = put_item(container_of(at, struct log_item, link), &batch->changes);
    if (rc != 0)
        return peri_fail(&batch->err, rc, "batch of log %s", batch->path);
    log_generation_path(path, batch->path, batch->generation);
    if (batch->store == NULL)
        rc = store_open(&batch->store, batch->env, path, &batch->store_options, &batch->err);
    return rc == 0 ? store_write(batch->store, &batch->changes, true, &batch->err) : rc;
}

static void batch_on_run(void *data)
{
    struct log_batch *batch = data;
    batch->status = log_witness_write(batch->env, batch->path, peri_buffer_slice(&batch->slot),
                                      false, &batch->err);
    if (batch->status == 0)
        batch->status = write_changes(batch);
    if (batch->status == 0 && batch->census.size > 0)
        batch->status = log_census_write(batch->env, batch->path, peri_buffer_slice(&batch->census),
                                         &batch->err);
}

/* ---- and back ---- */

/* The records of the batch are durable. */
static void settle(struct store_log *log)
{
    struct log_batch *batch = &log->batch;
    struct log_generation *generation = log->generations[log->generation_count - 1];
    PERI_ASSERT(generation->number == batch->generation);
    generation->bytes += batch->changes.bytes.size;
    log->stats.batch_records = 0;
    for (struct peri_list *at = batch->items.next; at != &batch->items; at = at->next) {
        const struct log_item *item = container_of(at, struct log_item, link);
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
        generation->live++;
    }
    log->stats.records += log->stats.batch_records;
    log->stats.stored_bytes += batch->changes.bytes.size;
    log->stats.batches++;
    log->stats.sync_us = env_now_us(log->env) - batch->began_us;
}

void log_batch_remember(struct log_batch *batch)
{
    struct log_summary summary = {
        .batch = batch->number,
        .touched = touches(&batch->touched),
        .touched_count = batch->touched.size / sizeof(struct log_touch),
    };
    /* Without memory there is no witness this time, as after a crash. */
    (void)log_witness_encode(batch->generation, &summary, &batch->slot);
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
        if (!peri_list_is_empty(&log->pending))
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
        if (group != NULL && group->replica != item->replica)
            group = NULL; /* dropped, and another came */
        if (group != NULL && group->touched_batch == batch->number) {
            touches(&batch->touched)[group->touch] = touch;
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
    struct log_generation *last = log->generations[log->generation_count - 1];
    batch->store = last->store;
    batch->generation = last->number;
    if (last->bytes < log->options.generation_max_bytes)
        return 0;
    int rc = touch_all(log);
    if (rc == 0)
        rc = log_batch_put_heads(log, last->number + 1, batch->number, &batch->changes);
    if (rc == 0)
        rc = log_generation_add(log, last->number + 1, NULL, &last);
    if (rc != 0)
        return rc;
    log->generations[log->generation_count - 2]->is_sealed = true;
    log->generations[log->generation_count - 2]->is_heavy = true;
    batch->store = NULL;
    batch->generation = last->number;
    return 0;
}

int log_batch_take_census(struct store_log *log)
{
    struct peri_buffer groups = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < log->group_count; i++) {
        struct log_touch touch = {log->groups[i]->group, log->groups[i]->replica, 0};
        rc = peri_buffer_append(&groups, &touch, sizeof touch);
    }
    struct log_summary census = {.touched = touches(&groups),
                                 .touched_count = groups.size / sizeof(struct log_touch)};
    if (rc == 0)
        rc = log_summary_encode(&census, &log->batch.census);
    peri_buffer_deinit(&groups);
    return rc;
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
    store_batch_clear(&batch->changes);
    batch->census.size = 0;
    peri_error_clear(&batch->err);
    int rc = changes_census(batch) ? log_batch_take_census(log) : 0;
    if (rc == 0)
        rc = gather_touched(log);
    if (rc == 0)
        rc = choose_generation(log);
    struct log_summary summary = {
        .batch = batch->number,
        .touched = touches(&batch->touched),
        .touched_count = batch->touched.size / sizeof(struct log_touch),
        .before = touches(&batch->before),
        .before_count = batch->before.size / sizeof(struct log_touch),
    };
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
    if (log->is_writing || peri_list_is_empty(&log->pending))
        return;
    while (!peri_list_is_empty(&log->pending)) {
        struct peri_list *link = log->pending.next;
        peri_list_remove(link);
        peri_list_append(&batch->items, link);
    }
    batch->number++;
    batch->began_us = env_now_us(log->env);
    log->is_writing = true;
    log_hold(log);
    int rc = prepare(log);
    if (rc == 0)
        rc = env_lane_work(log->lane, batch_on_run, batch_on_done, batch);
    if (rc != 0)
        fail_batch(log, rc);
}

void store_log_flush(struct store_log *log)
{
    log_batch_on_turn(log);
}

/* ---- quiet ---- */

struct quiet_job {
    struct store_log *log;
    struct env *env;
    const char *path;
    struct peri_buffer slot;
    struct peri_error err;
};

static void quiet_on_run(void *data)
{
    struct quiet_job *job = data;
    (void)log_witness_write(job->env, job->path, peri_buffer_slice(&job->slot), true, &job->err);
}

static void quiet_on_done(void *data, int status)
{
    struct quiet_job *job = data;
    if (status == 0 && job->err.code != 0)
        env_log(job->env, ENV_LOG_WARN, "store", "the witness was not synced: %s", job->err.text);
    log_release(job->log);
    peri_buffer_deinit(&job->slot);
    free(job);
}

void log_batch_on_quiet(void *data)
{
    struct store_log *log = data;
    struct quiet_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return; /* the witness is made durable another time */
    *job = (struct quiet_job){.log = log, .env = log->env, .path = log->path};
    log_hold(log);
    const struct peri_buffer *slot = &log->batch.slot;
    if (peri_buffer_append(&job->slot, slot->data, slot->size) != 0 ||
        env_lane_work(log->lane, quiet_on_run, quiet_on_done, job) != 0)
        quiet_on_done(job, PERI_ECANCELLED);
}
