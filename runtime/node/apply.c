/* apply.c - the machine's tasks, one at a time: restore, queries, commands, snapshots.
 *
 * The machine's state stands at applied_index, always between two entries, so whatever is asked of
 * it sees a state of exactly that index. A snapshot may be made beside queries and commands that
 * come after it, when the machine says so; a restore waits for its end. */
#include <inttypes.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/compare.h"
#include "node/rounds.h"
#include "node/snapshot.h"

enum {
    READ_MAX_BYTES = 1 << 20, /* of old entries at a time */
    KEPT_BYTES = 1 << 20,     /* from one task to the next */
};

/* ---- tasks ---- */

static void start(struct node_group *group, enum node_task_kind kind, struct peri_slice input,
                  uint64_t index, uint64_t term)
{
    struct node_machine *machine = group->machine;
    struct node_task *task = &group->task;
    PERI_ASSERT(group->task_kind == NODE_TASK_NONE);
    group->task_kind = kind;
    group->is_task_done = false;
    task->index = index;
    task->term = term;
    task->input = input;
    task->output.size = 0;
    peri_error_clear(&task->err);
    switch (kind) {
    case NODE_TASK_APPLY:
        machine->apply(machine, task);
        break;
    case NODE_TASK_QUERY:
        machine->query(machine, task);
        break;
    case NODE_TASK_RESTORE:
        if (group->keys != NULL)
            node_intake_restore(group);
        else
            machine->restore(machine, task);
        break;
    case NODE_TASK_NONE:
        break;
    }
}

void node_task_done(struct node_task *task, int status)
{
    struct node_group *group = task->group;
    struct node_snapshots *snapshots = group->snapshots;
    if (task == &snapshots->task) {
        PERI_ASSERT(snapshots->is_taking && !snapshots->is_taken);
        snapshots->is_taken = true;
        snapshots->status = status;
    } else {
        PERI_ASSERT(group->task_kind != NODE_TASK_NONE && !group->is_task_done);
        group->is_task_done = true;
        group->task_status = status;
    }
    if (status != 0 && task->err.code == 0)
        (void)peri_fail(&task->err, status, "machine of group %" PRIu64, group->id);
    node_group_run(group); /* which goes on by itself when it is running */
}

void node_task_broken(struct node_task *task, int status)
{
    struct node_group *group = task->group;
    if (task->err.code == 0)
        (void)peri_fail(&task->err, status, "machine of group %" PRIu64, group->id);
    struct peri_error err = task->err; /* the task ends with the group */
    node_group_fail(group, &err);
    node_task_done(task, status);
}

/* ---- windows ---- */

/* The window's next entry is done with. */
static void advance(struct node_group *group, uint64_t index, uint64_t term)
{
    struct node_window *window = &group->window;
    if (!window->is_set || window->next != index)
        return; /* a snapshot came in between */
    window->next++;
    if (index <= group->applied_index)
        return; /* the state of another replica holds it: rebuild.c */
    group->applied_index = index;
    group->applied_term = term;
    group->node->stats.entries_applied++;
    node_compare_applied(group);
    if (group->keys != NULL)
        node_rounds_applied(group->node->rounds);
    node_repair_advance(group);
}

/* The machine makes a snapshot, and nothing else until that is done. */
static bool is_held_up(const struct node_group *group)
{
    const struct node_snapshots *snapshots = group->snapshots;
    return snapshots->is_taking && (!group->machine->snapshots_beside || snapshots->has_next);
}

void node_apply_on_entry(struct node_group *group, uint64_t index,
                         const struct store_log_entry *entry)
{
    struct node_window *window = &group->window;
    if (!window->is_set || window->next != index || group->task_kind != NODE_TASK_NONE ||
        is_held_up(group) || node_compare_is_quarantined(group))
        return;
    if (entry->type != RAFT_COMMAND || index <= group->applied_index) {
        if (entry->type == RAFT_CONFIGURATION)
            (void)node_members_learn(group->node, entry->payload, NULL);
        advance(group, index, entry->term);
        node_requests_applied(group, index, entry->term, 0, NULL);
        return;
    }
    group->command.size = 0;
    if (peri_buffer_append(&group->command, entry->payload.data, entry->payload.size) != 0) {
        struct peri_error err = PERI_ERROR_INIT;
        (void)peri_fail(&err, PERI_ENOMEM, "entry %" PRIu64 " of group %" PRIu64, index, group->id);
        node_group_fail(group, &err);
        return;
    }
    start(group, NODE_TASK_APPLY, peri_buffer_slice(&group->command), index, entry->term);
}

static void on_read(struct node_group *group, void *data, int status, uint64_t first,
                    const struct store_log_entry *entries, size_t count)
{
    (void)data;
    (void)count;
    struct node_window *window = &group->window;
    window->is_reading = false;
    if (!window->is_set || group->raft == NULL)
        return;
    if (status != 0 || first != window->next) {
        struct peri_error err = PERI_ERROR_INIT;
        if (status == 0)
            return; /* a snapshot came in between */
        (void)peri_fail(&err, status, "reading entry %" PRIu64 " of group %" PRIu64, first,
                        group->id);
        node_group_fail(group, &err);
        return;
    }
    node_apply_on_entry(group, first, &entries[0]);
    node_group_wake(group);
}

/* Takes the next entry of the window, or ends it. */
static bool take_entry(struct node_group *group)
{
    struct node_window *window = &group->window;
    struct store_log_entry entry;
    if (!window->is_set || window->is_reading || window->after_seq > group->durable_seq ||
        node_compare_is_quarantined(group))
        return false;
    if (window->next > window->last) {
        struct node_step step = {.event = {.type = RAFT_APPLIED, .index = window->last}};
        window->is_set = false;
        (void)node_group_step(group, &step); /* a fenced core takes nothing any more */
        return true;
    }
    if (group->keys != NULL && node_rounds_are_full(group->node->rounds))
        return false; /* rounds.c wakes the group */
    if (node_disk_recent(group, window->next, window->next, &entry)) {
        node_apply_on_entry(group, window->next, &entry);
        return true;
    }
    window->is_reading = true;
    int rc = node_disk_read(group, window->next, window->next, READ_MAX_BYTES, on_read, NULL);
    if (rc != 0) {
        struct peri_error err = PERI_ERROR_INIT;
        (void)peri_fail(&err, rc, "reading the log of group %" PRIu64, group->id);
        node_group_fail(group, &err);
    }
    return false;
}

/* ---- the end of a task ---- */

static void finish_query(struct node_group *group)
{
    struct node_request *request = group->task_request;
    group->task_request = NULL;
    if (request != NULL)
        node_request_end(request, group->task_status == 0 ? NODE_OK : NODE_NEVER,
                         peri_buffer_slice(&group->task.output),
                         group->task_status == 0 ? NULL : &group->task.err);
}

static void finish_restore(struct node_group *group)
{
    if (group->task_status != 0) {
        node_group_fail(group, &group->task.err);
        return;
    }
    group->applied_index = group->task.index;
    group->applied_term = group->task.term;
    node_compare_applied(group);
    if (!node_rebuild_restored(group))
        node_snapshots_restored(group);
    node_requests_overtaken(group, group->task.index, group->task.term);
    node_repair_advance(group);
}

/* A command that failed leaves its keys as they were. */
static void finish_keys(struct node_group *group)
{
    if (group->task_status == 0 || group->machine->keeps_failures)
        node_keys_commit(group->keys);
    else
        node_keys_discard(group->keys);
}

static void finish(struct node_group *group)
{
    enum node_task_kind kind = group->task_kind;
    group->task_kind = NODE_TASK_NONE;
    group->is_task_done = false;
    if (group->keys != NULL)
        node_keys_tail_rest(group->keys);
    switch (kind) {
    case NODE_TASK_APPLY:
        if (group->keys != NULL)
            finish_keys(group);
        advance(group, group->task.index, group->task.term);
        node_requests_applied(group, group->task.index, group->task.term, group->task_status,
                              &group->task);
        break;
    case NODE_TASK_QUERY:
        finish_query(group);
        break;
    case NODE_TASK_RESTORE:
        finish_restore(group);
        break;
    case NODE_TASK_NONE:
        break;
    }
}

/* ---- what comes next ---- */

static bool start_query(struct node_group *group)
{
    if (peri_list_is_empty(&group->ready))
        return false;
    struct node_request *request = container_of(group->ready.next, struct node_request, link);
    group->task_request = request;
    peri_list_remove(&request->link);
    if (node_compare_is_quarantined(group)) {
        struct peri_error err = PERI_ERROR_INIT;
        (void)node_compare_fail(group, &err);
        group->task_request = NULL;
        node_request_end(request, NODE_NEVER, peri_slice_of(NULL, 0), &err);
        return true;
    }
    start(group, NODE_TASK_QUERY, request->body, group->applied_index, group->applied_term);
    return true;
}

bool node_apply_advance(struct node_group *group)
{
    uint64_t index = 0, term = 0;
    if (group->task_kind != NODE_TASK_NONE) {
        if (!group->is_task_done)
            return false;
        finish(group);
        peri_buffer_reset(&group->command, KEPT_BYTES);
        peri_buffer_reset(&group->task.output, KEPT_BYTES);
        if (group->is_closing || group->raft == NULL)
            return true;
    }
    struct node_snapshots *snapshots = group->snapshots;
    if (snapshots->is_taken) {
        node_snapshots_taken(group);
        return true;
    }
    if (is_held_up(group))
        return false;
    struct peri_slice state = {NULL, 0};
    if (!snapshots->is_taking && (node_snapshots_to_restore(group, &state, &index, &term) ||
                                  node_rebuild_to_restore(group, &state, &index, &term))) {
        start(group, NODE_TASK_RESTORE, state, index, term);
        return true;
    }
    if (start_query(group))
        return true;
    if (node_snapshots_are_due(group)) {
        node_snapshots_take(group);
        return true;
    }
    return take_entry(group);
}
