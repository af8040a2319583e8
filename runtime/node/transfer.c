/* transfer.c - moving snapshots to other nodes, in pieces that wait for their answers.
 *
 *   leader                                        follower (stage.c)
 *     raft.snapshot [envelope, message, piece] ---->  puts it behind what it has
 *       <------------------------- [next offset]      (so a transfer goes on where one broke off,
 *                                                 also after a start: snapshot_part.c)
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
#include "node/compare.h"

enum {
    PIECE_SIZE = 128 << 10,
    TIMEOUTS = 2, /* election timeouts that an answer may take */
};

struct send {
    struct env *env;
    struct node_piece piece;
    struct node_snapshot snapshot;
    uint64_t hash, offset;
    struct peri_list link;
    struct peri_error err;
    int rc;
    bool is_reading;
    bool is_held; /* not now: the state has to be compared first */
};

static void free_send(struct send *send)
{
    peri_list_remove(&send->link);
    node_snapshot_deinit(&send->snapshot);
    node_piece_deinit(&send->piece);
    free(send);
}

/* why: NULL when it is there. */
static void end_send(struct send *send, const char *why)
{
    struct node_group *group = send->piece.group;
    uint64_t peer = send->piece.message.to;
    if (why != NULL)
        node_piece_blame(&send->piece, why);
    free_send(send);
    node_piece_ended(group, peer, why == NULL);
    node_group_release(group);
}

static int make_piece(struct send *send, size_t size)
{
    struct peri_buffer *args = &send->piece.args;
    struct peri_slice members = peri_buffer_slice(&send->snapshot.members);
    char head[NODE_PIECE_HEAD];
    bits_put_le64(head, send->snapshot.state.size);
    bits_put_le64(head + 8, send->offset);
    bits_put_le64(head + 16, send->hash);
    bits_put_le32(head + 24, (uint32_t)members.size);
    int rc = node_piece_begin(&send->piece);
    if (rc == 0)
        rc = peri_buffer_append(args, head, sizeof head);
    if (rc == 0)
        rc = peri_buffer_append(args, members.data, members.size);
    if (rc == 0)
        rc = peri_buffer_append(args, send->snapshot.state.data + send->offset, size);
    return rc;
}

static void send_piece(struct send *send)
{
    uint64_t left = send->snapshot.state.size - send->offset;
    int rc = make_piece(send, left < PIECE_SIZE ? (size_t)left : PIECE_SIZE);
    if (rc == 0)
        node_piece_send(&send->piece);
    else
        end_send(send, peri_strerror(rc));
}

static void on_failed(struct node_piece *piece, const char *why)
{
    end_send(container_of(piece, struct send, piece), why);
}

static void on_position(struct node_piece *piece, uint64_t next)
{
    struct send *send = container_of(piece, struct send, piece);
    uint64_t total = send->snapshot.state.size;
    bool was_last = total - send->offset <= PIECE_SIZE;
    if (was_last && next == total)
        end_send(send, NULL);
    else if (next >= total || next == send->offset)
        end_send(send, "it does not take it");
    else {
        send->offset = next;
        send_piece(send);
    }
}

static void run_read(void *data)
{
    struct send *send = data;
    if (send->is_held)
        return;
    send->rc = node_snapshot_read(send->env, send->piece.group->node->snapshots_path,
                                  &send->snapshot, &send->err);
    if (send->rc == 0)
        send->hash = node_snapshot_hash(peri_buffer_slice(&send->snapshot.state));
}

static void on_read(void *data, int status)
{
    struct send *send = data;
    send->is_reading = false;
    if (status != 0 || send->piece.group->is_closing) {
        struct node_group *group = send->piece.group;
        free_send(send);
        node_group_release(group);
    } else if (send->is_held) {
        struct node_group *group = send->piece.group;
        uint64_t peer = send->piece.message.to;
        free_send(send);
        node_piece_ended(group, peer, false); /* the core asks again */
        node_group_release(group);
    } else if (send->rc != 0) {
        if (send->rc == PERI_ECORRUPT || send->rc == -ENOENT)
            node_snapshots_redo(send->piece.group, send->piece.message.index);
        end_send(send, send->err.text);
    } else {
        send_piece(send);
    }
}

void node_snapshots_send(struct node_group *group, const struct raft_message *message)
{
    if (group->keys != NULL)
        node_stream_start(group, message, "raft.chunk");
    else
        node_transfer_start(group, message, "raft.snapshot");
}

void node_transfer_start(struct node_group *group, const struct raft_message *message,
                         const char *method)
{
    struct send *send = calloc(1, sizeof *send);
    if (send == NULL) {
        node_lose(group, true);
        return;
    }
    peri_list_init(&send->link);
    send->env = group->node->env;
    send->piece = (struct node_piece){.group = group,
                                      .method = method,
                                      .timeouts = TIMEOUTS,
                                      .message = *message,
                                      .on_position = on_position,
                                      .on_failed = on_failed};
    send->snapshot.cluster = group->node->cluster;
    send->snapshot.group = group->id;
    send->snapshot.index = message->index;
    send->snapshot.term = message->log_term;
    send->is_reading = true;
    send->is_held = !node_compare_may_send(group, message->index);
    peri_list_append(&group->snapshots->sends, &send->link);
    node_group_hold(group);
    if (env_work(send->env, run_read, on_read, send) != 0) {
        free_send(send);
        node_lose(group, true);
        node_group_release(group);
    }
}

bool node_transfers_to(const struct node_snapshots *snapshots, uint64_t peer)
{
    const struct peri_list *sends = &snapshots->sends;
    for (const struct peri_list *at = sends->next; at != sends; at = at->next)
        if (container_of(at, struct send, link)->piece.message.to == peer)
            return true;
    return false;
}

uint64_t node_transfers_floor(const struct node_snapshots *snapshots)
{
    uint64_t floor = node_streams_floor(snapshots->group);
    const struct peri_list *sends = &snapshots->sends;
    for (const struct peri_list *at = sends->next; at != sends; at = at->next) {
        const struct send *send = container_of(at, struct send, link);
        if (send->piece.message.index < floor)
            floor = send->piece.message.index;
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
        struct node_group *group = send->piece.group;
        at = at->next;
        if (send->is_reading)
            continue; /* on_read ends it */
        free_send(send);
        node_group_release(group);
    }
    node_stage_abandon(&snapshots->stage);
}
