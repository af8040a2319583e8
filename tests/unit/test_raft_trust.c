/* Replicas whose disk has lost something: what they do in elections until they are trusted again,
 * and afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "raft/raft.h"

static struct raft_output out;

/* Replica 1 of three, in term 2 with four entries of term 1; something of its disk is gone. */
static struct raft *create(void)
{
    static const struct raft_run RUNS[] = {{1, 1}};
    struct raft_options options;
    raft_options_init(&options, 1, 1);
    struct raft_history history = {.index = 0};
    uint64_t voters[] = {1, 2, 3};
    assert_int_equal(raft_configuration_init(&history.configuration, voters, 3, NULL), 0);
    struct raft_boot boot = {.term = 2,
                             .last_index = 4,
                             .runs = RUNS,
                             .run_count = 1,
                             .configurations = &history,
                             .configuration_count = 1,
                             .is_impaired = true};
    struct raft *raft = NULL;
    assert_int_equal(raft_create(&raft, &options, &boot, NULL), 0);
    return raft;
}

/* 2 asks for a vote; returns what the step does, *granted what the answer is. */
static int ask(struct raft *raft, uint64_t term, uint64_t index, uint64_t log_term, bool *granted)
{
    struct raft_message message = {.type = RAFT_REQUEST_VOTE,
                                   .from = 2,
                                   .to = 1,
                                   .term = term,
                                   .index = index,
                                   .log_term = log_term};
    int rc = raft_step(raft, &(struct raft_event){.type = RAFT_MESSAGE, .message = &message}, &out);
    *granted = false;
    for (size_t i = 0; i < out.count; i++)
        *granted |= out.actions[i].type == RAFT_SEND && out.actions[i].message.success;
    return rc;
}

static int trust(struct raft *raft, uint64_t index, uint64_t term, uint64_t last)
{
    struct raft_event event = {.type = RAFT_TRUST, .index = index, .term = term, .last = last};
    return raft_step(raft, &event, &out);
}

static uint64_t term_of(const struct raft *raft)
{
    struct raft_status status;
    raft_status(raft, &status);
    return status.term;
}

static void test_no_votes_before(void **state)
{
    (void)state;
    struct raft *raft = create();
    bool granted;
    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN}, &out),
                     PERI_EBUSY);
    assert_int_equal(ask(raft, 5, 100, 4, &granted), 0);
    assert_false(granted);
    /* No log ends where nothing can be. */
    assert_int_equal(ask(raft, 6, UINT64_MAX, UINT64_MAX, &granted), PERI_EPROTOCOL);
    assert_int_equal(ask(raft, 6, 100, 6, &granted), PERI_EPROTOCOL);
    assert_int_equal(term_of(raft), 5);
    raft_close(raft);
}

/* Its votes are for logs that reach the floor, its own included. */
static void test_floor(void **state)
{
    (void)state;
    struct raft *raft = create();
    bool granted;
    assert_int_equal(trust(raft, 6, 1, 0), 0);
    assert_int_equal(raft_step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN}, &out),
                     PERI_EBUSY);
    assert_int_equal(ask(raft, 5, 5, 1, &granted), 0);
    assert_false(granted);
    assert_int_equal(ask(raft, 6, 6, 1, &granted), 0);
    assert_true(granted);
    raft_close(raft);
}

/* What it has lost may have been a vote of any term up to the newest that another has been in. */
static void test_terms_that_it_may_have_voted_in(void **state)
{
    (void)state;
    struct raft *raft = create();
    bool granted;
    assert_int_equal(trust(raft, 4, 1, 7), 0);
    assert_int_equal(term_of(raft), 8);
    assert_int_equal(out.actions[0].type, RAFT_PERSIST);
    assert_int_equal(ask(raft, 7, 4, 1, &granted), 0);
    assert_false(granted);
    assert_int_equal(ask(raft, 8, 4, 1, &granted), 0);
    assert_true(granted);
    assert_int_equal(trust(raft, 0, 0, 0), 0); /* it has everything again */
    assert_int_equal(term_of(raft), 8);
    assert_int_equal(trust(raft, 0, 0, UINT64_MAX), PERI_EINVAL);
    raft_close(raft);
}

/* ---- one that votes no more, and is needed ---- */

/* Replica 1 in term 2; the newest configuration of its log, which is committed, has replica 2 only.
 */
static struct raft *create_removed(void)
{
    static const struct raft_run RUNS[] = {{1, 1}};
    struct raft_options options;
    raft_options_init(&options, 1, 1);
    struct raft_history history = {.index = 0};
    uint64_t voters[] = {2};
    assert_int_equal(raft_configuration_init(&history.configuration, voters, 1, NULL), 0);
    struct raft_boot boot = {.now_us = 1000000,
                             .term = 2,
                             .last_index = 4,
                             .runs = RUNS,
                             .run_count = 1,
                             .configurations = &history,
                             .configuration_count = 1};
    struct raft *raft = NULL;
    assert_int_equal(raft_create(&raft, &options, &boot, NULL), 0);
    return raft;
}

static int campaign(struct raft *raft, bool is_needed)
{
    return raft_step(raft, &(struct raft_event){.type = RAFT_CAMPAIGN, .success = is_needed}, &out);
}

static void hear(struct raft *raft, struct raft_message message)
{
    message.from = 2;
    message.to = 1;
    struct raft_event event = {.type = RAFT_MESSAGE, .message = &message};
    assert_int_equal(raft_step(raft, &event, &out), 0);
}

/* The message of this type that the last step sends; fails when there is none. */
static struct raft_message said(enum raft_message_type type)
{
    for (size_t i = 0; i < out.count; i++)
        if (out.actions[i].type == RAFT_SEND && out.actions[i].message.type == type)
            return out.actions[i].message;
    fail_msg("no message of type %d", (int)type);
    return (struct raft_message){.type = type};
}

static enum raft_role role_of(const struct raft *raft)
{
    struct raft_status status;
    raft_status(raft, &status);
    return status.role;
}

static void persist(struct raft *raft, uint64_t seq, uint64_t index)
{
    struct raft_event event = {
        .type = RAFT_PERSISTED, .seq = seq, .index = index, .term = index > 0 ? term_of(raft) : 0};
    assert_int_equal(raft_step(raft, &event, &out), 0);
}

/* It leads until an entry of its term is committed, by the votes and the disks of those who vote,
 * and hands over. */
static void test_needed(void **state)
{
    (void)state;
    struct raft *raft = create_removed();
    assert_int_equal(raft_deadline_us(raft), UINT64_MAX);
    assert_int_equal(campaign(raft, false), PERI_EBUSY);
    assert_int_equal(campaign(raft, true), 0);
    assert_int_equal(said(RAFT_PRE_VOTE).term, 3);
    hear(raft, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .term = 3, .success = true});
    assert_int_equal(said(RAFT_REQUEST_VOTE).index, 4);
    persist(raft, 1, 0);
    assert_int_equal(role_of(raft), RAFT_CANDIDATE); /* its own vote is none */
    hear(raft, (struct raft_message){.type = RAFT_REQUEST_VOTE_REPLY, .term = 3, .success = true});
    assert_int_equal(role_of(raft), RAFT_LEADER);
    persist(raft, 2, 5);
    hear(raft, (struct raft_message){
                   .type = RAFT_APPEND_ENTRIES_REPLY, .term = 3, .success = true, .index = 5});
    assert_int_equal(said(RAFT_TIMEOUT_NOW).to, 2);
    assert_int_equal(role_of(raft), RAFT_FOLLOWER);
    assert_int_equal(raft_deadline_us(raft), UINT64_MAX);
    raft_close(raft);
}

/* It disturbs nobody: not while there is a leader, and not again unless it is asked again. */
static void test_needed_no_more(void **state)
{
    (void)state;
    struct raft *raft = create_removed();
    assert_int_equal(campaign(raft, true), 0);
    assert_int_equal(role_of(raft), RAFT_PRE_CANDIDATE);
    struct raft_event late = {.type = RAFT_TIME, .now_us = raft_deadline_us(raft)};
    assert_int_equal(raft_step(raft, &late, &out), 0);
    assert_int_equal(out.count, 1); /* its role */
    assert_int_equal(role_of(raft), RAFT_FOLLOWER);
    assert_int_equal(raft_deadline_us(raft), UINT64_MAX);
    hear(raft, (struct raft_message){.type = RAFT_HEARTBEAT, .term = 3});
    assert_int_equal(campaign(raft, true), PERI_EBUSY);
    raft_close(raft);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_votes_before),
        cmocka_unit_test(test_floor),
        cmocka_unit_test(test_terms_that_it_may_have_voted_in),
        cmocka_unit_test(test_needed),
        cmocka_unit_test(test_needed_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
