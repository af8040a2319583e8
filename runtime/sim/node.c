#include "sim/node.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/internal.h"

enum { NODES_MIN = 8 };

/* ---- the loop, as far as a node has one ---- */

static void loop_run(struct env *env)
{
    (void)sim_world_run(sim_node_cast(env)->world, UINT64_MAX);
}

static void loop_stop(struct env *env)
{
    sim_world_stop(sim_node_cast(env)->world);
}

/* The world owns the environment, so what ends here is the process. */
static void loop_close(struct env *env)
{
    sim_node_kill(sim_node_cast(env));
}

static const struct env_loop_ops loop_ops = {loop_run, loop_stop, loop_close};

const struct env_ops sim_node_ops = {
    .loop = &loop_ops,
    .clock = &sim_clock_ops,
    .timer = &sim_timer_ops,
    .turn = &sim_turn_ops,
    .signal = &sim_signal_ops,
    .ticker = &sim_ticker_ops,
    .work = &sim_work_ops,
    .lane = &sim_lane_ops,
    .file = &sim_file_ops,
    .path = &sim_path_ops,
    .stream_standard = sim_stream_standard,
    .conn = &sim_conn_ops,
    .listener = &sim_listener_ops,
    .process = &sim_process_ops,
    .self = &sim_self_ops,
};

/* ---- small things ---- */

struct env *sim_node_env(struct sim_node *node)
{
    return &node->base;
}

struct sim_node *sim_node_of(struct env *env)
{
    return env->ops == &sim_node_ops ? sim_node_cast(env) : NULL;
}

const char *sim_node_name(const struct sim_node *node)
{
    return node->name;
}

enum sim_node_state sim_node_state(const struct sim_node *node)
{
    return node->state;
}

uint64_t sim_node_incarnation(const struct sim_node *node)
{
    return node->incarnation;
}

int sim_node_exit_status(const struct sim_node *node)
{
    return node->exit_status;
}

struct sim_world *sim_node_world(struct sim_node *node)
{
    return node->world;
}

void *sim_node_data(const struct sim_node *node)
{
    return node->data;
}

struct sim_stream *sim_node_stream(struct sim_node *node, enum sim_purpose purpose)
{
    return &node->streams[purpose];
}

struct sim_node *sim_world_node(struct sim_world *world, const char *name)
{
    for (size_t i = 0; i < world->node_count; i++)
        if (strcmp(world->nodes[i]->name, name) == 0)
            return world->nodes[i];
    return NULL;
}

size_t sim_world_node_count(const struct sim_world *world)
{
    return world->node_count;
}

struct sim_node *sim_world_node_at(struct sim_world *world, size_t index)
{
    PERI_ASSERT(index < world->node_count);
    return world->nodes[index];
}

uint64_t sim_node_add_handle(struct sim_node *node, struct sim_handle *handle,
                             void (*end)(struct sim_handle *handle))
{
    handle->end = end;
    peri_list_append(&node->handles, &handle->link);
    return ++node->last_handle_id;
}

/* ---- the end of a process ---- */

static void end_handles(struct sim_node *node)
{
    while (!peri_list_is_empty(&node->handles)) {
        struct sim_handle *handle = container_of(node->handles.next, struct sim_handle, link);
        handle->end(handle); /* unlinks itself */
    }
}

void sim_node_end(struct sim_node *node, enum sim_down how)
{
    static const char *const names[] = {"exit", "kill", "crash"};
    struct sim_world *world = node->world;
    struct sim_node *current = world->current;
    node->is_doomed = false;
    node->is_ending = true;
    sim_world_note(world, node, names[how], (uint64_t)how, "incarnation %" PRIu64,
                   node->incarnation);
    sim_net_end_node(node, how);
    if (how == SIM_DOWN_CRASH)
        sim_disk_crash(node);
    world->current = node;
    sim_event_cancel(world, &node->start);
    if (node->was_started && node->events.on_down != NULL)
        node->events.on_down(node->data, node, how);
    node->was_started = false;
    end_handles(node);
    world->current = current;
    node->blocked_us = node->busy_until_us = node->ready_us = 0;
    node->state = SIM_NODE_DOWN;
    node->is_crashed = how == SIM_DOWN_CRASH;
    node->is_ending = false;
}

/* Now, or as soon as the node's own event has returned. A crash outdoes a kill. */
static void end_soon(struct sim_node *node, enum sim_down how)
{
    if (!sim_node_is_up(node))
        return;
    if (node->world->current != node) {
        sim_node_end(node, how);
    } else if (!node->is_doomed || how > node->doom) {
        node->is_doomed = true;
        node->doom = how;
    }
}

void sim_node_exit(struct sim_node *node, int status)
{
    if (sim_node_is_up(node) && !node->is_doomed)
        node->exit_status = status;
    end_soon(node, SIM_DOWN_EXIT);
}

void sim_node_kill(struct sim_node *node)
{
    end_soon(node, SIM_DOWN_KILL);
}

void sim_node_crash(struct sim_node *node)
{
    end_soon(node, SIM_DOWN_CRASH);
}

/* ---- start ---- */

static void on_start(struct sim_world *world, struct sim_event *event)
{
    struct sim_node *node = event->node;
    (void)world;
    if (node->events.on_start == NULL)
        return;
    node->was_started = true;
    if (node->events.on_start(node->data, node) != 0) {
        node->was_started = false; /* what it could not start cannot end */
        sim_node_exit(node, EXIT_FAILURE);
    }
}

static void describe_start(const struct sim_event *event, char *out, size_t size)
{
    (void)snprintf(out, size, "incarnation %" PRIu64, event->node->incarnation);
}

static const struct sim_event_kind start_kind = {SIM_EVENT_START, "start", on_start,
                                                 describe_start};

static void init_streams(struct sim_node *node)
{
    for (int purpose = 0; purpose < SIM_PURPOSES; purpose++)
        sim_stream_init(&node->streams[purpose], sim_world_seed(node->world),
                        (enum sim_purpose)purpose, node->index, node->incarnation,
                        &node->world->positions);
}

int sim_node_start(struct sim_node *node, struct peri_error *err)
{
    if (node->is_ending || sim_node_is_up(node))
        return peri_fail_plain(err, PERI_EBUSY, "node %s runs already", node->name);
    node->state = SIM_NODE_RUNNING;
    node->is_crashed = false;
    node->incarnation++;
    node->exit_status = 0;
    node->last_handle_id = 0;
    node->last_port = 0;
    init_streams(node);
    node->start.payload = node->incarnation;
    sim_event_schedule(node->world, &node->start, node->world->now_us);
    return 0;
}

/* ---- pause ---- */

void sim_node_pause(struct sim_node *node)
{
    if (node->state != SIM_NODE_RUNNING || node->is_ending)
        return;
    sim_world_note(node->world, node, "pause", 0, "%s", "");
    node->state = SIM_NODE_PAUSED;
    node->ready_us = UINT64_MAX;
}

void sim_node_resume(struct sim_node *node)
{
    if (node->state != SIM_NODE_PAUSED || node->is_ending)
        return;
    sim_world_note(node->world, node, "resume", 0, "%s", "");
    node->state = SIM_NODE_RUNNING;
    node->ready_us = node->busy_until_us;
    while (!peri_list_is_empty(&node->held)) {
        struct sim_event *event = container_of(node->held.next, struct sim_event, held);
        sim_event_schedule(node->world, event, node->world->now_us);
    }
}

/* ---- life ---- */

static int check_name(struct sim_world *world, const char *name, struct peri_error *err)
{
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof((struct sim_node *)0)->name)
        return peri_fail_plain(err, PERI_EINVAL, "a node's name has 1 to 63 letters");
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("_-.", name[i]) == NULL)
            return peri_fail_plain(err, PERI_EINVAL,
                                   "node %s: a name has letters, digits, '_', '-' and '.' only",
                                   name);
    if (sim_world_node(world, name) != NULL)
        return peri_fail_plain(err, -EEXIST, "there is a node %s already", name);
    return 0;
}

static int add_node(struct sim_world *world, struct sim_node *node)
{
    if (world->node_count == world->node_capacity) {
        size_t capacity = world->node_capacity == 0 ? NODES_MIN : world->node_capacity * 2;
        struct sim_node **grown = realloc(world->nodes, capacity * sizeof(struct sim_node *));
        if (grown == NULL)
            return PERI_ENOMEM;
        world->nodes = grown;
        world->node_capacity = capacity;
    }
    node->index = (uint32_t)world->node_count + 1;
    int rc = sim_event_init(world, &node->start, &start_kind, node, 0);
    if (rc == 0)
        world->nodes[world->node_count++] = node;
    return rc;
}

static void init_node(struct sim_node *node)
{
    env_init(&node->base, &sim_node_ops);
    node->base.log_node = node->name;
    peri_list_init(&node->held);
    peri_list_init(&node->handles);
    peri_list_init(&node->tickers);
    peri_list_init(&node->listeners);
    node->settings = node->world->settings;
    for (int fd = 0; fd < 3; fd++)
        node->standard[fd] = (struct sim_output){{&node->base}, fd};
}

int sim_node_create(struct sim_world *world, const char *name, const struct sim_node_events *events,
                    void *data, struct sim_node **out, struct peri_error *err)
{
    int rc = check_name(world, name, err);
    if (rc != 0)
        return rc;
    struct sim_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return peri_fail(err, PERI_ENOMEM, "node %s", name);
    node->world = world;
    node->events = *events;
    node->data = data;
    (void)snprintf(node->name, sizeof node->name, "%s", name);
    init_node(node);
    rc = sim_disk_create(&node->disk);
    if (rc == 0)
        rc = add_node(world, node);
    if (rc != 0) {
        sim_disk_close(node->disk);
        free(node);
        return peri_fail(err, rc, "node %s", name);
    }
    sim_clock_init(node);
    *out = node;
    return 0;
}

void sim_node_free(struct sim_node *node)
{
    PERI_ASSERT(peri_list_is_empty(&node->handles));
    env_region_trim(&node->base);
    sim_event_deinit(node->world, &node->start);
    sim_disk_close(node->disk);
    for (size_t i = 0; i < node->variable_count; i++)
        free(node->variables[i]);
    free(node->variables);
    free(node);
}
