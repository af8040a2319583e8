#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "simulation.h"
#include "vm/scheduler.h"

enum { LETTER_DOWN_SIZE = 24, BYTES_PER_MIB = 1 << 20 };

/* ---- starting and ending ---- */

static bool is_controller(const struct sim_member *member)
{
    return member == member->run->controller;
}

const char *sim_member_explain(const struct sim_member *member, const char *text,
                               char room[SIM_EXPLAINED_SIZE])
{
    static const char memory[] = "not enough memory"; /* Lua's own text, or its own in front */
    size_t size = sizeof memory - 1;
    size_t text_size = strlen(text);
    if (text_size < size ||
        (memcmp(text, memory, size) != 0 && memcmp(text + text_size - size, memory, size) != 0))
        return text;
    size_t limit_bytes = member->options.memory_limit_bytes;
    (void)snprintf(room, SIM_EXPLAINED_SIZE, "%s: the Lua state of %s may hold %.4g MiB%s", memory,
                   sim_node_name(member->node), (double)limit_bytes / BYTES_PER_MIB,
                   is_controller(member) ? ""
                                         : ", unless the option memory of sim:start says more");
    return room;
}

/* An error that no fiber waits for would be lost in a real program's log; here somebody looks. */
static void on_lost(void *data, const char *text)
{
    struct sim_member *member = data;
    char room[SIM_EXPLAINED_SIZE];
    if (!member->may_fail)
        simulation_fail(member->run, member, is_controller(member) ? "controller" : "node",
                        sim_member_explain(member, text, room));
}

/* What a scenario raises boot.lua tells; what is raised here is that boot.lua lacked memory. */
static void on_program_end(void *data)
{
    struct sim_member *member = data;
    const struct fiber_scheduler *s = member->vm->scheduler;
    const char *text = lua_tostring(s->main->L, -1);
    if (s->main->status == PERI_ELUA)
        on_lost(member, text != NULL ? text : "boot.lua raised what is no text");
    else if (is_controller(member))
        simulation_fail(member->run, member, "controller",
                        "os.exit ended the controller: a run ends when run(sim) returns, or by "
                        "sim:fail(message)");
    sim_node_exit(member->node, s->exit_status);
}

/* The watchdog stops code below something that no yield can cross, such as a __close handler of a
 * fiber that was cancelled. */
static void on_stopped(const struct vm_simulated *simulated, lua_State *L)
{
    const struct sim_member *found = container_of(simulated, struct sim_member, simulated);
    struct simulation *run = found->run;
    struct sim_member *member = sim_node_data(found->node);
    const struct fiber *fiber = fiber_current(L);
    if (run->failure.is_set || fiber == NULL)
        return;
    char text[FIBER_NAME_SIZE + FIBER_REASON_SIZE];
    (void)snprintf(text, sizeof text, "fiber %s computes and never returns%s", fiber->name,
                   member->vm->closing != NULL ? ", in a __close handler" : "");
    fiber_push_traceback(L, L, text);
    simulation_fail(run, member, "stuck", lua_tostring(L, -1));
    lua_pop(L, 1);
}

static void on_naps(const struct vm_simulated *simulated, lua_State *L)
{
    const struct sim_member *found = container_of(simulated, struct sim_member, simulated);
    struct sim_member *member = sim_node_data(found->node);
    char text[FIBER_NAME_SIZE + FIBER_REASON_SIZE];
    (void)snprintf(text, sizeof text,
                   "fiber %s has slept %d times in a row for %d us or less: so virtual time hardly "
                   "moves. Sleep longer, or wait for what is to happen",
                   fiber_current(L)->name, FIBER_NAPS_MAX, FIBER_NAP_US);
    fiber_push_traceback(L, L, text);
    simulation_fail(member->run, member, "stuck", lua_tostring(L, -1));
    lua_pop(L, 1);
}

static int push_boot(lua_State *L)
{
    if (luaL_loadstring(L, "return require 'perilune.sim.boot' ()") != LUA_OK)
        return lua_error(L);
    return 1;
}

static int start_program(struct sim_member *member, struct peri_error *err)
{
    int rc = vm_state_create(&member->vm, &member->options, err);
    if (rc != 0)
        return rc;
    rc = fiber_scheduler_create(member->vm, err);
    if (rc != 0)
        return rc;
    lua_State *L = member->vm->L;
    lua_pushcfunction(L, push_boot);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK)
        return peri_fail(err, PERI_ELUA, "%s", lua_tostring(L, -1));
    return fiber_scheduler_start(member->vm, 0, on_program_end, member, err);
}

static int on_start(void *data, struct sim_node *node)
{
    struct sim_member *member = data;
    struct peri_error err = PERI_ERROR_INIT;
    char room[SIM_EXPLAINED_SIZE];
    (void)node;
    member->is_starting = false;
    member->simulated.hash_seed = sim_stream_next(sim_node_stream(member->node, SIM_USER));
    int rc = start_program(member, &err);
    if (rc == 0)
        return 0;
    simulation_fail(member->run, member, "node", sim_member_explain(member, err.text, room));
    vm_state_close(member->vm);
    member->vm = NULL;
    return rc;
}

void sim_member_take(struct sim_member *member, struct sim_letter *letter)
{
    peri_list_remove(&letter->link);
    member->letter_count--;
}

static void drop_letters(struct sim_member *member)
{
    for (int mail = 0; mail < SIM_MAILS; mail++) {
        while (!peri_list_is_empty(&member->letters[mail])) {
            struct sim_letter *letter =
                container_of(member->letters[mail].next, struct sim_letter, link);
            sim_member_take(member, letter);
            free(letter);
        }
    }
}

/* The controller learns of every end from a system letter: "!" and which life it was. */
static void tell_down(struct sim_member *member)
{
    struct simulation *run = member->run;
    char text[LETTER_DOWN_SIZE];
    int size = snprintf(text, sizeof text, "!%" PRIu64, sim_node_incarnation(member->node) - 1);
    if (member != run->controller && run->controller->vm != NULL)
        (void)sim_member_post(run->controller, SIM_MAIL_SYSTEM, member,
                              peri_slice_of(text, (size_t)size));
}

static void on_down(void *data, struct sim_node *node, enum sim_down how)
{
    struct sim_member *member = data;
    (void)node;
    if (how != SIM_DOWN_EXIT && member->vm != NULL)
        fiber_scheduler_abandon(member->vm);
    vm_state_close(member->vm);
    member->vm = NULL;
    drop_letters(member);
    sim_event_cancel(member->run->world, &member->delivery); /* a paused node keeps it, for ever */
    tell_down(member);
}

/* ---- letters ---- */

static void on_delivery(struct sim_world *world, struct sim_event *event)
{
    struct sim_member *member = container_of(event, struct sim_member, delivery);
    (void)world;
    for (int mail = 0; mail < SIM_MAILS; mail++) {
        size_t count = 0;
        struct peri_list *list = &member->letters[mail];
        for (struct peri_list *link = list->next; link != list; link = link->next)
            count++;
        struct peri_list *receivers = &member->receivers[mail];
        for (; count > 0 && !peri_list_is_empty(receivers); count--) {
            struct sim_receiver *receiver =
                container_of(receivers->next, struct sim_receiver, link);
            peri_list_remove(&receiver->link);
            fiber_wake(&receiver->wait);
        }
    }
}

static void describe_delivery(const struct sim_event *event, char *out, size_t size)
{
    (void)event;
    (void)snprintf(out, size, "letters");
}

int sim_member_post(struct sim_member *to, enum sim_mail mail, struct sim_member *from,
                    struct peri_slice bytes)
{
    if (to->vm == NULL && !to->is_starting)
        return PERI_EDOWN;
    if (to->letter_count >= SIM_LETTERS_MAX)
        return PERI_EBUSY;
    struct sim_letter *letter = malloc(sizeof *letter + bytes.size);
    if (letter == NULL)
        return PERI_ENOMEM;
    letter->from = from;
    letter->size = bytes.size;
    if (bytes.size > 0)
        memcpy(letter->bytes, bytes.data, bytes.size);
    peri_list_append(&to->letters[mail], &letter->link);
    to->letter_count++;
    sim_world_note(to->run->world, from->node, "letter", sim_hash_bytes(bytes.data, bytes.size),
                   "to %s, %zu bytes", sim_node_name(to->node), bytes.size);
    if (!sim_event_is_scheduled(&to->delivery))
        sim_event_schedule(to->run->world, &to->delivery, sim_world_now_us(to->run->world));
    return 0;
}

/* ---- members ---- */

static int init_delivery(struct sim_member *member)
{
    static const struct sim_event_kind kind = {SIM_EVENT_LETTER, "letter", on_delivery,
                                               describe_delivery};
    int rc = sim_event_init(member->run->world, &member->delivery, &kind, member->node, 0);
    member->has_delivery = rc == 0;
    return rc;
}

static void set_options(struct sim_member *member)
{
    member->options = *member->run->base;
    member->simulated.slot = ++member->run->member_count;
    member->simulated.on_stopped = on_stopped;
    member->simulated.on_naps = on_naps;
    member->options.env = sim_node_env(member->node);
    env_log_set_level(member->options.env, member->run->options->log_level);
    member->options.simulated = &member->simulated;
    member->options.memory_limit_bytes = SIM_MEMBER_MEMORY_BYTES;
    member->options.on_lost = on_lost;
    member->options.on_lost_data = member;
}

/* Nodes of a simulation know each other: rpc asks for a secret between machines. */
static int set_variables(struct sim_member *member, const char *name)
{
    int rc = sim_node_set_variable(member->node, "PERILUNE_NODE", name);
    return rc == 0 ? sim_node_set_variable(member->node, "PERILUNE_SECRET",
                                           "what all nodes of a simulation know")
                   : rc;
}

static int fill(struct sim_member *member, const char *name, const char *role,
                struct peri_slice arguments, struct peri_error *err)
{
    static const struct sim_node_events events = {on_start, on_down};
    int rc = peri_buffer_append(&member->arguments, arguments.data, arguments.size);
    member->role = role != NULL ? strdup(role) : NULL;
    if (rc != 0 || (role != NULL && member->role == NULL))
        return peri_fail(err, PERI_ENOMEM, "node %s", name);
    rc = sim_node_create(member->run->world, name, &events, member, &member->node, err);
    if (rc != 0)
        return rc;
    set_options(member);
    rc = set_variables(member, name);
    if (rc == 0)
        rc = init_delivery(member);
    return rc == 0 ? 0 : peri_fail(err, rc, "node %s", name);
}

int sim_member_create(struct simulation *run, const char *name, const char *role,
                      struct peri_slice arguments, struct sim_member **out, struct peri_error *err)
{
    struct sim_member *member = calloc(1, sizeof *member);
    if (member == NULL)
        return peri_fail(err, PERI_ENOMEM, "node %s", name);
    member->run = run;
    for (int mail = 0; mail < SIM_MAILS; mail++) {
        peri_list_init(&member->letters[mail]);
        peri_list_init(&member->receivers[mail]);
    }
    int rc = fill(member, name, role, arguments, err);
    if (rc == 0)
        *out = member;
    else if (member->node == NULL) /* else the world has it, and simulation_deinit frees it */
        sim_member_free(member);
    return rc;
}

void sim_member_free(struct sim_member *member)
{
    if (member == NULL)
        return;
    drop_letters(member);
    peri_buffer_deinit(&member->arguments);
    free(member->role);
    free(member);
}

struct sim_member *sim_member_of(lua_State *L)
{
    struct sim_node *node = sim_node_of(vm_state_of(L)->env);
    return node != NULL ? sim_node_data(node) : NULL;
}

struct sim_member *sim_member_named(struct simulation *run, const char *name)
{
    struct sim_node *node = sim_world_node(run->world, name);
    return node != NULL ? sim_node_data(node) : NULL;
}
