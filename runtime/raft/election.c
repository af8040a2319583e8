/* election.c - who leads (Raft 5.2, 5.4.1), after a pre-vote (Thesis 9.6).
 *
 * A replica grants no vote, and helps nobody to a higher term, within election_min of hearing from
 * a leader (Thesis 4.2.3): that keeps removed and partitioned replicas from unsettling a group, and
 * it is what leases rest on. Only a candidate that the leader itself named is exempt. Votes are
 * given without asking whether the candidate is a member here: it may know a newer configuration
 * (4.2.1).
 *
 * Differs from the thesis in one case more: a replica that votes no more, and knows it, campaigns
 * when its host says that voters have lost what it still holds. That is as safe as a leader that
 * was removed (4.2.2): the votes and the log decide, and are those of the configuration in force.
 * It leads until an entry of its term is committed, and then hands over to a voter. */
#include "base/assert.h"
#include "raft/state.h"

void raft_election_arm(struct raft *raft)
{
    uint64_t spread = raft->options.election_max_us - raft->options.election_min_us;
    uint64_t steps = RAFT_PRIORITY_MAX - raft->options.priority;
    raft->election_deadline_us =
        raft->now_us + raft->options.election_min_us + steps * spread + raft_random(raft) % spread;
}

void raft_set_priority(struct raft *raft, uint32_t priority)
{
    raft->options.priority = priority;
    if (priority == 0 && raft->role == RAFT_LEADER)
        raft_abdicate(raft);
    else if (priority == 0 && raft->role != RAFT_FOLLOWER)
        raft_become_follower(raft, raft->term, 0);
    if (raft->role != RAFT_LEADER)
        raft_election_arm(raft);
}

bool raft_is_in_lease(const struct raft *raft)
{
    return raft->role == RAFT_LEADER || raft->is_asleep ||
           (raft->has_contact && raft->now_us < raft->contact_us + raft->options.election_min_us);
}

bool raft_is_electable(const struct raft *raft)
{
    for (size_t i = raft->history_count; i-- > 0;) {
        if (raft_configuration_is_voter(&raft->history[i].configuration, raft->options.id))
            return true;
        if (raft->history[i].index <= raft->commit_index)
            break;
    }
    return false;
}

/* Raft 5.4.1, of a log that ends with entry (index, term) against another. */
static bool reaches(uint64_t index, uint64_t term, uint64_t other_index, uint64_t other_term)
{
    return term != other_term ? term > other_term : index >= other_index;
}

bool raft_may_campaign(const struct raft *raft, bool is_needed)
{
    uint64_t last = raft->log.last_index;
    if (!reaches(last, raft_log_term(&raft->log, last), raft->floor_index, raft->floor_term))
        return false;
    return raft->options.priority > 0 && raft->role != RAFT_LEADER && !raft->is_fenced &&
           !raft_is_stalled(raft) && raft->durable_seq >= raft->install_seq &&
           (is_needed || raft_is_electable(raft));
}

void raft_become_follower(struct raft *raft, uint64_t term, uint64_t leader)
{
    PERI_ASSERT(term >= raft->term); /* only grows: Raft figure 2 */
    if (term > raft->term) {
        raft->term = term;
        raft->vote = 0;
        raft->verified_index = raft->commit_index;
        raft_record_open(raft);
        raft->hard_seq = raft->seq;
    }
    if (raft->role != RAFT_FOLLOWER || raft->leader != leader)
        raft_reads_drop(raft);
    if (raft->role == RAFT_LEADER) {
        raft->lost_us = raft_quorum_seen_us(raft);
        raft_election_arm(raft);
    }
    raft->role = RAFT_FOLLOWER;
    raft->leader = leader;
    raft->transfer_to = 0;
}

static void clear_votes(struct raft *raft)
{
    for (int i = 0; i < RAFT_MEMBERS_MAX; i++)
        raft->votes[i] = RAFT_VOTE_NONE;
}

static void ask_voters(struct raft *raft, enum raft_message_type type, uint64_t term,
                       bool is_transfer)
{
    const struct raft_configuration *members = raft_active(raft);
    for (size_t i = 0; i < members->count; i++) {
        uint64_t id = members->ids[i];
        if (id == raft->options.id || !raft_configuration_is_voter(members, id))
            continue;
        struct raft_message *message = raft_send(raft, type, id);
        message->term = term;
        message->index = raft->log.last_index;
        message->log_term = raft_log_term(&raft->log, raft->log.last_index);
        message->is_transfer = is_transfer;
    }
}

static void become_candidate(struct raft *raft, bool is_transfer)
{
    raft_become_follower(raft, raft->term + 1, 0);
    raft->role = RAFT_CANDIDATE;
    raft->vote = raft->options.id;
    clear_votes(raft); /* its own counts once it is durable: raft_election_on_durable */
    raft_election_arm(raft);
    ask_voters(raft, RAFT_REQUEST_VOTE, raft->term, is_transfer);
}

static void become_leader(struct raft *raft)
{
    raft->role = RAFT_LEADER;
    raft->leader = raft->options.id;
    raft->term_start = raft->log.last_index + 1;
    raft->quorum_since_us = raft->now_us;
    raft->round = 1; /* the first entry is its heartbeat */
    raft->heartbeat_deadline_us = raft->now_us + raft->options.heartbeat_us;
    raft->is_lease_over = false;
    raft->active_us = raft->now_us;
    raft->sleepy_round = 0;
    raft->reads.own = (struct raft_read_slot){0};
    PERI_ASSERT(raft_active(raft)->count <= raft->peer_capacity);
    for (size_t i = 0; i < raft_active(raft)->count; i++) {
        raft_progress_init(&raft->peers[i], raft->term_start);
        raft->peers[i].catchup_index = raft->log.last_index;
        raft->peers[i].catchup_us = raft->now_us;
    }
    /* Entries of earlier terms are committed only together with one of this (Raft 5.4.2, 8). */
    raft_append_own(raft, RAFT_NOOP, 0, NULL);
}

/* Goes on when the votes suffice, gives up when they no longer can. */
static void tally(struct raft *raft)
{
    enum raft_outcome outcome = raft_quorum_vote(raft_active(raft), raft->votes);
    if (outcome == RAFT_LOST)
        raft_become_follower(raft, raft->term, 0);
    else if (outcome == RAFT_WON && raft->role == RAFT_PRE_CANDIDATE)
        become_candidate(raft, false);
    else if (outcome == RAFT_WON)
        become_leader(raft);
}

static void cast(struct raft *raft, uint64_t from, bool granted)
{
    int at = raft_configuration_find(raft_active(raft), from);
    if (at < 0)
        return;
    raft->votes[at] = granted ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    tally(raft);
}

void raft_campaign(struct raft *raft, bool is_transfer)
{
    if (is_transfer) {
        become_candidate(raft, true);
        return;
    }
    raft_become_follower(raft, raft->term, 0);
    raft->role = RAFT_PRE_CANDIDATE;
    clear_votes(raft);
    raft_election_arm(raft);
    ask_voters(raft, RAFT_PRE_VOTE, raft->term + 1, false);
    cast(raft, raft->options.id, true);
}

void raft_election_on_durable(struct raft *raft)
{
    int at = raft_configuration_find(raft_active(raft), raft->options.id);
    if (raft->role == RAFT_CANDIDATE && raft->durable_seq >= raft->hard_seq && at >= 0 &&
        raft->votes[at] == RAFT_VOTE_NONE)
        cast(raft, raft->options.id, true);
}

static bool is_up_to_date(const struct raft *raft, const struct raft_message *message)
{
    uint64_t last = raft->log.last_index;
    return reaches(message->index, message->log_term, last, raft_log_term(&raft->log, last)) &&
           reaches(message->index, message->log_term, raft->floor_index, raft->floor_term);
}

void raft_on_vote_request(struct raft *raft, const struct raft_message *message)
{
    bool is_real = message->type == RAFT_REQUEST_VOTE;
    bool is_free = raft->vote == message->from || (raft->vote == 0 && raft->leader == 0) ||
                   (!is_real && message->term > raft->term);
    bool granted = message->term >= raft->term && is_free && is_up_to_date(raft, message);
    if (granted && is_real && raft->vote == 0) {
        raft->vote = message->from;
        raft_record_open(raft);
        raft->hard_seq = raft->seq;
    }
    if (granted && is_real)
        raft_election_arm(raft);
    if (!granted && raft->term == 0)
        return; /* impaired: it has forgotten all terms, and no message is of term 0 */
    struct raft_message *reply =
        raft_send(raft, is_real ? RAFT_REQUEST_VOTE_REPLY : RAFT_PRE_VOTE_REPLY, message->from);
    reply->success = granted;
    if (granted)
        reply->term = message->term;
}

void raft_on_vote_reply(struct raft *raft, const struct raft_message *message)
{
    bool is_real = message->type == RAFT_REQUEST_VOTE_REPLY;
    uint64_t expected = raft->term + (!is_real && message->success ? 1 : 0);
    if (raft->role == (is_real ? RAFT_CANDIDATE : RAFT_PRE_CANDIDATE) && message->term == expected)
        cast(raft, message->from, message->success);
}
