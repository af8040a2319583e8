/* Machines that keep their state on disk: reads see writes, failures leave nothing, starts go on
 * where the state store is, and crashes at any moment lose nothing that was acknowledged. */
#include "node_keys.h"

enum { SEEDS = 20 };

/* Reads see writes; a command that fails has written nothing; pages are whole. */
static void test_commands(void **state)
{
    (void)state;
    struct cluster *cluster = create(1, 3, 3);
    struct cluster_request request;
    char expected[TEXT_MAX] = "";
    commit_many(cluster, "a", 10, expected);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    cluster_propose(leader, &request, "fail", S);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_OK);
    assert_int_equal(request.code, PERI_EINVAL);
    cluster_propose(leader, &request, "b", S);
    cluster_await(cluster, &request);
    assert_string_equal(request.result, "11");
    assert_string_equal(cluster_settle(cluster), "a0;a1;a2;a3;a4;a5;a6;a7;a8;a9;b;");
    cluster_run(cluster, S); /* all of it is in the store */
    cluster_propose(leader, &request, "drop", S);
    cluster_await(cluster, &request);
    cluster_propose(leader, &request, "drop", S);
    cluster_await(cluster, &request);
    assert_string_equal(cluster_settle(cluster), "a2;a3;a4;a5;a6;a7;a8;a9;b;");
    cluster_close(cluster);
}

static void look(struct cluster *cluster, size_t number, const char *expected)
{
    struct cluster_request request;
    char text[32];
    (void)snprintf(text, sizeof text, "look%zu", number);
    cluster_propose(cluster_leader(cluster, NULL), &request, text, S);
    cluster_await(cluster, &request);
    assert_int_equal(request.code, 0);
    assert_string_equal(request.result, expected);
}

/* What a command will read is there when its turn comes, on all replicas; and it is the newest. */
static void test_foreseen(void **state)
{
    enum { LOOKS = 40 };
    (void)state;
    struct cluster *cluster = create(2, 3, 3);
    cluster_commit(cluster, "a"); /* the store is open */
    for (size_t i = 0; i < LOOKS; i++)
        look(cluster, i, "new");
    (void)cluster_settle(cluster);
    for (size_t i = 0; i < 3; i++)
        assert_in_range(cluster->hosts[i].machines[0].keys.waits, 0,
                        3 * LOOKS / 4); /* all, if nothing was foreseen */
    cluster_run(cluster, 5 * S);        /* little is left to be applied again */
    for (size_t i = 0; i < 3; i++) {    /* memory is empty */
        cluster_kill(&cluster->hosts[i]);
        cluster_restart(&cluster->hosts[i]);
    }
    cluster_commit(cluster, "b");
    for (size_t i = 0; i < 2 * LOOKS; i++)
        look(cluster, i % (LOOKS + 5), i < LOOKS || i >= LOOKS + 5 ? "there" : "new");
    assert_string_equal(cluster_settle(cluster), "a;b;");
    for (size_t i = 0; i < 3; i++)
        assert_in_range(cluster->hosts[i].machines[0].keys.waits, 0,
                        3 * LOOKS / 4); /* all, if nothing was foreseen */
    cluster_close(cluster);
}

/* After a start only what the state store does not have is applied, and the log has no more. */
static void test_resume(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = create(seed, 3, 3);
        char expected[TEXT_MAX] = "";
        struct node_status status;
        commit_many(cluster, "a", 70, expected);
        cluster_run(cluster, 2 * S);
        assert_true(cluster->events[NODE_SNAPSHOT_TAKEN] >= 3);
        struct cluster_host *host = &cluster->hosts[seed % 3];
        node_group_status(host->machines[0].group, &status);
        assert_true(status.raft.base_index > 20);
        if (seed % 2 == 0)
            cluster_crash(host);
        else
            cluster_kill(host);
        cluster_restart(host);
        assert_string_equal(cluster_settle(cluster), expected);
        assert_in_range(applied_by(host), 0, 40); /* of 70 and some */
        assert_int_equal(host->machines[0].keys.restores, 1);
        cluster_close(cluster);
    }
}

/* A start finds the state durable that the log was not cut for, and cuts it. */
static void test_cut_at_start(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_prepare(1, 3, 3, 1);
    char expected[TEXT_MAX] = "";
    struct node_status status;
    cluster->keeps_keys = true;
    cluster->options.snapshot_entries = 0; /* nobody asks for a barrier */
    cluster->options.trailing_entries = TRAILING;
    cluster_start_all(cluster);
    commit_many(cluster, "a", 30, expected);
    cluster_run(cluster, 3 * S);
    struct cluster_host *host = &cluster->hosts[0];
    node_group_status(host->machines[0].group, &status);
    assert_int_equal(status.raft.base_index, 0);
    cluster_reopen(host);
    assert_string_equal(cluster_settle(cluster), expected);
    node_group_status(host->machines[0].group, &status);
    assert_true(status.raft.snapshot_index >= 30);
    assert_int_equal(status.raft.base_index, status.raft.snapshot_index - TRAILING);
    commit_many(cluster, "b", 3, expected);
    cluster_kill(host);
    cluster_restart(host);
    assert_string_equal(cluster_settle(cluster), expected);
    cluster_close(cluster);
}

/* Everything that was acknowledged is in text, once. */
static void check_all(const char *text, const char *name, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof wanted, "%s%zu;", name, i);
        assert_non_null(strstr(text, wanted));
    }
}

/* Power fails somewhere, again and again, sometimes everywhere at once. */
static void test_crashes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = create(100 + seed, 3, 3);
        uint64_t random = seed * 77777;
        for (size_t i = 0; i < 60; i++) {
            char text[32];
            (void)snprintf(text, sizeof text, "c%zu", i);
            cluster_commit(cluster, text);
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407U;
            if (random >> 60 < 3) {
                struct cluster_host *host = &cluster->hosts[random >> 40 & 1];
                stop(host, (random >> 50 & 1) != 0);
                cluster_run(cluster, random >> 45 & 0xfffff);
                cluster_restart(host);
            }
            if (random >> 59 == 31)
                for (size_t k = 0; k < 6; k++) {
                    if (k < 3)
                        cluster_crash(&cluster->hosts[k]);
                    else
                        cluster_restart(&cluster->hosts[k - 3]);
                }
        }
        check_all(cluster_settle(cluster), "c", 60);
        cluster_close(cluster);
    }
}

/* More than memory keeps: what it lets go of is read from the store. */
static void test_eviction(void **state)
{
    (void)state;
    struct cluster *cluster = create(9, 1, 1);
    char expected[TEXT_MAX] = "";
    commit_many(cluster, "a", 20, expected);
    commit_many(cluster, "pad", 130, expected); /* 39 MB */
    assert_string_equal(cluster_settle(cluster), expected);
    for (size_t i = 0; i < 20; i++)
        cluster_commit(cluster, "drop");
    assert_string_equal(cluster_settle(cluster), strstr(expected, "pad0"));
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands), cmocka_unit_test(test_foreseen),
        cmocka_unit_test(test_resume),   cmocka_unit_test(test_cut_at_start),
        cmocka_unit_test(test_crashes),  cmocka_unit_test(test_eviction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
