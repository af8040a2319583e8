/* work.c - background work: run inline, as an event, with its blocking calls taking virtual time.
 */
#include <stdlib.h>

#include "sim/internal.h"

struct sim_work {
    struct sim_handle handle;
    struct sim_event event; /* first that it runs, then that it is done */
    void (*run)(void *data);
    void (*done)(void *data, int status);
    void *data;
};

/* ---- for lanes as well ---- */

void sim_work_schedule(struct sim_node *node, struct sim_event *event)
{
    uint64_t delay_us = sim_stream_delay(&node->streams[SIM_SCHED], &node->settings.work_delay);
    sim_event_schedule(node->world, event, sim_node_now_us(node) + delay_us);
}

void sim_work_run(struct sim_world *world, struct sim_event *event,
                  const struct sim_event_kind *done, void (*run)(void *data), void *data)
{
    struct sim_node *node = event->node;
    PERI_ASSERT(node->blocked_us == 0);
    run(data);
    uint64_t took_us = node->blocked_us;
    node->blocked_us = 0;
    event->kind = done;
    sim_event_schedule(world, event, world->now_us + took_us);
}

/* ---- one piece of work ---- */

static void work_finish(struct sim_work *work, int status)
{
    void (*done)(void *data, int status) = work->done;
    void *data = work->data;
    sim_event_deinit(work->event.node->world, &work->event);
    peri_list_remove(&work->handle.link);
    free(work);
    done(data, status);
}

static void work_end(struct sim_handle *handle)
{
    work_finish(container_of(handle, struct sim_work, handle), PERI_ECANCELLED);
}

static void work_on_done(struct sim_world *world, struct sim_event *event)
{
    (void)world;
    work_finish(container_of(event, struct sim_work, event), 0);
}

static const struct sim_event_kind work_done_kind = {SIM_EVENT_WORK_DONE, "work done", work_on_done,
                                                     sim_event_describe_number};

static void work_on_run(struct sim_world *world, struct sim_event *event)
{
    struct sim_work *work = container_of(event, struct sim_work, event);
    sim_work_run(world, event, &work_done_kind, work->run, work->data);
}

static const struct sim_event_kind work_kind = {SIM_EVENT_WORK, "work", work_on_run,
                                                sim_event_describe_number};

static int work_submit(struct env *env, void (*run)(void *data),
                       void (*done)(void *data, int status), void *data)
{
    struct sim_node *node = sim_node_cast(env);
    if (!sim_node_is_up(node))
        return PERI_ECANCELLED;
    struct sim_work *work = calloc(1, sizeof *work);
    if (work == NULL)
        return PERI_ENOMEM;
    *work = (struct sim_work){.run = run, .done = done, .data = data};
    if (sim_event_init(node->world, &work->event, &work_kind, node, 0) != 0) {
        free(work);
        return PERI_ENOMEM;
    }
    work->event.payload = sim_node_add_handle(node, &work->handle, work_end);
    sim_work_schedule(node, &work->event);
    return 0;
}

const struct env_work_ops sim_work_ops = {work_submit};
