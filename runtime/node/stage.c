/* stage.c - receiving snapshots: pieces become a state, the state a file, and then the core hears
 * of it (transfer.c says what travels). */
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

struct staged {
    struct node_group *group;
    struct peri_error err;
    int rc;
};

static void run_stage(void *data)
{
    struct staged *job = data;
    struct node *node = job->group->node;
    job->rc = node_snapshot_write(node->env, node->snapshots_path,
                                  &job->group->snapshots->stage.snapshot, &job->err);
}

static void on_staged(void *data, int status)
{
    struct staged *job = data;
    struct node_group *group = job->group;
    struct node_stage *stage = &group->snapshots->stage;
    struct rpc_call *call = stage->call;
    uint64_t total = stage->total;
    stage->call = NULL;
    if (status == 0 && job->rc == 0 && !group->is_closing && group->raft != NULL) {
        install(group);
        if (call != NULL)
            node_piece_answer(call, total);
    } else if (call != NULL) {
        node_piece_refuse(call, job->rc != 0 ? job->rc : PERI_ECLOSED, "a snapshot");
    }
    node_stage_clear(stage);
    free(job);
    node_group_release(group);
}

static void store_stage(struct node_group *group)
{
    struct node_stage *stage = &group->snapshots->stage;
    struct staged *job = calloc(1, sizeof *job);
    int rc = job == NULL ? PERI_ENOMEM : 0;
    stage->is_writing = true;
    if (rc == 0) {
        job->group = group;
        node_group_hold(group);
        rc = env_work(group->node->env, run_stage, on_staged, job);
        if (rc != 0)
            node_group_release(group);
    }
    if (rc == 0)
        return;
    free(job);
    node_piece_refuse(stage->call, rc, "a snapshot");
    node_stage_clear(stage);
}

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

int node_stage_put(struct node_group *group, struct node_stage *stage,
                   const struct node_stage_piece *piece)
{
    const struct raft_message *message = &piece->message.raft;
    bool is_same = stage->is_set && stage->snapshot.index == message->index &&
                   stage->snapshot.term == message->log_term && stage->hash == piece->hash &&
                   stage->total == piece->total;
    if (!is_same) {
        node_stage_clear(stage);
        stage->is_set = true;
        stage->total = piece->total;
        stage->hash = piece->hash;
        stage->snapshot = (struct node_snapshot){.cluster = group->node->cluster,
                                                 .group = group->id,
                                                 .index = message->index,
                                                 .term = message->log_term};
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
    if (stage->is_writing) {
        if (stage->call != NULL || stage->hash != piece.hash) {
            node_piece_refuse(call, PERI_EBUSY, "another snapshot");
            return;
        }
        call->data = group; /* asked again: this one gets the answer */
        stage->call = call;
        return;
    }
    rc = node_stage_put(group, stage, &piece);
    if (rc == 0 && stage->snapshot.state.size < stage->total) {
        node_piece_answer(call, stage->snapshot.state.size);
        return;
    }
    if (rc != 0) {
        node_stage_clear(stage);
        node_piece_refuse(call, rc, "a snapshot");
        return;
    }
    call->data = group;
    stage->call = call;
    store_stage(group);
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
