/* status.c - how a replica stands, and its peers, for those who look on. */
#include "raft/state.h"

static uint64_t quorum_us(const struct raft *raft)
{
    if (raft->role == RAFT_LEADER)
        return raft_quorum_seen_us(raft);
    return raft->lost_us > raft->contact_us ? raft->lost_us : raft->contact_us;
}

void raft_status(const struct raft *raft, struct raft_status *status)
{
    *status = (struct raft_status){
        .role = raft->role,
        .is_fenced = raft->is_fenced,
        .is_asleep = raft->is_asleep,
        .is_impaired = raft->floor_term == UINT64_MAX,
        .id = raft->options.id,
        .term = raft->term,
        .vote = raft->vote,
        .leader = raft->leader,
        .base_index = raft->log.base_index,
        .last_index = raft->log.last_index,
        .commit_index = raft->commit_index,
        .last_applied = raft->last_applied,
        .snapshot_index = raft->snapshot_index,
        .seq = raft->seq,
        .durable_seq = raft->durable_seq,
        .transfer_to = raft->transfer_to,
        .priority = raft->options.priority,
        .configuration_index = raft->history[raft->history_count - 1].index,
        .quorum_us = quorum_us(raft),
    };
}

/* A leader asks all the time, a candidate once a campaign; a follower hears its leader. */
static bool has_answered(const struct raft *raft, size_t at)
{
    switch (raft->role) {
    case RAFT_LEADER:
        return (raft->is_asleep && raft_is_up(raft, raft_active(raft)->ids[at])) ||
               (raft->peers[at].acked_us != 0 &&
                raft->peers[at].acked_us + raft->options.election_max_us > raft->now_us);
    case RAFT_PRE_CANDIDATE:
    case RAFT_CANDIDATE:
        return raft->votes[at] != RAFT_VOTE_NONE;
    case RAFT_FOLLOWER:
        break;
    }
    return raft->leader == raft_active(raft)->ids[at];
}

bool raft_peer(const struct raft *raft, size_t at, struct raft_peer *out)
{
    const struct raft_configuration *members = raft_active(raft);
    if (at >= members->count || members->ids[at] == raft->options.id)
        return false;
    *out = (struct raft_peer){
        .id = members->ids[at],
        .is_learner = !raft_configuration_is_voter(members, members->ids[at]),
        .is_up = raft_is_up(raft, members->ids[at]),
        .has_answered = has_answered(raft, at),
    };
    if (raft->role != RAFT_LEADER)
        return true;
    const struct raft_progress *peer = &raft->peers[at];
    out->state = peer->state;
    out->match_index = peer->match_index;
    out->next_index = peer->next_index;
    out->inflight_count = peer->inflight_count;
    out->inflight_bytes = peer->inflight_bytes;
    out->snapshot_index = peer->state == RAFT_SNAPSHOT ? peer->snapshot_index : 0;
    out->answered_us = peer->acked_us;
    return true;
}

size_t raft_size_bytes(const struct raft *raft)
{
    return sizeof *raft + raft->log.sums_capacity * sizeof *raft->log.sums +
           raft->log.run_capacity * sizeof *raft->log.runs +
           raft->history_capacity * sizeof *raft->history +
           raft->peer_capacity * sizeof *raft->peers;
}
