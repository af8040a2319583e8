/* configuration.h - who belongs to a group, and how one configuration becomes the next. Pure.
 *
 * A group of voters C_old becomes C_new through the joint configuration C_old,new, in which every
 * decision needs a majority of both (Raft 6, Thesis 4.3). There is no other way to change voters:
 * single-server changes were unsafe as first published (Thesis, erratum of 4.1). Learners receive
 * the log and decide nothing (Thesis 4.2.1), so they come and go without a joint configuration.
 *
 * A member is a replica, not a machine: a replica that lost its disk comes back under a new id, for
 * it no longer knows what it promised under the old one. */
#ifndef PERI_RAFT_CONFIGURATION_H
#define PERI_RAFT_CONFIGURATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { RAFT_MEMBERS_MAX = 16 };

/* What a member is; a set of bits. In a configuration that is not joint every member is exactly
 * RAFT_VOTER, RAFT_LEARNER or RAFT_LEARNER | RAFT_PROMOTE. In a joint one RAFT_VOTER means C_new
 * and RAFT_VOTER_OLD means C_old; RAFT_VOTER_OLD alone leaves the group with C_old, together with
 * RAFT_LEARNER it becomes a learner then. */
enum raft_membership {
    RAFT_VOTER = 1,
    RAFT_VOTER_OLD = 2,
    RAFT_LEARNER = 4,
    RAFT_PROMOTE = 8 /* a learner that the leader makes a voter once it has caught up */
};

/* Members in the order of their ids, which are not 0. Entries from count on are 0. */
struct raft_configuration {
    uint64_t ids[RAFT_MEMBERS_MAX];
    uint8_t members[RAFT_MEMBERS_MAX]; /* sets of enum raft_membership */
    size_t count;
};

enum raft_change_type {
    RAFT_ADD_MEMBER,  /* a learner now, a voter once it has caught up; for good if it does not */
    RAFT_ADD_VOTER,   /* a voter at once, new or so far a learner */
    RAFT_ADD_LEARNER, /* a learner for good, new or so far a voter */
    RAFT_REMOVE
};

struct raft_change {
    enum raft_change_type type;
    uint64_t id;
};

/* Makes the configuration of count voters. Errors: PERI_EINVAL for no voter, an id of 0 or one that
 * comes twice; PERI_ETOOBIG above RAFT_MEMBERS_MAX. *out is then undefined. */
int raft_configuration_init(struct raft_configuration *out, const uint64_t *voters, size_t count,
                            struct peri_error *err);

/* Checks what came from a peer or a disk. Errors: PERI_EINVAL when it breaks a rule above, or when
 * C_old or C_new has no voter. */
int raft_configuration_check(const struct raft_configuration *configuration,
                             struct peri_error *err);

/* The index of member id, or -1. */
int raft_configuration_find(const struct raft_configuration *configuration, uint64_t id);

/* True while C_old has a say. */
bool raft_configuration_is_joint(const struct raft_configuration *configuration);

/* True when id votes, in C_old or C_new. */
bool raft_configuration_is_voter(const struct raft_configuration *configuration, uint64_t id);

/* Applies all changes at once to from, which is not joint: *out is joint when the voters differ.
 * Errors: PERI_EBUSY when from is joint; PERI_EINVAL for a change without effect, one of an unknown
 * member, two of the same, or when no voter would be left; PERI_ETOOBIG for too many members. *out
 * is then undefined. */
int raft_configuration_change(const struct raft_configuration *from,
                              const struct raft_change *changes, size_t count,
                              struct raft_configuration *out, struct peri_error *err);

/* C_old,new without C_old: *out is C_new. from is joint. */
void raft_configuration_leave(const struct raft_configuration *from,
                              struct raft_configuration *out);

#endif
