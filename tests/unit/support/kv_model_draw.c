/* Random commands and queries. */
#include "kv_model.h"

static uint64_t draw(struct kv_model *model, uint64_t below)
{
    return kv_store_draw(model->store, below);
}

static struct kv_bounds draw_bounds(struct kv_model *model)
{
    return (struct kv_bounds){
        .from = draw(model, 4) == 0 ? peri_slice_of(NULL, 0)
                                    : kv_model_names[draw(model, KV_MODEL_KEYS)],
        .to = draw(model, 3) == 0 ? peri_slice_of(NULL, 0)
                                  : kv_model_names[draw(model, KV_MODEL_KEYS)],
        .limit = 1 + (uint32_t)draw(model, KV_MODEL_KEYS),
        .flags = draw(model, 2) == 0 ? 0 : (uint32_t)draw(model, 4)};
}

static struct peri_slice draw_value(struct kv_model *model)
{
    static const char *const values[] = {"1", "-7", "x", "xyz", "", "40", "x\n\t", "007"};
    return kv_text(values[draw(model, 8)]);
}

static uint64_t draw_id(struct kv_model *model)
{
    return model->is.last_id > 0 && draw(model, 8) != 0 ? 1 + draw(model, model->is.last_id)
                                                        : draw(model, KV_MODEL_IDS);
}

static struct kv_operation draw_operation(struct kv_model *model)
{
    struct kv_operation operation = {.kind = (enum kv_operation_kind)draw(model, KV_SET)};
    int key = (int)draw(model, KV_MODEL_KEYS);
    operation.bounds = draw_bounds(model);
    if (operation.kind == KV_DELETE_RANGE && draw(model, 3) != 0)
        operation.kind = KV_PUT;
    if (operation.kind == KV_DELETE_RANGE || operation.kind == KV_RANGE)
        return operation;
    operation.key = kv_model_names[key];
    operation.value = draw_value(model);
    operation.delta = (int64_t)draw(model, 200) - 100;
    operation.keeps_lease = draw(model, 4) == 0;
    operation.lease = !operation.keeps_lease && draw(model, 3) == 0 ? draw_id(model) : 0;
    if (operation.kind == KV_APPEND && model->is.now[key].size > KV_MODEL_VALUE / 4)
        operation.kind = KV_PUT; /* eight appends in one command still fit */
    return operation;
}

static struct kv_compare draw_compare(struct kv_model *model)
{
    struct kv_compare compare = {.target = (enum kv_target)draw(model, KV_TARGETS),
                                 .relation = (enum kv_relation)draw(model, KV_RELATIONS),
                                 .key = kv_model_names[draw(model, KV_MODEL_KEYS)],
                                 .value = draw_value(model)};
    const struct kv_model_key *key = &model->is.now[kv_model_key_of(compare.key)];
    compare.number = draw(model, 2) == 0 ? key->revision : draw(model, model->is.revision + 2);
    return compare;
}

static void draw_session(struct kv_model *model, struct kv_command *command)
{
    command->session = 1 + draw(model, KV_MODEL_IDS - 1);
    for (int tries = 0; tries < 10 && !kv_model_has_id(model, command->session, true); tries++)
        command->session = 1 + draw_id(model) % (KV_MODEL_IDS - 1);
    uint64_t sequence = model->is.ids[command->session].sequence;
    uint64_t how = draw(model, 8);
    command->sequence = how == 0 && sequence > 1   ? sequence - 1
                        : how <= 2 && sequence > 0 ? sequence
                                                   : sequence + 1 + draw(model, 2);
}

void kv_model_draw_command(struct kv_model *model, struct kv_command *command)
{
    static const enum kv_kind kinds[] = {KV_DO,      KV_DO,   KV_DO,     KV_DO,    KV_DO,
                                         KV_DO,      KV_DO,   KV_OPEN,   KV_GRANT, KV_CLOSE,
                                         KV_RESOLVE, KV_KEEP, KV_REVOKE, KV_TICK,  KV_COMPACT};
    model->now_ms += draw(model, 2) == 0 ? draw(model, 200) : 0;
    *command =
        (struct kv_command){.now_ms = draw(model, 10) == 0 ? model->now_ms / 2 : model->now_ms};
    command->kind = kinds[draw(model, sizeof kinds / sizeof kinds[0])];
    if (command->kind == KV_CLOSE || command->kind == KV_RESOLVE || draw(model, 2) == 0)
        draw_session(model, command);
    if (command->kind == KV_OPEN || command->kind == KV_GRANT)
        command->number = KV_TTL_MIN_MS + draw(model, 3000);
    if (command->kind == KV_KEEP || command->kind == KV_REVOKE)
        command->number = draw_id(model);
    if (command->kind == KV_COMPACT)
        command->number = model->is.revision -
                          (draw(model, 3) != 0 ? draw(model, model->is.revision + 1) : 0) +
                          (draw(model, 20) == 0 ? 1 : 0);
    if (command->kind != KV_DO)
        return;
    command->compare_count = (uint32_t)draw(model, 3);
    command->then_count = (uint32_t)draw(model, 4);
    command->else_count = (uint32_t)draw(model, 3);
    for (uint32_t i = 0; i < command->compare_count; i++)
        command->compares[i] = draw_compare(model);
    for (uint32_t i = 0; i < command->then_count; i++)
        command->then[i] = draw_operation(model);
    for (uint32_t i = 0; i < command->else_count; i++)
        command->otherwise[i] = draw_operation(model);
}

struct kv_query kv_model_draw_query(struct kv_model *model)
{
    struct kv_query query = {.kind = (enum kv_query_kind)draw(model, KV_ASK_READ),
                             .bounds = draw_bounds(model)};
    if (query.kind == KV_ASK_KEY)
        query.bounds.from = kv_model_names[draw(model, KV_MODEL_KEYS)];
    query.revision = query.kind == KV_ASK_LEASE || query.kind == KV_ASK_OUTCOME
                         ? draw_id(model)
                         : draw(model, model->is.revision + 3);
    if (query.kind == KV_ASK_EVENTS)
        query.bounds.flags = 0;
    if (query.kind == KV_ASK_EVENTS)
        query.number = draw(model, 3);
    if (query.kind == KV_ASK_OUTCOME && query.revision < KV_MODEL_IDS)
        query.number = model->is.ids[query.revision].sequence + draw(model, 3);
    return query;
}
