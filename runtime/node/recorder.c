#include "node/recorder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum {
    HALF_MIN = 4 << 10,
    HEAD_SIZE = 8,
    SIZE_SIZE = 4,
    EVENT_NUMBERS = 9,
    MESSAGE_NUMBERS = 13,
    ENTRIES_MAX = 1 << 16,
};

static const char magic[4] = {'P', 'F', 'R', '1'};

int node_recorder_init(struct node_recorder *recorder, uint64_t bytes)
{
    *recorder = (struct node_recorder){.half_bytes = (size_t)(bytes / 2)};
    return bytes == 0 || bytes / 2 >= HALF_MIN ? 0 : PERI_EINVAL;
}

void node_recorder_deinit(struct node_recorder *recorder)
{
    peri_buffer_deinit(&recorder->older);
    peri_buffer_deinit(&recorder->newer);
}

/* ---- writing ---- */

static int put_all(struct peri_buffer *out, const uint64_t *values, size_t count)
{
    int rc = peri_buffer_reserve(out, count * BITS_VARINT_MAX);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    for (size_t i = 0; i < count; i++)
        at = bits_put_varint(at, values[i]);
    out->size = (size_t)(at - out->data);
    return 0;
}

static int put(struct peri_buffer *out, uint64_t value)
{
    return put_all(out, &value, 1);
}

static int put_message(struct peri_buffer *out, const struct raft_message *m)
{
    const uint64_t values[MESSAGE_NUMBERS] = {
        (uint64_t)m->type, m->success,  m->is_transfer, m->is_sleepy, m->from,  m->to,     m->term,
        m->index,          m->log_term, m->last,        m->commit,    m->round, m->sent_us};
    return put_all(out, values, MESSAGE_NUMBERS);
}

static int put_members(struct peri_buffer *out, const struct raft_configuration *members)
{
    size_t count = members != NULL ? members->count : 0;
    int rc = put(out, count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const uint64_t values[2] = {members->ids[i], members->members[i]};
        rc = put_all(out, values, 2);
    }
    return rc;
}

static int put_entries(struct peri_buffer *out, const struct raft_event *event)
{
    size_t count = event->entries != NULL ? event->count : 0;
    int rc = put(out, count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct raft_entry *entry = &event->entries[i];
        bool has_members = entry->configuration != NULL; /* else as many as 0 */
        const uint64_t values[4] = {entry->term, entry->size_bytes, (uint64_t)entry->type};
        rc = put_all(out, values, has_members ? 3 : 4);
        if (rc == 0 && has_members)
            rc = put_members(out, entry->configuration);
    }
    return rc;
}

static int put_changes(struct peri_buffer *out, const struct raft_event *event)
{
    size_t count = event->changes != NULL ? event->count : 0;
    int rc = put(out, count);
    for (size_t i = 0; i < count && rc == 0; i++) {
        const uint64_t values[2] = {(uint64_t)event->changes[i].type, event->changes[i].id};
        rc = put_all(out, values, 2);
    }
    return rc;
}

static int put_event(struct peri_buffer *out, const struct raft_event *event)
{
    const uint64_t values[EVENT_NUMBERS] = {
        (uint64_t)event->type, event->success, event->now_us, event->peer,      event->seq,
        event->index,          event->last,    event->term,   event->size_bytes};
    int rc = put_all(out, values, EVENT_NUMBERS);
    if (rc == 0)
        rc = put(out, event->message != NULL);
    if (rc == 0 && event->message != NULL)
        rc = put_message(out, event->message);
    if (rc == 0)
        rc = put_entries(out, event);
    if (rc == 0)
        rc = put_members(out, event->configuration);
    return rc == 0 ? put_changes(out, event) : rc;
}

/* The newer half becomes the older one; a fresh one begins with the state as it is. */
static int begin_half(struct node_recorder *recorder, const struct raft *raft)
{
    struct peri_buffer fresh = recorder->older;
    size_t size = raft_dump(raft, NULL, 0);
    fresh.size = 0;
    recorder->older = recorder->newer;
    recorder->newer = fresh;
    int rc = peri_buffer_reserve(&recorder->newer, HEAD_SIZE + size);
    if (rc != 0)
        return rc;
    char *at = recorder->newer.data;
    memcpy(at, magic, sizeof magic);
    bits_put_le32(at + 4, (uint32_t)size);
    (void)raft_dump(raft, at + HEAD_SIZE, size);
    recorder->newer.size = recorder->dump_bytes = HEAD_SIZE + size;
    return 0;
}

void node_recorder_before(struct node_recorder *recorder, const struct raft *raft,
                          const struct raft_event *event)
{
    static const char room[SIZE_SIZE];
    int rc = 0;
    if (recorder->half_bytes == 0)
        return;
    if (recorder->newer.size == 0 ||
        recorder->newer.size - recorder->dump_bytes >= recorder->half_bytes)
        rc = begin_half(recorder, raft);
    size_t start = recorder->newer.size;
    if (rc == 0)
        rc = peri_buffer_append(&recorder->newer, room, sizeof room);
    if (rc == 0)
        rc = put_event(&recorder->newer, event);
    if (rc == 0)
        bits_put_le32(recorder->newer.data + start,
                      (uint32_t)(recorder->newer.size - start - SIZE_SIZE));
    else
        recorder->newer.size = recorder->older.size = 0;
}

void node_recorder_after(struct node_recorder *recorder, int rc)
{
    char bytes[SIZE_SIZE];
    bits_put_le32(bytes, (uint32_t)rc);
    if (recorder->newer.size > 0 && peri_buffer_append(&recorder->newer, bytes, sizeof bytes) != 0)
        recorder->newer.size = recorder->older.size = 0;
}

int node_recorder_write(const struct node_recorder *recorder, struct peri_buffer *out)
{
    size_t size = out->size;
    if (recorder->newer.size == 0)
        return PERI_EINVAL;
    int rc = peri_buffer_append(out, recorder->older.data, recorder->older.size);
    if (rc == 0)
        rc = peri_buffer_append(out, recorder->newer.data, recorder->newer.size);
    if (rc != 0)
        out->size = size;
    return rc;
}

/* ---- replaying ---- */

struct reader {
    const char *at, *end; /* at is NULL after something malformed */
    struct raft_message message;
    struct raft_configuration configuration;
    struct raft_entry *entries;
    struct raft_configuration *members; /* of the entries */
    struct raft_change changes[RAFT_MEMBERS_MAX];
};

static uint64_t get(struct reader *reader)
{
    uint64_t value = 0;
    if (reader->at != NULL)
        reader->at = bits_get_varint(reader->at, reader->end, &value);
    return reader->at != NULL ? value : 0;
}

static uint64_t get_count(struct reader *reader, uint64_t max)
{
    uint64_t count = get(reader);
    if (count > max)
        reader->at = NULL;
    return reader->at != NULL ? count : 0;
}

static void get_message(struct reader *reader)
{
    struct raft_message *m = &reader->message;
    m->type = (enum raft_message_type)get_count(reader, RAFT_READ_INDEX_REPLY);
    m->success = get(reader) != 0;
    m->is_transfer = get(reader) != 0;
    m->is_sleepy = get(reader) != 0;
    uint64_t *fields[] = {&m->from, &m->to,     &m->term,  &m->index,  &m->log_term,
                          &m->last, &m->commit, &m->round, &m->sent_us};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = get(reader);
}

static bool get_members(struct reader *reader, struct raft_configuration *out)
{
    *out = (struct raft_configuration){.count = get_count(reader, RAFT_MEMBERS_MAX)};
    for (size_t i = 0; i < out->count; i++) {
        out->ids[i] = get(reader);
        out->members[i] = (uint8_t)get_count(reader, UINT8_MAX);
    }
    return out->count > 0;
}

static size_t get_entries(struct reader *reader)
{
    size_t count = (size_t)get_count(reader, ENTRIES_MAX);
    if (count == 0)
        return 0;
    free(reader->entries);
    free(reader->members);
    reader->entries = calloc(count, sizeof *reader->entries);
    reader->members = calloc(count, sizeof *reader->members);
    if (reader->entries == NULL || reader->members == NULL) {
        reader->at = NULL;
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct raft_entry *entry = &reader->entries[i];
        entry->term = get(reader);
        entry->size_bytes = (uint32_t)get_count(reader, UINT32_MAX);
        entry->type = (enum raft_entry_type)get_count(reader, RAFT_CONFIGURATION);
        if (get_members(reader, &reader->members[i]))
            entry->configuration = &reader->members[i];
    }
    return count;
}

static void get_event(struct reader *reader, struct raft_event *out)
{
    *out = (struct raft_event){.type = (enum raft_event_type)get_count(reader, RAFT_PEER_DOWN)};
    out->success = get(reader) != 0;
    uint64_t *fields[] = {&out->now_us, &out->peer, &out->seq,       &out->index,
                          &out->last,   &out->term, &out->size_bytes};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = get(reader);
    if (get(reader) != 0) {
        get_message(reader);
        out->message = &reader->message;
    }
    out->count = get_entries(reader);
    out->entries = out->count > 0 ? reader->entries : NULL;
    if (get_members(reader, &reader->configuration))
        out->configuration = &reader->configuration;
    size_t changes = (size_t)get_count(reader, RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < changes; i++) {
        reader->changes[i].type = (enum raft_change_type)get_count(reader, RAFT_REMOVE);
        reader->changes[i].id = get(reader);
    }
    if (changes > 0) {
        out->changes = reader->changes;
        out->count = changes;
    }
    if ((out->type == RAFT_CHANGE && changes == 0) ||
        (out->type == RAFT_MESSAGE && out->message == NULL))
        reader->at = NULL; /* no step was ever made with that */
}

struct replay {
    struct raft *raft;
    struct raft_output *out;
    struct reader reader;
    uint64_t events;
    node_recorder_cb on_event;
    void *data;
};

/* A half begins: what was stepped so far must have led to its state. */
static int replay_dump(struct replay *replay, const char *dump, size_t size, struct peri_error *err)
{
    struct raft *raft = NULL;
    int rc = raft_load(&raft, dump, size, err);
    if (rc == 0 && replay->raft != NULL && raft_hash(replay->raft) != raft_hash(raft))
        rc = peri_fail_plain(err, PERI_ECORRUPT,
                             "after %" PRIu64 " events the state is not the recorded one",
                             replay->events);
    raft_close(replay->raft);
    replay->raft = raft;
    return rc;
}

static int replay_event(struct replay *replay, const char *at, size_t size, bool has_result,
                        struct peri_error *err)
{
    struct raft_event event;
    struct reader *reader = &replay->reader;
    reader->at = at;
    reader->end = at + size;
    get_event(reader, &event);
    if (reader->at != reader->end)
        return peri_fail_plain(err, PERI_EFORMAT, "event %" PRIu64 " is malformed",
                               replay->events + 1);
    int rc = raft_step(replay->raft, &event, replay->out);
    replay->events++;
    if (replay->on_event != NULL)
        replay->on_event(replay->data, &event, rc, replay->raft);
    if (has_result && (uint32_t)rc != bits_get_le32(at + size))
        return peri_fail_plain(err, PERI_ECORRUPT, "event %" PRIu64 " gives %d, and gave %d then",
                               replay->events, rc, (int)bits_get_le32(at + size));
    return 0;
}

static int replay_all(struct replay *replay, const char *at, const char *end,
                      struct peri_error *err)
{
    int rc = 0;
    while (at != end && rc == 0) {
        bool is_half = end - at >= HEAD_SIZE && memcmp(at, magic, sizeof magic) == 0;
        size_t head = is_half ? HEAD_SIZE : SIZE_SIZE;
        if ((size_t)(end - at) < head || (!is_half && replay->raft == NULL))
            return peri_fail_plain(err, PERI_EFORMAT, "the recording is malformed");
        size_t size = bits_get_le32(at + head - SIZE_SIZE);
        at += head;
        if (size > (size_t)(end - at))
            return peri_fail_plain(err, PERI_EFORMAT, "the recording is cut");
        if (is_half) {
            rc = replay_dump(replay, at, size, err);
            at += size;
            continue;
        }
        bool has_result = (size_t)(end - at) - size >= SIZE_SIZE;
        rc = replay_event(replay, at, size, has_result, err);
        at += has_result ? size + SIZE_SIZE : size;
    }
    return rc;
}

int node_recorder_replay(struct peri_slice bytes, node_recorder_cb on_event, void *data,
                         struct peri_error *err)
{
    struct replay replay = {.out = malloc(sizeof *replay.out), .on_event = on_event, .data = data};
    int rc = replay.out == NULL ? peri_fail(err, PERI_ENOMEM, "replaying")
                                : replay_all(&replay, bytes.data, bytes.data + bytes.size, err);
    raft_close(replay.raft);
    free(replay.reader.entries);
    free(replay.reader.members);
    free(replay.out);
    return rc;
}
