#include "sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "sim/internal.h"

#define DEFAULT_EPOCH_US INT64_C(1767225600000000) /* 2026-01-01T00:00:00Z */

enum { DETAIL_SIZE = 512, WATCHDOG_TICKS = 4, CHECKPOINTS_MIN = 64 };

uint64_t sim_hash_bytes(const void *bytes, size_t size)
{
    return XXH3_64bits(bytes, size);
}

uint64_t sim_world_now_us(const struct sim_world *world)
{
    return world->now_us;
}

uint64_t sim_world_seed(const struct sim_world *world)
{
    return world->options.seed;
}

uint64_t sim_world_event_count(const struct sim_world *world)
{
    return world->event_count;
}

uint64_t sim_world_hash(const struct sim_world *world)
{
    return sim_mix(world->hash, world->positions);
}

size_t sim_world_checkpoints(const struct sim_world *world, const uint64_t **out)
{
    *out = world->checkpoints;
    return world->checkpoint_count;
}

uint64_t sim_world_still_events(const struct sim_world *world)
{
    return world->still_events;
}

struct sim_node *sim_world_stuck(const struct sim_world *world)
{
    return world->stuck;
}

struct sim_stream *sim_world_stream(struct sim_world *world, enum sim_purpose purpose)
{
    return &world->streams[purpose];
}

void sim_world_stop(struct sim_world *world)
{
    world->is_stopped = true;
}

void sim_world_fail(struct sim_world *world)
{
    world->has_failed = true;
    world->is_stopped = true;
}

/* ---- trace ---- */

static void trace(struct sim_world *world, struct sim_node *node, const char *kind,
                  const char *detail, bool is_note)
{
    struct sim_trace line = {.index = world->event_count,
                             .time_us = world->now_us,
                             .node = node != NULL ? node->name : "",
                             .kind = kind,
                             .detail = detail,
                             .hash = sim_world_hash(world),
                             .is_note = is_note};
    world->options.on_trace(world->options.data, &line);
}

static void trace_event(struct sim_world *world, const struct sim_event *event)
{
    char detail[DETAIL_SIZE] = "";
    if (event->kind->describe != NULL)
        event->kind->describe(event, detail, sizeof detail);
    trace(world, event->node, event->kind->name, detail, false);
}

static void format_detail(char *out, size_t size, const char *format, va_list args)
{
    (void)vsnprintf(out, size, format, args);
}

void sim_world_note(struct sim_world *world, struct sim_node *node, const char *kind,
                    uint64_t value, const char *format, ...)
{
    world->hash = sim_mix(sim_mix(world->hash, value), node != NULL ? node->index : 0);
    if (world->options.on_trace == NULL)
        return;
    char detail[DETAIL_SIZE];
    va_list args;
    va_start(args, format);
    format_detail(detail, sizeof detail, format, args);
    va_end(args);
    trace(world, node, kind, detail, true);
}

/* ---- the loop ---- */

/* Without room for more, bisecting gets coarser; the run itself does not depend on them. */
static void keep_checkpoint(struct sim_world *world)
{
    if (world->checkpoint_count == world->checkpoint_capacity) {
        size_t capacity =
            world->checkpoint_capacity == 0 ? CHECKPOINTS_MIN : world->checkpoint_capacity * 2;
        uint64_t *grown = realloc(world->checkpoints, capacity * sizeof *grown);
        if (grown == NULL)
            return;
        world->checkpoints = grown;
        world->checkpoint_capacity = capacity;
    }
    world->checkpoints[world->checkpoint_count++] = sim_world_hash(world);
}

static void mix_event(struct sim_world *world, const struct sim_event *event)
{
    uint64_t node = event->node != NULL ? event->node->index : 0;
    uint64_t when = sim_mix(world->now_us, node << 32 | event->kind->id);
    uint64_t what = sim_mix(event->payload, world->positions);
    world->hash = sim_mix(sim_mix(world->hash, when), what);
}

/* The node does nothing now: the event waits until it does. */
static void postpone(struct sim_world *world, struct sim_node *node, struct sim_event *event)
{
    if (node->ready_us != UINT64_MAX) {
        sim_event_schedule(world, event, node->ready_us);
        return;
    }
    event->slot = SIM_EVENT_HELD;
    peri_list_append(&node->held, &event->held);
}

static void begin_event(struct sim_world *world, struct sim_event *event)
{
    world->event_count++;
    if (world->now_us != world->still_us) {
        world->still_us = world->now_us;
        world->still_events = 0;
    }
    world->still_events++;
    mix_event(world, event);
    if (world->options.on_trace != NULL)
        trace_event(world, event);
    world->running = event->kind;
}

/* What the event left behind on its node. */
static void end_node_event(struct sim_world *world, struct sim_node *node)
{
    world->current = NULL;
    node->event_count++;
    if (node->blocked_us != 0) {
        node->busy_until_us = world->now_us + node->blocked_us;
        node->blocked_us = 0;
        if (node->ready_us != UINT64_MAX)
            node->ready_us = node->busy_until_us;
    }
    if (node->is_doomed)
        sim_node_end(node, node->doom);
}

static void run_event(struct sim_world *world, struct sim_event *event)
{
    struct sim_node *node = event->node;
    if (node != NULL && node->ready_us > world->now_us) {
        postpone(world, node, event);
        return;
    }
    begin_event(world, event);
    world->current = node;
    if (node != NULL)
        node->blocked_us = 0;          /* what somebody did in between took no time of its events */
    event->kind->on_due(world, event); /* it may free the event */
    if (node != NULL)
        end_node_event(world, node);
    world->running = NULL;
    if (world->options.keeps_checkpoints && world->event_count % SIM_CHECKPOINT_EVENTS == 0)
        keep_checkpoint(world);
}

void sim_world_skip_to(struct sim_world *world, uint64_t time_us)
{
    PERI_ASSERT(world->running == NULL);
    PERI_ASSERT(world->heap.count == 0 || world->heap.entries[1].time_us >= time_us);
    if (time_us > world->now_us)
        world->now_us = time_us;
}

static uint64_t still_events_max(const struct sim_world *world)
{
    return SIM_STILL_EVENTS_MAX + world->node_count * SIM_STILL_EVENTS_OF_A_NODE;
}

/* True when the run is over because it gets nowhere, after an event of the node. */
static bool is_hanging(struct sim_world *world, struct sim_node *node, enum sim_end *why)
{
    if (world->is_stuck)
        *why = SIM_END_STUCK;
    else if (world->is_spinning)
        *why = SIM_END_SPINNING;
    else if (world->still_events >= still_events_max(world))
        *why = SIM_END_STILL;
    else
        return false;
    world->stuck = node;
    return true;
}

static enum sim_end run_until(struct sim_world *world, uint64_t until_us)
{
    struct sim_event *event;
    enum sim_end why;
    while ((event = sim_event_take(world, until_us)) != NULL) {
        struct sim_node *node = event->node;
        run_event(world, event);
        if (is_hanging(world, node, &why))
            return why;
        if (world->is_stopped)
            return world->has_failed ? SIM_END_FAILED : SIM_END_STOPPED;
    }
    if (world->heap.count == 0)
        return SIM_END_IDLE;
    sim_world_skip_to(world, until_us);
    return SIM_END_TIME;
}

enum sim_end sim_world_run(struct sim_world *world, uint64_t until_us)
{
    PERI_ASSERT(world->running == NULL); /* an event that runs events would break their order */
    if (world->has_failed)
        return SIM_END_FAILED;
    world->is_stopped = false;
    world->is_stuck = 0;
    world->quiet_ticks = 0;
    world->stuck = NULL;
    world->is_spinning = false;
    world->still_events = 0;
    if (world->watchdog != NULL)
        env_ticker_start(world->watchdog);
    enum sim_end end = run_until(world, until_us);
    if (world->watchdog != NULL)
        env_ticker_stop(world->watchdog);
    return end;
}

/* ---- the watchdog ---- */

/* Nobody can take the processor from C code that never returns: the run ends here. */
static void give_up(struct sim_world *world)
{
    char text[DETAIL_SIZE];
    int size = snprintf(text, sizeof text,
                        "perilune: simulation: an event (%s of node %s, at %" PRIu64
                        " us) does not return; giving up\n",
                        world->running->name,
                        world->current != NULL ? world->current->name : "(none)", world->now_us);
    (void)env_file_write(env_file_stderr(world->options.host), text, (size_t)size, NULL);
    abort();
}

/* In a signal handler on the thread of the world. Lua code is interrupted as at the end of a slice,
 * for which its own tickers tick; the run then ends after the event. */
static void on_watchdog(void *data)
{
    struct sim_world *world = data;
    if (world->running == NULL || world->event_count != world->watched_count) {
        world->watched_count = world->event_count;
        world->quiet_ticks = 0;
        return;
    }
    world->quiet_ticks = world->quiet_ticks + 1;
    if (world->quiet_ticks < WATCHDOG_TICKS)
        return;
    world->is_stuck = 1;
    if (world->current != NULL)
        sim_node_interrupt(world->current);
    if (world->quiet_ticks >= 3 * WATCHDOG_TICKS)
        give_up(world);
}

static int open_watchdog(struct sim_world *world)
{
    const struct sim_options *options = &world->options;
    if (options->host == NULL || options->watchdog_us == 0)
        return 0;
    uint64_t period_us = options->watchdog_us / WATCHDOG_TICKS;
    return env_ticker_create(options->host, period_us > 0 ? period_us : 1, on_watchdog, world,
                             &world->watchdog);
}

/* ---- life ---- */

static const struct sim_node_settings default_settings = {
    .work_delay = {ENV_DELAY_UNIFORM, 10, 100, 0},
    .disk_delay = {ENV_DELAY_UNIFORM, 1, 20, 0},
    .disk_sync_delay = {ENV_DELAY_UNIFORM, 500, 5000, 0},
    .disk_writeback = {ENV_DELAY_CONSTANT, 30000000, 0, 0},
    .disk_keep_ppm = 333333,
    .disk_tear_ppm = 333333,
    .disk_garble_ppm = 250000,
};

int sim_world_create(struct sim_world **out, const struct sim_options *options,
                     struct peri_error *err)
{
    struct sim_world *world = calloc(1, sizeof *world);
    if (world == NULL)
        return peri_fail(err, PERI_ENOMEM, "a simulated world");
    world->options = *options;
    if (world->options.epoch_us == 0)
        world->options.epoch_us = DEFAULT_EPOCH_US;
    if (world->options.turns_max == 0)
        world->options.turns_max = SIM_TURNS_MAX;
    world->hash = sim_mix(0, options->seed);
    world->settings = default_settings;
    sim_net_init(world);
    for (int purpose = 0; purpose < SIM_PURPOSES; purpose++)
        sim_stream_init(&world->streams[purpose], options->seed, (enum sim_purpose)purpose, 0, 0,
                        &world->positions);
    int rc = open_watchdog(world);
    if (rc != 0) {
        sim_world_close(world);
        return peri_fail(err, rc, "the watchdog of a simulated world");
    }
    *out = world;
    return 0;
}

void sim_world_close(struct sim_world *world)
{
    if (world == NULL)
        return;
    for (size_t i = 0; i < world->node_count; i++)
        sim_node_crash(world->nodes[i]);
    for (size_t i = 0; i < world->node_count; i++)
        sim_node_free(world->nodes[i]);
    sim_net_deinit(world);
    env_ticker_close(world->watchdog);
    free(world->nodes);
    free(world->checkpoints);
    free(world->heap.entries);
    free(world);
}
