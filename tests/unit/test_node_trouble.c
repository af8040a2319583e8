/* Nodes in a simulated world whose disks fail and stall, and nodes with many groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node_cluster.h"
#include "sim/disk.h"

enum { SEEDS = 10, S = CLUSTER_S, MS = CLUSTER_MS, GROUPS = 1000 };

/* A failed sync is never tried again: the node is fenced, and another one leads (raft.md 108). */
static void test_failing_sync(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct cluster_request request;
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        cluster_fault(leader, ENV_FAULT_DISK_SYNC_ERROR, 1000000);
        cluster_propose(leader, &request, "b", 5 * S);
        cluster_await(cluster, &request);
        assert_int_not_equal(request.certainty, NODE_NEVER);
        assert_int_equal(cluster->events[NODE_FENCED], 1);
        struct cluster_host *next = cluster_leader(cluster, leader);
        struct cluster_request after;
        cluster_propose(next, &after, "c", 5 * S);
        cluster_await(cluster, &after);
        assert_int_equal(after.certainty, NODE_OK);
        cluster_propose(leader, &after, "d", S);
        cluster_await(cluster, &after);
        assert_int_equal(after.code, PERI_EFENCED);
        cluster_close(cluster);
    }
}

/* A disk that says nothing costs its node the leadership, within two election timeouts. */
static void test_stalled_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct cluster_request request;
        cluster_commit(cluster, "a");
        cluster_run(cluster, S);
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        cluster_fault(leader, ENV_FAULT_DISK_STALL, 20 * (int64_t)S);
        cluster_propose(leader, &request, "b", 30 * (uint64_t)S);
        cluster_run(cluster, 2 * cluster->options.raft.election_max_us);
        assert_ptr_not_equal(cluster_leader(cluster, NULL), leader);
        cluster_run(cluster, 20 * (uint64_t)S);
        cluster_await(cluster, &request);
        assert_int_equal(request.certainty, NODE_OK); /* the others had it on their disks */
        assert_string_equal(cluster_settle(cluster), "a;b;");
        cluster_close(cluster);
    }
}

/* A full disk fences nobody: its node goes on in the room that it kept, refuses commands while it
 * leads, hands over, and takes them again when there is room (raft.md 110). */
static void test_full_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct cluster_request request = {.code = 0};
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        struct sim_disk_usage usage = sim_disk_usage(leader->sim);
        cluster_fault(leader, ENV_FAULT_DISK_CAPACITY,
                      (int64_t)(usage.bytes + usage.reserved_bytes) + 100);
        for (int i = 0; i < 20 && request.code == 0; i++) {
            cluster_propose(leader, &request, "b", 5 * S);
            cluster_await(cluster, &request);
        }
        assert_int_equal(request.code, PERI_EFULL);
        assert_int_equal(request.certainty, NODE_NEVER);
        cluster_run(cluster, 5 * S);
        struct cluster_host *next = cluster_leader(cluster, NULL);
        assert_ptr_not_equal(next, leader);
        cluster_propose(next, &request, "c", 5 * S);
        cluster_await(cluster, &request);
        assert_int_equal(request.certainty, NODE_OK);
        cluster_kill(next); /* the full disk is needed for a majority, and has some room left */
        cluster_run(cluster, 3 * S);
        cluster_fault(leader, ENV_FAULT_DISK_CAPACITY, 0);
        cluster_run(cluster, 3 * S);
        next = cluster_leader(cluster, NULL);
        cluster_propose(next, &request, "d", 5 * S);
        cluster_await(cluster, &request);
        assert_int_equal(request.certainty, NODE_OK);
        assert_int_equal(cluster->events[NODE_FENCED], 0);
        cluster_close(cluster);
    }
}

static uint64_t envelopes(const struct cluster *cluster)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < cluster->count; i++) {
        struct node_stats stats;
        node_stats(cluster->hosts[i].node, &stats);
        sum += stats.envelopes_sent;
    }
    return sum;
}

static struct cluster *many_groups(uint64_t sleep_after_us)
{
    struct cluster *cluster = cluster_prepare(1, 3, 3, GROUPS);
    cluster->options.recorder_bytes = 0;
    cluster->options.raft.sleep_after_us = sleep_after_us;
    cluster_start_all(cluster);
    cluster_run(cluster, 3 * S);
    cluster_commit(cluster, "a");
    return cluster;
}

static size_t count_leaders(const struct cluster *cluster)
{
    size_t leaders = 0;
    for (size_t i = 0; i < cluster->count; i++)
        for (size_t g = 0; g < GROUPS; g++) {
            struct node_status status;
            if (cluster->hosts[i].node == NULL || !cluster->hosts[i].machines[g].is_open)
                continue;
            node_group_status(cluster->hosts[i].machines[g].group, &status);
            leaders += status.raft.role == RAFT_LEADER;
        }
    return leaders;
}

/* The heartbeats of all groups to a node travel together: what they cost depends on nodes alone. */
static void test_coalesced_heartbeats(void **state)
{
    (void)state;
    struct cluster *cluster = many_groups(0);
    assert_int_equal(count_leaders(cluster), GROUPS);
    uint64_t before = envelopes(cluster);
    cluster_run(cluster, S);
    /* 20 heartbeats a second at 4 or 5 moments each, both ways between 3 pairs: not 80,000. */
    assert_in_range(envelopes(cluster) - before, 100, 1300);
    cluster_close(cluster);
}

/* Groups that sleep cost nothing but their nodes' signs of life, and wake when a leader is gone. */
static void test_sleep(void **state)
{
    (void)state;
    struct cluster *cluster = many_groups(500 * MS);
    struct node_stats before, after;
    assert_int_equal(count_leaders(cluster), GROUPS);
    cluster_run(cluster, 2 * S);
    uint64_t sent = envelopes(cluster);
    node_stats(cluster->hosts[0].node, &before);
    cluster_run(cluster, S);
    node_stats(cluster->hosts[0].node, &after);
    assert_in_range(envelopes(cluster) - sent, 60, 150);
    assert_in_range(after.messages_sent - before.messages_sent, 0, 20);
    cluster_kill(&cluster->hosts[0]);
    cluster_run(cluster, 3 * S);
    assert_int_equal(count_leaders(cluster), GROUPS);
    cluster_commit(cluster, "b");
    cluster_close(cluster);
}

/* A node refuses the disk of another cluster. */
static void test_foreign_disk(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(2, 1, 1);
    struct cluster_host *host = &cluster->hosts[0];
    cluster_commit(cluster, "a");
    cluster_kill(host);
    cluster->cluster_name = "another";
    cluster_restart(host);
    cluster_run(cluster, S);
    assert_false(host->is_open);
    assert_int_equal(host->open_status, PERI_ECLUSTER);
    cluster_kill(host);
    cluster->cluster_name = "test";
    cluster_restart(host);
    cluster_commit(cluster, "b");
    assert_string_equal(cluster_settle(cluster), "a;b;");
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_sync), cmocka_unit_test(test_stalled_disk),
        cmocka_unit_test(test_full_disk),    cmocka_unit_test(test_coalesced_heartbeats),
        cmocka_unit_test(test_sleep),        cmocka_unit_test(test_foreign_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
