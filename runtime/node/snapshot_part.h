/* snapshot_part.h - what has come of a snapshot of a machine in memory, kept for a start: the
 * transfer goes on where it was.
 *
 *   file gGROUP.part: magic "PPRT", version u32, cluster u64, group u64, index u64, term u64, size
 * of the state u64, hash of the state u64, XXH3-64 of all before; then blocks: size u32, XXH3-64 of
 * the bytes seeded with where in the state they belong u64, bytes
 *
 * Nothing is synced: what a loss of power leaves behind shows by the checks, and whoever puts the
 * state together compares its hash. All functions block. */
#ifndef PERI_NODE_SNAPSHOT_PART_H
#define PERI_NODE_SNAPSHOT_PART_H

#include "env/env.h"

enum { NODE_PART_BYTES = 512 << 10 }; /* of a block; a state that is not longer leaves no file */

/* Which snapshot, and how far the file goes. */
struct node_part {
    uint64_t cluster, group, index, term, total, hash;
    uint64_t offset; /* where the file ends */
};

/* Appends to state, which is empty, what there is of that snapshot, and says where the file ends; 0
 * when there is none. Errors: errno codes, PERI_ENOMEM. */
int node_part_read(struct env *env, const char *directory, struct node_part *part,
                   struct peri_buffer *state, struct peri_error *err);

/* Puts a block behind what is there, which belongs at `at` of the state; in front of the first one
 * the head, in place of any other file of the group. Errors: errno codes, PERI_ENOMEM. */
int node_part_write(struct env *env, const char *directory, struct node_part *part, uint64_t at,
                    struct peri_slice block, struct peri_error *err);

/* Removes the group's file; none is no error. Errors: errno codes. */
int node_part_remove(struct env *env, const char *directory, uint64_t group,
                     struct peri_error *err);

#endif
