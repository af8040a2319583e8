/* operate.c - if, then, else: compares and operations over many keys, all or nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "kv/parts.h"

/* ---- compares ---- */

static bool holds(enum kv_relation relation, int order)
{
    switch (relation) {
    case KV_EQUAL:
        return order == 0;
    case KV_UNEQUAL:
        return order != 0;
    case KV_LESS:
        return order < 0;
    case KV_GREATER:
    case KV_RELATIONS:
        break;
    }
    return order > 0;
}

static uint64_t number_of(const struct kv_entry *entry, enum kv_target target)
{
    switch (target) {
    case KV_REVISION:
        return entry->revision;
    case KV_CREATED:
        return entry->created;
    case KV_VERSION:
        return entry->version;
    case KV_LEASE:
    case KV_CHANGED:
    case KV_VALUE:
    case KV_TARGETS:
        break;
    }
    return entry->lease;
}

/* 1 when it holds, else 0. */
static int compare(struct kv_run *run, const struct kv_compare *wanted)
{
    struct kv_entry entry;
    int rc = kv_find(run->view, wanted->key, &entry);
    if (rc < 0)
        return rc;
    if (wanted->target == KV_VALUE)
        return rc == 0 ? wanted->relation == KV_UNEQUAL
                       : holds(wanted->relation, peri_slice_compare(entry.value, wanted->value));
    uint64_t number = number_of(&entry, wanted->target);
    if (wanted->target == KV_CHANGED) {
        rc = kv_find_change(run, wanted->key, &entry, &number);
        if (rc != 0)
            return rc;
    }
    return holds(wanted->relation, number < wanted->number ? -1 : number > wanted->number);
}

/* ---- operations ---- */

static int get(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry entry;
    int rc = kv_find(run->view, operation->key, &entry);
    if (rc == 1) {
        wire_pack_array(&run->result, 5);
        kv_pack_entry(&run->result, entry.value, &entry);
    } else if (rc == 0) {
        wire_pack_nil(&run->result);
    }
    return rc < 0 ? rc : 0;
}

static int put(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    int rc = kv_find(run->view, operation->key, &old);
    if (rc < 0)
        return rc;
    wire_pack_uint(&run->result, old.version + 1);
    return kv_change_put(run, operation->key, &old, operation->value,
                         operation->keeps_lease ? old.lease : operation->lease);
}

static int delete (struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    int rc = kv_find(run->view, operation->key, &old);
    if (rc < 0)
        return rc;
    wire_pack_uint(&run->result, (uint64_t)rc);
    return rc == 1 ? kv_change_delete(run, operation->key, &old) : 0;
}

static int append(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    struct peri_buffer value = {NULL, 0, 0};
    int rc = kv_find(run->view, operation->key, &old);
    if (rc < 0)
        return rc;
    if (old.value.size + operation->value.size > KV_VALUE_MAX)
        return peri_fail_plain(run->err, PERI_ETOOBIG, "a value has at most %d bytes, not %zu",
                               KV_VALUE_MAX, old.value.size + operation->value.size);
    rc = peri_buffer_reserve(&value, old.value.size + operation->value.size);
    if (rc == 0) {
        (void)peri_buffer_append(&value, old.value.data, old.value.size); /* there is room */
        (void)peri_buffer_append(&value, operation->value.data, operation->value.size);
        wire_pack_uint(&run->result, value.size);
        rc = kv_change_put(run, operation->key, &old, peri_buffer_slice(&value), old.lease);
    }
    peri_buffer_deinit(&value);
    return rc;
}

enum { DIGITS_MAX = 20 };

/* Reads what increments write: digits, perhaps a minus in front. False for anything else. */
static bool read_number(struct peri_slice text, int64_t *out)
{
    char copy[DIGITS_MAX + 1], again[DIGITS_MAX + 1];
    if (text.size == 0 || text.size > DIGITS_MAX)
        return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    *out = strtoll(copy, NULL, 10); /* whatever it makes of other text does not print as that */
    int size = snprintf(again, sizeof again, "%" PRId64, *out);
    return (size_t)size == text.size && memcmp(again, copy, text.size) == 0;
}

static int increment(struct kv_run *run, const struct kv_operation *operation)
{
    struct kv_entry old;
    int64_t number = 0;
    char text[DIGITS_MAX + 1];
    int rc = kv_find(run->view, operation->key, &old);
    if (rc < 0)
        return rc;
    if (rc == 1 && !read_number(old.value, &number))
        return peri_fail_plain(run->err, PERI_EINVAL, "the value of the key is no integer");
    if (__builtin_add_overflow(number, operation->delta, &number))
        return peri_fail_plain(run->err, PERI_EINVAL, "the sum has more than 64 bits");
    int size = snprintf(text, sizeof text, "%" PRId64, number);
    wire_pack_int(&run->result, number);
    return kv_change_put(run, operation->key, &old, peri_slice_of(text, (size_t)size), old.lease);
}

static int delete_range(struct kv_run *run, const struct kv_bounds *bounds)
{
    struct kv_name from, to;
    struct peri_slice name, bytes, key;
    struct kv_walk walk;
    struct kv_entry old;
    size_t bytes_before = run->view->read_bytes;
    uint32_t count = 0;
    int rc = 0;
    kv_bounds_names(bounds, &from, &to);
    kv_walk_begin(&walk, run->view, &from, &to, bounds->limit + 1);
    while ((rc = kv_walk_next(&walk, &name, &bytes)) == 1 && count < bounds->limit &&
           (count == 0 || run->view->read_bytes - bytes_before <= KV_STEP_BYTES)) {
        if (kv_name_to_key(name, &key) != 0 || kv_entry_get(bytes, &old) != 0)
            return PERI_ECORRUPT;
        rc = kv_change_delete(run, key, &old);
        if (rc != 0)
            return rc;
        count++;
    }
    wire_pack_array(&run->result, 2);
    wire_pack_uint(&run->result, count);
    wire_pack_bool(&run->result, rc == 1);
    return rc < 0 ? rc : 0;
}

static int operate(struct kv_run *run, const struct kv_operation *operation)
{
    switch (operation->kind) {
    case KV_GET:
        return get(run, operation);
    case KV_PUT:
        return put(run, operation);
    case KV_DELETE:
        return delete (run, operation);
    case KV_APPEND:
        return append(run, operation);
    case KV_INCREMENT:
        return increment(run, operation);
    case KV_RANGE:
        wire_pack_array(&run->result, 3);
        return kv_pack_range(run->view, &operation->bounds, &run->result);
    case KV_DELETE_RANGE:
        return delete_range(run, &operation->bounds);
    default:
        return kv_operate_string(run, operation);
    }
}

/* ---- both ---- */

/* Operations on one key all look at it: they are read side by side. */
static void want_keys(struct kv_run *run, const struct kv_operation *operations, uint32_t count)
{
    struct kv_name name;
    for (uint32_t i = 0; i < count; i++)
        if (operations[i].kind != KV_RANGE && operations[i].kind != KV_DELETE_RANGE) {
            kv_name_key(&name, operations[i].key);
            kv_view_want(run->view, &name);
        }
}

static void want_compared(struct kv_run *run, const struct kv_command *command)
{
    struct kv_name name;
    for (uint32_t i = 0; i < command->compare_count; i++) {
        kv_name_key(&name, command->compares[i].key);
        kv_view_want(run->view, &name);
    }
}

void kv_want_keys(struct kv_run *run, const struct kv_command *command)
{
    want_compared(run, command);
    want_keys(run, command->then, command->then_count);
    want_keys(run, command->otherwise, command->else_count);
}

/* One after the other; each sees what those before it did. */
int kv_operate_all(struct kv_run *run, const struct kv_operation *operations, uint32_t count)
{
    wire_pack_array(&run->result, count);
    want_keys(run, operations, count);
    for (uint32_t i = 0; i < count; i++) {
        int rc = operate(run, &operations[i]);
        if (rc != 0)
            return rc;
        if (run->result.out->size > KV_RESULT_MAX)
            return peri_fail_plain(run->err, PERI_ETOOBIG,
                                   "the result of a command has at most %d bytes", KV_RESULT_MAX);
    }
    return 0;
}

int kv_operate(struct kv_run *run)
{
    const struct kv_command *command = run->command;
    int rc = 1;
    want_compared(run, command);
    for (uint32_t i = 0; i < command->compare_count && rc == 1; i++)
        rc = compare(run, &command->compares[i]);
    if (rc < 0)
        return rc;
    wire_pack_bool(&run->result, rc == 1);
    return rc == 1 ? kv_operate_all(run, command->then, command->then_count)
                   : kv_operate_all(run, command->otherwise, command->else_count);
}
