/* A group at rest keeps no old generation of the log that all groups share. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "node_cluster.h"

enum {
    S = CLUSTER_S,
    GENERATION = 64 << 10,
    COMMAND = 4 << 10,
    QUIET = 120, /* commands of the group that rests: more than an eighth of a generation */
    BUSY = 200   /* of the other */
};

static char command[COMMAND + 1];

static void on_done(struct node_request *request, const struct node_outcome *outcome)
{
    assert_int_equal(outcome->certainty, NODE_OK);
    container_of(request, struct cluster_request, request)->is_done = true;
}

/* Group 2's leader is told something long. */
static void write_much(struct cluster *cluster, struct cluster_request *request)
{
    for (size_t i = 0; i < cluster->count; i++) {
        struct node_status status;
        struct node_group *group = cluster->hosts[i].machines[1].group;
        node_group_status(group, &status);
        if (status.raft.role != RAFT_LEADER)
            continue;
        *request = (struct cluster_request){
            .request = {.kind = NODE_PROPOSE,
                        .body = peri_slice_of(command, COMMAND),
                        .due_us = env_now_us(sim_node_env(cluster->hosts[i].sim)) + S,
                        .on_done = on_done}};
        assert_int_equal(node_request_start(group, &request->request, NULL), 0);
        break;
    }
    cluster_run(cluster, S / 20);
    assert_true(request->is_done);
}

static void run(uint64_t seed, bool keeps_keys, bool sleeps)
{
    struct cluster *cluster = cluster_prepare(seed, 3, 3, 2);
    static struct cluster_request requests[BUSY];
    cluster->keeps_keys = keeps_keys;
    cluster->options.log_generation_bytes = GENERATION;
    cluster->options.raft.sleep_after_us = sleeps ? S : 0;
    cluster_start_all(cluster);
    (void)cluster_leader(cluster, NULL);
    for (int i = 0; i < QUIET; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "%025d", i);
        cluster_commit(cluster, text);
    }
    cluster_run(cluster, 3 * S);
    for (int i = 0; i < BUSY; i++)
        write_much(cluster, &requests[i]);
    cluster_run(cluster, 3 * S);
    for (size_t i = 0; i < cluster->count; i++) {
        struct node_status status;
        node_group_status(cluster->hosts[i].machines[0].group, &status);
        assert_true(status.raft.base_index > QUIET / 2);
        assert_int_equal(status.raft.is_asleep, sleeps);
    }
    cluster_commit(cluster, "and it goes on");
    assert_non_null(strstr(cluster_settle(cluster), "and it goes on;"));
    cluster_close(cluster);
}

static void test_in_memory(void **state)
{
    (void)state;
    run(1, false, false);
    run(2, false, true);
}

static void test_on_disk(void **state)
{
    (void)state;
    run(3, true, false);
    run(4, true, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory),
        cmocka_unit_test(test_on_disk),
    };
    memset(command, 'x', COMMAND);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
