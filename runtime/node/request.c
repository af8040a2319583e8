/* request.c - requests from their start to their outcome.
 *
 *   queue --step--> pending (commands, changes: in the log)  --applied--> done
 *              \--> reads (the core confirms) --> ready --query task-----> done
 *
 * A request that nobody answers in time ends as NODE_UNKNOWN when it may be in the log of some
 * majority, else as NODE_NEVER. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "node/compare.h"
#include "node/rounds.h"

enum {
    BATCH_MAX = 512, /* commands in a step */
    BATCH_MAX_BYTES = 1 << 20,
    HAND_OVER_US = 10000000 /* between tries of a leader that lacks room */
};

/* ---- begin and end ---- */

int node_request_start(struct node_group *group, struct node_request *request,
                       struct peri_error *err)
{
    if (!group->is_open || group->is_closing)
        return peri_fail_plain(err, PERI_ECLOSED, "group %" PRIu64 " is not open", group->id);
    if (group->node->is_fenced)
        return node_fail_fenced(group->node, group->id, err);
    if (request->kind != NODE_CHANGE && node_compare_is_quarantined(group))
        return node_compare_fail(group, err);
    if (request->body.size > NODE_COMMAND_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG,
                               "%zu bytes for group %" PRIu64 " are more than %d",
                               request->body.size, group->id, NODE_COMMAND_MAX);
    if (request->kind == NODE_READ && request->consistency == NODE_LEASE &&
        !group->node->options.raft.has_leases)
        return peri_fail_plain(err, PERI_EINVAL,
                               "group %" PRIu64 " has no leases: open its nodes with leases",
                               group->id);
    if (request->kind == NODE_CHANGE && request->change_count > RAFT_MEMBERS_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "%zu changes at once", request->change_count);
    if (group->request_count >= group->node->options.requests_max)
        return peri_fail_plain(err, PERI_EBUSY,
                               "%" PRIu64 " requests to group %" PRIu64 " are open already",
                               group->node->options.requests_max, group->id);
    request->group = group;
    request->index = request->term = request->number = 0;
    group->request_count++;
    peri_list_init(&request->link);
    peri_list_append(&group->queue, &request->link);
    if (request->due_us < group->requests_due_us) {
        group->requests_due_us = request->due_us;
        node_group_schedule(group);
    }
    node_group_wake(group);
    return 0;
}

/* It is in no list any more. */
static void leave(struct node_request *request)
{
    struct node_group *group = request->group;
    if (group == NULL)
        return;
    peri_list_remove(&request->link);
    if (group->task_request == request)
        group->task_request = NULL;
    group->request_count--;
    request->group = NULL;
}

void node_request_cancel(struct node_request *request)
{
    struct node_group *group = request->group;
    if (group == NULL)
        return;
    if (group->task_request == request) { /* the machine still reads the query */
        group->command.size = 0;
        if (peri_buffer_append(&group->command, request->body.data, request->body.size) == 0)
            group->task.input = peri_buffer_slice(&group->command);
    }
    leave(request);
}

void node_request_end(struct node_request *request, enum node_certainty certainty,
                      struct peri_slice result, const struct peri_error *err)
{
    struct node_outcome outcome = {
        .certainty = certainty, .code = err != NULL ? err->code : 0, .result = result, .err = err};
    leave(request);
    request->on_done(request, &outcome);
}

void node_request_fail(struct node_request *request, const struct peri_error *err)
{
    bool may_have_happened = request->kind != NODE_READ && request->index != 0;
    node_request_end(request, may_have_happened ? NODE_UNKNOWN : NODE_NEVER, peri_slice_of(NULL, 0),
                     err);
}

struct node_request *node_requests_first(struct peri_list *list)
{
    return container_of(list->next, struct node_request, link);
}

void node_requests_fail_all(struct node_group *group, const struct peri_error *err)
{
    struct peri_list *lists[] = {&group->queue, &group->waiting, &group->pending, &group->reads,
                                 &group->ready};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        while (!peri_list_is_empty(lists[i]))
            node_request_fail(node_requests_first(lists[i]), err);
    if (group->task_request != NULL)
        node_request_fail(group->task_request, err);
}

/* ---- stepping ---- */

/* By index; where two have the same one, another term must have taken the place of the first. */
static void place(struct node_group *group, struct node_request *request, uint64_t index,
                  uint64_t term)
{
    struct peri_list *after = group->pending.prev;
    request->index = index;
    request->term = term;
    while (after != &group->pending &&
           container_of(after, struct node_request, link)->index > index)
        after = after->prev;
    peri_list_remove(&request->link);
    peri_list_append(after->next, &request->link); /* before what comes after it */
}

static void tell_placed(struct node_request *request)
{
    if (request->on_placed != NULL)
        request->on_placed(request);
}

/* Takes commands off the front of the queue into the arrays; returns how many. */
static size_t gather(struct node_group *group, struct store_log_entry *entries,
                     struct raft_entry *bare, size_t max)
{
    size_t count = 0, bytes = 0;
    for (struct peri_list *at = group->queue.next; at != &group->queue && count < max;
         at = at->next) {
        struct node_request *request = container_of(at, struct node_request, link);
        bytes += request->body.size;
        if (request->kind != NODE_PROPOSE || (count > 0 && bytes > BATCH_MAX_BYTES))
            break;
        entries[count] = (struct store_log_entry){.type = RAFT_COMMAND, .payload = request->body};
        bare[count] =
            (struct raft_entry){.size_bytes = (uint32_t)request->body.size, .type = RAFT_COMMAND};
        count++;
    }
    return count;
}

static void refuse(struct node_group *group, struct node_request *request, int rc)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct raft_status status;
    raft_status(group->raft, &status);
    if (rc == PERI_ENOTLEADER && status.leader == 0 && request->is_patient) {
        peri_list_remove(&request->link);
        peri_list_append(&group->waiting, &request->link);
        return;
    }
    (void)node_group_explain(group, rc, &err);
    node_request_end(request, NODE_NEVER, peri_slice_of(NULL, 0), &err);
}

/* The disk of the leader is full: it takes no commands, and asks another one to lead. */
static void refuse_for_room(struct node_group *group, size_t count)
{
    struct peri_error err = PERI_ERROR_INIT;
    uint64_t now_us = env_now_us(group->node->env);
    if (now_us >= group->hand_over_us) {
        struct node_step step = {.event = {.type = RAFT_TRANSFER}};
        group->hand_over_us = now_us + HAND_OVER_US;
        (void)node_group_step(group, &step); /* when nobody can, this one goes on */
    }
    (void)peri_fail_plain(&err, PERI_EFULL,
                          "group %" PRIu64 ": the disk of node %" PRIu64
                          ", which leads it, is full: it takes no commands until there is room",
                          group->id, group->node->options.id);
    for (size_t i = 0; i < count && !peri_list_is_empty(&group->queue); i++)
        node_request_end(node_requests_first(&group->queue), NODE_NEVER, peri_slice_of(NULL, 0),
                         &err);
}

/* Proposes the first commands of the queue: all that fit, or one when there is no room for all. */
static void place_commands(struct node_group *group)
{
    struct store_log_entry entries[BATCH_MAX];
    struct raft_entry bare[BATCH_MAX];
    struct raft_status status;
    size_t count = gather(group, entries, bare, BATCH_MAX);
    struct node_step step = {.event = {.type = RAFT_PROPOSE, .entries = bare, .count = count},
                             .entries = entries};
    raft_status(group->raft, &status);
    if (status.role == RAFT_LEADER &&
        (node_disk_is_full(group->node) || node_rounds_lack_room(group))) {
        refuse_for_room(group, count);
        return;
    }
    int rc = node_group_step(group, &step);
    if (rc == PERI_EBUSY && count > 1) {
        step.event.count = count = 1;
        step.first = 0;
        rc = node_group_step(group, &step);
    }
    for (size_t i = 0; i < count && !peri_list_is_empty(&group->queue); i++) {
        struct node_request *request = node_requests_first(&group->queue);
        if (rc != 0) {
            refuse(group, request, rc);
            continue;
        }
        place(group, request, step.first + i, status.term);
        tell_placed(request);
    }
}

/* Such a change cannot be: says why. */
static void refuse_change(struct node_group *group, struct node_request *request,
                          const struct raft_change *changes)
{
    struct raft_configuration next;
    struct peri_error why = PERI_ERROR_INIT, err = PERI_ERROR_INIT;
    (void)raft_configuration_change(raft_members(group->raft), changes, request->change_count,
                                    &next, &why);
    (void)peri_fail_plain(&err, PERI_EINVAL, "group %" PRIu64 ": %s", group->id, why.text);
    node_request_end(request, NODE_NEVER, peri_slice_of(NULL, 0), &err);
}

static void place_change(struct node_group *group, struct node_request *request)
{
    struct raft_change changes[RAFT_MEMBERS_MAX];
    struct raft_status status;
    struct peri_error err = PERI_ERROR_INIT;
    int rc = 0;
    for (size_t i = 0; i < request->change_count && rc == 0; i++) {
        const char *address = request->changes[i].address;
        changes[i] = request->changes[i].change;
        bool is_new = changes[i].type != RAFT_REMOVE &&
                      raft_configuration_find(raft_members(group->raft), changes[i].id) < 0;
        if (address == NULL && is_new)
            rc = peri_fail_plain(&err, PERI_EINVAL,
                                 "group %" PRIu64 ": no member %" PRIu64
                                 ": a new one needs an address",
                                 group->id, changes[i].id);
        else if (address != NULL)
            rc = node_peer_set(group->node, changes[i].id, peri_slice_of(address, strlen(address)),
                               &err);
    }
    if (rc != 0) {
        node_request_end(request, NODE_NEVER, peri_slice_of(NULL, 0), &err);
        return;
    }
    struct node_step step = {
        .event = {.type = RAFT_CHANGE, .changes = changes, .count = request->change_count}};
    raft_status(group->raft, &status);
    rc = node_group_step(group, &step);
    if (rc == PERI_EINVAL) {
        refuse_change(group, request, changes);
        return;
    }
    if (rc != 0) {
        refuse(group, request, rc);
        return;
    }
    place(group, request, step.first, status.term);
    tell_placed(request);
}

/* Reads at the front of the queue that want the same share one question to the core. */
static void place_reads(struct node_group *group)
{
    struct peri_list placed;
    peri_list_init(&placed);
    while (!peri_list_is_empty(&group->queue)) {
        struct node_request *request = node_requests_first(&group->queue);
        if (request->kind != NODE_READ)
            break;
        peri_list_remove(&request->link);
        peri_list_append(request->consistency == NODE_STALE ? &group->ready : &placed,
                         &request->link);
    }
    if (peri_list_is_empty(&placed))
        return;
    struct node_step step = {.event = {.type = RAFT_READ}, .placed = &placed};
    int rc = node_group_step(group, &step);
    while (rc != 0 && !peri_list_is_empty(&placed))
        refuse(group, node_requests_first(&placed), rc);
}

void node_requests_resume(struct node_group *group)
{
    while (!peri_list_is_empty(&group->waiting)) {
        struct node_request *request = node_requests_first(&group->waiting);
        peri_list_remove(&request->link);
        peri_list_append(&group->queue, &request->link);
    }
    node_group_wake(group);
}

void node_requests_place(struct node_group *group)
{
    while (!group->is_closing && group->raft != NULL && !peri_list_is_empty(&group->queue)) {
        struct node_request *request = node_requests_first(&group->queue);
        if (request->kind == NODE_PROPOSE)
            place_commands(group);
        else if (request->kind == NODE_CHANGE)
            place_change(group, request);
        else
            place_reads(group);
    }
}
