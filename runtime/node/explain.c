/* explain.c - why a group does not do what it was asked for: who leads, who is missing since when,
 * and what would help. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "node/parts.h"
#include "raft/quorum.h"

enum {
    SILENT_TIMEOUTS = 3, /* election timeouts after which who says nothing is missing */
    ADVICE_SIZE = 120    /* room for what would help */
};

/* A text that is cut where its room ends. */
struct text {
    char bytes[PERI_ERROR_TEXT_SIZE];
    size_t size;
};

static void say(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int more =
        vsnprintf(text->bytes + text->size, sizeof text->bytes - text->size, format, arguments);
    va_end(arguments);
    text->size += more > 0 ? (size_t)more : 0;
    if (text->size >= sizeof text->bytes)
        text->size = sizeof text->bytes - 1;
}

static double seconds(uint64_t from_us, uint64_t to_us)
{
    return to_us > from_us ? (double)(to_us - from_us) / 1e6 : 0.0;
}

static const char *loss(enum store_log_health health)
{
    return health == STORE_LOG_DAMAGED ? "a damaged log" : "a log whose end is in doubt";
}

/* Says what keeps that voter from helping to elect a leader; false when nothing is known to. */
static bool say_missing(struct text *text, const struct node_group *group, uint64_t id)
{
    uint64_t now_us = env_now_us(group->node->env);
    const struct node_peer *peer = node_peer_find(group->node, id);
    const char *address = peer != NULL ? peer->address : "address unknown";
    struct rpc_client_info info = {.is_up = false, .why = ""};
    enum store_log_health health;
    if (peer != NULL && (peer->is_on_other_disk || peer->knows_other_disk)) {
        say(text, "; node %" PRIu64 " (%s) %s", id, address,
            peer->is_on_other_disk ? "came back on another disk, and is not heard"
                                   : "knew this node on another disk, and does not hear it");
        return true;
    }
    if (peer != NULL && peer->client != NULL)
        rpc_client_look(peer->client, &info);
    if (!info.is_up) {
        say(text, "; node %" PRIu64 " (%s) is down for %.1f s", id, address,
            info.since_us > 0 ? seconds(info.since_us, now_us) : 0.0);
        if (info.why != NULL && info.why[0] != '\0')
            say(text, " (%.80s)", info.why);
        return true;
    }
    if (node_repair_is_ailing(group, id, &health)) {
        say(text, "; node %" PRIu64 " (%s) has %s, and gives no votes", id, address, loss(health));
        return true;
    }
    if (node_repair_is_deaf(group))
        return false; /* this replica is deaf: silence means nothing */
    uint64_t patience_us = SILENT_TIMEOUTS * group->node->options.raft.election_max_us;
    if (group->leaderless_us + patience_us > now_us || peer->heard_us > group->leaderless_us)
        return false;
    if (peer->heard_us == 0)
        say(text, "; node %" PRIu64 " (%s) was never heard of", id, address);
    else
        say(text, "; node %" PRIu64 " (%s) is silent for %.1f s", id, address,
            seconds(peer->heard_us, now_us));
    return true;
}

/* Whom this replica has to hear of before it takes part in anything. */
static void say_waits(struct text *text, const struct node_group *group)
{
    const struct raft_configuration *members = raft_members(group->raft);
    size_t count = 0;
    for (size_t i = 0; i < members->count; i++)
        if (node_group_waits_for(group, members->ids[i]))
            say(text, "%s node %" PRIu64, count++ == 0 ? "; it waits to hear of" : " and of",
                members->ids[i]);
    if (count > 0)
        say(text, ", or of a leader that goes on committing: remove who is gone for good");
}

static bool say_own(struct text *text, const struct node_group *group)
{
    if (group->node->is_old_copy) {
        say(text, "; node %" PRIu64 ", this one, is on an older copy of its disk, and hears nobody",
            group->node->options.id);
        return true;
    }
    if (group->health == STORE_LOG_CLEAN)
        return false;
    say(text, "; node %" PRIu64 ", this one, has %s, and gives no votes (%s)",
        group->node->options.id, loss(group->health), node_repair_why(group));
    say_waits(text, group);
    return true;
}

/* Who is missing, and what would restore the group. */
static void say_all_missing(struct text *text, const struct node_group *group)
{
    const struct raft_configuration *members = raft_members(group->raft);
    uint8_t votes[RAFT_MEMBERS_MAX] = {0};
    bool is_damaged = false;
    for (size_t i = 0; i < members->count; i++) {
        uint64_t id = members->ids[i];
        enum store_log_health health;
        bool is_own = id == group->node->options.id;
        if (!raft_configuration_is_voter(members, id))
            continue;
        bool is_missing = is_own ? say_own(text, group) : say_missing(text, group, id);
        votes[i] = is_missing ? RAFT_VOTE_REFUSED : RAFT_VOTE_GRANTED;
        is_damaged =
            is_damaged || (is_own ? is_missing : node_repair_is_ailing(group, id, &health));
    }
    if (raft_quorum_vote(members, votes) != RAFT_LOST)
        return;
    if (text->size > sizeof text->bytes - ADVICE_SIZE) {
        text->size = sizeof text->bytes - ADVICE_SIZE;
        say(text, "...");
    }
    say(text, "; a majority has to be there%s; if that is lost for good, see perilune recover",
        is_damaged ? ", with whole logs" : "");
}

int node_group_explain(const struct node_group *group, int rc, struct peri_error *err)
{
    struct raft_status status;
    struct text text = {.size = 0};
    if (group->raft == NULL)
        return peri_fail_plain(err, PERI_ECLOSED, "group %" PRIu64 " is not open", group->id);
    raft_status(group->raft, &status);
    if (rc == PERI_ENOTLEADER && status.leader != 0) {
        const char *address = node_group_member_address(group, status.leader);
        return peri_fail_plain(err, rc,
                               "node %" PRIu64 " is not the leader of group %" PRIu64
                               ": node %" PRIu64 " (%s) leads in term %" PRIu64,
                               status.id, group->id, status.leader,
                               address != NULL ? address : "address unknown", status.term);
    }
    if (rc == PERI_ENOTLEADER) {
        say(&text,
            "group %" PRIu64 " has no leader that node %" PRIu64
            " knows of for %.1f s (term %" PRIu64 ")",
            group->id, status.id, seconds(group->leaderless_us, env_now_us(group->node->env)),
            status.term);
        say_all_missing(&text, group);
        return peri_fail_plain(err, rc, "%s", text.bytes);
    }
    if (rc == PERI_EBUSY && status.transfer_to != 0)
        return peri_fail_plain(err, rc,
                               "leadership of group %" PRIu64 " is on its way to node %" PRIu64,
                               group->id, status.transfer_to);
    if (rc == PERI_EBUSY)
        return peri_fail_plain(err, rc,
                               "group %" PRIu64 " is busy: %" PRIu64
                               " entries wait for a majority, or for another change",
                               group->id, status.last_index - status.commit_index);
    return peri_fail(err, rc, "group %" PRIu64, group->id);
}
