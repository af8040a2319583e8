/* sleep.c - groups at rest: no heartbeats, no timers, while the host watches over the peers.
 *
 * Differs from the papers, where a silent leader is a dead one. With sleep_after_us the host runs
 * one failure detector for all groups and says which peers are up. A leader at rest marks its
 * heartbeats; a follower that has everything, and whose host sees that leader up, answers so and
 * stops its timer; when all members that are up have answered so, the leader stops, too.
 *
 *      L  Heartbeat sleepy ->  A, B     A, B asleep: deadline never
 *      L  <- HeartbeatReply sleepy      L asleep once the last of them has come
 *
 * "I heard of my leader lately" becomes "my leader is up": a sleeping follower gives no votes
 * (Thesis 4.2.3), until its leader goes down or asks for votes itself, for then it leads no more.
 * Whatever else needs a leader wakes it, and its heartbeats wake the others: so a lost message
 * costs an election timeout as ever. Leases rest on answers, not on sleep, and are as safe as
 * before. */
#include "raft/state.h"

static int find(const struct raft *raft, uint64_t id)
{
    for (size_t i = 0; i < raft->up_count; i++)
        if (raft->up[i] == id)
            return (int)i;
    return -1;
}

bool raft_is_up(const struct raft *raft, uint64_t id)
{
    return find(raft, id) >= 0;
}

/* ---- waking ---- */

static bool does_message_wake(const struct raft *raft, const struct raft_message *message)
{
    bool is_now = message->term == raft->term;
    switch (message->type) {
    case RAFT_HEARTBEAT:
        return !message->is_sleepy || !is_now;
    case RAFT_HEARTBEAT_REPLY: /* from before it fell asleep, or as it does */
        return !is_now || (!message->is_sleepy && message->round >= raft->sleepy_round);
    case RAFT_PRE_VOTE:
    case RAFT_REQUEST_VOTE:
        if (message->is_transfer)
            return true;
        /* A member that has lost its leader finds it again; one that was removed finds nobody. */
        return raft->role == RAFT_LEADER
                   ? raft_configuration_find(raft_active(raft), message->from) >= 0
                   : message->from == raft->leader;
    default:
        return true;
    }
}

static bool does_wake(const struct raft *raft, const struct raft_event *event)
{
    switch (event->type) {
    case RAFT_MESSAGE:
        return does_message_wake(raft, event->message);
    case RAFT_PEER_UP:
        return raft->role == RAFT_LEADER && !raft_is_up(raft, event->peer);
    case RAFT_PEER_DOWN:
        return raft_is_up(raft, event->peer) &&
               (raft->role == RAFT_LEADER || raft->leader == event->peer);
    case RAFT_TIME:
    case RAFT_PERSISTED:
    case RAFT_APPLIED:
    case RAFT_FETCHED:
    case RAFT_COMPACTED:
    case RAFT_SNAPSHOT_SENT:
        return false;
    default:
        return true;
    }
}

static void forget_answers(struct raft *raft)
{
    raft->sleepy_round = 0;
    for (size_t i = 0; i < raft_active(raft)->count; i++)
        raft->peers[i].is_sleepy = false;
}

void raft_wake(struct raft *raft, const struct raft_event *event)
{
    if (!raft->is_asleep || !does_wake(raft, event))
        return;
    raft->is_asleep = false;
    if (raft->role != RAFT_LEADER) {
        raft_election_arm(raft);
        return;
    }
    raft->active_us = raft->quorum_since_us = raft->now_us;
    raft->heartbeat_deadline_us = raft->now_us;
    forget_answers(raft);
}

/* ---- falling asleep ---- */

static void fall_asleep(struct raft *raft)
{
    raft->is_asleep = true;
    raft_log_forget_sizes(&raft->log); /* who wakes it can do without, the memory adds up */
}

static bool has_open_reads(const struct raft *raft)
{
    return raft->reads.closed < raft->reads.last || raft->reads.ready != 0;
}

/* The member has everything and awaits nothing. */
static bool is_level(const struct raft *raft, const struct raft_progress *peer)
{
    return peer->state == RAFT_REPLICATE && peer->match_index == raft->log.last_index &&
           peer->inflight_count == 0 && !peer->is_fetching && peer->reads.waiting == 0 &&
           peer->reads.number == 0;
}

/* Nothing is left to do for the members that are up, and they are a quorum. */
static bool are_members_level(const struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    uint8_t votes[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++) {
        bool is_own = members->ids[i] == raft->options.id;
        bool is_live = is_own || raft_is_up(raft, members->ids[i]);
        votes[i] = is_live ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
        if ((members->members[i] & RAFT_PROMOTE) != 0 ||
            (is_live && !is_own && !is_level(raft, &raft->peers[i])))
            return false;
    }
    return raft_quorum_vote(members, votes) == RAFT_WON;
}

static bool is_at_rest(const struct raft *raft)
{
    return raft->last_applied == raft->log.last_index && raft->durable_seq == raft->seq &&
           raft->transfer_to == 0 && !has_open_reads(raft) &&
           !raft_configuration_is_joint(raft_active(raft)) && are_members_level(raft);
}

bool raft_is_sleepy(struct raft *raft)
{
    uint64_t after_us = raft->options.sleep_after_us;
    if (after_us == 0 || raft->now_us < raft->active_us + after_us || !is_at_rest(raft))
        return false;
    if (raft->sleepy_round == 0)
        raft->sleepy_round = raft->round;
    return true;
}

bool raft_falls_asleep(struct raft *raft, const struct raft_message *heartbeat)
{
    uint64_t last = raft->log.last_index;
    if (!heartbeat->is_sleepy || raft->options.sleep_after_us == 0 ||
        !raft_is_up(raft, heartbeat->from) || heartbeat->commit != last ||
        raft->commit_index != last || has_open_reads(raft))
        return false;
    fall_asleep(raft);
    return true;
}

void raft_settle_sleep(struct raft *raft)
{
    if (raft->options.sleep_after_us == 0 || raft->is_asleep)
        return;
    if (!is_at_rest(raft)) {
        raft->active_us = raft->now_us;
        if (raft->sleepy_round != 0)
            forget_answers(raft);
        return;
    }
    if (raft->sleepy_round == 0)
        return;
    const struct raft_configuration *members = raft_active(raft);
    for (size_t i = 0; i < members->count; i++)
        if (raft_is_up(raft, members->ids[i]) && !raft->peers[i].is_sleepy)
            return;
    fall_asleep(raft);
}

/* ---- what the host sees ---- */

int raft_check_peer(const struct raft *raft, uint64_t id)
{
    bool is_member = raft_configuration_find(raft_active(raft), id) >= 0;
    return is_member && id != raft->options.id ? 0 : PERI_EINVAL;
}

void raft_on_peer(struct raft *raft, uint64_t id, bool is_up)
{
    int at = find(raft, id);
    if (is_up == (at >= 0))
        return;
    if (is_up)
        raft->up[raft->up_count++] = id;
    else
        raft->up[at] = raft->up[--raft->up_count];
}

void raft_forget_strangers(struct raft *raft)
{
    for (size_t i = raft->up_count; i-- > 0;)
        if (raft_configuration_find(raft_active(raft), raft->up[i]) < 0)
            raft->up[i] = raft->up[--raft->up_count];
}
