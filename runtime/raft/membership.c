/* membership.c - how a group changes its members (Raft 6, Thesis 4).
 *
 * A configuration is in force from the moment it stands in the log, committed or not, and no longer
 * when its entry is truncated; so the log's configurations are kept like the log's terms. A leader
 * begins no change before an entry of its own term and the configuration before are committed
 * (Thesis erratum of 4.1), and ends joint consensus by itself. Learners that shall become voters
 * are promoted when they caught up in a round that was no longer than an election timeout, and
 * stay learners when they did not in catchup_rounds_max rounds (Thesis 4.2.1). */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "raft/state.h"

/* ---- the configurations of the log ---- */

int raft_history_reserve(struct raft *raft, size_t count)
{
    if (raft->history_capacity - raft->history_count >= count)
        return 0;
    size_t capacity = raft->history_count + count + 1;
    struct raft_history *history = realloc(raft->history, capacity * sizeof *history);
    if (history == NULL)
        return PERI_ENOMEM;
    raft->history = history;
    raft->history_capacity = capacity;
    return 0;
}

int raft_peers_reserve(struct raft *raft, size_t count)
{
    if (raft->peer_capacity >= count)
        return 0;
    struct raft_progress *peers = realloc(raft->peers, count * sizeof *peers);
    if (peers == NULL)
        return PERI_ENOMEM;
    memset(peers + raft->peer_capacity, 0, (count - raft->peer_capacity) * sizeof *peers);
    raft->peers = peers;
    raft->peer_capacity = count;
    return 0;
}

void raft_peers_release(struct raft *raft)
{
    free(raft->peers);
    raft->peers = NULL;
    raft->peer_capacity = 0;
}

/* Keeps what is known of members that stay. */
static void remap_peers(struct raft *raft, const struct raft_configuration *from)
{
    const struct raft_configuration *to = raft_active(raft);
    struct raft_progress before[RAFT_MEMBERS_MAX];
    PERI_ASSERT(to->count <= raft->peer_capacity);
    memcpy(before, raft->peers, from->count * sizeof *before);
    for (size_t i = 0; i < to->count; i++) {
        int at = raft_configuration_find(from, to->ids[i]);
        if (at >= 0) {
            raft->peers[i] = before[at];
            continue;
        }
        raft_progress_init(&raft->peers[i], raft->log.last_index);
        raft->peers[i].catchup_index = raft->log.last_index;
        raft->peers[i].catchup_us = raft->now_us;
    }
    raft->quorum_since_us = raft->now_us;
}

void raft_history_push(struct raft *raft, uint64_t index,
                       const struct raft_configuration *configuration)
{
    PERI_ASSERT(raft->history_count < raft->history_capacity);
    PERI_ASSERT(index > raft->history[raft->history_count - 1].index);
    raft->history[raft->history_count++] = (struct raft_history){index, *configuration};
    raft->has_new_members = true;
    if (raft->role == RAFT_LEADER)
        remap_peers(raft, &raft->history[raft->history_count - 2].configuration);
}

void raft_history_truncate(struct raft *raft, uint64_t first)
{
    while (raft->history_count > 1 && raft->history[raft->history_count - 1].index >= first) {
        raft->history_count--;
        raft->has_new_members = true;
    }
}

void raft_history_compact(struct raft *raft, uint64_t base_index)
{
    size_t gone = 0;
    while (gone + 1 < raft->history_count && raft->history[gone + 1].index <= base_index)
        gone++;
    raft->history_count -= gone;
    memmove(raft->history, raft->history + gone, raft->history_count * sizeof *raft->history);
}

const struct raft_configuration *raft_members_at(const struct raft *raft, uint64_t index)
{
    if (index < raft->log.base_index)
        return NULL;
    size_t at = raft->history_count - 1;
    while (at > 0 && raft->history[at].index > index)
        at--;
    return &raft->history[at].configuration;
}

/* ---- changes ---- */

static bool is_settled(const struct raft *raft)
{
    return raft->commit_index >= raft->term_start &&
           raft->history[raft->history_count - 1].index <= raft->commit_index;
}

int raft_check_change(const struct raft *raft, const struct raft_event *event,
                      struct raft_configuration *next)
{
    if (raft->role != RAFT_LEADER)
        return PERI_ENOTLEADER;
    if (raft->transfer_to != 0 || !is_settled(raft))
        return PERI_EBUSY;
    if (event->count > RAFT_MEMBERS_MAX || event->changes == NULL)
        return PERI_EINVAL;
    return raft_configuration_change(raft_active(raft), event->changes, event->count, next, NULL);
}

static bool has_caught_up(struct raft *raft, size_t at)
{
    struct raft_progress *peer = &raft->peers[at];
    if (peer->match_index < peer->catchup_index)
        return false;
    if (peer->state == RAFT_REPLICATE &&
        raft->now_us - peer->catchup_us <= raft->options.election_min_us)
        return true;
    peer->catchup_rounds++;
    peer->catchup_index = raft->log.last_index; /* it was slow: another round */
    peer->catchup_us = raft->now_us;
    return false;
}

/* A member that never will be a voter must not keep its operator waiting for ever (Thesis 4.2.1):
 * it falls behind in every round, or is not there. */
static bool has_failed(const struct raft *raft, size_t at)
{
    const struct raft_progress *peer = &raft->peers[at];
    uint64_t heard_us = peer->acked_us > peer->catchup_us ? peer->acked_us : peer->catchup_us;
    uint64_t rounds = raft->options.catchup_rounds_max;
    return peer->catchup_rounds >= rounds ||
           (raft->now_us - heard_us) / rounds >= raft->options.election_max_us;
}

static void promote(struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    struct raft_change changes[RAFT_MEMBERS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++) {
        if ((members->members[i] & RAFT_PROMOTE) == 0)
            continue;
        if (has_caught_up(raft, i))
            changes[count++] = (struct raft_change){RAFT_ADD_VOTER, members->ids[i]};
        else if (has_failed(raft, i))
            changes[count++] = (struct raft_change){RAFT_ADD_LEARNER, members->ids[i]};
    }
    if (count == 0 || raft->transfer_to != 0)
        return;
    struct raft_configuration next;
    int rc = raft_configuration_change(members, changes, count, &next, NULL);
    PERI_ASSERT(rc == 0);
    raft_append_own(raft, RAFT_CONFIGURATION, 0, &next);
}

void raft_settle_members(struct raft *raft)
{
    /* A record describes own entries of one type only: what else is due waits for the next step. */
    bool has_appended = raft->record != NULL && raft->record->first != 0;
    if (!is_settled(raft) || has_appended)
        return;
    const struct raft_configuration *members = raft_active(raft);
    if (raft_configuration_is_joint(members)) {
        struct raft_configuration next;
        raft_configuration_leave(members, &next);
        raft_append_own(raft, RAFT_CONFIGURATION, 0, &next);
    } else if (!raft_configuration_is_voter(members, raft->options.id)) {
        raft_heartbeat(raft); /* the others learn that it is committed */
        raft_abdicate(raft);  /* Thesis 4.2.2 */
    } else {
        promote(raft);
    }
}

/* ---- leadership transfer (Thesis 3.10) ---- */

/* The voter of C_new, other than this replica, that is furthest; or -1. */
static int furthest(const struct raft *raft)
{
    const struct raft_configuration *members = raft_active(raft);
    int best = -1;
    for (size_t i = 0; i < members->count; i++)
        if (members->ids[i] != raft->options.id && (members->members[i] & RAFT_VOTER) != 0 &&
            (best < 0 || raft->peers[i].match_index > raft->peers[best].match_index))
            best = (int)i;
    return best;
}

static void tell_to_campaign(struct raft *raft, uint64_t id)
{
    raft->is_lease_over = true;
    raft_send(raft, RAFT_TIMEOUT_NOW, id);
}

void raft_abdicate(struct raft *raft)
{
    int best = furthest(raft);
    if (best >= 0)
        tell_to_campaign(raft, raft_active(raft)->ids[best]);
    raft_become_follower(raft, raft->term, 0);
}

int raft_check_transfer(const struct raft *raft, uint64_t to)
{
    if (raft->role != RAFT_LEADER)
        return PERI_ENOTLEADER;
    if (to == 0)
        return furthest(raft) >= 0 ? 0 : PERI_EINVAL;
    int at = raft_configuration_find(raft_active(raft), to);
    if (at < 0 || to == raft->options.id || (raft_active(raft)->members[at] & RAFT_VOTER) == 0)
        return PERI_EINVAL;
    return 0;
}

void raft_transfer(struct raft *raft, uint64_t to)
{
    if (to == 0)
        to = raft_active(raft)->ids[furthest(raft)];
    if (to == raft->transfer_to)
        return;
    raft->transfer_to = to;
    raft->transfer_deadline_us = raft->now_us + raft->options.election_max_us;
    raft->is_transfer_told = false;
}

void raft_settle_transfer(struct raft *raft)
{
    if (raft->transfer_to == 0)
        return;
    int at = raft_configuration_find(raft_active(raft), raft->transfer_to);
    if (at < 0 || (raft_active(raft)->members[at] & RAFT_VOTER) == 0) {
        raft->transfer_to = 0; /* it was just removed */
        return;
    }
    if (raft->is_transfer_told || raft->peers[at].match_index < raft->log.last_index)
        return;
    raft->is_transfer_told = true;
    tell_to_campaign(raft, raft->transfer_to);
}
