/* resume.c - a replica whose machine keeps keys begins where the state store is.
 *
 * What the store holds was durable when it was opened (store/state.h); the log has the rest. When
 * the log begins behind the state, a crash came between the record of a snapshot and the flip to
 * it: the snapshot stands in the store, complete, and becomes the state now. When log and state do
 * not fit to each other otherwise, both begin anew, and the replica is repaired (repair.c). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/rounds.h"
#include "node/snapshot.h"
#include "store/snapshot.h"

struct resume {
    struct node_rounds_job job;
    struct node_group *group;
    struct raft_boot boot;
    struct raft_history first; /* of a new group */
    struct store_applied applied;
    struct peri_buffer extra;
    const char *found_why;   /* what is wrong with the log, if anything */
    char why[NODE_WHY_SIZE]; /* what else is */
    bool is_lost;
};

static bool fits(const struct raft_boot *boot, const struct store_applied *applied)
{
    return node_disk_term_in(boot, applied->index) == applied->term;
}

/* The snapshot that the log begins with is there, and not the state yet. */
static int install(struct resume *resume, struct store_state *state)
{
    struct store_applied staged;
    bool is_complete = false;
    uint64_t group = resume->group->id;
    struct peri_error *err = &resume->job.err;
    int rc = store_state_staged(state, group, &staged, &is_complete, &resume->extra, err);
    if (rc != 1 || !is_complete || staged.index < resume->boot.base_index ||
        !fits(&resume->boot, &staged))
        return rc < 0 ? rc : 0;
    rc = store_state_install(state, group, err);
    return rc == 0 ? store_state_applied(state, NULL, group, &resume->applied, &resume->extra, err)
                   : rc;
}

/* True when log and state contradict each other: what one of them has lost nobody here knows. */
static bool is_lost(struct resume *resume)
{
    const struct raft_boot *boot = &resume->boot;
    const struct store_applied *applied = &resume->applied;
    if (boot->configuration_count == 0) { /* not even the members are known */
        (void)snprintf(resume->why, sizeof resume->why, "%s", resume->found_why);
        return true;
    }
    if (applied->index >= boot->base_index && (applied->index == 0 || fits(boot, applied)))
        return false;
    (void)snprintf(resume->why, sizeof resume->why,
                   "the state store is at %" PRIu64 " of term %" PRIu64 ", and the log has %" PRIu64
                   "..%" PRIu64,
                   applied->index, applied->term, boot->base_index + 1, boot->last_index);
    return true;
}

static void run(struct node_rounds_job *job, struct store_state *state)
{
    struct resume *resume = container_of(job, struct resume, job);
    uint64_t group = resume->group->id;
    /* What the store holds was durable when the node was opened, but not since. */
    int rc = resume->group->is_reopened ? store_state_barrier(state, &job->err) : 0;
    if (rc == 0)
        rc = store_state_applied(state, NULL, group, &resume->applied, &resume->extra, &job->err);
    if (rc == 0)
        resume->applied = (struct store_applied){.group = group};
    if (rc >= 0 && resume->applied.index < resume->boot.base_index)
        rc = install(resume, state);
    resume->is_lost = rc >= 0 && is_lost(resume);
    if (resume->is_lost)
        resume->applied = (struct store_applied){.group = group};
    if (rc >= 0 && resume->applied.index == 0)
        rc = store_state_fresh_epoch(state, &(struct store_applied){.group = group},
                                     &resume->applied.epoch, &job->err);
    job->rc = rc < 0 ? rc : 0;
}

static void begin(struct resume *resume)
{
    struct node_group *group = resume->group;
    struct node_snapshots *snapshots = group->snapshots;
    const struct store_applied *applied = &resume->applied;
    struct raft_boot *boot = &resume->boot;
    int rc = node_keys_reset(group->keys, applied);
    if (rc == 0 && resume->is_lost) /* all of it comes from a leader */
        rc = node_disk_reset(group, boot, &resume->first);
    if (rc != 0) {
        struct peri_error err = PERI_ERROR_INIT;
        (void)peri_fail(&err, rc, "group %" PRIu64, group->id);
        node_group_fail(group, &err);
        return;
    }
    if (applied->index > 0) {
        boot->snapshot_index = boot->last_applied = applied->index;
        boot->snapshot_term = applied->term;
        snapshots->index = snapshots->next_index = applied->index;
        snapshots->term = snapshots->next_term = applied->term;
        snapshots->has_next = true; /* the machine hears of its keys */
        (void)node_members_learn(group->node, applied->extra, NULL);
    }
    boot->now_us = env_now_us(group->node->env);
    node_rounds_collect(group->node->rounds);
    node_group_begin(group, boot, resume->is_lost ? resume->why : resume->found_why);
}

static void done(struct node_rounds_job *job, int status)
{
    struct resume *resume = container_of(job, struct resume, job);
    struct node_group *group = resume->group;
    if (status == 0 && !group->is_closing && job->rc != 0)
        node_group_fail(group, &job->err);
    else if (status == 0 && !group->is_closing)
        begin(resume);
    peri_buffer_deinit(&resume->extra);
    free(resume);
    node_group_release(group);
}

void node_resume(struct node_group *group, const struct raft_boot *boot, const char *why)
{
    struct resume *resume = calloc(1, sizeof *resume);
    if (resume == NULL) {
        struct peri_error err = PERI_ERROR_INIT;
        (void)peri_fail(&err, PERI_ENOMEM, "group %" PRIu64, group->id);
        node_group_fail(group, &err);
        return;
    }
    resume->group = group;
    resume->found_why = why;
    resume->job = (struct node_rounds_job){.run = run, .done = done};
    if (boot != NULL) {
        resume->boot = *boot;
    } else {
        resume->first = (struct raft_history){0, group->first_members};
        resume->boot =
            (struct raft_boot){.configurations = &resume->first, .configuration_count = 1};
    }
    node_group_hold(group);
    node_rounds_add(group->node->rounds, &resume->job);
}
