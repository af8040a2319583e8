#include "store/log_format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bits.h"
#include "store/configuration.h"

/* ---- checks ---- */

static uint64_t seed_of(const struct log_key *key)
{
    char bytes[LOG_KEY_MAX];
    struct peri_slice slice = log_key_write(key, bytes);
    return XXH3_64bits(slice.data, slice.size);
}

/* ---- numbers ---- */

/* Writes version, flags and count varints behind each other; the end of them. */
static char *put_numbers(char *at, uint8_t flags, const uint64_t *numbers, size_t count)
{
    *at++ = LOG_FORMAT_VERSION;
    *at++ = (char)flags;
    for (size_t i = 0; i < count; i++)
        at = bits_put_varint(at, numbers[i]);
    return at;
}

static const char *get_numbers(const char *at, const char *end, uint64_t *numbers, size_t count)
{
    for (size_t i = 0; at != NULL && i < count; i++)
        at = bits_get_varint(at, end, &numbers[i]);
    return at;
}

/* Appends the check of what stands in out from start on; there is room. */
static uint64_t put_check(struct peri_buffer *out, size_t start, uint64_t seed)
{
    uint64_t check = XXH3_64bits_withSeed(out->data + start, out->size - start, seed);
    bits_put_le64(out->data + out->size, check);
    out->size += LOG_CHECK_BYTES;
    return check;
}

/* True when the value's last bytes are its check; bytes is then without them. */
static bool take_check(struct peri_slice *bytes, uint64_t seed, uint64_t *check)
{
    if (bytes->size < 2 + LOG_CHECK_BYTES)
        return false;
    bytes->size -= LOG_CHECK_BYTES;
    *check = bits_get_le64(bytes->data + bytes->size);
    return *check == XXH3_64bits_withSeed(bytes->data, bytes->size, seed);
}

/* The first checks of every value but records. */
static int open_value(struct peri_slice *bytes, const struct log_key *key)
{
    uint64_t check;
    if (!take_check(bytes, seed_of(key), &check))
        return PERI_ECORRUPT;
    return bytes->data[0] == LOG_FORMAT_VERSION ? 0 : PERI_EVERSION;
}

/* ---- identity, dropped groups ---- */

enum { IDENTITY_NUMBERS = 4 };

int log_identity_encode(const struct log_identity *identity, struct peri_buffer *out)
{
    const uint64_t numbers[IDENTITY_NUMBERS] = {identity->cluster, identity->node,
                                                identity->generation, identity->first_batch};
    int rc = peri_buffer_reserve(out, 2 + IDENTITY_NUMBERS * BITS_VARINT_MAX + LOG_CHECK_BYTES);
    if (rc != 0)
        return rc;
    size_t start = out->size;
    char *end = put_numbers(out->data + start, 0, numbers, IDENTITY_NUMBERS);
    out->size = (size_t)(end - out->data);
    (void)put_check(out, start, seed_of(&(struct log_key){.kind = LOG_KEY_IDENTITY}));
    return 0;
}

int log_identity_decode(struct peri_slice bytes, struct log_identity *out)
{
    uint64_t numbers[IDENTITY_NUMBERS];
    int rc = open_value(&bytes, &(struct log_key){.kind = LOG_KEY_IDENTITY});
    if (rc != 0)
        return rc;
    if (get_numbers(bytes.data + 2, bytes.data + bytes.size, numbers, IDENTITY_NUMBERS) == NULL)
        return PERI_ECORRUPT;
    *out = (struct log_identity){numbers[0], numbers[1], numbers[2], numbers[3]};
    return 0;
}

int log_dropped_encode(uint64_t group, uint64_t replica, struct peri_buffer *out)
{
    struct log_key key = {LOG_KEY_DROPPED, group, replica, 0};
    int rc = peri_buffer_reserve(out, 2 + LOG_CHECK_BYTES);
    if (rc != 0)
        return rc;
    size_t start = out->size;
    out->size = (size_t)(put_numbers(out->data + start, 0, NULL, 0) - out->data);
    (void)put_check(out, start, seed_of(&key));
    return 0;
}

int log_dropped_check(uint64_t group, uint64_t replica, struct peri_slice bytes)
{
    return open_value(&bytes, &(struct log_key){LOG_KEY_DROPPED, group, replica, 0});
}

/* ---- heads ---- */

enum { HEAD_NUMBERS = 8 };
enum { HEAD_HEALTH = 3, HEAD_KEEPS_PROMISES = 4 }; /* flags: the health, and not has_forgotten */

int log_head_encode(const struct log_head *head, struct peri_buffer *out)
{
    struct log_key key = {LOG_KEY_HEAD, head->group, head->replica, 0};
    const uint64_t numbers[HEAD_NUMBERS] = {head->serial,     head->first_serial, head->term,
                                            head->vote,       head->base_index,   head->base_term,
                                            head->last_index, head->damaged_from};
    enum { FIXED = 2 + HEAD_NUMBERS * BITS_VARINT_MAX + 8 + LOG_CHECK_BYTES };
    enum { MEMBERS = 2 + RAFT_MEMBERS_MAX * (BITS_VARINT_MAX + 1) };
    _Static_assert((int)FIXED + (int)MEMBERS <= (int)LOG_HEAD_MAX_BYTES, "a head fits its bound");
    size_t start = out->size;
    int rc = peri_buffer_reserve(out, (size_t)FIXED + (size_t)MEMBERS);
    if (rc != 0)
        return rc;
    uint8_t flags = (uint8_t)((int)head->health | (head->has_forgotten ? 0 : HEAD_KEEPS_PROMISES));
    char *at = put_numbers(out->data + start, flags, numbers, HEAD_NUMBERS);
    bits_put_le64(at, head->chain);
    out->size = (size_t)(at + 8 - out->data);
    if (head->members.count > 0) /* else the head was lost, and with it the members */
        (void)store_configuration_encode(&head->members, out); /* there is room */
    (void)put_check(out, start, seed_of(&key));
    return 0;
}

int log_head_decode(uint64_t group, uint64_t replica, struct peri_slice bytes, struct log_head *out)
{
    uint64_t n[HEAD_NUMBERS];
    int rc = open_value(&bytes, &(struct log_key){LOG_KEY_HEAD, group, replica, 0});
    if (rc != 0)
        return rc;
    const char *end = bytes.data + bytes.size;
    const char *at = get_numbers(bytes.data + 2, end, n, HEAD_NUMBERS);
    unsigned flags = (unsigned char)bytes.data[1];
    if (at == NULL || end - at < 8 || (flags & HEAD_HEALTH) > STORE_LOG_DAMAGED)
        return PERI_ECORRUPT;
    *out = (struct log_head){
        .group = group,
        .replica = replica,
        .health = (enum store_log_health)(flags & HEAD_HEALTH),
        .has_forgotten = (flags & HEAD_KEEPS_PROMISES) == 0,
        .serial = n[0],
        .first_serial = n[1],
        .term = n[2],
        .vote = n[3],
        .base_index = n[4],
        .base_term = n[5],
        .last_index = n[6],
        .damaged_from = n[7],
        .chain = bits_get_le64(at),
    };
    struct peri_slice members = peri_slice_of(at + 8, (size_t)(end - at) - 8);
    if (members.size == 0)
        return 0;
    return store_configuration_decode(members, &out->members, NULL) == 0 ? 0 : PERI_ECORRUPT;
}

/* ---- summaries ---- */

static char *put_touches(char *at, const struct log_touch *touches, size_t count)
{
    at = bits_put_varint(at, count);
    for (size_t i = 0; i < count; i++) {
        at = bits_put_varint(at, touches[i].group);
        at = bits_put_varint(at, touches[i].replica);
        at = bits_put_varint(at, touches[i].serial);
    }
    return at;
}

static uint64_t summary_seed(uint64_t batch)
{
    return seed_of(&(struct log_key){.kind = LOG_KEY_BATCH, .number = batch});
}

int log_summary_encode(const struct log_summary *summary, struct peri_buffer *out)
{
    size_t touches = summary->touched_count + summary->before_count;
    int rc = peri_buffer_reserve(out, 2 + (2 + 3 * touches) * BITS_VARINT_MAX + LOG_CHECK_BYTES);
    if (rc != 0)
        return rc;
    size_t start = out->size;
    char *at = put_numbers(out->data + start, 0, NULL, 0);
    at = put_touches(at, summary->touched, summary->touched_count);
    at = put_touches(at, summary->before, summary->before_count);
    out->size = (size_t)(at - out->data);
    (void)put_check(out, start, summary_seed(summary->batch));
    return 0;
}

static int get_touches(const char **at, const char *end, struct peri_buffer *out)
{
    uint64_t count = 0;
    *at = bits_get_varint(*at, end, &count);
    for (uint64_t i = 0; *at != NULL && i < count; i++) {
        uint64_t n[3] = {0, 0, 0};
        *at = get_numbers(*at, end, n, 3);
        struct log_touch touch = {n[0], n[1], n[2]};
        if (*at != NULL && peri_buffer_append(out, &touch, sizeof touch) != 0)
            return PERI_ENOMEM;
    }
    return *at != NULL ? 0 : PERI_ECORRUPT;
}

int log_summary_decode(uint64_t batch, struct peri_slice bytes, struct peri_buffer *touched,
                       struct peri_buffer *before)
{
    int rc = open_value(&bytes, &(struct log_key){.kind = LOG_KEY_BATCH, .number = batch});
    if (rc != 0)
        return rc;
    const char *at = bytes.data + 2, *end = bytes.data + bytes.size;
    rc = get_touches(&at, end, touched);
    return rc == 0 ? get_touches(&at, end, before) : rc;
}

/* ---- records ---- */

enum { RECORD_NUMBERS = 7, RECORD_FIXED_MAX = 2 + RECORD_NUMBERS * BITS_VARINT_MAX + 8 };
enum { RECORD_HAS_SNAPSHOT = 1 };                  /* flags */
enum { ENTRY_TYPE = 0x0f, ENTRY_NEW_TERM = 0x80 }; /* first byte of an entry */

static uint64_t record_seed(const struct log_record_info *info)
{
    struct log_key key = {LOG_KEY_RECORD, info->group, info->replica, info->serial};
    return seed_of(&key) ^ info->chain;
}

static size_t record_bound(const struct log_record_info *info,
                           const struct store_log_entry *entries)
{
    size_t size = RECORD_FIXED_MAX + LOG_CHECK_BYTES + 2 +
                  RAFT_MEMBERS_MAX * (BITS_VARINT_MAX + 1) + BITS_VARINT_MAX;
    for (uint64_t i = 0; i < info->count; i++)
        size += 1 + 2 * BITS_VARINT_MAX + entries[i].payload.size;
    return size;
}

static void put_members(const struct raft_configuration *members, struct peri_buffer *out)
{
    size_t start = out->size++;                     /* a length below 256 */
    (void)store_configuration_encode(members, out); /* there is room */
    out->data[start] = (char)(out->size - start - 1);
}

static void put_entries(const struct log_record_info *info, const struct store_log_entry *entries,
                        struct peri_buffer *out, uint32_t *starts, size_t start)
{
    char *at = out->data + out->size;
    uint64_t term = 0;
    for (uint64_t i = 0; i < info->count; i++) {
        const struct store_log_entry *entry = &entries[i];
        bool is_new = entry->term != term;
        *at++ = (char)((unsigned)entry->type | (is_new ? ENTRY_NEW_TERM : 0U));
        if (is_new)
            at = bits_put_varint(at, entry->term);
        term = entry->term;
        at = bits_put_varint(at, entry->payload.size);
        starts[i] = (uint32_t)((size_t)(at - out->data) - start);
        if (entry->payload.size > 0)
            memcpy(at, entry->payload.data, entry->payload.size);
        at += entry->payload.size;
    }
    out->size = (size_t)(at - out->data);
}

int log_record_encode(struct log_record_info *info, const struct store_log_entry *entries,
                      struct peri_buffer *out, uint32_t *starts)
{
    const uint64_t numbers[RECORD_NUMBERS] = {
        info->term,          info->vote,  info->snapshot_index, info->snapshot_term,
        info->truncate_from, info->first, info->count};
    size_t bound = record_bound(info, entries), start = out->size;
    if (bound > STORE_LOG_RECORD_MAX)
        return PERI_ETOOBIG;
    int rc = peri_buffer_reserve(out, bound);
    if (rc != 0)
        return rc;
    uint8_t flags = info->snapshot_index != 0 ? RECORD_HAS_SNAPSHOT : 0;
    char *at = put_numbers(out->data + start, flags, numbers, RECORD_NUMBERS);
    bits_put_le64(at, info->chain);
    out->size = (size_t)(at + 8 - out->data);
    if (info->snapshot_index != 0)
        put_members(&info->members, out);
    put_entries(info, entries, out, starts, start);
    info->check = put_check(out, start, record_seed(info));
    return 0;
}

static int get_members(const char **at, const char *end, struct raft_configuration *out)
{
    if (*at == end || end - *at - 1 < (unsigned char)**at)
        return PERI_ECORRUPT;
    size_t size = (unsigned char)**at;
    struct peri_slice bytes = peri_slice_of(*at + 1, size);
    *at += 1 + size;
    return store_configuration_decode(bytes, out, NULL) == 0 ? 0 : PERI_ECORRUPT;
}

int log_record_decode(struct peri_slice bytes, struct log_record_info *info, size_t *entries_at)
{
    uint64_t n[RECORD_NUMBERS];
    const char *begin = bytes.data, *end = bytes.data + bytes.size - LOG_CHECK_BYTES;
    if (bytes.size < 2 + RECORD_NUMBERS + 8 + LOG_CHECK_BYTES)
        return PERI_ECORRUPT;
    const char *at = get_numbers(begin + 2, end, n, RECORD_NUMBERS);
    if (at == NULL || end - at < 8)
        return begin[0] == LOG_FORMAT_VERSION ? PERI_ECORRUPT : PERI_EVERSION;
    info->chain = bits_get_le64(at);
    if (!take_check(&bytes, record_seed(info), &info->check))
        return PERI_ECORRUPT;
    if (begin[0] != LOG_FORMAT_VERSION)
        return PERI_EVERSION;
    info->term = n[0];
    info->vote = n[1];
    info->snapshot_index = n[2];
    info->snapshot_term = n[3];
    info->truncate_from = n[4];
    info->first = n[5];
    info->count = n[6];
    at += 8;
    int rc = (begin[1] & RECORD_HAS_SNAPSHOT) != 0 ? get_members(&at, end, &info->members) : 0;
    *entries_at = (size_t)(at - begin);
    return rc;
}

int log_record_next(struct peri_slice bytes, size_t *at, uint64_t *term,
                    struct store_log_entry *out)
{
    const char *in = bytes.data + *at, *end = bytes.data + bytes.size - LOG_CHECK_BYTES;
    if (in >= end)
        return PERI_ECORRUPT;
    unsigned first = (unsigned char)*in++;
    uint64_t size = 0;
    if ((first & ENTRY_NEW_TERM) != 0)
        in = bits_get_varint(in, end, term);
    if (in != NULL)
        in = bits_get_varint(in, end, &size);
    if (in == NULL || size > (size_t)(end - in) || (first & ENTRY_TYPE) > RAFT_CONFIGURATION)
        return PERI_ECORRUPT;
    out->term = *term;
    out->type = (enum raft_entry_type)(first & ENTRY_TYPE);
    out->payload = peri_slice_of(in, (size_t)size);
    *at = (size_t)(in - bytes.data) + (size_t)size;
    return 0;
}
