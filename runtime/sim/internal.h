/* internal.h - what the files of the simulator share.
 *
 * world.c   the loop, the hash, the trace      event.c  the heap
 * node.c    life and death of processes        clock.c timer.c work.c self.c  the parts of its env
 */
#ifndef PERI_SIM_INTERNAL_H
#define PERI_SIM_INTERNAL_H

#include <signal.h>

#include "base/assert.h"
#include "base/list.h"
#include "env/ops.h"
#include "sim/event.h"
#include "sim/fault.h"
#include "sim/net.h"
#include "sim/node.h"
#include "sim/world.h"

/* Numbers of event kinds, as the hash sees them: append only, so that old hashes stay comparable.
 */
enum sim_event_id {
    SIM_EVENT_START = 1,
    SIM_EVENT_TIMER,
    SIM_EVENT_TURN,
    SIM_EVENT_WORK,
    SIM_EVENT_WORK_DONE,
    SIM_EVENT_PACKET,
    SIM_EVENT_CONN_IDLE,
    SIM_EVENT_CONN_DRAIN,
    SIM_EVENT_CONN_WRITABLE,
    SIM_EVENT_LANE,
    SIM_EVENT_LANE_DONE,
};

struct sim_heap_entry {
    uint64_t time_us;
    uint64_t sequence;
    struct sim_event *event;
};

struct sim_heap {
    struct sim_heap_entry *entries; /* from 1 */
    size_t count, capacity;
    size_t reserved; /* events that may be scheduled at once */
    uint64_t sequence;
};

/* Settings of the links: fault.def says what they mean. */
struct sim_link_settings {
    struct env_delay latency;
    uint32_t ppm[ENV_FAULT_RESET + 1]; /* by fault: loss, duplicate, reorder, corrupt, reset */
    uint64_t bandwidth;
    bool is_cut, is_held;
};

struct sim_link {
    uint64_t key;
    bool is_used;
    uint32_t mask;    /* 1 << fault: which of the settings are this link's own */
    uint64_t free_us; /* when it has taken what waits for its bandwidth */
    struct sim_link_settings settings;
};

struct sim_net {
    struct sim_link *links; /* those with settings or a queue of their own; a hash table */
    size_t count, capacity;
    struct sim_link_settings settings; /* of all others */
    struct sim_net_labs labs;
    struct sim_net_counts counts;
    struct peri_list held; /* struct sim_packet that waits for the end of a hold */
    uint64_t last_conn_id;
};

/* Settings of a node. */
struct sim_node_settings {
    struct env_delay turn_delay, work_delay, disk_delay, disk_sync_delay, disk_writeback;
    uint32_t disk_read_error_ppm, disk_write_error_ppm, disk_sync_error_ppm, disk_sync_lie_ppm;
    uint32_t disk_phantom_ppm, disk_misdirect_ppm;
    uint32_t disk_keep_ppm, disk_tear_ppm, disk_garble_ppm;
    uint64_t disk_capacity;
};

struct sim_world {
    struct sim_heap heap;
    uint64_t now_us;
    uint64_t hash;
    uint64_t positions; /* of all streams, see struct sim_stream */
    uint64_t event_count;
    const struct sim_event_kind
        *volatile running;    /* kind of the event that runs, or NULL; volatile:
                                 the watchdog's signal handler looks */
    struct sim_node *current; /* whose event runs now */
    bool is_stopped;
    volatile sig_atomic_t is_stuck;
    volatile sig_atomic_t quiet_ticks; /* of the watchdog, without an event */
    uint64_t watched_count;            /* event_count at the watchdog's last tick */
    struct env_ticker *watchdog;
    struct sim_node *stuck;
    bool is_spinning;      /* the event's node had turns_max turns in a row */
    uint64_t still_us;     /* since when time has stood still, */
    uint64_t still_events; /* and how many events have begun since */
    struct sim_options options;
    struct sim_stream streams[SIM_PURPOSES];
    struct sim_node **nodes;
    size_t node_count, node_capacity;
    uint64_t *checkpoints;
    size_t checkpoint_count, checkpoint_capacity;
    struct sim_net net;
    struct sim_node_settings settings; /* of nodes that have not been told otherwise */
    bool has_failed;                   /* the simulator lacks memory: what happens is void */
};

/* Something of a process that ends with it at the latest. */
struct sim_handle {
    struct peri_list link; /* in sim_node.handles */
    void (*end)(struct sim_handle *handle);
};

struct sim_output {
    struct env_file base;
    int fd;
};

struct sim_clock {
    uint64_t true_us;  /* when drift last changed */
    uint64_t local_us; /* what the local clock had counted then */
    int64_t drift_ppm;
    uint64_t monotonic_base_us; /* where the monotonic clock started */
    int64_t skew_us;            /* of the wall clock */
};

struct sim_node {
    struct env base;
    struct sim_world *world;
    uint64_t ready_us;      /* none of its events runs before; UINT64_MAX while paused */
    uint64_t blocked_us;    /* how long the event that runs has waited in blocking calls so far */
    uint64_t busy_until_us; /* ready_us once it is not paused */
    uint64_t event_count;
    uint32_t index; /* from 1, in the order of creation */
    enum sim_node_state state;
    bool is_ending;   /* on_down runs: nothing has an effect any more */
    bool is_doomed;   /* ends when its event returns, by doom */
    bool was_started; /* on_start has run: on_down is owed */
    bool is_crashed;  /* down, and its machine with it: nobody answers for it */
    enum sim_down doom;
    int exit_status;
    uint64_t incarnation;
    struct sim_clock clock;
    struct sim_node_settings settings;
    struct peri_list held;    /* events that became due while it was paused */
    struct peri_list handles; /* struct sim_handle */
    struct peri_list tickers; /* struct sim_ticker */
    uint64_t last_handle_id;
    struct sim_event start;
    struct sim_stream streams[SIM_PURPOSES];
    struct sim_disk *disk;
    uint64_t disk_stalled_until_us;
    struct sim_output standard[3];
    uint16_t last_port; /* given to a listener that asked for any */
    struct peri_list listeners;
    char **variables; /* "NAME=value", ended by NULL */
    size_t variable_count;
    struct sim_node_events events;
    void *data;
    char name[64];
};

static inline struct sim_node *sim_node_cast(struct env *env)
{
    return container_of(env, struct sim_node, base);
}

/* True time for the code that runs on the node: later than the event's by the blocking calls. */
static inline uint64_t sim_node_now_us(const struct sim_node *node)
{
    return node->world->now_us + node->blocked_us;
}

/* True while what the node does has an effect. */
static inline bool sim_node_is_up(const struct sim_node *node)
{
    return (node->state == SIM_NODE_RUNNING || node->state == SIM_NODE_PAUSED) && !node->is_ending;
}

/* Registers a handle; returns its number, for payloads. */
uint64_t sim_node_add_handle(struct sim_node *node, struct sim_handle *handle,
                             void (*end)(struct sim_handle *handle));

/* The true time at which the node's clocks will have counted delay_us more. */
uint64_t sim_clock_due_us(const struct sim_node *node, uint64_t delay_us);

/* Lets a node's clock start. */
void sim_clock_init(struct sim_node *node);

/* Removes and returns the event that is due first and not after until_us, and moves the clock to
 * it; NULL when there is none. */
struct sim_event *sim_event_take(struct sim_world *world, uint64_t until_us);

/* The watchdog's tick for the tickers of a node: what interrupts Lua code. In a signal handler. */
void sim_node_interrupt(struct sim_node *node);

/* Ends a process now. */
void sim_node_end(struct sim_node *node, enum sim_down how);

/* The simulator lacks memory where it cannot say so: the run ends with SIM_END_FAILED. */
void sim_world_fail(struct sim_world *world);

/* "#payload": a describe function. */
void sim_event_describe_number(const struct sim_event *event, char *out, size_t size);

/* ---- work beside the loop ---- */

/* Schedules an event of the node's for when a thread is free to begin what it stands for. */
void sim_work_schedule(struct sim_node *node, struct sim_event *event);

/* Calls run(data) inside event. What its blocking calls wait for passes on a thread of its own, not
 * on the node's loop; when it has passed, event comes again as done. */
void sim_work_run(struct sim_world *world, struct sim_event *event,
                  const struct sim_event_kind *done, void (*run)(void *data), void *data);

/* ---- net ---- */

/* A network without links of their own; its end, once no packet is left. */
void sim_net_init(struct sim_world *world);
void sim_net_deinit(struct sim_world *world);

/* Changes a setting of links. Errors: PERI_ENOMEM. */
int sim_net_set(struct sim_world *world, enum env_fault fault, struct sim_node *from,
                struct sim_node *to, const struct env_fault_value *value);

/* Tells the peers of a process that it ends, unless its machine does. */
void sim_net_end_node(struct sim_node *node, enum sim_down how);

/* ---- disk ---- */

struct sim_disk;
struct sim_inode;

int sim_disk_create(struct sim_disk **out); /* errors: PERI_ENOMEM */
void sim_disk_close(struct sim_disk *disk); /* accepts NULL */

/* A power failure now. */
void sim_disk_crash(struct sim_node *node);

/* Turns over that many bits of files. */
void sim_disk_flip(struct sim_node *node, uint64_t count);

/* Replaces the disk of a node that is not up. Errors: PERI_ENOMEM. */
int sim_disk_wipe(struct sim_node *node);

/* What env_path_stat says. */
void sim_inode_stat(const struct sim_node *node, const struct sim_inode *inode,
                    struct env_stat *out);

/* Is env_stream_standard: refuses. */
int sim_stream_standard(struct env *env, int fd, struct env_stream **out, struct peri_error *err);

/* Frees a node that is not up. */
void sim_node_free(struct sim_node *node);

extern const struct env_ops sim_node_ops;
extern const struct env_clock_ops sim_clock_ops;
extern const struct env_timer_ops sim_timer_ops;
extern const struct env_turn_ops sim_turn_ops;
extern const struct env_work_ops sim_work_ops;
extern const struct env_lane_ops sim_lane_ops;
extern const struct env_ticker_ops sim_ticker_ops;
extern const struct env_signal_ops sim_signal_ops;
extern const struct env_process_ops sim_process_ops;
extern const struct env_self_ops sim_self_ops;
extern const struct env_file_ops sim_file_ops;
extern const struct env_path_ops sim_path_ops;
extern const struct env_conn_ops sim_conn_ops;
extern const struct env_listener_ops sim_listener_ops;

#endif
