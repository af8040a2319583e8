/* actions.c - carrying out what a step wants.
 *
 * Order is everything (raft.h): the record is handed to the disk first; a message or a window that
 * depends on it waits until it is durable. An AppendEntries gets its payloads when it leaves, from
 * the log as it is then, if the core still stands by it. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"
#include "env/log.h"
#include "node/keys.h"
#include "node/parts.h"

/* ---- without memory ---- */

void node_lose(struct node_group *group, bool is_snapshot)
{
    if (is_snapshot)
        group->lost_snapshot = true;
    else
        group->lost_entries = true;
    env_log(group->node->env, ENV_LOG_WARN, "node", "group %" PRIu64 ": no memory to send %s",
            group->id, is_snapshot ? "a snapshot" : "entries");
    node_group_wake(group);
}

void node_tell_lost(struct node_group *group)
{
    uint64_t ids[RAFT_MEMBERS_MAX];
    bool entries = group->lost_entries, snapshot = group->lost_snapshot;
    group->lost_entries = group->lost_snapshot = false;
    if (group->raft == NULL || !(entries || snapshot))
        return;
    size_t count = raft_members(group->raft)->count;
    memcpy(ids, raft_members(group->raft)->ids, count * sizeof *ids);
    for (size_t i = 0; i < count; i++) { /* what a step refuses is of somebody who is gone */
        struct node_step unreachable = {.event = {.type = RAFT_UNREACHABLE, .peer = ids[i]}};
        struct node_step fetched = {.event = {.type = RAFT_FETCHED, .peer = ids[i], .index = 1}};
        struct node_step sent = {.event = {.type = RAFT_SNAPSHOT_SENT, .peer = ids[i]}};
        if (ids[i] == group->node->options.id)
            continue;
        if (entries) {
            (void)node_group_step(group, &unreachable);
            (void)node_group_step(group, &fetched);
        }
        if (snapshot)
            (void)node_group_step(group, &sent);
    }
}

/* ---- messages ---- */

static void on_old_entries(struct node_group *group, void *data, int status, uint64_t first,
                           const struct store_log_entry *entries, size_t count)
{
    struct raft_message *message = data;
    bool is_whole =
        status == 0 && first == message->index + 1 && count >= message->last - message->index;
    if (group->raft != NULL && is_whole && raft_may_send(group->raft, message))
        node_peer_send(group, message, entries);
    else if (group->raft != NULL && !group->is_closing) {
        struct node_step step = {.event = {.type = RAFT_UNREACHABLE, .peer = message->to}};
        (void)node_group_step(group, &step); /* it is no member any more, perhaps */
        node_group_wake(group);
    }
    free(message);
}

/* Old entries are read while the loop goes on. */
static void send_later(struct node_group *group, const struct raft_message *message)
{
    struct raft_message *copy = malloc(sizeof *copy);
    if (copy != NULL) {
        *copy = *message;
        if (node_disk_read(group, message->index + 1, message->last, UINT64_MAX, on_old_entries,
                           copy) == 0)
            return;
    }
    free(copy);
    node_lose(group, false);
}

static void send_now(struct node_group *group, const struct raft_message *message)
{
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        node_snapshots_send(group, message);
        return;
    }
    if (message->type != RAFT_APPEND_ENTRIES || message->last == message->index) {
        node_peer_send(group, message, NULL);
        return;
    }
    if (!raft_may_send(group->raft, message))
        return;
    size_t count = (size_t)(message->last - message->index);
    struct store_log_entry *entries = malloc(count * sizeof *entries);
    if (entries == NULL)
        node_lose(group, false);
    else if (node_disk_recent(group, message->index + 1, message->last, entries))
        node_peer_send(group, message, entries);
    else
        send_later(group, message);
    free(entries);
}

static void hold_back(struct node_group *group, const struct raft_message *message,
                      uint64_t after_seq)
{
    if (group->held_count == group->held_capacity) {
        size_t capacity = 2 * group->held_capacity + 8;
        struct node_held *held =
            capacity <= NODE_HELD_MAX ? realloc(group->held, capacity * sizeof *held) : NULL;
        if (held == NULL)
            return; /* lost like any other message */
        group->held = held;
        group->held_capacity = capacity;
    }
    if (group->held_count == 0 || after_seq < group->held_due_seq)
        group->held_due_seq = after_seq;
    group->held[group->held_count++] = (struct node_held){*message, after_seq};
}

static void send(struct node_group *group, const struct raft_action *action)
{
    if (action->after_seq <= group->durable_seq)
        send_now(group, &action->message);
    else
        hold_back(group, &action->message, action->after_seq);
}

void node_release_held(struct node_group *group)
{
    size_t kept = 0;
    if (group->held_count == 0 || group->held_due_seq > group->durable_seq)
        return;
    group->held_due_seq = UINT64_MAX;
    for (size_t i = 0; i < group->held_count; i++) {
        struct node_held held = group->held[i];
        if (held.after_seq <= group->durable_seq) {
            send_now(group, &held.message);
            continue;
        }
        group->held[kept++] = held;
        if (held.after_seq < group->held_due_seq)
            group->held_due_seq = held.after_seq;
    }
    group->held_count = kept;
}

/* ---- old entries for a peer ---- */

struct fetch {
    uint64_t peer;
    uint64_t size_bytes;
};

static void on_fetched(struct node_group *group, void *data, int status, uint64_t first,
                       const struct store_log_entry *entries, size_t count)
{
    const struct fetch *fetch = data;
    struct node_step step = {.event = {.type = RAFT_FETCHED, .peer = fetch->peer, .index = first}};
    uint64_t bytes = 0;
    size_t fitting = 0;
    for (; status == 0 && fitting < count; fitting++) {
        uint64_t more = entries[fitting].payload.size + RAFT_ENTRY_OVERHEAD;
        if (fitting > 0 && bytes + more > fetch->size_bytes)
            break;
        bytes += more;
    }
    step.event.last = fitting > 0 ? first + fitting - 1 : 0;
    step.event.size_bytes = bytes;
    step.entries = entries;
    step.first = first;
    free(data);
    if (group->is_closing)
        return;
    (void)node_group_step(group, &step); /* the peer is no member any more, perhaps */
    node_group_wake(group);
}

static void start_fetch(struct node_group *group, const struct raft_action *action)
{
    struct raft_status status;
    struct fetch *fetch = malloc(sizeof *fetch);
    raft_status(group->raft, &status);
    if (fetch != NULL) {
        *fetch = (struct fetch){action->peer, action->size_bytes};
        if (node_disk_read(group, action->first, status.last_index, action->size_bytes, on_fetched,
                           fetch) == 0)
            return;
    }
    free(fetch);
    node_lose(group, false);
}

/* ---- records ---- */

/* Entries of this replica's own making. */
static int make_entries(struct node_group *group, const struct raft_record *record,
                        const struct node_step *step, struct peri_buffer *members,
                        struct store_log_entry *out)
{
    for (uint64_t i = record->first; i != 0 && i <= record->last; i++) {
        struct store_log_entry *entry = &out[i - record->first];
        if (step->entries != NULL && i >= step->first) {
            *entry = step->entries[i - step->first];
            if (step->event.type == RAFT_PROPOSE)
                entry->term = record->term;
            continue;
        }
        *entry = (struct store_log_entry){.term = record->term, .type = record->type};
        if (record->type != RAFT_CONFIGURATION)
            continue;
        int rc = node_members_put(group->node, record->configuration, members);
        if (rc != 0)
            return rc;
        entry->payload = peri_buffer_slice(members);
    }
    return 0;
}

static void persist(struct node_group *group, const struct raft_record *record,
                    const struct node_step *step)
{
    struct peri_buffer members = {NULL, 0, 0};
    size_t count = record->first > 0 ? (size_t)(record->last - record->first + 1) : 0;
    struct store_log_entry *entries = count > 0 ? malloc(count * sizeof *entries) : NULL;
    if (count > 0 && (entries == NULL || make_entries(group, record, step, &members, entries) != 0))
        node_fence(group->node, PERI_ENOMEM); /* a record that cannot be written is a disk failed */
    else {
        if (record->snapshot_index > 0) {
            group->window.is_set = false; /* void: raft.h */
            node_snapshots_install(group, record);
        }
        node_disk_write(group, record, entries);
        node_keys_foresee(group, entries, count);
    }
    peri_buffer_deinit(&members);
    free(entries);
}

/* ---- all ---- */

static void tell_role(struct node_group *group, const struct raft_action *action)
{
    if (action->peer != 0)
        group->is_led = true;
    else if (group->is_led) {
        group->is_led = false;
        group->leaderless_us = env_now_us(group->node->env);
    }
    node_tell(group->node, &(struct node_event){.type = NODE_ROLE,
                                                .group = group->id,
                                                .term = action->term,
                                                .role = action->role,
                                                .peer = action->peer});
}

static void tell_members(struct node_group *group, const struct raft_action *action)
{
    group->has_new_members = true;
    node_tell(group->node, &(struct node_event){
                               .type = NODE_MEMBERS, .group = group->id, .index = action->index});
}

static void open_window(struct node_group *group, const struct raft_action *action)
{
    PERI_ASSERT(!group->window.is_set);
    group->window = (struct node_window){.is_set = true,
                                         .first = action->first,
                                         .last = action->last,
                                         .next = action->first,
                                         .after_seq = action->after_seq};
}

void node_carry_out(struct node_group *group, const struct node_step *step)
{
    struct node *node = group->node;
    /* Steps of other groups may begin before the end, when the disk fails: a copy of the count
     * would not help, so nothing below may step. */
    for (size_t i = 0; i < node->out.count && group->raft != NULL; i++) {
        const struct raft_action *action = &node->out.actions[i];
        switch (action->type) {
        case RAFT_PERSIST:
            persist(group, &action->record, step);
            break;
        case RAFT_SEND:
            if (step->event.type == RAFT_FETCHED && step->entries != NULL &&
                action->message.type == RAFT_APPEND_ENTRIES &&
                action->message.index + 1 == step->first && action->after_seq <= group->durable_seq)
                node_peer_send(group, &action->message, step->entries);
            else
                send(group, action);
            break;
        case RAFT_FETCH:
            start_fetch(group, action);
            break;
        case RAFT_APPLY:
            open_window(group, action);
            break;
        case RAFT_READ_READY:
            node_requests_reads_ready(group, action->last);
            break;
        case RAFT_READ_DROPPED:
            node_requests_reads_dropped(group, action->first, action->last);
            break;
        case RAFT_ROLE:
            tell_role(group, action);
            if (action->peer != 0)
                node_requests_resume(group);
            break;
        case RAFT_NEW_MEMBERS:
            tell_members(group, action);
            break;
        }
    }
}
