#include "simulation.h"

#include <stdio.h>
#include <string.h>

#include "env/pin.h"
#include "vm/scheduler.h"

enum { TIME_MAX_DEFAULT_S = 600, US_PER_S = 1000000 };

struct pinned_run {
    struct simulation *run;
    struct peri_error *err;
    int rc;
};

/* ---- how it ends ---- */

void simulation_fail(struct simulation *run, struct sim_member *member, const char *kind,
                     const char *text)
{
    struct sim_failure *failure = &run->failure;
    if (failure->is_set || run->has_passed)
        return;
    failure->is_set = true;
    failure->kind = kind;
    (void)peri_buffer_append(&failure->text, text, strlen(text));
    const char *node = member != NULL ? sim_node_name(member->node) : "";
    (void)peri_buffer_append(&failure->node, node, strlen(node));
    sim_world_note(run->world, member != NULL ? member->node : NULL, "failure", 0, "%s", text);
    sim_world_stop(run->world);
}

static void fail_with_fibers(struct simulation *run, struct sim_member *member, const char *kind,
                             const char *text)
{
    sim_members_report(run, &run->failure.fibers);
    simulation_fail(run, member, kind, text);
}

static void fail_stuck(struct simulation *run)
{
    struct sim_node *node = sim_world_stuck(run->world);
    struct sim_member *member = node != NULL ? sim_node_data(node) : NULL;
    struct fiber *fiber =
        member != NULL && member->vm != NULL ? member->vm->scheduler->baton : NULL;
    if (fiber == NULL) {
        simulation_fail(run, member, "stuck", "an event did not return");
        return;
    }
    lua_State *L = member->vm->L;
    char text[FIBER_NAME_SIZE + FIBER_REASON_SIZE];
    (void)snprintf(text, sizeof text, "fiber %s computes and never waits", fiber->name);
    fiber_push_traceback(L, fiber->L, text);
    simulation_fail(run, member, "stuck", lua_tostring(L, -1));
    lua_pop(L, 1);
}

static void conclude(struct simulation *run, enum sim_end end)
{
    if (run->has_passed || run->failure.is_set)
        return;
    switch (end) {
    case SIM_END_IDLE:
        fail_with_fibers(run, NULL, "deadlock", "nothing can wake the controller any more");
        break;
    case SIM_END_TIME:
        fail_with_fibers(run, NULL, "time", "the run has not ended within its virtual time");
        break;
    case SIM_END_STUCK:
        fail_stuck(run);
        break;
    case SIM_END_FAILED:
        simulation_fail(run, NULL, "died", "the simulator lacked memory");
        break;
    case SIM_END_STOPPED: /* the controller was cancelled, or ended itself by os.exit */
        simulation_fail(run, run->controller, "controller", "the controller did not return");
        break;
    }
}

/* ---- the run ---- */

static int create_world(struct simulation *run, struct peri_error *err)
{
    const struct simulation_options *wanted = run->options;
    struct sim_options options = {
        .seed = wanted->seed,
        .host = run->host,
        .watchdog_us = wanted->watchdog_us,
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
    conclude(run, run_to_the_end(run));
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
