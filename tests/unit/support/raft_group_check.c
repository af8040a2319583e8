#include "raft_group_parts.h"

#include <inttypes.h>
#include <stdlib.h>

#include "raft/quorum.h"

void group_fail(struct group *group, const char *what, uint64_t id, uint64_t number)
{
    if (group->err.code == 0)
        peri_fail_plain(&group->err, PERI_ECORRUPT, "%s: replica %" PRIu64 ", %" PRIu64, what, id,
                        number);
}

static bool is_on_quorum(struct group *group, const struct raft_configuration *members,
                         uint64_t index, uint64_t term)
{
    uint8_t votes[RAFT_MEMBERS_MAX];
    for (size_t i = 0; i < members->count; i++) {
        const struct group_replica *replica = group_replica(group, members->ids[i]);
        bool has_lost = replica->health != GROUP_WHOLE && index <= replica->lost_last;
        votes[i] = has_lost || group_log_has(&replica->disk.log, index, term) ? RAFT_VOTE_GRANTED
                                                                              : RAFT_VOTE_REFUSED;
    }
    return raft_quorum_vote(members, votes) == RAFT_WON;
}

/* A committed entry stands on the disks of a quorum, or did: who has lost it gives no votes until
 * it has it again. */
static void check_durable(struct group *group, const struct raft *raft, uint64_t from,
                          const struct raft_configuration *before)
{
    struct raft_status status;
    raft_status(raft, &status);
    if (status.role != RAFT_LEADER || status.commit_index <= from)
        return;
    uint64_t term = raft_term_at(raft, status.commit_index);
    if (!is_on_quorum(group, before, status.commit_index, term) &&
        !is_on_quorum(group, raft_members(raft), status.commit_index, term))
        group_fail(group, "committed, but not on the disks of a quorum", status.id,
                   status.commit_index);
}

static void check_dump(struct group *group, const struct raft *raft)
{
    size_t size = raft_dump(raft, NULL, 0);
    char *bytes = group_must(malloc(size));
    raft_dump(raft, bytes, size);
    struct raft *same = NULL;
    if (raft_load(&same, bytes, size, &group->err) == 0 && raft_hash(same) != raft_hash(raft))
        group_fail(group, "a loaded dump is another state", 0, 0);
    raft_close(same);
    free(bytes);
}

void group_check(struct group *group, struct group_replica *replica, uint64_t committed,
                 const struct raft_configuration *before)
{
    const struct raft *all[GROUP_MAX];
    size_t count = 0;
    for (size_t i = 0; i < group->count; i++)
        if (group->replicas[i].raft != NULL)
            all[count++] = group->replicas[i].raft;
    raft_watch_step(group->watch, replica->raft, all, count, &group->err);
    check_durable(group, replica->raft, committed, before);
    if (group->checks_dumps)
        check_dump(group, replica->raft);
}

void group_check_promise(struct group *group, const struct group_replica *replica,
                         const struct raft_message *m)
{
    const struct group_disk *disk = &replica->disk;
    bool is_hypothetical =
        m->type == RAFT_PRE_VOTE || (m->type == RAFT_PRE_VOTE_REPLY && m->success);
    bool is_same_term = disk->term == m->term;
    if (!is_hypothetical && disk->term < m->term)
        group_fail(group, "speaks of a term that its disk does not know", replica->id, m->term);
    if (is_same_term && m->type == RAFT_REQUEST_VOTE && disk->vote != m->from)
        group_fail(group, "campaigns without its own vote on disk", replica->id, m->term);
    if (is_same_term && m->type == RAFT_REQUEST_VOTE_REPLY && m->success && disk->vote != m->to)
        group_fail(group, "gives a vote that is not on its disk", replica->id, m->term);
    if (is_same_term && m->type == RAFT_APPEND_ENTRIES_REPLY && m->success &&
        disk->log.base + disk->log.count < m->index)
        group_fail(group, "acknowledges what is not on its disk", replica->id, m->index);
}

void group_check_size(struct group *group, const struct group_packet *packet)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < packet->count; i++)
        bytes += packet->entries[i].size_bytes + RAFT_ENTRY_OVERHEAD;
    if (packet->count > 1 && bytes > group->options.message_max_bytes)
        group_fail(group, "sends more than a message may hold", packet->message.from, bytes);
}
