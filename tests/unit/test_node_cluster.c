/* Nodes in a simulated world: they elect, replicate, apply, crash and come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node_cluster.h"

enum { SEEDS = 20, MS = CLUSTER_MS, S = CLUSTER_S };

static void test_replicates(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        char text[32];
        for (int i = 0; i < 20; i++) {
            (void)snprintf(text, sizeof text, "c%d", i);
            cluster_commit(cluster, text);
        }
        assert_string_equal(
            cluster_settle(cluster),
            "c0;c1;c2;c3;c4;c5;c6;c7;c8;c9;c10;c11;c12;c13;c14;c15;c16;c17;c18;c19;");
        cluster_close(cluster);
    }
}

/* Many at once share records, envelopes and syncs. */
static void test_batches(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    struct cluster *cluster = cluster_create(7, 3, 3);
    struct cluster_request *requests = calloc(MANY, sizeof *requests);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct node_stats before, after;
    cluster_run(cluster, S);
    node_stats(leader->node, &before);
    for (int i = 0; i < MANY; i++)
        cluster_propose(leader, &requests[i], "x", 5 * S);
    for (int i = 0; i < MANY; i++) {
        cluster_await(cluster, &requests[i]);
        assert_int_equal(requests[i].certainty, NODE_OK);
        assert_int_equal(strtol(requests[i].result, NULL, 10), 2 * (i + 1));
    }
    node_stats(leader->node, &after);
    assert_in_range(after.envelopes_sent - before.envelopes_sent, 2, 60);
    assert_int_equal(strlen(cluster_settle(cluster)), 2 * MANY);
    free(requests);
    cluster_close(cluster);
}

enum { CHAIN = 200 };

struct chain {
    struct node_request request;
    struct node_group *group;
    int left;
};

static void propose_next(struct chain *chain);

static void on_link(struct node_request *request, const struct node_outcome *outcome)
{
    struct chain *chain = container_of(request, struct chain, request);
    assert_int_equal(outcome->certainty, NODE_OK);
    if (--chain->left > 0)
        propose_next(chain);
}

static void propose_next(struct chain *chain)
{
    chain->request = (struct node_request){.kind = NODE_PROPOSE,
                                           .body = peri_slice_of("x", 1),
                                           .due_us = UINT64_MAX,
                                           .on_done = on_link};
    assert_int_equal(node_request_start(chain->group, &chain->request, NULL), 0);
}

/* Who proposes as soon as the last command is done: the new entry takes the news of the commit
 * along, so that a command costs each follower one envelope, and one answer. */
static void test_chains(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(9, 3, 3);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct cluster_host *other = &cluster->hosts[leader->id % 3];
    struct node_stats before, after, heard;
    cluster_run(cluster, S);
    node_stats(leader->node, &before);
    node_stats(other->node, &heard);
    struct chain chain = {.group = leader->machines[0].group, .left = CHAIN};
    propose_next(&chain);
    for (int i = 0; i < 10000 && chain.left > 0; i++)
        cluster_run(cluster, MS);
    assert_int_equal(chain.left, 0);
    node_stats(leader->node, &after);
    /* A few more are heartbeats. */
    assert_in_range(after.envelopes_sent - before.envelopes_sent, 2 * CHAIN, 2 * CHAIN + CHAIN / 2);
    assert_in_range(after.messages_sent - before.messages_sent, 2 * CHAIN, 2 * CHAIN + CHAIN / 2);
    node_stats(other->node, &after);
    assert_in_range(after.envelopes_sent - heard.envelopes_sent, CHAIN, CHAIN + CHAIN / 2);
    cluster_close(cluster);
}

static void test_reads(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(3, 3, 3);
    struct cluster_request request;
    cluster_commit(cluster, "a");
    for (size_t i = 0; i < 3; i++) {
        char text[8];
        cluster_read(&cluster->hosts[i], &request, NODE_LINEARIZABLE, S);
        cluster_await(cluster, &request);
        assert_int_equal(request.certainty, NODE_OK);
        assert_int_equal(strlen(request.result), 2 * (i + 1));
        (void)snprintf(text, sizeof text, "%zu", i);
        cluster_commit(cluster, text);
    }
    cluster_read(&cluster->hosts[0], &request, NODE_STALE, S);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_OK);
    cluster_read(&cluster->hosts[0], &request, NODE_LEASE, S);
    cluster_await(cluster, &request);
    assert_int_equal(request.code, PERI_EINVAL);
    cluster_close(cluster);
}

static void test_names_the_leader(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(5, 3, 3);
    struct cluster_request request;
    cluster_commit(cluster, "a");
    cluster_run(cluster, S);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct cluster_host *other = &cluster->hosts[leader->id % 3];
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, "node %d (%s) leads", (int)leader->id, leader->name);
    cluster_propose(other, &request, "b", S);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_NEVER);
    assert_int_equal(request.code, PERI_ENOTLEADER);
    assert_non_null(strstr(request.error, wanted));
    cluster_close(cluster);
}

/* What was acknowledged survives the loss of power of any node, and of all at once. */
static void test_crashes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(100 + seed, 3, 3);
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        cluster_crash(leader);
        cluster_commit(cluster, "b");
        cluster_restart(leader);
        cluster_commit(cluster, "c");
        assert_string_equal(cluster_settle(cluster), "a;b;c;");
        for (size_t i = 0; i < 3; i++)
            cluster_crash(&cluster->hosts[i]);
        for (size_t i = 0; i < 3; i++)
            cluster_restart(&cluster->hosts[i]);
        cluster_commit(cluster, "d");
        assert_string_equal(cluster_settle(cluster), "a;b;c;d;");
        cluster_close(cluster);
    }
}

/* A group that was closed opens again on the node that runs on, with all that it had: also while
 * its last writes are on their way, and while the others write on. */
static void test_reopens(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_prepare(200 + seed, 3, 3, 1);
        struct cluster_request request;
        cluster->options.snapshot_entries = 3;
        cluster->options.trailing_entries = 1;
        cluster_start_all(cluster);
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        cluster_propose(leader, &request, "b", 5 * S);
        cluster_run(cluster, seed * 100);
        cluster_reopen(leader);
        cluster_await(cluster, &request);
        cluster_commit(cluster, "c");
        for (size_t i = 0; i < 3; i++)
            cluster_reopen(&cluster->hosts[i]);
        cluster_commit(cluster, "d");
        const char *text = cluster_settle(cluster);
        assert_true(strcmp(text, "a;b;c;d;") == 0 ||
                    (request.certainty != NODE_OK && strcmp(text, "a;c;d;") == 0));
        cluster_close(cluster);
    }
}

/* A node whose group was closed takes no part in it, and the group opens once more after that. */
static void test_reopens_later(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(77, 3, 3);
    cluster_commit(cluster, "a");
    struct cluster_host *host = &cluster->hosts[1];
    for (int i = 0; i < 5; i++) {
        cluster_reopen(host);
        cluster_reopen(host); /* before it is open */
        cluster_commit(cluster, "b");
    }
    assert_string_equal(cluster_settle(cluster), "a;b;b;b;b;b;");
    cluster_reopen(host);
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replicates),       cmocka_unit_test(test_batches),
        cmocka_unit_test(test_chains),           cmocka_unit_test(test_reads),
        cmocka_unit_test(test_names_the_leader), cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_reopens),          cmocka_unit_test(test_reopens_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
