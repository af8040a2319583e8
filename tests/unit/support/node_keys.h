/* node_keys.h - clusters whose machines keep their state on disk, for tests. Included once. */
#ifndef PERI_TESTS_NODE_KEYS_H
#define PERI_TESTS_NODE_KEYS_H

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

enum { S = CLUSTER_S, MS = CLUSTER_MS, TEXT_MAX = 4096, TRAILING = 5 };

/* Snapshots are frequent, and the log is cut soon. */
static inline struct cluster *create(uint64_t seed, size_t voters, size_t total)
{
    struct cluster *cluster = cluster_prepare(seed, voters, total, 1);
    cluster->keeps_keys = true;
    cluster->options.snapshot_entries = 20;
    cluster->options.trailing_entries = TRAILING;
    cluster_start_all(cluster);
    return cluster;
}

/* Commits name0, name1, ..., and adds them to expected, which has TEXT_MAX bytes. */
static inline void commit_many(struct cluster *cluster, const char *name, size_t count,
                               char *expected)
{
    for (size_t i = 0; i < count; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, "%s%zu", name, i);
        cluster_commit(cluster, text);
        (void)snprintf(expected + strlen(expected), TEXT_MAX - strlen(expected), "%s;", text);
    }
}

static inline uint64_t applied_by(const struct cluster_host *host)
{
    struct node_stats stats;
    node_stats(host->node, &stats);
    return stats.entries_applied;
}

static inline void stop(struct cluster_host *host, bool is_crash)
{
    if (is_crash)
        cluster_crash(host);
    else
        cluster_kill(host);
}

#endif
