/* The key/value store compared with a model that is obviously right: random commands over few keys,
 * with sessions, leases, time and compaction, and after each of them questions about the present,
 * the past and the events in between. Answers are compared byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "kv_store.h"
#include "wire/pack.h"

enum {
    SEEDS = 150,
    COMMANDS = 300,
    KEYS = 7,
    VALUE = 48,
    RESULT = 16384,
    IDS = 400,
    EVENTS = 8000,
    REVISIONS = COMMANDS + 200
};

static const struct peri_slice names[KEYS] = {{"a", 1}, {"a\0", 2},   {"a\0\1", 3}, {"ab", 2},
                                              {"b", 1}, {"b\xff", 2}, {"c", 1}};

struct model_key {
    uint64_t revision, created, version, lease; /* revision 0: it is not there */
    size_t size;
    char value[VALUE];
};

struct model_event {
    uint64_t revision, number;
    int key;
    bool is_delete;
    struct model_key entry;
};

/* A lease or a session. */
struct model_id {
    bool is_there, is_session, has_due, is_skipped;
    uint64_t ttl_ms, expires_ms, due_ms, sequence;
    size_t result_size;
    char *result;
};

struct model {
    struct model_key now[KEYS];
    uint64_t revision, compacted, clock_ms, last_id;
    size_t event_count;
    uint32_t changes; /* of the command */
    struct model_id ids[IDS];
};

static struct model model, before;
static struct model_key past[REVISIONS][KEYS];
static struct model_event events[EVENTS];
static struct kv_store store;
static struct peri_buffer expected, expected_result, actual, bytes;
static struct wire_packer result; /* to expected_result */
static uint64_t now_ms;

static uint64_t draw(uint64_t below)
{
    return kv_store_draw(&store, below);
}

/* ---- the model's keys ---- */

static int key_of(struct peri_slice name)
{
    for (int key = 0; key < KEYS; key++)
        if (peri_slice_compare(names[key], name) == 0)
            return key;
    fail_msg("no such key");
    return 0;
}

static bool is_inside(const struct kv_bounds *bounds, int key)
{
    return peri_slice_compare(names[key], bounds->from) >= 0 &&
           (bounds->to.size == 0 || peri_slice_compare(names[key], bounds->to) < 0);
}

static void add_event(int key, bool is_delete)
{
    PERI_ASSERT(model.event_count < EVENTS);
    events[model.event_count++] =
        (struct model_event){model.revision + 1, model.changes++, key, is_delete, model.now[key]};
}

static bool has_id(uint64_t id, bool is_session)
{
    return id < IDS && model.ids[id].is_there && model.ids[id].is_session == is_session &&
           model.ids[id].expires_ms > model.clock_ms;
}

static int set(int key, struct peri_slice value, uint64_t lease)
{
    struct model_key *at = &model.now[key];
    if (lease != 0 && lease != at->lease && !has_id(lease, false))
        return PERI_ELEASE;
    bool is_new = at->revision == 0;
    PERI_ASSERT(value.size <= VALUE);
    at->revision = model.revision + 1;
    at->created = is_new ? at->revision : at->created;
    at->version++;
    at->lease = lease;
    at->size = value.size;
    memmove(at->value, value.data, value.size);
    add_event(key, false);
    return 0;
}

static void drop(int key)
{
    model.now[key] = (struct model_key){.revision = 0};
    add_event(key, true);
}

static void pack_key(struct wire_packer *out, const struct model_key *key, bool has_value)
{
    wire_pack_bytes(out, peri_slice_of(key->value, has_value ? key->size : 0));
    wire_pack_uint(out, key->revision);
    wire_pack_uint(out, key->created);
    wire_pack_uint(out, key->version);
    wire_pack_uint(out, key->lease);
}

static void pack_range(struct wire_packer *out, const struct model_key *keys,
                       const struct kv_bounds *bounds)
{
    uint32_t count = 0, left;
    int more = -1;
    for (int key = 0; key < KEYS && more < 0; key++)
        if (keys[key].revision != 0 && is_inside(bounds, key)) {
            more = count == bounds->limit ? key : -1;
            count += more < 0;
        }
    left = (bounds->flags & KV_COUNT_ONLY) != 0 ? 0 : count;
    wire_pack_array(out, left);
    for (int key = 0; key < KEYS && left > 0; key++)
        if (keys[key].revision != 0 && is_inside(bounds, key)) {
            wire_pack_array(out, 6);
            wire_pack_bytes(out, names[key]);
            pack_key(out, &keys[key], (bounds->flags & KV_KEYS_ONLY) == 0);
            left--;
        }
    if (more >= 0)
        wire_pack_bytes(out, names[more]);
    else
        wire_pack_nil(out);
    wire_pack_uint(out, count);
}

/* ---- the model's operations ---- */

static bool holds(const struct kv_compare *compare)
{
    const struct model_key *key = &model.now[key_of(compare->key)];
    const uint64_t numbers[] = {key->revision, key->created, key->version, key->lease};
    int order;
    if (compare->target == KV_VALUE && key->revision == 0)
        return compare->relation == KV_UNEQUAL;
    if (compare->target == KV_VALUE)
        order = peri_slice_compare(peri_slice_of(key->value, key->size), compare->value);
    else
        order = numbers[compare->target] < compare->number
                    ? -1
                    : numbers[compare->target] > compare->number;
    return compare->relation == KV_EQUAL     ? order == 0
           : compare->relation == KV_UNEQUAL ? order != 0
           : compare->relation == KV_LESS    ? order < 0
                                             : order > 0;
}

static int append(int key, struct peri_slice value)
{
    char text[2 * VALUE];
    const struct model_key *old = &model.now[key];
    memcpy(text, old->value, old->size);
    memcpy(text + old->size, value.data, value.size);
    wire_pack_uint(&result, old->size + value.size);
    return set(key, peri_slice_of(text, old->size + value.size), old->lease);
}

static bool is_number(const char *text, size_t size)
{
    bool is_negative = text[0] == '-';
    const char *digits = text + is_negative;
    size_t count = size - is_negative;
    return count > 0 && count < 12 && strspn(digits, "0123456789") == count &&
           (digits[0] != '0' || (count == 1 && !is_negative));
}

static int increment(int key, int64_t delta)
{
    const struct model_key *old = &model.now[key];
    char text[VALUE + 1] = "";
    memcpy(text, old->value, old->size);
    if (old->revision != 0 && !is_number(text, old->size))
        return PERI_EINVAL;
    int64_t sum = strtoll(text, NULL, 10) + delta;
    int size = snprintf(text, sizeof text, "%" PRId64, sum);
    wire_pack_int(&result, sum);
    return set(key, peri_slice_of(text, (size_t)size), old->lease);
}

static int delete_range(const struct kv_bounds *bounds)
{
    uint32_t count = 0;
    bool is_more = false;
    for (int key = 0; key < KEYS; key++)
        if (model.now[key].revision != 0 && is_inside(bounds, key)) {
            is_more = count == bounds->limit;
            if (is_more)
                break;
            drop(key);
            count++;
        }
    wire_pack_array(&result, 2);
    wire_pack_uint(&result, count);
    wire_pack_bool(&result, is_more);
    return 0;
}

static int operate(const struct kv_operation *operation)
{
    int key = operation->key.size > 0 ? key_of(operation->key) : 0;
    const struct model_key *old = &model.now[key];
    bool is_there = old->revision != 0;
    switch (operation->kind) {
    case KV_GET:
        if (!is_there) {
            wire_pack_nil(&result);
            return 0;
        }
        wire_pack_array(&result, 5);
        pack_key(&result, old, true);
        return 0;
    case KV_PUT:
        wire_pack_uint(&result, old->version + 1);
        return set(key, operation->value, operation->keeps_lease ? old->lease : operation->lease);
    case KV_DELETE:
        wire_pack_uint(&result, is_there);
        if (is_there)
            drop(key);
        return 0;
    case KV_APPEND:
        return append(key, operation->value);
    case KV_INCREMENT:
        return increment(key, operation->delta);
    case KV_RANGE:
        wire_pack_array(&result, 3);
        pack_range(&result, model.now, &operation->bounds);
        return 0;
    case KV_DELETE_RANGE:
        return delete_range(&operation->bounds);
    default: /* those of string.c are not part of the model */
        break;
    }
    return PERI_EINVAL;
}

static int do_all(const struct kv_command *command)
{
    bool is_true = true;
    for (uint32_t i = 0; i < command->compare_count; i++)
        is_true = is_true && holds(&command->compares[i]);
    uint32_t count = is_true ? command->then_count : command->else_count;
    wire_pack_bool(&result, is_true);
    wire_pack_array(&result, count);
    for (uint32_t i = 0; i < count; i++) {
        int rc = operate(is_true ? &command->then[i] : &command->otherwise[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the model's leases and sessions ---- */

static int create_id(uint64_t ttl_ms, bool is_session)
{
    struct model_id *id = &model.ids[++model.last_id];
    PERI_ASSERT(model.last_id < IDS);
    *id = (struct model_id){.is_there = true,
                            .is_session = is_session,
                            .has_due = true,
                            .ttl_ms = ttl_ms,
                            .expires_ms = model.clock_ms + ttl_ms,
                            .due_ms = model.clock_ms + ttl_ms,
                            .result = id->result};
    wire_pack_uint(&result, model.last_id);
    return 0;
}

static uint32_t end_lease(uint64_t id)
{
    uint32_t count = 0;
    for (int key = 0; key < KEYS; key++)
        if (model.now[key].revision != 0 && model.now[key].lease == id) {
            drop(key);
            count++;
        }
    model.ids[id].is_there = false;
    return count;
}

/* The one that is due first: leases before sessions; 0: none is. */
static uint64_t first_due(uint64_t until_ms)
{
    uint64_t first = 0;
    for (uint64_t id = 1; id <= model.last_id; id++) {
        const struct model_id *at = &model.ids[id], *best = &model.ids[first];
        if (at->has_due && at->due_ms <= until_ms &&
            (first == 0 || at->due_ms < best->due_ms ||
             (at->due_ms == best->due_ms && at->is_session < best->is_session)))
            first = id;
    }
    return first;
}

static int tick(void)
{
    for (uint64_t id = first_due(model.clock_ms); id != 0; id = first_due(model.clock_ms)) {
        struct model_id *at = &model.ids[id];
        at->has_due = at->is_there && at->expires_ms > model.clock_ms;
        at->due_ms = at->expires_ms;
        if (!at->has_due && at->is_there && !at->is_session)
            (void)end_lease(id);
        at->is_there = at->has_due;
    }
    wire_pack_bool(&result, false);
    return 0;
}

/* ---- the model's commands ---- */

static int carry_out(const struct kv_command *command)
{
    uint64_t number = command->number;
    switch (command->kind) {
    case KV_DO:
        return do_all(command);
    case KV_OPEN:
        return create_id(number, true);
    case KV_GRANT:
        return create_id(number, false);
    case KV_CLOSE:
        model.ids[command->session].is_there = false;
        return 0;
    case KV_RESOLVE:
        wire_pack_bool(&result, false);
        wire_pack_bytes(&result, peri_slice_of(NULL, 0));
        return 0;
    case KV_KEEP:
        if (!has_id(number, false))
            return PERI_ELEASE;
        model.ids[number].expires_ms = model.clock_ms + model.ids[number].ttl_ms;
        wire_pack_uint(&result, model.ids[number].ttl_ms);
        return 0;
    case KV_REVOKE:
        if (!has_id(number, false))
            return PERI_ELEASE;
        wire_pack_uint(&result, end_lease(number));
        return 0;
    case KV_TICK:
        return tick();
    case KV_COMPACT:
        if (number > model.revision)
            return PERI_EINVAL;
        model.compacted = number > model.compacted ? number : model.compacted;
        wire_pack_bool(&result, false);
        return 0;
    case KV_EVAL: /* test_kv_eval.c */
    case KV_KINDS:
        break;
    }
    return PERI_EINVAL;
}

static void finish(enum kv_kind kind)
{
    struct wire_packer out = {&expected, 0};
    wire_pack_array(&out, kind == KV_CLOSE ? 2 : kind == KV_DO || kind == KV_RESOLVE ? 4 : 3);
    wire_pack_uint(&out, model.revision + (model.changes > 0));
    wire_pack_uint(&out, model.clock_ms);
    PERI_ASSERT(peri_buffer_append(&expected, expected_result.data, expected_result.size) == 0);
}

static int happen(const struct kv_command *command)
{
    model.changes = 0;
    expected.size = expected_result.size = 0;
    result = (struct wire_packer){&expected_result, 0};
    if (command->now_ms > model.clock_ms)
        model.clock_ms = command->now_ms;
    struct model_id *slot = &model.ids[command->session];
    if (command->session != 0 && !has_id(command->session, true))
        return PERI_ESESSION;
    if (command->session != 0 && command->sequence < slot->sequence)
        return PERI_EINVAL;
    if (command->session != 0 && command->sequence == slot->sequence) {
        model.clock_ms = before.clock_ms; /* nothing happens, but the answer says when */
        if (command->kind == KV_RESOLVE) {
            wire_pack_bool(&result, !slot->is_skipped);
            wire_pack_bytes(&result, peri_slice_of(slot->result, slot->result_size));
            uint64_t clock_ms = model.clock_ms;
            model.clock_ms = command->now_ms > clock_ms ? command->now_ms : clock_ms;
            finish(command->kind);
            model.clock_ms = clock_ms;
            return 0;
        }
        if (slot->is_skipped)
            return PERI_ESESSION;
        PERI_ASSERT(peri_buffer_append(&expected, slot->result, slot->result_size) == 0);
        return 0;
    }
    int rc = carry_out(command);
    if (rc != 0)
        return rc;
    finish(command->kind);
    if (command->session != 0 && command->kind != KV_CLOSE) {
        slot->sequence = command->sequence;
        slot->expires_ms = model.clock_ms + slot->ttl_ms;
        slot->is_skipped = command->kind == KV_RESOLVE;
        slot->result_size = slot->is_skipped ? 0 : expected.size;
        PERI_ASSERT(slot->result_size <= RESULT);
        if (slot->result == NULL)
            slot->result = malloc(RESULT);
        PERI_ASSERT(slot->result != NULL);
        memcpy(slot->result, expected.data, slot->result_size);
    }
    if (model.changes > 0)
        model.revision++;
    memcpy(past[model.revision], model.now, sizeof model.now);
    return 0;
}

/* ---- comparing ---- */

static void check(int rc, int expected_rc, const struct peri_error *err)
{
    if (rc != expected_rc)
        fail_msg("%s (%s), not %s", peri_error_name(rc), err->text, peri_error_name(expected_rc));
    assert_int_equal(rc != 0, err->text[0] != '\0');
    if (rc == 0)
        assert_int_equal(
            peri_slice_compare(peri_buffer_slice(&actual), peri_buffer_slice(&expected)), 0);
}

static void apply(const struct kv_command *command)
{
    struct peri_error err = PERI_ERROR_INIT;
    bytes.size = 0;
    kv_store_encode(command, &bytes);
    before = model;
    int expected_rc = happen(command);
    if (expected_rc != 0)
        model = before;
    check(kv_store_apply(&store, peri_buffer_slice(&bytes), &actual, &err), expected_rc, &err);
}

static void pack_event(struct wire_packer *out, const struct model_event *event)
{
    wire_pack_array(out, 8);
    wire_pack_uint(out, event->revision);
    wire_pack_bool(out, event->is_delete);
    wire_pack_bytes(out, names[event->key]);
    pack_key(out, &event->entry, true);
}

enum { LOOKED_AT = 256 };

static void expect_events(struct wire_packer *out, const struct kv_query *query)
{
    static struct peri_buffer list;
    struct wire_packer packer = {&list, 0};
    uint64_t next = model.revision + 1, next_number = 0;
    uint32_t count = 0, looked_at = 0;
    list.size = 0;
    for (size_t i = 0; i < model.event_count; i++) {
        const struct model_event *event = &events[i];
        if (event->revision < query->revision ||
            (event->revision == query->revision && event->number < query->number))
            continue;
        if (looked_at++ == LOOKED_AT || count == query->bounds.limit) {
            next = event->revision;
            next_number = event->number;
            break;
        }
        if (is_inside(&query->bounds, event->key)) {
            pack_event(&packer, event);
            count++;
        }
    }
    wire_pack_array(out, count);
    PERI_ASSERT(peri_buffer_append(&expected, list.data, list.size) == 0);
    wire_pack_uint(out, query->revision > model.revision ? query->revision : next);
    wire_pack_uint(out, query->revision > model.revision ? 0 : next_number);
    peri_buffer_deinit(&list);
}

static void expect_lease(struct wire_packer *out, uint64_t id)
{
    uint32_t keys = 0;
    if (!has_id(id, false)) {
        wire_pack_nil(out);
        return;
    }
    for (int key = 0; key < KEYS; key++)
        keys += model.now[key].revision != 0 && model.now[key].lease == id;
    wire_pack_array(out, 3);
    wire_pack_uint(out, model.ids[id].ttl_ms);
    wire_pack_uint(out, model.ids[id].expires_ms - model.clock_ms);
    wire_pack_uint(out, keys);
}

static void expect_outcome(struct wire_packer *out, const struct kv_query *query)
{
    const struct model_id *slot = &model.ids[query->revision];
    const char *word = "ended";
    if (has_id(query->revision, true) && slot->sequence < query->number)
        word = "unknown";
    else if (has_id(query->revision, true) && slot->sequence == query->number)
        word = slot->is_skipped ? "never" : "ok";
    wire_pack_bytes(out, kv_text(word));
    wire_pack_bytes(out, strcmp(word, "ok") == 0 ? peri_slice_of(slot->result, slot->result_size)
                                                 : peri_slice_of(NULL, 0));
}

static void expect_status(struct wire_packer *out)
{
    uint64_t keys = 0, leases = 0, sessions = 0, due = first_due(UINT64_MAX);
    for (int key = 0; key < KEYS; key++)
        keys += model.now[key].revision != 0;
    for (uint64_t id = 1; id <= model.last_id; id++) {
        leases += model.ids[id].is_there && !model.ids[id].is_session;
        sessions += model.ids[id].is_there && model.ids[id].is_session;
    }
    wire_pack_uint(out, model.compacted);
    wire_pack_uint(out, keys);
    wire_pack_uint(out, leases);
    wire_pack_uint(out, sessions);
    if (due != 0)
        wire_pack_uint(out, model.ids[due].due_ms);
    else
        wire_pack_nil(out);
}

static int expect_past(const struct kv_query *query, uint64_t first)
{
    return query->revision > model.revision ? PERI_EINVAL
           : query->revision < first        ? PERI_ECOMPACTED
                                            : 0;
}

static int expect_answer(const struct kv_query *query)
{
    struct wire_packer out = {&expected, 0};
    const struct model_key *keys = query->revision == 0 ? model.now : past[query->revision];
    int rc = 0;
    static const uint32_t parts[] = {3, 5, 5, 3, 4, 7};
    expected.size = 0;
    wire_pack_array(&out, parts[query->kind]);
    wire_pack_uint(&out, model.revision);
    wire_pack_uint(&out, model.clock_ms);
    if (query->kind == KV_ASK_KEY || query->kind == KV_ASK_RANGE)
        rc = query->revision == 0 ? 0 : expect_past(query, model.compacted);
    else if (query->kind == KV_ASK_EVENTS && query->revision <= model.revision)
        rc = expect_past(query, model.compacted + 1);
    if (rc != 0)
        return rc;
    if (query->kind == KV_ASK_KEY && keys[key_of(query->bounds.from)].revision == 0) {
        wire_pack_nil(&out);
    } else if (query->kind == KV_ASK_KEY) {
        wire_pack_array(&out, 5);
        pack_key(&out, &keys[key_of(query->bounds.from)], true);
    } else if (query->kind == KV_ASK_RANGE) {
        pack_range(&out, keys, &query->bounds);
    } else if (query->kind == KV_ASK_EVENTS) {
        expect_events(&out, query);
    } else if (query->kind == KV_ASK_LEASE) {
        expect_lease(&out, query->revision);
    } else if (query->kind == KV_ASK_OUTCOME) {
        expect_outcome(&out, query);
    } else {
        expect_status(&out);
    }
    return 0;
}

/* ---- random input ---- */

static struct kv_bounds draw_bounds(void)
{
    return (struct kv_bounds){.from = draw(4) == 0 ? peri_slice_of(NULL, 0) : names[draw(KEYS)],
                              .to = draw(3) == 0 ? peri_slice_of(NULL, 0) : names[draw(KEYS)],
                              .limit = 1 + (uint32_t)draw(KEYS),
                              .flags = draw(2) == 0 ? 0 : (uint32_t)draw(4)};
}

static struct peri_slice draw_value(void)
{
    static const char *const values[] = {"1", "-7", "x", "xyz", "", "40", "x\n\t", "007"};
    return kv_text(values[draw(8)]);
}

static uint64_t draw_id(void)
{
    return model.last_id > 0 && draw(8) != 0 ? 1 + draw(model.last_id) : draw(IDS);
}

static struct kv_operation draw_operation(void)
{
    struct kv_operation operation = {.kind = (enum kv_operation_kind)draw(KV_SET)};
    int key = (int)draw(KEYS);
    operation.bounds = draw_bounds();
    if (operation.kind == KV_DELETE_RANGE && draw(3) != 0)
        operation.kind = KV_PUT;
    if (operation.kind == KV_DELETE_RANGE || operation.kind == KV_RANGE)
        return operation;
    operation.key = names[key];
    operation.value = draw_value();
    operation.delta = (int64_t)draw(200) - 100;
    operation.keeps_lease = draw(4) == 0;
    operation.lease = !operation.keeps_lease && draw(3) == 0 ? draw_id() : 0;
    if (operation.kind == KV_APPEND && model.now[key].size > VALUE / 4)
        operation.kind = KV_PUT; /* eight appends in one command still fit */
    return operation;
}

static struct kv_compare draw_compare(void)
{
    struct kv_compare compare = {.target = (enum kv_target)draw(KV_TARGETS),
                                 .relation = (enum kv_relation)draw(KV_RELATIONS),
                                 .key = names[draw(KEYS)],
                                 .value = draw_value()};
    const struct model_key *key = &model.now[key_of(compare.key)];
    compare.number = draw(2) == 0 ? key->revision : draw(model.revision + 2);
    return compare;
}

static void draw_session(struct kv_command *command)
{
    command->session = 1 + draw(IDS - 1);
    for (int tries = 0; tries < 10 && !has_id(command->session, true); tries++)
        command->session = 1 + draw_id() % (IDS - 1);
    uint64_t sequence = model.ids[command->session].sequence;
    uint64_t how = draw(8);
    command->sequence = how == 0 && sequence > 1   ? sequence - 1
                        : how <= 2 && sequence > 0 ? sequence
                                                   : sequence + 1 + draw(2);
}

static void draw_command(struct kv_command *command)
{
    static const enum kv_kind kinds[] = {KV_DO,      KV_DO,   KV_DO,     KV_DO,    KV_DO,
                                         KV_DO,      KV_DO,   KV_OPEN,   KV_GRANT, KV_CLOSE,
                                         KV_RESOLVE, KV_KEEP, KV_REVOKE, KV_TICK,  KV_COMPACT};
    now_ms += draw(2) == 0 ? draw(200) : 0;
    *command = (struct kv_command){.now_ms = draw(10) == 0 ? now_ms / 2 : now_ms};
    command->kind = kinds[draw(sizeof kinds / sizeof kinds[0])];
    if (command->kind == KV_CLOSE || command->kind == KV_RESOLVE || draw(2) == 0)
        draw_session(command);
    if (command->kind == KV_OPEN || command->kind == KV_GRANT)
        command->number = KV_TTL_MIN_MS + draw(3000);
    if (command->kind == KV_KEEP || command->kind == KV_REVOKE)
        command->number = draw_id();
    if (command->kind == KV_COMPACT)
        command->number = model.revision - (draw(3) != 0 ? draw(model.revision + 1) : 0) +
                          (draw(20) == 0 ? 1 : 0);
    if (command->kind != KV_DO)
        return;
    command->compare_count = (uint32_t)draw(3);
    command->then_count = (uint32_t)draw(4);
    command->else_count = (uint32_t)draw(3);
    for (uint32_t i = 0; i < command->compare_count; i++)
        command->compares[i] = draw_compare();
    for (uint32_t i = 0; i < command->then_count; i++)
        command->then[i] = draw_operation();
    for (uint32_t i = 0; i < command->else_count; i++)
        command->otherwise[i] = draw_operation();
}

static void ask(const struct kv_query *query)
{
    struct peri_error err = PERI_ERROR_INIT;
    bytes.size = 0;
    kv_store_encode_query(query, &bytes);
    int expected_rc = expect_answer(query);
    check(kv_store_ask(&store, peri_buffer_slice(&bytes), &actual, &err), expected_rc, &err);
}

static void ask_something(void)
{
    struct kv_query query = {.kind = (enum kv_query_kind)draw(KV_ASK_READ),
                             .bounds = draw_bounds()};
    if (query.kind == KV_ASK_KEY)
        query.bounds.from = names[draw(KEYS)];
    query.revision = query.kind == KV_ASK_LEASE || query.kind == KV_ASK_OUTCOME
                         ? draw_id()
                         : draw(model.revision + 3);
    if (query.kind == KV_ASK_EVENTS)
        query.bounds.flags = 0;
    if (query.kind == KV_ASK_EVENTS)
        query.number = draw(3);
    if (query.kind == KV_ASK_OUTCOME && query.revision < IDS)
        query.number = model.ids[query.revision].sequence + draw(3);
    ask(&query);
}

/* ---- the tests ---- */

static void run_command(enum kv_kind kind, uint64_t number)
{
    static struct kv_command command;
    command = (struct kv_command){.kind = kind, .now_ms = now_ms, .number = number};
    apply(&command);
}

/* Nothing is left on disk that nobody can ask for. */
static void check_rest(void)
{
    static struct kv_command command;
    size_t keys = 0;
    run_command(KV_COMPACT, model.revision);
    for (int key = 0; key < KEYS; key++)
        keys += model.now[key].revision != 0;
    assert_int_equal(kv_store_count(&store, 'k'), keys);
    assert_int_equal(kv_store_count(&store, 'e'), keys);
    assert_int_equal(kv_store_count(&store, 'v'), keys);
    command = (struct kv_command){.kind = KV_DO, .now_ms = now_ms, .then_count = 1};
    command.then[0] = (struct kv_operation){.kind = KV_DELETE_RANGE, .bounds = {.limit = KEYS}};
    apply(&command);
    now_ms += 1000000;
    run_command(KV_TICK, 0);
    run_command(KV_COMPACT, model.revision);
    for (const char *tag = "keavlsd"; *tag != '\0'; tag++)
        assert_int_equal(kv_store_count(&store, *tag), 0);
}

static void test_model(void **state)
{
    static struct kv_command command;
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        print_message("seed %" PRIu64 "\n", seed);
        memset(past, 0, sizeof past);
        model = (struct model){.revision = 0};
        store = (struct kv_store){.random = seed * 7919};
        now_ms = 1000;
        for (int i = 0; i < COMMANDS; i++) {
            draw_command(&command);
            apply(&command);
            for (uint64_t questions = draw(3); questions > 0; questions--)
                ask_something();
        }
        check_rest();
        assert_true(store.runs > 2 * COMMANDS); /* many have begun again */
        for (int i = 0; i < IDS; i++)
            free(model.ids[i].result);
        kv_store_deinit(&store);
    }
    peri_buffer_deinit(&expected);
    peri_buffer_deinit(&expected_result);
    peri_buffer_deinit(&actual);
    peri_buffer_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
