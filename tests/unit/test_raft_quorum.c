/* Configurations and quorums: tables of changes, and quorums beside a count over all subsets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "raft/configuration.h"
#include "raft/quorum.h"

enum { ROUNDS = 20000, VALUES = 6 };

/* "1 2 -3 4? (5" : voter, voter, learner, learner to promote, voter of C_old only; "1*" in both. */
static struct raft_configuration parse(const char *text)
{
    struct raft_configuration made = {{0}, {0}, 0};
    char copy[200];
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = copy;
    for (char *word = strtok_r(rest, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        uint8_t member = 0;
        if (*word == '(') {
            member = RAFT_VOTER_OLD;
            word++;
        }
        if (*word == '-') {
            member |= RAFT_LEARNER;
            word++;
        }
        char *end;
        made.ids[made.count] = strtoull(word, &end, 10);
        if (*end == '?')
            member |= RAFT_LEARNER | RAFT_PROMOTE;
        if (*end == '*')
            member |= RAFT_VOTER | RAFT_VOTER_OLD;
        made.members[made.count++] = member == 0 ? RAFT_VOTER : member;
    }
    return made;
}

struct change_case {
    const char *title, *from;
    struct raft_change changes[4];
    size_t count;
    const char *to;    /* NULL: refused */
    const char *after; /* leaving a joint one; NULL: not joint */
    int rc;
};

/* raft.md scenario 61 */
static const struct change_case CHANGES[] = {
    {"add a voter", "1", {{RAFT_ADD_VOTER, 2}}, 1, "1* 2", "1 2", 0},
    {"add two, remove one",
     "1 2 3",
     {{RAFT_ADD_VOTER, 4}, {RAFT_ADD_VOTER, 5}, {RAFT_REMOVE, 1}},
     3,
     "(1 2* 3* 4 5",
     "2 3 4 5",
     0},
    {"a learner needs no joint", "1 2", {{RAFT_ADD_LEARNER, 3}}, 1, "1 2 -3", NULL, 0},
    {"a member starts as learner", "1 2", {{RAFT_ADD_MEMBER, 3}}, 1, "1 2 3?", NULL, 0},
    {"promotion", "1 2 3?", {{RAFT_ADD_VOTER, 3}}, 1, "1* 2* 3", "1 2 3", 0},
    {"demotion keeps the vote in C_old",
     "1 2 3",
     {{RAFT_ADD_LEARNER, 3}},
     1,
     "1* 2* (-3",
     "1 2 -3",
     0},
    {"remove a learner", "1 -2", {{RAFT_REMOVE, 2}}, 1, "1", NULL, 0},
    {"a learner may stop waiting", "1 2?", {{RAFT_ADD_LEARNER, 2}}, 1, "1 -2", NULL, 0},
    {"a learner may start waiting", "1 -2", {{RAFT_ADD_MEMBER, 2}}, 1, "1 2?", NULL, 0},
    {"joint twice", "1* 2", {{RAFT_ADD_VOTER, 3}}, 1, NULL, NULL, PERI_EBUSY},
    {"the last voter", "1", {{RAFT_REMOVE, 1}}, 1, NULL, NULL, PERI_EINVAL},
    {"the last voter becomes a learner",
     "1 -2",
     {{RAFT_ADD_LEARNER, 1}},
     1,
     NULL,
     NULL,
     PERI_EINVAL},
    {"id 0", "1", {{RAFT_ADD_VOTER, 0}}, 1, NULL, NULL, PERI_EINVAL},
    {"unknown", "1 2", {{RAFT_REMOVE, 3}}, 1, NULL, NULL, PERI_EINVAL},
    {"a voter again", "1 2", {{RAFT_ADD_VOTER, 2}}, 1, NULL, NULL, PERI_EINVAL},
    {"a voter is a member already", "1 2", {{RAFT_ADD_MEMBER, 2}}, 1, NULL, NULL, PERI_EINVAL},
    {"one id twice", "1 2", {{RAFT_ADD_VOTER, 3}, {RAFT_REMOVE, 3}}, 2, NULL, NULL, PERI_EINVAL},
    {"nothing", "1 2", {{RAFT_REMOVE, 0}}, 0, NULL, NULL, PERI_EINVAL},
};

static void test_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CHANGES / sizeof *CHANGES; i++) {
        const struct change_case *c = &CHANGES[i];
        struct raft_configuration from = parse(c->from), to, expected;
        int rc = raft_configuration_change(&from, c->changes, c->count, &to, NULL);
        if (rc != c->rc)
            fail_msg("%s: %d instead of %d", c->title, rc, c->rc);
        if (rc != 0)
            continue;
        expected = parse(c->to);
        if (memcmp(&to, &expected, sizeof to) != 0)
            fail_msg("%s: not %s", c->title, c->to);
        assert_int_equal(raft_configuration_check(&to, NULL), 0);
        assert_int_equal(raft_configuration_is_joint(&to), c->after != NULL);
        if (c->after == NULL)
            continue;
        struct raft_configuration left;
        raft_configuration_leave(&to, &left);
        expected = parse(c->after);
        if (memcmp(&left, &expected, sizeof left) != 0)
            fail_msg("%s: does not leave to %s", c->title, c->after);
    }
}

static void test_init_and_check(void **state)
{
    (void)state;
    struct raft_configuration made;
    uint64_t ids[RAFT_MEMBERS_MAX + 1];
    for (uint64_t i = 0; i <= RAFT_MEMBERS_MAX; i++)
        ids[i] = 100 - i;
    assert_int_equal(raft_configuration_init(&made, ids, RAFT_MEMBERS_MAX, NULL), 0);
    assert_int_equal(made.ids[0], 100 - RAFT_MEMBERS_MAX + 1);
    assert_int_equal(raft_configuration_init(&made, ids, RAFT_MEMBERS_MAX + 1, NULL), PERI_ETOOBIG);
    assert_int_equal(raft_configuration_init(&made, ids, 0, NULL), PERI_EINVAL);
    ids[1] = ids[0];
    assert_int_equal(raft_configuration_init(&made, ids, 2, NULL), PERI_EINVAL);
    static const char *const BAD[] = {"2 1", "1 1", "0 1", "(1", "-1", "1 (2?"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        made = parse(BAD[i]);
        if (raft_configuration_check(&made, NULL) != PERI_EINVAL)
            fail_msg("'%s' passed", BAD[i]);
    }
    made = parse("1");
    made.count = RAFT_MEMBERS_MAX + 1;
    assert_int_equal(raft_configuration_check(&made, NULL), PERI_EINVAL);
}

static void test_full(void **state)
{
    (void)state;
    uint64_t ids[RAFT_MEMBERS_MAX];
    for (uint64_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        ids[i] = i + 1;
    struct raft_configuration from, to;
    assert_int_equal(raft_configuration_init(&from, ids, RAFT_MEMBERS_MAX, NULL), 0);
    struct raft_change change = {RAFT_ADD_VOTER, 99};
    assert_int_equal(raft_configuration_change(&from, &change, 1, &to, NULL), PERI_ETOOBIG);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static struct raft_configuration random_configuration(uint64_t *random)
{
    static const uint8_t MEMBERS[] = {RAFT_VOTER, RAFT_LEARNER, RAFT_VOTER | RAFT_VOTER_OLD,
                                      RAFT_VOTER_OLD, RAFT_VOTER_OLD | RAFT_LEARNER};
    struct raft_configuration made;
    do {
        made = (struct raft_configuration){{0}, {0}, 0};
        made.count = 1 + (size_t)(next_random(random) % 7);
        for (size_t i = 0; i < made.count; i++) {
            made.ids[i] = i + 1;
            made.members[i] = MEMBERS[next_random(random) % 5];
        }
    } while (raft_configuration_check(&made, NULL) != 0);
    return made;
}

/* The definition itself: more than half of the members with this bit are in the set. */
static bool is_majority(const struct raft_configuration *configuration, uint8_t bit, unsigned set)
{
    int members = 0, inside = 0;
    for (size_t i = 0; i < configuration->count; i++)
        if ((configuration->members[i] & bit) != 0) {
            members++;
            inside += (set >> i & 1) != 0;
        }
    return members == 0 || inside * 2 > members;
}

static bool is_quorum(const struct raft_configuration *configuration, unsigned set)
{
    return is_majority(configuration, RAFT_VOTER, set) &&
           is_majority(configuration, RAFT_VOTER_OLD, set);
}

static uint64_t naive_value(const struct raft_configuration *configuration, const uint64_t *values)
{
    uint64_t best = 0;
    for (unsigned set = 0; set < 1U << configuration->count; set++) {
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < configuration->count; i++)
            if ((set >> i & 1) != 0 && values[i] < least)
                least = values[i];
        if (is_quorum(configuration, set) && least > best)
            best = least;
    }
    return best;
}

/* raft.md scenario 62 */
static void test_quorum_is_the_definition(void **state)
{
    (void)state;
    uint64_t random = 0x9e3779b97f4a7c15;
    for (int round = 0; round < ROUNDS; round++) {
        struct raft_configuration made = random_configuration(&random);
        uint64_t values[RAFT_MEMBERS_MAX];
        uint8_t votes[RAFT_MEMBERS_MAX];
        unsigned granted = 0, possible = 0;
        for (size_t i = 0; i < made.count; i++) {
            values[i] = next_random(&random) % VALUES;
            votes[i] = (uint8_t)(next_random(&random) % 3);
            granted |= (unsigned)(votes[i] == RAFT_VOTE_GRANTED) << i;
            possible |= (unsigned)(votes[i] != RAFT_VOTE_REFUSED) << i;
        }
        enum raft_outcome expected = is_quorum(&made, granted)    ? RAFT_WON
                                     : is_quorum(&made, possible) ? RAFT_PENDING
                                                                  : RAFT_LOST;
        if (raft_quorum_vote(&made, votes) != expected ||
            raft_quorum_value(&made, values) != naive_value(&made, values))
            fail_msg("round %d differs", round);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_init_and_check),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_quorum_is_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
