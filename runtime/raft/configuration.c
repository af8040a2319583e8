#include "raft/configuration.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"

int raft_configuration_find(const struct raft_configuration *configuration, uint64_t id)
{
    for (size_t i = 0; i < configuration->count; i++)
        if (configuration->ids[i] == id)
            return (int)i;
    return -1;
}

static uint8_t union_of(const struct raft_configuration *configuration)
{
    uint8_t all = 0;
    for (size_t i = 0; i < configuration->count; i++)
        all |= configuration->members[i];
    return all;
}

bool raft_configuration_is_joint(const struct raft_configuration *configuration)
{
    return (union_of(configuration) & RAFT_VOTER_OLD) != 0;
}

bool raft_configuration_is_voter(const struct raft_configuration *configuration, uint64_t id)
{
    int at = raft_configuration_find(configuration, id);
    return at >= 0 && (configuration->members[at] & (RAFT_VOTER | RAFT_VOTER_OLD)) != 0;
}

/* Adds a member that is not there; returns its place. */
static int insert(struct raft_configuration *configuration, uint64_t id)
{
    size_t at = configuration->count++;
    for (; at > 0 && configuration->ids[at - 1] > id; at--) {
        configuration->ids[at] = configuration->ids[at - 1];
        configuration->members[at] = configuration->members[at - 1];
    }
    configuration->ids[at] = id;
    configuration->members[at] = 0;
    return (int)at;
}

/* Takes out the members that are nothing any more. */
static void sweep(struct raft_configuration *configuration)
{
    struct raft_configuration kept = {{0}, {0}, 0};
    for (size_t i = 0; i < configuration->count; i++) {
        if (configuration->members[i] == 0)
            continue;
        kept.ids[kept.count] = configuration->ids[i];
        kept.members[kept.count++] = configuration->members[i];
    }
    *configuration = kept;
}

static bool is_membership(uint8_t member)
{
    switch (member) {
    case RAFT_VOTER:
    case RAFT_LEARNER:
    case RAFT_LEARNER | RAFT_PROMOTE:
    case RAFT_VOTER_OLD:
    case RAFT_VOTER_OLD | RAFT_VOTER:
    case RAFT_VOTER_OLD | RAFT_LEARNER:
        return true;
    default:
        return false;
    }
}

int raft_configuration_check(const struct raft_configuration *configuration, struct peri_error *err)
{
    if (configuration->count > RAFT_MEMBERS_MAX)
        return peri_fail(err, PERI_EINVAL, "configuration of %zu members", configuration->count);
    uint64_t last = 0;
    for (size_t i = 0; i < configuration->count; i++) {
        if (configuration->ids[i] <= last)
            return peri_fail(err, PERI_EINVAL, "configuration with id %" PRIu64 " out of order",
                             configuration->ids[i]);
        if (!is_membership(configuration->members[i]))
            return peri_fail(err, PERI_EINVAL, "member %" PRIu64 " is %u", configuration->ids[i],
                             configuration->members[i]);
        last = configuration->ids[i];
    }
    /* A joint configuration without C_new would never end; one without C_old is not joint. */
    if ((union_of(configuration) & RAFT_VOTER) == 0)
        return peri_fail(err, PERI_EINVAL, "configuration without a voter");
    return 0;
}

int raft_configuration_init(struct raft_configuration *out, const uint64_t *voters, size_t count,
                            struct peri_error *err)
{
    if (count > RAFT_MEMBERS_MAX)
        return peri_fail(err, PERI_ETOOBIG, "%zu members, at most %d", count, RAFT_MEMBERS_MAX);
    *out = (struct raft_configuration){{0}, {0}, 0};
    for (size_t i = 0; i < count; i++) {
        if (voters[i] == 0 || raft_configuration_find(out, voters[i]) >= 0)
            return peri_fail(err, PERI_EINVAL, "voter %" PRIu64 " is no id or comes twice",
                             voters[i]);
        int at = insert(out, voters[i]);
        out->members[at] = RAFT_VOTER;
    }
    return raft_configuration_check(out, err);
}

static uint8_t wanted(enum raft_change_type type)
{
    switch (type) {
    case RAFT_ADD_MEMBER:
        return RAFT_LEARNER | RAFT_PROMOTE;
    case RAFT_ADD_VOTER:
        return RAFT_VOTER;
    case RAFT_ADD_LEARNER:
        return RAFT_LEARNER;
    case RAFT_REMOVE:
        break;
    }
    return 0;
}

static int change_one(struct raft_configuration *next, const struct raft_change *change,
                      struct peri_error *err)
{
    uint8_t member = wanted(change->type);
    int at = raft_configuration_find(next, change->id);
    if (change->id == 0 || (at < 0 && member == 0))
        return peri_fail(err, PERI_EINVAL, "no member %" PRIu64, change->id);
    if (at >= 0 && (next->members[at] == member ||
                    (change->type == RAFT_ADD_MEMBER && next->members[at] == RAFT_VOTER)))
        return peri_fail(err, PERI_EINVAL, "member %" PRIu64 " is that already", change->id);
    if (at < 0) {
        if (next->count == RAFT_MEMBERS_MAX)
            return peri_fail(err, PERI_ETOOBIG, "more than %d members", RAFT_MEMBERS_MAX);
        at = insert(next, change->id);
    }
    next->members[at] = member;
    return 0;
}

static bool differ_in_voters(const struct raft_configuration *from,
                             const struct raft_configuration *next)
{
    for (size_t i = 0; i < next->count; i++) {
        int at = raft_configuration_find(from, next->ids[i]);
        uint8_t before = at < 0 ? 0 : from->members[at];
        if ((before & RAFT_VOTER) != (next->members[i] & RAFT_VOTER))
            return true;
    }
    return false;
}

int raft_configuration_change(const struct raft_configuration *from,
                              const struct raft_change *changes, size_t count,
                              struct raft_configuration *out, struct peri_error *err)
{
    if (raft_configuration_is_joint(from))
        return peri_fail_plain(err, PERI_EBUSY, "another change of the members is under way");
    if (count == 0)
        return peri_fail(err, PERI_EINVAL, "no change of members");
    *out = *from;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++)
            if (changes[j].id == changes[i].id)
                return peri_fail(err, PERI_EINVAL, "two changes of member %" PRIu64, changes[i].id);
        int rc = change_one(out, &changes[i], err);
        if (rc != 0)
            return rc;
    }
    /* Members that leave are still in out, as nothing: C_old needs the voters among them. */
    if (differ_in_voters(from, out))
        for (size_t i = 0; i < from->count; i++)
            if ((from->members[i] & RAFT_VOTER) != 0) {
                int at = raft_configuration_find(out, from->ids[i]);
                out->members[at] |= RAFT_VOTER_OLD;
            }
    sweep(out);
    return raft_configuration_check(out, err);
}

void raft_configuration_leave(const struct raft_configuration *from, struct raft_configuration *out)
{
    PERI_ASSERT(raft_configuration_is_joint(from));
    *out = *from;
    for (size_t i = 0; i < out->count; i++)
        out->members[i] &= (uint8_t)~RAFT_VOTER_OLD;
    sweep(out);
}
