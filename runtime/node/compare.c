/* compare.c - asking other voters for the hashes of their machines, and what the answers mean. */
#include "node/compare.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"

#define METHOD "raft.hashes"

enum { HASH_SIZE = 1 + 8, PAUSE_PERIODS = 4 };

/* ---- both sides ---- */

int node_compare_begin_args(const struct node_group *group, uint64_t to, struct peri_buffer *args)
{
    char number[8];
    args->size = 0;
    bits_put_le64(number, group->id);
    int rc = peri_buffer_reserve(args, NODE_ARGS_HEAD);
    if (rc != 0)
        return rc;
    args->size = NODE_ARGS_HEAD;
    rc = node_peer_envelope(group->node, to, args);
    return rc == 0 ? peri_buffer_append(args, number, sizeof number) : rc;
}

struct node_group *node_compare_open_args(struct rpc_call *call, struct peri_slice *rest,
                                          uint64_t *from, struct peri_error *err)
{
    struct node *node = call->handler->data;
    struct node_envelope envelope;
    if (node_envelope_take(node, call->args, "a question", &envelope, err) != 0)
        return NULL;
    if (envelope.end - envelope.at < 8) {
        (void)peri_fail_plain(err, PERI_EFORMAT, "a question about no group");
        return NULL;
    }
    struct node_group *group = node_group_find(node, bits_get_le64(envelope.at));
    *rest = peri_slice_of(envelope.at + 8, (size_t)(envelope.end - envelope.at) - 8);
    *from = envelope.from;
    if (group != NULL && group->raft != NULL && group->compare != NULL && !node->is_closing)
        return group;
    (void)peri_fail_plain(err, PERI_ECLOSED, "no such group with a hash is open here");
    return NULL;
}

/* The hash of this replica's machine behind the entry at index. */
static bool own_hash(const struct node_group *group, uint64_t index, uint64_t *hash)
{
    struct node_machine *machine = group->machine;
    return index > 0 && index <= group->applied_index && machine->hash_at(machine, index, hash);
}

/* ---- answering ---- */

static void put_hash(const struct node_group *group, uint64_t index, char *out)
{
    uint64_t hash = 0;
    out[0] = (char)own_hash(group, index, &hash);
    bits_put_le64(out + 1, out[0] != 0 ? hash : 0);
}

void node_compare_on_call(struct rpc_call *call)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice rest = {NULL, 0};
    uint64_t from = 0;
    char bytes[NODE_ARGS_HEAD + 8 + HASH_SIZE * (1 + COMPARE_INDEXES_MAX)];
    const struct node_group *group = node_compare_open_args(call, &rest, &from, &err);
    size_t count = group != NULL && rest.size > 0 ? (unsigned char)rest.data[0] : 0;
    if (group != NULL && (count > COMPARE_INDEXES_MAX || rest.size != 1 + 8 * count))
        (void)peri_fail_plain(&err, PERI_EFORMAT, "a question for %zu hashes", count);
    if (err.code != 0) {
        rpc_call_fail_code(call, &err);
        return;
    }
    PERI_ASSERT(group != NULL);
    char *at = bytes + NODE_ARGS_HEAD;
    bits_put_le64(at, group->applied_index);
    put_hash(group, group->applied_index, at + 8);
    at += 8 + HASH_SIZE;
    for (size_t i = 0; i < count; i++, at += HASH_SIZE)
        put_hash(group, bits_get_le64(rest.data + 1 + 8 * i), at);
    node_args_put_head(bytes, (size_t)(at - bytes) - NODE_ARGS_HEAD);
    rpc_call_reply(call, peri_slice_of(bytes, (size_t)(at - bytes)));
}

/* ---- who is asked ---- */

static void forget(struct node_compared *other)
{
    if (other->is_asked)
        rpc_request_cancel(&other->request, "nothing is compared any more");
    peri_buffer_deinit(&other->args);
    *other = (struct node_compared){.id = 0};
}

/* The voters of the configuration in force, but for this replica. */
static void update_others(struct node_compare *compare)
{
    const struct raft_configuration *members = raft_members(compare->group->raft);
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (compare->others[i].id != 0 && !node_compare_is_voter(members, compare->others[i].id))
            forget(&compare->others[i]);
    for (size_t i = 0; i < members->count; i++) {
        struct node_compared *place = NULL;
        uint64_t id = members->ids[i];
        bool is_known =
            !node_compare_is_voter(members, id) || id == compare->group->node->options.id;
        for (size_t j = 0; j < RAFT_MEMBERS_MAX && !is_known; j++) {
            is_known = compare->others[j].id == id;
            if (compare->others[j].id == 0 && place == NULL)
                place = &compare->others[j];
        }
        if (!is_known && place != NULL)
            *place = (struct node_compared){.compare = compare, .id = id};
    }
}

/* ---- answers ---- */

/* What the other one has at an index. */
static void compare_one(struct node_compared *other, uint64_t index, uint64_t hash)
{
    struct node_compare *compare = other->compare;
    uint64_t own = 0;
    if (compare->ballot_index == index) {
        other->has_ballot = true;
        other->ballot = hash;
    }
    if (!own_hash(compare->group, index, &own))
        return;
    if (own == hash && index > other->equal_index)
        other->equal_index = index;
    if (own == hash && other->differs_index != 0 && index > other->differs_index) {
        other->differs_index = 0; /* it was rebuilt */
        other->is_blamed = other->is_judged = false;
    }
    if (own == hash)
        return;
    if (other->differs_index == 0 || index < other->differs_index)
        other->differs_index = index;
    if (compare->ballot_index == 0 && !other->is_judged) {
        node_ballot_begin(compare, index, own);
        other->has_ballot = compare->ballot_index == index;
        other->ballot = hash;
    }
}

/* One step of the search for the first entry that differs. */
static void narrow(struct node_compare *compare, uint64_t index, uint64_t hash)
{
    uint64_t own = 0;
    if (index <= compare->low || index >= compare->high || !own_hash(compare->group, index, &own))
        return;
    if (own == hash)
        compare->low = index;
    else
        compare->high = index;
}

static int read_answer(struct node_compared *other, struct peri_slice values)
{
    struct peri_slice bytes;
    struct node_compare *compare = other->compare;
    if (node_args_get(values, &bytes, NULL) != 0 ||
        bytes.size != 8 + HASH_SIZE * (1 + other->asked_count))
        return PERI_EFORMAT;
    const char *at = bytes.data + 8;
    if (at[0] != 0)
        compare_one(other, bits_get_le64(bytes.data), bits_get_le64(at + 1));
    at += HASH_SIZE;
    uint64_t low = compare->low, high = compare->high;
    for (size_t i = 0; i < other->asked_count; i++, at += HASH_SIZE) {
        if (at[0] == 0)
            continue;
        compare_one(other, other->asked[i], bits_get_le64(at + 1));
        if (other->is_searched)
            narrow(compare, other->asked[i], bits_get_le64(at + 1));
    }
    bool has_narrowed = low != compare->low || high != compare->high;
    if (other->is_searched && compare->phase == NODE_SEARCHING &&
        (!has_narrowed || compare->high - compare->low <= 1))
        node_rebuild_found(compare);
    return 0;
}

static void ask_all(struct node_compare *compare, uint64_t now_us);

static void on_answer(struct rpc_request *request, const struct rpc_result *result)
{
    struct node_compared *other = container_of(request, struct node_compared, request);
    struct node_compare *compare = other->compare;
    struct node_group *group = compare->group;
    uint64_t now_us = env_now_us(group->node->env);
    other->is_asked = false;
    if (group->raft == NULL || group->is_closing)
        return;
    node_group_hold(group);
    if (result->code != 0 || read_answer(other, result->values) != 0) {
        other->pause_us = now_us + PAUSE_PERIODS * (uint64_t)COMPARE_PERIOD_US;
        if (other->is_searched && compare->phase == NODE_SEARCHING)
            node_rebuild_found(compare); /* as well as it is known by now */
    } else {
        node_ballot_judge(compare);
        if (compare->ballot_index != 0 || compare->phase != NODE_SOUND)
            ask_all(compare, now_us); /* no need to wait */
    }
    node_group_wake(group);
    node_group_release(group);
}

/* ---- questions ---- */

/* What the other one is to be asked. */
static void choose(struct node_compared *other)
{
    const struct node_compare *compare = other->compare;
    uint64_t span = compare->high - compare->low;
    other->is_searched = compare->phase == NODE_SEARCHING && other->id == compare->good;
    other->asked_count = 0;
    if (other->is_searched) {
        uint64_t last = compare->low;
        for (uint64_t i = 1; i <= COMPARE_INDEXES_MAX; i++) {
            uint64_t index = compare->low + span * i / (COMPARE_INDEXES_MAX + 1);
            if (index > last && index < compare->high)
                other->asked[other->asked_count++] = last = index;
        }
    } else if (compare->ballot_index != 0 && !other->has_ballot) {
        other->asked[other->asked_count++] = compare->ballot_index;
    } else if (compare->phase == NODE_SOUND &&
               (other->equal_index < compare->group->applied_index || other->differs_index != 0)) {
        other->asked[other->asked_count++] = compare->group->applied_index;
    }
}

static void ask(struct node_compared *other)
{
    const struct node_group *group = other->compare->group;
    struct node *node = group->node;
    struct node_peer *peer = node_peer_find(node, other->id);
    struct rpc_client *client = peer != NULL ? node_peer_client(peer) : NULL;
    char bytes[1 + 8 * COMPARE_INDEXES_MAX];
    size_t size = 1 + 8 * other->asked_count;
    bytes[0] = (char)other->asked_count;
    for (size_t i = 0; i < other->asked_count; i++)
        bits_put_le64(bytes + 1 + 8 * i, other->asked[i]);
    if (client == NULL || node_compare_begin_args(group, other->id, &other->args) != 0 ||
        peri_buffer_append(&other->args, bytes, size) != 0)
        return; /* the next time */
    node_args_put_head(other->args.data, other->args.size - NODE_ARGS_HEAD);
    other->request =
        (struct rpc_request){.name = peri_slice_of(METHOD, strlen(METHOD)),
                             .due_us = env_now_us(node->env) + node->options.raft.election_max_us,
                             .on_done = on_answer};
    other->is_asked =
        rpc_client_call(client, &other->request, peri_buffer_slice(&other->args), false, NULL) == 0;
}

static void ask_all(struct node_compare *compare, uint64_t now_us)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        struct node_compared *other = &compare->others[i];
        if (other->id == 0 || other->is_asked || now_us < other->pause_us)
            continue;
        choose(other);
        if (other->asked_count > 0)
            ask(other);
        else if (other->is_searched)
            node_rebuild_found(compare); /* nothing is left to ask */
    }
}

/* ---- time ---- */

/* True when somebody may still have another state. */
static bool is_unsettled(const struct node_compare *compare)
{
    uint64_t own, applied = compare->group->applied_index;
    bool can_tell = own_hash(compare->group, applied, &own);
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        const struct node_compared *other = &compare->others[i];
        if (other->id != 0 &&
            ((can_tell && other->equal_index < applied) || other->differs_index != 0))
            return true;
    }
    return compare->phase != NODE_SOUND || compare->ballot_index != 0;
}

uint64_t node_compare_due_us(const struct node_group *group)
{
    return group->compare != NULL && group->raft != NULL ? group->compare->due_us : UINT64_MAX;
}

void node_compare_on_time(struct node_group *group, uint64_t now_us)
{
    struct node_compare *compare = group->compare;
    update_others(compare);
    node_ballot_on_time(compare);
    ask_all(compare, now_us);
    node_rebuild_on_time(compare, now_us);
    compare->due_us = is_unsettled(compare) ? now_us + COMPARE_PERIOD_US : UINT64_MAX;
}

void node_compare_applied(struct node_group *group)
{
    struct node_compare *compare = group->compare;
    if (compare != NULL && compare->due_us == UINT64_MAX)
        compare->due_us = env_now_us(group->node->env) + COMPARE_PERIOD_US;
}

/* ---- life ---- */

int node_compare_open(struct node_group *group)
{
    if (group->machine->hash_at == NULL)
        return 0;
    group->compare = calloc(1, sizeof *group->compare);
    if (group->compare == NULL)
        return PERI_ENOMEM;
    group->compare->group = group;
    group->compare->due_us = UINT64_MAX;
    return 0;
}

void node_compare_close(struct node_group *group)
{
    struct node_compare *compare = group->compare;
    if (compare == NULL)
        return;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (compare->others[i].id != 0)
            forget(&compare->others[i]);
    node_rebuild_close(compare);
    free(compare);
    group->compare = NULL;
}

bool node_group_compared(const struct node_group *group, uint64_t id, uint64_t *equal_index,
                         uint64_t *differs_index)
{
    for (size_t i = 0; group->compare != NULL && i < RAFT_MEMBERS_MAX; i++) {
        const struct node_compared *other = &group->compare->others[i];
        if (other->id != id || id == 0)
            continue;
        *equal_index = other->equal_index;
        *differs_index = other->differs_index;
        return true;
    }
    return false;
}

void node_group_compare(struct node_group *group)
{
    if (group->compare == NULL || group->raft == NULL)
        return;
    group->compare->due_us = env_now_us(group->node->env);
    node_group_schedule(group);
}
