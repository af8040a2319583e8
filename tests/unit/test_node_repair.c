/* Replicas whose disks have lost something durable: they come back, take part in nothing that they
 * could contradict, and are repaired by the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "node/snapshot_file.h"
#include "node_damage.h"

enum { S = CLUSTER_S, MS = CLUSTER_MS };

/* ---- one byte ---- */

struct verdicts {
    uint64_t flips, refused, damaged, suspect, unharmed, failed;
};

static bool keeps_keys; /* of all machines */

/* Three nodes, one of which is down: it has a snapshot, and entries behind that. */
static struct cluster *small_cluster(uint64_t seed, struct cluster_host **down)
{
    struct cluster *cluster = cluster_prepare(seed, 3, 3, 1);
    char text[16];
    cluster->keeps_keys = keeps_keys;
    cluster->options.snapshot_entries = 6;
    cluster->options.trailing_entries = 2;
    cluster->options.recorder_bytes = 0;
    cluster_start_all(cluster);
    for (int i = 0; i < 10; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        cluster_commit(cluster, text);
    }
    (void)cluster_settle(cluster);
    cluster_run(cluster, 100 * (uint64_t)MS); /* the logs are sealed */
    *down = &cluster->hosts[seed % 3];
    cluster_kill(*down);
    return cluster;
}

/* Turns over one bit of a node's files; the group must go on, and the node come back into it. */
static bool survives(uint64_t seed, uint64_t at, unsigned bit, struct verdicts *verdicts)
{
    struct cluster_host *down = NULL;
    struct cluster *cluster = small_cluster(seed, &down);
    if (!sim_disk_flip_at(down->sim, at, bit)) {
        cluster_close(cluster);
        return false;
    }
    verdicts->flips++;
    restart(down);
    cluster_commit(cluster, "x");
    if (!down->machines[0].is_open) {
        verdicts->refused++; /* loudly: the node has to be replaced */
        if (down->open_status == 0) {
            (void)fprintf(stderr, "byte %d of node %d: %s\n", (int)at, (int)down->id,
                          down->open_error);
            verdicts->failed++;
        }
        cluster_kill(down);
    } else {
        enum store_log_health health = health_of(down);
        verdicts->damaged += health == STORE_LOG_DAMAGED;
        verdicts->suspect += health == STORE_LOG_SUSPECT;
        verdicts->unharmed += health == STORE_LOG_CLEAN;
        if (!is_repaired(down)) {
            (void)fprintf(stderr, "byte %d of node %d: it is not repaired\n", (int)at,
                          (int)down->id);
            verdicts->failed++;
        }
        cluster_kill(&cluster->hosts[down->id % 3]); /* now everything depends on it */
    }
    cluster_commit(cluster, "y");
    if (strcmp(cluster_settle(cluster), "0;1;2;3;4;5;6;7;8;9;x;y;") != 0) {
        (void)fprintf(stderr, "byte %d: %s\n", (int)at, cluster_settle(cluster));
        verdicts->failed++;
    }
    cluster_close(cluster);
    return true;
}

/* Every byte of what a node has on its disk; every 97th, or as PERI_FLIP_ALL says. */
static void flip_all(void)
{
    struct verdicts verdicts = {0};
    const char *all = getenv("PERI_FLIP_ALL");
    uint64_t stride = all != NULL && strtoull(all, NULL, 10) > 0 ? strtoull(all, NULL, 10) : 97;
    for (uint64_t at = 0; survives(2, at, (unsigned)at % 8, &verdicts); at += stride)
        ;
    print_message("  %d flips: %d refused, %d damaged, %d suspect, %d without harm\n",
                  (int)verdicts.flips, (int)verdicts.refused, (int)verdicts.damaged,
                  (int)verdicts.suspect, (int)verdicts.unharmed);
    assert_int_equal(verdicts.failed, 0);
    assert_true(verdicts.damaged > 0);
}

static void test_every_byte(void **state)
{
    (void)state;
    flip_all();
}

/* With the state on disk, too. */
static void test_every_byte_of_keys(void **state)
{
    (void)state;
    keeps_keys = true;
    flip_all();
    keeps_keys = false;
}

/* ---- what must not happen ---- */

/* Two hold an entry that was acknowledged. One of them has lost it, the other one is down: the
 * third, which never had it, must not be elected. */
static void test_forgotten_acknowledgement(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        struct cluster_host *behind = &cluster->hosts[leader->id % 3];
        struct cluster_host *forgets = &cluster->hosts[(leader->id + 1) % 3];
        cluster_kill(behind);
        cluster_commit(cluster, "b");
        cluster_kill(leader);
        damage(forgets);
        restart(behind);
        cluster_run(cluster, 10 * (uint64_t)S);
        assert_false(has_leader(cluster));
        assert_int_equal(health_of(forgets), STORE_LOG_DAMAGED);
        restart(leader);
        cluster_commit(cluster, "c");
        assert_true(is_repaired(forgets));
        assert_string_equal(cluster_settle(cluster), "a;b;c;");
        assert_true(cluster->events[NODE_REPAIRED] >= 1);
        cluster_close(cluster);
    }
}

/* The leader stays, and counts what the replica acknowledged before its disk lost it. */
static void test_leader_forgets_too(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct node_status before, after;
        cluster_commit(cluster, "a");
        cluster_commit(cluster, "b");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        struct cluster_host *forgets = &cluster->hosts[leader->id % 3];
        (void)cluster_settle(cluster);
        node_group_status(leader->machines[0].group, &before);
        damage(forgets);
        assert_true(is_repaired(forgets));
        assert_string_equal(cluster_settle(cluster), "a;b;");
        node_group_status(leader->machines[0].group, &after);
        assert_int_equal(after.raft.term, before.raft.term);
        cluster_kill(&cluster->hosts[(leader->id + 1) % 3]);
        cluster_commit(cluster, "c");
        assert_string_equal(cluster_settle(cluster), "a;b;c;");
        cluster_close(cluster);
    }
}

/* A group whose majority is damaged waits for people, and says so. */
static void test_damaged_majority(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_create(3, 3, 3);
    struct cluster_request request;
    cluster_commit(cluster, "a");
    (void)cluster_settle(cluster);
    for (size_t i = 0; i < 3; i++)
        cluster_kill(&cluster->hosts[i]);
    for (size_t i = 0; i < 2; i++) {
        restart(&cluster->hosts[i]);
        damage(&cluster->hosts[i]);
    }
    restart(&cluster->hosts[2]);
    cluster_run(cluster, 5 * (uint64_t)S);
    assert_false(has_leader(cluster));
    for (size_t i = 0; i < 3; i++) {
        cluster_read(&cluster->hosts[i], &request, NODE_LINEARIZABLE, S);
        cluster_await(cluster, &request);
        print_message("  %s\n", request.error);
        assert_non_null(strstr(request.error, "damaged"));
        assert_non_null(strstr(request.error, "perilune recover"));
    }
    cluster_close(cluster);
}

/* ---- a disk that is empty again ---- */

/* A node that lost its whole disk and comes back under its old id does not count: it forgot what it
 * acknowledged, and cannot know that. It and the others say so. */
static void test_wiped_disk(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct cluster_request request;
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        struct cluster_host *behind = &cluster->hosts[leader->id % 3];
        struct cluster_host *wiped = &cluster->hosts[(leader->id + 1) % 3];
        (void)cluster_settle(cluster);
        cluster_kill(behind);
        cluster_commit(cluster, "b");
        cluster_kill(leader);
        cluster_kill(wiped);
        cluster_fault(wiped, ENV_FAULT_WIPE, 0);
        restart(wiped);
        restart(behind);
        cluster_run(cluster, 5 * (uint64_t)S);
        assert_false(has_leader(cluster)); /* it would not have "b" */
        cluster_read(behind, &request, NODE_LINEARIZABLE, S);
        cluster_await(cluster, &request);
        assert_non_null(strstr(request.error, "came back on another disk"));
        cluster_read(wiped, &request, NODE_LINEARIZABLE, S);
        cluster_await(cluster, &request);
        assert_non_null(strstr(request.error, "knew this node on another disk"));
        restart(leader);
        cluster_commit(cluster, "c");
        cluster_kill(wiped);
        assert_string_equal(cluster_settle(cluster), "a;b;c;");
        for (size_t i = 0; i < 3; i++) /* others remember it over their own restarts */
            if (&cluster->hosts[i] != wiped)
                cluster_kill(&cluster->hosts[i]);
        restart(wiped);
        restart(behind);
        cluster_run(cluster, 5 * (uint64_t)S);
        assert_false(has_leader(cluster));
        cluster_close(cluster);
    }
}

/* ---- a disk that goes back in time ---- */

enum { FILES_MAX = 64 };

/* What a node's disk held. */
struct backup {
    char paths[FILES_MAX][256];
    struct peri_buffer files[FILES_MAX];
    size_t count;
};

static void back_up(struct cluster_host *host, const char *folder, struct backup *out)
{
    char path[256];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    assert_int_equal(env_dir_open(sim_node_env(host->sim), folder, &dir, NULL), 0);
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        (void)snprintf(path, sizeof path, "%.120s/%.120s", folder, name);
        if (type == ENV_TYPE_DIRECTORY) {
            back_up(host, path, out);
            continue;
        }
        assert_true(out->count < FILES_MAX);
        memcpy(out->paths[out->count], path, sizeof path);
        assert_int_equal(sim_disk_get(host->sim, path, &out->files[out->count]), 0);
        out->count++;
    }
    env_dir_close(dir);
}

static void put_back(struct cluster_host *host, struct backup *backup)
{
    cluster_fault(host, ENV_FAULT_WIPE, 0);
    for (size_t i = 0; i < backup->count; i++) {
        const struct peri_slice bytes = peri_buffer_slice(&backup->files[i]);
        assert_int_equal(sim_disk_put(host->sim, backup->paths[i], bytes, NULL), 0);
        peri_buffer_deinit(&backup->files[i]);
    }
}

/* Its disk is intact, and has forgotten an acknowledgement: with it the node that lacks the entry
 * would have a majority. Who remembers how old the disk was does not hear it; it says so itself. */
static void test_older_backup(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct cluster *cluster = cluster_create(seed, 3, 3);
        struct cluster_request request;
        struct backup backup = {.count = 0};
        cluster_commit(cluster, "a");
        struct cluster_host *leader = cluster_leader(cluster, NULL);
        struct cluster_host *old = &cluster->hosts[(leader->id + 1) % 3];
        back_up(old, "/data", &backup);
        cluster_run(cluster, 25 * (uint64_t)S);
        leader = cluster_leader(cluster, NULL);
        struct cluster_host *behind = &cluster->hosts[leader->id % 3];
        if (behind == old)
            behind = &cluster->hosts[(leader->id + 1) % 3];
        if (leader == old) { /* it does not matter which of the others has "b" */
            leader = &cluster->hosts[old->id % 3];
            behind = &cluster->hosts[(old->id + 1) % 3];
        }
        cluster_kill(behind);
        cluster_commit(cluster, "b");
        cluster_kill(leader);
        cluster_kill(old);
        put_back(old, &backup);
        restart(old);
        restart(behind);
        cluster_run(cluster, 5 * (uint64_t)S);
        assert_false(has_leader(cluster)); /* it would not have "b" */
        cluster_read(old, &request, NODE_LINEARIZABLE, S);
        cluster_await(cluster, &request);
        assert_non_null(strstr(request.error, "on an older copy of its disk"));
        restart(leader);
        cluster_commit(cluster, "c");
        cluster_kill(old);
        assert_string_equal(cluster_settle(cluster), "a;b;c;");
        cluster_close(cluster);
    }
}

/* ---- a snapshot of a later format ---- */

/* As a later version would write it: intact, with the checksum of snapshot_file.h. */
static void make_newer(struct cluster_host *host, const char *path)
{
    enum { VERSION_AT = 4, HASH_AT = 52, HEAD_SIZE = 60 };
    struct peri_buffer bytes = {0};
    XXH3_state_t hash;
    assert_int_equal(sim_disk_get(host->sim, path, &bytes), 0);
    bits_put_le32(bytes.data + VERSION_AT, NODE_SNAPSHOT_VERSION + 1);
    (void)XXH3_64bits_reset(&hash);
    (void)XXH3_64bits_update(&hash, bytes.data, HASH_AT);
    (void)XXH3_64bits_update(&hash, bytes.data + HEAD_SIZE, bytes.size - HEAD_SIZE);
    bits_put_le64(bytes.data + HASH_AT, XXH3_64bits_digest(&hash));
    assert_int_equal(sim_disk_put(host->sim, path, peri_buffer_slice(&bytes), NULL), 0);
    peri_buffer_deinit(&bytes);
}

/* It is not damage: nothing is thrown away, and who started the older program is told. */
static void test_newer_snapshot(void **state)
{
    (void)state;
    struct cluster_host *down = NULL;
    struct cluster *cluster = small_cluster(2, &down);
    make_newer(down, "/data/snapshots/g1-i6-t1");
    restart(down);
    cluster_run(cluster, S);
    assert_false(down->machines[0].is_open);
    assert_int_equal(down->machines[0].open_status, PERI_EVERSION);
    assert_non_null(strstr(down->open_error, "run the newer one"));
    cluster_close(cluster);
}

/* ---- any number of bits, on one node ---- */

static void test_random_flips(void **state)
{
    (void)state;
    const char *seeds = getenv("PERI_FLIP_SEEDS");
    uint64_t last = seeds != NULL ? strtoull(seeds, NULL, 10) : 30;
    for (uint64_t seed = 1; seed <= last; seed++) {
        struct cluster_host *down = NULL;
        struct cluster *cluster = small_cluster(seed, &down);
        cluster_fault(down, ENV_FAULT_DISK_FLIP, 1 + (int64_t)(seed % 7) * (int64_t)(seed % 5));
        restart(down);
        cluster_commit(cluster, "x");
        if (down->machines[0].is_open) {
            assert_true(is_repaired(down));
            cluster_kill(&cluster->hosts[down->id % 3]);
        } else {
            cluster_kill(down);
        }
        cluster_commit(cluster, "y");
        assert_string_equal(cluster_settle(cluster), "0;1;2;3;4;5;6;7;8;9;x;y;");
        cluster_close(cluster);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_every_byte_of_keys),
        cmocka_unit_test(test_forgotten_acknowledgement),
        cmocka_unit_test(test_leader_forgets_too),
        cmocka_unit_test(test_damaged_majority),
        cmocka_unit_test(test_wiped_disk),
        cmocka_unit_test(test_older_backup),
        cmocka_unit_test(test_newer_snapshot),
        cmocka_unit_test(test_random_flips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
