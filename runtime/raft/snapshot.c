/* snapshot.c - logs that begin late (Raft 7, Thesis 5).
 *
 * The host moves a snapshot's content, in whatever chunks; the core only decides that a peer needs
 * it, and what a complete one does to the log. It is installed by a record like any other write, so
 * that entries received meanwhile follow it to the disk in order. */
#include "base/assert.h"
#include "raft/state.h"

void raft_snapshot_offer(struct raft *raft, size_t at)
{
    struct raft_progress *peer = &raft->peers[at];
    PERI_ASSERT(raft->snapshot_index >= raft->log.base_index);
    if (peer->acked_us + raft->options.election_max_us <= raft->now_us) {
        raft_progress_probe(peer);
        peer->is_paused = true; /* nobody is there: a heartbeat's answer will say otherwise */
        return;
    }
    raft_progress_probe(peer);
    peer->state = RAFT_SNAPSHOT;
    peer->snapshot_index = raft->snapshot_index;
    struct raft_message *message =
        raft_send(raft, RAFT_INSTALL_SNAPSHOT, raft_active(raft)->ids[at]);
    message->index = raft->snapshot_index;
    message->log_term = raft->snapshot_term;
    message->round = raft->round;
    message->sent_us = raft->now_us;
}

void raft_on_snapshot_sent(struct raft *raft, size_t at, bool success)
{
    struct raft_progress *peer = &raft->peers[at];
    if (peer->state != RAFT_SNAPSHOT)
        return;
    raft_progress_probe(peer);
    if (success && peer->next_index <= peer->snapshot_index)
        peer->next_index = peer->snapshot_index + 1;
    peer->is_paused = true; /* until it answers a heartbeat, or says that it has installed it */
}

int raft_check_install(const struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    if (message->index == 0 || message->index > UINT64_MAX / 2 || message->log_term == 0 ||
        message->log_term > message->term || event->configuration == NULL ||
        raft_configuration_check(event->configuration, NULL) != 0 ||
        raft_is_contradiction(raft, message, message->index, message->log_term))
        return PERI_EPROTOCOL;
    return 0;
}

static void install(struct raft *raft, const struct raft_event *event)
{
    uint64_t index = event->message->index, term = event->message->log_term;
    raft_log_reset(&raft->log, index, term);
    raft->history[0] = (struct raft_history){index, *event->configuration};
    raft->history_count = 1;
    raft->has_new_members = true;
    raft->snapshot_index = index;
    raft->snapshot_term = term;
    raft->last_applied = raft->applying_index = index;
    struct raft_record *record = raft_record_open(raft);
    record->snapshot_index = index;
    record->snapshot_term = term;
    record->configuration = raft_active(raft);
    raft->install_seq = raft->seq;
}

void raft_on_install(struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    uint64_t index = message->index;
    if (index > raft->commit_index) {
        if (!raft_log_matches(&raft->log, index, message->log_term))
            install(raft, event);
        raft_commit_to(raft, index); /* a snapshot holds only what is committed */
    }
    struct raft_message *reply = raft_send(raft, RAFT_APPEND_ENTRIES_REPLY, message->from);
    reply->success = true;
    reply->index = raft->commit_index;
    reply->round = message->round;
    reply->sent_us = message->sent_us;
    raft_send_after_all(raft);
}

int raft_check_compacted(const struct raft *raft, const struct raft_event *event)
{
    bool is_ordered = raft->log.base_index <= event->index && event->index <= event->last &&
                      raft->snapshot_index <= event->last && event->last <= raft->last_applied;
    return is_ordered ? 0 : PERI_EINVAL;
}

void raft_compacted(struct raft *raft, const struct raft_event *event)
{
    if (event->last > raft->snapshot_index) {
        raft->snapshot_index = event->last;
        raft->snapshot_term = raft_log_term(&raft->log, event->last);
    }
    raft_log_compact(&raft->log, event->index);
    raft_log_trim(&raft->log);
    raft_history_compact(raft, event->index);
}
