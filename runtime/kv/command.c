#include "kv/command.h"

#include <inttypes.h>
struct decoder {
    struct wire_unpacker in;
    struct peri_error *err;
    int rc; /* what is wrong although it is MessagePack */
};

#define REFUSE(decoder, code, ...)                                                                 \
    ((decoder)->rc == 0                                                                            \
         ? (void)((decoder)->rc = peri_fail_plain((decoder)->err, code, __VA_ARGS__))              \
         : (void)0)

/* ---- words and limits ---- */

/* The place of a word in a table, or its size with the word refused. */
static unsigned find_word(struct decoder *decoder, const char *const *words, unsigned count,
                          const char *what)
{
    struct peri_slice word = wire_unpack_bytes(&decoder->in);
    for (unsigned i = 0; i < count; i++)
        if (word.size == strlen(words[i]) && memcmp(word.data, words[i], word.size) == 0)
            return i;
    if (decoder->in.rc == 0)
        REFUSE(decoder, PERI_EINVAL, "there is no %s of that name", what);
    return 0;
}

static struct peri_slice read_key(struct decoder *decoder)
{
    struct peri_slice key = wire_unpack_bytes(&decoder->in);
    if (decoder->in.rc == 0 && key.size == 0)
        REFUSE(decoder, PERI_EINVAL, "a key has at least one byte");
    if (key.size > KV_KEY_MAX)
        REFUSE(decoder, PERI_ETOOBIG, "a key has at most %d bytes, not %zu", KV_KEY_MAX, key.size);
    return key;
}

static struct peri_slice read_value(struct decoder *decoder)
{
    struct peri_slice value = wire_unpack_bytes(&decoder->in);
    if (value.size > KV_VALUE_MAX)
        REFUSE(decoder, PERI_ETOOBIG, "a value has at most %d bytes, not %zu", KV_VALUE_MAX,
               value.size);
    return value;
}

static struct peri_slice read_bound(struct decoder *decoder)
{
    struct peri_slice key = wire_unpack_bytes(&decoder->in);
    if (key.size > KV_KEY_MAX)
        REFUSE(decoder, PERI_ETOOBIG, "a key has at most %d bytes, not %zu", KV_KEY_MAX, key.size);
    return key;
}

static void read_bounds(struct decoder *decoder, struct kv_bounds *out, bool has_flags)
{
    out->from = read_bound(decoder);
    out->to = read_bound(decoder);
    uint64_t limit = wire_unpack_uint(&decoder->in);
    uint64_t flags = has_flags ? wire_unpack_uint(&decoder->in) : 0;
    if (decoder->in.rc == 0 && (limit < 1 || limit > KV_RANGE_MAX))
        REFUSE(decoder, PERI_ETOOBIG, "a range has a limit of 1 to %d keys, not %" PRIu64,
               KV_RANGE_MAX, limit);
    if ((flags & ~(uint64_t)KV_FLAGS) != 0)
        REFUSE(decoder, PERI_EINVAL, "a range has no flags %" PRIu64, flags);
    out->limit = (uint32_t)limit;
    out->flags = (uint32_t)flags;
}

static uint64_t read_ttl(struct decoder *decoder)
{
    uint64_t ttl_ms = wire_unpack_uint(&decoder->in);
    if (decoder->in.rc == 0 && (ttl_ms < KV_TTL_MIN_MS || ttl_ms > KV_TTL_MAX_MS))
        REFUSE(decoder, PERI_EINVAL, "a ttl is %d to %d ms, not %" PRIu64, KV_TTL_MIN_MS,
               KV_TTL_MAX_MS, ttl_ms);
    return ttl_ms;
}

static void expect_count(struct decoder *decoder, uint32_t count, uint32_t expected,
                         const char *what)
{
    if (decoder->in.rc == 0 && count != expected)
        REFUSE(decoder, PERI_EINVAL, "%s has %" PRIu32 " parts, not %" PRIu32, what, expected,
               count);
}

static bool is_well(const struct decoder *decoder)
{
    return decoder->rc == 0 && decoder->in.rc == 0;
}

static int finish(struct decoder *decoder, const char *what)
{
    if (decoder->rc != 0)
        return decoder->rc;
    if (wire_unpack_end(&decoder->in) != 0)
        return peri_fail_plain(decoder->err, PERI_EINVAL, "a %s that is malformed", what);
    return 0;
}

/* The head of both: an array that begins with the version. Returns how many parts come next. */
static uint32_t read_head(struct decoder *decoder)
{
    uint32_t count = wire_unpack_array(&decoder->in);
    uint64_t version = wire_unpack_uint(&decoder->in);
    if (decoder->in.rc == 0 && version != KV_COMMAND_VERSION)
        REFUSE(decoder, PERI_EVERSION, "commands have version %d, not %" PRIu64, KV_COMMAND_VERSION,
               version);
    return count > 0 ? count - 1 : 0;
}

/* ---- operations ---- */

static void read_compare(struct decoder *decoder, struct kv_compare *out)
{
    static const char *const targets[] = {"revision", "created", "version",
                                          "lease",    "changed", "value"};
    static const char *const relations[] = {"=", "!=", "<", ">"};
    expect_count(decoder, wire_unpack_array(&decoder->in), 4, "a compare");
    out->target = (enum kv_target)find_word(decoder, targets, KV_TARGETS, "target of compares");
    out->key = read_key(decoder);
    out->relation =
        (enum kv_relation)find_word(decoder, relations, KV_RELATIONS, "relation of compares");
    out->number = out->target == KV_VALUE ? 0 : wire_unpack_uint(&decoder->in);
    out->value = out->target == KV_VALUE ? read_value(decoder) : peri_slice_of(NULL, 0);
}

/* -1 stands for the lease that the key has. */
static void read_lease(struct decoder *decoder, struct kv_operation *out)
{
    int64_t lease = wire_unpack_int(&decoder->in);
    out->keeps_lease = lease == -1;
    out->lease = lease >= 0 ? (uint64_t)lease : 0;
    if (lease < -1)
        REFUSE(decoder, PERI_EINVAL, "a lease is a number from 0, or -1");
}

/* How long a key lives, and under which conditions it is set. */
static void read_life(struct decoder *decoder, struct kv_operation *out)
{
    uint64_t known = out->kind == KV_SET ? KV_SET_FLAGS : KV_EXPIRE_FLAGS;
    out->delta = wire_unpack_int(&decoder->in);
    uint64_t flags = wire_unpack_uint(&decoder->in);
    if ((flags & ~known) != 0)
        REFUSE(decoder, PERI_EINVAL, "a key is not set with flags %" PRIu64, flags);
    if (out->delta > (int64_t)KV_CLOCK_MAX_MS || (out->kind == KV_SET && out->delta < -1))
        REFUSE(decoder, PERI_EINVAL, "no key lives for %" PRId64 " ms", out->delta);
    out->flags = (uint32_t)flags;
}

static void read_operation(struct decoder *decoder, struct kv_operation *out)
{
    static const char *const words[] = {"get",   "put",          "delete",  "append",   "increment",
                                        "range", "delete_range", "set",     "fetch",    "size",
                                        "ttl",   "expire",       "persist", "add_float"};
    static const uint32_t parts[] = {2, 4, 2, 3, 3, 5, 4, 5, 2, 2, 2, 4, 2, 3};
    uint32_t count = wire_unpack_array(&decoder->in);
    *out = (struct kv_operation){
        .kind = (enum kv_operation_kind)find_word(decoder, words, KV_OPERATIONS, "operation")};
    expect_count(decoder, count, parts[out->kind], words[out->kind]);
    if (out->kind == KV_RANGE || out->kind == KV_DELETE_RANGE) {
        read_bounds(decoder, &out->bounds, out->kind == KV_RANGE);
        return;
    }
    out->key = read_key(decoder);
    if (out->kind == KV_PUT || out->kind == KV_APPEND || out->kind == KV_SET ||
        out->kind == KV_ADD_FLOAT)
        out->value = read_value(decoder);
    if (out->kind == KV_PUT)
        read_lease(decoder, out);
    if (out->kind == KV_INCREMENT)
        out->delta = wire_unpack_int(&decoder->in);
    if (out->kind == KV_SET || out->kind == KV_EXPIRE)
        read_life(decoder, out);
}

/* The head of a list of at most max; a longer one is refused. */
static uint32_t read_count(struct decoder *decoder, uint32_t max, const char *what)
{
    uint32_t count = wire_unpack_array(&decoder->in);
    if (count <= max)
        return count;
    REFUSE(decoder, PERI_ETOOBIG, "a command has at most %" PRIu32 " %s, not %" PRIu32, max, what,
           count);
    return 0;
}

static uint32_t read_operations(struct decoder *decoder, struct kv_operation *out)
{
    uint32_t count = read_count(decoder, KV_OPERATIONS_MAX, "operations in a branch");
    for (uint32_t i = 0; i < count && is_well(decoder); i++)
        read_operation(decoder, &out[i]);
    return count;
}

static void read_do(struct decoder *decoder, struct kv_command *out)
{
    out->compare_count = read_count(decoder, KV_COMPARES_MAX, "compares");
    for (uint32_t i = 0; i < out->compare_count && is_well(decoder); i++)
        read_compare(decoder, &out->compares[i]);
    out->then_count = read_operations(decoder, out->then);
    out->else_count = read_operations(decoder, out->otherwise);
}

/* ---- batches ---- */

static bool has_range(const struct kv_operation *operations, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (operations[i].kind == KV_RANGE || operations[i].kind == KV_DELETE_RANGE)
            return true;
    return false;
}

static void read_part(struct decoder *decoder, struct kv_command *out)
{
    expect_count(decoder, wire_unpack_array(&decoder->in), 3, "a command of a batch");
    read_do(decoder, out);
}

static void read_batch(struct decoder *decoder, struct kv_command *out)
{
    const char *from = decoder->in.at;
    out->part_count = read_count(decoder, KV_BATCH_MAX, "commands in a batch");
    for (uint32_t i = 0; i < out->part_count && is_well(decoder); i++) {
        read_part(decoder, out);
        if (is_well(decoder) &&
            (has_range(out->then, out->then_count) || has_range(out->otherwise, out->else_count)))
            REFUSE(decoder, PERI_EINVAL, "a batch has no ranges");
    }
    out->parts = peri_slice_of(from, (size_t)(decoder->in.at - from));
    out->compare_count = out->then_count = out->else_count = 0;
}

void kv_batch_next(struct wire_unpacker *in, struct kv_command *out)
{
    struct decoder decoder = {.in = *in};
    read_part(&decoder, out);
    *in = decoder.in;
}

/* ---- scripts ---- */

static struct peri_slice read_list(struct decoder *decoder, uint32_t max, bool of_keys,
                                   uint32_t *count)
{
    const char *from = decoder->in.at;
    *count = read_count(decoder, max, of_keys ? "keys of a script" : "arguments of a script");
    for (uint32_t i = 0; i < *count && is_well(decoder); i++)
        (void)(of_keys ? read_key(decoder) : read_value(decoder));
    return peri_slice_of(from, (size_t)(decoder->in.at - from));
}

static void read_script(struct decoder *decoder, struct kv_script *out)
{
    out->text = wire_unpack_bytes(&decoder->in);
    out->wall_ms = wire_unpack_uint(&decoder->in);
    uint64_t version = wire_unpack_uint(&decoder->in);
    out->version = (uint32_t)version;
    if (out->text.size > KV_SCRIPT_MAX)
        REFUSE(decoder, PERI_ETOOBIG, "a script has at most %d bytes, not %zu", KV_SCRIPT_MAX,
               out->text.size);
    if (decoder->in.rc == 0 && (version < 2 || version > 3 || out->wall_ms > KV_CLOCK_MAX_MS))
        REFUSE(decoder, PERI_EINVAL, "a script's version or clock cannot be");
    out->keys = read_list(decoder, KV_SCRIPT_KEYS_MAX, true, &out->key_count);
    out->args = read_list(decoder, KV_SCRIPT_ARGS_MAX, false, &out->arg_count);
}

void kv_script_words(const struct kv_script *script, struct peri_slice *out)
{
    struct wire_unpacker keys = wire_unpack(script->keys), args = wire_unpack(script->args);
    (void)wire_unpack_array(&keys);
    (void)wire_unpack_array(&args);
    for (uint32_t i = 0; i < script->key_count; i++)
        *out++ = wire_unpack_bytes(&keys);
    for (uint32_t i = 0; i < script->arg_count; i++)
        *out++ = wire_unpack_bytes(&args);
}

/* ---- commands ---- */

static void check_session(struct decoder *decoder, const struct kv_command *command)
{
    bool needs_one = command->kind == KV_CLOSE || command->kind == KV_RESOLVE;
    bool has_one = command->session != 0;
    if (has_one != (command->sequence != 0))
        REFUSE(decoder, PERI_EINVAL, "session and sequence are both 0, or neither is");
    if (command->kind == KV_BATCH && has_one)
        REFUSE(decoder, PERI_EINVAL, "a batch belongs to no session");
    if (needs_one && !has_one)
        REFUSE(decoder, PERI_EINVAL, "the command belongs to a session");
    if (command->now_ms > KV_CLOCK_MAX_MS)
        REFUSE(decoder, PERI_EINVAL, "no clock says %" PRIu64 " ms", command->now_ms);
}

int kv_command_decode(struct peri_slice bytes, struct kv_command *out, struct peri_error *err)
{
    static const char *const words[] = {"do",     "open", "close",   "resolve", "grant", "keep",
                                        "revoke", "tick", "compact", "eval",    "batch"};
    static const uint32_t parts[] = {3, 1, 0, 0, 1, 1, 1, 0, 1, 5, 1};
    struct decoder decoder = {.in = wire_unpack(bytes), .err = err};
    uint32_t count = read_head(&decoder);
    out->now_ms = wire_unpack_uint(&decoder.in);
    out->session = wire_unpack_uint(&decoder.in);
    out->sequence = wire_unpack_uint(&decoder.in);
    out->kind = (enum kv_kind)find_word(&decoder, words, KV_KINDS, "command");
    out->compare_count = out->then_count = out->else_count = 0;
    out->number = out->part_count = 0;
    expect_count(&decoder, count, 4 + parts[out->kind], words[out->kind]);
    if (is_well(&decoder) && out->kind == KV_DO)
        read_do(&decoder, out);
    else if (is_well(&decoder) && out->kind == KV_EVAL)
        read_script(&decoder, &out->script);
    else if (is_well(&decoder) && out->kind == KV_BATCH)
        read_batch(&decoder, out);
    else if (is_well(&decoder) && (out->kind == KV_OPEN || out->kind == KV_GRANT))
        out->number = read_ttl(&decoder);
    else if (is_well(&decoder) && parts[out->kind] == 1)
        out->number = wire_unpack_uint(&decoder.in);
    if (is_well(&decoder))
        check_session(&decoder, out);
    return finish(&decoder, "command");
}

/* ---- queries ---- */

static void read_query(struct decoder *decoder, struct kv_query *out)
{
    struct wire_unpacker *in = &decoder->in;
    switch (out->kind) {
    case KV_ASK_KEY:
        out->bounds.from = read_key(decoder);
        out->revision = wire_unpack_uint(in);
        break;
    case KV_ASK_RANGE:
        read_bounds(decoder, &out->bounds, true);
        out->revision = wire_unpack_uint(in);
        break;
    case KV_ASK_EVENTS:
        read_bounds(decoder, &out->bounds, false);
        out->revision = wire_unpack_uint(in);
        out->number = wire_unpack_uint(in);
        if (out->number > UINT32_MAX)
            REFUSE(decoder, PERI_EINVAL, "no command has %" PRIu64 " events", out->number);
        break;
    case KV_ASK_LEASE:
        out->revision = wire_unpack_uint(in);
        break;
    case KV_ASK_OUTCOME:
        out->revision = wire_unpack_uint(in);
        out->number = wire_unpack_uint(in);
        break;
    case KV_ASK_READ:
        out->count = read_operations(decoder, out->operations);
        for (uint32_t i = 0; i < out->count && is_well(decoder); i++)
            if (!kv_operation_reads(&out->operations[i]))
                REFUSE(decoder, PERI_EINVAL, "a query changes nothing");
        break;
    case KV_ASK_STATUS:
    case KV_ASKS:
        break;
    }
}

int kv_query_decode(struct peri_slice bytes, struct kv_query *out, struct peri_error *err)
{
    static const char *const words[] = {"get",     "range",  "events", "lease",
                                        "outcome", "status", "read"};
    static const uint32_t parts[] = {2, 5, 5, 1, 2, 0, 1};
    struct decoder decoder = {.in = wire_unpack(bytes), .err = err};
    uint32_t count = read_head(&decoder);
    out->kind = (enum kv_query_kind)find_word(&decoder, words, KV_ASKS, "query");
    out->bounds = (struct kv_bounds){.limit = 0};
    out->revision = out->number = 0;
    out->count = 0;
    expect_count(&decoder, count, 1 + parts[out->kind], words[out->kind]);
    if (is_well(&decoder))
        read_query(&decoder, out);
    return finish(&decoder, "query");
}

/* ---- heads ---- */

/* A number in its longest form, so that another one fits into its place. */
static const char NO_TIME[9] = {'\xcf'};
enum { TIME_AT = 2, TIME_SIZE = sizeof NO_TIME };

void kv_command_begin(struct wire_packer *out, uint32_t count, const char *kind)
{
    wire_pack_array(out, count);
    wire_pack_uint(out, KV_COMMAND_VERSION);
    if (out->rc == 0)
        out->rc = peri_buffer_append(out->out, NO_TIME, TIME_SIZE);
    wire_pack_uint(out, 0);
    wire_pack_uint(out, 0);
    wire_pack_bytes(out, peri_slice_of(kind, strlen(kind)));
}

int kv_command_stamp(struct peri_buffer *command, uint64_t now_ms)
{
    if (command->size < TIME_AT + TIME_SIZE || command->data[TIME_AT] != NO_TIME[0])
        return PERI_EINVAL;
    for (unsigned i = 1; i < TIME_SIZE; i++)
        command->data[TIME_AT + i] = (char)(now_ms >> 8 * (TIME_SIZE - 1 - i));
    return 0;
}
