/* core.c - events per second of the simulator's core, beside a bare binary heap.
 *
 * Every row keeps PENDING events under way, each of which schedules itself again after a random
 * delay. Rows run in rounds, so that a slow minute of the machine hits all; printed are the median
 * rates per second of processor time. Usage: core ROUNDS EVENTS */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/env.h"
#include "env/uv.h"
#include "sim/event.h"
#include "sim/net.h"
#include "sim/node.h"
#include "sim/world.h"

enum { PENDING = 1000, ROUNDS_MAX = 101, DELAY_MAX = 1000, NODES = 5, US_PER_S = 1000000 };

static void *checked(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static void require(int rc)
{
    if (rc != 0) {
        (void)fprintf(stderr, "bench: %s\n", peri_strerror(rc));
        exit(EXIT_FAILURE);
    }
}

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

static struct sim_world *new_world(void)
{
    struct sim_options options = {.seed = 1};
    struct sim_world *world = NULL;
    require(sim_world_create(&world, &options, NULL));
    return world;
}

static int start_nothing(void *data, struct sim_node *node)
{
    (void)data, (void)node;
    return 0;
}

static struct sim_node *new_node(struct sim_world *world, int number, void *data,
                                 int (*on_start)(void *data, struct sim_node *node))
{
    struct sim_node_events events = {.on_start = on_start};
    struct sim_node *node = NULL;
    char name[16];
    (void)snprintf(name, sizeof name, "n%d", number);
    require(sim_node_create(world, name, &events, data, &node, NULL));
    require(sim_node_start(node, NULL));
    return node;
}

static uint64_t left; /* events until the row ends */

static void count_down(struct sim_world *world)
{
    if (--left == 0)
        sim_world_stop(world);
}

/* What a C handler does at least: draw from its node's stream, and schedule itself again. */
static void on_event(struct sim_world *world, struct sim_event *event)
{
    uint64_t delay_us = 1 + sim_stream_below(sim_node_stream(event->node, SIM_WORKLOAD), DELAY_MAX);
    sim_event_schedule(world, event, sim_world_now_us(world) + delay_us);
    count_down(world);
}

static void sim_events(uint64_t events)
{
    static const struct sim_event_kind kind = {100, "bench", on_event, NULL};
    struct sim_world *world = new_world();
    struct sim_event *all = checked(calloc(PENDING, sizeof *all));
    struct sim_node *nodes[NODES];
    left = events;
    for (int i = 0; i < NODES; i++)
        nodes[i] = new_node(world, i, NULL, start_nothing);
    (void)sim_world_run(world, 1);
    for (int i = 0; i < PENDING; i++) {
        require(sim_event_init(world, &all[i], &kind, nodes[i % NODES], (uint64_t)i));
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
    count_down(sim_node_world(ticking->node));
}

static void env_timers(uint64_t events)
{
    struct sim_world *world = new_world();
    struct ticking *all = checked(calloc(PENDING, sizeof *all));
    struct sim_node *nodes[NODES];
    left = events;
    for (int i = 0; i < NODES; i++)
        nodes[i] = new_node(world, i, NULL, start_nothing);
    (void)sim_world_run(world, 1);
    for (int i = 0; i < PENDING; i++) {
        all[i].node = nodes[i % NODES];
        require(env_timer_create(sim_node_env(all[i].node), on_timer, &all[i], &all[i].timer));
        env_timer_start(all[i].timer, (uint64_t)i);
    }
    (void)sim_world_run(world, UINT64_MAX);
    sim_world_close(world);
    free(all);
}

/* ---- messages: each is answered as soon as it arrives ---- */

enum { MESSAGE_BYTES = 64, CONNECTIONS = 100 };

struct player {
    struct sim_node *node;
    struct env_conn *conn;
};

static struct player players[2 * CONNECTIONS];
static int player_count;

static void play(struct player *player)
{
    static const char bytes[MESSAGE_BYTES] = "ping";
    struct peri_slice part = {bytes, sizeof bytes};
    require(env_conn_send(player->conn, &part, 1));
}

static void on_message(void *data, struct peri_slice message)
{
    struct player *player = data;
    (void)message;
    play(player);
    count_down(sim_node_world(player->node));
}

static void on_open(void *data, int status)
{
    require(status);
    for (int i = 0; i < PENDING / CONNECTIONS; i++)
        play(data);
}

static void on_close(void *data, int status)
{
    (void)data;
    require(status);
}

static const struct env_conn_events conn_events = {on_open, on_message, NULL, on_close};

static void on_connection(void *data, struct env_conn *conn)
{
    struct player *player = &players[player_count++];
    *player = (struct player){data, conn};
    env_conn_accept(conn, &conn_events, player);
}

static int start_listening(void *data, struct sim_node *node)
{
    struct env_listener *listener = NULL;
    (void)data;
    return env_listener_open(sim_node_env(node), ":7000", on_connection, node, &listener, NULL);
}

static void conn_messages(uint64_t events)
{
    struct sim_world *world = new_world();
    left = events;
    player_count = 0;
    struct sim_node *server = new_node(world, 0, NULL, start_listening);
    struct sim_node *client = new_node(world, 1, NULL, start_nothing);
    (void)server;
    (void)sim_world_run(world, 1);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct player *player = &players[player_count++];
        player->node = client;
        require(env_conn_connect(sim_node_env(client), "n0:7000", &conn_events, player,
                                 &player->conn, NULL));
    }
    (void)sim_world_run(world, UINT64_MAX);
    sim_world_close(world);
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
                                {"conn messages of 64 bytes, C handler", conn_messages, {0}}};
    struct env *env = NULL;
    int rounds = argc > 1 ? atoi(argv[1]) : 5; /* NOLINT(cert-err34-c) */
    uint64_t events = argc > 2 ? (uint64_t)strtoull(argv[2], NULL, 10) : 3000000;
    if (rounds < 1 || rounds > ROUNDS_MAX || events == 0)
        return 2;
    require(env_uv_create(&env, NULL));
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
