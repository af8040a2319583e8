/* repair_voters.c - whom a replica that repairs itself asks, and what their answers mean together.
 *
 * Its disk may have lost configurations, too, so it does not know who votes. A leader knows best of
 * all who speak in its term or an older one; while none has answered, everybody counts who is a
 * voter in the own log or in that of one who answered. */
#include "node/repair.h"
#include "raft/quorum.h"

void node_repair_add(struct node_repair *repair, uint64_t id, bool is_voter)
{
    struct node_repair_voter *place = NULL;
    if (id == 0 || id == repair->group->node->options.id)
        return;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++) {
        struct node_repair_voter *voter = &repair->voters[i];
        if (voter->id == id) {
            voter->is_voter |= is_voter;
            return;
        }
        if (voter->id == 0 && place == NULL)
            place = voter;
    }
    if (place == NULL)
        repair->is_crowded |= is_voter;
    else
        *place = (struct node_repair_voter){.repair = repair, .id = id, .is_voter = is_voter};
}

void node_repair_add_voters(struct node_repair *repair, const struct raft_configuration *members)
{
    for (size_t i = 0; i < members->count; i++)
        if (raft_configuration_is_voter(members, members->ids[i]))
            node_repair_add(repair, members->ids[i], true);
}

void node_repair_learn(struct node_repair *repair, const struct node_repair_voter *from)
{
    struct raft_status status;
    raft_status(repair->group->raft, &status);
    bool is_best = from->is_leader && from->term >= status.term;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++) {
        const struct node_repair_voter *voter = &repair->voters[i];
        is_best =
            is_best && (!voter->is_voter || !voter->has_answered || voter->term <= from->term);
    }
    for (size_t i = 0; i < REPAIR_VOTERS_MAX && is_best; i++)
        repair->voters[i].is_voter = false;
    if (is_best) {
        repair->led_term = from->term;
        repair->led_members = from->members;
    }
    if (is_best || from->term > repair->led_term)
        node_repair_add_voters(repair, &from->members);
}

bool node_repair_have_all_answered(const struct node_repair *repair)
{
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
        if (repair->voters[i].is_voter && !repair->voters[i].has_answered)
            return false;
    return !repair->is_crowded;
}

static bool is_whole(const struct node_repair *repair, uint64_t id)
{
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
        if (repair->voters[i].id == id)
            return repair->voters[i].has_answered && repair->voters[i].health == STORE_LOG_CLEAN;
    return false;
}

static bool do_win(const struct node_repair *repair, const struct raft_configuration *members,
                   bool are_whole)
{
    uint8_t votes[RAFT_MEMBERS_MAX] = {0};
    for (size_t i = 0; i < members->count; i++)
        votes[i] =
            is_whole(repair, members->ids[i]) == are_whole ? RAFT_VOTE_GRANTED : RAFT_VOTE_REFUSED;
    return raft_quorum_vote(members, votes) == RAFT_WON;
}

bool node_repair_can_elect(const struct node_repair *repair, bool are_whole, bool in_all)
{
    const struct raft_configuration *own = raft_members(repair->group->raft);
    if (do_win(repair, repair->led_term > 0 ? &repair->led_members : own, are_whole) != in_all)
        return !in_all;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++) {
        const struct node_repair_voter *voter = &repair->voters[i];
        if (voter->is_voter && voter->has_answered && voter->term > repair->led_term &&
            do_win(repair, &voter->members, are_whole) != in_all)
            return !in_all;
    }
    return in_all;
}

bool node_repair_is_anybody_damaged(const struct node_repair *repair)
{
    bool is = repair->group->health == STORE_LOG_DAMAGED;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
        is = is || (repair->voters[i].is_voter && repair->voters[i].health == STORE_LOG_DAMAGED);
    return is;
}
