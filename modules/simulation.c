#include "simulation.h"

#include "env/pin.h"

enum { TIME_MAX_DEFAULT_S = 600, US_PER_S = 1000000 };

struct pinned_run {
    struct simulation *run;
    struct peri_error *err;
    int rc;
};

/* ---- the run ---- */

static int create_world(struct simulation *run, struct peri_error *err)
{
    const struct simulation_options *wanted = run->options;
    struct sim_options options = {
        .seed = wanted->seed,
        .host = run->host,
        .watchdog_us = wanted->watchdog_us,
        .turns_max = wanted->turns_max,
        .on_output = sim_tracer_on_output,
        .on_trace = sim_tracer_is_wanted(wanted) ? sim_tracer_on_trace : NULL,
        .data = run,
        .keeps_checkpoints = wanted->keeps_checkpoints,
    };
    return sim_world_create(&run->world, &options, err);
}

static int start_controller(struct simulation *run, struct peri_error *err)
{
    int rc = sim_member_create(run, SIMULATION_CONTROLLER, NULL, peri_slice_of(NULL, 0),
                               &run->controller, err);
    return rc == 0 ? sim_node_start(run->controller->node, err) : rc;
}

/* The controller reads the limit from the scenario, so it changes while the run goes on. */
static enum sim_end run_to_the_end(struct simulation *run)
{
    enum sim_end end;
    do {
        run->has_new_time_max = false;
        end = sim_world_run(run->world, run->time_max_us);
    } while (run->has_new_time_max && !run->failure.is_set);
    return end;
}

static int run_pinned(struct simulation *run, struct peri_error *err)
{
    run->time_max_us = run->options->time_max_us;
    if (run->time_max_us == 0)
        run->time_max_us = (uint64_t)TIME_MAX_DEFAULT_S * US_PER_S;
    int rc = sim_tracer_open(run, err);
    if (rc == 0)
        rc = create_world(run, err);
    if (rc == 0)
        rc = start_controller(run, err);
    if (rc != 0)
        return rc;
    simulation_conclude(run, run_to_the_end(run));
    return sim_tracer_close(run, err);
}

static void end_members(struct simulation *run)
{
    for (size_t i = 0; i < sim_world_node_count(run->world); i++)
        sim_node_kill(sim_world_node_at(run->world, i));
}

static void run_in_pin(void *data)
{
    struct pinned_run *pinned = data;
    pinned->rc = run_pinned(pinned->run, pinned->err);
    if (pinned->run->world != NULL) /* Lua states end where they began */
        end_members(pinned->run);
}

int simulation_run(struct simulation *run, struct peri_error *err)
{
    struct pinned_run pinned = {run, err, 0};
    int rc = env_pinned_call(run_in_pin, &pinned, err);
    return rc == 0 ? pinned.rc : rc;
}

static void free_members(struct simulation *run)
{
    for (size_t i = 0; i < sim_world_node_count(run->world); i++) {
        struct sim_member *member = sim_node_data(sim_world_node_at(run->world, i));
        if (member->has_delivery)
            sim_event_deinit(run->world, &member->delivery);
        sim_member_free(member);
    }
}

void simulation_deinit(struct simulation *run)
{
    if (run->world != NULL)
        free_members(run);
    sim_world_close(run->world);
    peri_buffer_deinit(&run->failure.text);
    peri_buffer_deinit(&run->failure.node);
    peri_buffer_deinit(&run->failure.fibers);
    peri_buffer_deinit(&run->expect);
    peri_buffer_deinit(&run->tracer.buffer);
    peri_buffer_deinit(&run->tracer.lines);
    peri_buffer_deinit(&run->tracer.printed);
    peri_buffer_deinit(&run->history);
}
