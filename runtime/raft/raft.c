/* raft.c - the step: checks an event, lets it change the state, and draws the consequences. */
#include "raft/raft.h"

#include <string.h>

#include "base/assert.h"
#include "raft/state.h"

bool raft_is_stalled(const struct raft *raft)
{
    return raft->durable_seq < raft->seq &&
           raft->now_us >= raft->pending_since_us + raft->options.election_min_us;
}

/* Members whose progress this step may have to keep. Only a candidate becomes leader, and not in
 * the step that made it one: its own vote has to be durable first. */
static size_t count_peers(const struct raft *raft, const struct raft_event *event,
                          const struct raft_configuration *next)
{
    if (raft->role != RAFT_CANDIDATE && raft->role != RAFT_LEADER)
        return 0;
    return event->type == RAFT_CHANGE ? next->count : raft_active(raft)->count;
}

/* Room for whatever this event may add: its entries, and one of this replica's own. */
static int reserve(struct raft *raft, const struct raft_event *event,
                   const struct raft_configuration *next)
{
    size_t entries = 1, runs = 1, members = 1;
    if (event->type == RAFT_PROPOSE)
        entries += event->count;
    if (event->type == RAFT_MESSAGE && event->message->type == RAFT_APPEND_ENTRIES) {
        entries += event->count;
        for (size_t i = 0; i < event->count; i++) {
            members += event->entries[i].type == RAFT_CONFIGURATION;
            runs += i == 0 || event->entries[i].term != event->entries[i - 1].term;
        }
    }
    int rc = raft_log_reserve(&raft->log, entries, runs);
    if (rc == 0)
        rc = raft_history_reserve(raft, members);
    return rc != 0 ? rc : raft_peers_reserve(raft, count_peers(raft, event, next));
}

/* ---- messages ---- */

/* What an older term says is answered with ours, so that a deposed leader or a lonely candidate
 * catches up; all else of it is ignored. */
static void on_old_term(struct raft *raft, const struct raft_message *message)
{
    if (raft_is_from_leader(message->type))
        raft_send(raft, RAFT_HEARTBEAT_REPLY, message->from);
    else if (message->type == RAFT_REQUEST_VOTE || message->type == RAFT_PRE_VOTE)
        raft_on_vote_request(raft, message);
}

/* Takes over a newer term. A pre-vote, asked for or granted, is about a term that nobody is in. */
static void meet_term(struct raft *raft, const struct raft_message *message)
{
    bool is_hypothetical = message->type == RAFT_PRE_VOTE ||
                           (message->type == RAFT_PRE_VOTE_REPLY && message->success);
    if (message->term > raft->term && !is_hypothetical)
        raft_become_follower(raft, message->term, 0);
}

static void on_leader_message(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    if (raft->role != RAFT_FOLLOWER || raft->leader != message->from)
        raft_become_follower(raft, raft->term, message->from);
    raft->has_contact = true;
    raft->contact_us = raft->now_us;
    raft_election_arm(raft);
    if (message->type == RAFT_APPEND_ENTRIES)
        raft_on_append(raft, event);
    else if (message->type == RAFT_INSTALL_SNAPSHOT)
        raft_on_install(raft, event);
    else
        raft_on_heartbeat(raft, message);
    raft_reads_retry(raft);
}

static void on_answer(struct raft *raft, const struct raft_message *message)
{
    int at = raft_configuration_find(raft_active(raft), message->from);
    if (raft->role != RAFT_LEADER || at < 0)
        return;
    struct raft_progress *peer = &raft->peers[at];
    if (message->type == RAFT_READ_INDEX) {
        raft_on_read_index(raft, (size_t)at, message);
        return;
    }
    if (peer->acked_us < message->sent_us && message->sent_us <= raft->now_us)
        peer->acked_us = message->sent_us;
    if (peer->acked_round < message->round && message->round <= raft->round)
        peer->acked_round = message->round;
    if (message->type == RAFT_APPEND_ENTRIES_REPLY)
        raft_on_append_reply(raft, (size_t)at, message);
    else
        raft_on_heartbeat_reply(raft, (size_t)at, message);
}

static void on_message(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    bool asks_votes = message->type == RAFT_PRE_VOTE || message->type == RAFT_REQUEST_VOTE;
    if (message->term < raft->term) {
        on_old_term(raft, message);
        return;
    }
    if (asks_votes && !message->is_transfer && raft_is_in_lease(raft))
        return; /* Thesis 4.2.3 */
    meet_term(raft, message);
    if (asks_votes)
        raft_on_vote_request(raft, message);
    else if (raft_is_from_leader(message->type))
        on_leader_message(raft, event);
    else if (message->type == RAFT_PRE_VOTE_REPLY || message->type == RAFT_REQUEST_VOTE_REPLY)
        raft_on_vote_reply(raft, message);
    else if (message->type == RAFT_READ_INDEX_REPLY)
        raft_on_read_index_reply(raft, message);
    else if (message->type == RAFT_TIMEOUT_NOW) {
        if (raft->role == RAFT_FOLLOWER && raft->leader == message->from &&
            raft_may_campaign(raft, false))
            raft_campaign(raft, true);
    } else
        on_answer(raft, message);
}

/* ---- time, disk, host ---- */

static void on_leader_time(struct raft *raft)
{
    if (raft->transfer_to != 0 && raft->now_us >= raft->transfer_deadline_us)
        raft->transfer_to = 0;
    if (raft->now_us < raft->heartbeat_deadline_us)
        return;
    if (raft_is_stalled(raft))
        raft_abdicate(raft);
    else if (raft->now_us - raft_quorum_seen_us(raft) >= raft->options.election_max_us)
        raft_become_follower(raft, raft->term, 0); /* CheckQuorum: Thesis 6.2 */
    else
        raft_heartbeat(raft);
}

static void on_time(struct raft *raft)
{
    if (raft->is_asleep)
        return;
    if (raft->role == RAFT_LEADER) {
        on_leader_time(raft);
        return;
    }
    if (raft->now_us < raft->election_deadline_us)
        return;
    /* So late that the process itself must have been asleep: it knows nothing of its leader. */
    bool has_slept = raft->now_us - raft->election_deadline_us >= raft->options.election_min_us;
    bool was_needed = raft->role != RAFT_FOLLOWER && !raft_is_electable(raft);
    if (was_needed) /* and is asked again, if it still is */
        raft_become_follower(raft, raft->term, 0);
    if (has_slept || !raft_may_campaign(raft, false))
        raft_election_arm(raft);
    else
        raft_campaign(raft, false);
}

static void on_persisted(struct raft *raft, const struct raft_event *event)
{
    raft->durable_seq = event->seq;
    raft->pending_since_us = raft->now_us;
    int at = raft_configuration_find(raft_active(raft), raft->options.id);
    /* Records come in order, so whatever the log held before this leader's own is durable, too. */
    if (raft->role == RAFT_LEADER && event->term == raft->term && at >= 0 &&
        event->index > raft->peers[at].match_index)
        raft->peers[at].match_index = event->index;
    raft_election_on_durable(raft);
}

static void on_persist_failed(struct raft *raft)
{
    if (raft->role == RAFT_LEADER)
        raft_abdicate(raft);
    else
        raft_become_follower(raft, raft->term, 0);
    raft->is_fenced = true;
}

static void propose(struct raft *raft, const struct raft_event *event)
{
    raft->out->index = raft->log.last_index + 1;
    for (size_t i = 0; i < event->count; i++)
        raft_append_own(raft, RAFT_COMMAND, event->entries[i].size_bytes, NULL);
}

static void forget_leader(struct raft *raft)
{
    if (raft->role != RAFT_FOLLOWER)
        return;
    raft_become_follower(raft, raft->term, 0);
    raft->has_contact = false;
}

static void handle(struct raft *raft, const struct raft_event *event,
                   const struct raft_configuration *next)
{
    int at = raft_configuration_find(raft_active(raft), event->peer);
    bool is_leader = raft->role == RAFT_LEADER;
    switch (event->type) {
    case RAFT_TIME:
        on_time(raft);
        break;
    case RAFT_MESSAGE:
        on_message(raft, event);
        break;
    case RAFT_PROPOSE:
        propose(raft, event);
        break;
    case RAFT_CHANGE:
        raft_append_own(raft, RAFT_CONFIGURATION, 0, next);
        raft->out->index = raft->log.last_index;
        break;
    case RAFT_READ:
        raft_read(raft);
        break;
    case RAFT_PERSISTED:
        on_persisted(raft, event);
        break;
    case RAFT_PERSIST_FAILED:
        on_persist_failed(raft);
        break;
    case RAFT_APPLIED:
        if (event->index > raft->last_applied)
            raft->last_applied = event->index;
        break;
    case RAFT_FETCHED:
        if (is_leader)
            raft_on_fetched(raft, (size_t)at, event);
        break;
    case RAFT_COMPACTED:
        raft_compacted(raft, event);
        break;
    case RAFT_SNAPSHOT_SENT:
        if (is_leader)
            raft_on_snapshot_sent(raft, (size_t)at, event->success);
        break;
    case RAFT_UNREACHABLE:
        if (is_leader && raft->peers[at].state == RAFT_REPLICATE)
            raft_progress_probe(&raft->peers[at]);
        break;
    case RAFT_TRANSFER:
        raft_transfer(raft, event->peer);
        break;
    case RAFT_FORGET_LEADER:
        forget_leader(raft);
        break;
    case RAFT_CAMPAIGN:
        raft_campaign(raft, false);
        break;
    case RAFT_PRIORITY:
        raft_set_priority(raft, (uint32_t)event->index);
        break;
    case RAFT_TRUST:
        raft->floor_index = event->index;
        raft->floor_term = event->term;
        if (event->last > 0 && event->last >= raft->term)
            raft_become_follower(raft, event->last + 1, 0);
        break;
    case RAFT_PEER_LOST:
        if (is_leader)
            raft_on_peer_lost(raft, (size_t)at, event);
        break;
    case RAFT_PEER_UP:
    case RAFT_PEER_DOWN:
        raft_on_peer(raft, event->peer, event->type == RAFT_PEER_UP);
        break;
    }
}

/* ---- the step ---- */

static void settle(struct raft *raft)
{
    if (raft->role == RAFT_LEADER) {
        raft_settle_commit(raft);
        raft_settle_members(raft);
    }
    if (raft->role == RAFT_LEADER) {
        raft_settle_transfer(raft);
        raft_settle_rounds(raft);
        raft_settle_sends(raft);
        raft_settle_sleep(raft);
    }
    if (!raft->is_fenced)
        raft_settle_apply(raft);
    raft_settle_reads(raft);
}

static void finish(struct raft *raft, enum raft_role role, uint64_t term, uint64_t leader)
{
    if (raft->record != NULL) {
        raft->record->term = raft->term;
        raft->record->vote = raft->vote;
    }
    if (raft->has_new_members) {
        raft_forget_strangers(raft);
        struct raft_action *action = raft_emit(raft, RAFT_NEW_MEMBERS);
        action->configuration = raft_active(raft);
        action->index = raft->history[raft->history_count - 1].index;
    }
    if (raft->role != role || raft->term != term || raft->leader != leader) {
        struct raft_action *action = raft_emit(raft, RAFT_ROLE);
        action->role = raft->role;
        action->term = raft->term;
        action->peer = raft->leader;
    }
    if (raft->role == RAFT_FOLLOWER)
        raft_peers_release(raft);
    raft->out = NULL;
    raft->record = NULL;
    raft->has_new_members = false;
}

int raft_step(struct raft *raft, const struct raft_event *event, struct raft_output *out)
{
    struct raft_configuration next;
    out->count = 0;
    out->index = out->read = 0;
    int rc = raft_check_event(raft, event, &next);
    if (rc == 0)
        rc = reserve(raft, event, &next);
    if (rc != 0)
        return rc;
    enum raft_role role = raft->role;
    uint64_t term = raft->term, leader = raft->leader;
    raft->out = out;
    if (event->now_us > raft->now_us)
        raft->now_us = event->now_us;
    raft_wake(raft, event);
    handle(raft, event, &next);
    settle(raft);
    finish(raft, role, term, leader);
    return 0;
}

/* ---- looking in ---- */

uint64_t raft_deadline_us(const struct raft *raft)
{
    if (raft->is_fenced || raft->is_asleep)
        return UINT64_MAX;
    if (raft->role == RAFT_FOLLOWER && (raft->options.priority == 0 || !raft_is_electable(raft)))
        return UINT64_MAX;
    if (raft->role != RAFT_LEADER)
        return raft->election_deadline_us;
    return raft->transfer_to != 0 && raft->transfer_deadline_us < raft->heartbeat_deadline_us
               ? raft->transfer_deadline_us
               : raft->heartbeat_deadline_us;
}

uint64_t raft_term_at(const struct raft *raft, uint64_t index)
{
    return raft_log_term(&raft->log, index);
}

const struct raft_configuration *raft_members(const struct raft *raft)
{
    return raft_active(raft);
}

bool raft_may_send(const struct raft *raft, const struct raft_message *message)
{
    return raft->role == RAFT_LEADER && message->term == raft->term &&
           message->index >= raft->log.base_index && message->last <= raft->log.last_index;
}
