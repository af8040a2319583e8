#include "raft_hostile.h"

#include <inttypes.h>
#include <stdlib.h>

#include "raft/invariants.h"

enum { SMALL = 8, EVENT_TYPES = RAFT_PEER_DOWN + 1, MESSAGE_TYPES = RAFT_READ_INDEX_REPLY + 1 };

static uint64_t draw(const struct raft_hostile_source *source, uint64_t below)
{
    return source->draw(source->data, below);
}

/* Mostly a number that means something, sometimes one at the end of the world. */
static uint64_t any(const struct raft_hostile_source *source)
{
    uint64_t number = draw(source, 50);
    return number < 3 ? UINT64_MAX - number : number % SMALL;
}

static uint64_t near(const struct raft_hostile_source *source, uint64_t value)
{
    switch (draw(source, 6)) {
    case 0:
    case 1:
        return any(source);
    case 2:
        return value + 1;
    case 3:
        return value > 0 ? value - 1 : 0;
    default:
        return value;
    }
}

static struct raft_configuration any_configuration(const struct raft_hostile_source *source)
{
    static const uint8_t MEMBERS[] = {RAFT_VOTER,
                                      RAFT_VOTER,
                                      RAFT_LEARNER,
                                      RAFT_VOTER_OLD,
                                      RAFT_VOTER | RAFT_VOTER_OLD,
                                      RAFT_LEARNER | RAFT_PROMOTE,
                                      255};
    struct raft_configuration made = {{0}, {0}, 1 + draw(source, 4)};
    for (size_t i = 0; i < made.count; i++) {
        uint64_t choice = draw(source, 64);
        made.ids[i] = i + (choice > 60) + 1;
        made.members[i] = MEMBERS[choice == 0 ? 6 : choice % 6];
    }
    return made;
}

static void make_entries(struct raft_hostile *h, const struct raft_hostile_source *source)
{
    h->event.count = draw(source, RAFT_HOSTILE_ENTRIES + 1);
    h->event.entries = h->entries;
    uint64_t term = h->message.log_term;
    for (size_t i = 0; i < h->event.count; i++) {
        uint64_t choice = draw(source, 256);
        term = choice % 20 == 0 ? any(source) : term + (choice % 4 == 0);
        h->entries[i] = (struct raft_entry){.term = term,
                                            .size_bytes = (uint32_t)choice,
                                            .type = (enum raft_entry_type)(choice / 8 % 4)};
        bool has_members = h->entries[i].type == RAFT_CONFIGURATION;
        if (has_members != (choice % 30 == 0)) {
            h->members[i] = any_configuration(source);
            h->entries[i].configuration = &h->members[i];
        }
        if (h->event.type == RAFT_PROPOSE && choice % 10 > 0)
            h->entries[i].type = RAFT_COMMAND;
    }
}

static void make_message(struct raft_hostile *h, const struct raft_status *status,
                         const struct raft_hostile_source *source)
{
    uint64_t flags = draw(source, 256);
    uint64_t index = (flags & 1) != 0 ? status->last_index : status->commit_index;
    h->message = (struct raft_message){
        .type = (enum raft_message_type)draw(source, MESSAGE_TYPES + 1),
        .success = (flags & 2) != 0,
        .is_transfer = (flags & 12) == 0,
        .is_sleepy = (flags & 16) != 0,
        .from = 1 + draw(source, 4),
        .to = flags / 16 == 0 ? any(source) : status->id,
        .term = near(source, status->term),
        .index = near(source, index),
        .log_term = near(source, status->term),
        .commit = near(source, status->commit_index),
        .round = near(source, draw(source, SMALL)),
        .sent_us = draw(source, 256) * 8192,
    };
    h->event.message = flags == 255 ? NULL : &h->message;
    h->message.last = near(source, h->message.index);
    if (h->message.type == RAFT_APPEND_ENTRIES) {
        make_entries(h, source);
        if (flags / 16 != 1)
            h->message.last = h->message.index + h->event.count;
    }
    if (h->message.type == RAFT_INSTALL_SNAPSHOT) {
        h->snapshot = any_configuration(source);
        h->event.configuration = flags / 16 == 2 ? NULL : &h->snapshot;
    }
}

static void make_changes(struct raft_hostile *h, const struct raft_hostile_source *source)
{
    h->event.count = draw(source, RAFT_HOSTILE_CHANGES + 1);
    h->event.changes = h->changes;
    for (size_t i = 0; i < h->event.count; i++)
        h->changes[i] =
            (struct raft_change){(enum raft_change_type)draw(source, 4), draw(source, 6)};
}

void raft_hostile_make(struct raft_hostile *h, const struct raft *raft, uint64_t now_us,
                       const struct raft_hostile_source *source)
{
    struct raft_status status;
    raft_status(raft, &status);
    *h = (struct raft_hostile){0};
    uint64_t choice = draw(source, 256);
    h->event.type =
        choice % 3 == 0 ? RAFT_MESSAGE : (enum raft_event_type)(choice / 3 % EVENT_TYPES);
    h->event.now_us = choice == 255 ? any(source) : now_us;
    h->event.success = choice % 2 == 0;
    if (h->event.type == RAFT_PERSIST_FAILED && draw(source, 20) > 0)
        h->event.type = RAFT_TIME; /* nothing comes behind it */
    if (h->event.type == RAFT_MESSAGE)
        make_message(h, &status, source);
    else if (h->event.type == RAFT_PROPOSE)
        make_entries(h, source);
    else if (h->event.type == RAFT_CHANGE)
        make_changes(h, source);
    else if (h->event.type != RAFT_TIME) {
        bool is_disk = h->event.type == RAFT_PERSISTED;
        h->event.peer = draw(source, 5);
        h->event.seq = near(source, status.durable_seq + 1);
        h->event.index = near(source, is_disk ? status.last_index : status.commit_index);
        h->event.last = near(source, status.last_applied);
        h->event.term = near(source, status.term);
        h->event.size_bytes = draw(source, 100);
        if (h->event.type == RAFT_PRIORITY && draw(source, 16) > 0)
            h->event.index = RAFT_PRIORITY_MAX; /* with 0 little more would happen */
    }
}

void raft_hostile_damage(struct raft_message *message, const struct raft_hostile_source *source)
{
    uint64_t *const fields[] = {&message->from,  &message->to,       &message->term,
                                &message->last,  &message->log_term, &message->index,
                                &message->round, &message->sent_us,  &message->commit};
    uint64_t at = draw(source, sizeof fields / sizeof *fields + 3);
    if (at < sizeof fields / sizeof *fields)
        *fields[at] = near(source, *fields[at]);
    else if (at == sizeof fields / sizeof *fields)
        message->success = !message->success;
    else if (at == sizeof fields / sizeof *fields + 1)
        message->is_sleepy = !message->is_sleepy;
    else
        message->type = (enum raft_message_type)draw(source, MESSAGE_TYPES + 1);
}

/* One whose disk has lost something gives no votes and asks for none. */
static void check_votes(const struct raft_output *out, struct peri_error *err)
{
    for (size_t i = 0; i < out->count; i++) {
        const struct raft_message *message = &out->actions[i].message;
        if (out->actions[i].type != RAFT_SEND)
            continue;
        bool is_reply = message->success && (message->type == RAFT_PRE_VOTE_REPLY ||
                                             message->type == RAFT_REQUEST_VOTE_REPLY);
        if (is_reply || message->type == RAFT_PRE_VOTE || message->type == RAFT_REQUEST_VOTE)
            peri_fail_plain(err, PERI_ECORRUPT, "an impaired replica takes part in elections");
    }
}

int raft_hostile_step(struct raft *raft, const struct raft_event *event, struct raft_output *out,
                      struct peri_error *err)
{
    uint64_t before = raft_hash(raft);
    struct raft_status status;
    int rc = raft_step(raft, event, out);
    raft_status(raft, &status);
    if (status.is_impaired)
        check_votes(out, err);
    if (rc != 0 && (raft_hash(raft) != before || out->count != 0))
        peri_fail(err, PERI_ECORRUPT, "refused (%d), but something changed", rc);
    else
        raft_check(raft, err);
    return rc;
}

static int dump(const struct raft *raft, char **bytes, size_t *size)
{
    *size = raft_dump(raft, NULL, 0);
    *bytes = malloc(*size);
    if (*bytes == NULL)
        return PERI_ENOMEM;
    raft_dump(raft, *bytes, *size);
    return 0;
}

int raft_hostile_copy(struct raft **out, const struct raft *raft, struct peri_error *err)
{
    char *bytes;
    size_t size;
    int rc = dump(raft, &bytes, &size);
    if (rc != 0)
        return rc;
    rc = raft_load(out, bytes, size, err);
    free(bytes);
    if (rc != 0)
        return rc == PERI_ENOMEM ? rc : PERI_ECORRUPT;
    if (raft_hash(*out) == raft_hash(raft))
        return 0;
    raft_close(*out);
    *out = NULL;
    return peri_fail_plain(err, PERI_ECORRUPT, "a loaded dump is another state");
}

int raft_hostile_load(const struct raft *raft, const struct raft_hostile_source *source,
                      struct peri_error *err)
{
    char *bytes;
    size_t size;
    int rc = dump(raft, &bytes, &size);
    if (rc != 0)
        return rc;
    size_t at = draw(source, 256) * 256 + draw(source, 256);
    bytes[at % size] ^= (char)(1 << draw(source, 8));
    size_t cut = draw(source, 4) == 0 ? draw(source, 256) : 0;
    struct raft *made = NULL;
    if (raft_load(&made, bytes, size - cut % size, NULL) == 0)
        rc = raft_check(made, err);
    raft_close(made);
    free(bytes);
    return rc;
}
