#include "raft/quorum.h"

/* The largest value that a majority of the members with this bit has reached; UINT64_MAX when there
 * are none: they object to nothing. */
static uint64_t majority_value(const struct raft_configuration *configuration, uint8_t bit,
                               const uint64_t *values)
{
    uint64_t sorted[RAFT_MEMBERS_MAX]; /* descending */
    uint32_t count = 0;
    for (size_t i = 0; i < configuration->count; i++) {
        if ((configuration->members[i] & bit) == 0)
            continue;
        uint32_t at = count++;
        for (; at > 0 && sorted[at - 1] < values[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = values[i];
    }
    return count == 0 ? UINT64_MAX : sorted[count / 2];
}

uint64_t raft_quorum_value(const struct raft_configuration *configuration, const uint64_t *values)
{
    uint64_t next = majority_value(configuration, RAFT_VOTER, values);
    uint64_t old = majority_value(configuration, RAFT_VOTER_OLD, values);
    return next < old ? next : old;
}

static enum raft_outcome majority_vote(const struct raft_configuration *configuration, uint8_t bit,
                                       const uint8_t *votes)
{
    uint32_t count = 0, granted = 0, refused = 0;
    for (size_t i = 0; i < configuration->count; i++) {
        if ((configuration->members[i] & bit) == 0)
            continue;
        count++;
        granted += votes[i] == RAFT_VOTE_GRANTED;
        refused += votes[i] == RAFT_VOTE_REFUSED;
    }
    uint32_t needed = count / 2 + 1;
    if (count == 0 || granted >= needed)
        return RAFT_WON;
    return count - refused < needed ? RAFT_LOST : RAFT_PENDING;
}

enum raft_outcome raft_quorum_vote(const struct raft_configuration *configuration,
                                   const uint8_t *votes)
{
    enum raft_outcome next = majority_vote(configuration, RAFT_VOTER, votes);
    enum raft_outcome old = majority_vote(configuration, RAFT_VOTER_OLD, votes);
    if (next == RAFT_LOST || old == RAFT_LOST)
        return RAFT_LOST;
    return next == RAFT_WON && old == RAFT_WON ? RAFT_WON : RAFT_PENDING;
}
