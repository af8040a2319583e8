/* refuse.c - what raft_step refuses before anything changes: misuse, quotas, impossible messages.
 */
#include "raft/state.h"

bool raft_is_from_leader(enum raft_message_type type)
{
    return type == RAFT_APPEND_ENTRIES || type == RAFT_HEARTBEAT || type == RAFT_INSTALL_SNAPSHOT;
}

static int check_message(const struct raft *raft, const struct raft_event *event)
{
    const struct raft_message *message = event->message;
    if (message == NULL || message->to != raft->options.id || message->from == raft->options.id ||
        message->from == 0)
        return PERI_EINVAL;
    if (message->term == 0 || message->term > UINT64_MAX / 2)
        return PERI_EPROTOCOL;
    /* Two leaders in a term cannot be (Raft 5.2). */
    if (raft_is_from_leader(message->type) && message->term == raft->term &&
        (raft->role == RAFT_LEADER || (raft->leader != 0 && raft->leader != message->from)))
        return PERI_EPROTOCOL;
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        return raft_check_append(raft, event);
    case RAFT_INSTALL_SNAPSHOT:
        return raft_check_install(raft, event);
    case RAFT_APPEND_ENTRIES_REPLY:
        if (message->success && message->term == raft->term && raft->role == RAFT_LEADER &&
            message->index > raft->log.last_index)
            return PERI_EPROTOCOL;
        return 0;
    case RAFT_PRE_VOTE:
    case RAFT_REQUEST_VOTE: /* a candidate's term is newer than all of its entries */
        return message->log_term >= message->term ? PERI_EPROTOCOL : 0;
    case RAFT_READ_INDEX_REPLY:
    case RAFT_PRE_VOTE_REPLY:
    case RAFT_REQUEST_VOTE_REPLY:
    case RAFT_HEARTBEAT:
    case RAFT_HEARTBEAT_REPLY:
    case RAFT_TIMEOUT_NOW:
    case RAFT_READ_INDEX:
        return 0;
    }
    return PERI_EPROTOCOL;
}

static int check_propose(const struct raft *raft, const struct raft_event *event)
{
    if (raft->role != RAFT_LEADER)
        return PERI_ENOTLEADER;
    if (event->entries == NULL || event->count == 0 || event->count > raft->options.sizes_max / 2)
        return PERI_EINVAL;
    if (raft->transfer_to != 0) /* Thesis 3.10 */
        return PERI_EBUSY;
    uint64_t open = raft->log.last_index - raft->commit_index, bytes = 0;
    if (open > raft->options.sizes_max / 2)
        return PERI_EBUSY;
    for (size_t i = 0; i < event->count; i++) {
        if (event->entries[i].type != RAFT_COMMAND)
            return PERI_EINVAL;
        bytes += event->entries[i].size_bytes + RAFT_ENTRY_OVERHEAD;
    }
    uint64_t first = raft->commit_index + 1;
    if (open == 0 || !raft_log_is_sized(&raft->log, first))
        return 0;
    bytes += raft_log_bytes(&raft->log, first, raft->log.last_index);
    return bytes > raft->options.uncommitted_max_bytes ? PERI_EBUSY : 0;
}

static int check_persisted(const struct raft *raft, const struct raft_event *event)
{
    if (event->seq <= raft->durable_seq || event->seq > raft->seq)
        return PERI_EINVAL;
    if (raft->role == RAFT_LEADER && event->term == raft->term &&
        event->index > raft->log.last_index)
        return PERI_EINVAL;
    return 0;
}

int raft_check_event(const struct raft *raft, const struct raft_event *event,
                     struct raft_configuration *next)
{
    if (raft->is_fenced)
        return PERI_EFENCED;
    switch (event->type) {
    case RAFT_MESSAGE:
        return check_message(raft, event);
    case RAFT_PROPOSE:
        return check_propose(raft, event);
    case RAFT_CHANGE:
        return raft_check_change(raft, event, next);
    case RAFT_READ:
        if (raft->leader == 0)
            return PERI_ENOTLEADER;
        return raft->durable_seq < raft->install_seq ? PERI_EBUSY : 0;
    case RAFT_PERSISTED:
        return check_persisted(raft, event);
    case RAFT_APPLIED:
        return event->index <= raft->applying_index ? 0 : PERI_EINVAL;
    case RAFT_COMPACTED:
        return raft_check_compacted(raft, event);
    case RAFT_TRANSFER:
        return raft_check_transfer(raft, event->peer);
    case RAFT_FORGET_LEADER: /* a lease rests on the promise not to */
        return raft->options.has_leases ? PERI_EINVAL : 0;
    case RAFT_CAMPAIGN:
        if (!raft_may_campaign(raft, event->success) ||
            ((raft->options.has_leases || event->success) && raft_is_in_lease(raft)))
            return PERI_EBUSY;
        return 0;
    case RAFT_FETCHED:
    case RAFT_SNAPSHOT_SENT:
    case RAFT_UNREACHABLE:
    case RAFT_PEER_LOST:
        return raft_configuration_find(raft_active(raft), event->peer) < 0 ? PERI_EINVAL : 0;
    case RAFT_PEER_UP:
    case RAFT_PEER_DOWN:
        return raft_check_peer(raft, event->peer);
    case RAFT_PRIORITY:
        return event->index > RAFT_PRIORITY_MAX ? PERI_EINVAL : 0;
    case RAFT_TRUST:
        return event->term == UINT64_MAX || event->index == UINT64_MAX ||
                       event->last >= UINT64_MAX / 2
                   ? PERI_EINVAL
                   : 0;
    case RAFT_TIME:
    case RAFT_PERSIST_FAILED:
        return 0;
    }
    return PERI_EINVAL;
}
