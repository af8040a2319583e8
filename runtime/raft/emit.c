/* emit.c - what a step hands to its host: actions, its record, messages; and the random numbers
 * that it draws. */
#include <string.h>

#include "base/assert.h"
#include "raft/state.h"

uint64_t raft_random(struct raft *raft)
{
    uint64_t z = raft->random += 0x9e3779b97f4a7c15; /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct raft_action *raft_emit(struct raft *raft, enum raft_action_type type)
{
    PERI_ASSERT(raft->out->count < RAFT_ACTIONS_MAX);
    struct raft_action *action = &raft->out->actions[raft->out->count++];
    memset(action, 0, sizeof *action);
    action->type = type;
    return action;
}

struct raft_record *raft_record_open(struct raft *raft)
{
    if (raft->record == NULL) {
        raft->record = &raft_emit(raft, RAFT_PERSIST)->record;
        if (raft->durable_seq == raft->seq)
            raft->pending_since_us = raft->now_us;
        raft->record->seq = ++raft->seq;
    }
    return raft->record;
}

struct raft_message *raft_send(struct raft *raft, enum raft_message_type type, uint64_t to)
{
    struct raft_action *action = raft_emit(raft, RAFT_SEND);
    action->after_seq = raft->hard_seq;
    action->message.type = type;
    action->message.from = raft->options.id;
    action->message.to = to;
    action->message.term = raft->term;
    return &action->message;
}

void raft_send_after_all(struct raft *raft)
{
    raft->out->actions[raft->out->count - 1].after_seq = raft->seq;
}
