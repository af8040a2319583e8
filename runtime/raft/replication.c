/* replication.c - how entries reach a majority (Raft 5.3, 5.4.2; Thesis 10.2).
 *
 * Differs from figure 2 in that heartbeats are messages of their own: they never touch a log, and
 * carry no more of the commit index than the follower is known to hold. A follower that has
 * restarted no longer knows what it holds of this leader's log; it says so and is probed. */
#include "base/assert.h"
#include "raft/state.h"

enum { APPLY_ENTRIES_MAX = 1024 }; /* in a window of entries whose sizes are not known */

/* ---- leader ---- */

void raft_append_own(struct raft *raft, enum raft_entry_type type, uint32_t size_bytes,
                     const struct raft_configuration *configuration)
{
    raft_log_append(&raft->log, raft->term, size_bytes);
    struct raft_record *record = raft_record_open(raft);
    PERI_ASSERT(record->first == 0 || record->type == type);
    if (record->first == 0)
        record->first = raft->log.last_index;
    record->last = raft->log.last_index;
    record->type = type;
    if (configuration != NULL) {
        raft_history_push(raft, raft->log.last_index, configuration);
        record->configuration = raft_active(raft);
    }
}

static struct raft_message *send_stamped(struct raft *raft, enum raft_message_type type,
                                         uint64_t to)
{
    struct raft_message *message = raft_send(raft, type, to);
    message->round = raft->round;
    message->sent_us = raft->now_us;
    return message;
}

void raft_heartbeat(struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    raft->round++;
    raft->heartbeat_deadline_us = raft->now_us + raft->options.heartbeat_us;
    bool is_sleepy = raft_is_sleepy(raft);
    for (size_t i = 0; i < members->count; i++) {
        if (members->ids[i] == raft->options.id)
            continue;
        struct raft_progress *peer = &raft->peers[i];
        struct raft_message *message = send_stamped(raft, RAFT_HEARTBEAT, members->ids[i]);
        message->is_sleepy = is_sleepy;
        message->commit =
            peer->match_index < raft->commit_index ? peer->match_index : raft->commit_index;
        if (peer->commit_sent < message->commit)
            peer->commit_sent = message->commit;
    }
}

uint64_t raft_quorum_contact_us(const struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    uint64_t values[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++)
        values[i] = members->ids[i] == raft->options.id ? raft->now_us : raft->peers[i].acked_us;
    return raft_quorum_value(members, values);
}

uint64_t raft_quorum_seen_us(const struct raft *raft)
{
    uint64_t contact_us = raft_quorum_contact_us(raft);
    return contact_us > raft->quorum_since_us ? contact_us : raft->quorum_since_us;
}

static void send_append(struct raft *raft, size_t at, uint64_t last)
{
    struct raft_progress *peer = &raft->peers[at];
    struct raft_message *message =
        send_stamped(raft, RAFT_APPEND_ENTRIES, raft_active(raft)->ids[at]);
    message->index = peer->next_index - 1;
    message->log_term = raft_log_term(&raft->log, message->index);
    message->last = last;
    message->commit = raft->commit_index;
    uint64_t reach = last < raft->commit_index ? last : raft->commit_index;
    if (peer->commit_sent < reach)
        peer->commit_sent = reach;
}

static void fetch(struct raft *raft, size_t at)
{
    struct raft_action *action = raft_emit(raft, RAFT_FETCH);
    action->peer = raft_active(raft)->ids[at];
    action->first = raft->peers[at].next_index;
    action->size_bytes = raft->options.message_max_bytes;
    raft->peers[at].is_fetching = true;
}

/* One message that finds out where the logs agree; with entries when they are at hand. */
static void send_probe(struct raft *raft, size_t at)
{
    struct raft_progress *peer = &raft->peers[at];
    uint64_t last = peer->next_index - 1;
    if (peer->next_index <= raft->log.last_index && raft_log_is_sized(&raft->log, peer->next_index))
        last = raft_log_fit(&raft->log, peer->next_index, raft->log.last_index,
                            raft->options.message_max_bytes);
    send_append(raft, at, last);
    peer->is_paused = true;
}

static void send_entries(struct raft *raft, size_t at)
{
    struct raft_progress *peer = &raft->peers[at];
    uint64_t first = peer->next_index;
    if (!raft_log_is_sized(&raft->log, first)) {
        fetch(raft, at);
        return;
    }
    uint64_t last =
        raft_log_fit(&raft->log, first, raft->log.last_index, raft->options.message_max_bytes);
    send_append(raft, at, last);
    raft_progress_sent(peer, last, raft_log_bytes(&raft->log, first, last));
}

/* A follower that has everything, and nothing on its way, learns of a commit at once. */
static void send_commit(struct raft *raft, size_t at)
{
    struct raft_progress *peer = &raft->peers[at];
    if (peer->state == RAFT_REPLICATE && peer->inflight_count == 0 &&
        peer->next_index == peer->match_index + 1 && peer->match_index >= raft->log.base_index &&
        peer->commit_sent < raft->commit_index && peer->commit_sent < peer->match_index)
        send_append(raft, at, peer->match_index);
}

static void send_to(struct raft *raft, size_t at)
{
    struct raft_progress *peer = &raft->peers[at];
    for (int sent = 0; sent < RAFT_SENDS_MAX; sent++) {
        if (!raft_progress_may_send(peer, raft->options.inflight_max_bytes))
            break;
        if (peer->next_index <= raft->log.base_index) {
            raft_snapshot_offer(raft, at);
            return;
        }
        if (peer->state == RAFT_PROBE) {
            send_probe(raft, at);
            return;
        }
        if (peer->next_index > raft->log.last_index)
            break;
        send_entries(raft, at);
    }
    send_commit(raft, at);
}

void raft_settle_sends(struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    for (size_t i = 0; i < members->count; i++)
        if (members->ids[i] != raft->options.id)
            send_to(raft, i);
}

void raft_on_fetched(struct raft *raft, size_t at, const struct raft_event *event)
{
    struct raft_progress *peer = &raft->peers[at];
    if (!peer->is_fetching)
        return;
    peer->is_fetching = false;
    if (event->last < event->index || event->index != peer->next_index ||
        event->last > raft->log.last_index || event->index <= raft->log.base_index ||
        peer->state != RAFT_REPLICATE || peer->inflight_count == RAFT_INFLIGHT_MAX)
        return; /* the question is no longer asked; settling asks the next one */
    send_append(raft, at, event->last);
    raft_progress_sent(peer, event->last, event->size_bytes);
}

void raft_on_append_reply(struct raft *raft, size_t at, const struct raft_message *message)
{
    struct raft_progress *peer = &raft->peers[at];
    if (!message->success) {
        uint64_t hint = raft_log_conflict(&raft->log, message->last, message->log_term);
        /* Below the base every entry is committed, so what the follower offers there agrees. */
        if (message->last < hint)
            hint = message->last;
        raft_progress_rejected(peer, message->index, hint);
        return;
    }
    bool is_answer = message->index + 1 >= peer->next_index;
    bool has_grown = raft_progress_matched(peer, message->index);
    bool is_found = peer->state == RAFT_PROBE && (has_grown || is_answer);
    bool is_restored = peer->state == RAFT_SNAPSHOT && peer->match_index >= raft->log.base_index;
    if (is_found || is_restored) {
        raft_progress_probe(peer);
        peer->state = RAFT_REPLICATE;
    }
}

void raft_on_heartbeat_reply(struct raft *raft, size_t at, const struct raft_message *message)
{
    struct raft_progress *peer = &raft->peers[at];
    bool is_silent = peer->inflight_count > 0 && peer->match_index == peer->heartbeat_match;
    peer->is_paused = false;
    peer->is_sleepy = message->is_sleepy && message->round >= raft->sleepy_round;
    if (peer->state != RAFT_REPLICATE)
        return;
    /* It restarted, and is reminded of what it holds; or nothing can be asked there any more. */
    if (!message->success || (is_silent && peer->next_index <= raft->log.base_index))
        raft_progress_probe(peer);
    else if (is_silent)
        send_append(raft, at, peer->next_index - 1); /* was something lost on the way? */
    peer->heartbeat_match = peer->match_index;
}

/* Its acknowledgements count no more, and it is probed anew from where its log ends. */
void raft_on_peer_lost(struct raft *raft, size_t at, const struct raft_event *event)
{
    struct raft_progress *peer = &raft->peers[at];
    if (raft_active(raft)->ids[at] == raft->options.id)
        return;
    if (event->index != 0 && event->term == raft->term && event->index == raft->log.last_index)
        raft_append_own(raft, RAFT_NOOP, 0, NULL);
    if (peer->match_index <= event->last)
        return;
    peer->match_index = peer->heartbeat_match = peer->commit_sent = 0;
    raft_progress_probe(peer);
    peer->next_index = event->last + 1;
}

void raft_settle_commit(struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    uint64_t values[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++)
        values[i] = raft->peers[i].match_index;
    uint64_t index = raft_quorum_value(members, values);
    /* Only entries of its own term are committed by counting (Raft 5.4.2, figure 8). */
    if (index > raft->commit_index && index >= raft->term_start)
        raft_commit_to(raft, index);
}

/* ---- follower ---- */

void raft_commit_to(struct raft *raft, uint64_t index)
{
    PERI_ASSERT(index <= raft->log.last_index);
    if (index > raft->commit_index)
        raft->commit_index = index;
    if (raft->verified_index < raft->commit_index)
        raft->verified_index = raft->commit_index;
}

static bool is_entry_ok(const struct raft_entry *entry, uint64_t term_before,
                        const struct raft_message *message)
{
    bool has_members = entry->type == RAFT_CONFIGURATION;
    return entry->term >= term_before && entry->term > 0 && entry->term <= message->term &&
           (entry->type == RAFT_COMMAND || entry->type == RAFT_NOOP || has_members) &&
           has_members == (entry->configuration != NULL) &&
           (!has_members || raft_configuration_check(entry->configuration, NULL) == 0);
}

bool raft_is_contradiction(const struct raft *raft, const struct raft_message *message,
                           uint64_t index, uint64_t term)
{
    uint64_t known = message->term == raft->term ? raft->verified_index : raft->commit_index;
    return message->term >= raft->term && index <= known && index >= raft->log.base_index &&
           raft_log_term(&raft->log, index) != term;
}

int raft_check_append(const struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    if (message->last < message->index || message->last - message->index != event->count ||
        message->log_term > message->term || message->last > UINT64_MAX / 2)
        return PERI_EPROTOCOL;
    uint64_t term = message->log_term;
    if (raft_is_contradiction(raft, message, message->index, term))
        return PERI_EPROTOCOL;
    for (size_t i = 0; i < event->count; i++) {
        if (!is_entry_ok(&event->entries[i], term, message))
            return PERI_EPROTOCOL;
        term = event->entries[i].term;
        if (raft_is_contradiction(raft, message, message->index + 1 + i, term))
            return PERI_EPROTOCOL;
    }
    return 0;
}

static struct raft_message *reply_stamped(struct raft *raft, enum raft_message_type type,
                                          const struct raft_message *message)
{
    struct raft_message *reply = raft_send(raft, type, message->from);
    reply->round = message->round;
    reply->sent_us = message->sent_us;
    return reply;
}

static void refuse(struct raft *raft, const struct raft_message *message)
{
    struct raft_message *reply = reply_stamped(raft, RAFT_APPEND_ENTRIES_REPLY, message);
    reply->index = message->index;
    reply->last = raft_log_conflict(&raft->log, message->index, message->log_term);
    reply->log_term = raft_log_term(&raft->log, reply->last);
}

static void truncate(struct raft *raft, uint64_t first)
{
    PERI_ASSERT(first > raft->commit_index);
    raft_log_truncate(&raft->log, first);
    raft_history_truncate(raft, first);
    raft_record_open(raft)->truncate_from = first;
}

static void append_received(struct raft *raft, uint64_t index, const struct raft_entry *entry)
{
    raft_log_append(&raft->log, entry->term, entry->size_bytes);
    struct raft_record *record = raft_record_open(raft);
    if (record->first == 0)
        record->first = index;
    record->last = index;
    if (entry->type == RAFT_CONFIGURATION)
        raft_history_push(raft, index, entry->configuration);
}

void raft_on_append(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    /* What is committed agrees with every leader's log, even where it is cut off here. */
    if (message->index > raft->commit_index &&
        !raft_log_matches(&raft->log, message->index, message->log_term)) {
        refuse(raft, message);
        return;
    }
    for (size_t i = 0; i < event->count; i++) {
        uint64_t index = message->index + 1 + i;
        const struct raft_entry *entry = &event->entries[i];
        if (index <= raft->commit_index || raft_log_matches(&raft->log, index, entry->term))
            continue;
        /* Only a conflict removes entries: a short message says nothing of what is behind it. */
        if (index <= raft->log.last_index)
            truncate(raft, index);
        append_received(raft, index, entry);
    }
    if (raft->verified_index < message->last)
        raft->verified_index = message->last;
    raft_commit_to(raft, message->commit < message->last ? message->commit : message->last);
    struct raft_message *reply = reply_stamped(raft, RAFT_APPEND_ENTRIES_REPLY, message);
    reply->success = true;
    reply->index = message->last;
    raft_send_after_all(raft); /* also what came twice may still be on its way to the disk */
}

void raft_on_heartbeat(struct raft *raft, const struct raft_message *message)
{
    uint64_t verified = raft->verified_index;
    raft_commit_to(raft, message->commit < verified ? message->commit : verified);
    struct raft_message *reply = reply_stamped(raft, RAFT_HEARTBEAT_REPLY, message);
    reply->success = message->commit <= verified;
    reply->is_sleepy = raft_falls_asleep(raft, message);
}

/* ---- both ---- */

void raft_settle_apply(struct raft *raft)
{
    if (raft->applying_index > raft->last_applied || raft->commit_index == raft->last_applied)
        return;
    uint64_t first = raft->last_applied + 1, last = raft->commit_index;
    if (raft_log_is_sized(&raft->log, first))
        last = raft_log_fit(&raft->log, first, last, raft->options.unapplied_max_bytes);
    else if (last - first >= APPLY_ENTRIES_MAX)
        last = first + APPLY_ENTRIES_MAX - 1;
    raft->applying_index = last;
    struct raft_action *action = raft_emit(raft, RAFT_APPLY);
    action->first = first;
    action->last = last;
    action->after_seq = raft->seq;
}
