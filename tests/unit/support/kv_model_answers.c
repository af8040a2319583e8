/* What queries are answered. */
#include "base/assert.h"
#include "kv_model.h"

void kv_model_pack_key(struct wire_packer *out, const struct kv_model_key *key, bool has_value)
{
    wire_pack_bytes(out, peri_slice_of(key->value, has_value ? key->size : 0));
    wire_pack_uint(out, key->revision);
    wire_pack_uint(out, key->created);
    wire_pack_uint(out, key->version);
    wire_pack_uint(out, key->lease);
}

void kv_model_pack_range(struct wire_packer *out, const struct kv_model_key *keys,
                         const struct kv_bounds *bounds)
{
    uint32_t count = 0, left;
    int more = -1;
    for (int key = 0; key < KV_MODEL_KEYS && more < 0; key++)
        if (keys[key].revision != 0 && kv_model_is_inside(bounds, key)) {
            more = count == bounds->limit ? key : -1;
            count += more < 0;
        }
    left = (bounds->flags & KV_COUNT_ONLY) != 0 ? 0 : count;
    wire_pack_array(out, left);
    for (int key = 0; key < KV_MODEL_KEYS && left > 0; key++)
        if (keys[key].revision != 0 && kv_model_is_inside(bounds, key)) {
            wire_pack_array(out, 6);
            wire_pack_bytes(out, kv_model_names[key]);
            kv_model_pack_key(out, &keys[key], (bounds->flags & KV_KEYS_ONLY) == 0);
            left--;
        }
    if (more >= 0)
        wire_pack_bytes(out, kv_model_names[more]);
    else
        wire_pack_nil(out);
    wire_pack_uint(out, count);
}

static void pack_event(struct wire_packer *out, const struct kv_model_event *event)
{
    wire_pack_array(out, 8);
    wire_pack_uint(out, event->revision);
    wire_pack_bool(out, event->is_delete);
    wire_pack_bytes(out, kv_model_names[event->key]);
    kv_model_pack_key(out, &event->entry, true);
}

enum { LOOKED_AT = 256 };

static void expect_events(struct kv_model *model, struct wire_packer *out,
                          const struct kv_query *query)
{
    static struct peri_buffer list;
    struct wire_packer packer = {&list, 0};
    uint64_t next = model->is.revision + 1, next_number = 0;
    uint32_t count = 0, looked_at = 0;
    list.size = 0;
    for (size_t i = 0; i < model->is.event_count; i++) {
        const struct kv_model_event *event = &model->events[i];
        if (event->revision < query->revision ||
            (event->revision == query->revision && event->number < query->number))
            continue;
        if (looked_at++ == LOOKED_AT || count == query->bounds.limit) {
            next = event->revision;
            next_number = event->number;
            break;
        }
        if (kv_model_is_inside(&query->bounds, event->key)) {
            pack_event(&packer, event);
            count++;
        }
    }
    wire_pack_array(out, count);
    PERI_ASSERT(peri_buffer_append(&model->expected, list.data, list.size) == 0);
    wire_pack_uint(out, query->revision > model->is.revision ? query->revision : next);
    wire_pack_uint(out, query->revision > model->is.revision ? 0 : next_number);
    peri_buffer_deinit(&list);
}

static void expect_lease(struct kv_model *model, struct wire_packer *out, uint64_t id)
{
    uint32_t keys = 0;
    if (!kv_model_has_id(model, id, false)) {
        wire_pack_nil(out);
        return;
    }
    for (int key = 0; key < KV_MODEL_KEYS; key++)
        keys += model->is.now[key].revision != 0 && model->is.now[key].lease == id;
    wire_pack_array(out, 3);
    wire_pack_uint(out, model->is.ids[id].ttl_ms);
    wire_pack_uint(out, model->is.ids[id].expires_ms - model->is.clock_ms);
    wire_pack_uint(out, keys);
}

static void expect_outcome(struct kv_model *model, struct wire_packer *out,
                           const struct kv_query *query)
{
    const struct kv_model_id *slot = &model->is.ids[query->revision];
    const char *word = "ended";
    if (kv_model_has_id(model, query->revision, true) && slot->sequence < query->number)
        word = "unknown";
    else if (kv_model_has_id(model, query->revision, true) && slot->sequence == query->number)
        word = slot->is_skipped ? "never" : "ok";
    wire_pack_bytes(out, kv_text(word));
    wire_pack_bytes(out, strcmp(word, "ok") == 0 ? peri_slice_of(slot->result, slot->result_size)
                                                 : peri_slice_of(NULL, 0));
}

static void expect_status(struct kv_model *model, struct wire_packer *out)
{
    uint64_t keys = 0, leases = 0, sessions = 0, due = kv_model_first_due(model, UINT64_MAX);
    for (int key = 0; key < KV_MODEL_KEYS; key++)
        keys += model->is.now[key].revision != 0;
    for (uint64_t id = 1; id <= model->is.last_id; id++) {
        leases += model->is.ids[id].is_there && !model->is.ids[id].is_session;
        sessions += model->is.ids[id].is_there && model->is.ids[id].is_session;
    }
    wire_pack_uint(out, model->is.compacted);
    wire_pack_uint(out, keys);
    wire_pack_uint(out, leases);
    wire_pack_uint(out, sessions);
    if (due != 0)
        wire_pack_uint(out, model->is.ids[due].due_ms);
    else
        wire_pack_nil(out);
}

static int expect_past(struct kv_model *model, const struct kv_query *query, uint64_t first)
{
    return query->revision > model->is.revision ? PERI_EINVAL
           : query->revision < first            ? PERI_ECOMPACTED
                                                : 0;
}

int kv_model_ask(struct kv_model *model, const struct kv_query *query)
{
    struct wire_packer out = {&model->expected, 0};
    const struct kv_model_key *keys =
        query->revision == 0 ? model->is.now : model->past[query->revision];
    int rc = 0;
    static const uint32_t parts[] = {3, 5, 5, 3, 4, 7};
    model->expected.size = 0;
    wire_pack_array(&out, parts[query->kind]);
    wire_pack_uint(&out, model->is.revision);
    wire_pack_uint(&out, model->is.clock_ms);
    if (query->kind == KV_ASK_KEY || query->kind == KV_ASK_RANGE)
        rc = query->revision == 0 ? 0 : expect_past(model, query, model->is.compacted);
    else if (query->kind == KV_ASK_EVENTS && query->revision <= model->is.revision)
        rc = expect_past(model, query, model->is.compacted + 1);
    if (rc != 0)
        return rc;
    if (query->kind == KV_ASK_KEY && keys[kv_model_key_of(query->bounds.from)].revision == 0) {
        wire_pack_nil(&out);
    } else if (query->kind == KV_ASK_KEY) {
        wire_pack_array(&out, 5);
        kv_model_pack_key(&out, &keys[kv_model_key_of(query->bounds.from)], true);
    } else if (query->kind == KV_ASK_RANGE) {
        kv_model_pack_range(&out, keys, &query->bounds);
    } else if (query->kind == KV_ASK_EVENTS) {
        expect_events(model, &out, query);
    } else if (query->kind == KV_ASK_LEASE) {
        expect_lease(model, &out, query->revision);
    } else if (query->kind == KV_ASK_OUTCOME) {
        expect_outcome(model, &out, query);
    } else {
        expect_status(model, &out);
    }
    return 0;
}
