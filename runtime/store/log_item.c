/* log_item.c - items, the changes on their way to the disk, and what else goes into a batch. */
#include <stdlib.h>

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
        if (item->kind != LOG_ITEM_COPY) {
            log->stats.pending--;
            log->stats.pending_bytes -= item->payload_bytes;
            log->pending_heads -= item->kind != LOG_ITEM_RECORD;
        }
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

/* ---- into a batch ---- */

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

int log_batch_put_item(const struct log_item *item, struct store_batch *out)
{
    char bytes[LOG_KEY_MAX];
    struct log_key key = {LOG_KEY_RECORD, item->group, item->replica, item->serial};
    if (item->kind == LOG_ITEM_RECORD)
        return store_batch_put(out, log_key_write(&key, bytes),
                               peri_buffer_slice(&item->value->bytes));
    if (item->kind == LOG_ITEM_COPY)
        return store_batch_put(out, log_key_write(&key, bytes), peri_buffer_slice(&item->bytes));
    key.kind = LOG_KEY_HEAD;
    if (item->kind == LOG_ITEM_HEAD)
        return store_batch_put(out, log_key_write(&key, bytes), peri_buffer_slice(&item->bytes));
    int rc = store_batch_delete(out, log_key_write(&key, bytes));
    key.kind = LOG_KEY_DROPPED;
    return rc == 0
               ? store_batch_put(out, log_key_write(&key, bytes), peri_buffer_slice(&item->bytes))
               : rc;
}

int log_batch_take_census(struct store_log *log)
{
    struct peri_buffer groups = {0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < log->group_count; i++) {
        struct log_touch touch = {log->groups[i]->group, log->groups[i]->replica, 0};
        rc = peri_buffer_append(&groups, &touch, sizeof touch);
    }
    struct log_summary census = {.touched = log_touches(&groups),
                                 .touched_count = groups.size / sizeof(struct log_touch)};
    if (rc == 0)
        rc = log_summary_encode(&census, &log->batch.census);
    peri_buffer_deinit(&groups);
    return rc;
}
