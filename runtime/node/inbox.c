/* inbox.c - what other nodes say: envelopes are opened, messages go to their groups. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "env/log.h"
#include "node/compare.h"

/* ---- arguments of calls: a MessagePack array of one byte string ---- */

enum { ARRAY_OF_ONE = 0x91, BIN8 = 0xc4, BIN16 = 0xc5, BIN32 = 0xc6 };

void node_args_put_head(char out[NODE_ARGS_HEAD], size_t size)
{
    out[0] = (char)ARRAY_OF_ONE;
    out[1] = (char)BIN32;
    for (int i = 0; i < 4; i++)
        out[2 + i] = (char)(size >> (24 - 8 * i));
}

int node_args_get(struct peri_slice args, struct peri_slice *out, struct peri_error *err)
{
    const unsigned char *at = (const unsigned char *)args.data;
    size_t width = 0, size = 0;
    if (args.size >= 2 && at[0] == ARRAY_OF_ONE && at[1] >= BIN8 && at[1] <= BIN32)
        width = (size_t)1 << (at[1] - BIN8);
    if (width == 0 || args.size < 2 + width)
        return peri_fail_plain(err, PERI_EFORMAT, "its argument is not one byte string");
    for (size_t i = 0; i < width; i++)
        size = size << 8 | at[2 + i];
    if (size != args.size - 2 - width)
        return peri_fail_plain(err, PERI_EFORMAT, "its argument is not one byte string");
    *out = peri_slice_of(args.data + 2 + width, size);
    return 0;
}

/* ---- messages ---- */

/* Room for the entries of a message, in both forms. */
static int make_room(struct node *node, size_t count)
{
    if (count <= node->entry_capacity)
        return 0;
    struct store_log_entry *entries = realloc(node->entries, count * sizeof *entries);
    if (entries != NULL)
        node->entries = entries;
    struct raft_entry *bare = realloc(node->bare, count * sizeof *bare);
    if (bare != NULL)
        node->bare = bare;
    if (entries == NULL || bare == NULL)
        return PERI_ENOMEM;
    node->entry_capacity = count;
    return 0;
}

static int make_configurations(struct node *node, size_t count)
{
    if (count <= node->configuration_capacity)
        return 0;
    struct raft_configuration *all = realloc(node->configurations, count * sizeof *all);
    if (all == NULL)
        return PERI_ENOMEM;
    node->configurations = all;
    node->configuration_capacity = count;
    return 0;
}

/* What the core sees of the entries. */
static int bare_entries(struct node *node, size_t count)
{
    size_t configurations = 0, used = 0;
    for (size_t i = 0; i < count; i++)
        configurations += node->entries[i].type == RAFT_CONFIGURATION;
    int rc = make_configurations(node, configurations);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct store_log_entry *entry = &node->entries[i];
        node->bare[i] = (struct raft_entry){
            .term = entry->term, .size_bytes = (uint32_t)entry->payload.size, .type = entry->type};
        if (entry->type != RAFT_CONFIGURATION)
            continue;
        struct raft_configuration *members = &node->configurations[used++];
        rc = node_members_get(entry->payload, members, NULL, NULL);
        if (rc == 0)
            rc = node_members_learn(node, entry->payload, NULL);
        node->bare[i].configuration = members;
    }
    return rc;
}

static int step_message(struct node_group *group, const struct node_message *message)
{
    struct node *node = group->node;
    int rc = make_room(node, message->count);
    if (rc != 0)
        return rc;
    node_message_entries(message, node->entries);
    rc = bare_entries(node, message->count);
    if (rc != 0)
        return rc;
    struct node_step step = {.event = {.type = RAFT_MESSAGE,
                                       .message = &message->raft,
                                       .entries = node->bare,
                                       .count = message->count},
                             .entries = message->count > 0 ? node->entries : NULL,
                             .first = message->raft.index + 1};
    return node_group_step(group, &step);
}

void node_inbox_take(struct node_group *group, const struct node_message *message)
{
    struct node *node = group->node;
    if (!node_repair_hears(group, &message->raft)) {
        node->stats.messages_refused++;
        return;
    }
    int rc = group->raft == NULL || message->raft.type == RAFT_INSTALL_SNAPSHOT
                 ? PERI_ECLOSED /* snapshots come by node_snapshots_on_call */
                 : step_message(group, message);
    if (rc != 0) {
        node->stats.messages_refused++;
        env_log(node->env, ENV_LOG_DEBUG, "node",
                "group %" PRIu64 " refuses message %d of node %" PRIu64 ": %s", group->id,
                (int)message->raft.type, message->raft.from, peri_strerror(rc));
        return;
    }
    node_group_wake(group);
}

/* Who was away while members changed hears from one that it has never heard of, and could not
 * answer. What a configuration says of a member comes before what that says itself. */
static void meet(struct node *node, const struct node_envelope *envelope)
{
    if (envelope->address.size > 0 && node_peer_find(node, envelope->from) == NULL)
        (void)node_peer_set(node, envelope->from, envelope->address, NULL); /* the next one will */
}

int node_envelope_take(struct node *node, struct peri_slice args, const char *what,
                       struct node_envelope *out, struct peri_error *err)
{
    struct peri_slice bytes;
    int rc = node_args_get(args, &bytes, err);
    if (rc == 0)
        rc = node_envelope_open(bytes, out, err);
    if (rc != 0)
        return rc;
    if (out->cluster != node->cluster || out->to != node->options.id)
        return peri_fail(err, PERI_ECLUSTER, "%s of node %" PRIu64, what, out->from);
    return node_births_check(node, out, err);
}

static int take_all(struct node *node, struct peri_slice bytes, struct peri_error *err)
{
    struct node_envelope envelope;
    struct node_message message;
    int rc = node_envelope_open(bytes, &envelope, err);
    if (rc != 0)
        return rc;
    if (envelope.cluster != node->cluster)
        return peri_fail(err, PERI_ECLUSTER, "an envelope of node %" PRIu64, envelope.from);
    if (envelope.to != node->options.id || envelope.from == node->options.id)
        return peri_fail_plain(err, PERI_EPROTOCOL,
                               "an envelope of node %" PRIu64 " for node %" PRIu64
                               " came to node %" PRIu64,
                               envelope.from, envelope.to, node->options.id);
    if (node_births_check(node, &envelope, err) != 0) {
        node->stats.messages_refused++;
        return 0; /* people were told, once */
    }
    meet(node, &envelope);
    node_liveness_heard(node, envelope.from, envelope.incarnation);
    while ((rc = node_envelope_next(&envelope, &message, err)) == 1) {
        struct node_group *group = node_group_find(node, message.group);
        node->stats.messages_heard++;
        if (group != NULL)
            node_inbox_take(group, &message);
        else
            node->stats.messages_refused++;
    }
    return rc;
}

static void on_messages(struct rpc_call *call)
{
    struct node *node = call->handler->data;
    struct peri_error err = PERI_ERROR_INIT;
    struct peri_slice bytes = {NULL, 0};
    int rc = node_args_get(call->args, &bytes, &err);
    if (rc == 0 && node->is_open && !node->is_closing)
        rc = take_all(node, bytes, &err);
    if (rc != 0) {
        char peer[RPC_PEER_TEXT_SIZE];
        rpc_call_peer(call, peer);
        node->stats.messages_refused++;
        env_log(node->env, ENV_LOG_WARN, "node", "refused what %s says: %s", peer, err.text);
        rpc_call_fail_code(call, &err);
        return;
    }
    rpc_call_reply(call, peri_slice_of("\x90", 1));
}

int node_inbox_serve(struct node *node, struct peri_error *err)
{
    const struct {
        const char *name;
        struct rpc_handler handler;
    } served[] = {
        {"raft.messages", {.on_call = on_messages, .data = node}},
        {"raft.snapshot",
         {.on_call = node_snapshots_on_call, .on_cancel = node_snapshots_on_cancel, .data = node}},
        {"raft.repair", {.on_call = node_repair_on_call, .data = node}},
        {"raft.chunk",
         {.on_call = node_intake_on_call, .on_cancel = node_intake_on_cancel, .data = node}},
        {"raft.hashes", {.on_call = node_compare_on_call, .data = node}},
        {"raft.state", {.on_call = node_rebuild_on_state_call, .data = node}},
        {"raft.chunk_of_state",
         {.on_call = node_intake_on_state, .on_cancel = node_intake_on_cancel, .data = node}},
        {"raft.rebuild", {.on_call = node_rebuild_on_piece, .data = node}},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof served / sizeof *served && rc == 0; i++)
        rc = rpc_server_handle(node->server, served[i].name, &served[i].handler, err);
    return rc;
}
