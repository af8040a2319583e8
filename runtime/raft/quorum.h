/* quorum.h - what the majorities of a configuration agree on (Raft 5.3, 6). Pure.
 *
 * In a joint configuration a majority of C_old and a majority of C_new must agree. Values and votes
 * stand in the order of the configuration's members; those of learners are ignored. */
#ifndef PERI_RAFT_QUORUM_H
#define PERI_RAFT_QUORUM_H

#include "raft/configuration.h"

enum raft_vote { RAFT_VOTE_NONE, RAFT_VOTE_GRANTED, RAFT_VOTE_REFUSED };

enum raft_outcome { RAFT_PENDING, RAFT_WON, RAFT_LOST };

/* The largest value that a quorum has reached: with match_index for values, what is committed. */
uint64_t raft_quorum_value(const struct raft_configuration *configuration, const uint64_t *values);

/* How an election stands. Lost: a quorum can no longer be reached. votes: enum raft_vote. */
enum raft_outcome raft_quorum_vote(const struct raft_configuration *configuration,
                                   const uint8_t *votes);

#endif
