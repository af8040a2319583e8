/* intake.c - receiving the snapshots of machines that keep keys: chunks go straight into the state
 * store, under a new epoch; when the last one is durable the core hears of it, and when its record
 * is, one flip makes the new epoch the state (stream.c says what travels). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/compare.h"
#include "node/rounds.h"
#include "node/snapshot.h"
#include "store/snapshot.h"

struct node_intake {
    struct node_group *group;
    struct node_rounds_job job; /* takes a chunk, or flips */
    struct store_applied of;    /* the state that it takes the place of, as of the job */
    struct store_sink *sink;
    uint64_t index, term; /* of the sink */
    struct raft_message message;
    struct peri_buffer chunk;
    struct rpc_call *call;       /* that waits for the job */
    struct store_applied staged; /* when it is complete */
    struct peri_buffer extra;
    uint64_t position;
    bool is_busy;     /* the job is under way */
    bool is_accepted; /* by the core; not the state yet */
    bool is_rebuild;  /* the core hears nothing of it: its log is right (rebuild.c) */
};

/* ---- chunks ---- */

/* A chunk that is damaged, or not the next one, is asked for again: the answer is where to go on.
 */
static bool is_asked_again(int rc)
{
    return rc == PERI_EFORMAT || rc == PERI_EINVAL;
}

static int take_chunk(struct node_intake *intake, struct store_state *state, struct peri_error *err)
{
    const struct raft_message *message = &intake->message;
    struct peri_slice chunk = peri_buffer_slice(&intake->chunk);
    uint64_t group = intake->group->id;
    bool is_complete = false;
    int rc = 0;
    if (intake->sink != NULL &&
        (intake->index != message->index || intake->term != message->log_term)) {
        store_sink_close(intake->sink);
        intake->sink = NULL;
    }
    if (intake->sink == NULL)
        rc = store_sink_open(&intake->sink, state, &intake->of, message->index, message->log_term,
                             err);
    if (rc != 0)
        return rc;
    intake->index = message->index;
    intake->term = message->log_term;
    if (chunk.size > 0)
        rc = store_sink_write(intake->sink, chunk, err);
    if (rc != 0 && !is_asked_again(rc))
        return rc;
    intake->position = store_sink_position(intake->sink);
    if (intake->position != UINT64_MAX)
        return 0;
    rc = store_sink_finish(intake->sink, err);
    if (rc == 0)
        rc = store_state_staged(state, group, &intake->staged, &is_complete, &intake->extra, err);
    return rc == 1
               ? 0
               : peri_fail(err, rc < 0 ? rc : PERI_ECORRUPT, "snapshot of group %" PRIu64, group);
}

static void run_chunk(struct node_rounds_job *job, struct store_state *state)
{
    struct node_intake *intake = container_of(job, struct node_intake, job);
    job->rc = take_chunk(intake, state, &job->err);
}

/* All of it is here: now the core hears of the snapshot. */
static void tell_core(struct node_intake *intake)
{
    struct node_group *group = intake->group;
    struct node_step step = {.event = {.type = RAFT_MESSAGE,
                                       .message = &intake->message,
                                       .configuration = &intake->staged.members}};
    int rc = node_members_learn(group->node, intake->staged.extra, NULL);
    if (rc == 0)
        rc = node_group_step(group, &step);
    if (rc != 0)
        env_log(group->node->env, ENV_LOG_WARN, "node",
                "group %" PRIu64 " refuses snapshot %" PRIu64 ": %s", group->id, intake->index,
                peri_strerror(rc));
    node_group_wake(group);
}

static void complete(struct node_intake *intake)
{
    struct node_group *group = intake->group;
    if (!intake->is_rebuild) {
        tell_core(intake);
    } else if (node_rebuild_judge(group, intake->index) == 0) {
        intake->is_accepted = true;
        node_rebuild_staged(group, intake->index, intake->term);
    }
}

static void on_chunk(struct node_rounds_job *job, int status)
{
    struct node_intake *intake = container_of(job, struct node_intake, job);
    struct node_group *group = intake->group;
    struct rpc_call *call = intake->call;
    int rc = status != 0 ? status : job->rc;
    bool is_alive = !group->is_closing && group->raft != NULL;
    intake->call = NULL;
    intake->is_busy = false;
    if (status == 0 && rc != 0 && is_alive)
        node_rounds_fail(group->node->rounds, job);
    if (rc == 0 && is_alive) {
        node_rounds_wrote(group->node->rounds, intake->chunk.size);
        if (intake->position == UINT64_MAX)
            complete(intake);
    }
    if (call != NULL && rc == 0 && is_alive)
        node_piece_answer(call, intake->position);
    else if (call != NULL)
        node_piece_refuse(call, rc != 0 ? rc : PERI_ECLOSED, "a snapshot");
    node_group_release(group);
}

static struct node_intake *intake_of(struct node_group *group)
{
    struct node_keys *keys = group->keys;
    if (keys->intake == NULL) {
        keys->intake = calloc(1, sizeof *keys->intake);
        if (keys->intake != NULL)
            keys->intake->group = group;
    }
    return keys->intake;
}

/* The same question again, while the answer is on its way: the newer call gets it. */
static void wait_too(struct node_intake *intake, struct rpc_call *call,
                     const struct raft_message *message)
{
    if (intake->is_accepted || intake->message.index != message->index ||
        intake->message.log_term != message->log_term) {
        node_piece_refuse(call, PERI_EBUSY, "another snapshot");
        return;
    }
    if (intake->call != NULL)
        node_piece_refuse(intake->call, PERI_EBUSY, "it was asked again");
    call->data = intake->group;
    intake->call = call;
}

static void take(struct node_group *group, struct rpc_call *call,
                 const struct raft_message *message, struct peri_slice chunk, bool is_rebuild)
{
    struct node_intake *intake = intake_of(group);
    int rc = intake == NULL ? PERI_ENOMEM : 0;
    if (rc == 0 && (intake->is_busy || intake->is_accepted)) {
        wait_too(intake, call, message);
        return;
    }
    if (rc == 0) {
        intake->chunk.size = 0;
        rc = peri_buffer_append(&intake->chunk, chunk.data, chunk.size);
    }
    if (rc != 0) {
        node_piece_refuse(call, rc, "a snapshot");
        return;
    }
    intake->message = *message;
    intake->is_rebuild = is_rebuild;
    intake->of = group->keys->applied;
    intake->of.extra = peri_slice_of(NULL, 0);
    intake->is_busy = true;
    intake->call = call;
    call->data = group;
    intake->job = (struct node_rounds_job){.run = run_chunk, .done = on_chunk};
    node_group_hold(group);
    node_rounds_add(group->node->rounds, &intake->job);
}

/* Opens a chunk: the group that it is for; NULL when that was answered. */
static struct node_group *open_chunk(struct rpc_call *call, struct node_message *message,
                                     struct peri_slice *chunk)
{
    struct node *node = call->handler->data;
    struct peri_error err = PERI_ERROR_INIT;
    if (node_piece_open(node, call->args, message, chunk, &err) != 0) {
        rpc_call_fail_code(call, &err);
        return NULL;
    }
    struct node_group *group = node_group_find(node, message->group);
    if (group == NULL || group->raft == NULL || node->is_closing ||
        !node_repair_hears(group, &message->raft)) {
        node_piece_refuse(call, PERI_ECLOSED, "the group is not open here");
        return NULL;
    }
    if (group->keys == NULL) {
        node_piece_refuse(call, PERI_EINVAL, "a machine in memory takes no chunks");
        return NULL;
    }
    return group;
}

void node_intake_on_state(struct rpc_call *call)
{
    struct node_message message;
    struct peri_slice chunk = {NULL, 0};
    struct node_group *group = open_chunk(call, &message, &chunk);
    if (group == NULL)
        return;
    int rc = node_rebuild_judge(group, message.raft.index);
    if (rc != 0) {
        node_piece_refuse(call, rc, "no such state is wanted");
        return;
    }
    node_rebuild_wait(group);
    take(group, call, &message.raft, chunk, true);
}

void node_intake_on_call(struct rpc_call *call)
{
    struct node_message message;
    struct peri_slice chunk = {NULL, 0};
    struct node_group *group = open_chunk(call, &message, &chunk);
    struct raft_status status;
    if (group == NULL)
        return;
    raft_status(group->raft, &status);
    if (status.commit_index >= message.raft.index) {
        node_stage_confirm(group, &message.raft);
        node_piece_answer(call, UINT64_MAX);
    } else {
        take(group, call, &message.raft, chunk, false);
    }
}

void node_intake_on_cancel(struct rpc_call *call, int code, const char *reason)
{
    struct node_group *group = call->data;
    (void)code;
    (void)reason;
    group->keys->intake->call = NULL; /* the chunk is taken all the same */
}

/* ---- the flip ---- */

void node_intake_accept(struct node_keys *keys)
{
    keys->intake->is_accepted = true;
}

static void tell_machine(struct node_group *group)
{
    if (group->machine->restore != NULL)
        group->machine->restore(group->machine, &group->task);
    else
        node_task_done(&group->task, 0);
}

static void run_flip(struct node_rounds_job *job, struct store_state *state)
{
    struct node_intake *intake = container_of(job, struct node_intake, job);
    uint64_t group = intake->group->id;
    job->rc = store_state_install(state, group, &job->err);
    if (job->rc == -ENOENT && job->is_again)
        job->rc = 0; /* it was done, and durable once the store was open again */
    if (job->rc != 0)
        return;
    peri_error_clear(&job->err);
    int rc = store_state_applied(state, NULL, group, &intake->staged, &intake->extra, &job->err);
    job->rc = rc == 1 ? 0 : rc == 0 ? PERI_ECORRUPT : rc;
}

static void on_flipped(struct node_rounds_job *job, int status)
{
    struct node_intake *intake = container_of(job, struct node_intake, job);
    struct node_group *group = intake->group;
    bool is_alive = status == 0 && !group->is_closing && group->raft != NULL;
    if (is_alive && job->rc == 0)
        job->rc = node_keys_reset(group->keys, &intake->staged);
    store_sink_close(intake->sink);
    intake->sink = NULL;
    intake->is_busy = intake->is_accepted = false;
    if (is_alive && job->rc != 0) {
        node_rounds_fail(group->node->rounds, job);
        node_task_done(&group->task, job->rc);
    } else if (is_alive) {
        node_rounds_collect(group->node->rounds);
        tell_machine(group);
    }
    node_group_release(group);
}

void node_intake_restore(struct node_group *group)
{
    struct node_intake *intake = group->keys->intake;
    if (intake == NULL || !intake->is_accepted) { /* a start */
        tell_machine(group);
        return;
    }
    intake->is_busy = true;
    intake->job = (struct node_rounds_job){.run = run_flip, .done = on_flipped};
    node_group_hold(group);
    node_rounds_add(group->node->rounds, &intake->job);
}

/* ---- the end ---- */

void node_intake_abandon(struct node_keys *keys)
{
    struct rpc_call *call = keys->intake != NULL ? keys->intake->call : NULL;
    if (call == NULL)
        return;
    keys->intake->call = NULL;
    node_piece_refuse(call, PERI_ECLOSED, "the group was closed");
}

void node_intake_free(struct node_keys *keys)
{
    struct node_intake *intake = keys->intake;
    if (intake == NULL)
        return;
    store_sink_close(intake->sink);
    peri_buffer_deinit(&intake->chunk);
    peri_buffer_deinit(&intake->extra);
    free(intake);
    keys->intake = NULL;
}
