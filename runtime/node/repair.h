/* repair.h - the question of a replica that repairs itself, and its answer: repair.c asks,
 * repair_voters.c knows what the answers mean together, repair_serve.c answers. Each is a call of
 * raft.repair with one byte string (numbers u64, little-endian).
 *
 *   question   envelope without messages (message.h), group, last index, term and index of the
 *              entry behind which it waits for another (0: none), flags u8 (health, and whether the
 *              other shall lead, for it has the log that those vote for who have lost something)
 *   answer     term, last index, term of that entry, commit index, flags u8 (health, and whether
 *              it leads), members (members.c)
 */
#ifndef PERI_NODE_REPAIR_H
#define PERI_NODE_REPAIR_H

#include "node/parts.h"

enum {
    REPAIR_QUESTION_SIZE = 4 * 8 + 1, /* behind the envelope */
    REPAIR_ANSWER_HEAD = 4 * 8 + 1,   /* before the members */
    REPAIR_HEALTH_MASK = 3,
    REPAIR_FLAG_LEADER = 4,
    REPAIR_FLAG_NEEDED = 4, /* of a question */
    REPAIR_VOTERS_MAX = 2 * RAFT_MEMBERS_MAX
};

/* Another replica, and what it said. */
struct node_repair_voter {
    struct node_repair *repair;
    uint64_t id; /* 0: the place is free */
    struct rpc_request request;
    struct peri_buffer args;
    bool is_voter; /* as far as is known; else it is asked because it said that it leads */
    bool is_asked, has_answered, is_leader;
    enum store_log_health health;
    uint64_t term, last_index, last_term;
    uint64_t led_term, led_index; /* what it said first as the leader of a term: its log's end */
    struct raft_configuration members;
};

/* Of a group whose disk has lost something. */
struct node_repair {
    struct node_group *group;
    struct node_repair_voter voters[REPAIR_VOTERS_MAX];
    bool is_crowded;     /* there was no place for one of them */
    bool is_hearing;     /* no longer deaf: step 2 */
    uint64_t floor_term; /* messages of older terms are not heard */
    bool is_trusted;     /* the core votes for logs that reach to this entry: */
    uint64_t trusted_index, trusted_term;
    uint64_t barrier_term, barrier_index;  /* where that leader's log ended; 0: not known */
    uint64_t led_term;                     /* 0: no leader has answered */
    struct raft_configuration led_members; /* those of that term's leader */
    uint64_t due_us;
    char why[NODE_WHY_SIZE];
};

/* Asks a replica from now on; or the voters of members, this one aside. */
void node_repair_add(struct node_repair *repair, uint64_t id, bool is_voter);
void node_repair_add_voters(struct node_repair *repair, const struct raft_configuration *members);

/* Learns voters from an answer that was just read. */
void node_repair_learn(struct node_repair *repair, const struct node_repair_voter *from);

/* True when every voter that is known has answered. */
bool node_repair_have_all_answered(const struct node_repair *repair);

/* True when the others who are whole (or who are not, and this one) are a majority, in all (or in
 * any) of the configurations that may be in force. */
bool node_repair_can_elect(const struct node_repair *repair, bool are_whole, bool in_all);

/* True when the disk of a voter, or this one's, is known to be damaged: not only suspect. */
bool node_repair_is_anybody_damaged(const struct node_repair *repair);

#endif
