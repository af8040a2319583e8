/* rebuild.c - a replica whose machine has another state than a majority: it is set aside, and gets
 * the state of one of them.
 *
 * That state stands at an entry which this replica may not have yet: it waits until the log here is
 * committed so far, so that nothing can come in its place. Entries up to there are passed over;
 * what comes behind is applied as ever (apply.c). A snapshot that a leader sends meanwhile, because
 * this replica has fallen behind its log, serves as well. Nothing on this replica's disk is relied
 * on: its own snapshots may hold the wrong state, so another one is taken at once. */
#include <inttypes.h>

#include "base/bits.h"
#include "env/log.h"
#include "node/compare.h"

enum { FETCH_PERIODS = 1, STATE_QUESTION_SIZE = 8 };

/* ---- set aside ---- */

bool node_compare_is_quarantined(const struct node_group *group)
{
    return group->compare != NULL && group->compare->phase != NODE_SOUND;
}

int node_compare_fail(const struct node_group *group, struct peri_error *err)
{
    return peri_fail_plain(err, PERI_EDIVERGED,
                           "group %" PRIu64 ": the machine of node %" PRIu64
                           " has another state than a majority since entry %" PRIu64
                           " or before; it is being rebuilt",
                           group->id, group->node->options.id, group->compare->high);
}

static uint32_t priority_of(const struct node_group *group)
{
    struct raft_status status;
    raft_status(group->raft, &status);
    return status.priority;
}

void node_rebuild_begin(struct node_compare *compare, uint64_t low, uint64_t high, uint64_t good)
{
    struct node_group *group = compare->group;
    env_log(group->node->env, ENV_LOG_ERROR, "node",
            "group %" PRIu64 ": behind entry %" PRIu64
            " the machine of this replica has another state than a majority; it is quarantined",
            group->id, high);
    compare->phase = NODE_SEARCHING;
    compare->low = low;
    compare->high = high;
    compare->good = good;
    compare->fetch_us = 0;
    compare->priority = priority_of(group);
    (void)node_group_set_priority(group, 0, NULL); /* a fenced core does not lead anyway */
}

void node_rebuild_found(struct node_compare *compare)
{
    struct node_group *group = compare->group;
    bool is_exact = compare->low != 0 && compare->high == compare->low + 1;
    compare->phase = NODE_FETCHING;
    env_log(group->node->env, ENV_LOG_ERROR, "node",
            "group %" PRIu64 ": the first entry behind which the states differ is %s%" PRIu64
            "; the state comes from node %" PRIu64,
            group->id, is_exact ? "" : "at most ", compare->high, compare->good);
    node_tell(group->node, &(struct node_event){.type = NODE_DIVERGED,
                                                .group = group->id,
                                                .index = compare->high,
                                                .peer = group->node->options.id});
}

/* ---- asking for the state ---- */

/* The next one who had the hash of a majority. */
static void choose_next(struct node_compare *compare)
{
    size_t at = 0;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (compare->others[i].id == compare->good)
            at = i;
    for (size_t i = 1; i <= RAFT_MEMBERS_MAX; i++) {
        const struct node_compared *other = &compare->others[(at + i) % RAFT_MEMBERS_MAX];
        if (other->id != 0 && other->is_good) {
            compare->good = other->id;
            return;
        }
    }
}

static void on_fetched(struct rpc_request *request, const struct rpc_result *result)
{
    struct node_compare *compare = container_of(request, struct node_compare, fetch);
    compare->is_fetching = false;
    if (result->code != 0)
        choose_next(compare);
}

static void fetch(struct node_compare *compare)
{
    struct node_group *group = compare->group;
    struct node *node = group->node;
    struct node_peer *peer = node_peer_find(node, compare->good);
    struct rpc_client *client = peer != NULL ? node_peer_client(peer) : NULL;
    char index[STATE_QUESTION_SIZE];
    bits_put_le64(index, group->applied_index);
    if (client == NULL ||
        node_compare_begin_args(group, compare->good, &compare->fetch_args) != 0 ||
        peri_buffer_append(&compare->fetch_args, index, sizeof index) != 0)
        return; /* the next time */
    node_args_put_head(compare->fetch_args.data, compare->fetch_args.size - NODE_ARGS_HEAD);
    compare->fetch =
        (struct rpc_request){.name = peri_slice_of("raft.state", strlen("raft.state")),
                             .due_us = env_now_us(node->env) + node->options.raft.election_max_us,
                             .on_done = on_fetched};
    compare->is_fetching =
        rpc_client_call(client, &compare->fetch, peri_buffer_slice(&compare->fetch_args), false,
                        NULL) == 0;
}

void node_rebuild_on_time(struct node_compare *compare, uint64_t now_us)
{
    if (compare->phase != NODE_FETCHING || compare->has_state || compare->is_fetching ||
        now_us < compare->fetch_us)
        return;
    compare->fetch_us = now_us + FETCH_PERIODS * (uint64_t)COMPARE_PERIOD_US;
    fetch(compare);
}

void node_rebuild_close(struct node_compare *compare)
{
    if (compare->is_fetching)
        rpc_request_cancel(&compare->fetch, "the group was closed");
    peri_buffer_deinit(&compare->fetch_args);
    node_stage_clear(&compare->stage);
}

/* ---- giving it ---- */

/* Sends the newest snapshot to the node, or has one taken that is new enough. */
static int give(struct node_group *group, uint64_t to, uint64_t index, struct peri_error *err)
{
    const struct node_snapshots *snapshots = group->snapshots;
    struct raft_status status;
    raft_status(group->raft, &status);
    const struct raft_message message = {.type = RAFT_INSTALL_SNAPSHOT,
                                         .from = group->node->options.id,
                                         .to = to,
                                         .term = status.term,
                                         .index = group->keys != NULL ? index : snapshots->index,
                                         .log_term = snapshots->term};
    if (node_compare_is_quarantined(group))
        return node_compare_fail(group, err);
    if (group->keys != NULL) {
        if (group->applied_index >= index && !node_streams_to(group, to))
            node_stream_start(group, &message, "raft.chunk_of_state");
        return 0;
    }
    if (node_transfers_to(snapshots, to) || snapshots->is_writing)
        return 0; /* it comes */
    if (snapshots->index >= index && snapshots->index > 0 && !snapshots->is_damaged)
        node_transfer_start(group, &message, "raft.rebuild");
    else if (group->applied_index >= index)
        (void)node_group_snapshot(group, NULL); /* one that is under way serves, too */
    return 0;
}

void node_rebuild_on_state_call(struct rpc_call *call)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice rest = {NULL, 0};
    uint64_t from = 0;
    struct node_group *group = node_compare_open_args(call, &rest, &from, &err);
    if (group != NULL && rest.size != STATE_QUESTION_SIZE)
        (void)peri_fail_plain(&err, PERI_EFORMAT, "a malformed question for a state");
    if (group != NULL && err.code == 0)
        (void)give(group, from, bits_get_le64(rest.data), &err);
    if (err.code == 0)
        rpc_call_reply(call, peri_slice_of("\x90", 1));
    else
        rpc_call_fail_code(call, &err);
}

/* ---- taking it ---- */

void node_rebuild_on_piece(struct rpc_call *call)
{
    struct node *node = call->handler->data;
    struct peri_error err = PERI_ERROR_INIT;
    struct node_stage_piece piece = {.total = 0};
    if (node_stage_read(node, call->args, &piece, &err) != 0) {
        rpc_call_fail_code(call, &err);
        return;
    }
    struct node_group *group = node_group_find(node, piece.message.group);
    struct node_compare *compare = group != NULL ? group->compare : NULL;
    if (compare == NULL || compare->phase != NODE_FETCHING || compare->has_state ||
        group->raft == NULL || piece.message.raft.index < group->applied_index) {
        node_piece_refuse(call, PERI_ECLOSED, "no such state is wanted");
        return;
    }
    struct node_stage *stage = &compare->stage;
    int rc = piece.total > node->options.snapshot_max_bytes ? PERI_ETOOBIG
                                                            : node_stage_put(group, stage, &piece);
    if (rc != 0) {
        node_stage_clear(stage);
        node_piece_refuse(call, rc, "a state");
        return;
    }
    compare->fetch_us =
        env_now_us(node->env) + FETCH_PERIODS * (uint64_t)COMPARE_PERIOD_US; /* it comes */
    compare->has_state = stage->snapshot.state.size == stage->total;
    node_piece_answer(call, stage->snapshot.state.size);
    node_group_wake(group);
}

/* ---- the same for a machine that keeps keys: chunks that its intake takes ---- */

int node_rebuild_judge(const struct node_group *group, uint64_t index)
{
    const struct node_compare *compare = group->compare;
    struct raft_status status;
    if (compare == NULL || compare->phase != NODE_FETCHING || compare->has_state ||
        group->keys == NULL || index < group->applied_index)
        return PERI_ECLOSED;
    raft_status(group->raft, &status);
    return status.commit_index >= index ? 0 : PERI_EBUSY; /* the log here has to come so far */
}

void node_rebuild_staged(struct node_group *group, uint64_t index, uint64_t term)
{
    struct node_compare *compare = group->compare;
    compare->stage.snapshot.index = index;
    compare->stage.snapshot.term = term;
    compare->has_state = true;
    node_group_wake(group);
}

void node_rebuild_wait(struct node_group *group)
{
    group->compare->fetch_us =
        env_now_us(group->node->env) + FETCH_PERIODS * (uint64_t)COMPARE_PERIOD_US;
}

bool node_rebuild_to_restore(struct node_group *group, struct peri_slice *state, uint64_t *index,
                             uint64_t *term)
{
    struct node_compare *compare = group->compare;
    struct raft_status status;
    if (compare == NULL || !compare->has_state || compare->is_restoring || group->raft == NULL)
        return false;
    const struct node_snapshot *snapshot = &compare->stage.snapshot;
    raft_status(group->raft, &status);
    if (status.commit_index < snapshot->index)
        return false;
    compare->is_restoring = true;
    *state = peri_buffer_slice(&snapshot->state);
    *index = snapshot->index;
    *term = snapshot->term;
    return true;
}

/* Hashes of before say nothing any more. */
static void begin_anew(struct node_compare *compare)
{
    compare->phase = NODE_SOUND;
    compare->has_state = compare->is_restoring = false;
    node_stage_clear(&compare->stage);
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct node_compared *other = &compare->others[i];
        other->equal_index = other->differs_index = 0;
        other->is_good = other->is_blamed = other->is_judged = false;
    }
}

bool node_rebuild_restored(struct node_group *group)
{
    struct node_compare *compare = group->compare;
    if (!node_compare_is_quarantined(group))
        return false;
    bool was_here = compare->is_restoring;
    begin_anew(compare);
    (void)node_group_set_priority(group, compare->priority, NULL);
    group->snapshots->is_wanted = group->applied_index > group->snapshots->index;
    env_log(group->node->env, ENV_LOG_INFO, "node",
            "group %" PRIu64 ": the machine of this replica was rebuilt, as of entry %" PRIu64,
            group->id, group->applied_index);
    node_tell(group->node, &(struct node_event){.type = NODE_REBUILT,
                                                .group = group->id,
                                                .index = group->applied_index});
    return was_here;
}
