/* ballot.c - which of several hashes is right: what a majority of the voters has. */
#include <inttypes.h>

#include "env/log.h"
#include "node/compare.h"

bool node_compare_is_voter(const struct raft_configuration *members, uint64_t id)
{
    ptrdiff_t at = raft_configuration_find(members, id);
    return at >= 0 && (members->members[at] & RAFT_VOTER) != 0;
}

/* ---- the ballot ---- */

static size_t count_hash(const struct node_compare *compare, uint64_t hash)
{
    const struct node_group *group = compare->group;
    size_t count = node_compare_is_voter(raft_members(group->raft), group->node->options.id) &&
                   compare->ballot_own == hash;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        const struct node_compared *other = &compare->others[i];
        count += other->id != 0 && other->has_ballot && other->ballot == hash;
    }
    return count;
}

static size_t quorum_of(const struct raft_configuration *members)
{
    size_t voters = 0;
    for (size_t i = 0; i < members->count; i++)
        voters += (members->members[i] & RAFT_VOTER) != 0;
    return voters / 2 + 1;
}

static void end_ballot(struct node_compare *compare)
{
    compare->ballot_index = 0;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        compare->others[i].has_ballot = false;
}

static void tell(struct node_group *group, uint64_t peer, uint64_t index)
{
    node_tell(group->node,
              &(struct node_event){
                  .type = NODE_DIVERGED, .group = group->id, .index = index, .peer = peer});
}

/* This replica is one of the majority: people hear of those that are not. */
static void blame(struct node_compare *compare, bool is_known)
{
    struct node_group *group = compare->group;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct node_compared *other = &compare->others[i];
        bool is_told = is_known ? other->is_judged : other->is_blamed;
        if (other->id == 0 || other->differs_index == 0 || is_told ||
            (is_known && (!other->has_ballot || other->ballot == compare->ballot_own)))
            continue;
        other->is_blamed = true;
        other->is_judged = is_known;
        env_log(group->node->env, ENV_LOG_ERROR, "node",
                "group %" PRIu64 ": the machine of node %" PRIu64
                " has another state than this one behind entry %" PRIu64 "%s",
                group->id, other->id, compare->ballot_index,
                is_known ? ", and a majority has that of this one"
                         : "; no majority agrees, so nobody knows which is right");
        tell(group, other->id, compare->ballot_index);
    }
}

/* The hash of the other one is that of a majority. */
static void give_way(struct node_compare *compare, const struct node_compared *good)
{
    uint64_t low = good->equal_index < compare->ballot_index ? good->equal_index : 0;
    uint64_t high = compare->ballot_index;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        compare->others[i].is_good =
            compare->others[i].has_ballot && compare->others[i].ballot == good->ballot;
    end_ballot(compare);
    node_rebuild_begin(compare, low, high, good->id);
}

void node_ballot_judge(struct node_compare *compare)
{
    size_t quorum = quorum_of(raft_members(compare->group->raft));
    if (compare->ballot_index == 0)
        return;
    if (count_hash(compare, compare->ballot_own) >= quorum) {
        blame(compare, true);
        end_ballot(compare);
        return;
    }
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        const struct node_compared *other = &compare->others[i];
        if (other->id == 0 || !other->has_ballot || other->ballot == compare->ballot_own ||
            count_hash(compare, other->ballot) < quorum)
            continue;
        give_way(compare, other);
        return;
    }
}

/* Another hash was found than this replica's own. */
void node_ballot_begin(struct node_compare *compare, uint64_t index, uint64_t own)
{
    if (compare->ballot_index != 0 || compare->phase != NODE_SOUND)
        return;
    compare->ballot_index = index;
    compare->ballot_own = own;
    compare->ballot_periods = 0;
}

void node_ballot_on_time(struct node_compare *compare)
{
    if (compare->ballot_index == 0 || ++compare->ballot_periods <= COMPARE_BALLOT_PERIODS)
        return;
    blame(compare, false);
    end_ballot(compare);
}

/* ---- snapshots ---- */

bool node_compare_may_send(struct node_group *group, uint64_t index)
{
    struct node_compare *compare = group->compare;
    if (compare == NULL)
        return true;
    const struct raft_configuration *members = raft_members(group->raft);
    uint64_t now_us = env_now_us(group->node->env);
    size_t count = node_compare_is_voter(members, group->node->options.id);
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        count += compare->others[i].id != 0 && compare->others[i].equal_index >= index;
    if (compare->phase != NODE_SOUND)
        return false;
    if (count >= quorum_of(members) && compare->ballot_index == 0)
        return true;
    if (compare->held_index != index) {
        compare->held_index = index;
        compare->held_us = now_us;
    }
    if (now_us - compare->held_us >= COMPARE_HOLD_US)
        return true;
    node_group_compare(group);
    return false;
}
