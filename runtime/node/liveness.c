/* liveness.c - which other nodes are up: one failure detector for all groups.
 *
 * Every envelope is a sign of life; where there is nothing to say an empty one goes out in each
 * heartbeat's time. A node that was not heard from for an election timeout is down. One that has
 * another incarnation than before, because it restarted or closed a group, was down in between.
 * Groups that sleep (raft/sleep.c) rely on this instead of heartbeats of their own. */
#include <inttypes.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/parts.h"

#define RECONNECT_PAUSE_US UINT64_C(200000)

static void tell_group(struct node_group *group, uint64_t peer, bool is_up)
{
    struct node_step step = {
        .event = {.type = is_up ? RAFT_PEER_UP : RAFT_PEER_DOWN, .peer = peer}};
    if (group->raft == NULL || raft_configuration_find(raft_members(group->raft), peer) < 0)
        return;
    (void)node_group_step(group, &step); /* a fenced core takes nothing any more */
    node_group_wake(group);
}

static void tell(struct node_peer *peer, bool is_up)
{
    struct node *node = peer->node;
    peer->is_up = is_up;
    env_log(node->env, ENV_LOG_DEBUG, "node", "node %" PRIu64 " (%s) is %s", peer->id,
            peer->address, is_up ? "up" : "down");
    for (struct peri_list *at = node->groups.next; at != &node->groups; at = at->next)
        tell_group(container_of(at, struct node_group, link), peer->id, is_up);
}

void node_liveness_tell(struct node_group *group)
{
    const struct node *node = group->node;
    if (node->liveness == NULL)
        return;
    for (struct peri_list *at = node->peers.next; at != &node->peers; at = at->next) {
        const struct node_peer *peer = container_of(at, struct node_peer, link);
        tell_group(group, peer->id, peer->is_up);
    }
}

/* Who speaks can be reached, most likely: a client that pauses between its attempts tries at once.
 */
static void reconnect(struct node_peer *peer, uint64_t now_us)
{
    struct rpc_client_info info;
    if (peer->client == NULL || now_us < peer->reconnected_us + RECONNECT_PAUSE_US)
        return;
    rpc_client_look(peer->client, &info);
    if (info.is_up || now_us < info.since_us + RECONNECT_PAUSE_US)
        return;
    peer->reconnected_us = now_us;
    rpc_client_close(peer->client);
    peer->client = NULL;
    (void)node_peer_client(peer); /* without memory the next message tries again */
}

void node_liveness_heard(struct node *node, uint64_t id, uint64_t incarnation)
{
    struct node_peer *peer = node_peer_find(node, id);
    if (peer == NULL)
        return;
    peer->heard_us = env_now_us(node->env);
    reconnect(peer, peer->heard_us);
    if (node->liveness == NULL)
        return;
    if (peer->is_up && peer->incarnation != incarnation)
        tell(peer, false);
    peer->incarnation = incarnation;
    if (!peer->is_up)
        tell(peer, true);
}

static void on_tick(void *data)
{
    struct node *node = data;
    uint64_t now_us = env_now_us(node->env);
    env_timer_start(node->liveness, node->options.raft.heartbeat_us);
    for (struct peri_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct node_peer *peer = container_of(at, struct node_peer, link);
        if (peer->id == node->options.id)
            continue;
        if (peer->is_up && now_us - peer->heard_us >= node->options.raft.election_min_us)
            tell(peer, false);
        if (!peer->has_said && !node->is_fenced)
            node_peer_ping(peer);
        peer->has_said = false;
    }
}

int node_liveness_open(struct node *node)
{
    if (node->options.raft.sleep_after_us == 0)
        return 0;
    int rc = env_timer_create(node->env, on_tick, node, &node->liveness);
    if (rc == 0)
        env_timer_start(node->liveness, node->options.raft.heartbeat_us);
    return rc;
}
