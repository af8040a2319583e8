/* string.c - operations as Redis has them: values with a time to live, under conditions.
 *
 * A key that lives for a time has a lease of its own, which goes with it (lease.c). What has ended
 * by log time is not there, even before a tick has removed it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "kv/parts.h"

int kv_find_alive(struct kv_run *run, struct peri_slice key, struct kv_entry *out)
{
    struct kv_lease lease;
    int rc = kv_find(run->view, key, out);
    return rc == 1 && out->lease != 0 ? kv_lease_find(run, out->lease, &lease) : rc;
}

/* ---- what changes nothing ---- */

static int fetch(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry entry;
    int rc = kv_find_alive(run, operation->key, &entry);
    if (rc == 1)
        wire_pack_bytes(&run->result, entry.value);
    else
        wire_pack_nil(&run->result);
    return rc < 0 ? rc : 0;
}

static int size(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry entry;
    int rc = kv_find_alive(run, operation->key, &entry);
    wire_pack_uint(&run->result, rc == 1 ? entry.value.size : 0);
    return rc < 0 ? rc : 0;
}

enum { TTL_FOREVER = -1, TTL_ABSENT = -2 };

/* What is left of a key's life: ms, TTL_FOREVER or TTL_ABSENT. */
static int find_ttl(struct kv_run *run, struct peri_slice key, struct kv_entry *entry, int64_t *out)
{
    struct kv_lease lease;
    int rc = kv_find(run->view, key, entry);
    *out = rc == 1 ? TTL_FOREVER : TTL_ABSENT;
    if (rc != 1 || entry->lease == 0)
        return rc;
    rc = kv_lease_find(run, entry->lease, &lease);
    *out = rc == 1 ? (int64_t)(lease.expires_ms - run->meta.clock_ms) : TTL_ABSENT;
    return rc;
}

static int ttl(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry entry;
    int64_t left_ms;
    int rc = find_ttl(run, operation->key, &entry, &left_ms);
    wire_pack_int(&run->result, left_ms);
    return rc < 0 ? rc : 0;
}

/* ---- what changes keys ---- */

/* The lease of a key that is set: a new one of its own, the one that it has, or none. */
static int choose_lease(struct kv_run *run, int64_t left_ms, uint64_t now, uint64_t *lease)
{
    *lease = left_ms == -1 ? now : 0;
    return left_ms > 0 ? kv_lease_own(run, (uint64_t)left_ms, lease) : 0;
}

static int set(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    uint64_t lease = 0;
    int rc = kv_find_alive(run, operation->key, &old);
    if (rc < 0)
        return rc;
    bool is_there = rc == 1;
    bool happens = (operation->flags & (is_there ? KV_IF_ABSENT : KV_IF_PRESENT)) == 0;
    wire_pack_array(&run->result, 2);
    wire_pack_bool(&run->result, happens);
    if (is_there && (operation->flags & KV_GIVE_OLD) != 0)
        wire_pack_bytes(&run->result, old.value);
    else
        wire_pack_nil(&run->result);
    if (!happens)
        return 0;
    rc = choose_lease(run, operation->delta, is_there ? old.lease : 0, &lease);
    return rc == 0 ? kv_change_put(run, operation->key, &old, operation->value, lease) : rc;
}

static bool may_expire(const struct kv_operation *operation, int64_t left_ms)
{
    uint32_t flags = operation->flags;
    bool is_later = left_ms != TTL_FOREVER && operation->delta > left_ms;
    bool is_sooner = left_ms == TTL_FOREVER || operation->delta < left_ms;
    return left_ms != TTL_ABSENT && ((flags & KV_IF_ABSENT) == 0 || left_ms == TTL_FOREVER) &&
           ((flags & KV_IF_PRESENT) == 0 || left_ms != TTL_FOREVER) &&
           ((flags & KV_IF_LATER) == 0 || is_later) && ((flags & KV_IF_SOONER) == 0 || is_sooner);
}

/* A key whose time is up already goes at once. */
static int expire(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    uint64_t lease = 0;
    int64_t left_ms;
    int rc = find_ttl(run, operation->key, &old, &left_ms);
    if (rc < 0)
        return rc;
    bool happens = may_expire(operation, left_ms);
    wire_pack_bool(&run->result, happens);
    if (!happens)
        return 0;
    if (operation->delta <= 0)
        return kv_change_delete(run, operation->key, &old);
    rc = kv_lease_own(run, (uint64_t)operation->delta, &lease);
    return rc == 0 ? kv_change_put(run, operation->key, &old, old.value, lease) : rc;
}

static int persist(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    int rc = kv_find_alive(run, operation->key, &old);
    if (rc < 0)
        return rc;
    bool happens = rc == 1 && old.lease != 0;
    wire_pack_bool(&run->result, happens);
    return happens ? kv_change_put(run, operation->key, &old, old.value, 0) : 0;
}

/* Reads a decimal fraction that is all of the text. */
static bool read_float(struct peri_slice text, double *out)
{
    char copy[64], *end;
    if (text.size == 0 || text.size >= sizeof copy || text.data[0] == ' ')
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0' && end == copy + text.size && isfinite(*out);
}

/* The shortest text that reads as the same number. */
static size_t print_float(char *out, size_t room, double number)
{
    for (int digits = 15;; digits++) {
        int length = snprintf(out, room, "%.*g", digits, number);
        if (digits == 17 || strtod(out, NULL) == number)
            return (size_t)length;
    }
}

static int add_float(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    char text[64];
    double number = 0, delta = 0;
    int rc = kv_find_alive(run, operation->key, &old);
    if (rc < 0)
        return rc;
    if ((rc == 1 && !read_float(old.value, &number)) || !read_float(operation->value, &delta))
        return peri_fail_plain(run->err, PERI_EINVAL, "the value of the key is no number");
    if (!isfinite(number + delta))
        return peri_fail_plain(run->err, PERI_EINVAL, "the sum is no number");
    struct peri_slice sum = peri_slice_of(text, print_float(text, sizeof text, number + delta));
    wire_pack_bytes(&run->result, sum);
    return kv_change_put(run, operation->key, &old, sum, rc == 1 ? old.lease : 0);
}

int kv_operate_string(struct kv_run *run, const struct kv_operation *operation)
{
    switch (operation->kind) {
    case KV_SET:
        return set(run, operation);
    case KV_FETCH:
        return fetch(run, operation);
    case KV_SIZE:
        return size(run, operation);
    case KV_TTL:
        return ttl(run, operation);
    case KV_EXPIRE:
        return expire(run, operation);
    case KV_PERSIST:
        return persist(run, operation);
    case KV_ADD_FLOAT:
        return add_float(run, operation);
    default:
        return PERI_EINVAL; /* those before are in operate.c */
    }
}
