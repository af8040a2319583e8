/* core.c - steps per second of the Raft core alone: three replicas in one loop, with a host that
 * only hands over. Every proposal takes its whole way: record, messages, acknowledgements, commit,
 * apply. Usage: core PROPOSALS [BATCH]    prints steps, seconds of processor time, steps/s and
 * entries/s */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "raft/raft.h"

enum { REPLICAS = 3, QUEUE = 1024, BATCH_MAX = 64, ENTRY_BYTES = 64 };

static struct raft *replicas[REPLICAS + 1];
static struct raft_output out;
static struct raft_message queue[QUEUE];
static size_t queue_first, queue_count;
static struct raft_entry entries[QUEUE];
static uint64_t steps, now_us, applied;

static void must(int rc)
{
    if (rc != 0) {
        fprintf(stderr, "core: step failed: %d\n", rc);
        exit(1);
    }
}

static void feed(size_t id, struct raft_event event);

/* Disks and state machines are ready at once; messages wait in one queue. */
static void carry_out(size_t id)
{
    struct raft_event todo[2];
    size_t count = 0;
    for (size_t i = 0; i < out.count; i++) {
        const struct raft_action *action = &out.actions[i];
        if (action->type == RAFT_SEND && queue_count < QUEUE) {
            queue[(queue_first + queue_count++) % QUEUE] = action->message;
        } else if (action->type == RAFT_PERSIST) {
            todo[count++] = (struct raft_event){.type = RAFT_PERSISTED,
                                                .seq = action->record.seq,
                                                .index = action->record.last,
                                                .term = action->record.term};
        } else if (action->type == RAFT_APPLY) {
            todo[count++] = (struct raft_event){.type = RAFT_APPLIED, .index = action->last};
            applied += id == 1 ? action->last - action->first + 1 : 0;
        }
    }
    for (size_t i = 0; i < count; i++)
        feed(id, todo[i]);
}

static void feed(size_t id, struct raft_event event)
{
    event.now_us = now_us;
    must(raft_step(replicas[id], &event, &out));
    steps++;
    carry_out(id);
}

static void deliver_all(void)
{
    while (queue_count > 0) {
        struct raft_message message = queue[queue_first];
        queue_first = (queue_first + 1) % QUEUE;
        queue_count--;
        struct raft_event event = {.type = RAFT_MESSAGE, .message = &message, .entries = entries};
        if (message.type == RAFT_APPEND_ENTRIES)
            event.count = message.last - message.index;
        for (size_t i = 0; i < event.count; i++)
            entries[i].term = raft_term_at(replicas[message.from], message.index + 1 + i);
        feed(message.to, event);
    }
}

static void create_all(void)
{
    struct raft_history history = {0};
    uint64_t voters[REPLICAS] = {1, 2, 3};
    must(raft_configuration_init(&history.configuration, voters, REPLICAS, NULL));
    struct raft_boot boot = {.configurations = &history, .configuration_count = 1};
    for (uint64_t id = 1; id <= REPLICAS; id++) {
        struct raft_options options;
        raft_options_init(&options, id, id);
        must(raft_create(&replicas[id], &options, &boot, NULL));
    }
}

int main(int argc, char **argv)
{
    uint64_t proposals = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;
    uint64_t batch = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (batch == 0 || batch > BATCH_MAX) {
        fprintf(stderr, "core: a batch holds 1 to %d\n", BATCH_MAX);
        return 2;
    }
    for (size_t i = 0; i < QUEUE; i++)
        entries[i] = (struct raft_entry){.size_bytes = ENTRY_BYTES, .type = RAFT_COMMAND};
    create_all();
    feed(1, (struct raft_event){.type = RAFT_CAMPAIGN});
    deliver_all();
    steps = applied = 0;
    clock_t start = clock();
    for (uint64_t i = 0; i < proposals; i++) {
        now_us++;
        feed(1, (struct raft_event){.type = RAFT_PROPOSE, .entries = entries, .count = batch});
        deliver_all();
    }
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("%" PRIu64 " steps\t%.3f s\t%.0f steps/s\t%.0f entries/s\n", steps, seconds,
           (double)steps / seconds, (double)applied / seconds);
    for (uint64_t id = 1; id <= REPLICAS; id++)
        raft_close(replicas[id]);
    return 0;
}
