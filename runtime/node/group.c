/* group.c - a replica: its core, fed with events one at a time.
 *
 * node_group_step never runs inside itself: what a step wants is noted (actions.c) and done by
 * node_group_run, which steps again where that leads to further events. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/compare.h"
#include "node/keys.h"
#include "node/snapshot.h"

enum { HEARTBEAT_PARTS = 4 }; /* leaders' heartbeats leave at so many moments of a period */

/* ---- life ---- */

void node_group_hold(struct node_group *group)
{
    group->references++;
}

static void free_group(struct node_group *group)
{
    struct node *node = group->node;
    node_keys_close(group);
    node_disk_end(group);
    raft_close(group->raft);
    node_compare_close(group);
    node_snapshots_close(group);
    node_recorder_deinit(&group->recorder);
    peri_buffer_deinit(&group->command);
    peri_buffer_deinit(&group->task.output);
    free(group->held);
    free(group->ailing);
    free(group);
    node_release(node);
}

void node_group_release(struct node_group *group)
{
    PERI_ASSERT(group->references > 0);
    if (--group->references == 0 && group->is_closing)
        free_group(group);
}

static int check_options(const struct node *node, const struct node_group_options *options,
                         struct raft_configuration *members, struct peri_error *err)
{
    uint64_t ids[RAFT_MEMBERS_MAX];
    if (!node->is_open || node->is_closing)
        return peri_fail_plain(err, PERI_ECLOSED, "the node is not open");
    if (node->is_fenced)
        return node_fail_fenced(node, options->id, err);
    if (options->id == 0 || options->machine == NULL)
        return peri_fail_plain(err, PERI_EINVAL, "a group has an id above 0, and a machine");
    if (options->member_count > RAFT_MEMBERS_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "a group has at most %d members",
                               RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < options->member_count; i++)
        ids[i] = options->members[i].id;
    return raft_configuration_init(members, ids, options->member_count, err);
}

static int learn_addresses(struct node *node, const struct node_group_options *options,
                           struct peri_error *err)
{
    for (size_t i = 0; i < options->member_count; i++) {
        const struct node_member *member = &options->members[i];
        struct peri_slice address = peri_slice_of(member->address, strlen(member->address));
        int rc = node_peer_set(node, member->id, address, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static struct node_group *create(struct node *node, const struct node_group_options *options)
{
    struct node_group *group = calloc(1, sizeof *group);
    if (group == NULL)
        return NULL;
    group->node = node;
    group->id = options->id;
    group->machine = options->machine;
    group->data = options->data;
    group->requests_due_us = UINT64_MAX;
    group->task.group = group;
    struct peri_list *lists[] = {&group->queue, &group->waiting, &group->pending, &group->reads,
                                 &group->ready, &group->link,    &group->bucket,  &group->dirty};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        peri_list_init(lists[i]);
    if (node_timers_add(&node->timers, group) != 0 || node_snapshots_open(group) != 0 ||
        (group->machine->keeps_keys && node_keys_open(group) != 0) ||
        node_compare_open(group) != 0 ||
        node_recorder_init(&group->recorder, node->options.recorder_bytes) != 0) {
        node_timers_remove(&node->timers, group);
        node_keys_close(group);
        node_compare_close(group);
        node_snapshots_close(group);
        free(group);
        return NULL;
    }
    return group;
}

int node_group_open(struct node *node, const struct node_group_options *options,
                    void (*on_open)(struct node_group *group, int status,
                                    const struct peri_error *err),
                    struct node_group **out, struct peri_error *err)
{
    struct raft_configuration members;
    int rc = check_options(node, options, &members, err);
    if (rc == 0)
        rc = learn_addresses(node, options, err);
    if (rc != 0)
        return rc;
    if (node_group_find(node, options->id) != NULL)
        return peri_fail_plain(err, -EEXIST, "group %" PRIu64 " is open already", options->id);
    struct node_group *group = create(node, options);
    if (group == NULL)
        return peri_fail(err, PERI_ENOMEM, "group %" PRIu64, options->id);
    group->first_members = members;
    group->on_open = on_open;
    node_hold(node);
    node_group_link(group);
    *out = group;
    node_disk_begin(group);
    return 0;
}

void node_group_close(struct node_group *group)
{
    struct peri_error err = PERI_ERROR_INIT;
    if (group->is_closing)
        return;
    (void)peri_fail_plain(&err, PERI_ECLOSED, "group %" PRIu64 " was closed", group->id);
    node_group_hold(group);
    group->is_closing = true;
    group->node->incarnation++; /* others may rely on this replica: liveness.c */
    node_requests_fail_all(group, &err);
    node_transfers_close(group->snapshots);
    node_repair_close(group);
    node_compare_close(group);
    node_timers_remove(&group->node->timers, group);
    peri_list_remove(&group->link);
    peri_list_remove(&group->bucket);
    peri_list_remove(&group->dirty);
    node_group_release(group);
}

void node_group_fail(struct node_group *group, const struct peri_error *err)
{
    env_log(group->node->env, ENV_LOG_ERROR, "node", "group %" PRIu64 " ends: %s", group->id,
            err->text);
    bool was_open = group->is_open;
    group->is_open = false;
    if (group->raft != NULL)
        node_fault_keep(group);
    node_repair_close(group);
    node_compare_close(group);
    raft_close(group->raft);
    group->raft = NULL;
    group->window.is_set = false;
    group->held_count = 0;
    node_group_hold(group);
    node_requests_fail_all(group, err);
    node_timers_set(&group->node->timers, group, UINT64_MAX);
    if (!was_open && group->on_open != NULL && !group->is_closing)
        group->on_open(group, err->code, err);
    node_group_release(group);
}

void node_group_begin(struct node_group *group, const struct raft_boot *boot, const char *why)
{
    struct node *node = group->node;
    struct peri_error err = PERI_ERROR_INIT;
    struct raft_options options = node->options.raft;
    options.id = node->options.id;
    env_random(node->env, &options.seed, sizeof options.seed);
    struct raft_boot judged = *boot;
    judged.is_impaired = group->health != STORE_LOG_CLEAN;
    int rc = raft_create(&group->raft, &options, &judged, &err);
    if (rc == 0 && judged.is_impaired && node_repair_begin(group, why) != 0)
        rc = peri_fail(&err, PERI_ENOMEM, "group %" PRIu64, group->id);
    if (rc != 0) {
        node_group_fail(group, &err);
        return;
    }
    group->is_open = group->has_begun = group->has_new_members = true;
    group->leaderless_us = env_now_us(node->env);
    node_group_hold(group);
    node_members_recall(group, boot);
    if (boot->snapshot_index > boot->base_index)
        node_compact(group); /* a crash came before the cut, or the state is newer than the last */
    if (group->on_open != NULL)
        group->on_open(group, 0, NULL);
    if (!group->is_closing)
        node_group_run(group);
    node_group_release(group);
}

/* ---- steps ---- */

int node_group_step(struct node_group *group, struct node_step *step)
{
    struct node *node = group->node;
    if (group->raft == NULL)
        return PERI_ECLOSED;
    step->event.now_us = env_now_us(node->env);
    node_recorder_before(&group->recorder, group->raft, &step->event);
    int rc = raft_step(group->raft, &step->event, &node->out);
    node_recorder_after(&group->recorder, rc);
    node->stats.steps++;
    if (rc != 0)
        return rc;
    if (step->first == 0)
        step->first = node->out.index;
    while (step->placed != NULL && !peri_list_is_empty(step->placed)) {
        struct node_request *request = container_of(step->placed->next, struct node_request, link);
        request->number = node->out.read;
        peri_list_remove(&request->link);
        peri_list_append(&group->reads, &request->link);
    }
    node_carry_out(group, step);
    return 0;
}

/* The disk failed: the core steps down and takes nothing any more (raft.h). */
static void fence(struct node_group *group)
{
    struct node_step step = {.event = {.type = RAFT_PERSIST_FAILED}};
    struct peri_error err = PERI_ERROR_INIT;
    group->is_failing = false;
    (void)node_fail_fenced(group->node, group->id, &err);
    if (group->raft == NULL) {
        node_group_fail(group, &err);
        return;
    }
    (void)node_group_step(group, &step); /* once fenced, it stays so */
    group->held_count = 0;               /* what waited for the disk waits for ever */
    node_requests_fail_all(group, &err);
}

void node_group_run(struct node_group *group)
{
    if (group->is_running || group->is_closing)
        return;
    group->is_running = true;
    node_group_hold(group);
    if (group->is_failing)
        fence(group);
    do {
        if (group->has_new_members) {
            node_peers_connect(group);
            node_liveness_tell(group);
        }
        group->has_new_members = false;
        node_tell_lost(group);
        node_release_held(group);
    } while (!group->is_closing && group->raft != NULL && node_apply_advance(group));
    group->is_running = false;
    if (!group->is_closing)
        node_group_schedule(group);
    node_group_release(group);
}

void node_group_wake(struct node_group *group)
{
    if (group->is_closing)
        return;
    peri_list_remove(&group->dirty);
    peri_list_append(&group->node->dirty_groups, &group->dirty);
    node_wake(group->node);
}

/* ---- time ---- */

void node_group_schedule(struct node_group *group)
{
    uint64_t due_us = UINT64_MAX;
    struct raft_status status;
    if (group->raft != NULL) {
        due_us = raft_deadline_us(group->raft);
        raft_status(group->raft, &status);
        /* Groups that lead here speak at the same moments, so that one envelope holds them all. */
        uint64_t grid_us = group->node->options.raft.heartbeat_us / HEARTBEAT_PARTS;
        if (status.role == RAFT_LEADER && due_us != UINT64_MAX && grid_us > 0)
            due_us = (due_us + grid_us - 1) / grid_us * grid_us;
    }
    if (group->requests_due_us < due_us)
        due_us = group->requests_due_us;
    if (node_repair_due_us(group) < due_us)
        due_us = node_repair_due_us(group);
    if (node_compare_due_us(group) < due_us)
        due_us = node_compare_due_us(group);
    node_timers_set(&group->node->timers, group, due_us);
    node_arm(group->node);
}

void node_group_on_time(struct node_group *group, uint64_t now_us)
{
    node_group_hold(group);
    if (now_us >= group->requests_due_us)
        node_requests_expire(group, now_us);
    if (group->raft != NULL && now_us >= raft_deadline_us(group->raft)) {
        struct node_step step = {.event = {.type = RAFT_TIME}};
        (void)node_group_step(group, &step); /* a fenced core has nothing to do */
    }
    if (now_us >= node_repair_due_us(group))
        node_repair_on_time(group, now_us);
    if (now_us >= node_compare_due_us(group))
        node_compare_on_time(group, now_us);
    node_group_run(group);
    node_group_release(group);
}

/* ---- looking in ---- */

void *node_group_data(const struct node_group *group)
{
    return group->data;
}

struct node_machine *node_group_machine(const struct node_group *group)
{
    return group->machine;
}

const char *node_group_member_address(const struct node_group *group, uint64_t id)
{
    const struct node_peer *peer = node_peer_find(group->node, id);
    return peer != NULL ? peer->address : NULL;
}

enum node_certainty node_group_certainty(const struct node_group *group, uint64_t index,
                                         uint64_t term)
{
    if (group->raft == NULL || index == 0 || index > group->applied_index)
        return NODE_UNKNOWN;
    uint64_t there = raft_term_at(group->raft, index);
    if (there == 0)
        return NODE_UNKNOWN;
    return there == term ? NODE_OK : NODE_NEVER;
}

int node_group_transfer(struct node_group *group, uint64_t to, struct peri_error *err)
{
    struct node_step step = {.event = {.type = RAFT_TRANSFER, .peer = to}};
    int rc = node_group_step(group, &step);
    if (rc != 0)
        return node_group_explain(group, rc, err);
    node_group_wake(group);
    return 0;
}

int node_group_set_priority(struct node_group *group, uint32_t priority, struct peri_error *err)
{
    struct node_step step = {.event = {.type = RAFT_PRIORITY, .index = priority}};
    int rc = node_group_step(group, &step);
    if (rc != 0)
        return peri_fail(err, rc, "priority %" PRIu32 " in group %" PRIu64, priority, group->id);
    node_group_wake(group);
    return 0;
}

int node_group_record(const struct node_group *group, struct peri_buffer *out)
{
    return node_recorder_write(&group->recorder, out);
}
