/* core.c - events per second of the simulator's core, beside a bare binary heap.
 *
 * Every row keeps PENDING events under way, each of which schedules itself again after a random
 * delay. Rows run in rounds, so that a slow minute of the machine hits all; printed are the median
 * rates per second of processor time. Usage: core ROUNDS EVENTS */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "env/uv.h"
#include "sim/event.h"

enum { ROUNDS_MAX = 101, DELAY_MAX = 1000, NODES = 5, US_PER_S = 1000000 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- the bare heap: a binary heap of (time, sequence, function), and nothing else ---- */

struct entry {
    uint64_t time, sequence;
    void (*run)(uint64_t *count);
};

static bool is_before(const struct entry *a, const struct entry *b)
{
    return a->time != b->time ? a->time < b->time : a->sequence < b->sequence;
}

static void push(struct entry *heap, size_t *count, struct entry entry)
{
    size_t at = ++*count;
    while (at > 1 && is_before(&entry, &heap[at / 2])) {
        heap[at] = heap[at / 2];
        at /= 2;
    }
    heap[at] = entry;
}

static struct entry pop(struct entry *heap, size_t *count)
{
    struct entry top = heap[1];
    struct entry last = heap[(*count)--];
    size_t at = 1;
    for (size_t child = 2; child <= *count; child = 2 * at) {
        if (child < *count && is_before(&heap[child + 1], &heap[child]))
            child++;
        if (!is_before(&heap[child], &last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static void run_bare(uint64_t *count)
{
    ++*count;
}

static void bare_heap(uint64_t events)
{
    static struct entry heap[PENDING + 2];
    size_t count = 0;
    uint64_t random = 1;
    uint64_t sequence = 0;
    uint64_t done = 0;
    for (int i = 0; i < PENDING; i++)
        push(heap, &count, (struct entry){next_random(&random) % DELAY_MAX, ++sequence, run_bare});
    while (done < events) {
        struct entry entry = pop(heap, &count);
        entry.run(&done);
        entry.time += 1 + next_random(&random) % DELAY_MAX;
        entry.sequence = ++sequence;
        push(heap, &count, entry);
    }
}

/* ---- the simulator ---- */

/* What a C handler does at least: draw from its node's stream, and schedule itself again. */
static void on_event(struct sim_world *world, struct sim_event *event)
{
    uint64_t delay_us = 1 + sim_stream_below(sim_node_stream(event->node, SIM_WORKLOAD), DELAY_MAX);
    sim_event_schedule(world, event, sim_world_now_us(world) + delay_us);
    bench_count_down(world);
}

static void sim_events(uint64_t events)
{
    static const struct sim_event_kind kind = {100, "bench", on_event, NULL};
    struct sim_world *world = bench_new_world();
    struct sim_event *all = bench_checked(calloc(PENDING, sizeof *all));
    struct sim_node *nodes[NODES];
    bench_begin(events);
    for (int i = 0; i < NODES; i++)
        nodes[i] = bench_new_node(world, i, bench_start_nothing);
    (void)sim_world_run(world, 1);
    for (int i = 0; i < PENDING; i++) {
        bench_require(sim_event_init(world, &all[i], &kind, nodes[i % NODES], (uint64_t)i));
        sim_event_schedule(world, &all[i], (uint64_t)i);
    }
    (void)sim_world_run(world, UINT64_MAX);
    for (int i = 0; i < PENDING; i++)
        sim_event_deinit(world, &all[i]);
    sim_world_close(world);
    free(all);
}

/* ---- timers through the door ---- */

struct ticking {
    struct sim_node *node;
    struct env_timer *timer;
};

static void on_timer(void *data)
{
    struct ticking *ticking = data;
    uint16_t delay;
    env_random(sim_node_env(ticking->node), &delay, sizeof delay);
    env_timer_start(ticking->timer, 1 + delay % DELAY_MAX);
    bench_count_down(sim_node_world(ticking->node));
}

static void env_timers(uint64_t events)
{
    struct sim_world *world = bench_new_world();
    struct ticking *all = bench_checked(calloc(PENDING, sizeof *all));
    struct sim_node *nodes[NODES];
    bench_begin(events);
    for (int i = 0; i < NODES; i++)
        nodes[i] = bench_new_node(world, i, bench_start_nothing);
    (void)sim_world_run(world, 1);
    for (int i = 0; i < PENDING; i++) {
        all[i].node = nodes[i % NODES];
        bench_require(
            env_timer_create(sim_node_env(all[i].node), on_timer, &all[i], &all[i].timer));
        env_timer_start(all[i].timer, (uint64_t)i);
    }
    (void)sim_world_run(world, UINT64_MAX);
    sim_world_close(world);
    free(all);
}

/* ---- rounds ---- */

struct row {
    const char *name;
    void (*run)(uint64_t events);
    double rates[ROUNDS_MAX];
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static struct row rows[] = {{"bare binary heap", bare_heap, {0}},
                                {"sim events, C handler", sim_events, {0}},
                                {"env timers, C handler", env_timers, {0}},
                                {"messages of 64 bytes, C handler", bench_messages_c, {0}},
                                {"messages, Lua handler", bench_messages_lua, {0}}};
    struct env *env = NULL;
    int rounds = argc > 1 ? atoi(argv[1]) : 5; /* NOLINT(cert-err34-c) */
    uint64_t events = argc > 2 ? (uint64_t)strtoull(argv[2], NULL, 10) : 3000000;
    if (rounds < 1 || rounds > ROUNDS_MAX || events == 0)
        return 2;
    bench_require(env_uv_create(&env, NULL));
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            uint64_t begin_us = env_cpu_us(env);
            rows[i].run(events);
            rows[i].rates[round] =
                (double)events * US_PER_S / (double)(env_cpu_us(env) - begin_us + 1);
        }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        qsort(rows[i].rates, (size_t)rounds, sizeof(double), compare);
        (void)printf("%.0f\t%s\n", rows[i].rates[rounds / 2], rows[i].name);
    }
    env_close(env);
    return 0;
}
