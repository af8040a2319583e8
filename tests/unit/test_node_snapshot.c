/* Snapshots of machines in memory on their way: a receiver that starts again, a file that went bad.
 * Machines that keep keys have their own way: test_node_stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/assert.h"
#include "base/bits.h"
#include "node/snapshot.h"
#include "node_cluster.h"
#include "sim/disk.h"
#include "sim/net.h"

enum {
    S = CLUSTER_S,
    MS = CLUSTER_MS,
    COMMAND = 16 << 10,
    COMMANDS = 61, /* and the first one: 8 pieces */
    PIECE = 128 << 10
};

static char command[COMMAND];

static void on_done(struct node_request *request, const struct node_outcome *outcome)
{
    if (outcome->certainty != NODE_OK)
        fail_msg("%s", outcome->err->text);
    container_of(request, struct cluster_request, request)->is_done = true;
}

static void write_long(struct cluster *cluster)
{
    static struct cluster_request request;
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    uint64_t due_us = env_now_us(sim_node_env(leader->sim)) + 5 * (uint64_t)S;
    request = (struct cluster_request){.request = {.kind = NODE_PROPOSE,
                                                   .body = peri_slice_of(command, COMMAND),
                                                   .due_us = due_us,
                                                   .on_done = on_done}};
    assert_int_equal(node_request_start(leader->machines[0].group, &request.request, NULL), 0);
    cluster_await(cluster, &request);
}

/* Three nodes, one of which is down and will need a snapshot, all of what is there. */
static struct cluster *create(uint64_t seed, struct cluster_host **away)
{
    struct cluster *cluster = cluster_prepare(seed, 3, 3, 1);
    cluster->options.snapshot_entries = 0; /* when asked for */
    cluster->options.trailing_entries = 0;
    cluster_start_all(cluster);
    cluster_commit(cluster, "first");
    struct cluster_host *leader = cluster_leader(cluster, NULL);
    *away = &cluster->hosts[leader == &cluster->hosts[0]];
    cluster_kill(*away);
    for (int i = 0; i < COMMANDS; i++)
        write_long(cluster);
    cluster_run(cluster, S);
    for (size_t i = 0; i < 3; i++)
        if (&cluster->hosts[i] != *away)
            assert_int_equal(node_group_snapshot(cluster->hosts[i].machines[0].group, NULL), 0);
    cluster_run(cluster, S);
    assert_int_equal(cluster->events[NODE_SNAPSHOT_TAKEN], 2);
    return cluster;
}

static void check_arrived(struct cluster *cluster)
{
    assert_int_equal(strlen(cluster_settle(cluster)), sizeof "first" + COMMANDS * (COMMAND + 1));
    uint64_t sent = 0, installed = cluster->events[NODE_SNAPSHOT_INSTALLED];
    for (size_t i = 0; i < 3; i++) {
        struct node_stats stats;
        node_stats(cluster->hosts[i].node, &stats);
        sent += stats.snapshots_sent;
    }
    assert_in_range(installed, 1, 2);
    assert_true(sent <= installed); /* none was thought to have arrived that had not */
}

static void check(struct cluster *cluster)
{
    check_arrived(cluster);
    cluster_close(cluster);
}

/* Runs until so many pieces have come. */
static void await_pieces(struct cluster *cluster, const struct cluster_host *host, uint64_t count)
{
    for (int i = 0; i < 50000; i++) {
        const struct node_group *group = host->machines[0].group;
        if (group != NULL && group->snapshots != NULL &&
            group->snapshots->stage.snapshot.state.size >= count * PIECE)
            return;
        cluster_run(cluster, MS / 10);
    }
    fail_msg("no snapshot is sent");
}

/* Whatever the receiver had in memory it has forgotten: what its disk has kept is not sent again,
 * and no snapshot counts as sent that has not arrived. */
static void test_receiver_starts_again(void **state)
{
    (void)state;
    for (uint64_t step = 1; step < 14; step++) {
        struct cluster_host *away;
        struct cluster *cluster = create(20 + step, &away);
        cluster_restart(away);
        await_pieces(cluster, away, 1 + step / 2);
        if (step % 2 == 0)
            cluster_crash(away);
        else
            cluster_kill(away);
        cluster_run(cluster, step % 3 * 200 * MS);
        cluster_restart(away);
        check(cluster);
    }
}

/* What the disk has kept is there with the answer to the first piece that comes again. */
static void test_transfer_goes_on(void **state)
{
    (void)state;
    struct cluster_host *away;
    struct cluster *cluster = create(50, &away);
    cluster_restart(away);
    await_pieces(cluster, away, 5); /* of 8, and 4 of them are kept */
    cluster_kill(away);
    cluster_restart(away);
    const struct node_stage *stage = NULL;
    while (stage == NULL || !stage->is_set || stage->is_busy) {
        cluster_run(cluster, MS / 10);
        const struct node_group *group = away->machines[0].group;
        stage = group != NULL && group->snapshots != NULL ? &group->snapshots->stage : NULL;
    }
    assert_in_range(stage->snapshot.state.size, NODE_PART_BYTES, NODE_PART_BYTES + PIECE);
    check(cluster);
}

/* What was kept is damaged: so that it shows by the block's check, or only by the hash of the
 * whole.
 */
static void test_damaged_part(void **state)
{
    enum { HEAD = 64, BLOCK_HEAD = 12 };
    static const char path[] = "/data/snapshots/g1.part";
    (void)state;
    for (int is_subtle = 0; is_subtle < 2; is_subtle++) {
        struct cluster_host *away;
        struct cluster *cluster = create(60, &away);
        struct peri_buffer bytes = {NULL, 0, 0};
        cluster_restart(away);
        await_pieces(cluster, away, 5);
        cluster_kill(away);
        assert_int_equal(sim_disk_get(away->sim, path, &bytes), 0);
        assert_int_equal(bytes.size, HEAD + BLOCK_HEAD + NODE_PART_BYTES);
        bytes.data[1000] ^= 1;
        uint64_t check = XXH3_64bits(bytes.data + HEAD + BLOCK_HEAD, NODE_PART_BYTES);
        if (is_subtle == 1)
            bits_put_le64(bytes.data + HEAD + 4, check);
        assert_int_equal(sim_disk_put(away->sim, path, peri_buffer_slice(&bytes), NULL), 0);
        peri_buffer_deinit(&bytes);
        cluster_restart(away);
        check_arrived(cluster);
        assert_int_equal(sim_disk_get(away->sim, path, &bytes), -ENOENT);
        cluster_close(cluster);
    }
}

/* Flips a bit of every file in the node's directory of snapshots. */
static void damage_files(struct cluster_host *host)
{
    struct env *env = sim_node_env(host->sim);
    struct env_dir *dir = NULL;
    struct peri_buffer bytes = {NULL, 0, 0};
    const char *name = NULL;
    char path[256];
    enum env_file_type type;
    int count = 0;
    assert_int_equal(env_dir_open(env, "/data/snapshots", &dir, NULL), 0);
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        (void)snprintf(path, sizeof path, "/data/snapshots/%.128s", name);
        bytes.size = 0;
        assert_int_equal(sim_disk_get(host->sim, path, &bytes), 0);
        bytes.data[bytes.size / 2] ^= 1;
        assert_int_equal(sim_disk_put(host->sim, path, peri_buffer_slice(&bytes), NULL), 0);
        count++;
    }
    env_dir_close(dir);
    peri_buffer_deinit(&bytes);
    assert_int_equal(count, 1);
}

/* A snapshot that cannot be read is made anew, although nothing was applied since. */
static void test_damaged_file(void **state)
{
    (void)state;
    struct cluster_host *away;
    struct cluster *cluster = create(40, &away);
    for (size_t i = 0; i < 3; i++)
        if (&cluster->hosts[i] != away)
            damage_files(&cluster->hosts[i]);
    cluster_restart(away);
    check(cluster);
}

/* Whoever waits for an entry hears as soon as a snapshot stands for it, not at its deadline (84).
 */
static void test_overtaken(void **state)
{
    (void)state;
    for (uint64_t seed = 80; seed < 85; seed++) {
        struct cluster *cluster = cluster_prepare(seed, 3, 3, 1);
        struct cluster_request request;
        cluster->options.snapshot_entries = 10;
        cluster->options.trailing_entries = 0;
        cluster_start_all(cluster);
        cluster_commit(cluster, "a");
        struct cluster_host *cut_off = cluster_leader(cluster, NULL);
        sim_net_isolate(cluster->world, cut_off->sim);
        cluster_propose(cut_off, &request, "lost", 1000 * (uint64_t)S);
        (void)cluster_leader(cluster, cut_off);
        for (int i = 0; i < 40; i++)
            cluster_commit(cluster, "b");
        cluster_run(cluster, S);
        sim_net_heal(cluster->world);
        uint64_t installed = cluster->events[NODE_SNAPSHOT_INSTALLED];
        assert_null(strstr(cluster_settle(cluster), "lost"));
        assert_int_equal(cluster->events[NODE_SNAPSHOT_INSTALLED], installed + 1);
        cluster_run(cluster, S);
        assert_true(request.is_done);
        assert_int_not_equal(request.certainty, NODE_OK);
        assert_non_null(strstr(request.error, "came in place of the entries"));
        cluster_close(cluster);
    }
}

static struct node_task *slow;

static void begin_slowly(struct node_machine *machine, struct node_task *task)
{
    (void)machine;
    slow = task;
}

/* A machine that takes its time, and does nothing beside, is asked for nothing meanwhile: its state
 * stays that of the snapshot's index (82). */
static void test_slow_machine(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(70, 1, 1);
    struct cluster_machine *machine = &cluster->hosts[0].machines[0];
    struct cluster_request request;
    cluster_commit(cluster, "a");
    slow = NULL;
    machine->machine.snapshot = begin_slowly;
    assert_int_equal(node_group_snapshot(machine->group, NULL), 0);
    cluster_propose(&cluster->hosts[0], &request, "b", 5 * S);
    cluster_run(cluster, S);
    assert_non_null(slow);
    assert_false(request.is_done);
    assert_int_equal(machine->text.size, 2); /* "a;" */
    assert_int_equal(peri_buffer_append(&slow->output, machine->text.data, machine->text.size), 0);
    node_task_done(slow, 0);
    cluster_await(cluster, &request);
    assert_int_equal(request.certainty, NODE_OK);
    cluster_run(cluster, S);
    assert_int_equal(cluster->events[NODE_SNAPSHOT_TAKEN], 1);
    cluster_crash(&cluster->hosts[0]);
    cluster_restart(&cluster->hosts[0]);
    assert_string_equal(cluster_settle(cluster), "a;b;");
    cluster_close(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receiver_starts_again), cmocka_unit_test(test_transfer_goes_on),
        cmocka_unit_test(test_damaged_part),          cmocka_unit_test(test_damaged_file),
        cmocka_unit_test(test_slow_machine),          cmocka_unit_test(test_overtaken),
    };
    memset(command, 'x', COMMAND);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
