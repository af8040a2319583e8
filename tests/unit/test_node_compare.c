/* Replicas whose machine has got another state than that of the others: they are found, named, set
 * aside and rebuilt (node/compare.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "node/compare.h"
#include "node_cluster.h"

enum { S = CLUSTER_S, MS = CLUSTER_MS };

static struct cluster *create(uint64_t seed, size_t voters, uint64_t snapshot_entries)
{
    struct cluster *cluster = cluster_prepare(seed, voters, voters, 1);
    cluster->has_hashes = true;
    cluster->options.snapshot_entries = snapshot_entries;
    cluster->options.trailing_entries = 3;
    cluster->options.recorder_bytes = 0;
    cluster_start_all(cluster);
    return cluster;
}

static void commit_some(struct cluster *cluster, int count)
{
    char text[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        cluster_commit(cluster, text);
    }
}

static uint64_t applied(const struct cluster_host *host)
{
    struct node_status status;
    node_group_status(host->machines[0].group, &status);
    return status.applied_index;
}

static bool is_quarantined(const struct cluster_host *host)
{
    struct node_status status;
    if (host->node == NULL || !host->machines[0].is_open)
        return false;
    node_group_status(host->machines[0].group, &status);
    return status.diverged_index != 0;
}

static void await_quarantine(struct cluster *cluster, const struct cluster_host *host)
{
    for (int i = 0; i < 5000 && !is_quarantined(host); i++)
        cluster_run(cluster, MS);
    assert_true(is_quarantined(host));
}

/* The state of that replica goes wrong at the so-manieth entry from now. */
static uint64_t corrupt(struct cluster_host *host, uint64_t in)
{
    uint64_t index = applied(host) + in;
    host->machines[0].corrupt_at = index;
    return index;
}

static struct cluster_host *other_than(struct cluster *cluster, const struct cluster_host *host)
{
    return host == &cluster->hosts[0] ? &cluster->hosts[1] : &cluster->hosts[0];
}

static void check_equal(struct cluster *cluster)
{
    (void)cluster_settle(cluster);
    for (size_t i = 0; i < cluster->count; i++)
        assert_false(is_quarantined(&cluster->hosts[i]));
}

static void check_end(struct cluster *cluster)
{
    assert_null(strchr(cluster_settle(cluster), '!'));
    check_equal(cluster);
    cluster_close(cluster);
}

/* The first entry is named, whichever it is; and the replica is rebuilt from a snapshot. */
static void test_follower(void **state)
{
    (void)state;
    for (uint64_t in = 1; in < 60; in += 7) {
        struct cluster *cluster = create(in, 3, 0);
        commit_some(cluster, 5);
        cluster_run(cluster, S); /* compared so far */
        struct cluster_host *bad = other_than(cluster, cluster_leader(cluster, NULL));
        uint64_t index = corrupt(bad, in);
        commit_some(cluster, 70);
        cluster_run(cluster, 3 * (uint64_t)S);
        assert_int_equal(cluster->quarantined, 1);
        assert_int_equal(cluster->diverged_at, index);
        assert_int_equal(cluster->diverged_peer, bad->id);
        assert_int_equal(cluster->events[NODE_REBUILT], 1);
        assert_true(cluster->events[NODE_DIVERGED] >= 2); /* the others have seen it, too */
        commit_some(cluster, 3);
        check_end(cluster);
    }
}

/* It gives no answers and applies nothing, but keeps the log. */
static void test_quarantine(void **state)
{
    (void)state;
    struct cluster *cluster = create(1, 3, 0);
    struct cluster_request request;
    commit_some(cluster, 5);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct cluster_host *bad = other_than(cluster, leader);
    (void)corrupt(bad, 1);
    commit_some(cluster, 1);
    await_quarantine(cluster, bad);
    uint64_t stopped = applied(bad);
    enum node_consistency all[] = {NODE_STALE, NODE_LINEARIZABLE};
    for (size_t i = 0; i < 2; i++) {
        cluster_read(bad, &request, all[i], S);
        cluster_await(cluster, &request);
        assert_int_equal(request.code, PERI_EDIVERGED);
        assert_int_equal(request.certainty, NODE_NEVER);
    }
    commit_some(cluster, 1);
    if (is_quarantined(bad))
        assert_int_equal(applied(bad), stopped);
    check_end(cluster);
}

/* A leader hands over. */
static void test_leader(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct cluster *cluster = create(seed, 3, 10);
        commit_some(cluster, 12);
        struct cluster_host *bad = cluster_leader(cluster, NULL);
        (void)corrupt(bad, 2);
        commit_some(cluster, 3);
        await_quarantine(cluster, bad);
        assert_ptr_not_equal(cluster_leader(cluster, bad), NULL);
        commit_some(cluster, 5);
        cluster_run(cluster, 3 * (uint64_t)S);
        assert_true(cluster->events[NODE_REBUILT] >= 1);
        check_end(cluster);
    }
}

/* Without a majority nobody knows who is right; with the third replica it is found out. */
static void test_no_majority(void **state)
{
    (void)state;
    struct cluster *cluster = create(3, 3, 0);
    commit_some(cluster, 5);
    cluster_run(cluster, S);
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct cluster_host *bad = other_than(cluster, leader);
    struct cluster_host *away = NULL;
    for (size_t i = 0; i < 3; i++)
        if (&cluster->hosts[i] != leader && &cluster->hosts[i] != bad)
            away = &cluster->hosts[i];
    cluster_kill(away);
    uint64_t index = corrupt(bad, 2);
    commit_some(cluster, 5);
    cluster_run(cluster, 10 * (uint64_t)S);
    assert_int_equal(cluster->quarantined, 0);
    assert_true(cluster->events[NODE_DIVERGED] >= 2);
    uint64_t equal = 0, differs = 0;
    assert_true(node_group_compared(leader->machines[0].group, bad->id, &equal, &differs));
    assert_true(equal < index && differs >= index);
    cluster_restart(away);
    cluster_run(cluster, 10 * (uint64_t)S);
    assert_int_equal(cluster->quarantined, 1);
    assert_int_equal(cluster->diverged_at, index);
    check_end(cluster);
}

/* Its own snapshot holds the wrong state: after a restart it is found out again. */
static void test_own_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        struct cluster *cluster = create(seed, 3, 4);
        commit_some(cluster, 6);
        struct cluster_host *bad = other_than(cluster, cluster_leader(cluster, NULL));
        (void)corrupt(bad, 1);
        commit_some(cluster, 6); /* a snapshot with it is taken */
        cluster_run(cluster, seed * 20 * MS);
        cluster_crash(bad);
        commit_some(cluster, 6);
        cluster_restart(bad);
        cluster_run(cluster, 5 * (uint64_t)S);
        assert_true(cluster->events[NODE_REBUILT] >= 1);
        cluster_crash(bad); /* what it has now is durable */
        cluster_restart(bad);
        check_end(cluster);
    }
}

/* Nothing is ever found where nothing is wrong; and whatever else happens, all end equal. What is
 * right is what a majority has: while one is down, the wrong one may be in it. */
static uint64_t run_random(uint64_t seed, bool has_fault)
{
    struct cluster *cluster = create(seed, 3, 5 + seed % 7);
    for (uint64_t round = 0; round < 6; round++) {
        struct cluster_host *bad = &cluster->hosts[(seed + round) % 3];
        struct cluster_host *down = &cluster->hosts[(seed / 3 + round) % 3];
        if (has_fault && round % 2 == 0 && bad->node != NULL && bad->machines[0].is_open)
            (void)corrupt(bad, 1 + seed % 5);
        commit_some(cluster, 3 + (int)(seed % 6));
        cluster_run(cluster, (seed * 37 + round * 101) % 900 * MS);
        cluster_crash(down);
        commit_some(cluster, 1 + (int)(seed % 9));
        cluster_run(cluster, (seed * 53 + round * 71) % 700 * MS);
        cluster_restart(down);
        cluster_run(cluster, 6 * (uint64_t)S); /* one wrong replica at a time */
    }
    commit_some(cluster, 2);
    cluster_run(cluster, 10 * (uint64_t)S);
    check_equal(cluster);
    uint64_t rebuilt = cluster->events[NODE_REBUILT];
    if (!has_fault)
        assert_int_equal(cluster->events[NODE_DIVERGED], 0);
    cluster_close(cluster);
    return rebuilt;
}

static void test_random(void **state)
{
    (void)state;
    uint64_t rebuilt = 0;
    for (uint64_t seed = 1; seed <= 40; seed++)
        rebuilt += run_random(seed, true);
    assert_true(rebuilt > 60);
    for (uint64_t seed = 1; seed <= 10; seed++)
        assert_int_equal(run_random(seed, false), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follower),     cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_leader),       cmocka_unit_test(test_no_majority),
        cmocka_unit_test(test_own_snapshot), cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
