/* status.c - how a group and its members stand, as this node knows it. */
#include <errno.h>

#include "node/compare.h"

void node_group_status(const struct node_group *group, struct node_status *out)
{
    *out = (struct node_status){.group = group->id,
                                .applied_index = group->applied_index,
                                .requests = group->request_count,
                                .health = group->health,
                                .why = node_repair_why(group),
                                .diverged_index =
                                    node_compare_is_quarantined(group) ? group->compare->high : 0,
                                .is_open = group->is_open};
    out->raft.id = group->node->options.id;
    if (group->raft == NULL)
        return;
    raft_status(group->raft, &out->raft);
    out->members = *raft_members(group->raft);
}

bool node_group_leads(const struct node_group *group, uint64_t *term)
{
    struct raft_status status = {.role = RAFT_FOLLOWER};
    if (group->raft != NULL)
        raft_status(group->raft, &status);
    *term = status.term;
    return status.role == RAFT_LEADER;
}

uint64_t node_group_leader(const struct node_group *group)
{
    struct raft_status status = {.leader = 0};
    if (group->raft != NULL)
        raft_status(group->raft, &status);
    return status.leader;
}

bool node_group_member(const struct node_group *group, size_t at, struct node_member_status *out)
{
    struct raft_peer peer;
    if (group->raft == NULL || !raft_peer(group->raft, at, &peer))
        return false;
    const struct node_peer *known = node_peer_find(group->node, peer.id);
    *out =
        (struct node_member_status){.raft = peer, .heard_us = known != NULL ? known->heard_us : 0};
    return true;
}

uint64_t node_group_quorum_missing_us(const struct node_group *group)
{
    struct raft_status status;
    if (group->raft == NULL)
        return 0;
    raft_status(group->raft, &status);
    uint64_t now_us = env_now_us(group->node->env);
    if (status.is_asleep || now_us < status.quorum_us + group->node->options.raft.election_max_us)
        return 0;
    return now_us - status.quorum_us;
}

/* ---- what others may know of a node ---- */

int node_serve(struct node *node, const char *name, const struct rpc_handler *handler,
               struct peri_error *err)
{
    if (node->server == NULL)
        return peri_fail_plain(err, PERI_EINVAL, "the node is not open");
    int rc = rpc_server_handle(node->server, name, handler, err);
    return rc == PERI_EINVAL ? -EEXIST : rc;
}

struct rpc_server *node_server(const struct node *node)
{
    return node->server;
}

const struct rpc_identity *node_identity(const struct node *node)
{
    return &node->options.self;
}

struct env *node_env(const struct node *node)
{
    return node->env;
}

uint64_t node_id(const struct node *node)
{
    return node->options.id;
}
