/* compact.c - cutting the log: behind a snapshot, and where a group keeps old generations of it.
 *
 * A few entries before a snapshot stay, for followers that are a little behind. All groups share a
 * log, though, which lets go of a generation only as a whole: a group at rest, whose last snapshot
 * is long ago, could keep what all others have written since. It is asked for a snapshot then, and
 * what it has in that generation goes with it. */
#include "env/log.h"
#include "node/snapshot.h"

enum { LOOK_US = 1000000 /* between two looks for such groups */ };

void node_compact(struct node_group *group)
{
    const struct node_snapshots *snapshots = group->snapshots;
    struct raft_status status;
    uint64_t last = snapshots->index, trailing = group->node->options.trailing_entries;
    raft_status(group->raft, &status);
    uint64_t base = last > trailing ? last - trailing : 0;
    if (base < snapshots->blocking_index)
        base = snapshots->blocking_index < last ? snapshots->blocking_index : last;
    uint64_t floor = node_transfers_floor(snapshots);
    if (base > floor)
        base = floor; /* whoever gets that snapshot goes on with the entries behind it */
    if (base < status.base_index)
        base = status.base_index;
    if (last < status.snapshot_index || last > status.last_applied)
        return; /* a leader's snapshot was installed meanwhile */
    if (base > status.base_index)
        node_disk_cut(group, base);
    struct node_step step = {.event = {.type = RAFT_COMPACTED, .index = base, .last = last}};
    (void)node_group_step(group, &step); /* a fenced core takes nothing any more */
}

void node_compact_blocker(struct node *node)
{
    uint64_t id, index, now_us = env_now_us(node->env);
    if (node->is_closing || now_us < node->blocker_us)
        return;
    node->blocker_us = now_us + LOOK_US;
    struct node_group *group =
        node_disk_blocker(node, &id, &index) ? node_group_find(node, id) : NULL;
    if (group == NULL || group->raft == NULL || group->is_closing)
        return;
    group->snapshots->blocking_index = index;
    if (group->snapshots->index >= index)
        node_compact(group);
    else
        (void)node_group_snapshot(group, NULL); /* unless one is under way */
}
