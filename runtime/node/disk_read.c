/* disk_read.c - what the log holds: reading it, cutting it, and what it says of itself. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/disk.h"

bool node_disk_recent(struct node_group *group, uint64_t first, uint64_t last,
                      struct store_log_entry *out)
{
    return store_log_recent(group->node->disk->log, group->id, first, last, out);
}

struct read {
    struct store_log_read log;
    struct node_group *group;
    node_disk_read_cb on_read;
    void *data;
};

static void on_read(struct store_log_read *log_read, int status,
                    const struct store_log_entry *entries, size_t count)
{
    struct read *read = container_of(log_read, struct read, log);
    struct node_group *group = read->group;
    read->on_read(group, read->data, group->is_closing ? PERI_ECANCELLED : status, read->log.first,
                  entries, count);
    free(read);
    node_group_release(group);
}

int node_disk_read(struct node_group *group, uint64_t first, uint64_t last, uint64_t size_max,
                   node_disk_read_cb callback, void *data)
{
    struct read *read;
    if (group->node->is_closing) /* reads that the log gives up may lead here */
        return PERI_ECANCELLED;
    read = malloc(sizeof *read);
    if (read == NULL)
        return PERI_ENOMEM;
    *read = (struct read){.log = {.group = group->id,
                                  .first = first,
                                  .last = last,
                                  .max_bytes = size_max < SIZE_MAX ? (size_t)size_max : SIZE_MAX,
                                  .on_read = on_read},
                          .group = group,
                          .on_read = callback,
                          .data = data};
    int rc = store_log_read(group->node->disk->log, &read->log);
    if (rc != 0)
        free(read);
    else
        node_group_hold(group);
    return rc;
}

void node_disk_cut(struct node_group *group, uint64_t index)
{
    int rc = store_log_cut(group->node->disk->log, group->id, index,
                           raft_term_at(group->raft, index), raft_members_at(group->raft, index));
    if (rc != 0)
        env_log(group->node->env, ENV_LOG_WARN, "node",
                "group %" PRIu64 ": the log keeps what is before %" PRIu64 ": %s", group->id, index,
                peri_strerror(rc));
}

bool node_disk_blocker(const struct node *node, uint64_t *group, uint64_t *index)
{
    return store_log_blocker(node->disk->log, group, index);
}

bool node_disk_is_full(const struct node *node)
{
    return store_log_is_full(node->disk->log);
}

void node_disk_set_repaired(struct node_group *group)
{
    int rc = store_log_set_repaired(group->node->disk->log, group->id);
    env_log(group->node->env, ENV_LOG_INFO, "node", "group %" PRIu64 " is up to date again%s%s",
            group->id, rc != 0 ? ", and cannot say so on its disk: " : "",
            rc != 0 ? peri_strerror(rc) : "");
}

int node_disk_reset(struct node_group *group, struct raft_boot *boot, struct raft_history *first)
{
    int rc = store_log_reset(group->node->disk->log, group->id, &group->first_members);
    if (rc != 0)
        return rc;
    *first = (struct raft_history){0, group->first_members};
    *boot = (struct raft_boot){.now_us = boot->now_us,
                               .term = boot->term,
                               .vote = boot->vote,
                               .configurations = first,
                               .configuration_count = 1};
    group->health = STORE_LOG_DAMAGED;
    group->has_begun = true;
    return 0;
}

uint64_t node_disk_term_in(const struct raft_boot *boot, uint64_t index)
{
    uint64_t term = index == boot->base_index ? boot->base_term : 0;
    if (index < boot->base_index || index > boot->last_index)
        return 0;
    for (size_t i = 0; i < boot->run_count && boot->runs[i].first <= index; i++)
        term = boot->runs[i].term;
    return term;
}
