/* repair.c - replicas whose disk has lost what was durable: how they become whole again.
 *
 * Such a replica may have forgotten a term, a vote and entries that it acknowledged. Until it holds
 * them again, whoever elects a leader or commits an entry with its help may contradict what it
 * promised (CTRL, FAST 2018). It comes back in three steps:
 *
 *   1. Deaf, unless the disk still has its last term and vote, and lost only entries before them.
 *      It asks all other voters for their terms, and hears no message of the core's. A
 *      candidate's own term is on its disk before it asks for votes, so the highest answer is at
 *      least as late as any term that this replica took part in. Messages of older ones it never
 *      hears again. It need not wait for all when a leader commits, with others, an entry that it
 *      appended after it was asked: README.md says why.
 *   2. Mute in elections. It follows a leader and acknowledges what it holds, but the core neither
 *      votes nor campaigns (raft.h, is_impaired). The leader forgets what it acknowledged before
 *      (RAFT_PEER_LOST), for some of that is gone.
 *   3. Whole. A leader has said, in answer to a question of after the start, where its log ends;
 *      everything that this replica ever acknowledged to it, or that was committed before it,
 *      stands up to there. Once so much is applied here, nothing is missing any more.
 *
 * When so few are whole that they cannot elect a leader, a group that is damaged waits for people
 * (perilune recover). If nobody is damaged and some are suspect, as after a loss of power, all
 * voters together know better: the log that reaches furthest among all of them holds whatever was
 * acknowledged, unless each of those who held it has lost its last record. Votes go to such a log,
 * in terms that none of the voters has been in: what was lost may have been a vote of their newest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"
#include "node/repair.h"
#include "raft/quorum.h"

#define METHOD "raft.repair"

/* Another voter. */
struct voter {
    struct node_repair *repair;
    uint64_t id; /* 0: the place is free */
    struct rpc_request request;
    struct peri_buffer args;
    bool is_asked, has_answered, is_leader;
    enum store_log_health health;
    uint64_t term, last_index, last_term;
    uint64_t led_term, led_index; /* what it said first as the leader of a term: its log's end */
};

struct node_repair {
    struct node_group *group;
    struct voter voters[RAFT_MEMBERS_MAX];
    bool is_hearing;                      /* no longer deaf: step 2 */
    bool is_trusted;                      /* the core has a floor for votes */
    uint64_t floor_term;                  /* messages of older terms are not heard */
    uint64_t barrier_term, barrier_index; /* where that leader's log ended; 0: not known */
    uint64_t due_us;
    char why[NODE_WHY_SIZE];
};

static void evaluate(struct node_group *group);

/* ---- questions ---- */

static void free_voter(struct voter *voter)
{
    rpc_request_cancel(&voter->request, "the replica is repaired"); /* unless it has ended */
    peri_buffer_deinit(&voter->args);
    *voter = (struct voter){.id = 0};
}

/* Whom to ask: the voters of members but this node. */
static void set_voters(struct node_repair *repair, const struct raft_configuration *members)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].id != 0 &&
            !raft_configuration_is_voter(members, repair->voters[i].id))
            free_voter(&repair->voters[i]);
    for (size_t i = 0; i < members->count; i++) {
        struct voter *place = NULL;
        uint64_t id = members->ids[i];
        bool is_there =
            id == repair->group->node->options.id || !raft_configuration_is_voter(members, id);
        for (size_t k = 0; k < RAFT_MEMBERS_MAX && !is_there; k++) {
            is_there = repair->voters[k].id == id;
            if (repair->voters[k].id == 0 && place == NULL)
                place = &repair->voters[k];
        }
        if (is_there)
            continue;
        PERI_ASSERT(place != NULL); /* there are as many places as members at most */
        *place = (struct voter){.repair = repair, .id = id};
    }
}

/* What it has committed behind the end of its log as of an earlier answer it appended after this
 * replica had asked, and committed without it: a deaf one acknowledges nothing. */
static void note_leader(struct voter *voter, uint64_t commit_index)
{
    struct node_repair *repair = voter->repair;
    if (voter->term != voter->led_term) {
        voter->led_term = voter->term;
        voter->led_index = voter->last_index;
    } else if (commit_index > voter->led_index && !repair->is_hearing) {
        repair->is_hearing = true;
        repair->floor_term = voter->term;
    }
}

static int read_answer(struct node_group *group, struct voter *voter, struct peri_slice values)
{
    struct peri_slice bytes;
    int rc = node_args_get(values, &bytes, NULL);
    if (rc != 0 || bytes.size < REPAIR_ANSWER_HEAD)
        return PERI_EFORMAT;
    unsigned flags = (unsigned char)bytes.data[REPAIR_ANSWER_HEAD - 1];
    if ((flags & REPAIR_HEALTH_MASK) > STORE_LOG_DAMAGED)
        return PERI_EFORMAT;
    rc = node_members_learn(
        group->node,
        peri_slice_of(bytes.data + REPAIR_ANSWER_HEAD, bytes.size - REPAIR_ANSWER_HEAD), NULL);
    if (rc != 0)
        return rc;
    voter->has_answered = true;
    voter->term = bits_get_le64(bytes.data);
    voter->last_index = bits_get_le64(bytes.data + 8);
    voter->last_term = bits_get_le64(bytes.data + 16);
    voter->health = (enum store_log_health)(flags & REPAIR_HEALTH_MASK);
    voter->is_leader = (flags & REPAIR_FLAG_LEADER) != 0;
    if (voter->is_leader)
        note_leader(voter, bits_get_le64(bytes.data + 24));
    return 0;
}

/* A leader knows the members better than a disk that has lost some of them. */
static void take_members(struct node_repair *repair, const struct voter *from,
                         struct peri_slice values)
{
    struct raft_configuration members;
    struct raft_status status;
    struct peri_slice bytes;
    raft_status(repair->group->raft, &status);
    if (!from->is_leader || from->term < status.term || node_args_get(values, &bytes, NULL) != 0)
        return;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].has_answered && repair->voters[i].term > from->term)
            return;
    bytes = peri_slice_of(bytes.data + REPAIR_ANSWER_HEAD, bytes.size - REPAIR_ANSWER_HEAD);
    if (node_members_get(bytes, &members, NULL, NULL) == 0)
        set_voters(repair, &members);
}

static void on_answer(struct rpc_request *request, const struct rpc_result *result)
{
    struct voter *voter = container_of(request, struct voter, request);
    struct node_repair *repair = voter->repair;
    struct node_group *group = repair->group;
    voter->is_asked = false;
    if (result->code != 0 || group->raft == NULL || read_answer(group, voter, result->values) != 0)
        return; /* it is asked again */
    if (voter->is_leader && voter->term > repair->barrier_term) {
        repair->barrier_term = voter->term;
        repair->barrier_index = voter->last_index;
    }
    take_members(repair, voter, result->values);
    node_group_hold(group);
    evaluate(group); /* the end of repair, perhaps */
    node_group_wake(group);
    node_group_release(group);
}

static int make_question(struct voter *voter)
{
    const struct node_group *group = voter->repair->group;
    struct node *node = group->node;
    struct raft_status status;
    char body[REPAIR_QUESTION_SIZE];
    raft_status(group->raft, &status);
    bits_put_le64(body, group->id);
    bits_put_le64(body + 8, status.last_index);
    body[16] = (char)group->health;
    voter->args.size = 0;
    int rc = peri_buffer_reserve(&voter->args, NODE_ARGS_HEAD);
    if (rc != 0)
        return rc;
    voter->args.size = NODE_ARGS_HEAD;
    rc = node_peer_envelope(node, voter->id, &voter->args);
    if (rc == 0)
        rc = peri_buffer_append(&voter->args, body, sizeof body);
    if (rc == 0)
        node_args_put_head(voter->args.data, voter->args.size - NODE_ARGS_HEAD);
    return rc;
}

static void ask(struct voter *voter)
{
    struct node *node = voter->repair->group->node;
    struct node_peer *peer = node_peer_find(node, voter->id);
    struct rpc_client *client = peer != NULL ? node_peer_client(peer) : NULL;
    if (voter->is_asked || client == NULL || make_question(voter) != 0)
        return;
    voter->request =
        (struct rpc_request){.name = peri_slice_of(METHOD, strlen(METHOD)),
                             .due_us = env_now_us(node->env) + node->options.raft.election_max_us,
                             .on_done = on_answer};
    voter->is_asked =
        rpc_client_call(client, &voter->request, peri_buffer_slice(&voter->args), true, NULL) == 0;
}

/* ---- conclusions ---- */

static void finish(struct node_group *group)
{
    struct node_step step = {.event = {.type = RAFT_TRUST}};
    struct raft_status status;
    raft_status(group->raft, &status);
    (void)node_group_step(group, &step); /* a fenced core trusts nobody any more */
    group->health = STORE_LOG_CLEAN;
    group->has_forgotten = false;
    node_disk_set_repaired(group);
    node_repair_close(group);
    node_tell(group->node, &(struct node_event){.type = NODE_REPAIRED,
                                                .group = group->id,
                                                .term = status.term,
                                                .index = group->applied_index});
}

/* All have answered, and nobody whose log has lost a thing can be elected without the others. */
static void trust_all(struct node_repair *repair)
{
    struct node_group *group = repair->group;
    const struct raft_configuration *members = raft_members(group->raft);
    struct raft_status status;
    uint8_t votes[RAFT_MEMBERS_MAX] = {0};
    raft_status(group->raft, &status);
    uint64_t index = status.last_index, term = raft_term_at(group->raft, index);
    uint64_t forgotten = repair->floor_term; /* terms whose votes may be */
    bool is_possible = group->health == STORE_LOG_SUSPECT && status.leader == 0;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX && is_possible; i++) {
        const struct voter *voter = &repair->voters[i];
        int at = raft_configuration_find(members, voter->id);
        if (voter->id == 0)
            continue;
        is_possible = voter->health != STORE_LOG_DAMAGED && !voter->is_leader;
        if (voter->health == STORE_LOG_CLEAN && at >= 0)
            votes[at] = RAFT_VOTE_GRANTED;
        if (voter->term > forgotten)
            forgotten = voter->term;
        if (voter->last_term > term || (voter->last_term == term && voter->last_index > index)) {
            index = voter->last_index;
            term = voter->last_term;
        }
    }
    if (!is_possible || raft_quorum_vote(members, votes) == RAFT_WON)
        return;
    struct node_step step = {
        .event = {.type = RAFT_TRUST, .index = index, .term = term, .last = forgotten}};
    repair->is_trusted = node_group_step(group, &step) == 0;
    env_log(group->node->env, ENV_LOG_WARN, "node",
            "group %" PRIu64 ": too few replicas are whole; the log that reaches to entry %" PRIu64
            " of term %" PRIu64 " counts, as none of all voters has more",
            group->id, index, term);
}

static bool have_all_answered(const struct node_repair *repair)
{
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].id != 0 && !repair->voters[i].has_answered)
            return false;
    return true;
}

static void learn_term(struct node_repair *repair)
{
    struct node_group *group = repair->group;
    struct raft_status status;
    raft_status(group->raft, &status);
    uint64_t term = status.term;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].id != 0 && repair->voters[i].term > term)
            term = repair->voters[i].term;
    repair->is_hearing = true;
    repair->floor_term = term;
    env_log(group->node->env, ENV_LOG_INFO, "node",
            "group %" PRIu64 ": no voter is beyond term %" PRIu64
            "; what was lost comes from the leader",
            group->id, term);
}

static void evaluate(struct node_group *group)
{
    struct node_repair *repair = group->repair;
    struct raft_status status;
    raft_status(group->raft, &status);
    bool is_complete = have_all_answered(repair);
    if (!repair->is_hearing && is_complete)
        learn_term(repair);
    if (!repair->is_hearing)
        return;
    if (!repair->is_trusted && is_complete)
        trust_all(repair);
    node_repair_advance(group);
}

void node_repair_advance(struct node_group *group)
{
    struct node_repair *repair = group->repair;
    struct raft_status status;
    if (repair == NULL || group->raft == NULL || !repair->is_hearing)
        return;
    raft_status(group->raft, &status);
    if (status.is_fenced || status.term < repair->floor_term)
        return;
    bool has_led = status.role == RAFT_LEADER && group->applied_term == status.term;
    bool has_all = repair->barrier_term >= repair->floor_term && repair->barrier_term > 0 &&
                   status.term >= repair->barrier_term &&
                   group->applied_index >= repair->barrier_index;
    if (has_led || has_all)
        finish(group);
}

/* ---- the replica that is repaired ---- */

int node_repair_begin(struct node_group *group, const char *why)
{
    struct node_repair *repair = calloc(1, sizeof *repair);
    if (repair == NULL)
        return PERI_ENOMEM;
    struct raft_status status;
    raft_status(group->raft, &status);
    repair->group = group;
    repair->is_hearing = !group->has_forgotten;
    repair->floor_term = status.term;
    group->repair = repair;
    (void)snprintf(repair->why, sizeof repair->why, "%s", why);
    env_log(group->node->env, ENV_LOG_WARN, "node",
            "group %" PRIu64 " gives no votes until a leader has brought it up to date: %s",
            group->id, why);
    return 0;
}

void node_repair_close(struct node_group *group)
{
    struct node_repair *repair = group->repair;
    if (repair == NULL)
        return;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].id != 0)
            free_voter(&repair->voters[i]);
    group->repair = NULL;
    free(repair);
}

uint64_t node_repair_due_us(const struct node_group *group)
{
    return group->repair != NULL && group->raft != NULL ? group->repair->due_us : UINT64_MAX;
}

void node_repair_on_time(struct node_group *group, uint64_t now_us)
{
    struct node_repair *repair = group->repair;
    bool has_begun = repair->due_us > 0;
    repair->due_us = now_us + group->node->options.raft.election_max_us;
    if (!has_begun)
        set_voters(repair, raft_members(group->raft));
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].id != 0)
            ask(&repair->voters[i]);
    if (!has_begun)
        evaluate(group); /* a replica that is alone has nobody to ask */
}

bool node_repair_hears(const struct node_group *group, uint64_t term)
{
    const struct node_repair *repair = group->repair;
    struct raft_status status;
    if (repair == NULL || !repair->is_hearing)
        return repair == NULL;
    raft_status(group->raft, &status);
    /* A core that is so far knows what is old itself, and says so to candidates that do not. */
    return term >= repair->floor_term || status.term >= repair->floor_term;
}

bool node_group_waits_for(const struct node_group *group, uint64_t id)
{
    const struct node_repair *repair = group->repair;
    if (repair == NULL || repair->is_hearing)
        return false;
    for (size_t i = 0; i < RAFT_MEMBERS_MAX; i++)
        if (repair->voters[i].id == id && id != 0)
            return !repair->voters[i].has_answered;
    return false;
}

const char *node_repair_why(const struct node_group *group)
{
    return group->repair != NULL ? group->repair->why : "";
}
