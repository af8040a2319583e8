/* core.c - the Raft core alone: replicas in one loop, with a host that only hands over. Every
 * proposal takes its whole way: record, messages, acknowledgements, commit, apply.
 *
 *      bench_raft PROPOSALS RUNS     prints lines of: number, tab, what it is
 *
 * Steps and entries are per second of processor time, the median of RUNS; bytes are what a replica
 * takes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "raft/raft.h"

enum { REPLICAS_MAX = 5, QUEUE = 1024, BATCH = 16, ENTRY_BYTES = 64, RUNS_MAX = 99 };
enum { SLEEP_AFTER_US = 1000000, HEARTBEAT_US = 50000 };

static struct raft *replicas[REPLICAS_MAX + 1];
static size_t replica_count;
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

static void close_all(void)
{
    for (size_t id = 1; id <= replica_count; id++)
        raft_close(replicas[id]);
}

/* A group with a leader, whose hosts see each other. */
static void create_all(size_t count)
{
    struct raft_history history = {0};
    uint64_t voters[REPLICAS_MAX] = {1, 2, 3, 4, 5};
    must(raft_configuration_init(&history.configuration, voters, count, NULL));
    struct raft_boot boot = {
        .now_us = now_us, .configurations = &history, .configuration_count = 1};
    replica_count = count;
    for (uint64_t id = 1; id <= count; id++) {
        struct raft_options options;
        raft_options_init(&options, id, id);
        options.sleep_after_us = SLEEP_AFTER_US;
        must(raft_create(&replicas[id], &options, &boot, NULL));
        for (uint64_t peer = 1; peer <= count; peer++)
            if (peer != id)
                feed(id, (struct raft_event){.type = RAFT_PEER_UP, .peer = peer});
    }
    feed(1, (struct raft_event){.type = RAFT_CAMPAIGN});
    deliver_all();
}

static void propose(uint64_t proposals, size_t batch)
{
    for (uint64_t i = 0; i < proposals; i++) {
        now_us++;
        feed(1, (struct raft_event){.type = RAFT_PROPOSE, .entries = entries, .count = batch});
        deliver_all();
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static void measure_steps(uint64_t proposals, size_t batch, size_t runs, const char *name)
{
    double step_rates[RUNS_MAX], entry_rates[RUNS_MAX];
    for (size_t i = 0; i < runs; i++) {
        create_all(3);
        steps = applied = 0;
        clock_t start = clock();
        propose(proposals, batch);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        step_rates[i] = (double)steps / seconds;
        entry_rates[i] = (double)applied / seconds;
        close_all();
    }
    printf("%.0f\tsteps/s, %s\n", median(step_rates, runs), name);
    printf("%.0f\tentries/s, %s\n", median(entry_rates, runs), name);
}

/* What a group takes that has fallen asleep after it had something to do. */
static void measure_bytes(size_t count)
{
    struct raft_status status;
    create_all(count);
    propose(10000, 1);
    do {
        now_us += HEARTBEAT_US;
        feed(1, (struct raft_event){.type = RAFT_TIME});
        deliver_all();
        raft_status(replicas[1], &status);
    } while (!status.is_asleep);
    printf("%zu\tbytes, leader of %zu asleep\n", raft_size_bytes(replicas[1]), count);
    printf("%zu\tbytes, follower of %zu asleep\n", raft_size_bytes(replicas[2]), count);
    close_all();
}

int main(int argc, char **argv)
{
    uint64_t proposals = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
    size_t runs = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (proposals == 0 || runs == 0 || runs > RUNS_MAX) {
        fprintf(stderr, "usage: bench_raft PROPOSALS RUNS (1 to %d)\n", RUNS_MAX);
        return 2;
    }
    for (size_t i = 0; i < QUEUE; i++)
        entries[i] = (struct raft_entry){.size_bytes = ENTRY_BYTES, .type = RAFT_COMMAND};
    measure_steps(proposals, 1, runs, "one at a time");
    measure_steps(proposals / BATCH + 1, BATCH, runs, "16 in a proposal");
    measure_bytes(3);
    measure_bytes(5);
    return 0;
}
