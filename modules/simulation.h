/* simulation.h - one run of a scenario: a world whose nodes are Lua states.
 *
 * simulation.c  the run: makes the world, starts the controller, says how it ended
 * sim_end.c     why it ended, when its controller has not returned
 * sim_run.c     the same for Lua outside of the run
 * sim_member.c  a node and its Lua state: start, end, letters between members
 * sim_trace.c   the trace, and what nodes print
 * sim.c         the run as Lua of its nodes and controller sees it
 * sim_letter.c  letters, and waiting for what they tell
 * sim_fault.c   faults and the network, as the controller asks for them
 *
 * The scenario's file is loaded into every member's state afresh (lua/perilune/sim/boot.lua), so
 * members share nothing; what they tell each other outside the network goes as letters. */
#ifndef PERI_MODULES_SIMULATION_H
#define PERI_MODULES_SIMULATION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/list.h"
#include "env/log.h"
#include "sim/event.h"
#include "sim/node.h"
#include "sim/world.h"
#include "vm/fiber.h"
#include "vm/state.h"

#define SIMULATION_CONTROLLER "controller"

enum { SIM_EVENT_LETTER = 1000 }; /* the number of our kind of event, as the hash sees it */

enum {
    SIM_MEMBER_MEMORY_BYTES = 512 << 20, /* of a Lua state, unless its start says otherwise */
    SIM_LETTERS_MAX = 65536,             /* that wait for one member */
};

/* Which letters: the scenario's own, or those of boot.lua and controller.lua. */
enum sim_mail { SIM_MAIL_USER, SIM_MAIL_SYSTEM, SIM_MAILS };

/* What one member sends another outside the network: reliable, in order, without virtual time. */
struct sim_letter {
    struct peri_list link;
    struct sim_member *from;
    size_t size;
    char bytes[];
};

/* A fiber that waits for a letter: lives in a userdata on its stack. */
struct sim_receiver {
    struct fiber_wait wait;
    struct peri_list link;
    enum sim_mail mail;
    uint64_t due_us; /* 0: never */
};

/* A node and its Lua. Data of its sim_node. */
struct sim_member {
    struct simulation *run;
    struct sim_node *node;
    struct vm_state *vm; /* NULL while the node is down */
    struct vm_options options;
    struct vm_simulated simulated;
    struct peri_buffer arguments; /* MessagePack, for each start */
    char *role;                   /* NULL: the controller */
    bool is_starting;             /* its start is an event to come: letters wait for it */
    bool may_fail;                /* an error of its code does not end the run */
    bool has_delivery;            /* delivery is initialized */
    struct sim_event delivery;    /* wakes those who wait for letters */
    struct peri_list letters[SIM_MAILS];
    size_t letter_count;                   /* in all of them */
    struct peri_list receivers[SIM_MAILS]; /* struct sim_receiver */
};

/* What ends a run before its controller returned. */
struct sim_failure {
    bool is_set;             /* the first one counts */
    const char *kind;        /* "node", "deadlock": see lua/perilune/sim/README.md; lent for ever */
    struct peri_buffer text; /* why, with a traceback where there is one */
    struct peri_buffer node; /* whose, or empty */
    struct peri_buffer fibers; /* where every fiber stands, a line each, or empty */
};

struct sim_tracer {
    struct env_file *file;     /* NULL: no trace */
    struct peri_buffer buffer; /* not yet written */
    uint64_t from, to;         /* of which events lines are collected; to 0: none */
    struct peri_buffer lines;  /* each behind "e" for an event or "n" for a note, with the hash */
    bool echoes;               /* what nodes print goes to standard error at once */
    struct peri_buffer printed;
};

struct simulation_options {
    const char *path;         /* of the scenario; absolute */
    const char *chunk;        /* what messages call it */
    struct peri_slice source; /* lent */
    struct peri_slice args;   /* the table of --arg as MessagePack; lent */
    uint64_t seed;
    uint64_t time_max_us;   /* virtual; 0: what the scenario says */
    uint64_t watchdog_us;   /* real time that an event may take */
    uint32_t turns_max;     /* see struct sim_options */
    const char *trace_path; /* or NULL */
    uint64_t trace_from, trace_to;
    bool keeps_checkpoints;
    bool gives_history; /* in the result */
    bool echoes;
    enum env_log_level
        log_level; /* of nodes: what they log below it is neither seen nor paid for */
};

struct simulation {
    struct env *host;
    const struct vm_options *base; /* of the state that runs us: library, modules */
    const struct simulation_options *options;
    struct sim_world *world;
    struct sim_member *controller;
    uint32_t member_count;
    uint64_t time_max_us;  /* of virtual time */
    bool has_new_time_max; /* the world stopped to hear of it */
    bool has_passed;       /* the controller has returned */
    struct sim_failure failure;
    struct peri_buffer expect; /* the pattern of the failure that is meant to happen, or empty */
    struct sim_tracer tracer;
    struct peri_buffer history; /* events, MessagePack, one behind the other */
    uint64_t history_count;
};

/* ---- simulation.c ---- */

/* Runs the scenario inside a pinned call until it has passed or failed; what came of it stays in
 * run until simulation_deinit. run is zeroed but for host, base and options. Errors: only such as
 * keep the run from starting. */
int simulation_run(struct simulation *run, struct peri_error *err);
void simulation_deinit(struct simulation *run);

/* ---- sim_end.c ---- */

/* The run has failed, unless it has already: node may be NULL, kind is lent for ever. It ends after
 * the event that runs. */
void simulation_fail(struct simulation *run, struct sim_member *member, const char *kind,
                     const char *text);

/* The world's loop has ended: unless the run has passed or failed already, it fails, with the
 * fibers that are to blame. */
void simulation_conclude(struct simulation *run, enum sim_end end);

/* ---- sim_member.c ---- */

enum { SIM_EXPLAINED_SIZE = 256 };

/* What an error of the member says: of lack of memory, which Lua's text leaves it at, also whose
 * and how much there is. Lends text, or room. */
const char *sim_member_explain(const struct sim_member *member, const char *text,
                               char room[SIM_EXPLAINED_SIZE]);

/* Adds a node, which is not started. arguments is copied. Errors: those of sim_node_create. */
int sim_member_create(struct simulation *run, const char *name, const char *role,
                      struct peri_slice arguments, struct sim_member **out, struct peri_error *err);

/* Frees what a member holds, after its node has ended. */
void sim_member_free(struct sim_member *member);

/* The member that a Lua state belongs to, or NULL in a state that is not simulated. */
struct sim_member *sim_member_of(lua_State *L);

/* The member with the node's name, or NULL. */
struct sim_member *sim_member_named(struct simulation *run, const char *name);

/* Takes a letter of the member out of its list; the caller frees it. */
void sim_member_take(struct sim_member *member, struct sim_letter *letter);

/* Sends a letter; from is who seems to have sent it. Errors: PERI_EDOWN; PERI_EBUSY
 * while too many wait already; PERI_ENOMEM. */
int sim_member_post(struct sim_member *to, enum sim_mail mail, struct sim_member *from,
                    struct peri_slice bytes);

/* ---- sim_trace.c ---- */

/* Opens the trace that the options ask for. Errors: errno codes. */
int sim_tracer_open(struct simulation *run, struct peri_error *err);
int sim_tracer_close(struct simulation *run, struct peri_error *err);

/* True when lines are wanted at all: formatting them costs. */
bool sim_tracer_is_wanted(const struct simulation_options *options);

/* For struct sim_options; data is the struct simulation. */
void sim_tracer_on_trace(void *data, const struct sim_trace *line);
void sim_tracer_on_output(void *data, struct sim_node *node, int fd, struct peri_slice bytes);

#endif
