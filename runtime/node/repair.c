/* repair.c - replicas whose disk has lost what was durable: how they become whole again.
 *
 * Such a replica may have forgotten a term, a vote and entries that it acknowledged. Until it holds
 * them again, whoever elects a leader or commits an entry with its help may contradict what it
 * promised (CTRL, FAST 2018). It comes back in three steps:
 *
 *   1. Deaf, unless the disk still has its last term and vote, and lost only entries before them.
 *      It hears no message of the core's until a leader, asked twice, has committed an entry that
 *      was not in its log when it answered first; it appends one when asked to (RAFT_PEER_LOST).
 *      Where too few are whole for that, all other voters have to say their terms: a candidate's
 *      own is on its disk before it asks for votes, so the highest answer is at least as late as
 *      any term that this replica took part in. Messages of older ones it never hears again.
 *      README.md says why.
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
 * in terms that none of the voters can have been in: what was lost may have been a vote of their
 * newest, or, when all have lost one, of the next.
 * Whose log that is may not vote any more, when voters have lost that very change: it is asked to
 * lead nevertheless, and hands over when they have got it from there (Thesis 4.2.2).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bits.h"
#include "env/log.h"
#include "node/repair.h"

#define METHOD "raft.repair"

static void evaluate(struct node_group *group);

/* ---- questions ---- */

static void free_voter(struct node_repair_voter *voter)
{
    rpc_request_cancel(&voter->request, "the replica is repaired"); /* unless it has ended */
    peri_buffer_deinit(&voter->args);
    *voter = (struct node_repair_voter){.id = 0};
}

/* True while it has heard nothing since it began: nor does it hear of a group that goes on in a
 * term below the one that it waits for, which may be that of a voter who votes no more. */
static bool is_deaf(const struct node_repair *repair)
{
    struct raft_status status;
    raft_status(repair->group->raft, &status);
    return !repair->is_hearing || status.term < repair->floor_term;
}

/* What it has committed behind the end of its log as of an earlier answer it appended after this
 * replica had asked, and committed without it: a deaf one acknowledges nothing. */
static void note_leader(struct node_repair_voter *voter, uint64_t commit_index)
{
    struct node_repair *repair = voter->repair;
    if (voter->term != voter->led_term) {
        voter->led_term = voter->term;
        voter->led_index = voter->last_index;
    } else if (commit_index > voter->led_index && is_deaf(repair)) {
        repair->is_hearing = true;
        repair->floor_term = voter->term;
        env_log(repair->group->node->env, ENV_LOG_INFO, "node",
                "group %" PRIu64 ": node %" PRIu64 " leads in term %" PRIu64
                "; what was lost comes from there",
                repair->group->id, voter->id, voter->term);
    }
}

static int read_answer(struct node_group *group, struct node_repair_voter *voter,
                       struct peri_slice values)
{
    struct peri_slice bytes;
    struct raft_configuration members;
    int rc = node_args_get(values, &bytes, NULL);
    if (rc != 0 || bytes.size < REPAIR_ANSWER_HEAD)
        return PERI_EFORMAT;
    unsigned flags = (unsigned char)bytes.data[REPAIR_ANSWER_HEAD - 1];
    if ((flags & REPAIR_HEALTH_MASK) > STORE_LOG_DAMAGED)
        return PERI_EFORMAT;
    const struct peri_slice tail =
        peri_slice_of(bytes.data + REPAIR_ANSWER_HEAD, bytes.size - REPAIR_ANSWER_HEAD);
    rc = node_members_get(tail, &members, NULL, NULL);
    if (rc == 0)
        rc = node_members_learn(group->node, tail, NULL);
    if (rc != 0)
        return rc;
    voter->has_answered = true;
    voter->members = members;
    voter->term = bits_get_le64(bytes.data);
    voter->last_index = bits_get_le64(bytes.data + 8);
    voter->last_term = bits_get_le64(bytes.data + 16);
    voter->health = (enum store_log_health)(flags & REPAIR_HEALTH_MASK);
    voter->is_leader = (flags & REPAIR_FLAG_LEADER) != 0;
    if (voter->is_leader)
        note_leader(voter, bits_get_le64(bytes.data + 24));
    return 0;
}

static void on_answer(struct rpc_request *request, const struct rpc_result *result)
{
    struct node_repair_voter *voter = container_of(request, struct node_repair_voter, request);
    struct node_repair *repair = voter->repair;
    struct node_group *group = repair->group;
    voter->is_asked = false;
    if (result->code != 0 || group->raft == NULL || read_answer(group, voter, result->values) != 0)
        return; /* it is asked again */
    if (voter->is_leader && voter->term > repair->barrier_term) {
        repair->barrier_term = voter->term;
        repair->barrier_index = voter->last_index;
    }
    node_repair_learn(repair, voter);
    node_group_hold(group);
    evaluate(group); /* the end of repair, perhaps */
    node_group_wake(group);
    node_group_release(group);
}

/* True when this one votes for a log like that one's, and no leader is in sight. */
static bool is_needed(const struct node_repair_voter *voter)
{
    const struct node_repair *repair = voter->repair;
    struct raft_status status;
    raft_status(repair->group->raft, &status);
    return repair->is_trusted && status.leader == 0 && voter->has_answered &&
           (voter->last_term > repair->trusted_term ||
            (voter->last_term == repair->trusted_term &&
             voter->last_index >= repair->trusted_index));
}

static int make_question(struct node_repair_voter *voter)
{
    const struct node_group *group = voter->repair->group;
    struct node *node = group->node;
    bool waits = is_deaf(voter->repair);
    struct raft_status status;
    char body[REPAIR_QUESTION_SIZE];
    raft_status(group->raft, &status);
    bits_put_le64(body, group->id);
    bits_put_le64(body + 8, status.last_index);
    bits_put_le64(body + 16, waits ? voter->led_term : 0);
    bits_put_le64(body + 24, waits ? voter->led_index : 0);
    body[32] = (char)((int)group->health | (is_needed(voter) ? REPAIR_FLAG_NEEDED : 0));
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

static void ask(struct node_repair_voter *voter)
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

/* All have answered, and those who are whole cannot elect a leader without the others. */
static void trust_all(struct node_repair *repair)
{
    struct node_group *group = repair->group;
    struct raft_status status;
    raft_status(group->raft, &status);
    uint64_t index = status.last_index, term = raft_term_at(group->raft, index);
    uint64_t forgotten = repair->floor_term; /* terms whose votes may be */
    if (node_repair_is_anybody_damaged(repair) || status.leader != 0 ||
        node_repair_can_elect(repair, true, true))
        return;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++) {
        const struct node_repair_voter *voter = &repair->voters[i];
        if (!voter->is_voter)
            continue;
        if (voter->is_leader)
            return;
        if (voter->term > forgotten)
            forgotten = voter->term;
        if (voter->last_term > term || (voter->last_term == term && voter->last_index > index)) {
            index = voter->last_index;
            term = voter->last_term;
        }
    }
    /* What each of them has lost may have been its vote in a term more, which had a leader. */
    struct node_step step = {
        .event = {.type = RAFT_TRUST, .index = index, .term = term, .last = forgotten + 1}};
    repair->is_trusted = node_group_step(group, &step) == 0;
    repair->trusted_index = index;
    repair->trusted_term = term;
    env_log(group->node->env, ENV_LOG_WARN, "node",
            "group %" PRIu64 ": too few replicas are whole; the log that reaches to entry %" PRIu64
            " of term %" PRIu64 " counts, as none of all voters has more",
            group->id, index, term);
}

/* When they can elect a leader, that one shows that it may be heard: note_leader. */
static bool must_wait(const struct node_repair *repair)
{
    return !node_repair_have_all_answered(repair) || node_repair_can_elect(repair, true, true) ||
           (node_repair_is_anybody_damaged(repair) && node_repair_can_elect(repair, false, false));
}

static void learn_term(struct node_repair *repair)
{
    struct node_group *group = repair->group;
    struct raft_status status;
    raft_status(group->raft, &status);
    uint64_t term = status.term;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
        if (repair->voters[i].is_voter && repair->voters[i].term > term)
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
    if (!repair->is_hearing && !must_wait(repair))
        learn_term(repair);
    if (!repair->is_hearing)
        return;
    if (!repair->is_trusted && node_repair_have_all_answered(repair))
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
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
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
    struct raft_status status;
    raft_status(group->raft, &status);
    if (!has_begun)
        node_repair_add_voters(repair, raft_members(group->raft));
    node_repair_add(repair, status.leader, false); /* it says what is missing */
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
        if (repair->voters[i].id != 0)
            ask(&repair->voters[i]);
    if (!has_begun)
        evaluate(group); /* a replica that is alone has nobody to ask */
}

bool node_repair_is_deaf(const struct node_group *group)
{
    return group->repair != NULL && !group->repair->is_hearing;
}

bool node_repair_hears(struct node_group *group, const struct raft_message *message)
{
    struct node_repair *repair = group->repair;
    if (repair == NULL)
        return true;
    if (message->type == RAFT_APPEND_ENTRIES || message->type == RAFT_HEARTBEAT ||
        message->type == RAFT_INSTALL_SNAPSHOT)
        node_repair_add(repair, message->from, false); /* it leads, perhaps, and can be asked */
    if (!repair->is_hearing)
        return false;
    /* A core that is so far knows what is old itself, and says so to candidates that do not. */
    return message->term >= repair->floor_term || !is_deaf(repair);
}

bool node_group_waits_for(const struct node_group *group, uint64_t id)
{
    const struct node_repair *repair = group->repair;
    if (repair == NULL || repair->is_hearing)
        return false;
    for (size_t i = 0; i < REPAIR_VOTERS_MAX; i++)
        if (repair->voters[i].id == id && id != 0)
            return repair->voters[i].is_voter && !repair->voters[i].has_answered;
    return false;
}

const char *node_repair_why(const struct node_group *group)
{
    return group->repair != NULL ? group->repair->why : "";
}
