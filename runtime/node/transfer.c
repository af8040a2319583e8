/* transfer.c - moving snapshots to other nodes, in pieces that wait for their answers.
 *
 *   leader                                        follower (stage.c)
 *     raft.snapshot [envelope, message, piece] ---->  puts it behind what it has
 *       <------------------------- [next offset]      (so a transfer goes on where one broke off)
 *     ... the last piece: answered when the file is on the disk and the core has heard of it
 *
 * A piece is, after the envelope with its one message (InstallSnapshot): u64 total, u64 offset, u64
 * hash of the state, u32 size of the members, members, bytes of the state. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"
#include "node/snapshot.h"

#define METHOD "raft.snapshot"

enum {
    PIECE_SIZE = 128 << 10,
    TIMEOUTS = 2,       /* election timeouts that an answer may take */
    ATTEMPTS_MAX = 100, /* to send the same piece: the last one waits for the other disk */
};

struct send {
    struct node_group *group; /* NULL: it was closed */
    struct env *env;
    struct rpc_request request;
    struct raft_message message;
    struct node_snapshot snapshot;
    uint64_t hash, offset;
    unsigned attempts; /* to send the piece at offset */
    struct peri_buffer args;
    struct peri_list link;
    struct peri_error err;
    int rc;
    bool is_reading;
};

static void free_send(struct send *send)
{
    peri_list_remove(&send->link);
    node_snapshot_deinit(&send->snapshot);
    peri_buffer_deinit(&send->args);
    free(send);
}

static void end_send(struct send *send, bool success, const char *why)
{
    struct node_group *group = send->group;
    struct node_step step = {
        .event = {.type = RAFT_SNAPSHOT_SENT, .peer = send->message.to, .success = success}};
    if (!success)
        env_log(group->node->env, ENV_LOG_WARN, "node",
                "snapshot %" PRIu64 " of group %" PRIu64 " did not reach node %" PRIu64 ": %s",
                send->message.index, group->id, send->message.to, why);
    group->node->stats.snapshots_sent += success;
    free_send(send);
    (void)node_group_step(group, &step); /* it is no member any more, perhaps */
    node_group_wake(group);
    node_group_release(group);
}

int node_piece_begin(struct node_group *group, const struct raft_message *message,
                     struct peri_buffer *args)
{
    args->size = 0;
    int rc = peri_buffer_reserve(args, NODE_ARGS_HEAD);
    if (rc != 0)
        return rc;
    args->size = NODE_ARGS_HEAD;
    rc = node_peer_envelope(group->node, message->to, args);
    return rc == 0 ? node_message_put(args, group->id, message, NULL) : rc;
}

void node_piece_seal(struct peri_buffer *args)
{
    node_args_put_head(args->data, args->size - NODE_ARGS_HEAD);
}

static int make_piece(struct send *send, size_t size)
{
    struct peri_buffer *args = &send->args;
    struct peri_slice members = peri_buffer_slice(&send->snapshot.members);
    char head[NODE_PIECE_HEAD];
    bits_put_le64(head, send->snapshot.state.size);
    bits_put_le64(head + 8, send->offset);
    bits_put_le64(head + 16, send->hash);
    bits_put_le32(head + 24, (uint32_t)members.size);
    int rc = node_piece_begin(send->group, &send->message, args);
    if (rc == 0)
        rc = peri_buffer_append(args, head, sizeof head);
    if (rc == 0)
        rc = peri_buffer_append(args, members.data, members.size);
    if (rc == 0)
        rc = peri_buffer_append(args, send->snapshot.state.data + send->offset, size);
    if (rc == 0)
        node_piece_seal(args);
    return rc;
}

static void on_answer(struct rpc_request *request, const struct rpc_result *result);

static void send_piece(struct send *send)
{
    struct node *node = send->group->node;
    struct node_peer *peer = node_peer_find(node, send->message.to);
    struct rpc_client *client = peer != NULL ? node_peer_client(peer) : NULL;
    uint64_t left = send->snapshot.state.size - send->offset;
    size_t size = left < PIECE_SIZE ? (size_t)left : PIECE_SIZE;
    struct peri_error err = PERI_ERROR_INIT;
    if (client == NULL) {
        end_send(send, false, "its address is not known");
        return;
    }
    int rc = make_piece(send, size);
    send->request = (struct rpc_request){.name = peri_slice_of(METHOD, strlen(METHOD)),
                                         .due_us = env_now_us(node->env) +
                                                   TIMEOUTS * node->options.raft.election_max_us,
                                         .on_done = on_answer};
    if (rc == 0)
        rc = rpc_client_call(client, &send->request, peri_buffer_slice(&send->args), false, &err);
    if (rc != 0)
        end_send(send, false, err.code != 0 ? err.text : peri_strerror(rc));
}

static void on_answer(struct rpc_request *request, const struct rpc_result *result)
{
    struct send *send = container_of(request, struct send, request);
    struct peri_slice bytes;
    char why[PERI_ERROR_TEXT_SIZE];
    uint64_t total = send->snapshot.state.size;
    /* It comes again where it was lost: who has it already says so. */
    if ((result->code == PERI_EDEADLINE || result->code == PERI_EDISCONNECTED) &&
        ++send->attempts < ATTEMPTS_MAX) {
        send_piece(send);
        return;
    }
    if (result->code != 0) {
        (void)snprintf(why, sizeof why, "%.*s", (int)result->message.size, result->message.data);
        end_send(send, false, why);
        return;
    }
    if (node_args_get(result->values, &bytes, NULL) != 0 || bytes.size != 8) {
        end_send(send, false, "its answer is malformed");
        return;
    }
    uint64_t next = bits_get_le64(bytes.data);
    bool was_last = total - send->offset <= PIECE_SIZE;
    if (was_last && next == total)
        end_send(send, true, "");
    else if (next >= total || next == send->offset)
        end_send(send, false, "it does not take it");
    else {
        send->offset = next;
        send->attempts = 0;
        send_piece(send);
    }
}

static void run_read(void *data)
{
    struct send *send = data;
    send->rc = node_snapshot_read(send->env, send->group->node->snapshots_path, &send->snapshot,
                                  &send->err);
    if (send->rc == 0)
        send->hash = node_snapshot_hash(peri_buffer_slice(&send->snapshot.state));
}

static void on_read(void *data, int status)
{
    struct send *send = data;
    send->is_reading = false;
    if (status != 0 || send->group->is_closing) {
        struct node_group *group = send->group;
        free_send(send);
        node_group_release(group);
    } else if (send->rc != 0) {
        if (send->rc == PERI_ECORRUPT || send->rc == -ENOENT)
            node_snapshots_redo(send->group, send->message.index);
        end_send(send, false, send->err.text);
    } else {
        send_piece(send);
    }
}

void node_snapshots_send(struct node_group *group, const struct raft_message *message)
{
    if (group->keys != NULL) {
        node_stream_start(group, message);
        return;
    }
    struct send *send = calloc(1, sizeof *send);
    if (send == NULL) {
        node_lose(group, true);
        return;
    }
    peri_list_init(&send->link);
    send->group = group;
    send->env = group->node->env;
    send->message = *message;
    send->snapshot.cluster = group->node->cluster;
    send->snapshot.group = group->id;
    send->snapshot.index = message->index;
    send->snapshot.term = message->log_term;
    send->is_reading = true;
    peri_list_append(&group->snapshots->sends, &send->link);
    node_group_hold(group);
    if (env_work(send->env, run_read, on_read, send) != 0) {
        free_send(send);
        node_lose(group, true);
        node_group_release(group);
    }
}

uint64_t node_transfers_floor(const struct node_snapshots *snapshots)
{
    uint64_t floor = node_streams_floor(snapshots->group);
    const struct peri_list *sends = &snapshots->sends;
    for (const struct peri_list *at = sends->next; at != sends; at = at->next) {
        const struct send *send = container_of(at, struct send, link);
        if (send->message.index < floor)
            floor = send->message.index;
    }
    return floor;
}

void node_transfers_close(struct node_snapshots *snapshots)
{
    if (snapshots->group->keys != NULL) {
        node_keys_abandon(snapshots->group->keys);
        node_streams_close(snapshots->group);
        node_intake_abandon(snapshots->group->keys);
    }
    struct peri_list *at = snapshots->sends.next;
    while (at != &snapshots->sends) {
        struct send *send = container_of(at, struct send, link);
        struct node_group *group = send->group;
        at = at->next;
        if (send->is_reading)
            continue; /* on_read ends it */
        rpc_request_cancel(&send->request, "the group was closed");
        free_send(send);
        node_group_release(group);
    }
    node_stage_abandon(&snapshots->stage);
}
