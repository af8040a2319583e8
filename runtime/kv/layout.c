#include "kv/layout.h"

#include "base/assert.h"
#include "base/bits.h"

enum {
    TAG_ATTACHED = 'a',
    TAG_DUE = 'd',
    TAG_EVENT = 'e',
    TAG_KEY = 'k',
    TAG_LEASE = 'l',
    TAG_META = 'm',
    TAG_SESSION = 's',
    TAG_SWEPT = 'w',
    TAG_VERSION = 'v',
    ESCAPED = 0xff, /* behind a 00 that is part of a key */
    ENDED = 0x01,   /* behind the 00 that ends it */
    EVENT_SIZE = 1 + 8 + 4,
    DUE_SIZE = 1 + 8 + 1 + 8,
};

/* ---- names ---- */

static void begin(struct kv_name *out, char tag)
{
    out->data[0] = tag;
    out->size = 1;
}

static void add_number(struct kv_name *out, uint64_t number)
{
    bits_put_be64(out->data + out->size, number);
    out->size += 8;
}

static void add_key(struct kv_name *out, struct peri_slice key)
{
    PERI_ASSERT(key.size <= KV_KEY_MAX);
    if (key.size > 0)
        memcpy(out->data + out->size, key.data, key.size);
    out->size += key.size;
}

static void add_escaped(struct kv_name *out, struct peri_slice key)
{
    PERI_ASSERT(key.size <= KV_KEY_MAX);
    for (size_t i = 0; i < key.size; i++) {
        out->data[out->size++] = key.data[i];
        if (key.data[i] == 0)
            out->data[out->size++] = (char)ESCAPED;
    }
}

void kv_name_meta(struct kv_name *out)
{
    begin(out, TAG_META);
}

void kv_name_swept(struct kv_name *out)
{
    begin(out, TAG_SWEPT);
}

void kv_name_key(struct kv_name *out, struct peri_slice key)
{
    begin(out, TAG_KEY);
    add_key(out, key);
}

void kv_name_key_end(struct kv_name *out)
{
    begin(out, TAG_KEY + 1);
}

void kv_name_event(struct kv_name *out, uint64_t revision, uint32_t number)
{
    begin(out, TAG_EVENT);
    add_number(out, revision);
    for (int shift = 24; shift >= 0; shift -= 8)
        out->data[out->size++] = (char)(number >> shift);
}

void kv_name_version(struct kv_name *out, struct peri_slice key, uint64_t revision)
{
    begin(out, TAG_VERSION);
    add_escaped(out, key);
    out->data[out->size++] = 0;
    out->data[out->size++] = ENDED;
    add_number(out, ~revision);
}

void kv_name_versions(struct kv_name *out, struct peri_slice key)
{
    begin(out, TAG_VERSION);
    add_escaped(out, key);
}

void kv_name_versions_end(struct kv_name *out)
{
    begin(out, TAG_VERSION + 1);
}

void kv_name_lease(struct kv_name *out, uint64_t lease)
{
    begin(out, TAG_LEASE);
    add_number(out, lease);
}

void kv_name_attached(struct kv_name *out, uint64_t lease, struct peri_slice key)
{
    begin(out, TAG_ATTACHED);
    add_number(out, lease);
    add_key(out, key);
}

void kv_name_session(struct kv_name *out, uint64_t session)
{
    begin(out, TAG_SESSION);
    add_number(out, session);
}

bool kv_name_is_due(const struct kv_name *name)
{
    return name->data[0] == TAG_DUE;
}

void kv_name_due(struct kv_name *out, uint64_t due_ms, enum kv_due what, uint64_t id)
{
    begin(out, TAG_DUE);
    add_number(out, due_ms);
    out->data[out->size++] = (char)what;
    add_number(out, id);
}

static int cut(struct peri_slice name, char tag, size_t head, struct peri_slice *rest)
{
    if (name.size < head || name.data[0] != tag)
        return PERI_ECORRUPT;
    *rest = peri_slice_of(name.data + head, name.size - head);
    return 0;
}

int kv_name_to_key(struct peri_slice name, struct peri_slice *key)
{
    return cut(name, TAG_KEY, 1, key);
}

int kv_name_to_attached(struct peri_slice name, struct peri_slice *key)
{
    return cut(name, TAG_ATTACHED, 1 + 8, key);
}

int kv_name_to_event(struct peri_slice name, uint64_t *revision, uint32_t *number)
{
    struct peri_slice rest;
    if (name.size != EVENT_SIZE || cut(name, TAG_EVENT, EVENT_SIZE, &rest) != 0)
        return PERI_ECORRUPT;
    *revision = bits_get_be64(name.data + 1);
    *number = 0;
    for (size_t i = 9; i < EVENT_SIZE; i++)
        *number = *number << 8 | (unsigned char)name.data[i];
    return 0;
}

int kv_name_to_due(struct peri_slice name, uint64_t *due_ms, enum kv_due *what, uint64_t *id)
{
    struct peri_slice rest;
    if (name.size != DUE_SIZE || cut(name, TAG_DUE, DUE_SIZE, &rest) != 0 ||
        (unsigned char)name.data[9] > KV_DUE_SESSION)
        return PERI_ECORRUPT;
    *due_ms = bits_get_be64(name.data + 1);
    *what = (enum kv_due)name.data[9];
    *id = bits_get_be64(name.data + 10);
    return 0;
}

int kv_name_to_version(struct peri_slice name, char *room, struct peri_slice *key,
                       uint64_t *revision)
{
    struct peri_slice rest;
    size_t at = 0, size = 0;
    if (cut(name, TAG_VERSION, 1, &rest) != 0)
        return PERI_ECORRUPT;
    while (at + 1 < rest.size && size < KV_KEY_MAX) {
        if (rest.data[at] == 0 && rest.data[at + 1] == ENDED)
            break;
        room[size++] = rest.data[at];
        at += rest.data[at] == 0 ? 2 : 1;
    }
    if (rest.size != at + 2 + 8 || rest.data[at] != 0 || rest.data[at + 1] != ENDED)
        return PERI_ECORRUPT;
    *key = peri_slice_of(room, size);
    *revision = ~bits_get_be64(rest.data + at + 2);
    return 0;
}

/* ---- values ---- */

static int put(struct peri_buffer *out, const uint64_t *numbers, size_t count,
               struct peri_slice first, struct peri_slice second)
{
    int rc = peri_buffer_reserve(out, count * BITS_VARINT_MAX + first.size + second.size);
    if (rc != 0)
        return rc;
    char *at = out->data + out->size;
    for (size_t i = 0; i < count; i++)
        at = bits_put_varint(at, numbers[i]);
    out->size = (size_t)(at - out->data);
    (void)peri_buffer_append(out, first.data, first.size); /* there is room */
    (void)peri_buffer_append(out, second.data, second.size);
    return 0;
}

/* Reads the numbers; *rest is what follows. */
static int get(struct peri_slice bytes, uint64_t *numbers, size_t count, struct peri_slice *rest)
{
    const char *at = bytes.data, *end = bytes.data + bytes.size;
    for (size_t i = 0; i < count && at != NULL; i++)
        at = bits_get_varint(at, end, &numbers[i]);
    if (at == NULL)
        return PERI_ECORRUPT;
    *rest = peri_slice_of(at, (size_t)(end - at));
    return 0;
}

/* The same, and nothing follows. */
static int get_all(struct peri_slice bytes, uint64_t *numbers, size_t count)
{
    struct peri_slice rest;
    int rc = get(bytes, numbers, count, &rest);
    return rc == 0 && rest.size > 0 ? PERI_ECORRUPT : rc;
}

static const struct peri_slice nothing = {NULL, 0};

int kv_meta_put(struct peri_buffer *out, const struct kv_meta *meta)
{
    const uint64_t numbers[] = {meta->revision, meta->compacted, meta->swept,
                                meta->clock_ms, meta->last_id,   meta->keys,
                                meta->leases,   meta->sessions,  meta->hash};
    return put(out, numbers, meta->hash != 0 ? 9 : 8, nothing, nothing);
}

int kv_meta_get(struct peri_slice bytes, struct kv_meta *out)
{
    uint64_t numbers[9] = {0};
    struct peri_slice rest;
    int rc = get(bytes, numbers, 8, &rest);
    if (rc == 0 && rest.size > 0)
        rc = get_all(rest, &numbers[8], 1);
    *out = (struct kv_meta){.revision = numbers[0],
                            .compacted = numbers[1],
                            .swept = numbers[2],
                            .clock_ms = numbers[3],
                            .last_id = numbers[4],
                            .keys = numbers[5],
                            .leases = numbers[6],
                            .sessions = numbers[7],
                            .hash = numbers[8]};
    return rc;
}

int kv_swept_put(struct peri_buffer *out, uint64_t revision)
{
    return put(out, &revision, 1, nothing, nothing);
}

int kv_swept_get(struct peri_slice bytes, uint64_t *revision)
{
    return get_all(bytes, revision, 1);
}

int kv_entry_put(struct peri_buffer *out, const struct kv_entry *entry)
{
    const uint64_t numbers[] = {entry->revision, entry->created, entry->version, entry->lease,
                                entry->number};
    return put(out, numbers, 5, entry->value, nothing);
}

int kv_entry_get(struct peri_slice bytes, struct kv_entry *out)
{
    uint64_t numbers[5] = {0};
    struct peri_slice value = nothing;
    int rc = get(bytes, numbers, 5, &value);
    *out = (struct kv_entry){.revision = numbers[0],
                             .created = numbers[1],
                             .version = numbers[2],
                             .lease = numbers[3],
                             .number = numbers[4],
                             .value = value};
    return rc;
}

int kv_event_put(struct peri_buffer *out, const struct kv_event *event)
{
    const struct kv_entry *entry = &event->entry;
    const uint64_t numbers[] = {event->is_delete, event->before,  event->before_number,
                                entry->created,   entry->version, entry->lease,
                                entry->number,    event->key.size};
    return put(out, numbers, 8, event->key, entry->value);
}

int kv_event_get(struct peri_slice bytes, struct kv_event *out)
{
    uint64_t numbers[8] = {0};
    struct peri_slice rest = nothing;
    int rc = get(bytes, numbers, 8, &rest);
    if (rc != 0 || numbers[0] > 1 || numbers[7] > rest.size)
        return PERI_ECORRUPT;
    *out = (struct kv_event){.is_delete = numbers[0] != 0,
                             .before = numbers[1],
                             .before_number = numbers[2],
                             .entry = {.created = numbers[3],
                                       .version = numbers[4],
                                       .lease = numbers[5],
                                       .number = numbers[6],
                                       .value = {rest.data + numbers[7], rest.size - numbers[7]}},
                             .key = {rest.data, numbers[7]}};
    return 0;
}

int kv_version_put(struct peri_buffer *out, const struct kv_version *version)
{
    const uint64_t numbers[] = {version->is_delete, version->number};
    return put(out, numbers, 2, nothing, nothing);
}

int kv_version_get(struct peri_slice bytes, struct kv_version *out)
{
    uint64_t numbers[2] = {0};
    int rc = get_all(bytes, numbers, 2);
    *out = (struct kv_version){.is_delete = numbers[0] != 0, .number = numbers[1]};
    return rc;
}

int kv_lease_put(struct peri_buffer *out, const struct kv_lease *lease)
{
    const uint64_t numbers[] = {lease->ttl_ms, lease->expires_ms, lease->keys};
    return put(out, numbers, 3, nothing, nothing);
}

int kv_lease_get(struct peri_slice bytes, struct kv_lease *out)
{
    uint64_t numbers[3] = {0};
    int rc = get_all(bytes, numbers, 3);
    *out = (struct kv_lease){numbers[0], numbers[1], numbers[2]};
    return rc;
}

int kv_attached_put(struct peri_buffer *out, const struct kv_attached *attached)
{
    const uint64_t numbers[] = {attached->revision, attached->number};
    return put(out, numbers, 2, nothing, nothing);
}

int kv_attached_get(struct peri_slice bytes, struct kv_attached *out)
{
    uint64_t numbers[2] = {0};
    int rc = get_all(bytes, numbers, 2);
    *out = (struct kv_attached){numbers[0], numbers[1]};
    return rc;
}

int kv_session_put(struct peri_buffer *out, const struct kv_session *session)
{
    const uint64_t numbers[] = {session->sequence, session->ttl_ms, session->expires_ms,
                                session->is_skipped};
    return put(out, numbers, 4, session->result, nothing);
}

int kv_session_get(struct peri_slice bytes, struct kv_session *out)
{
    uint64_t numbers[4] = {0};
    struct peri_slice result = nothing;
    int rc = get(bytes, numbers, 4, &result);
    *out = (struct kv_session){.sequence = numbers[0],
                               .ttl_ms = numbers[1],
                               .expires_ms = numbers[2],
                               .is_skipped = numbers[3] != 0,
                               .result = result};
    return rc;
}
