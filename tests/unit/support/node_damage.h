/* node_damage.h - nodes of a cluster whose disks are hurt, and whether they become whole again. */
#ifndef PERI_TESTS_NODE_DAMAGE_H
#define PERI_TESTS_NODE_DAMAGE_H

#include "node_cluster.h"
#include "sim/disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static inline enum store_log_health health_of(const struct cluster_host *host)
{
    struct node_status status;
    assert_true(host->machines[0].is_open);
    node_group_status(host->machines[0].group, &status);
    return status.health;
}

static inline bool is_whole(const struct cluster_host *host)
{
    return host->machines[0].is_open && health_of(host) == STORE_LOG_CLEAN;
}

/* Runs until the host's replica is whole; false when that takes too long. */
static inline bool is_repaired(struct cluster_host *host)
{
    for (int i = 0; i < 30 * 100 && !is_whole(host); i++)
        cluster_run(host->cluster, 10 * (uint64_t)CLUSTER_MS);
    return is_whole(host);
}

static inline void restart(struct cluster_host *host)
{
    cluster_restart(host);
    for (int i = 0; i < 100 && !host->machines[0].is_open && host->open_status == 0; i++)
        cluster_run(host->cluster, 10 * (uint64_t)CLUSTER_MS);
}

static inline bool has_leader(const struct cluster *cluster)
{
    for (size_t i = 0; i < cluster->count; i++) {
        struct node_status status;
        if (cluster->hosts[i].node == NULL || !cluster->hosts[i].machines[0].is_open)
            continue;
        node_group_status(cluster->hosts[i].machines[0].group, &status);
        if (status.raft.role == RAFT_LEADER)
            return true;
    }
    return false;
}

/* ---- damage ---- */

enum { GENERATION_FILES_MAX = 16 };

/* The files of the newest generation of a node that runs. */
struct generation {
    char paths[GENERATION_FILES_MAX][256];
    size_t count;
};

static inline void list_generation(struct cluster_host *host, struct generation *out)
{
    struct env *env = sim_node_env(host->sim);
    char path[128] = "", entry[256];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    assert_int_equal(env_dir_open(env, "/data/log", &dir, NULL), 0);
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        (void)snprintf(entry, sizeof entry, "/data/log/%.64s", name);
        if (type == ENV_TYPE_DIRECTORY && strchr(name, '.') == NULL && strcmp(entry, path) > 0)
            (void)snprintf(path, sizeof path, "%.100s", entry);
    }
    env_dir_close(dir);
    out->count = 0;
    assert_int_equal(env_dir_open(env, path, &dir, NULL), 0);
    while (env_dir_next(dir, &name, &type, NULL) == 1 && out->count < GENERATION_FILES_MAX)
        (void)snprintf(out->paths[out->count++], sizeof out->paths[0], "%s/%.64s", path, name);
    env_dir_close(dir);
}

/* Flips a bit of the file, so many bytes before the last one that is not zero; false when it is
 * shorter. */
static inline bool flip_before_end(struct cluster_host *host, const char *path, size_t before)
{
    struct peri_buffer bytes = {0};
    assert_int_equal(sim_disk_get(host->sim, path, &bytes), 0);
    while (bytes.size > 0 && bytes.data[bytes.size - 1] == 0)
        bytes.size--;
    size_t size = bytes.size;
    bytes.size = 0;
    assert_int_equal(sim_disk_get(host->sim, path, &bytes), 0);
    if (size > before) {
        bytes.data[size - 1 - before] = (char)(bytes.data[size - 1 - before] ^ 2);
        assert_int_equal(sim_disk_put(host->sim, path, peri_buffer_slice(&bytes), NULL), 0);
    }
    peri_buffer_deinit(&bytes);
    return size > before;
}

/* Kills a node that runs, and damages the end of its log until its next start says so. */
static inline void damage(struct cluster_host *host)
{
    enum { TRIES = 64 };
    for (size_t before = 0; before < TRIES; before++) {
        struct generation generation;
        list_generation(host, &generation);
        cluster_kill(host);
        for (size_t i = 0; i < generation.count; i++)
            (void)flip_before_end(host, generation.paths[i], before);
        restart(host);
        assert_true(host->machines[0].is_open);
        if (health_of(host) == STORE_LOG_DAMAGED)
            return;
    }
    fail_msg("no flip is noticed");
}

#endif
