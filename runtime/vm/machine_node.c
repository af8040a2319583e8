#include "vm/machine_node.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/list.h"
#include "vm/machine_shot.h"

/* A piece of a snapshot: some tenths of a millisecond when a command waits, else some tens of
 * milliseconds. */
enum { PIECE_LEAST = 256, PIECE_MOST = 65536 };

struct vm_machine_node {
    struct node_machine node;
    struct vm_machine *machine;
    struct env_turn *turn;  /* runs while a job goes on in slices */
    struct node_task *task; /* under way, or NULL */
    struct vm_machine_job job;

    struct env *env;
    bool is_making, is_closed; /* a job's work on another thread; both: it is freed after that */

    struct node_task *shot;  /* the snapshot that is written piece by piece, or NULL */
    struct env_lane *lane;   /* where; NULL before the first */
    struct env_turn *pieces; /* runs when the next piece may come */
    struct peri_error shot_err;
    int shot_end;          /* of the last piece */
    atomic_bool is_wanted; /* a job waits for the piece's end */
    bool is_walking;       /* the lane has the machine; the job, if there is one, has not begun */
    bool is_sorting;       /* the lane has the snapshot's keys */
};

static void end(struct vm_machine_node *host)
{
    struct node_task *task = host->task;
    host->task = NULL;
    if (vm_machine_is_broken(host->machine))
        node_task_broken(task, host->job.status);
    else
        node_task_done(task, host->job.status);
}

static void free_host(struct vm_machine_node *host)
{
    env_lane_close(host->lane);
    vm_machine_close(host->machine);
    free(host);
}

static void start_work(struct vm_machine_node *host);

/* The job has come so far: it has ended, waits for a read or for work on another thread, or goes on
 * with the next turn. */
static void go_on(struct vm_machine_node *host, bool is_over)
{
    bool has_work = !is_over && vm_machine_has_work(host->machine);
    if (is_over || has_work || vm_machine_is_waiting(host->machine))
        env_turn_stop(host->turn);
    else
        env_turn_start(host->turn);
    if (has_work)
        start_work(host);
    if (is_over)
        end(host);
}

static void run_work(void *data)
{
    const struct vm_machine_node *host = data;
    vm_machine_work(host->machine);
}

static void on_worked(void *data, int status)
{
    struct vm_machine_node *host = data;
    host->is_making = false;
    if (host->is_closed)
        free_host(host);
    else if (status == 0) /* else the environment closes */
        go_on(host, vm_machine_continue(host->machine));
}

/* A large state must not hold up the loop, which has heartbeats to send. */
static void start_work(struct vm_machine_node *host)
{
    host->is_making = env_work(host->env, run_work, on_worked, host) == 0;
    if (host->is_making)
        return;
    vm_machine_work(host->machine); /* without memory for another thread */
    go_on(host, vm_machine_continue(host->machine));
}

static void begin(struct vm_machine_node *host)
{
    go_on(host, vm_machine_start(host->machine, &host->job));
}

static void on_turn(void *data)
{
    struct vm_machine_node *host = data;
    go_on(host, vm_machine_continue(host->machine));
}

static void start(struct node_machine *node, struct node_task *task, enum vm_machine_kind kind)
{
    struct vm_machine_node *host = container_of(node, struct vm_machine_node, node);
    PERI_ASSERT(host->task == NULL);
    host->task = task;
    host->job = (struct vm_machine_job){.kind = kind,
                                        .index = task->index,
                                        .input = task->input,
                                        .keys = task->keys,
                                        .output = &task->output,
                                        .err = &task->err};
    if (host->is_walking)
        atomic_store(&host->is_wanted, true); /* it begins when the piece has ended */
    else
        begin(host);
}

static void on_apply(struct node_machine *node, struct node_task *task)
{
    start(node, task, VM_MACHINE_APPLY);
}

static void on_query(struct node_machine *node, struct node_task *task)
{
    start(node, task, VM_MACHINE_QUERY);
}

/* ---- snapshots: in pieces, on another thread ---- */

static void end_shot(struct vm_machine_node *host, int status)
{
    struct node_task *task = host->shot;
    host->shot = NULL;
    env_turn_stop(host->pieces);
    if (status < 0)
        task->err = host->shot_err;
    vm_machine_snapshot_end(host->machine, status < 0 ? NULL : &task->output);
    node_task_done(task, status < 0 ? status : 0);
}

static void run_walk(void *data)
{
    struct vm_machine_node *host = data;
    const struct vm_shot_pace pace = {PIECE_LEAST, PIECE_MOST, &host->is_wanted};
    host->shot_end = vm_machine_snapshot_walk(host->machine, &pace, &host->shot_err);
}

static void run_sort(void *data)
{
    const struct vm_machine_node *host = data;
    vm_machine_snapshot_sort(host->machine);
}

static void on_sorted(void *data, int status)
{
    struct vm_machine_node *host = data;
    host->is_sorting = false;
    if (host->is_closed)
        free_host(host);
    else if (status == 0) /* else the environment closes */
        env_turn_start(host->pieces);
}

static void on_walked(void *data, int status)
{
    struct vm_machine_node *host = data;
    bool is_over = host->shot_end < 0 || host->shot_end == VM_SHOT_DONE;
    host->is_walking = false;
    vm_machine_take_back(host->machine);
    if (host->is_closed) {
        free_host(host);
        return;
    }
    if (status != 0)
        return; /* the environment closes */
    if (host->shot_end == VM_SHOT_SORT)
        host->is_sorting = env_lane_work(host->lane, run_sort, on_sorted, host) == 0;
    if (host->shot_end == VM_SHOT_SORT && !host->is_sorting)
        vm_machine_snapshot_sort(host->machine); /* without memory for another thread */
    if (!host->is_sorting)
        env_turn_start(host->pieces);
    if (host->task != NULL)
        begin(host); /* that has waited; a snapshot that is over ends with the next turn */
    else if (is_over)
        end_shot(host, host->shot_end);
}

/* Lets a job that goes on in slices come to its end. */
static void on_pieces(void *data)
{
    struct vm_machine_node *host = data;
    if (host->shot_end < 0 || host->shot_end == VM_SHOT_DONE) {
        end_shot(host, host->shot_end);
        return;
    }
    if (host->task != NULL)
        return;
    env_turn_stop(host->pieces);
    atomic_store(&host->is_wanted, false);
    vm_machine_lend(host->machine);
    int rc = env_lane_work(host->lane, run_walk, on_walked, host);
    host->is_walking = rc == 0;
    if (rc == 0)
        return;
    vm_machine_take_back(host->machine);
    end_shot(host, peri_fail(&host->shot_err, rc, "a snapshot"));
}

static void on_snapshot(struct node_machine *node, struct node_task *task)
{
    struct vm_machine_node *host = container_of(node, struct vm_machine_node, node);
    PERI_ASSERT(host->task == NULL && host->shot == NULL);
    int rc = host->lane != NULL ? 0 : env_lane_create(host->env, &host->lane);
    if (rc != 0) {
        node_task_done(task, rc);
        return;
    }
    rc = vm_machine_snapshot_begin(host->machine, &task->err);
    node->snapshots_beside = rc == 1;
    if (rc == 0) {
        start(node, task, VM_MACHINE_SNAPSHOT);
    } else if (rc < 0) {
        node_task_done(task, rc);
    } else {
        host->shot = task;
        host->shot_end = VM_SHOT_MORE;
        peri_error_clear(&host->shot_err);
        env_turn_start(host->pieces);
    }
}

static void on_restore(struct node_machine *node, struct node_task *task)
{
    start(node, task, VM_MACHINE_RESTORE);
}

static bool on_hash_at(struct node_machine *node, uint64_t index, uint64_t *hash)
{
    const struct vm_machine_node *host = container_of(node, struct vm_machine_node, node);
    return vm_machine_hash_at(host->machine, index, hash);
}

/* The state of the beginning. */
static int init(struct vm_machine *machine, struct peri_error *err)
{
    struct peri_buffer nothing = {NULL, 0, 0};
    struct vm_machine_job job = {.kind = VM_MACHINE_INIT, .output = &nothing, .err = err};
    bool is_over = vm_machine_start(machine, &job);
    while (!is_over)
        is_over = vm_machine_continue(machine);
    peri_buffer_deinit(&nothing);
    return job.status;
}

int vm_machine_node_create(struct vm_machine_node **out, const struct vm_machine_options *options,
                           struct peri_slice text, const char *name, struct peri_error *err)
{
    struct vm_machine_node *host = calloc(1, sizeof *host);
    if (host == NULL)
        return peri_fail(err, PERI_ENOMEM, "machine %s", name);
    host->node = (struct node_machine){.apply = on_apply,
                                       .query = on_query,
                                       .snapshot = on_snapshot,
                                       .restore = on_restore,
                                       .hash_at = on_hash_at};
    host->env = options->env;
    struct vm_machine_options own = *options;
    own.on_read = on_turn;
    own.on_read_data = host;
    int rc = env_turn_create(options->env, on_turn, host, &host->turn);
    if (rc == 0)
        rc = env_turn_create(options->env, on_pieces, host, &host->pieces);
    if (rc != 0)
        (void)peri_fail(err, rc, "machine %s", name);
    if (rc == 0)
        rc = vm_machine_create(&host->machine, &own, text, name, err);
    if (rc == 0)
        rc = init(host->machine, err);
    if (rc != 0) {
        vm_machine_node_close(host);
        return rc;
    }
    host->node.keeps_keys = host->node.keeps_failures = vm_machine_is_stored(host->machine);
    *out = host;
    return 0;
}

void vm_machine_node_close(struct vm_machine_node *host)
{
    if (host == NULL)
        return;
    env_turn_close(host->turn);
    env_turn_close(host->pieces);
    host->is_closed = true;
    if (!host->is_making && !host->is_walking && !host->is_sorting)
        free_host(host);
}

struct node_machine *vm_machine_node_of(struct vm_machine_node *host)
{
    return &host->node;
}

struct vm_machine *vm_machine_node_machine(struct vm_machine_node *host)
{
    return host->machine;
}
