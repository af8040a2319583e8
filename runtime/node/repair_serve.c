/* repair_serve.c - what whole replicas do for one that repairs itself: they say where they are,
 * forget what it acknowledged and has lost, and remember that it gives no votes. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "env/log.h"
#include "node/repair.h"

static void note_ailing(struct node_group *group, uint64_t id, enum store_log_health health)
{
    struct node_ailing *place = NULL;
    for (size_t i = 0; i < group->ailing_count && place == NULL; i++)
        if (group->ailing[i].id == id)
            place = &group->ailing[i];
    if (place == NULL) {
        struct node_ailing *ailing =
            realloc(group->ailing, (group->ailing_count + 1) * sizeof *ailing);
        if (ailing == NULL)
            return; /* it asks again */
        group->ailing = ailing;
        place = &ailing[group->ailing_count++];
    }
    *place = (struct node_ailing){id, env_now_us(group->node->env), health};
}

bool node_repair_is_ailing(const struct node_group *group, uint64_t id,
                           enum store_log_health *health)
{
    uint64_t now_us = env_now_us(group->node->env);
    for (size_t i = 0; i < group->ailing_count; i++) {
        const struct node_ailing *ailing = &group->ailing[i];
        *health = ailing->health;
        if (ailing->id == id)
            return now_us - ailing->heard_us <= 4 * group->node->options.raft.election_max_us;
    }
    return false;
}

struct question {
    uint64_t from, group, last_index;
    uint64_t led_term, led_index; /* it waits for an entry behind that one; 0: it does not */
    enum store_log_health health;
    bool needs; /* this replica to lead */
};

static int read_question(struct node *node, struct peri_slice args, struct question *out,
                         struct peri_error *err)
{
    struct node_envelope envelope;
    int rc = node_envelope_take(node, args, "a question", &envelope, err);
    if (rc != 0)
        return rc;
    if (envelope.end - envelope.at != REPAIR_QUESTION_SIZE)
        return peri_fail_plain(err, PERI_EFORMAT, "a malformed question of a replica");
    unsigned flags = (unsigned char)envelope.at[REPAIR_QUESTION_SIZE - 1];
    if ((flags & REPAIR_HEALTH_MASK) > STORE_LOG_DAMAGED ||
        (flags & ~(unsigned)(REPAIR_HEALTH_MASK | REPAIR_FLAG_NEEDED)) != 0)
        return peri_fail_plain(err, PERI_EFORMAT, "a malformed question of a replica");
    *out = (struct question){.from = envelope.from,
                             .group = bits_get_le64(envelope.at),
                             .last_index = bits_get_le64(envelope.at + 8),
                             .led_term = bits_get_le64(envelope.at + 16),
                             .led_index = bits_get_le64(envelope.at + 24),
                             .health = (enum store_log_health)(flags & REPAIR_HEALTH_MASK),
                             .needs = (flags & REPAIR_FLAG_NEEDED) != 0};
    return 0;
}

static int make_answer(const struct node_group *group, struct peri_buffer *out)
{
    struct raft_status status;
    char head[NODE_ARGS_HEAD + REPAIR_ANSWER_HEAD];
    raft_status(group->raft, &status);
    char *body = head + NODE_ARGS_HEAD;
    bits_put_le64(body, status.term);
    bits_put_le64(body + 8, status.last_index);
    bits_put_le64(body + 16, raft_term_at(group->raft, status.last_index));
    bits_put_le64(body + 24, status.commit_index);
    body[32] = (char)((int)group->health | (status.role == RAFT_LEADER ? REPAIR_FLAG_LEADER : 0));
    int rc = peri_buffer_append(out, head, sizeof head);
    if (rc == 0)
        rc = node_members_put(group->node, raft_members(group->raft), out);
    if (rc == 0)
        node_args_put_head(out->data, out->size - NODE_ARGS_HEAD);
    return rc;
}

/* One who voted and votes no more has what voters have lost, perhaps: it leads once more. */
static void lead(struct node_group *group, uint64_t from)
{
    struct node_step step = {.event = {.type = RAFT_CAMPAIGN, .success = true}};
    struct raft_status status;
    raft_status(group->raft, &status);
    if (status.role != RAFT_FOLLOWER || status.leader != 0 || node_group_step(group, &step) != 0)
        return; /* others lead, or will, or this one must not; it is asked again */
    env_log(group->node->env, ENV_LOG_INFO, "node",
            "group %" PRIu64 ": node %" PRIu64 " has lost what this one holds, which campaigns",
            group->id, from);
}

/* The group notes who asks, and says where it is. */
static int answer(struct node_group *group, const struct question *question,
                  struct peri_buffer *out, struct peri_error *err)
{
    struct node_step step = {.event = {.type = RAFT_PEER_LOST,
                                       .peer = question->from,
                                       .last = question->last_index,
                                       .index = question->led_index,
                                       .term = question->led_term}};
    note_ailing(group, question->from, question->health);
    (void)node_group_step(group, &step); /* it is no member here, perhaps */
    if (question->needs)
        lead(group, question->from);
    node_group_wake(group);
    return make_answer(group, out) == 0 ? 0
                                        : peri_fail(err, PERI_ENOMEM, "group %" PRIu64, group->id);
}

void node_repair_on_call(struct rpc_call *call)
{
    struct node *node = call->handler->data;
    struct peri_error err = PERI_ERROR_INIT;
    struct question question = {.from = 0};
    struct peri_buffer bytes = {NULL, 0, 0};
    int rc = read_question(node, call->args, &question, &err);
    struct node_group *group = rc == 0 ? node_group_find(node, question.group) : NULL;
    if (group != NULL && group->raft != NULL && !node->is_closing)
        rc = answer(group, &question, &bytes, &err);
    else if (rc == 0)
        rc = peri_fail_plain(&err, PERI_ECLOSED, "the group is not open here");
    if (rc == 0)
        rpc_call_reply(call, peri_buffer_slice(&bytes));
    else
        rpc_call_fail_code(call, &err);
    peri_buffer_deinit(&bytes);
}
