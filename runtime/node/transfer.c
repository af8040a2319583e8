/* transfer.c - moving snapshots between nodes, in pieces that wait for their answers.
 *
 *   leader                                        follower
 *     raft.snapshot [envelope, message, piece] ---->  puts it behind what it has
 *       <------------------------- [next offset]      (so a transfer goes on where one broke off)
 *     ... the last piece: answered when the file is on the disk and the core has heard of it
 *
 * A piece is, after the envelope with its one message (InstallSnapshot): u64 total, u64 offset, u64
 * hash of the state, u32 size of the members, members, bytes of the state. */
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
    PIECE_HEAD = 3 * 8 + 4,
    ANSWER_SIZE = NODE_ARGS_HEAD + 8,
    TIMEOUTS = 2,       /* election timeouts that an answer may take */
    ATTEMPTS_MAX = 100, /* to send the same piece: the last one waits for the other disk */
};

/* ---- sending ---- */

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

static int make_piece(struct send *send, size_t size)
{
    struct peri_buffer *args = &send->args;
    struct node *node = send->group->node;
    struct peri_slice members = peri_buffer_slice(&send->snapshot.members);
    char head[PIECE_HEAD];
    bits_put_le64(head, send->snapshot.state.size);
    bits_put_le64(head + 8, send->offset);
    bits_put_le64(head + 16, send->hash);
    bits_put_le32(head + 24, (uint32_t)members.size);
    args->size = 0;
    int rc = peri_buffer_reserve(args, NODE_ARGS_HEAD);
    if (rc != 0)
        return rc;
    args->size = NODE_ARGS_HEAD;
    rc = node_envelope_begin(args, node->cluster, node->options.id, send->message.to,
                             node->incarnation);
    if (rc == 0)
        rc = node_message_put(args, send->group->id, &send->message, NULL);
    if (rc == 0)
        rc = peri_buffer_append(args, head, sizeof head);
    if (rc == 0)
        rc = peri_buffer_append(args, members.data, members.size);
    if (rc == 0)
        rc = peri_buffer_append(args, send->snapshot.state.data + send->offset, size);
    if (rc == 0)
        node_args_put_head(args->data, args->size - NODE_ARGS_HEAD);
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
        end_send(send, false, send->err.text);
    } else {
        send_piece(send);
    }
}

void node_snapshots_send(struct node_group *group, const struct raft_message *message)
{
    struct send *send = calloc(1, sizeof *send);
    if (send == NULL)
        return; /* a probe finds out that it is still behind */
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
        node_group_release(group);
    }
}

/* ---- receiving ---- */

void node_stage_clear(struct node_stage *stage)
{
    node_snapshot_deinit(&stage->snapshot);
    *stage = (struct node_stage){.is_set = false};
}

static void answer(struct rpc_call *call, uint64_t next)
{
    char bytes[ANSWER_SIZE];
    node_args_put_head(bytes, 8);
    bits_put_le64(bytes + NODE_ARGS_HEAD, next);
    rpc_call_reply(call, peri_slice_of(bytes, sizeof bytes));
}

static void refuse(struct rpc_call *call, int code, const char *why)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail(&err, code, "%s", why);
    rpc_call_fail_code(call, &err);
}

/* The file is there: now the core hears of the snapshot. */
static void install(struct node_group *group)
{
    struct node_stage *stage = &group->snapshots->stage;
    struct raft_configuration members;
    struct peri_slice bytes = peri_buffer_slice(&stage->snapshot.members);
    int rc = node_members_get(bytes, &members, NULL, NULL);
    if (rc == 0)
        rc = node_members_learn(group->node, bytes, NULL);
    struct node_step step = {
        .event = {.type = RAFT_MESSAGE, .message = &stage->message, .configuration = &members}};
    if (rc == 0)
        rc = node_group_step(group, &step);
    if (rc != 0)
        env_log(group->node->env, ENV_LOG_WARN, "node",
                "group %" PRIu64 " refuses snapshot %" PRIu64 ": %s", group->id,
                stage->snapshot.index, peri_strerror(rc));
    node_group_wake(group);
}

struct staged {
    struct node_group *group;
    struct peri_error err;
    int rc;
};

static void run_stage(void *data)
{
    struct staged *job = data;
    struct node *node = job->group->node;
    job->rc = node_snapshot_write(node->env, node->snapshots_path,
                                  &job->group->snapshots->stage.snapshot, &job->err);
}

static void on_staged(void *data, int status)
{
    struct staged *job = data;
    struct node_group *group = job->group;
    struct node_stage *stage = &group->snapshots->stage;
    struct rpc_call *call = stage->call;
    uint64_t total = stage->total;
    stage->call = NULL;
    if (status == 0 && job->rc == 0 && !group->is_closing && group->raft != NULL) {
        install(group);
        if (call != NULL)
            answer(call, total);
    } else if (call != NULL) {
        refuse(call, job->rc != 0 ? job->rc : PERI_ECLOSED, "a snapshot");
    }
    node_stage_clear(stage);
    free(job);
    node_group_release(group);
}

static void store_stage(struct node_group *group)
{
    struct node_stage *stage = &group->snapshots->stage;
    struct staged *job = calloc(1, sizeof *job);
    int rc = job == NULL ? PERI_ENOMEM : 0;
    stage->is_writing = true;
    if (rc == 0) {
        job->group = group;
        node_group_hold(group);
        rc = env_work(group->node->env, run_stage, on_staged, job);
        if (rc != 0)
            node_group_release(group);
    }
    if (rc == 0)
        return;
    free(job);
    refuse(stage->call, rc, "a snapshot");
    node_stage_clear(stage);
}

/* One piece of a call, lent from its arguments. */
struct piece {
    struct node_message message;
    uint64_t total, offset, hash;
    struct peri_slice members, state;
};

static int read_piece(struct node *node, struct peri_slice args, struct piece *out,
                      struct peri_error *err)
{
    struct peri_slice bytes;
    struct node_envelope envelope;
    int rc = node_args_get(args, &bytes, err);
    if (rc == 0)
        rc = node_envelope_open(bytes, &envelope, err);
    if (rc != 0)
        return rc;
    if (envelope.cluster != node->cluster || envelope.to != node->options.id)
        return peri_fail(err, PERI_ECLUSTER, "a snapshot of node %" PRIu64, envelope.from);
    rc = node_envelope_next(&envelope, &out->message, err);
    if (rc < 0)
        return rc;
    const char *at = envelope.at;
    size_t left = (size_t)(envelope.end - at);
    if (rc == 0 || out->message.raft.type != RAFT_INSTALL_SNAPSHOT || left < PIECE_HEAD)
        return peri_fail_plain(err, PERI_EFORMAT, "a piece of no snapshot");
    out->total = bits_get_le64(at);
    out->offset = bits_get_le64(at + 8);
    out->hash = bits_get_le64(at + 16);
    uint32_t members = bits_get_le32(at + 24);
    left -= PIECE_HEAD;
    if (members > left || out->offset > out->total || left - members > out->total - out->offset)
        return peri_fail_plain(err, PERI_EFORMAT, "a piece that does not fit its snapshot");
    out->members = peri_slice_of(at + PIECE_HEAD, members);
    out->state = peri_slice_of(at + PIECE_HEAD + members, left - members);
    return 0;
}

/* Puts the piece behind what is there; a snapshot that is not the staged one replaces it. */
static int take_piece(struct node_group *group, const struct piece *piece)
{
    struct node_stage *stage = &group->snapshots->stage;
    const struct raft_message *message = &piece->message.raft;
    bool is_same = stage->is_set && stage->snapshot.index == message->index &&
                   stage->snapshot.term == message->log_term && stage->hash == piece->hash &&
                   stage->total == piece->total;
    if (!is_same) {
        node_stage_clear(stage);
        stage->is_set = true;
        stage->total = piece->total;
        stage->hash = piece->hash;
        stage->snapshot = (struct node_snapshot){.cluster = group->node->cluster,
                                                 .group = group->id,
                                                 .index = message->index,
                                                 .term = message->log_term};
        int rc =
            peri_buffer_append(&stage->snapshot.members, piece->members.data, piece->members.size);
        if (rc != 0)
            return rc;
    }
    stage->message = *message;
    if (piece->offset != stage->snapshot.state.size)
        return 0; /* the answer says where to go on */
    return peri_buffer_append(&stage->snapshot.state, piece->state.data, piece->state.size);
}

void node_snapshots_on_call(struct rpc_call *call)
{
    struct node *node = call->handler->data;
    struct peri_error err = PERI_ERROR_INIT;
    struct piece piece;
    int rc = read_piece(node, call->args, &piece, &err);
    if (rc != 0) {
        rpc_call_fail_code(call, &err);
        return;
    }
    struct node_group *group = node_group_find(node, piece.message.group);
    if (group == NULL || group->raft == NULL || node->is_closing) {
        refuse(call, PERI_ECLOSED, "the group is not open here");
        return;
    }
    struct node_stage *stage = &group->snapshots->stage;
    struct raft_status status;
    raft_status(group->raft, &status);
    if (status.commit_index >= piece.message.raft.index) {
        answer(call, piece.total); /* what it holds is here */
        return;
    }
    if (piece.total > node->options.snapshot_max_bytes) {
        refuse(call, PERI_ETOOBIG, "a snapshot");
        return;
    }
    if (stage->is_writing) {
        if (stage->call != NULL || stage->hash != piece.hash) {
            refuse(call, PERI_EBUSY, "another snapshot");
            return;
        }
        call->data = group; /* asked again: this one gets the answer */
        stage->call = call;
        return;
    }
    rc = take_piece(group, &piece);
    if (rc == 0 && stage->snapshot.state.size < stage->total) {
        answer(call, stage->snapshot.state.size);
        return;
    }
    if (rc == 0 && node_snapshot_hash(peri_buffer_slice(&stage->snapshot.state)) != stage->hash)
        rc = PERI_ECORRUPT;
    if (rc != 0) {
        node_stage_clear(stage);
        refuse(call, rc, "a snapshot");
        return;
    }
    call->data = group;
    stage->call = call;
    store_stage(group);
}

void node_snapshots_on_cancel(struct rpc_call *call, int code, const char *reason)
{
    struct node_group *group = call->data;
    (void)code;
    (void)reason;
    group->snapshots->stage.call = NULL; /* it is installed all the same */
}

void node_transfers_close(struct node_snapshots *snapshots)
{
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
    if (snapshots->stage.call != NULL) {
        struct rpc_call *call = snapshots->stage.call;
        snapshots->stage.call = NULL;
        refuse(call, PERI_ECLOSED, "the group was closed");
    }
}
