/* lane.c - background work in order: each job runs inline, as work.c does, when the one before it
 * is done. */
#include <stdlib.h>

#include "sim/internal.h"

struct lane_job {
    struct peri_list link;
    void (*run)(void *data);
    void (*done)(void *data, int status); /* NULL: nobody is told */
    void *data;
};

struct sim_lane {
    struct env_lane base;
    struct sim_handle handle;
    struct sim_event event; /* of the first job: first that it runs, then that it is done */
    struct peri_list jobs;  /* struct lane_job */
    bool is_closed;
    bool is_completing; /* a done runs */
    bool is_ended;      /* its process ends */
};

static struct sim_lane *lane_of(struct env_lane *base)
{
    return container_of(base, struct sim_lane, base);
}

static struct lane_job *first_job(const struct sim_lane *lane)
{
    return container_of(lane->jobs.next, struct lane_job, link);
}

static struct lane_job take_first(struct sim_lane *lane)
{
    struct lane_job *job = first_job(lane), it = *job;
    peri_list_remove(&job->link);
    free(job);
    return it;
}

static void lane_free(struct sim_lane *lane)
{
    sim_event_deinit(sim_node_cast(lane->base.env)->world, &lane->event);
    peri_list_remove(&lane->handle.link);
    free(lane);
}

static void free_when_over(struct sim_lane *lane)
{
    if (lane->is_closed && !lane->is_completing && peri_list_is_empty(&lane->jobs))
        lane_free(lane);
}

/* Twice: the lane goes behind the handles of others, who may still close it. */
static void lane_on_end(struct sim_handle *handle)
{
    struct sim_lane *lane = container_of(handle, struct sim_lane, handle);
    if (lane->is_ended) {
        lane_free(lane);
        return;
    }
    lane->is_ended = true;
    peri_list_remove(&handle->link);
    peri_list_append(&sim_node_cast(lane->base.env)->handles, &handle->link);
    lane->is_completing = true; /* its owner may close it now */
    while (!peri_list_is_empty(&lane->jobs)) {
        struct lane_job job = take_first(lane);
        if (job.done != NULL)
            job.done(job.data, PERI_ECANCELLED);
    }
    lane->is_completing = false;
    free_when_over(lane);
}

/* ---- jobs ---- */

static void begin_first(struct sim_lane *lane);

static void lane_on_done(struct sim_world *world, struct sim_event *event)
{
    struct sim_lane *lane = container_of(event, struct sim_lane, event);
    struct lane_job job = take_first(lane);
    (void)world;
    if (!peri_list_is_empty(&lane->jobs))
        begin_first(lane); /* the thread does not wait for what the loop makes of the last one */
    lane->is_completing = true;
    if (job.done != NULL)
        job.done(job.data, 0);
    lane->is_completing = false;
    free_when_over(lane);
}

static const struct sim_event_kind lane_done_kind = {SIM_EVENT_LANE_DONE, "lane done", lane_on_done,
                                                     sim_event_describe_number};

static void lane_on_run(struct sim_world *world, struct sim_event *event)
{
    const struct lane_job *job = first_job(container_of(event, struct sim_lane, event));
    sim_work_run(world, event, &lane_done_kind, job->run, job->data);
}

static const struct sim_event_kind lane_kind = {SIM_EVENT_LANE, "lane", lane_on_run,
                                                sim_event_describe_number};

static void begin_first(struct sim_lane *lane)
{
    lane->event.kind = &lane_kind;
    sim_work_schedule(sim_node_cast(lane->base.env), &lane->event);
}

static int lane_submit(struct env_lane *base, void (*run)(void *data),
                       void (*done)(void *data, int status), void *data)
{
    struct sim_lane *lane = lane_of(base);
    if (!sim_node_is_up(sim_node_cast(base->env)))
        return PERI_ECANCELLED;
    PERI_ASSERT(!lane->is_closed);
    struct lane_job *job = malloc(sizeof *job);
    if (job == NULL)
        return PERI_ENOMEM;
    bool is_first = peri_list_is_empty(&lane->jobs);
    *job = (struct lane_job){.run = run, .done = done, .data = data};
    peri_list_append(&lane->jobs, &job->link);
    if (is_first)
        begin_first(lane);
    return 0;
}

/* ---- life ---- */

static int lane_create(struct env *env, struct env_lane **out)
{
    struct sim_node *node = sim_node_cast(env);
    struct sim_lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return PERI_ENOMEM;
    lane->base.env = env;
    peri_list_init(&lane->jobs);
    if (sim_event_init(node->world, &lane->event, &lane_kind, node, 0) != 0) {
        free(lane);
        return PERI_ENOMEM;
    }
    lane->event.payload = sim_node_add_handle(node, &lane->handle, lane_on_end);
    *out = &lane->base;
    return 0;
}

static void lane_close(struct env_lane *base)
{
    struct sim_lane *lane = lane_of(base);
    lane->is_closed = true;
    free_when_over(lane);
}

const struct env_lane_ops sim_lane_ops = {lane_create, lane_submit, lane_close};
