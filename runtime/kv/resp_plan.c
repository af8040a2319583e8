#include "kv/resp_plan.h"

#include <inttypes.h>
#include <string.h>

#include "kv/command.h"

enum { MS_PER_S = 1000 };

/* A command that is being planned. */
struct resp_planner {
    const struct resp_command *command;
    int64_t wall_ms;
    struct resp_plan *plan;
    struct wire_packer *out, *absent;
    uint32_t *absent_count;
    struct peri_error *err;
};

static struct peri_slice arg(const struct resp_planner *planner, uint32_t at)
{
    return planner->command->args[at];
}

static int refuse(const struct resp_planner *planner, const char *text)
{
    return peri_fail_plain(planner->err, PERI_EINVAL, "%s", text);
}

static const char SYNTAX[] = "ERR syntax error";
static const char NO_INTEGER[] = "ERR value is not an integer or out of range";

static int read_integer(const struct resp_planner *planner, uint32_t at, int64_t *out)
{
    return resp_read_integer(arg(planner, at), out) ? 0 : refuse(planner, NO_INTEGER);
}

/* ---- operations ---- */

static void begin(struct resp_planner *planner, uint32_t parts, const char *operation,
                  struct peri_slice key)
{
    wire_pack_array(planner->out, parts);
    wire_pack_bytes(planner->out, peri_slice_of(operation, strlen(operation)));
    wire_pack_bytes(planner->out, key);
    planner->plan->operations++;
}

void resp_pack_key(struct wire_packer *out, const char *operation, struct peri_slice key)
{
    wire_pack_array(out, 2);
    wire_pack_bytes(out, peri_slice_of(operation, strlen(operation)));
    wire_pack_bytes(out, key);
}

static void pack_key(struct resp_planner *planner, const char *operation, struct peri_slice key)
{
    begin(planner, 2, operation, key);
}

static void pack_set(struct resp_planner *planner, struct peri_slice key, struct peri_slice value,
                     int64_t left_ms, unsigned flags)
{
    begin(planner, 5, "set", key);
    wire_pack_bytes(planner->out, value);
    wire_pack_int(planner->out, left_ms);
    wire_pack_uint(planner->out, flags);
}

static void pack_expire(struct resp_planner *planner, struct peri_slice key, int64_t left_ms,
                        unsigned flags)
{
    begin(planner, 4, "expire", key);
    wire_pack_int(planner->out, left_ms);
    wire_pack_uint(planner->out, flags);
}

static int shape(struct resp_planner *planner, enum resp_shape shape)
{
    planner->plan->shape = shape;
    return 0;
}

/* ---- times ---- */

static int refuse_time(const struct resp_planner *planner)
{
    return peri_fail_plain(planner->err, PERI_EINVAL, "ERR invalid expire time in '%.*s' command",
                           (int)(arg(planner, 0).size < 32 ? arg(planner, 0).size : 32),
                           arg(planner, 0).data);
}

/* A number of seconds or ms, from now or of the wall clock, as ms from now. */
static int read_time(const struct resp_planner *planner, uint32_t at, bool is_seconds,
                     bool is_absolute, int64_t *out)
{
    int64_t ms = 0;
    int rc = read_integer(planner, at, &ms);
    if (rc != 0)
        return rc;
    if ((is_seconds && __builtin_mul_overflow(ms, MS_PER_S, &ms)) ||
        (is_absolute && __builtin_sub_overflow(ms, planner->wall_ms, &ms)) ||
        ms > (int64_t)KV_CLOCK_MAX_MS)
        return refuse_time(planner);
    *out = ms;
    return 0;
}

/* Reads EX, PX, EXAT or PXAT and its number at *at, which then stands on the number. False when
 * another word is there. */
static bool read_life(struct resp_planner *planner, uint32_t *at, int64_t *left_ms, int *rc)
{
    static const char *const words[] = {"EX", "PX", "EXAT", "PXAT"};
    for (unsigned i = 0; i < 4; i++)
        if (resp_is_word(arg(planner, *at), words[i])) {
            bool has_number = *at + 1 < planner->command->count;
            *rc = has_number ? read_time(planner, ++*at, i % 2 == 0, i >= 2, left_ms)
                             : refuse(planner, SYNTAX);
            if (*rc == 0 && *left_ms <= 0)
                *rc = i >= 2 ? (int)(*left_ms = 1, 0) : refuse_time(planner);
            return true;
        }
    return false;
}

/* ---- strings ---- */

static int plan_get(struct resp_planner *planner)
{
    pack_key(planner, "fetch", arg(planner, 1));
    return shape(planner, RESP_VALUE);
}

static int plan_set(struct resp_planner *planner)
{
    unsigned flags = 0;
    int64_t left_ms = 0;
    int rc = 0;
    for (uint32_t at = 3; at < planner->command->count && rc == 0; at++) {
        if (resp_is_word(arg(planner, at), "NX"))
            flags |= KV_IF_ABSENT;
        else if (resp_is_word(arg(planner, at), "XX"))
            flags |= KV_IF_PRESENT;
        else if (resp_is_word(arg(planner, at), "GET"))
            flags |= KV_GIVE_OLD;
        else if (left_ms == 0 && resp_is_word(arg(planner, at), "KEEPTTL"))
            left_ms = -1;
        else if (left_ms != 0 || !read_life(planner, &at, &left_ms, &rc))
            return refuse(planner, SYNTAX);
    }
    if (rc == 0 && (flags & KV_IF_ABSENT) != 0 && (flags & KV_IF_PRESENT) != 0)
        return refuse(planner, SYNTAX);
    if (rc != 0)
        return rc;
    pack_set(planner, arg(planner, 1), arg(planner, 2), left_ms, flags);
    return shape(planner, (flags & KV_GIVE_OLD) != 0 ? RESP_OLD
                          : flags != 0               ? RESP_OK_OR_NIL
                                                     : RESP_OK);
}

static int plan_setnx(struct resp_planner *planner)
{
    pack_set(planner, arg(planner, 1), arg(planner, 2), 0, KV_IF_ABSENT);
    return shape(planner, RESP_HAPPENED);
}

static int set_with_life(struct resp_planner *planner, bool is_seconds)
{
    int64_t left_ms = 0;
    int rc = read_time(planner, 2, is_seconds, false, &left_ms);
    if (rc != 0)
        return rc;
    if (left_ms <= 0)
        return refuse_time(planner);
    pack_set(planner, arg(planner, 1), arg(planner, 3), left_ms, 0);
    return shape(planner, RESP_OK);
}

static int plan_setex(struct resp_planner *planner)
{
    return set_with_life(planner, true);
}

static int plan_psetex(struct resp_planner *planner)
{
    return set_with_life(planner, false);
}

static int plan_getset(struct resp_planner *planner)
{
    pack_set(planner, arg(planner, 1), arg(planner, 2), 0, KV_GIVE_OLD);
    return shape(planner, RESP_OLD);
}

static int plan_getdel(struct resp_planner *planner)
{
    pack_key(planner, "fetch", arg(planner, 1));
    pack_key(planner, "delete", arg(planner, 1));
    return shape(planner, RESP_VALUE);
}

static int plan_getex(struct resp_planner *planner)
{
    int64_t left_ms = 0;
    uint32_t at = 2;
    int rc = 0;
    pack_key(planner, "fetch", arg(planner, 1));
    if (planner->command->count == 3 && resp_is_word(arg(planner, 2), "PERSIST"))
        pack_key(planner, "persist", arg(planner, 1));
    else if (planner->command->count == 4 && read_life(planner, &at, &left_ms, &rc))
        pack_expire(planner, arg(planner, 1), left_ms, 0);
    else if (planner->command->count != 2)
        return refuse(planner, SYNTAX);
    return rc != 0 ? rc : shape(planner, RESP_VALUE);
}

static int pack_all(struct resp_planner *planner, const char *operation, enum resp_shape what)
{
    for (uint32_t at = 1; at < planner->command->count; at++)
        pack_key(planner, operation, arg(planner, at));
    return shape(planner, what);
}

static int plan_mget(struct resp_planner *planner)
{
    return pack_all(planner, "fetch", RESP_VALUES);
}

static int plan_mset(struct resp_planner *planner)
{
    if (planner->command->count % 2 == 0)
        return refuse(planner, "ERR wrong number of arguments for 'mset' command");
    for (uint32_t at = 1; at < planner->command->count; at += 2)
        pack_set(planner, arg(planner, at), arg(planner, at + 1), 0, 0);
    return shape(planner, RESP_OK);
}

static int plan_msetnx(struct resp_planner *planner)
{
    if (planner->absent == NULL)
        return refuse(planner, "ERR MSETNX cannot stand in a transaction: use WATCH");
    int rc = plan_mset(planner);
    for (uint32_t at = 1; at < planner->command->count && rc == 0; at += 2) {
        wire_pack_array(planner->absent, 4);
        wire_pack_bytes(planner->absent, peri_slice_of("version", 7));
        wire_pack_bytes(planner->absent, arg(planner, at));
        wire_pack_bytes(planner->absent, peri_slice_of("=", 1));
        wire_pack_uint(planner->absent, 0);
        ++*planner->absent_count;
    }
    return rc;
}

static int increment_by(struct resp_planner *planner, int64_t delta)
{
    begin(planner, 3, "increment", arg(planner, 1));
    wire_pack_int(planner->out, delta);
    return shape(planner, RESP_NUMBER);
}

static int plan_incr(struct resp_planner *planner)
{
    return increment_by(planner, 1);
}

static int plan_decr(struct resp_planner *planner)
{
    return increment_by(planner, -1);
}

static int plan_incrby(struct resp_planner *planner)
{
    int64_t delta = 0;
    int rc = read_integer(planner, 2, &delta);
    return rc != 0 ? rc : increment_by(planner, delta);
}

static int plan_decrby(struct resp_planner *planner)
{
    int64_t delta = 0;
    int rc = read_integer(planner, 2, &delta);
    if (rc == 0 && delta == INT64_MIN)
        return refuse(planner, "ERR decrement would overflow");
    return rc != 0 ? rc : increment_by(planner, -delta);
}

static int pack_text(struct resp_planner *planner, const char *operation, enum resp_shape what)
{
    begin(planner, 3, operation, arg(planner, 1));
    wire_pack_bytes(planner->out, arg(planner, 2));
    return shape(planner, what);
}

static int plan_incrbyfloat(struct resp_planner *planner)
{
    return pack_text(planner, "add_float", RESP_BYTES);
}

static int plan_append(struct resp_planner *planner)
{
    return pack_text(planner, "append", RESP_NUMBER);
}

static int plan_strlen(struct resp_planner *planner)
{
    return pack_all(planner, "size", RESP_NUMBER);
}

static int plan_getrange(struct resp_planner *planner)
{
    int rc = read_integer(planner, 2, &planner->plan->a);
    if (rc == 0)
        rc = read_integer(planner, 3, &planner->plan->b);
    pack_key(planner, "fetch", arg(planner, 1));
    return rc != 0 ? rc : shape(planner, RESP_PART);
}

/* ---- keys ---- */

static int plan_del(struct resp_planner *planner)
{
    return pack_all(planner, "delete", RESP_SUM);
}

static int plan_exists(struct resp_planner *planner)
{
    return pack_all(planner, "ttl", RESP_THERE);
}

static int plan_type(struct resp_planner *planner)
{
    return pack_all(planner, "ttl", RESP_TYPE);
}

static int expire_at(struct resp_planner *planner, bool is_seconds, bool is_absolute)
{
    unsigned flags = 0;
    int64_t left_ms = 0;
    int rc = read_time(planner, 2, is_seconds, is_absolute, &left_ms);
    for (uint32_t at = 3; at < planner->command->count && rc == 0; at++) {
        unsigned flag = resp_is_word(arg(planner, at), "NX")   ? KV_IF_ABSENT
                        : resp_is_word(arg(planner, at), "XX") ? KV_IF_PRESENT
                        : resp_is_word(arg(planner, at), "GT") ? KV_IF_LATER
                        : resp_is_word(arg(planner, at), "LT") ? KV_IF_SOONER
                                                               : 0;
        if (flag == 0)
            return refuse(planner, SYNTAX);
        flags |= flag;
    }
    if (rc == 0 && (((flags & KV_IF_ABSENT) != 0 && flags != KV_IF_ABSENT) ||
                    (flags & (KV_IF_LATER | KV_IF_SOONER)) == (KV_IF_LATER | KV_IF_SOONER)))
        return refuse(planner, "ERR NX and XX, GT or LT options at the same time are not "
                               "compatible");
    if (rc != 0)
        return rc;
    pack_expire(planner, arg(planner, 1), left_ms, flags);
    return shape(planner, RESP_NUMBER);
}

static int plan_expire(struct resp_planner *planner)
{
    return expire_at(planner, true, false);
}

static int plan_pexpire(struct resp_planner *planner)
{
    return expire_at(planner, false, false);
}

static int plan_expireat(struct resp_planner *planner)
{
    return expire_at(planner, true, true);
}

static int plan_pexpireat(struct resp_planner *planner)
{
    return expire_at(planner, false, true);
}

static int plan_ttl(struct resp_planner *planner)
{
    return pack_all(planner, "ttl", RESP_TTL_SECONDS);
}

static int plan_pttl(struct resp_planner *planner)
{
    return pack_all(planner, "ttl", RESP_TTL_MS);
}

static int plan_expiretime(struct resp_planner *planner)
{
    planner->plan->a = planner->wall_ms;
    return pack_all(planner, "ttl", RESP_END_SECONDS);
}

static int plan_pexpiretime(struct resp_planner *planner)
{
    planner->plan->a = planner->wall_ms;
    return pack_all(planner, "ttl", RESP_END_MS);
}

static int plan_persist(struct resp_planner *planner)
{
    return pack_all(planner, "persist", RESP_NUMBER);
}

/* ---- the table ---- */

static const struct resp_word words[] = {
    {"GET", 2, RESP_READS, 1, 1, 1, plan_get},
    {"SET", -3, RESP_WRITES, 1, 1, 1, plan_set},
    {"SETNX", 3, RESP_WRITES, 1, 1, 1, plan_setnx},
    {"SETEX", 4, RESP_WRITES, 1, 1, 1, plan_setex},
    {"PSETEX", 4, RESP_WRITES, 1, 1, 1, plan_psetex},
    {"GETSET", 3, RESP_WRITES, 1, 1, 1, plan_getset},
    {"GETDEL", 2, RESP_WRITES, 1, 1, 1, plan_getdel},
    {"GETEX", -2, RESP_WRITES, 1, 1, 1, plan_getex},
    {"MGET", -2, RESP_READS, 1, -1, 1, plan_mget},
    {"MSET", -3, RESP_WRITES, 1, -1, 2, plan_mset},
    {"MSETNX", -3, RESP_WRITES, 1, -1, 2, plan_msetnx},
    {"INCR", 2, RESP_WRITES, 1, 1, 1, plan_incr},
    {"DECR", 2, RESP_WRITES, 1, 1, 1, plan_decr},
    {"INCRBY", 3, RESP_WRITES, 1, 1, 1, plan_incrby},
    {"DECRBY", 3, RESP_WRITES, 1, 1, 1, plan_decrby},
    {"INCRBYFLOAT", 3, RESP_WRITES, 1, 1, 1, plan_incrbyfloat},
    {"APPEND", 3, RESP_WRITES, 1, 1, 1, plan_append},
    {"STRLEN", 2, RESP_READS, 1, 1, 1, plan_strlen},
    {"GETRANGE", 4, RESP_READS, 1, 1, 1, plan_getrange},
    {"SUBSTR", 4, RESP_READS, 1, 1, 1, plan_getrange},
    {"DEL", -2, RESP_WRITES, 1, -1, 1, plan_del},
    {"UNLINK", -2, RESP_WRITES, 1, -1, 1, plan_del},
    {"EXISTS", -2, RESP_READS, 1, -1, 1, plan_exists},
    {"TOUCH", -2, RESP_READS, 1, -1, 1, plan_exists},
    {"TYPE", 2, RESP_READS, 1, 1, 1, plan_type},
    {"EXPIRE", -3, RESP_WRITES, 1, 1, 1, plan_expire},
    {"PEXPIRE", -3, RESP_WRITES, 1, 1, 1, plan_pexpire},
    {"EXPIREAT", -3, RESP_WRITES, 1, 1, 1, plan_expireat},
    {"PEXPIREAT", -3, RESP_WRITES, 1, 1, 1, plan_pexpireat},
    {"TTL", 2, RESP_READS, 1, 1, 1, plan_ttl},
    {"PTTL", 2, RESP_READS, 1, 1, 1, plan_pttl},
    {"EXPIRETIME", 2, RESP_READS, 1, 1, 1, plan_expiretime},
    {"PEXPIRETIME", 2, RESP_READS, 1, 1, 1, plan_pexpiretime},
    {"PERSIST", 2, RESP_WRITES, 1, 1, 1, plan_persist},
    {"WATCH", -2, RESP_ALONE, 1, -1, 1, NULL},
    {"UNWATCH", 1, 0, 0, 0, 0, NULL},
    {"MULTI", 1, 0, 0, 0, 0, NULL},
    {"EXEC", 1, RESP_ALONE, 0, 0, 0, NULL},
    {"DISCARD", 1, 0, 0, 0, 0, NULL},
    {"EVAL", -3, RESP_WRITES, 0, 0, 0, NULL},
    {"EVALSHA", -3, RESP_WRITES, 0, 0, 0, NULL},
    {"SCRIPT", -2, 0, 0, 0, 0, NULL},
    {"SCAN", -2, RESP_ALONE, 0, 0, 0, NULL},
    {"KEYS", 2, RESP_ALONE, 0, 0, 0, NULL},
    {"DBSIZE", 1, RESP_ALONE, 0, 0, 0, NULL},
    {"FLUSHALL", -1, RESP_ALONE, 0, 0, 0, NULL},
    {"FLUSHDB", -1, RESP_ALONE, 0, 0, 0, NULL},
    {"SUBSCRIBE", -2, RESP_ALONE, 0, 0, 0, NULL},
    {"UNSUBSCRIBE", -1, 0, 0, 0, 0, NULL},
    {"PSUBSCRIBE", -2, RESP_ALONE, 0, 0, 0, NULL},
    {"PUNSUBSCRIBE", -1, 0, 0, 0, 0, NULL},
    {"PING", -1, 0, 0, 0, 0, NULL},
    {"ECHO", 2, 0, 0, 0, 0, NULL},
    {"HELLO", -1, 0, 0, 0, 0, NULL},
    {"AUTH", -2, 0, 0, 0, 0, NULL},
    {"SELECT", 2, 0, 0, 0, 0, NULL},
    {"CLIENT", -2, 0, 0, 0, 0, NULL},
    {"COMMAND", -1, 0, 0, 0, 0, NULL},
    {"CONFIG", -2, 0, 0, 0, 0, NULL},
    {"INFO", -1, 0, 0, 0, 0, NULL},
    {"TIME", 1, 0, 0, 0, 0, NULL},
    {"RESET", 1, 0, 0, 0, 0, NULL},
    {"QUIT", -1, 0, 0, 0, 0, NULL},
};

const struct resp_word *resp_words(size_t *count)
{
    *count = sizeof words / sizeof words[0];
    return words;
}

const struct resp_word *resp_word_find(struct peri_slice name)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (resp_is_word(name, words[i].name))
            return &words[i];
    return NULL;
}

bool resp_word_takes(const struct resp_word *word, uint32_t count)
{
    return word->arity >= 0 ? (int64_t)count == word->arity : (int64_t)count >= -word->arity;
}

int resp_plan_make(const struct resp_word *word, const struct resp_command *command,
                   int64_t wall_ms, struct resp_plan *plan, struct wire_packer *out,
                   struct wire_packer *absent, uint32_t *absent_count, struct peri_error *err)
{
    struct resp_planner planner = {command, wall_ms, plan, out, absent, absent_count, err};
    *plan = (struct resp_plan){.operations = 0};
    int rc = word->plan(&planner);
    if (rc == 0 && plan->operations > KV_OPERATIONS_MAX)
        return peri_fail_plain(err, PERI_EINVAL, "ERR a command has at most %d keys",
                               KV_OPERATIONS_MAX);
    return rc != 0 ? rc : out->rc;
}
