/* disk.h - the simulated disk of a node: it forgets what was not synced.
 *
 * Every file has two images: what the process sees, and what would survive a power failure. Writes
 * and truncations wait in a list until a sync makes them durable, at the end of its latency, or the
 * kernel does, after 30 s (setting disk_writeback). Names (create, rename, remove) are changes of
 * their directory, and wait for env_path_sync of it: the sync of a file says nothing about its
 * name.
 *
 * At a crash each waiting write is kept, torn at a sector of 512 bytes, or lost, by the node's
 * settings disk_keep, disk_tear, disk_garble; writes of one file are independent of each other, as
 * a drive may order them. Changes of one directory survive in order: none without those before it,
 * as in a journal; different directories are independent. A lost write inside the file's durable
 * size leaves the old bytes, behind it zeroes.
 *
 * Blocking calls take virtual time: in background work its end comes later, on the loop the node
 * does nothing meanwhile. A crash in the middle of such work finds the calls that had begun by
 * then; what comes after a sync that had not ended is not on the disk. */
#ifndef PERI_SIM_DISK_H
#define PERI_SIM_DISK_H

#include "base/buffer.h"
#include "sim/node.h"

enum { SIM_SECTOR_BYTES = 512 };

/* What is on the disk, for scenarios and tests. */
struct sim_disk_usage {
    uint64_t files;          /* and directories */
    uint64_t bytes;          /* of files, removed ones too until that is durable */
    uint64_t reserved_bytes; /* that files keep from others besides (env_file_reserve) */
    uint64_t unsynced_bytes; /* of writes that wait */
};
struct sim_disk_usage sim_disk_usage(const struct sim_node *node);

/* Puts a file on the disk, durable, with its directories: what a scenario gives a node. Errors:
 * PERI_ENOMEM, errno codes. */
int sim_disk_put(struct sim_node *node, const char *path, struct peri_slice content,
                 struct peri_error *err);

/* Appends what the process would read from the file. Errors: -ENOENT, PERI_ENOMEM. */
int sim_disk_get(const struct sim_node *node, const char *path, struct peri_buffer *out);

/* Turns over a bit of all that the files hold, one after the other; false when they end before byte
 * at. */
bool sim_disk_flip_at(struct sim_node *node, uint64_t at, unsigned bit);

#endif
