#include "kv_model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

const struct peri_slice kv_model_names[KV_MODEL_KEYS] = {
    {"a", 1}, {"a\0", 2}, {"a\0\1", 3}, {"ab", 2}, {"b", 1}, {"b\xff", 2}, {"c", 1}};

/* ---- the model's keys ---- */

int kv_model_key_of(struct peri_slice name)
{
    for (int key = 0; key < KV_MODEL_KEYS; key++)
        if (peri_slice_compare(kv_model_names[key], name) == 0)
            return key;
    PERI_ASSERT(false); /* no such key */
    return 0;
}

bool kv_model_is_inside(const struct kv_bounds *bounds, int key)
{
    return peri_slice_compare(kv_model_names[key], bounds->from) >= 0 &&
           (bounds->to.size == 0 || peri_slice_compare(kv_model_names[key], bounds->to) < 0);
}

static void add_event(struct kv_model *model, int key, bool is_delete)
{
    PERI_ASSERT(model->is.event_count < KV_MODEL_EVENTS);
    model->events[model->is.event_count++] = (struct kv_model_event){
        model->is.revision + 1, model->is.changes++, key, is_delete, model->is.now[key]};
}

bool kv_model_has_id(const struct kv_model *model, uint64_t id, bool is_session)
{
    return id < KV_MODEL_IDS && model->is.ids[id].is_there &&
           model->is.ids[id].is_session == is_session &&
           model->is.ids[id].expires_ms > model->is.clock_ms;
}

static int set(struct kv_model *model, int key, struct peri_slice value, uint64_t lease)
{
    struct kv_model_key *at = &model->is.now[key];
    if (lease != 0 && lease != at->lease && !kv_model_has_id(model, lease, false))
        return PERI_ELEASE;
    bool is_new = at->revision == 0;
    PERI_ASSERT(value.size <= KV_MODEL_VALUE);
    at->revision = model->is.revision + 1;
    at->created = is_new ? at->revision : at->created;
    at->version++;
    at->lease = lease;
    at->size = value.size;
    memmove(at->value, value.data, value.size);
    add_event(model, key, false);
    return 0;
}

static void drop(struct kv_model *model, int key)
{
    model->is.now[key] = (struct kv_model_key){.revision = 0};
    add_event(model, key, true);
}

/* ---- the model's operations ---- */

/* When a key was set or removed last; what is compacted is forgotten of those that are gone. */
static uint64_t last_change(const struct kv_model *model, int key)
{
    uint64_t last = 0;
    for (size_t i = 0; i < model->is.event_count; i++)
        last = model->events[i].key == key ? model->events[i].revision : last;
    bool is_there = model->is.now[key].revision != 0;
    return !is_there && last < model->is.compacted ? model->is.compacted : last;
}

static bool holds(struct kv_model *model, const struct kv_compare *compare)
{
    int at = kv_model_key_of(compare->key);
    const struct kv_model_key *key = &model->is.now[at];
    const uint64_t numbers[] = {key->revision, key->created, key->version, key->lease,
                                last_change(model, at)};
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

static int append(struct kv_model *model, int key, struct peri_slice value)
{
    char text[2 * KV_MODEL_VALUE];
    const struct kv_model_key *old = &model->is.now[key];
    memcpy(text, old->value, old->size);
    memcpy(text + old->size, value.data, value.size);
    wire_pack_uint(&model->result, old->size + value.size);
    return set(model, key, peri_slice_of(text, old->size + value.size), old->lease);
}

static bool is_number(const char *text, size_t size)
{
    bool is_negative = text[0] == '-';
    const char *digits = text + is_negative;
    size_t count = size - is_negative;
    return count > 0 && count < 12 && strspn(digits, "0123456789") == count &&
           (digits[0] != '0' || (count == 1 && !is_negative));
}

static int increment(struct kv_model *model, int key, int64_t delta)
{
    const struct kv_model_key *old = &model->is.now[key];
    char text[KV_MODEL_VALUE + 1] = "";
    memcpy(text, old->value, old->size);
    if (old->revision != 0 && !is_number(text, old->size))
        return PERI_EINVAL;
    int64_t sum = strtoll(text, NULL, 10) + delta;
    int size = snprintf(text, sizeof text, "%" PRId64, sum);
    wire_pack_int(&model->result, sum);
    return set(model, key, peri_slice_of(text, (size_t)size), old->lease);
}

static int delete_range(struct kv_model *model, const struct kv_bounds *bounds)
{
    uint32_t count = 0;
    bool is_more = false;
    for (int key = 0; key < KV_MODEL_KEYS; key++)
        if (model->is.now[key].revision != 0 && kv_model_is_inside(bounds, key)) {
            is_more = count == bounds->limit;
            if (is_more)
                break;
            drop(model, key);
            count++;
        }
    wire_pack_array(&model->result, 2);
    wire_pack_uint(&model->result, count);
    wire_pack_bool(&model->result, is_more);
    return 0;
}

static int operate(struct kv_model *model, const struct kv_operation *operation)
{
    int key = operation->key.size > 0 ? kv_model_key_of(operation->key) : 0;
    const struct kv_model_key *old = &model->is.now[key];
    bool is_there = old->revision != 0;
    switch (operation->kind) {
    case KV_GET:
        if (!is_there) {
            wire_pack_nil(&model->result);
            return 0;
        }
        wire_pack_array(&model->result, 5);
        kv_model_pack_key(&model->result, old, true);
        return 0;
    case KV_PUT:
        wire_pack_uint(&model->result, old->version + 1);
        return set(model, key, operation->value,
                   operation->keeps_lease ? old->lease : operation->lease);
    case KV_DELETE:
        wire_pack_uint(&model->result, is_there);
        if (is_there)
            drop(model, key);
        return 0;
    case KV_APPEND:
        return append(model, key, operation->value);
    case KV_INCREMENT:
        return increment(model, key, operation->delta);
    case KV_RANGE:
        wire_pack_array(&model->result, 3);
        kv_model_pack_range(&model->result, model->is.now, &operation->bounds);
        return 0;
    case KV_DELETE_RANGE:
        return delete_range(model, &operation->bounds);
    default: /* those of string.c are not part of the model */
        break;
    }
    return PERI_EINVAL;
}

static int do_all(struct kv_model *model, const struct kv_command *command)
{
    bool is_true = true;
    for (uint32_t i = 0; i < command->compare_count; i++)
        is_true = is_true && holds(model, &command->compares[i]);
    uint32_t count = is_true ? command->then_count : command->else_count;
    wire_pack_bool(&model->result, is_true);
    wire_pack_array(&model->result, count);
    for (uint32_t i = 0; i < count; i++) {
        int rc = operate(model, is_true ? &command->then[i] : &command->otherwise[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* ---- the model's leases and sessions ---- */

static int create_id(struct kv_model *model, uint64_t ttl_ms, bool is_session)
{
    struct kv_model_id *id = &model->is.ids[++model->is.last_id];
    PERI_ASSERT(model->is.last_id < KV_MODEL_IDS);
    *id = (struct kv_model_id){.is_there = true,
                               .is_session = is_session,
                               .has_due = true,
                               .ttl_ms = ttl_ms,
                               .expires_ms = model->is.clock_ms + ttl_ms,
                               .due_ms = model->is.clock_ms + ttl_ms,
                               .result = id->result};
    wire_pack_uint(&model->result, model->is.last_id);
    return 0;
}

static uint32_t end_lease(struct kv_model *model, uint64_t id)
{
    uint32_t count = 0;
    for (int key = 0; key < KV_MODEL_KEYS; key++)
        if (model->is.now[key].revision != 0 && model->is.now[key].lease == id) {
            drop(model, key);
            count++;
        }
    model->is.ids[id].is_there = false;
    return count;
}

uint64_t kv_model_first_due(const struct kv_model *model, uint64_t until_ms)
{
    uint64_t first = 0;
    for (uint64_t id = 1; id <= model->is.last_id; id++) {
        const struct kv_model_id *at = &model->is.ids[id], *best = &model->is.ids[first];
        if (at->has_due && at->due_ms <= until_ms &&
            (first == 0 || at->due_ms < best->due_ms ||
             (at->due_ms == best->due_ms && at->is_session < best->is_session)))
            first = id;
    }
    return first;
}

static int tick(struct kv_model *model)
{
    for (uint64_t id = kv_model_first_due(model, model->is.clock_ms); id != 0;
         id = kv_model_first_due(model, model->is.clock_ms)) {
        struct kv_model_id *at = &model->is.ids[id];
        at->has_due = at->is_there && at->expires_ms > model->is.clock_ms;
        at->due_ms = at->expires_ms;
        if (!at->has_due && at->is_there && !at->is_session)
            (void)end_lease(model, id);
        at->is_there = at->has_due;
    }
    wire_pack_bool(&model->result, false);
    return 0;
}

/* ---- the model's commands ---- */

static int carry_out(struct kv_model *model, const struct kv_command *command)
{
    uint64_t number = command->number;
    switch (command->kind) {
    case KV_DO:
        return do_all(model, command);
    case KV_OPEN:
        return create_id(model, number, true);
    case KV_GRANT:
        return create_id(model, number, false);
    case KV_CLOSE:
        model->is.ids[command->session].is_there = false;
        return 0;
    case KV_RESOLVE:
        wire_pack_bool(&model->result, false);
        wire_pack_bytes(&model->result, peri_slice_of(NULL, 0));
        return 0;
    case KV_KEEP:
        if (!kv_model_has_id(model, number, false))
            return PERI_ELEASE;
        model->is.ids[number].expires_ms = model->is.clock_ms + model->is.ids[number].ttl_ms;
        wire_pack_uint(&model->result, model->is.ids[number].ttl_ms);
        return 0;
    case KV_REVOKE:
        if (!kv_model_has_id(model, number, false))
            return PERI_ELEASE;
        wire_pack_uint(&model->result, end_lease(model, number));
        return 0;
    case KV_TICK:
        return tick(model);
    case KV_COMPACT:
        if (number > model->is.revision)
            return PERI_EINVAL;
        model->is.compacted = number > model->is.compacted ? number : model->is.compacted;
        wire_pack_bool(&model->result, false);
        return 0;
    case KV_EVAL:  /* test_kv_eval.c */
    case KV_BATCH: /* test_kv_batch.c */
    case KV_KINDS:
        break;
    }
    return PERI_EINVAL;
}

static void finish(struct kv_model *model, enum kv_kind kind)
{
    struct wire_packer out = {&model->expected, 0};
    wire_pack_array(&out, kind == KV_CLOSE ? 2 : kind == KV_DO || kind == KV_RESOLVE ? 4 : 3);
    wire_pack_uint(&out, model->is.revision + (model->is.changes > 0));
    wire_pack_uint(&out, model->is.clock_ms);
    PERI_ASSERT(peri_buffer_append(&model->expected, model->parts.data, model->parts.size) == 0);
}

static int happen(struct kv_model *model, const struct kv_command *command)
{
    model->is.changes = 0;
    model->expected.size = model->parts.size = 0;
    model->result = (struct wire_packer){&model->parts, 0};
    if (command->now_ms > model->is.clock_ms)
        model->is.clock_ms = command->now_ms;
    struct kv_model_id *slot = &model->is.ids[command->session];
    if (command->session != 0 && !kv_model_has_id(model, command->session, true))
        return PERI_ESESSION;
    if (command->session != 0 && command->sequence < slot->sequence)
        return PERI_EINVAL;
    if (command->session != 0 && command->sequence == slot->sequence) {
        model->is.clock_ms = model->before.clock_ms; /* nothing happens, but the answer says when */
        if (command->kind == KV_RESOLVE) {
            wire_pack_bool(&model->result, !slot->is_skipped);
            wire_pack_bytes(&model->result, peri_slice_of(slot->result, slot->result_size));
            uint64_t clock_ms = model->is.clock_ms;
            model->is.clock_ms = command->now_ms > clock_ms ? command->now_ms : clock_ms;
            finish(model, command->kind);
            model->is.clock_ms = clock_ms;
            return 0;
        }
        if (slot->is_skipped)
            return PERI_ESESSION;
        PERI_ASSERT(peri_buffer_append(&model->expected, slot->result, slot->result_size) == 0);
        return 0;
    }
    int rc = carry_out(model, command);
    if (rc != 0)
        return rc;
    finish(model, command->kind);
    if (command->session != 0 && command->kind != KV_CLOSE) {
        slot->sequence = command->sequence;
        slot->expires_ms = model->is.clock_ms + slot->ttl_ms;
        slot->is_skipped = command->kind == KV_RESOLVE;
        slot->result_size = slot->is_skipped ? 0 : model->expected.size;
        PERI_ASSERT(slot->result_size <= KV_MODEL_RESULT);
        if (slot->result == NULL)
            slot->result = malloc(KV_MODEL_RESULT);
        PERI_ASSERT(slot->result != NULL);
        memcpy(slot->result, model->expected.data, slot->result_size);
    }
    if (model->is.changes > 0)
        model->is.revision++;
    memcpy(model->past[model->is.revision], model->is.now, sizeof model->is.now);
    return 0;
}

int kv_model_apply(struct kv_model *model, const struct kv_command *command)
{
    model->before = model->is;
    int rc = happen(model, command);
    if (rc != 0)
        model->is = model->before;
    return rc;
}

/* ---- life ---- */

void kv_model_begin(struct kv_model *model, struct kv_store *store)
{
    memset(model->past, 0, sizeof model->past);
    model->is = (struct kv_model_state){.revision = 0};
    model->store = store;
    model->now_ms = 1000;
}

void kv_model_end(struct kv_model *model)
{
    for (int i = 0; i < KV_MODEL_IDS; i++)
        free(model->is.ids[i].result);
    peri_buffer_deinit(&model->expected);
    peri_buffer_deinit(&model->parts);
}
