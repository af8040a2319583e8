/* peer.c - what is said to other nodes: one envelope a peer and round of the loop.
 *
 * AppendEntries travel behind everything else, in their order, so that a heartbeat never waits for
 * bulk. What cannot be sent is lost; the groups whose entries were in it learn that, and probe. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "node/parts.h"

#define METHOD "raft.messages"
#define CAST_DEADLINE_US UINT64_C(5000000)
#define INTRODUCTION_US UINT64_C(600000000) /* that one waits for a connection */

struct node_peer *node_peer_find(const struct node *node, uint64_t id)
{
    for (struct peri_list *at = node->peers.next; at != &node->peers; at = at->next) {
        struct node_peer *peer = container_of(at, struct node_peer, link);
        if (peer->id == id)
            return peer;
    }
    return NULL;
}

int node_peer_set(struct node *node, uint64_t id, struct peri_slice address, struct peri_error *err)
{
    if (address.size == 0 || address.size > NODE_ADDRESS_MAX ||
        memchr(address.data, '\0', address.size) != NULL)
        return peri_fail_plain(err, PERI_EINVAL, "the address of node %" PRIu64 " is none", id);
    struct node_peer *peer = node_peer_find(node, id);
    if (peer == NULL) {
        peer = calloc(1, sizeof *peer);
        if (peer == NULL)
            return peri_fail(err, PERI_ENOMEM, "node %" PRIu64, id);
        peer->node = node;
        peer->id = id;
        peri_list_init(&peer->link);
        peri_list_init(&peer->dirty);
        peri_list_append(&node->peers, &peer->link);
    }
    if (strlen(peer->address) == address.size &&
        memcmp(peer->address, address.data, address.size) == 0)
        return 0;
    memcpy(peer->address, address.data, address.size);
    peer->address[address.size] = '\0';
    rpc_client_close(peer->client); /* of the old address */
    peer->client = NULL;
    return 0;
}

struct rpc_client *node_peer_client(struct node_peer *peer)
{
    struct node *node = peer->node;
    if (peer->client == NULL && !node->is_closing)
        (void)rpc_client_open(&peer->client, node->env, &node->options.self, peer->address, NULL);
    return peer->client;
}

/* ---- who speaks ---- */

int node_peer_envelope(const struct node *node, uint64_t to, struct peri_buffer *out)
{
    const struct node_peer *self = node_peer_find(node, node->options.id);
    const char *address = self != NULL ? self->address : "";
    uint64_t age = 0, birth = node_births_of(node, to, &age);
    const struct node_envelope envelope = {.cluster = node->cluster,
                                           .from = node->options.id,
                                           .to = to,
                                           .incarnation = node->incarnation,
                                           .from_disk = node->disk_birth,
                                           .from_age = node->disk_age,
                                           .to_disk = birth,
                                           .to_age = age,
                                           .address = peri_slice_of(address, strlen(address))};
    return node_envelope_begin(out, &envelope);
}

static int begin(struct node_peer *peer, struct peri_buffer *buffer)
{
    static const char room[NODE_ARGS_HEAD];
    if (buffer->size > 0)
        return 0;
    int rc = peri_buffer_append(buffer, room, sizeof room);
    if (rc == 0)
        rc = node_peer_envelope(peer->node, peer->id, buffer);
    if (rc != 0)
        buffer->size = 0;
    return rc;
}

void node_peer_introduce(struct node_peer *peer)
{
    struct node *node = peer->node;
    struct rpc_client *client = node_peer_client(peer);
    struct peri_buffer bytes = {NULL, 0, 0};
    uint64_t now_us = env_now_us(node->env);
    if (client == NULL || now_us < peer->introduced_us)
        return;
    if (begin(peer, &bytes) == 0) {
        node_args_put_head(bytes.data, bytes.size - NODE_ARGS_HEAD);
        (void)rpc_client_cast(client, peri_slice_of(METHOD, strlen(METHOD)),
                              peri_buffer_slice(&bytes), now_us + INTRODUCTION_US, true, NULL);
        peer->introduced_us = now_us + node->options.raft.heartbeat_us;
    }
    peri_buffer_deinit(&bytes);
}

void node_peers_connect(const struct node_group *group)
{
    if (group->raft == NULL)
        return;
    const struct raft_configuration *members = raft_members(group->raft);
    for (size_t i = 0; i < members->count; i++) {
        struct node_peer *peer = node_peer_find(group->node, members->ids[i]);
        if (peer != NULL && peer->id != group->node->options.id && peer->client == NULL)
            node_peer_introduce(peer); /* without memory the first message tries again */
    }
}

/* ---- sending ---- */

/* Casts what the buffer holds: [envelope]. Groups stay noted when their entries are lost. */
static void cast(struct node_peer *peer, struct peri_buffer *buffer)
{
    struct node *node = peer->node;
    struct rpc_client *client = node_peer_client(peer);
    node_args_put_head(buffer->data, buffer->size - NODE_ARGS_HEAD);
    int rc = client == NULL
                 ? PERI_EUNREACHABLE
                 : rpc_client_cast(client, peri_slice_of(METHOD, strlen(METHOD)),
                                   peri_buffer_slice(buffer),
                                   env_now_us(node->env) + CAST_DEADLINE_US, false, NULL);
    if (rc == 0) {
        peer->has_said = true;
        node->stats.envelopes_sent++;
        node->stats.bytes_sent += buffer->size;
        if (buffer == &peer->bulk && !peer->is_losing)
            peer->lost_count = 0;
    } else {
        node->stats.envelopes_lost++;
        peer->is_losing = peer->is_losing || buffer == &peer->bulk;
    }
    buffer->size = 0;
    if (buffer == &peer->bulk)
        peer->notice.at = 0;
}

static void tell_lost(struct node_peer *peer)
{
    for (size_t i = 0; i < peer->lost_count; i++) {
        struct node_group *group = node_group_find(peer->node, peer->lost[i]);
        struct node_step step = {.event = {.type = RAFT_UNREACHABLE, .peer = peer->id}};
        if (group == NULL || group->raft == NULL)
            continue;
        (void)node_group_step(group, &step); /* it is no member any more, perhaps */
        node_group_wake(group);
    }
    peer->lost_count = 0;
    peer->is_losing = false;
}

static void flush(struct node_peer *peer)
{
    struct peri_buffer *urgent = &peer->urgent, *bulk = &peer->bulk;
    /* Both in one envelope, when that is not long. */
    if (urgent->size > 0 && bulk->size > 0 && urgent->size + bulk->size <= NODE_ENVELOPE_MAX) {
        const size_t head = NODE_ARGS_HEAD + node_envelope_head_size(bulk->data + NODE_ARGS_HEAD);
        if (peri_buffer_append(urgent, bulk->data + head, bulk->size - head) == 0) {
            struct peri_buffer joined = *urgent;
            *urgent = *bulk;
            *bulk = joined;
            urgent->size = 0;
            peer->notice.at = 0;
        }
    }
    if (urgent->size > 0)
        cast(peer, urgent);
    if (bulk->size > 0)
        cast(peer, bulk);
}

void node_peers_flush(struct node *node)
{
    struct peri_list flushed;
    peri_list_init(&flushed);
    while (!peri_list_is_empty(&node->dirty_peers)) {
        struct node_peer *peer = container_of(node->dirty_peers.next, struct node_peer, dirty);
        peri_list_remove(&peer->dirty);
        peri_list_append(&flushed, &peer->dirty);
        flush(peer);
    }
    while (!peri_list_is_empty(&flushed)) {
        struct node_peer *peer = container_of(flushed.next, struct node_peer, dirty);
        peri_list_remove(&peer->dirty);
        tell_lost(peer);
    }
}

/* ---- collecting ---- */

static int note_lost(struct node_peer *peer, uint64_t group)
{
    if (peer->lost_count > 0 && peer->lost[peer->lost_count - 1] == group)
        return 0;
    if (peer->lost_count == peer->lost_capacity) {
        size_t capacity = 2 * peer->lost_capacity + 16;
        uint64_t *lost = realloc(peer->lost, capacity * sizeof *lost);
        if (lost == NULL)
            return PERI_ENOMEM;
        peer->lost = lost;
        peer->lost_capacity = capacity;
    }
    peer->lost[peer->lost_count++] = group;
    return 0;
}

void node_peer_ping(struct node_peer *peer)
{
    if (begin(peer, &peer->urgent) == 0)
        cast(peer, &peer->urgent);
}

/* A leader tells of a commit at once, and often has new entries for the same place a moment later,
 * which tell it as well: then the notice need not travel, be answered, and wake anybody. */
static void replace_notice(struct node_peer *peer, uint64_t group,
                           const struct raft_message *message)
{
    if (peer->notice.at != 0 && peer->notice.group == group && peer->notice.term == message->term &&
        peer->notice.index == message->index) {
        peer->bulk.size = peer->notice.at;
        peer->node->stats.messages_sent--;
    }
    peer->notice.at = 0;
    if (message->last > message->index)
        return;
    peer->notice.at = peer->bulk.size;
    peer->notice.group = group;
    peer->notice.term = message->term;
    peer->notice.index = message->index;
}

void node_peer_send(struct node_group *group, const struct raft_message *message,
                    const struct store_log_entry *entries)
{
    struct node *node = group->node;
    struct node_peer *peer = node_peer_find(node, message->to);
    if (peer == NULL)
        return; /* nobody has said where it is */
    bool is_bulk = message->type == RAFT_APPEND_ENTRIES;
    struct peri_buffer *buffer = is_bulk ? &peer->bulk : &peer->urgent;
    if ((is_bulk && note_lost(peer, group->id) != 0) || begin(peer, buffer) != 0)
        return; /* without memory it is lost like any other message */
    if (is_bulk)
        replace_notice(peer, group->id, message);
    if (node_message_put(buffer, group->id, message, entries) != 0)
        return;
    node->stats.messages_sent++;
    peri_list_remove(&peer->dirty);
    peri_list_append(&node->dirty_peers, &peer->dirty);
    if (buffer->size >= NODE_ENVELOPE_MAX)
        cast(peer, buffer);
    node_wake(node);
}

void node_peers_close(struct node *node)
{
    while (!peri_list_is_empty(&node->peers)) {
        struct node_peer *peer = container_of(node->peers.next, struct node_peer, link);
        peri_list_remove(&peer->link);
        peri_list_remove(&peer->dirty);
        rpc_client_close(peer->client);
        peri_buffer_deinit(&peer->urgent);
        peri_buffer_deinit(&peer->bulk);
        free(peer->lost);
        free(peer);
    }
}
