/* rounds.h - the state store of a node: one writer for all groups that keep their keys in it.
 *
 *      commands of all groups -> memory -> a round: one batch -> ... -> barrier -> the logs are cut
 *
 * Jobs run in the background, one at a time, in the order in which they were added; reads run
 * beside them. The store is opened by the first job. A job that finds no room waits, and so do
 * those behind it, until the store could be opened again (rounds_full.c); one that cannot write for
 * another reason fences the node, as a log that cannot would: nobody knows what is in the store
 * then. */
#ifndef PERI_NODE_ROUNDS_H
#define PERI_NODE_ROUNDS_H

#include "node/keys.h"
#include "node/parts.h"

/* Embedded by whoever asks, until done. rc and err are the job's. */
struct node_rounds_job {
    void (*start)(struct node_rounds_job *job); /* on the loop, right before it runs; or NULL */
    void (*run)(struct node_rounds_job *job, struct store_state *state); /* in the background */
    /* On the loop. status: 0 when it ran; PERI_ECANCELLED when the node was closed before. */
    void (*done)(struct node_rounds_job *job, int status);
    struct node_rounds *rounds;
    struct peri_list link;
    struct peri_error err;
    int rc;
    bool is_queued;
    bool is_again; /* it found no room when it ran before */
};

struct node_rounds {
    struct node *node;
    char *path;
    struct store_state *state; /* belongs to the job that runs; reads may use it, too */
    struct peri_list groups;   /* node_keys.link */
    struct peri_list jobs;     /* that wait */
    struct node_rounds_job *running;
    struct node_rounds_job opening, round_job, barrier_job, collect_job, closing;
    struct store_round round;
    struct peri_list parts; /* of the round that is under way, or being settled */
    struct env_timer *timer;
    struct env_timer *rest;    /* runs since something was written */
    struct env_turn *settling; /* runs while the round is */
    size_t reads;              /* under way */
    struct node_rounds_job reopening;
    struct env_timer *room; /* rounds_full.c: when to look for some */
    struct peri_list held;  /* reads that wait until the store is open again */
    bool lacks_room;        /* a job found none: commands are refused */
    bool is_stuck;          /* so no job runs */
    bool is_reopening;      /* and reads are held */
    bool is_closing, is_armed, is_settling;
    bool is_damaged;                 /* reads have met damage */
    bool was_damaged;                /* when it was opened */
    bool has_no_env;                 /* it has ended: nothing can be started any more */
    bool wants_barrier;              /* another one after that which waits or runs */
    size_t dirty_bytes, clean_bytes; /* of all groups */
    size_t told_bytes;               /* of these dirty ones, in tails */
    uint64_t written_bytes;          /* since the last barrier */
    uint64_t barrier_us;             /* when that was */
};

/* Errors: PERI_ENOMEM. */
int node_rounds_open(struct node *node);
/* Ends jobs that wait; the store is closed when those that run are done. */
void node_rounds_close(struct node *node);
void node_rounds_free(struct node *node);

/* Has the store opened, if it is not. */
void node_rounds_prepare(struct node_rounds *rounds);
/* Adds a job. */
void node_rounds_add(struct node_rounds *rounds, struct node_rounds_job *job);
/* Reading found damage, if rc says so: the store is set aside when it is closed. */
void node_rounds_suspect(struct node_rounds *rounds, int rc);
/* What a job did failed: the node is fenced. */
void node_rounds_fail(struct node_rounds *rounds, const struct node_rounds_job *job);
/* Runs a job beside the others. For after the first job: the store is open. Errors: as env_work. */
int node_rounds_read(struct node_rounds *rounds, struct node_rounds_job *job);

/* A command was applied: a round is to come. */
void node_rounds_applied(struct node_rounds *rounds);
/* So much of tails does not wait for the store any more: commands that wait for room go on. */
void node_rounds_let_go(struct node_rounds *rounds, size_t bytes);
/* Has a round begin now, unless one is under way. */
void node_rounds_hurry(struct node_rounds *rounds);
/* Has what is applied made durable, soon. */
void node_rounds_settle(struct node_rounds *rounds);
/* A job of another kind has written so much. */
void node_rounds_wrote(struct node_rounds *rounds, uint64_t bytes);
/* Has what old epochs left behind removed. */
void node_rounds_collect(struct node_rounds *rounds);
/* Makes the jobs of barrier.c. */
void node_rounds_init_barriers(struct node_rounds *rounds);
/* rounds_jobs.c: starts what waits, unless a job runs; ends one. */
void node_rounds_pump(struct node_rounds *rounds);
void node_rounds_end_job(struct node_rounds_job *job, int status);
/* rounds_full.c. Errors: PERI_ENOMEM. */
int node_rounds_full_open(struct node_rounds *rounds);
/* A job has ended. True when it waits for room, and will run again. */
bool node_rounds_await_room(struct node_rounds *rounds, struct node_rounds_job *job);
/* Holds a read while the store is being opened again. */
bool node_rounds_hold_read(struct node_rounds *rounds, struct node_rounds_job *job);
/* No job runs, and no read perhaps: opens the store again when that is due. */
void node_rounds_pump_room(struct node_rounds *rounds);
/* Ends the reads that are held. */
void node_rounds_full_close(struct node_rounds *rounds);
/* Starts one now, out of turn. */
void node_rounds_start_job(struct node_rounds *rounds, struct node_rounds_job *job);
/* Closes the store, of which nobody reads any more. */
void node_rounds_close_store(struct node_rounds *rounds);
/* True when more is remembered than should be. */
bool node_rounds_remember_too_much(const struct node_rounds *rounds);
/* True when so much waits for the store that commands have to. */
bool node_rounds_are_full(const struct node_rounds *rounds);
/* True while commands of the group are refused, since the disk has no room for the keys. */
bool node_rounds_lack_room(const struct node_group *group);

#endif
