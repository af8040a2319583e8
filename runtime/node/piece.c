/* piece.c - one piece of a snapshot on its way to another node, and its answer: what transfer.c, of
 * machines in memory, and stream.c, of those that keep keys, have in common.
 *
 * A piece is an envelope with the one message (InstallSnapshot), then what its sender appends. The
 * answer is a position, u64. A piece that was lost comes again: who has it already says so. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"
#include "node/snapshot.h"

enum { ATTEMPTS_MAX = 100 /* to send the same piece: the last one waits for the other disk */ };

int node_piece_begin(struct node_piece *piece)
{
    struct peri_buffer *args = &piece->args;
    args->size = 0;
    int rc = peri_buffer_reserve(args, NODE_ARGS_HEAD);
    if (rc != 0)
        return rc;
    args->size = NODE_ARGS_HEAD;
    rc = node_peer_envelope(piece->group->node, piece->message.to, args);
    return rc == 0 ? node_message_put(args, piece->group->id, &piece->message, NULL) : rc;
}

static void on_answer(struct rpc_request *request, const struct rpc_result *result);

static void send_again(struct node_piece *piece)
{
    struct node *node = piece->group->node;
    struct node_peer *peer = node_peer_find(node, piece->message.to);
    struct rpc_client *client = peer != NULL ? node_peer_client(peer) : NULL;
    struct peri_error err = PERI_ERROR_INIT;
    if (client == NULL) {
        piece->on_failed(piece, "its address is not known");
        return;
    }
    uint64_t patience_us = piece->timeouts * node->options.raft.election_max_us;
    piece->request =
        (struct rpc_request){.name = peri_slice_of(piece->method, strlen(piece->method)),
                             .due_us = env_now_us(node->env) + patience_us,
                             .on_done = on_answer};
    int rc = rpc_client_call(client, &piece->request, peri_buffer_slice(&piece->args), false, &err);
    piece->is_calling = rc == 0;
    if (rc != 0)
        piece->on_failed(piece, err.code != 0 ? err.text : peri_strerror(rc));
}

static void on_answer(struct rpc_request *request, const struct rpc_result *result)
{
    struct node_piece *piece = container_of(request, struct node_piece, request);
    struct peri_slice bytes;
    char why[PERI_ERROR_TEXT_SIZE];
    piece->is_calling = false;
    if ((result->code == PERI_EDEADLINE || result->code == PERI_EDISCONNECTED) &&
        ++piece->attempts < ATTEMPTS_MAX) {
        send_again(piece);
        return;
    }
    if (result->code != 0) {
        (void)snprintf(why, sizeof why, "%.*s", (int)result->message.size, result->message.data);
        piece->on_failed(piece, why);
    } else if (node_args_get(result->values, &bytes, NULL) != 0 || bytes.size != 8) {
        piece->on_failed(piece, "its answer is malformed");
    } else {
        piece->on_position(piece, bits_get_le64(bytes.data));
    }
}

void node_piece_send(struct node_piece *piece)
{
    piece->attempts = 0;
    node_args_put_head(piece->args.data, piece->args.size - NODE_ARGS_HEAD);
    send_again(piece);
}

void node_piece_blame(const struct node_piece *piece, const char *why)
{
    env_log(piece->group->node->env, ENV_LOG_WARN, "node",
            "snapshot %" PRIu64 " of group %" PRIu64 " did not reach node %" PRIu64 ": %s",
            piece->message.index, piece->group->id, piece->message.to, why);
}

void node_piece_ended(struct node_group *group, uint64_t peer, bool success)
{
    struct node_step step = {
        .event = {.type = RAFT_SNAPSHOT_SENT, .peer = peer, .success = success}};
    group->node->stats.snapshots_sent += success;
    (void)node_group_step(group, &step); /* it is no member any more, perhaps */
    node_group_wake(group);
}

void node_piece_deinit(struct node_piece *piece)
{
    if (piece->is_calling)
        rpc_request_cancel(&piece->request, "the group was closed");
    peri_buffer_deinit(&piece->args);
}
