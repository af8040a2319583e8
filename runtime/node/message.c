#include "node/message.h"

#include <inttypes.h>

#include "base/assert.h"
#include "base/bits.h"

enum {
    FLAG_SUCCESS = 1,
    FLAG_TRANSFER = 2,
    FLAG_SLEEPY = 4,
    FLAGS_ALL = FLAG_SUCCESS | FLAG_TRANSFER | FLAG_SLEEPY,
    NUMBERS = 8,                                   /* varints of a message */
    HEAD_MAX = 2 + (NUMBERS + 1) * BITS_VARINT_MAX /* with the size before it */
};

/* ---- writing ---- */

int node_envelope_begin(struct peri_buffer *out, const struct node_envelope *envelope)
{
    char head[NODE_ENVELOPE_SIZE] = {NODE_MESSAGE_VERSION};
    struct peri_slice address = envelope->address;
    PERI_ASSERT(address.size <= UINT8_MAX);
    bits_put_le64(head + 1, envelope->cluster);
    bits_put_le64(head + 9, envelope->from);
    bits_put_le64(head + 17, envelope->to);
    bits_put_le64(head + 25, envelope->incarnation);
    bits_put_le64(head + 33, envelope->from_disk);
    bits_put_le64(head + 41, envelope->from_age);
    bits_put_le64(head + 49, envelope->to_disk);
    bits_put_le64(head + 57, envelope->to_age);
    head[NODE_ENVELOPE_SIZE - 1] = (char)address.size;
    int rc = peri_buffer_reserve(out, sizeof head + address.size);
    if (rc == 0)
        rc = peri_buffer_append(out, head, sizeof head);
    return rc != 0 ? rc : peri_buffer_append(out, address.data, address.size);
}

size_t node_envelope_head_size(const char *data)
{
    return NODE_ENVELOPE_SIZE + (unsigned char)data[NODE_ENVELOPE_SIZE - 1];
}

static char *put_head(char *at, uint64_t group, const struct raft_message *message)
{
    const uint64_t numbers[NUMBERS] = {
        group,         message->term,   message->index, message->log_term,
        message->last, message->commit, message->round, message->sent_us};
    const int flags = (message->success ? FLAG_SUCCESS : 0) |
                      (message->is_transfer ? FLAG_TRANSFER : 0) |
                      (message->is_sleepy ? FLAG_SLEEPY : 0);
    *at++ = (char)message->type;
    *at++ = (char)flags;
    for (size_t i = 0; i < NUMBERS; i++)
        at = bits_put_varint(at, numbers[i]);
    return at;
}

static size_t varint_size(uint64_t value)
{
    size_t size = 1;
    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

static size_t entry_size(const struct store_log_entry *entry)
{
    return varint_size(entry->term) + 1 + varint_size(entry->payload.size) + entry->payload.size;
}

static char *put_entry(char *at, const struct store_log_entry *entry)
{
    at = bits_put_varint(at, entry->term);
    *at++ = (char)entry->type;
    at = bits_put_varint(at, entry->payload.size);
    if (entry->payload.size > 0)
        memcpy(at, entry->payload.data, entry->payload.size);
    return at + entry->payload.size;
}

int node_message_put(struct peri_buffer *out, uint64_t group, const struct raft_message *message,
                     const struct store_log_entry *entries)
{
    char head[HEAD_MAX];
    size_t head_size = (size_t)(put_head(head, group, message) - head);
    uint64_t count = message->type == RAFT_APPEND_ENTRIES ? message->last - message->index : 0;
    size_t size = head_size;
    for (uint64_t i = 0; i < count; i++)
        size += entry_size(&entries[i]);
    int rc = peri_buffer_reserve(out, size + BITS_VARINT_MAX);
    if (rc != 0)
        return rc;
    char *at = bits_put_varint(out->data + out->size, size);
    memcpy(at, head, head_size);
    at += head_size;
    for (uint64_t i = 0; i < count; i++)
        at = put_entry(at, &entries[i]);
    out->size = (size_t)(at - out->data);
    return 0;
}

/* ---- reading ---- */

int node_envelope_open(struct peri_slice bytes, struct node_envelope *out, struct peri_error *err)
{
    if (bytes.size > 0 && (unsigned char)bytes.data[0] != NODE_MESSAGE_VERSION)
        return peri_fail_plain(err, PERI_EVERSION, "replicas talk in version %d, not %u",
                               NODE_MESSAGE_VERSION, (unsigned char)bytes.data[0]);
    if (bytes.size < NODE_ENVELOPE_SIZE || bytes.size < node_envelope_head_size(bytes.data))
        return peri_fail_plain(err, PERI_EFORMAT, "an envelope of %zu bytes", bytes.size);
    *out = (struct node_envelope){
        .cluster = bits_get_le64(bytes.data + 1),
        .from = bits_get_le64(bytes.data + 9),
        .to = bits_get_le64(bytes.data + 17),
        .incarnation = bits_get_le64(bytes.data + 25),
        .from_disk = bits_get_le64(bytes.data + 33),
        .from_age = bits_get_le64(bytes.data + 41),
        .to_disk = bits_get_le64(bytes.data + 49),
        .to_age = bits_get_le64(bytes.data + 57),
        .address = {bytes.data + NODE_ENVELOPE_SIZE,
                    node_envelope_head_size(bytes.data) - NODE_ENVELOPE_SIZE},
        .at = bytes.data + node_envelope_head_size(bytes.data),
        .end = bytes.data + bytes.size,
    };
    return 0;
}

/* Reads one entry; NULL when it is none. */
static const char *get_entry(const char *at, const char *end, struct store_log_entry *out)
{
    uint64_t size;
    at = bits_get_varint(at, end, &out->term);
    if (at == NULL || at == end || (unsigned char)*at > RAFT_CONFIGURATION)
        return NULL;
    out->type = (enum raft_entry_type)(unsigned char)*at++;
    at = bits_get_varint(at, end, &size);
    if (at == NULL || size > (size_t)(end - at) || size > UINT32_MAX)
        return NULL;
    out->payload = peri_slice_of(at, size);
    return at + size;
}

static const char *get_head(const char *at, const char *end, struct node_message *out)
{
    uint64_t numbers[NUMBERS];
    if (end - at < 2)
        return NULL;
    unsigned type = (unsigned char)*at++, flags = (unsigned char)*at++;
    if (type > RAFT_READ_INDEX_REPLY || (flags & ~(unsigned)FLAGS_ALL) != 0)
        return NULL;
    for (size_t i = 0; i < NUMBERS && at != NULL; i++)
        at = bits_get_varint(at, end, &numbers[i]);
    if (at == NULL)
        return NULL;
    *out = (struct node_message){
        .group = numbers[0],
        .raft = {.type = (enum raft_message_type)type,
                 .success = (flags & FLAG_SUCCESS) != 0,
                 .is_transfer = (flags & FLAG_TRANSFER) != 0,
                 .is_sleepy = (flags & FLAG_SLEEPY) != 0,
                 .term = numbers[1],
                 .index = numbers[2],
                 .log_term = numbers[3],
                 .last = numbers[4],
                 .commit = numbers[5],
                 .round = numbers[6],
                 .sent_us = numbers[7]},
    };
    return at;
}

/* Walks over the entries, which reach to the end exactly. */
static bool check_entries(const char *at, const char *end, struct node_message *out)
{
    struct store_log_entry entry;
    if (out->raft.type != RAFT_APPEND_ENTRIES)
        return at == end;
    if (out->raft.last < out->raft.index ||
        out->raft.last - out->raft.index > NODE_MESSAGE_ENTRIES_MAX)
        return false;
    out->packed = peri_slice_of(at, (size_t)(end - at));
    out->count = (size_t)(out->raft.last - out->raft.index);
    for (size_t i = 0; i < out->count && at != NULL; i++)
        at = get_entry(at, end, &entry);
    return at == end;
}

int node_envelope_next(struct node_envelope *envelope, struct node_message *out,
                       struct peri_error *err)
{
    uint64_t size;
    if (envelope->at == envelope->end)
        return 0;
    const char *at = bits_get_varint(envelope->at, envelope->end, &size);
    if (at == NULL || size > (size_t)(envelope->end - at))
        return peri_fail_plain(err, PERI_EFORMAT, "a message is cut");
    const char *end = at + size;
    at = get_head(at, end, out);
    if (at == NULL || !check_entries(at, end, out))
        return peri_fail_plain(err, PERI_EFORMAT, "a message of %" PRIu64 " bytes is malformed",
                               size);
    out->raft.from = envelope->from;
    out->raft.to = envelope->to;
    envelope->at = end;
    return 1;
}

void node_message_entries(const struct node_message *message, struct store_log_entry *out)
{
    if (message->count == 0)
        return; /* and nothing is packed, not even at an address */
    const char *at = message->packed.data, *end = at + message->packed.size;
    for (size_t i = 0; i < message->count; i++) {
        at = get_entry(at, end, &out[i]);
        PERI_ASSERT(at != NULL);
    }
}
