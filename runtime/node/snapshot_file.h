/* snapshot_file.h - snapshots as files: written whole, checked whole.
 *
 *   magic "PSNP", version u32, cluster u64, group u64, index u64, term u64, size of the members
 * u32, size of the state u64, XXH3-64 of all before and behind it u64 (all little-endian), members,
 *   state
 *
 * Magic, version and what the checksum covers stay the same in all versions.
 * The name says group, index and term. A file gets its name when all of it is on the disk. All
 * functions block: they are for background work. */
#ifndef PERI_NODE_SNAPSHOT_FILE_H
#define PERI_NODE_SNAPSHOT_FILE_H

#include "env/env.h"

enum { NODE_SNAPSHOT_VERSION = 1, NODE_SNAPSHOT_PATH_MAX = 4096 };

/* A snapshot in memory. Starts zeroed; ended by node_snapshot_deinit. */
struct node_snapshot {
    uint64_t cluster, group, index, term;
    struct peri_buffer members; /* members.c */
    struct peri_buffer state;   /* the machine's */
};

void node_snapshot_deinit(struct node_snapshot *snapshot);

/* The checksum of a state, for those who get it in pieces. */
uint64_t node_snapshot_hash(struct peri_slice state);

/* Writes the snapshot to the directory, durably. Errors: errno codes, PERI_ENOMEM. */
int node_snapshot_write(struct env *env, const char *directory,
                        const struct node_snapshot *snapshot, struct peri_error *err);

/* Reads the snapshot that out->cluster, group, index and term name into out, whose buffers are
 * empty. Errors: PERI_ECORRUPT when it is not what was written; PERI_EVERSION; PERI_ECLUSTER; errno
 * codes; PERI_ENOMEM. The buffers are then still the caller's to end. */
int node_snapshot_read(struct env *env, const char *directory, struct node_snapshot *out,
                       struct peri_error *err);

/* Calls on_file for every snapshot of the group in the directory. Errors: errno codes. */
int node_snapshot_list(struct env *env, const char *directory, uint64_t group,
                       void (*on_file)(void *data, uint64_t index, uint64_t term), void *data,
                       struct peri_error *err);

/* Removes the group's snapshots below index. Errors: errno codes. */
int node_snapshot_remove_below(struct env *env, const char *directory, uint64_t group,
                               uint64_t index, struct peri_error *err);

#endif
