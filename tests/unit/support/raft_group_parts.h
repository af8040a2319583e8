/* raft_group_parts.h - what the files of raft_group say to each other.
 *
 *      raft_group.c         the group, its steps, what a host does
 *      raft_group_check.c   the oracles
 *      raft_group_disk.c    starting from a disk, crashing onto it
 *      raft_group_log.c     logs
 *      raft_group_packet.c  packets on their way
 *      raft_group_repair.c  disks that lose what was durable, and how replicas become whole again
 */
#ifndef PERI_TEST_RAFT_GROUP_PARTS_H
#define PERI_TEST_RAFT_GROUP_PARTS_H

#include "raft_group.h"

/* memory, which is not NULL: tests have enough. */
void *group_must(void *memory);

/* items with room for one more behind count. */
void *group_grow(void *items, size_t count, size_t *capacity, size_t size);

/* The entry at index, which is in the log. */
const struct group_entry *group_log_at(const struct group_log *log, uint64_t index);

/* True when the log holds the entry, or has cut it off. */
bool group_log_has(const struct group_log *log, uint64_t index, uint64_t term);

/* Removes the entries from first on; empties the log behind base; cuts off those up to base. */
void group_log_truncate(struct group_log *log, uint64_t first);
void group_log_reset(struct group_log *log, uint64_t base, uint64_t base_term);
void group_log_cut(struct group_log *log, uint64_t base);

/* Notes the first thing that broke. */
void group_fail(struct group *group, const char *what, uint64_t id, uint64_t number);

/* Looks at a replica after a step; committed, before: its commit index and members before it. */
void group_check(struct group *group, struct group_replica *replica, uint64_t committed,
                 const struct raft_configuration *before);

/* What a message promises stands on the disk of whoever sends it (Raft figure 2: "updated on stable
 * storage before responding"). */
void group_check_promise(struct group *group, const struct group_replica *replica,
                         const struct raft_message *message);

/* Entries of a message keep to the limit; one may always go. */
void group_check_size(struct group *group, const struct group_packet *packet);

/* Carries a record out on the disk. */
void group_write_down(struct group_replica *replica, const struct group_write *write);

/* Frees what only a running replica has. */
void group_forget(struct group_replica *replica);

/* The message with what it names; takes the packet over into the bag. */
struct group_packet group_packet_of(struct group_replica *replica,
                                    const struct raft_message *message);
void group_send(struct group *group, struct group_packet *packet);

void group_packet_remove(struct group *group, size_t at);

/* A replica that has lost something starts; has perhaps all that it was missing; hears messages of
 * this term, as all do that are whole. */
void group_repair_begin(struct group_replica *replica);
void group_repair_advance(struct group *group, uint64_t id);
void group_repair_meet(struct group_replica *replica, const struct raft_message *message);
bool group_hears(const struct group_replica *replica, uint64_t term);

/* Looks at what a replica says; asked: the message that it answers, or NULL. */
void group_check_floor(struct group *group, const struct group_replica *replica,
                       const struct raft_message *asked, const struct raft_message *said);

/* group_step for an event with payloads: of the entries, of a snapshot. */
int group_step_with(struct group *group, struct group_replica *replica, struct raft_event *event,
                    const struct group_entry *entries, const struct group_snapshot *snapshot);

#endif
