/* Why a run ended before its controller returned, and whose fault that is. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim/clock.h"
#include "simulation.h"
#include "vm/scheduler.h"

#define US_PER_S UINT64_C(1000000)

enum {
    TEXT_SIZE = FIBER_NAME_SIZE + FIBER_REASON_SIZE,
    LINE_SIZE = 2 * FIBER_REASON_SIZE + FIBER_NAME_SIZE + 64,
    REPORTED_FIBERS_MAX = 100,
    DEADLOCK_S = 10, /* in which no fiber has run, although there were events */
};

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

/* " since 1.5 s, until 6.5 s", of a fiber that waits. */
static void describe_wait(const struct sim_member *member, const struct fiber *fiber, char *out,
                          size_t size)
{
    out[0] = '\0';
    if (fiber->state != FIBER_WAITING)
        return;
    uint64_t since_us = sim_clock_true_us(member->node, fiber->since_us);
    int used = snprintf(out, size, " since %" PRIu64 ".%06" PRIu64 " s", since_us / US_PER_S,
                        since_us % US_PER_S);
    uint64_t until_us = fiber_until_us(fiber);
    if (until_us == 0) {
        (void)snprintf(out + used, size - (size_t)used, ", without a deadline");
        return;
    }
    until_us = sim_clock_true_us(member->node, until_us);
    (void)snprintf(out + used, size - (size_t)used, ", until %" PRIu64 ".%06" PRIu64 " s",
                   until_us / US_PER_S, until_us % US_PER_S);
}

static void report_fiber(const struct sim_member *member, const struct fiber *fiber,
                         struct peri_buffer *out)
{
    char where[FIBER_REASON_SIZE];
    char wait[FIBER_NAME_SIZE + FIBER_NAME_SIZE];
    char line[LINE_SIZE];
    fiber_where(fiber, where, sizeof where);
    describe_wait(member, fiber, wait, sizeof wait);
    const char *state = sim_node_state(member->node) == SIM_NODE_PAUSED ? " (paused)" : "";
    int size =
        snprintf(line, sizeof line, "%s%s: fiber %s: %s at %s%s\n", sim_node_name(member->node),
                 state, fiber->name, fiber_doing(fiber), where, wait);
    (void)peri_buffer_append(out, line, (size_t)size < sizeof line ? (size_t)size : sizeof line);
}

static bool is_ours(const struct fiber *fiber) /* of boot.lua and controller.lua */
{
    static const char own[] = "simulation: ";
    return strncmp(fiber->name, own, sizeof own - 1) == 0;
}

/* Reports the fibers of a member, and counts them in *count. */
static void report_member(const struct sim_member *member, size_t *count, struct peri_buffer *out)
{
    const struct fiber *fiber = member->vm->scheduler->first;
    for (; fiber != NULL; fiber = fiber->all_next)
        if (!is_ours(fiber) && (*count)++ < REPORTED_FIBERS_MAX)
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

/* ---- who waits for ever ---- */

/* True when some fiber of the member will go on by itself, or has run after since_us of true time.
 * What is paused does not go on by itself. */
static bool is_alive(const struct sim_member *member, uint64_t *since_us)
{
    if (member->vm == NULL || member->vm->scheduler == NULL ||
        sim_node_state(member->node) == SIM_NODE_PAUSED)
        return false;
    for (const struct fiber *f = member->vm->scheduler->first; f != NULL; f = f->all_next) {
        if (f->state != FIBER_WAITING || fiber_until_us(f) != 0)
            return true;
        uint64_t ran_us = sim_clock_true_us(member->node, f->since_us);
        if (ran_us > *since_us)
            *since_us = ran_us;
    }
    return false;
}

/* At the end of the run's time: timers of connections go on for ever, so that there are always
 * events, but when no fiber has run for long and none has a deadline, nobody ever will. */
static bool is_deadlocked(const struct simulation *run, uint64_t *since_us)
{
    *since_us = 0;
    for (size_t i = 0; i < sim_world_node_count(run->world); i++)
        if (is_alive(sim_node_data(sim_world_node_at(run->world, i)), since_us))
            return false;
    return sim_world_now_us(run->world) - *since_us >= DEADLOCK_S * US_PER_S;
}

static void fail_late(struct simulation *run)
{
    char text[TEXT_SIZE];
    uint64_t since_us;
    if (!is_deadlocked(run, &since_us)) {
        fail_with_fibers(run, NULL, "time", "the run has not ended within its virtual time");
        return;
    }
    (void)snprintf(
        text, sizeof text,
        "no fiber has run since %" PRIu64 ".%06" PRIu64
        " s, and each waits without a deadline: what still happens is housekeeping, such "
        "as pings of connections",
        since_us / US_PER_S, since_us % US_PER_S);
    fail_with_fibers(run, NULL, "deadlock", text);
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
                   "time stands still: %" PRIu64
                   " events have happened at one moment, and there are more",
                   sim_world_still_events(run->world));
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
        fail_late(run);
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
