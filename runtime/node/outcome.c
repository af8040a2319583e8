/* outcome.c - how requests end that have left for the log or the core: what became of their
 * entries, and of their time. */
#include <inttypes.h>

#include "base/assert.h"
#include "node/parts.h"

/* ---- outcomes ---- */

static void overwritten(struct node_request *request, uint64_t term)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail_plain(&err, PERI_ENOTLEADER,
                          "it never happened: at index %" PRIu64 " of group %" PRIu64
                          " the leader of term %" PRIu64 " wrote something else",
                          request->index, request->group->id, term);
    node_request_end(request, NODE_NEVER, peri_slice_of(NULL, 0), &err);
}

void node_requests_applied(struct node_group *group, uint64_t index, uint64_t term, int status,
                           const struct node_task *task)
{
    while (!peri_list_is_empty(&group->pending)) {
        struct node_request *request = node_requests_first(&group->pending);
        if (request->index > index)
            return;
        if (request->index != index || request->term != term)
            overwritten(request, term);
        else
            node_request_end(request, NODE_OK,
                             task != NULL ? peri_buffer_slice(&task->output)
                                          : peri_slice_of(NULL, 0),
                             status != 0 ? &task->err : NULL);
    }
}

void node_requests_overtaken(struct node_group *group, uint64_t index, uint64_t term)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail_plain(&err, PERI_ENOTLEADER,
                          "a snapshot up to index %" PRIu64 " of group %" PRIu64
                          " came in place of the entries",
                          index, group->id);
    while (!peri_list_is_empty(&group->pending)) {
        struct node_request *request = node_requests_first(&group->pending);
        if (request->index > index)
            return;
        /* Terms grow along a log: what has a later one than the last entry is not in it. */
        if (request->term > term || (request->index == index && request->term != term))
            overwritten(request, term);
        else
            node_request_end(request, NODE_UNKNOWN, peri_slice_of(NULL, 0), &err);
    }
}

void node_requests_reads_ready(struct node_group *group, uint64_t last)
{
    while (!peri_list_is_empty(&group->reads) &&
           node_requests_first(&group->reads)->number <= last) {
        struct node_request *request = node_requests_first(&group->reads);
        peri_list_remove(&request->link);
        peri_list_append(&group->ready, &request->link);
    }
}

void node_requests_reads_dropped(struct node_group *group, uint64_t first, uint64_t last)
{
    struct peri_list *at = group->reads.next;
    struct peri_list dropped;
    peri_list_init(&dropped);
    while (at != &group->reads) {
        struct node_request *request = container_of(at, struct node_request, link);
        at = at->next;
        if (request->number < first || request->number > last)
            continue;
        peri_list_remove(&request->link);
        peri_list_append(&group->queue, &request->link); /* asked again, of whoever leads now */
    }
    node_group_wake(group);
}

/* ---- time ---- */

static void late(struct node_request *request)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct node_group *group = request->group;
    struct raft_status status = {.leader = 0};
    if (group->raft != NULL)
        raft_status(group->raft, &status);
    if (request->index == 0 && status.leader == 0) {
        struct peri_error why = PERI_ERROR_INIT;
        (void)node_group_explain(group, PERI_ENOTLEADER, &why);
        (void)peri_fail_plain(&err, PERI_EDEADLINE, "the deadline passed: %s", why.text);
    } else if (request->index == 0) {
        (void)peri_fail(&err, PERI_EDEADLINE, "a request to group %" PRIu64 " was not answered",
                        group->id);
    } else if (status.leader == 0) {
        struct peri_error why = PERI_ERROR_INIT;
        (void)node_group_explain(group, PERI_ENOTLEADER, &why);
        (void)peri_fail_plain(&err, PERI_EDEADLINE,
                              "the deadline passed, and entry %" PRIu64 " of term %" PRIu64
                              " is not applied: %s",
                              request->index, request->term, why.text);
    } else {
        (void)peri_fail(&err, PERI_EDEADLINE,
                        "group %" PRIu64 ": entry %" PRIu64 " of term %" PRIu64
                        " is not applied; committed are %" PRIu64 ", the leader is node %" PRIu64,
                        group->id, request->index, request->term, status.commit_index,
                        status.leader);
    }
    node_request_fail(request, &err);
}

void node_requests_expire(struct node_group *group, uint64_t now_us)
{
    struct peri_list *lists[] = {&group->queue, &group->waiting, &group->pending, &group->reads,
                                 &group->ready};
    struct peri_list due;
    uint64_t next_us = UINT64_MAX;
    peri_list_init(&due);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (struct peri_list *at = lists[i]->next; at != lists[i];) {
            struct node_request *request = container_of(at, struct node_request, link);
            at = at->next;
            if (request->due_us <= now_us) {
                peri_list_remove(&request->link);
                peri_list_append(&due, &request->link);
            } else if (request->due_us < next_us) {
                next_us = request->due_us;
            }
        }
    group->requests_due_us = next_us;
    while (!peri_list_is_empty(&due))
        late(node_requests_first(&due));
}
