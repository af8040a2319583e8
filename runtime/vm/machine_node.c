#include "vm/machine_node.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/list.h"

struct vm_machine_node {
    struct node_machine node;
    struct vm_machine *machine;
    struct env_turn *turn;  /* runs while a job goes on in slices */
    struct node_task *task; /* under way, or NULL */
    struct vm_machine_job job;

    struct env *env;
    struct peri_buffer snapshot; /* that another thread makes */
    struct peri_error snapshot_err;
    int snapshot_status;
    bool is_making, is_closed; /* both: it is freed when that is done */
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
    vm_machine_close(host->machine);
    peri_buffer_deinit(&host->snapshot);
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
    go_on(host, vm_machine_start(host->machine, &host->job));
}

static void on_apply(struct node_machine *node, struct node_task *task)
{
    start(node, task, VM_MACHINE_APPLY);
}

static void on_query(struct node_machine *node, struct node_task *task)
{
    start(node, task, VM_MACHINE_QUERY);
}

/* ---- snapshots: on another thread, too ---- */

static void run_snapshot(void *data)
{
    struct vm_machine_node *host = data;
    host->snapshot_status =
        vm_machine_snapshot_make(host->machine, &host->snapshot, &host->snapshot_err);
}

static void on_made(void *data, int status)
{
    struct vm_machine_node *host = data;
    struct node_task *task = host->task;
    host->is_making = false;
    vm_machine_snapshot_end(host->machine);
    if (host->is_closed) {
        free_host(host);
        return;
    }
    host->task = NULL;
    if (status == 0)
        status = host->snapshot_status;
    if (status == 0) {
        peri_buffer_deinit(&task->output);
        task->output = host->snapshot;
    } else {
        task->err = host->snapshot_err;
        peri_buffer_deinit(&host->snapshot);
    }
    host->snapshot = (struct peri_buffer){NULL, 0, 0};
    node_task_done(task, status);
}

static void on_snapshot(struct node_machine *node, struct node_task *task)
{
    struct vm_machine_node *host = container_of(node, struct vm_machine_node, node);
    PERI_ASSERT(host->task == NULL);
    if (!vm_machine_snapshot_begin(host->machine)) {
        start(node, task, VM_MACHINE_SNAPSHOT);
        return;
    }
    host->task = task;
    peri_error_clear(&host->snapshot_err);
    int rc = env_work(host->env, run_snapshot, on_made, host);
    host->is_making = rc == 0;
    if (rc == 0)
        return;
    host->task = NULL;
    vm_machine_snapshot_end(host->machine);
    node_task_done(task, rc);
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
    host->is_closed = true;
    if (!host->is_making)
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
