/* world.h - a simulated world: virtual time, its events, one seed.
 *
 * A world holds nodes (node.h), the network between them (net.h) and their disks (disk.h). Time
 * passes only from event to event, so that a minute of waiting costs nothing, and everything random
 * comes from streams of the one seed (stream.h): the same seed and the same calls give the same
 * events, and the same hash after each of them.
 *
 * The hash rolls over (time, node, kind, payload, positions of all random streams) of every event
 * and over everything noted while it runs (sends, writes, output). Nothing in it depends on
 * addresses. One thread runs a world; a process may hold several. */
#ifndef PERI_SIM_WORLD_H
#define PERI_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "env/env.h"
#include "sim/stream.h"

struct sim_world;
struct sim_node;

/* One line of a trace, lent for the call. An event's line is written before it runs, notes while it
 * runs; hash is the world's at that moment, so a line of which only the hash differs says that the
 * event before it did something else. */
struct sim_trace {
    uint64_t index; /* of the event, from 1 */
    uint64_t time_us;
    const char *node;   /* name, or "" for the world's own */
    const char *kind;   /* "timer", "message", "crash"; of a note "send", "drop", "output", ... */
    const char *detail; /* may be empty */
    uint64_t hash;
    bool is_note;
};

struct sim_options {
    uint64_t seed;
    int64_t epoch_us; /* wall clock at the start; 0: 2026-01-01T00:00:00Z */
    /* The real environment, lent for the world's life, for the watchdog alone; NULL: none. */
    struct env *host;
    uint64_t watchdog_us; /* real time that one event may take; 0: no limit */
    /* Turns of a node (env_turn_start) that may follow each other at the least distance, which is a
     * microsecond: code that waits by yielding. A turn of Lua is 4096 switches of fibers. 0:
     * SIM_TURNS_MAX. */
    uint32_t turns_max;
    /* What nodes write to standard output (fd 1) and error (2). NULL: it goes nowhere. */
    void (*on_output)(void *data, struct sim_node *node, int fd, struct peri_slice bytes);
    void (*on_trace)(void *data, const struct sim_trace *line); /* or NULL */
    void *data;                                                 /* of the callbacks */
    bool keeps_checkpoints;                                     /* for sim_world_checkpoints */
};

/* What ends runs that would seem to hang. Counts, not time: each machine stops at the same event.
 */
enum {
    SIM_TURNS_MAX = 2000,               /* 2 ms of virtual time, and half a second of real */
    SIM_STILL_EVENTS_MAX = 1000000,     /* while virtual time stands still, */
    SIM_STILL_EVENTS_OF_A_NODE = 10000, /* and so many more for each node: they all may start, */
                                        /* or call all others, at one moment */
};

/* Why sim_world_run came back. */
enum sim_end {
    SIM_END_IDLE,    /* no event is left: nothing can ever happen again */
    SIM_END_TIME,    /* the limit was reached */
    SIM_END_STOPPED, /* sim_world_stop */
    SIM_END_STUCK,   /* an event took longer than watchdog_us of real time; sim_world_stuck names it
                      */
    SIM_END_SPINNING, /* a node had something to do for turns_max turns in a row, and so kept time
                         from moving; sim_world_stuck names it */
    SIM_END_STILL,    /* too many events at one moment; sim_world_stuck has the last one's node */
    SIM_END_FAILED,   /* the simulator itself lacked memory: nothing that happened counts */
};

/* Creates an empty world. options is copied. On success the caller owns *out. Errors: PERI_ENOMEM,
 * errno codes. */
int sim_world_create(struct sim_world **out, const struct sim_options *options,
                     struct peri_error *err);

/* Ends all nodes (on_down is called for those that run), then the world. Accepts NULL. */
void sim_world_close(struct sim_world *world);

/* Runs events until one of the ends, and no event later than until_us of virtual time (UINT64_MAX:
 * no limit); at SIM_END_TIME the clock then stands at until_us. May be called again. */
enum sim_end sim_world_run(struct sim_world *world, uint64_t until_us);

/* Moves the clock on while nothing happens: no event is due before time_us. For who drives an idle
 * world from outside. */
void sim_world_skip_to(struct sim_world *world, uint64_t time_us);

/* Makes sim_world_run return after the event that runs. */
void sim_world_stop(struct sim_world *world);

/* True time since the start of the world. */
uint64_t sim_world_now_us(const struct sim_world *world);

/* The seed that the world was created with. */
uint64_t sim_world_seed(const struct sim_world *world);

/* How many events have happened. */
uint64_t sim_world_event_count(const struct sim_world *world);

/* The rolling hash. */
uint64_t sim_world_hash(const struct sim_world *world);

enum { SIM_CHECKPOINT_EVENTS = 1000 };

/* The hash before each SIM_CHECKPOINT_EVENTS-th event (*out)[i] is that after i + 1 thousand
 * events; returns how many there are. Lent until the world runs again. */
size_t sim_world_checkpoints(const struct sim_world *world, const uint64_t **out);

/* How many events have happened at this moment of virtual time. */
uint64_t sim_world_still_events(const struct sim_world *world);

/* Whose event it was, after SIM_END_STUCK, SIM_END_SPINNING and SIM_END_STILL; NULL: the world's.
 */
struct sim_node *sim_world_stuck(const struct sim_world *world);

/* Mixes a value into the hash, and with a trace writes a line: for what happens inside an event.
 * node may be NULL; kind is lent. Without a trace, detail is not formatted. */
void sim_world_note(struct sim_world *world, struct sim_node *node, const char *kind,
                    uint64_t value, const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The world's own stream of a purpose (SIM_WORKLOAD and SIM_FAULTS are for scenarios). Lent. */
struct sim_stream *sim_world_stream(struct sim_world *world, enum sim_purpose purpose);

/* Hash of bytes, for payloads: XXH3-64. Pure. */
uint64_t sim_hash_bytes(const void *bytes, size_t size);

#endif
