/* read.c - reads that see every write completed before them, without writing (Raft 8, Thesis 6.4).
 *
 * A read may be served at the commit index of its arrival once the leader knows that it still led
 * after that: a quorum answered a heartbeat sent later, or its lease lasts (Thesis 6.4.1). Reads
 * that arrive during a round share the next one. A follower asks the leader for the index, for all
 * its waiting reads in one message. Indexes and rounds only grow, so that reads complete in their
 * order and a batch is one number.
 *
 * The lease begins when the messages were sent that a quorum has answered, and ends lease_margin_us
 * before the first of them may vote again; it ends for good when this leader tells another replica
 * to campaign, for nobody knows when that message arrives. */
#include "raft/state.h"

void raft_read(struct raft *raft)
{
    raft->out->read = ++raft->reads.last;
    if (raft->role == RAFT_LEADER)
        raft->reads.own.waiting = raft->reads.last;
    else if (raft->reads.forwarded == 0)
        raft_reads_forward(raft);
}

void raft_reads_drop(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    reads->forwarded = 0;
    reads->own = (struct raft_read_slot){0};
    if (reads->closed == reads->last)
        return;
    struct raft_action *action = raft_emit(raft, RAFT_READ_DROPPED);
    action->first = reads->closed + 1;
    action->last = reads->closed = reads->last;
}

/* The reads up to number may be served when index is applied. */
static void confirm(struct raft_reads *reads, uint64_t number, uint64_t index)
{
    reads->closed = number;
    if (reads->ready == 0 || reads->ready_index < index)
        reads->ready_index = index;
    reads->ready = number;
}

/* ---- follower ---- */

void raft_reads_forward(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    reads->forwarded = raft->leader != 0 && reads->last > reads->closed ? reads->last : 0;
    if (reads->forwarded == 0)
        return;
    reads->forwarded_us = raft->now_us;
    raft_send(raft, RAFT_READ_INDEX, raft->leader)->round = reads->forwarded;
}

void raft_reads_retry(struct raft *raft)
{
    if (raft->reads.forwarded != 0 &&
        raft->now_us >= raft->reads.forwarded_us + raft->options.heartbeat_us)
        raft_reads_forward(raft);
}

void raft_on_read_index_reply(struct raft *raft, const struct raft_message *message)
{
    struct raft_reads *reads = &raft->reads;
    if (raft->role != RAFT_FOLLOWER || message->from != raft->leader || reads->forwarded == 0 ||
        message->round != reads->forwarded)
        return;
    confirm(reads, reads->forwarded, message->index);
    reads->forwarded = 0;
    raft_reads_forward(raft); /* what has come since */
}

/* ---- leader ---- */

void raft_on_read_index(struct raft *raft, size_t at, const struct raft_message *message)
{
    struct raft_read_slot *slot = &raft->peers[at].reads;
    if (slot->number != message->round)
        slot->waiting = message->round;
}

static uint64_t confirmed_round(const struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    uint64_t values[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++)
        values[i] = members->ids[i] == raft->options.id ? raft->round : raft->peers[i].acked_round;
    return raft_quorum_value(members, values);
}

static bool has_lease(const struct raft *raft)
{
    return raft->options.has_leases && !raft->is_lease_over &&
           raft_quorum_contact_us(raft) + raft->options.election_min_us >
               raft->now_us + raft->options.lease_margin_us;
}

/* Puts what waits into the next round. */
static bool begin(const struct raft *raft, struct raft_read_slot *slot)
{
    if (slot->waiting == 0 || slot->number != 0)
        return false;
    slot->number = slot->waiting;
    slot->waiting = 0;
    slot->index = raft->commit_index;
    slot->round = raft->round + 1;
    return true;
}

static bool begin_all(struct raft *raft)
{
    bool has_begun = begin(raft, &raft->reads.own);
    for (size_t i = 0; i < raft_active(raft)->count; i++)
        has_begun |= begin(raft, &raft->peers[i].reads);
    return has_begun;
}

static void finish_all(struct raft *raft, uint64_t round)
{
    struct raft_read_slot *slot = &raft->reads.own;
    if (slot->number != 0 && slot->round <= round) {
        confirm(&raft->reads, slot->number, slot->index);
        slot->number = 0;
    }
    for (size_t i = 0; i < raft_active(raft)->count; i++) {
        slot = &raft->peers[i].reads;
        if (slot->number == 0 || slot->round > round)
            continue;
        struct raft_message *reply =
            raft_send(raft, RAFT_READ_INDEX_REPLY, raft_active(raft)->ids[i]);
        reply->round = slot->number;
        reply->index = slot->index;
        slot->number = 0;
    }
}

void raft_settle_rounds(struct raft *raft)
{
    if (raft->commit_index < raft->term_start)
        return; /* what is committed is not known yet (Raft 8) */
    finish_all(raft, confirmed_round(raft));
    if (!begin_all(raft))
        return;
    if (has_lease(raft)) {
        finish_all(raft, UINT64_MAX);
        return;
    }
    raft_heartbeat(raft);
    finish_all(raft, confirmed_round(raft)); /* a group of one */
}

/* ---- both ---- */

void raft_settle_reads(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    if (reads->ready == 0 || raft->last_applied < reads->ready_index ||
        raft->durable_seq < raft->install_seq)
        return;
    struct raft_action *action = raft_emit(raft, RAFT_READ_READY);
    action->last = reads->ready;
    action->index = reads->ready_index;
    reads->ready = 0;
}
