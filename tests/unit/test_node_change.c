/* Nodes in a simulated world: members come and go, leaders hand over and lose touch, snapshots
 * move, and every request ends as what it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/recorder.h"
#include "node_cluster.h"

enum { SEEDS = 10, S = CLUSTER_S };

static void status_of(const struct cluster_host *host, struct node_status *out)
{
    node_group_status(host->machines[0].group, out);
}

static struct cluster_host *other_than(struct cluster *cluster, const struct cluster_host *host)
{
    return &cluster->hosts[host->id % cluster->count];
}

/* A deposed leader's proposal is unknown until its place in the log is taken: then it never was. */
static void test_outcomes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct cluster_request lost, patient;
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        sim_net_isolate(cluster->world, leader->sim);
        cluster_propose(leader, &lost, "x", 100 * CLUSTER_MS);
        cluster_propose(leader, &patient, "y", 30 * S);
        cluster_await(cluster, &lost);
        assert_int_equal(lost.certainty, NODE_UNKNOWN);
        assert_int_equal(lost.code, PERI_EDEADLINE);
        assert_true(lost.request.index > 0 && lost.request.term > 0);
        cluster_run(cluster, S);
        struct cluster_host *next = cluster_leader(cluster, leader);
        struct cluster_request b;
        cluster_propose(next, &b, "b", 5 * S);
        cluster_await(cluster, &b);
        assert_int_equal(b.certainty, NODE_OK);
        assert_false(patient.is_done);
        sim_net_heal(cluster->world);
        assert_string_equal(cluster_settle(cluster), "a;b;");
        cluster_await(cluster, &patient);
        assert_int_equal(patient.certainty, NODE_NEVER);
        assert_int_equal(
            node_group_certainty(leader->machines[0].group, lost.request.index, lost.request.term),
            NODE_NEVER);
        assert_int_equal(
            node_group_certainty(leader->machines[0].group, b.request.index, b.request.term),
            NODE_OK);
        cluster_close(cluster);
    }
}

static void test_joins_and_leaves(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(4, 3, 4);
    struct cluster_request request;
    struct node_status status;
    cluster_commit(cluster, "a");
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    const struct node_member_change add = {{RAFT_ADD_MEMBER, 4}, "n4"};
    cluster_change(leader, &request, &add, 5 * S);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_OK);
    cluster_commit(cluster, "b");
    cluster_run(cluster, 2 * S);
    status_of(&cluster->hosts[3], &status);
    assert_int_equal(status.members.count, 4);
    assert_true(raft_configuration_is_voter(&status.members, 4)); /* it has caught up */
    /* The leader goes; the new member's address is known to all that stay. */
    leader = cluster_leader(cluster, NULL);
    const struct node_member_change leave = {{RAFT_REMOVE, leader->id}, NULL};
    cluster_change(leader, &request, &leave, 5 * S);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_OK);
    cluster_run(cluster, 2 * S);
    struct cluster_host *next = cluster_leader(cluster, leader);
    assert_ptr_not_equal(next, leader);
    cluster_kill(leader);
    cluster_commit(cluster, "c");
    assert_string_equal(cluster_settle(cluster), "a;b;c;");
    /* Restarted nodes still know who is who. */
    for (size_t i = 0; i < 4; i++)
        cluster_kill(&cluster->hosts[i]);
    for (size_t i = 0; i < 4; i++)
        if (&cluster->hosts[i] != leader)
            cluster_restart(&cluster->hosts[i]);
    cluster_commit(cluster, "d");
    assert_string_equal(cluster_settle(cluster), "a;b;c;d;");
    cluster_close(cluster);
}

/* Who was away while a newcomer joined and took over learns from that one where it is. */
static void test_stranger_leads(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(11, 3, 4);
    struct cluster_request request;
    struct peri_error err = PERI_ERROR_INIT;
    cluster_commit(cluster, "a");
    struct cluster_host *leader = cluster_leader(cluster, NULL),
                        *away = other_than(cluster, leader);
    if (away->id == 4)
        away = &cluster->hosts[0];
    cluster_crash(away);
    const struct node_member_change add = {{RAFT_ADD_MEMBER, 4}, "n4"};
    cluster_change(leader, &request, &add, 5 * S);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_OK);
    cluster_run(cluster, 2 * S);
    assert_int_equal(node_group_transfer(leader->machines[0].group, 4, &err), 0);
    cluster_run(cluster, S);
    assert_int_equal(cluster_leader(cluster, NULL)->id, 4);
    cluster_restart(away);
    cluster_commit(cluster, "b");
    assert_string_equal(cluster_settle(cluster), "a;b;");
    cluster_close(cluster);
}

static void test_transfer(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(6, 3, 3);
    struct peri_error err = PERI_ERROR_INIT;
    cluster_commit(cluster, "a");
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct cluster_host *other = other_than(cluster, leader);
    assert_int_equal(node_group_transfer(other->machines[0].group, 0, &err), PERI_ENOTLEADER);
    assert_int_equal(node_group_transfer(leader->machines[0].group, other->id, &err), 0);
    cluster_run(cluster, 200 * CLUSTER_MS);
    assert_ptr_equal(cluster_leader(cluster, NULL), other);
    cluster_commit(cluster, "b");
    assert_string_equal(cluster_settle(cluster), "a;b;");
    cluster_close(cluster);
}

/* A node that was away while the log was cut gets a snapshot, in pieces; restarts begin from one.
 */
static void test_snapshots(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = cluster_prepare(seed, 3, 3, 1);
        char text[64];
        struct node_status status;
        cluster->options.snapshot_entries = 20;
        cluster->options.trailing_entries = 5;
        cluster_start_all(cluster);
        cluster_commit(cluster, "first");
        struct cluster_host *away = other_than(cluster, cluster_leader(cluster, NULL));
        cluster_crash(away);
        for (int i = 0; i < 100; i++) {
            (void)snprintf(text, sizeof text, "command %d", i);
            cluster_commit(cluster, text);
        }
        cluster_run(cluster, S);
        status_of(cluster_leader(cluster, NULL), &status);
        assert_true(status.raft.base_index >= 60);
        cluster_restart(away);
        size_t size = strlen(cluster_settle(cluster));
        assert_true(cluster->events[NODE_SNAPSHOT_INSTALLED] >= 1);
        assert_true(cluster->events[NODE_SNAPSHOT_TAKEN] >= 3);
        for (size_t i = 0; i < 3; i++)
            cluster_crash(&cluster->hosts[i]);
        for (size_t i = 0; i < 3; i++)
            cluster_restart(&cluster->hosts[i]);
        cluster_commit(cluster, "last");
        const char *all = cluster_settle(cluster);
        assert_int_equal(strlen(all), size + strlen("last;"));
        assert_int_equal(strncmp(all, "first;command 0;command 1;", 26), 0);
        cluster_close(cluster);
    }
}

/* A snapshot of several pieces, whose way is cut in between. */
static void test_big_snapshot(void **state)
{
    (void)state;
    enum { PIECE = 40, COUNT = 20000 };
    struct cluster *cluster = cluster_prepare(11, 3, 3, 1);
    static struct cluster_request requests[COUNT];
    cluster->options.snapshot_entries = 5000;
    cluster->options.trailing_entries = 5;
    cluster->options.requests_max = COUNT;
    cluster_start_all(cluster);
    cluster_commit(cluster, "first");
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    struct cluster_host *away = other_than(cluster, leader);
    cluster_kill(away);
    for (int i = 0; i < COUNT; i++)
        cluster_propose(leader, &requests[i], "forty bytes of text for a long snapshot", 20 * S);
    for (int i = 0; i < COUNT; i++) {
        cluster_await(cluster, &requests[i]);
        assert_int_equal(requests[i].certainty, NODE_OK);
    }
    cluster_run(cluster, S);
    cluster_restart(away);
    cluster_run(cluster, 30 * CLUSTER_MS);
    sim_net_isolate(cluster->world, away->sim);
    cluster_run(cluster, S);
    sim_net_heal(cluster->world);
    assert_int_equal(strlen(cluster_settle(cluster)), 6 + COUNT * PIECE);
    assert_true(cluster->events[NODE_SNAPSHOT_INSTALLED] >= 1);
    cluster_close(cluster);
}

/* What the recorder holds can be stepped again to the same states, and tells when something else
 * happened. */
static void test_recorder(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_prepare(12, 3, 3, 1);
    struct peri_buffer bytes = {NULL, 0, 0};
    struct peri_error err = PERI_ERROR_INIT;
    cluster->options.recorder_bytes = 100000;
    cluster_start_all(cluster);
    for (int i = 0; i < 200; i++)
        cluster_commit(cluster, "x");
    for (size_t i = 0; i < 3; i++) {
        bytes.size = 0;
        assert_int_equal(node_group_record(cluster->hosts[i].machines[0].group, &bytes), 0);
        assert_int_equal(node_recorder_replay(peri_buffer_slice(&bytes), NULL, NULL, &err), 0);
    }
    unsigned found = 0;
    for (size_t at = bytes.size - 2000; at < bytes.size; at += 7) {
        bytes.data[at] ^= 1;
        found += node_recorder_replay(peri_buffer_slice(&bytes), NULL, NULL, &err) != 0;
        bytes.data[at] ^= 1;
    }
    assert_true(found > 20);
    peri_buffer_deinit(&bytes);
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),         cmocka_unit_test(test_stranger_leads),
        cmocka_unit_test(test_joins_and_leaves), cmocka_unit_test(test_transfer),
        cmocka_unit_test(test_snapshots),        cmocka_unit_test(test_big_snapshot),
        cmocka_unit_test(test_recorder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
