/* disk.c - the one place that talks to the log of the store. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/disk.h"
#include "node/snapshot.h"

/* ---- what the log held when it was opened ---- */

/* One group of it, until that is opened. */
struct found {
    struct peri_list link;
    struct store_log_found found; /* with pointers to what follows */
    struct raft_run *runs;
    struct raft_history *configurations;
    char *why;
    bool is_taken;    /* by a group that was opened: what is found here is old then */
    bool is_reopened; /* not as it was when the node was opened */
    struct node_group *holder, *next; /* that group, until it has ended; who waits for that */
};

static void forget(struct found *found)
{
    free(found->runs);
    free(found->configurations);
    free(found->why);
    found->runs = NULL;
    found->configurations = NULL;
    found->why = NULL;
}

static void free_found(struct found *found)
{
    struct node_group *next = found->next;
    peri_list_remove(&found->link);
    forget(found);
    free(found);
    if (next != NULL)
        node_group_release(next);
}

static void *copy_of(const void *data, size_t size)
{
    void *copy = malloc(size + 1);
    if (copy != NULL && size > 0)
        memcpy(copy, data, size);
    return copy;
}

static struct found *add_found(struct node_disk *disk, uint64_t group)
{
    struct found *found = calloc(1, sizeof *found);
    if (found == NULL)
        return NULL;
    found->found.group = group;
    peri_list_init(&found->link);
    peri_list_append(&disk->found, &found->link);
    return found;
}

/* What was found replaces what is there. */
static int keep(struct found *found, const struct store_log_found *from)
{
    const struct raft_boot *boot = &from->boot;
    forget(found);
    found->found = *from;
    found->runs = copy_of(boot->runs, boot->run_count * sizeof *boot->runs);
    found->configurations =
        copy_of(boot->configurations, boot->configuration_count * sizeof *boot->configurations);
    found->why = copy_of(from->why, strlen(from->why) + 1);
    found->found.boot.runs = found->runs;
    found->found.boot.configurations = found->configurations;
    found->found.why = found->why;
    return found->runs == NULL || found->configurations == NULL || found->why == NULL ? PERI_ENOMEM
                                                                                      : 0;
}

static int keep_found(struct node_disk *disk, const struct store_log_found *from)
{
    struct found *found = add_found(disk, from->group);
    return found == NULL ? PERI_ENOMEM : keep(found, from);
}

void node_disk_explain(const char *path, int status, struct peri_error *err)
{
    if (status == PERI_EBUSY)
        (void)peri_fail_plain(
            err, status, "another perilune process uses %s: stop it, or choose another directory",
            path);
    else if (err->code == 0)
        (void)peri_fail(err, status, "the log in %s", path);
}

static void on_open(void *data, int status, const struct store_log_found *groups, size_t count,
                    const struct peri_error *err)
{
    struct node_disk *disk = data;
    for (size_t i = 0; i < count && status == 0; i++)
        status = keep_found(disk, &groups[i]);
    struct peri_error why = PERI_ERROR_INIT;
    if (status != 0 && err != NULL)
        why = *err;
    if (status != 0)
        node_disk_explain(disk->node->path, status, &why);
    node_opened(disk->node, status, status == 0 ? err : &why);
}

static void on_failed(void *data, int status)
{
    node_fence(data, status);
}

int node_disk_open(struct node *node, struct peri_error *err)
{
    struct store_log_options options;
    struct node_disk *disk = calloc(1, sizeof *disk);
    char *path = malloc(strlen(node->path) + sizeof "/log");
    if (disk == NULL || path == NULL) {
        free(disk);
        free(path);
        return peri_fail(err, PERI_ENOMEM, "node %" PRIu64, node->options.id);
    }
    disk->node = node;
    node->disk = disk;
    peri_list_init(&disk->found);
    store_log_options_init(&options, node->cluster, node->options.id);
    if (node->options.log_generation_bytes > 0)
        options.generation_max_bytes = node->options.log_generation_bytes;
    options.on_failed = on_failed;
    options.data = node;
    memcpy(path, node->path, strlen(node->path));
    memcpy(path + strlen(node->path), "/log", sizeof "/log");
    int rc = store_log_open(&disk->log, node->env, path, &options, on_open, disk, err);
    free(path);
    return rc;
}

static void on_closed(void *data)
{
    node_release(data);
}

void node_disk_close(struct node *node)
{
    struct node_disk *disk = node->disk;
    if (disk == NULL)
        return;
    if (disk->log != NULL) {
        node_hold(node);
        store_log_when_closed(disk->log, on_closed, node);
    }
    store_log_close(disk->log);
    node->disk = NULL;
    while (!peri_list_is_empty(&disk->found))
        free_found(container_of(disk->found.next, struct found, link));
    free(disk);
}

/* ---- writes ---- */

struct write {
    struct store_log_write log;
    struct node_group *group;
    uint64_t seq, last, term;
};

static void on_written(struct store_log_write *log_write, int status)
{
    struct write *write = container_of(log_write, struct write, log);
    struct node_group *group = write->group;
    struct node_step step = {
        .event = {
            .type = RAFT_PERSISTED, .seq = write->seq, .index = write->last, .term = write->term}};
    free(write);
    if (status == 0 && !group->is_closing && group->raft != NULL) {
        PERI_ASSERT(step.event.seq == group->durable_seq + 1); /* in order, without gaps: raft.h */
        group->durable_seq = step.event.seq;
        (void)node_group_step(group, &step); /* a fenced core takes nothing any more */
        node_group_wake(group);
        node_compact_blocker(group->node);
    } else if (status != 0 && status != PERI_ECANCELLED) {
        node_fence(group->node, status);
    }
    node_group_release(group);
}

void node_disk_write(struct node_group *group, const struct raft_record *record,
                     const struct store_log_entry *entries)
{
    struct write *write = malloc(sizeof *write);
    int rc = write == NULL ? PERI_ENOMEM : 0;
    if (rc == 0) {
        *write = (struct write){.log = {.on_written = on_written},
                                .group = group,
                                .seq = record->seq,
                                .last = record->last,
                                .term = record->term};
        rc = store_log_write(group->node->disk->log, &write->log, group->id, record, entries);
    }
    if (rc == 0) {
        node_group_hold(group);
        return;
    }
    free(write);
    node_fence(group->node, rc); /* the core goes on as if it were written: stop here */
}

void node_disk_flush(struct node *node)
{
    if (node->disk != NULL)
        store_log_flush(node->disk->log);
}

/* ---- the beginning of a group ---- */

/* A group that the log does not have begins with the members that the options name. */
static void begin_new(struct node_group *group)
{
    const struct raft_history first = {0, group->first_members};
    const struct raft_boot boot = {
        .now_us = env_now_us(group->node->env), .configurations = &first, .configuration_count = 1};
    if (group->keys != NULL)
        node_resume(group, NULL, "");
    else
        node_group_begin(group, &boot, "");
}

static void on_created(struct store_log_write *log_write, int status)
{
    struct write *write = container_of(log_write, struct write, log);
    struct node_group *group = write->group;
    free(write);
    if (status == 0 && !group->is_closing)
        begin_new(group);
    else if (status != 0 && status != PERI_ECANCELLED)
        node_fence(group->node, status);
    node_group_release(group);
}

static void fail(struct node_group *group, int rc, const char *why)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail(&err, rc, "group %" PRIu64 ": %s", group->id, why);
    node_group_fail(group, &err);
}

static void create_group(struct node_group *group)
{
    struct node *node = group->node;
    struct found *found = add_found(node->disk, group->id);
    struct write *write = malloc(sizeof *write);
    if (found == NULL || write == NULL) {
        free(write);
        fail(group, PERI_ENOMEM, "creating it");
        return;
    }
    const struct raft_history first = {0, group->first_members};
    const struct store_log_found state = {
        .group = group->id,
        .replica = node->options.id,
        .why = "",
        .boot = {.configurations = &first, .configuration_count = 1}};
    if (keep(found, &state) != 0) {
        free(write);
        free_found(found);
        fail(group, PERI_ENOMEM, "creating it");
        return;
    }
    found->is_taken = true;
    found->holder = group;
    *write = (struct write){.log = {.on_written = on_created}, .group = group};
    int rc = store_log_create_group(node->disk->log, &write->log, group->id, node->options.id,
                                    &group->first_members);
    if (rc == 0) {
        node_group_hold(group);
        return;
    }
    free(write);
    fail(group, rc, "creating it in the log");
}

static struct found *find(const struct node_disk *disk, uint64_t group)
{
    for (struct peri_list *at = disk->found.next; at != &disk->found; at = at->next) {
        struct found *found = container_of(at, struct found, link);
        if (found->found.group == group)
            return found;
    }
    return NULL;
}

void node_disk_begin(struct node_group *group)
{
    struct found *found = find(group->node->disk, group->id);
    if (found == NULL) {
        create_group(group);
        return;
    }
    const struct raft_boot *boot = &found->found.boot;
    if (found->is_taken && found->holder != NULL) {
        struct node_group *before = found->next; /* it was closed while it waited */
        found->next = group;                     /* it begins when the disk is at rest */
        node_group_hold(group);
        if (before != NULL)
            node_group_release(before);
    } else if (found->is_taken) {
        fail(group, -EEXIST, "it cannot be opened again before its node was");
    } else {
        found->is_taken = true;
        found->holder = group;
        group->health = found->found.health;
        group->has_forgotten = found->found.has_forgotten;
        group->is_reopened = found->is_reopened;
        if (group->keys != NULL)
            node_resume(group, boot, found->found.why);
        else
            node_snapshots_boot(group, boot, found->found.why);
    }
}

/* What the core held is what the disk holds, now that all its writes have ended. */
static int keep_state(const struct node_group *group, struct found *found)
{
    struct store_log_found state = {.group = group->id,
                                    .replica = group->node->options.id,
                                    .health = group->health,
                                    .has_forgotten = group->has_forgotten,
                                    .why = group->health != STORE_LOG_CLEAN
                                               ? "it was found so before, and not repaired since"
                                               : ""};
    raft_describe(group->raft, &state.boot);
    return keep(found, &state);
}

void node_disk_end(struct node_group *group)
{
    struct node *node = group->node;
    struct found *found = node->disk != NULL ? find(node->disk, group->id) : NULL;
    if (found == NULL || found->holder != group)
        return;
    found->holder = NULL;
    found->is_reopened = true;
    if (group->has_begun)
        found->is_taken = group->raft == NULL || keep_state(group, found) != 0;
    else
        found->is_taken = false; /* as it was found */
    found->is_taken = found->is_taken || node->is_fenced;
    struct node_group *next = found->next;
    found->next = NULL;
    if (next == NULL)
        return;
    if (!next->is_closing)
        node_disk_begin(next);
    node_group_release(next);
}
