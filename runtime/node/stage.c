/* stage.c - receiving snapshots: pieces become a state, the state a file, and then the core hears
 * of it (transfer.c says what travels). What has come is kept on the disk meanwhile, for a start.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "env/log.h"
#include "node/snapshot.h"

enum { ANSWER_SIZE = NODE_ARGS_HEAD + 8 };

void node_stage_clear(struct node_stage *stage)
{
    node_snapshot_deinit(&stage->snapshot);
    *stage = (struct node_stage){.is_set = false};
}

void node_piece_answer(struct rpc_call *call, uint64_t next)
{
    char bytes[ANSWER_SIZE];
    node_args_put_head(bytes, 8);
    bits_put_le64(bytes + NODE_ARGS_HEAD, next);
    rpc_call_reply(call, peri_slice_of(bytes, sizeof bytes));
}

void node_piece_refuse(struct rpc_call *call, int code, const char *why)
{
    struct peri_error err = PERI_ERROR_INIT;
    (void)peri_fail(&err, code, "%s", why);
    rpc_call_fail_code(call, &err);
}

/* The file is there: now the core hears of the snapshot. */
static void install(struct node_group *group)
{
    struct node_stage *stage = &group->snapshots->stage;
    struct raft_configuration members;
    struct peri_slice bytes = peri_buffer_slice(&stage->snapshot.members);
    int rc = node_members_get(bytes, &members, NULL, NULL);
    if (rc == 0)
        rc = node_members_learn(group->node, bytes, NULL);
    struct node_step step = {
        .event = {.type = RAFT_MESSAGE, .message = &stage->message, .configuration = &members}};
    if (rc == 0)
        rc = node_group_step(group, &step);
    if (rc != 0)
        env_log(group->node->env, ENV_LOG_WARN, "node",
                "group %" PRIu64 " refuses snapshot %" PRIu64 ": %s", group->id,
                stage->snapshot.index, peri_strerror(rc));
    node_group_wake(group);
}

/* ---- work on the disk, while no other piece is taken ---- */

struct work {
    struct node_group *group;
    struct peri_buffer found;
    struct peri_error err;
    int rc;
};

static bool goes_on(const struct work *work, int status)
{
    return status == 0 && !work->group->is_closing && work->group->raft != NULL;
}

/* Answers where to go on, when there is still somebody to hear it. */
static void end_work(struct work *work, int status, uint64_t next)
{
    struct node_group *group = work->group;
    struct node_stage *stage = &group->snapshots->stage;
    struct rpc_call *call = stage->call;
    int rc = goes_on(work, status) ? work->rc : work->rc != 0 ? work->rc : PERI_ECLOSED;
    stage->call = NULL;
    stage->is_busy = false;
    if (call != NULL && rc == 0)
        node_piece_answer(call, next);
    else if (call != NULL)
        node_piece_refuse(call, rc, "a snapshot");
    peri_buffer_deinit(&work->found);
    free(work);
    node_group_release(group);
}

/* The call is answered when it has ended. */
static void start_work(struct node_group *group, struct rpc_call *call, void (*run)(void *data),
                       void (*done)(void *data, int status))
{
    struct node_stage *stage = &group->snapshots->stage;
    struct work *work = calloc(1, sizeof *work);
    int rc = work == NULL ? PERI_ENOMEM : 0;
    if (rc == 0) {
        work->group = group;
        node_group_hold(group);
        rc = env_work(group->node->env, run, done, work);
        if (rc != 0)
            node_group_release(group);
    }
    if (rc != 0) {
        free(work);
        node_piece_refuse(call, rc, "a snapshot");
        node_stage_clear(stage);
        return;
    }
    call->data = group;
    stage->call = call;
    stage->is_busy = true;
}

/* All of it is there: a file. */
static void run_store(void *data)
{
    struct work *work = data;
    struct node *node = work->group->node;
    const struct node_stage *stage = &work->group->snapshots->stage;
    work->rc = stage->is_damaged ? PERI_ECORRUPT
                                 : node_snapshot_write(node->env, node->snapshots_path,
                                                       &stage->snapshot, &work->err);
    if (work->rc == 0 || stage->is_damaged) /* else what is kept is of use once more */
        (void)node_part_remove(node->env, node->snapshots_path, work->group->id, NULL);
}

static void on_stored(void *data, int status)
{
    struct work *work = data;
    struct node_stage *stage = &work->group->snapshots->stage;
    uint64_t total = stage->total;
    if (goes_on(work, status) && work->rc == 0)
        install(work->group);
    struct rpc_call *call = stage->call;
    node_stage_clear(stage);
    stage->call = call;
    end_work(work, status, total);
}

/* What came before a start. */
static void run_find(void *data)
{
    struct work *work = data;
    struct node *node = work->group->node;
    (void)node_part_read(node->env, node->snapshots_path, &work->group->snapshots->stage.part,
                         &work->found, &work->err); /* what there is, if anything */
}

static void on_found(void *data, int status)
{
    struct work *work = data;
    struct node_stage *stage = &work->group->snapshots->stage;
    struct peri_buffer *state = &stage->snapshot.state;
    stage->kept = work->found.size;
    if (work->found.size > state->size) {
        struct peri_buffer less = *state;
        *state = work->found;
        work->found = less;
        env_log(work->group->node->env, ENV_LOG_INFO, "node",
                "group %" PRIu64 ": snapshot %" PRIu64 " goes on where it was, at %zu of %" PRIu64
                " bytes",
                work->group->id, stage->snapshot.index, state->size, stage->total);
    }
    end_work(work, status, state->size);
}

/* What has come since. */
static void run_keep(void *data)
{
    struct work *work = data;
    struct node *node = work->group->node;
    struct node_stage *stage = &work->group->snapshots->stage;
    const struct peri_buffer *state = &stage->snapshot.state;
    struct peri_slice block = peri_slice_of(state->data + stage->kept, state->size - stage->kept);
    int rc = node_part_write(node->env, node->snapshots_path, &stage->part, stage->kept, block,
                             &work->err);
    stage->keeps_no_part = rc != 0;
    stage->kept = state->size;
}

static void on_kept(void *data, int status)
{
    struct work *work = data;
    end_work(work, status, work->group->snapshots->stage.snapshot.state.size);
}

/* ---- pieces ---- */

int node_piece_open(struct node *node, struct peri_slice args, struct node_message *message,
                    struct peri_slice *rest, struct peri_error *err)
{
    struct node_envelope envelope;
    int rc = node_envelope_take(node, args, "a snapshot", &envelope, err);
    if (rc != 0)
        return rc;
    rc = node_envelope_next(&envelope, message, err);
    if (rc < 0)
        return rc;
    if (rc == 0 || message->raft.type != RAFT_INSTALL_SNAPSHOT)
        return peri_fail_plain(err, PERI_EFORMAT, "a piece of no snapshot");
    *rest = peri_slice_of(envelope.at, (size_t)(envelope.end - envelope.at));
    return 0;
}

int node_stage_read(struct node *node, struct peri_slice args, struct node_stage_piece *out,
                    struct peri_error *err)
{
    struct peri_slice rest = {NULL, 0};
    int rc = node_piece_open(node, args, &out->message, &rest, err);
    if (rc != 0)
        return rc;
    const char *at = rest.data;
    size_t left = rest.size;
    if (left < NODE_PIECE_HEAD)
        return peri_fail_plain(err, PERI_EFORMAT, "a piece of no snapshot");
    out->total = bits_get_le64(at);
    out->offset = bits_get_le64(at + 8);
    out->hash = bits_get_le64(at + 16);
    uint32_t members = bits_get_le32(at + 24);
    left -= NODE_PIECE_HEAD;
    if (members > left || out->offset > out->total || left - members > out->total - out->offset)
        return peri_fail_plain(err, PERI_EFORMAT, "a piece that does not fit its snapshot");
    out->members = peri_slice_of(at + NODE_PIECE_HEAD, members);
    out->state = peri_slice_of(at + NODE_PIECE_HEAD + members, left - members);
    return 0;
}

static bool is_of(const struct node_stage *stage, const struct node_stage_piece *piece)
{
    const struct raft_message *message = &piece->message.raft;
    return stage->is_set && stage->snapshot.index == message->index &&
           stage->snapshot.term == message->log_term && stage->hash == piece->hash &&
           stage->total == piece->total;
}

int node_stage_put(struct node_group *group, struct node_stage *stage,
                   const struct node_stage_piece *piece)
{
    const struct raft_message *message = &piece->message.raft;
    if (!is_of(stage, piece)) {
        node_stage_clear(stage);
        stage->is_set = true;
        stage->total = piece->total;
        stage->hash = piece->hash;
        stage->snapshot = (struct node_snapshot){.cluster = group->node->cluster,
                                                 .group = group->id,
                                                 .index = message->index,
                                                 .term = message->log_term};
        stage->part = (struct node_part){.cluster = group->node->cluster,
                                         .group = group->id,
                                         .index = message->index,
                                         .term = message->log_term,
                                         .total = piece->total,
                                         .hash = piece->hash};
        int rc =
            peri_buffer_append(&stage->snapshot.members, piece->members.data, piece->members.size);
        if (rc != 0)
            return rc;
    }
    stage->message = *message;
    if (piece->offset != stage->snapshot.state.size)
        return 0; /* the answer says where to go on */
    if (peri_buffer_append(&stage->snapshot.state, piece->state.data, piece->state.size) != 0)
        return PERI_ENOMEM;
    const struct peri_slice state = peri_buffer_slice(&stage->snapshot.state);
    return state.size == stage->total && node_snapshot_hash(state) != stage->hash ? PERI_ECORRUPT
                                                                                  : 0;
}

void node_stage_confirm(struct node_group *group, const struct raft_message *message)
{
    struct raft_configuration members =
        *raft_members(group->raft); /* not those: none is installed */
    struct node_step step = {
        .event = {.type = RAFT_MESSAGE, .message = message, .configuration = &members}};
    (void)node_group_step(group, &step); /* a message of an old term is answered as such */
    node_group_wake(group);
}

static void take(struct node_group *group, struct rpc_call *call,
                 const struct node_stage_piece *piece)
{
    struct node_stage *stage = &group->snapshots->stage;
    const struct peri_buffer *state = &stage->snapshot.state;
    bool is_first = !is_of(stage, piece);
    int rc = node_stage_put(group, stage, piece);
    stage->is_damaged = rc == PERI_ECORRUPT;
    if (rc != 0 && !stage->is_damaged) {
        node_stage_clear(stage);
        node_piece_refuse(call, rc, "a snapshot");
    } else if (state->size == stage->total) {
        start_work(group, call, run_store, on_stored);
    } else if (is_first && stage->total > NODE_PART_BYTES) {
        start_work(group, call, run_find, on_found);
    } else if (!stage->keeps_no_part && state->size - stage->kept >= NODE_PART_BYTES) {
        start_work(group, call, run_keep, on_kept);
    } else {
        node_piece_answer(call, state->size);
    }
}

void node_snapshots_on_call(struct rpc_call *call)
{
    struct node *node = call->handler->data;
    struct peri_error err = PERI_ERROR_INIT;
    struct node_stage_piece piece = {.total = 0};
    int rc = node_stage_read(node, call->args, &piece, &err);
    if (rc != 0) {
        rpc_call_fail_code(call, &err);
        return;
    }
    struct node_group *group = node_group_find(node, piece.message.group);
    if (group == NULL || group->raft == NULL || node->is_closing ||
        !node_repair_hears(group, &piece.message.raft)) {
        node_piece_refuse(call, PERI_ECLOSED, "the group is not open here");
        return;
    }
    if (group->keys != NULL) {
        node_piece_refuse(call, PERI_EINVAL, "a machine that keeps keys takes no states");
        return;
    }
    struct node_stage *stage = &group->snapshots->stage;
    struct raft_status status;
    raft_status(group->raft, &status);
    if (status.commit_index >= piece.message.raft.index) {
        node_stage_confirm(group, &piece.message.raft);
        node_piece_answer(call, piece.total);
        return;
    }
    if (piece.total > node->options.snapshot_max_bytes) {
        node_piece_refuse(call, PERI_ETOOBIG, "a snapshot");
        return;
    }
    if (stage->is_busy) {
        if (stage->call != NULL || stage->hash != piece.hash) {
            node_piece_refuse(call, PERI_EBUSY, "another snapshot");
            return;
        }
        call->data = group; /* asked again: this one gets the answer */
        stage->call = call;
        return;
    }
    take(group, call, &piece);
}

void node_snapshots_on_cancel(struct rpc_call *call, int code, const char *reason)
{
    struct node_group *group = call->data;
    (void)code;
    (void)reason;
    group->snapshots->stage.call = NULL; /* it is installed all the same */
}

void node_stage_abandon(struct node_stage *stage)
{
    struct rpc_call *call = stage->call;
    stage->call = NULL;
    if (call != NULL)
        node_piece_refuse(call, PERI_ECLOSED, "the group was closed");
}
