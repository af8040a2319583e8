/* Why a run ended before its controller returned, and whose fault that is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "simulation.h"
#include "vm/scheduler.h"

enum { TEXT_SIZE = FIBER_NAME_SIZE + FIBER_REASON_SIZE, REPORTED_FIBERS_MAX = 100 };

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

/* ---- where everybody stands ---- */

static void report_fiber(const struct sim_member *member, const struct fiber *fiber,
                         struct peri_buffer *out)
{
    char where[FIBER_REASON_SIZE];
    char line[FIBER_REASON_SIZE * 2];
    fiber_where(fiber, where, sizeof where);
    const char *state = sim_node_state(member->node) == SIM_NODE_PAUSED ? " (paused)" : "";
    int size = snprintf(line, sizeof line, "%s%s: fiber %s: %s at %s\n",
                        sim_node_name(member->node), state, fiber->name, fiber_doing(fiber), where);
    (void)peri_buffer_append(out, line, (size_t)size < sizeof line ? (size_t)size : sizeof line);
}

/* Reports the fibers of a member, and counts them in *count. */
static void report_member(const struct sim_member *member, size_t *count, struct peri_buffer *out)
{
    static const char own[] = "simulation: "; /* fibers of boot.lua and controller.lua */
    const struct fiber *fiber = member->vm->scheduler->first;
    for (; fiber != NULL; fiber = fiber->all_next)
        if (strncmp(fiber->name, own, sizeof own - 1) != 0 && (*count)++ < REPORTED_FIBERS_MAX)
            report_fiber(member, fiber, out);
}

static void report_members(const struct simulation *run, struct peri_buffer *out)
{
    size_t count = 0;
    for (size_t i = 0; i < sim_world_node_count(run->world); i++) {
        const struct sim_member *member = sim_node_data(sim_world_node_at(run->world, i));
        if (member->vm != NULL && member->vm->scheduler != NULL)
            report_member(member, &count, out);
    }
    if (count <= REPORTED_FIBERS_MAX)
        return;
    char line[FIBER_REASON_SIZE];
    int size = snprintf(line, sizeof line, "... and %zu more\n", count - REPORTED_FIBERS_MAX);
    (void)peri_buffer_append(out, line, (size_t)size);
}

static void fail_with_fibers(struct simulation *run, struct sim_member *member, const char *kind,
                             const char *text)
{
    report_members(run, &run->failure.fibers);
    simulation_fail(run, member, kind, text);
}

/* ---- who does not let time pass ---- */

static struct sim_member *stuck_member(const struct simulation *run)
{
    struct sim_node *node = sim_world_stuck(run->world);
    return node != NULL ? sim_node_data(node) : NULL;
}

/* Fails with what the fiber does, and its traceback. */
static void fail_fiber(struct simulation *run, struct sim_member *member, const struct fiber *fiber,
                       const char *does)
{
    lua_State *L = member->vm->L;
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof text, "fiber %s %s", fiber->name, does);
    fiber_push_traceback(L, fiber->L, text);
    simulation_fail(run, member, "stuck", lua_tostring(L, -1));
    lua_pop(L, 1);
}

static void fail_stuck(struct simulation *run)
{
    struct sim_member *member = stuck_member(run);
    const struct fiber *fiber =
        member != NULL && member->vm != NULL ? member->vm->scheduler->baton : NULL;
    if (fiber != NULL)
        fail_fiber(run, member, fiber, "computes and never waits");
    else
        simulation_fail(run, member, "stuck", "an event did not return");
}

/* The fiber that has given the baton away most often, of those that want it again. */
static const struct fiber *most_restless(const struct sim_member *member)
{
    const struct fiber *found = NULL;
    if (member->vm == NULL || member->vm->scheduler == NULL)
        return NULL;
    for (const struct fiber *f = member->vm->scheduler->first; f != NULL; f = f->all_next)
        if (f->state == FIBER_READY && (found == NULL || f->switches > found->switches))
            found = f;
    return found;
}

static void fail_spinning(struct simulation *run)
{
    struct sim_member *member = stuck_member(run);
    const struct fiber *fiber = most_restless(member);
    report_members(run, &run->failure.fibers);
    if (fiber != NULL)
        fail_fiber(
            run, member, fiber,
            "goes on and on without letting time pass: sleep(0), yield and channels let other "
            "fibers run, but only waiting moves the clock");
    else
        simulation_fail(run, member, "stuck", "it goes on and on without letting time pass");
}

static void fail_still(struct simulation *run)
{
    char text[TEXT_SIZE];
    (void)snprintf(text, sizeof text,
                   "time stands still: %d events have happened at one moment, and there are more",
                   SIM_STILL_EVENTS_MAX);
    fail_with_fibers(run, stuck_member(run), "stuck", text);
}

void simulation_conclude(struct simulation *run, enum sim_end end)
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
    case SIM_END_SPINNING:
        fail_spinning(run);
        break;
    case SIM_END_STILL:
        fail_still(run);
        break;
    case SIM_END_FAILED:
        simulation_fail(run, NULL, "died", "the simulator lacked memory");
        break;
    case SIM_END_STOPPED: /* the controller was cancelled, or ended itself by os.exit */
        simulation_fail(run, run->controller, "controller", "the controller did not return");
        break;
    }
}
