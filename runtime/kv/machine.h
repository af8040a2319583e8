/* machine.h - the key/value store as a machine of a Raft group (node/machine.h).
 *
 * All its state is in keys on disk; what is here is the run of the task under way. Commands and
 * queries are those of command.h, results and answers MessagePack (README.md). */
#ifndef PERI_KV_MACHINE_H
#define PERI_KV_MACHINE_H

#include "node/node.h"

struct kv_engine;
struct kv_machine;

/* Creates a machine. on_applied(data), unless NULL, is called when a command is about to take
 * effect, or a snapshot has: watchers look again. On success the caller owns *out and ends it with
 * kv_machine_close after its group was closed. Errors: PERI_ENOMEM. */
int kv_machine_create(struct kv_machine **out, void (*on_applied)(void *data), void *data);
void kv_machine_close(struct kv_machine *machine);

/* Has scripts run by an engine (script.h), the same on all replicas; lent until the close. Before
 * the group is opened. */
void kv_machine_set_engine(struct kv_machine *machine, struct kv_engine *engine);

/* What the group is opened with; lent until the close. */
struct node_machine *kv_machine_node(struct kv_machine *machine);

/* The other way round; NULL for another kind of machine. */
struct kv_machine *kv_machine_of(struct node_machine *node);

/* Log time at which to propose a command, by env_now_us's clock: 0 unless group, which the machine
 * is of, is led here (clock.h). */
uint64_t kv_machine_clock(struct kv_machine *machine, const struct node_group *group,
                          uint64_t now_us);

#endif
