/* log_write.c - requests: checked, encoded, entered in memory, and handed over as items. */
#include <errno.h>
#include <stdlib.h>

#include "store/log_internal.h"

static struct log_item *new_item(enum log_item_kind kind, const struct log_group *group,
                                 struct store_log_write *write)
{
    struct log_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return NULL;
    item->kind = kind;
    item->group = group->group;
    item->replica = group->replica;
    item->write = write;
    return item;
}

/* The group that a request is about. Errors: PERI_EFENCED, -ENOENT. */
static int find_target(const struct store_log *log, uint64_t group, struct log_group **out)
{
    *out = log_group_find(log, group);
    int rc = log_refusal(log);
    return rc == 0 && *out == NULL ? -ENOENT : rc;
}

/* ---- heads ---- */

/* An item with room for a head. NULL without memory. */
static struct log_item *new_head(const struct log_group *group, struct store_log_write *write)
{
    struct log_item *item = new_item(LOG_ITEM_HEAD, group, write);
    if (item != NULL && peri_buffer_reserve(&item->bytes, LOG_HEAD_MAX_BYTES) == 0)
        return item;
    free(item);
    return NULL;
}

/* Hands over what the group is now. */
static void push_head(struct store_log *log, struct log_group *group, struct log_item *item)
{
    struct log_head head;
    log_group_head(group, &head);
    int rc = log_head_encode(&head, &item->bytes);
    PERI_ASSERT(rc == 0); /* there is room */
    item->serial = group->head_serial = group->serial;
    log_item_push(log, item);
}

/* ---- records ---- */

/* The log as it is after what the record does before it appends. */
struct shape {
    uint64_t base_index, last_index;
};

static int check_record(const struct log_group *group, const struct raft_record *record,
                        const struct store_log_entry *entries, struct shape *shape)
{
    *shape = (struct shape){group->base_index, group->last_index};
    if (record->term < group->term)
        return PERI_EINVAL;
    if (record->snapshot_index != 0) {
        if (record->snapshot_index <= group->base_index || record->configuration == NULL)
            return PERI_EINVAL;
        *shape = (struct shape){record->snapshot_index, record->snapshot_index};
    }
    if (record->truncate_from != 0) {
        if (record->truncate_from <= shape->base_index || record->truncate_from > shape->last_index)
            return PERI_EINVAL;
        shape->last_index = record->truncate_from - 1;
    }
    if (record->first == 0)
        return 0;
    if (record->first != shape->last_index + 1 || record->last < record->first)
        return PERI_EINVAL;
    for (uint64_t i = 0; i <= record->last - record->first; i++)
        if (entries[i].term == 0 || entries[i].term > record->term)
            return PERI_EINVAL;
    return 0;
}

static uint64_t count_of(const struct raft_record *record)
{
    return record->first == 0 ? 0 : record->last - record->first + 1;
}

static void copy_entries(struct log_value *value, const struct store_log_entry *entries,
                         const uint32_t *starts)
{
    for (uint64_t i = 0; i < value->count; i++) {
        value->entries[i] = entries[i];
        value->entries[i].payload.data = value->bytes.data + starts[i];
    }
}

/* The record as the store will have it. */
static int encode(struct log_group *group, const struct raft_record *record,
                  const struct store_log_entry *entries, struct log_value **out, uint64_t *check)
{
    uint64_t count = count_of(record);
    if (count > STORE_LOG_RECORD_MAX / 2)
        return PERI_ETOOBIG;
    struct log_record_info info = {
        .group = group->group,
        .replica = group->replica,
        .serial = group->serial + 1,
        .chain = group->chain,
        .term = record->term,
        .vote = record->vote,
        .snapshot_index = record->snapshot_index,
        .snapshot_term = record->snapshot_term,
        .truncate_from = record->truncate_from,
        .first = record->first,
        .count = count,
    };
    if (record->snapshot_index != 0)
        info.members = *record->configuration;
    struct log_value *value = malloc(sizeof *value + (size_t)count * sizeof value->entries[0]);
    uint32_t *starts = malloc(((size_t)count + 1) * sizeof *starts);
    int rc = PERI_ENOMEM;
    if (value != NULL)
        *value = (struct log_value){.group = group};
    if (value != NULL && starts != NULL)
        rc = log_record_encode(&info, entries, &value->bytes, starts);
    if (rc == 0) {
        peri_list_init(&value->link);
        value->serial = info.serial;
        value->references = 1;
        value->first = record->first;
        value->count = count;
        copy_entries(value, entries, starts);
        *check = info.check;
        *out = value;
    } else {
        free(value);
    }
    free(starts);
    return rc;
}

/* Carries the record out in memory. Cannot fail. */
static void enter(struct store_log *log, struct log_group *group, const struct raft_record *record,
                  struct log_value *value, uint64_t check)
{
    group->term = record->term;
    group->vote = record->vote;
    group->chain = check;
    if (record->snapshot_index != 0) {
        log_group_truncate(group, group->base_index + 1);
        group->base_index = group->last_index = record->snapshot_index;
        group->base_term = record->snapshot_term;
        group->members = *record->configuration;
    }
    if (record->truncate_from != 0)
        log_group_truncate(group, record->truncate_from);
    struct log_record *entered =
        record->first != 0 ? log_group_append(group, record->first, record->last)
                           : log_group_append(group, group->last_index + 1, group->last_index);
    if (record->first != 0)
        group->last_index = record->last;
    entered->size = LOG_KEY_MAX + value->bytes.size;
    log_cache_add(log, entered, value);
}

static uint64_t payload_of(const struct log_value *value)
{
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < value->count; i++)
        bytes += value->entries[i].payload.size;
    return bytes;
}

/* True when the record takes all entries away, and so may leave records that nobody needs. */
static bool may_trim(const struct log_group *group, const struct raft_record *record)
{
    return record->snapshot_index != 0 || record->truncate_from == group->base_index + 1;
}

int store_log_write(struct store_log *log, struct store_log_write *write, uint64_t group,
                    const struct raft_record *record, const struct store_log_entry *entries)
{
    struct log_group *target = NULL;
    struct shape shape;
    struct log_value *value = NULL;
    uint64_t check = 0;
    int rc = find_target(log, group, &target);
    if (rc == 0)
        rc = check_record(target, record, entries, &shape);
    if (rc == 0)
        rc = log_group_reserve(target);
    if (rc != 0)
        return rc;
    struct log_item *item = new_item(LOG_ITEM_RECORD, target, write);
    struct log_item *head = may_trim(target, record) ? new_head(target, NULL) : NULL;
    rc = item == NULL || (head == NULL && may_trim(target, record))
             ? PERI_ENOMEM
             : encode(target, record, entries, &value, &check);
    if (rc != 0) {
        free(item);
        if (head != NULL)
            log_item_free(head);
        return rc;
    }
    item->serial = value->serial;
    item->payload_bytes = payload_of(value);
    item->value = value;
    enter(log, target, record, value, check);
    log_item_push(log, item);
    bool needs_head = log_group_trim(log, target);
    PERI_ASSERT(!needs_head || head != NULL);
    if (needs_head)
        push_head(log, target, head);
    else if (head != NULL)
        log_item_free(head);
    log_cache_shrink(log);
    return 0;
}

/* ---- groups ---- */

static bool was_dropped(const struct store_log *log, uint64_t group, uint64_t replica)
{
    const struct log_touch *at = (const struct log_touch *)(const void *)log->dropped.data;
    for (size_t i = 0; i < log->dropped.size / sizeof *at; i++)
        if (at[i].group == group && at[i].replica == replica)
            return true;
    return false;
}

int store_log_create_group(struct store_log *log, struct store_log_write *write, uint64_t group,
                           uint64_t replica, const struct raft_configuration *members)
{
    int rc = log_refusal(log);
    if (rc != 0)
        return rc;
    if (log_group_find(log, group) != NULL)
        return -EEXIST;
    if (was_dropped(log, group, replica) || raft_configuration_check(members, NULL) != 0)
        return PERI_EINVAL;
    struct log_group *target = calloc(1, sizeof *target);
    if (target == NULL)
        return PERI_ENOMEM;
    target->group = group;
    target->replica = replica;
    target->members = *members;
    struct log_item *head = new_head(target, write);
    rc = head == NULL ? PERI_ENOMEM : log_group_add(log, target);
    if (rc == 0) {
        head->changes_census = true;
        push_head(log, target, head);
        return 0;
    }
    if (head != NULL)
        log_item_free(head);
    free(target);
    return rc;
}

int store_log_drop_group(struct store_log *log, struct store_log_write *write, uint64_t group)
{
    struct log_group *target = NULL;
    int rc = find_target(log, group, &target);
    if (rc != 0)
        return rc;
    struct log_touch touch = {target->group, target->replica, target->serial};
    struct log_item *item = new_item(LOG_ITEM_DROP, target, write);
    if (item == NULL || log_dropped_encode(group, target->replica, &item->bytes) != 0 ||
        peri_buffer_append(&log->dropped, &touch, sizeof touch) != 0) {
        if (item != NULL)
            peri_buffer_deinit(&item->bytes);
        free(item);
        return PERI_ENOMEM;
    }
    item->changes_census = true;
    log_item_push(log, item);
    log_group_remove(log, target);
    log_group_free(log, target);
    return 0;
}

int store_log_cut(struct store_log *log, uint64_t group, uint64_t index, uint64_t term,
                  const struct raft_configuration *members)
{
    struct log_group *target = NULL;
    int rc = find_target(log, group, &target);
    if (rc != 0)
        return rc;
    if (index > target->last_index || raft_configuration_check(members, NULL) != 0)
        return PERI_EINVAL;
    if (index <= target->base_index)
        return 0;
    struct log_item *head = new_head(target, NULL);
    if (head == NULL)
        return PERI_ENOMEM;
    target->base_index = index;
    target->base_term = term;
    target->members = *members;
    (void)log_group_trim(log, target); /* a head follows in any case */
    push_head(log, target, head);
    return 0;
}

int store_log_reset(struct store_log *log, uint64_t group, const struct raft_configuration *members)
{
    struct log_group *target = NULL;
    int rc = find_target(log, group, &target);
    if (rc != 0)
        return rc;
    if (raft_configuration_check(members, NULL) != 0)
        return PERI_EINVAL;
    struct log_item *head = new_head(target, NULL);
    if (head == NULL)
        return PERI_ENOMEM;
    log_group_truncate(target, target->base_index + 1);
    (void)log_group_trim(log, target); /* a head follows in any case */
    target->base_index = target->base_term = target->last_index = 0;
    target->members = *members;
    target->health = STORE_LOG_DAMAGED;
    target->damaged_from = 1;
    push_head(log, target, head);
    return 0;
}

int store_log_set_repaired(struct store_log *log, uint64_t group)
{
    struct log_group *target = NULL;
    int rc = find_target(log, group, &target);
    if (rc != 0)
        return rc;
    struct log_item *head = new_head(target, NULL);
    if (head == NULL)
        return PERI_ENOMEM;
    target->health = STORE_LOG_CLEAN;
    target->has_forgotten = false;
    target->damaged_from = 0;
    push_head(log, target, head);
    return 0;
}
