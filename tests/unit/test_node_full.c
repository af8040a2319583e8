/* Disks without room, under machines that keep their state on disk: nobody is fenced, commands are
 * refused with a reason, others lead, and all goes on when there is room. */
#include "node/rounds.h"
#include "node_keys.h"
#include "sim/disk.h"

enum { SEEDS = 30 };

static void fill_disk(struct cluster_host *host, uint64_t left)
{
    struct sim_disk_usage usage = sim_disk_usage(host->sim);
    cluster_fault(host, ENV_FAULT_DISK_CAPACITY,
                  (int64_t)(usage.bytes + usage.reserved_bytes + left));
}

static bool lacks_room(const struct cluster_host *host)
{
    return host->node != NULL && host->node->rounds != NULL && host->node->rounds->lacks_room;
}

/* A store of one node says what is wrong, and takes commands again by itself. */
static void test_alone(void **state)
{
    (void)state;
    struct cluster *cluster = create(1, 1, 1);
    struct cluster_host *host = &cluster->hosts[0];
    struct cluster_request request = {.code = 0};
    char expected[TEXT_MAX] = "";
    commit_many(cluster, "a", 5, expected);
    cluster_run(cluster, S);
    fill_disk(host, 200);
    for (size_t i = 0; i < 50 && request.code == 0; i++) {
        cluster_propose(host, &request, "b", 5 * S);
        cluster_await(cluster, &request);
        if (request.code == 0)
            (void)snprintf(expected + strlen(expected), TEXT_MAX - strlen(expected), "b;");
        cluster_run(cluster, 2200 * MS); /* a round */
    }
    assert_int_equal(request.code, PERI_EFULL);
    assert_int_equal(request.certainty, NODE_NEVER);
    assert_non_null(strstr(request.error, "is full: it takes no commands until there is room"));
    cluster_run(cluster, 10 * S);
    assert_true(lacks_room(host));
    cluster_read(host, &request, NODE_LINEARIZABLE, S); /* what is there can be read */
    cluster_await(cluster, &request);
    assert_string_equal(request.result, expected);
    cluster_fault(host, ENV_FAULT_DISK_CAPACITY, 0);
    cluster_run(cluster, 3 * S);
    assert_false(lacks_room(host));
    commit_many(cluster, "c", 5, expected);
    cluster_run(cluster, S);
    cluster_crash(host); /* what was written before, meanwhile and since is there */
    cluster_restart(host);
    assert_string_equal(cluster_settle(cluster), expected);
    assert_int_equal(cluster->events[NODE_FENCED], 0);
    cluster_close(cluster);
}

/* One of three has no room, from a random moment on, and may stop or crash meanwhile. */
static void test_one_of_three(void **state)
{
    size_t full = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = create(seed, 3, 3);
        char expected[TEXT_MAX] = "";
        commit_many(cluster, "a", 5 + seed, expected);
        struct cluster_host *host = cluster_leader(cluster, NULL);
        if (seed % 2 == 0)
            host = &cluster->hosts[seed / 2 % 3];
        fill_disk(host, seed * 97 % 600);
        for (int i = 0; i < 6; i++) { /* a round each */
            commit_many(cluster, "b", 10, expected);
            cluster_run(cluster, 2200 * MS);
        }
        full += lacks_room(host);
        assert_ptr_not_equal(cluster_leader(cluster, NULL), lacks_room(host) ? host : NULL);
        if (seed % 3 == 0) { /* a start needs room */
            stop(host, seed % 2 == 0);
            cluster_fault(host, ENV_FAULT_DISK_CAPACITY, 0);
            cluster_restart(host);
        }
        cluster_fault(host, ENV_FAULT_DISK_CAPACITY, 0);
        cluster_run(cluster, 3 * S);
        assert_false(lacks_room(host));
        commit_many(cluster, "c", 10, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        assert_int_equal(cluster->events[NODE_FENCED], 0);
        cluster_close(cluster);
    }
    assert_true(full > SEEDS / 2);
}

/* A member that joins, or was away, gets the state in chunks while its disk is full, or from one
 * whose disk is. */
static void test_snapshots(void **state)
{
    size_t full = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct cluster *cluster = create(100 + seed, 3, 3);
        char expected[TEXT_MAX] = "";
        struct cluster_host *away = &cluster->hosts[seed % 3], *host = away;
        commit_many(cluster, "a", 5, expected);
        cluster_kill(away);
        commit_many(cluster, "pad", 10, expected); /* 3 MB */
        commit_many(cluster, "b", 60, expected);
        cluster_run(cluster, 2 * S);
        cluster_restart(away);
        if (seed % 2 == 0)
            host = cluster_leader(cluster, NULL);
        fill_disk(host, seed * 131072 % 4000000);
        cluster_run(cluster, 3 * S);
        full += lacks_room(host);
        cluster_fault(host, ENV_FAULT_DISK_CAPACITY, 0);
        cluster_run(cluster, 3 * S);
        commit_many(cluster, "c", 10, expected);
        assert_string_equal(cluster_settle(cluster), expected);
        assert_int_equal(cluster->events[NODE_FENCED], 0);
        cluster_close(cluster);
    }
    assert_true(full > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_one_of_three),
        cmocka_unit_test(test_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
