/* recover.h - the data of a node that does not run: what is there, and a configuration by force.
 *
 * A group that has lost the majority of its members for good elects no leader any more. Its people
 * can give it other members: a configuration is written behind the last entry of each replica that
 * stays, in a term that no leader has had, committed or not what stands before it. Whatever the
 * others acknowledged without this replica is lost, and they must never start again with their
 * data: they would be a second group.
 *
 * Of several replicas that stay, those with the longest log would have no say in whose log counts:
 * they may be outvoted by shorter ones, whose forced entry has a later term than theirs. So all of
 * them have to end with the same entry, which the caller names: a log that ends elsewhere is
 * refused. */
#ifndef PERI_NODE_RECOVER_H
#define PERI_NODE_RECOVER_H

#include "node/node.h"

/* A group of the node, as its disk has it. */
struct node_recover_found {
    const struct store_log_found *log;
    uint64_t snapshot_index; /* of the newest file that fits the log; 0: none */
};

/* The last entry of a log. */
struct node_recover_end {
    uint64_t term, index;
};

/* How it ended; lent for the call. */
struct node_recovered {
    uint64_t cluster, node; /* whose data these are */
    const struct node_recover_found *groups;
    size_t count;
    uint64_t index, term; /* of the configuration that was written; 0: none was */
};

/* Where the log of a group ends. */
struct node_recover_end node_recover_end_of(const struct node_recover_found *found);

/* Opens the data of a node in the directory path, as a start of that would, and says what is there.
 * With member_count above 0 the group gets those members, all of them voters; addresses that are
 * NULL stay unknown, and a birth of which no copy is intact is made anew. end: where the logs of
 * all those members end; may be NULL for one member. on_done runs once, when the directory is at
 * rest again. Errors there: -ENOENT and -ENOTDIR when there are no data, -ENOENT for no such group;
 * PERI_EBUSY while the node runs; PERI_EINVAL for a log that does not end there; those of
 * store_log_open. Errors: PERI_EINVAL for members that cannot be, and for several without end;
 * PERI_ENOMEM. */
int node_recover(struct env *env, const char *path, uint64_t group,
                 const struct node_member *members, size_t member_count,
                 const struct node_recover_end *end,
                 void (*on_done)(void *data, int status, const struct node_recovered *recovered,
                                 const struct peri_error *err),
                 void *data, struct peri_error *err);

#endif
