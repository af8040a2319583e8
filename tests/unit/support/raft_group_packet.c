#include "raft_group_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void group_send(struct group *group, struct group_packet *packet)
{
    group->packets = group_grow(group->packets, group->packet_count, &group->packet_capacity,
                                sizeof *group->packets);
    packet->order = ++group->packet_order;
    packet->at_us = 0;
    group->packets[group->packet_count++] = *packet;
}

/* Attaches what the message names. */
struct group_packet group_packet_of(struct group_replica *replica,
                                    const struct raft_message *message)
{
    struct group_packet packet = {.message = *message};
    if (message->type == RAFT_APPEND_ENTRIES && message->last > message->index) {
        packet.count = message->last - message->index;
        packet.entries = group_must(malloc(packet.count * sizeof *packet.entries));
        for (size_t i = 0; i < packet.count; i++)
            packet.entries[i] = *group_log_at(&replica->log, message->index + 1 + i);
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT)
        packet.snapshot = replica->disk.snapshot;
    return packet;
}

void group_packet_remove(struct group *group, size_t at)
{
    free(group->packets[at].entries);
    group->packet_count--;
    memmove(&group->packets[at], &group->packets[at + 1],
            (group->packet_count - at) * sizeof *group->packets);
}

static void report_snapshot(struct group *group, const struct raft_message *message, bool success)
{
    if (message->type != RAFT_INSTALL_SNAPSHOT)
        return;
    struct raft_event event = {.type = RAFT_SNAPSHOT_SENT, .peer = message->to, .success = success};
    group_step(group, message->from, &event);
}

static struct group_packet copy_of(const struct group_packet *packet)
{
    struct group_packet copy = *packet;
    if (packet->count > 0) {
        copy.entries = group_must(malloc(packet->count * sizeof *copy.entries));
        memcpy(copy.entries, packet->entries, packet->count * sizeof *copy.entries);
    }
    return copy;
}

void group_deliver(struct group *group, size_t at, bool keep)
{
    const struct raft_message *message = &group->packets[at].message;
    group_repair_meet(group_replica(group, message->to), message);
    if (!group_hears(group_replica(group, message->to), message->term)) {
        if (!keep)
            group_drop(group, at);
        return;
    }
    struct group_packet packet = copy_of(&group->packets[at]);
    if (!keep)
        group_packet_remove(group, at);
    struct raft_entry bare[GROUP_ENTRIES_MAX];
    PERI_ASSERT(packet.count <= GROUP_ENTRIES_MAX);
    for (size_t i = 0; i < packet.count; i++) {
        struct group_entry *entry = &packet.entries[i];
        bare[i] = (struct raft_entry){entry->term, entry->size_bytes, entry->type,
                                      entry->type == RAFT_CONFIGURATION ? &entry->members : NULL};
    }
    struct raft_event event = {.type = RAFT_MESSAGE,
                               .message = &packet.message,
                               .entries = bare,
                               .count = packet.count,
                               .configuration = &packet.snapshot.members};
    group_step_with(group, group_replica(group, packet.message.to), &event, packet.entries,
                    &packet.snapshot);
    report_snapshot(group, &packet.message, true);
    free(packet.entries);
}

void group_drop(struct group *group, size_t at)
{
    struct raft_message message = group->packets[at].message;
    group_packet_remove(group, at);
    report_snapshot(group, &message, false);
}
