#include "mr_out_state.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mr_out_create(struct mr_out **out, struct mr_task *task)
{
    struct mr_out *made = calloc(1, sizeof *made);
    if (made == NULL)
        return PERI_ENOMEM;
    made->task = task;
    made->counters = LUA_NOREF;
    made->partition = LUA_NOREF;
    *out = made;
    return 0;
}

void mr_out_retire(struct mr_out *out)
{
    if (out == NULL)
        return;
    if (out->is_summing)
        vm_recent_end_sums(out->task->L);
    out->is_summing = false;
    out->sink = SINK_NONE;
}

void mr_out_close(struct mr_out *out)
{
    if (out == NULL)
        return;
    for (size_t i = 0; i < out->named_count; i++) {
        mr_output_close(out->named[i].output);
        free(out->named[i].name);
    }
    mr_output_close(out->file);
    mr_spill_writer_close(out->spill);
    mr_held_deinit(&out->held);
    peri_buffer_deinit(&out->sample);
    peri_buffer_deinit(&out->single);
    peri_buffer_deinit(&out->key);
    peri_buffer_deinit(&out->value);
    peri_buffer_deinit(&out->packed);
    free(out);
}

/* ---- sinks ---- */

void mr_out_to_emit(struct mr_out *out, struct mr_emit *emit, int partition, uint32_t partitions)
{
    out->sink = SINK_EMIT;
    out->emit = emit;
    out->partition = partition;
    out->partitions = partitions;
}

static int open_output(struct mr_out *out, const char *path, const char *format,
                       struct mr_output **output, struct peri_error *err)
{
    enum mr_output_format parsed;
    int rc = mr_output_format_parse(format, &parsed, err);
    if (rc != 0)
        return rc;
    return mr_output_open(output, out->task->env, path, parsed, false, err);
}

int mr_out_to_file(struct mr_out *out, const char *path, const char *format, struct peri_error *err)
{
    out->sink = SINK_FILE;
    return open_output(out, path, format, &out->file, err);
}

int mr_out_to_spill(struct mr_out *out, const char *path, struct peri_error *err)
{
    struct mr_spill_options options = {.partitions = 1};
    out->sink = SINK_SPILL;
    return mr_spill_writer_open(&out->spill, out->task->env, path, &options, err);
}

int mr_out_to_group(struct mr_out *out, struct mr_combine_out *group, struct peri_slice key,
                    struct peri_error *err)
{
    struct mr_datum parts[MR_KEY_PARTS_MAX];
    size_t count;
    out->sink = SINK_GROUP;
    out->group = group;
    out->group_key = key;
    out->single.size = 0;
    int rc = mr_key_decode(key, parts, &count, &out->packed, err);
    return rc != 0 ? rc : mr_key_encode(parts, 1, &out->single, err);
}

void mr_out_to_sample(struct mr_out *out, uint64_t limit)
{
    out->sink = SINK_SAMPLE;
    out->sample_limit = limit;
}

bool mr_out_is_full(const struct mr_out *out)
{
    return out->sink == SINK_SAMPLE && out->records >= out->sample_limit;
}

static int put_sample(struct mr_out *out, struct peri_slice key, struct peri_error *err)
{
    key = mr_key_first_parts(key, 1);
    unsigned char head[4];
    for (size_t i = 0; i < sizeof head; i++)
        head[i] = (unsigned char)(key.size >> (8 * i));
    if (mr_out_is_full(out))
        return 0;
    if (peri_buffer_append(&out->sample, head, sizeof head) != 0 ||
        peri_buffer_append(&out->sample, key.data, key.size) != 0)
        return peri_fail(err, PERI_ENOMEM, "the sample of keys");
    return 0;
}

static int put_group(struct mr_out *out, struct peri_slice key, struct peri_slice value,
                     struct peri_error *err)
{
    if (peri_slice_compare(key, out->group_key) != 0 &&
        peri_slice_compare(key, peri_buffer_slice(&out->single)) != 0)
        return peri_fail_plain(err, PERI_EINVAL,
                               "combine must keep the key that it was called with");
    return mr_combine_add(out->group, value, err);
}

int mr_out_put(struct mr_out *out, struct peri_slice key, struct peri_slice value,
               struct peri_error *err)
{
    int rc = 0;
    switch (out->sink) {
    case SINK_EMIT:
        rc = mr_emit_add(out->emit, key, value, err);
        break;
    case SINK_FILE:
        rc = mr_output_write(out->file, key, value, err);
        break;
    case SINK_SPILL:
        rc = mr_spill_writer_add(out->spill, 0, key, value, err);
        break;
    case SINK_GROUP:
        return put_group(out, key, value, err);
    case SINK_SAMPLE:
        rc = put_sample(out, key, err);
        break;
    case SINK_NONE:
        return peri_fail_plain(err, PERI_EINVAL, "out cannot be used here");
    }
    out->records++;
    return rc;
}

/* ---- named outputs ---- */

static int open_named(struct mr_out *out, const char *name, const char *format,
                      struct mr_output **output, struct peri_error *err)
{
    struct mr_task *task = out->task;
    char path[4096];
    int size = snprintf(path, sizeof path, "%s/%s%s", mr_spec_string(task, "out_dir", "."), name,
                        mr_spec_string(task, "out_suffix", ""));
    if (size < 0 || (size_t)size >= sizeof path)
        return peri_fail_plain(err, PERI_ETOOBIG, "the path of output %s is too long", name);
    if (out->named_count == MR_OUT_NAMED_MAX)
        return peri_fail_plain(err, PERI_ETOOBIG, "more than %d named outputs", MR_OUT_NAMED_MAX);
    struct mr_named *named = &out->named[out->named_count];
    named->name = strdup(name);
    if (named->name == NULL)
        return peri_fail(err, PERI_ENOMEM, "output %s", name);
    int rc = open_output(out, path, format, &named->output, err);
    if (rc != 0) {
        free(named->name);
        return rc;
    }
    out->named_count++;
    *output = named->output;
    return 0;
}

/* The named output, opened at its first use. */
int mr_out_named(struct mr_out *out, const char *name, const char *format,
                 struct mr_output **output, struct peri_error *err)
{
    for (size_t i = 0; i < out->named_count; i++) {
        if (strcmp(out->named[i].name, name) == 0) {
            *output = out->named[i].output;
            return 0;
        }
    }
    return open_named(out, name, format, output, err);
}

int mr_out_quarantine(struct mr_out *out, const struct mr_where *where, struct peri_slice record,
                      const char *reason, struct peri_error *err)
{
    struct mr_output *output = NULL;
    struct mr_datum parts[3] = {
        {.type = MR_STRING, .string = {where->file, strlen(where->file)}},
        {.type = MR_INTEGER, .integer = (int64_t)where->offset},
        {.type = MR_STRING, .string = {reason, strlen(reason)}},
    };
    struct mr_datum bytes = {.type = MR_STRING, .string = record};
    out->key.size = 0;
    out->value.size = 0;
    if (out->sink == SINK_SAMPLE)
        return 0; /* the map task will meet the record again */
    int rc = mr_key_encode(parts, 3, &out->key, err);
    if (rc == 0 && mr_value_encode(&bytes, &out->value) != 0)
        rc = peri_fail(err, PERI_ENOMEM, "a bad record");
    if (rc == 0)
        rc = mr_out_named(out, "quarantine", "tsv", &output, err);
    if (rc == 0)
        rc = mr_output_write(output, peri_buffer_slice(&out->key), peri_buffer_slice(&out->value),
                             err);
    return rc;
}

/* ---- records held back ---- */

int mr_out_hold_records(struct mr_out *out, size_t limit_bytes, struct peri_error *err)
{
    return mr_held_init(&out->held, limit_bytes, err);
}

void mr_out_begin(struct mr_out *out)
{
    mr_held_begin(&out->held);
}

void mr_out_abandon(struct mr_out *out)
{
    mr_held_end(&out->held);
}

const char *mr_out_named_format(const struct mr_out *out)
{
    return mr_spec_string(out->task, "named_format", mr_spec_string(out->task, "format", "text"));
}

static int check_format(const char *name, struct peri_slice value, struct peri_error *err)
{
    enum mr_output_format format;
    int rc = mr_output_format_parse(name, &format, err);
    return rc != 0 ? rc : mr_output_check(format, value, err);
}

static int check_item(const struct mr_out *out, const struct mr_held_item *item,
                      struct peri_error *err)
{
    if (item->kind == MR_HELD_NAMED)
        return check_format(mr_out_named_format(out), item->value, err);
    if (item->kind == MR_HELD_PAIR && out->sink == SINK_EMIT)
        return mr_emit_check(out->emit, item->key, item->value, err);
    if (item->kind == MR_HELD_PAIR && out->sink == SINK_FILE)
        return check_format(mr_spec_string(out->task, "format", "text"), item->value, err);
    return 0;
}

int mr_out_hold(struct mr_out *out, const struct mr_held_item *item, struct peri_error *err)
{
    int rc = check_item(out, item, err);
    return rc != 0 ? rc : mr_held_add(&out->held, item, err);
}

void mr_out_count(lua_State *L, struct mr_out *out, lua_Integer n)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, out->counters);
    lua_insert(L, -2);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    lua_Unsigned sum = (lua_Unsigned)lua_tointeger(L, -1) + (lua_Unsigned)n;
    lua_pop(L, 1);
    lua_pushinteger(L, (lua_Integer)sum);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int commit_named(struct mr_out *out, const struct mr_held_item *item, struct peri_error *err)
{
    char name[MR_OUT_NAME_MAX + 1];
    struct mr_output *output = NULL;
    memcpy(name, item->name.data, item->name.size);
    name[item->name.size] = '\0';
    int rc = mr_out_named(out, name, mr_out_named_format(out), &output, err);
    return rc != 0 ? rc : mr_output_write(output, item->key, item->value, err);
}

static int commit_pair(struct mr_out *out, const struct mr_held_item *item, struct peri_error *err)
{
    if (item->number < 0)
        return mr_out_put(out, item->key, item->value, err);
    out->records++;
    return mr_emit_add_to(out->emit, (uint32_t)item->number, item->key, item->value, err);
}

int mr_out_commit(struct mr_out *out, lua_State *L, struct peri_error *err)
{
    struct mr_held_item item;
    int rc = 0;
    mr_held_end(&out->held);
    while (rc == 0 && mr_held_next(&out->held, &item)) {
        switch (item.kind) {
        case MR_HELD_PAIR:
            rc = commit_pair(out, &item, err);
            break;
        case MR_HELD_NAMED:
            rc = commit_named(out, &item, err);
            break;
        case MR_HELD_COUNT:
            lua_pushlstring(L, item.name.data, item.name.size);
            mr_out_count(L, out, item.number);
            break;
        }
    }
    return rc;
}

/* ---- the result ---- */

static void copy_counters(struct mr_out *out, lua_State *H)
{
    lua_newtable(H);
    if (out->counters != LUA_NOREF) {
        lua_State *L = out->task->L;
        lua_rawgeti(L, LUA_REGISTRYINDEX, out->counters);
        for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1)) {
            size_t size;
            const char *name = lua_tolstring(L, -2, &size);
            lua_pushlstring(H, name, size);
            lua_pushinteger(H, lua_tointeger(L, -1));
            lua_rawset(H, -3);
        }
        lua_pop(L, 1);
    }
    lua_setfield(H, -2, "counters");
}

static void set_totals(lua_State *H, const struct mr_output_totals *totals)
{
    lua_pushinteger(H, (lua_Integer)totals->records);
    lua_setfield(H, -2, "records");
    lua_pushinteger(H, (lua_Integer)totals->bytes);
    lua_setfield(H, -2, "bytes");
}

static int finish_named(struct mr_out *out, lua_State *H, struct peri_error *err)
{
    int rc = 0;
    lua_newtable(H);
    for (size_t i = 0; i < out->named_count && rc == 0; i++) {
        struct mr_output_totals totals;
        rc = mr_output_finish(out->named[i].output, &totals, err);
        lua_newtable(H);
        if (rc == 0)
            set_totals(H, &totals);
        lua_setfield(H, -2, out->named[i].name);
    }
    lua_setfield(H, -2, "outputs");
    return rc;
}

int mr_out_result(struct mr_out *out, struct peri_error *err)
{
    lua_State *H = out->task->host;
    struct mr_output_totals totals = {.records = out->records};
    int rc = 0;
    if (out->sink == SINK_FILE)
        rc = mr_output_finish(out->file, &totals, err);
    if (out->sink == SINK_SPILL && (rc = mr_spill_writer_finish(out->spill, err)) == 0)
        totals.bytes = mr_spill_writer_bytes(out->spill);
    if (rc == 0)
        rc = finish_named(out, H, err);
    if (rc != 0)
        return rc;
    set_totals(H, &totals);
    copy_counters(out, H);
    if (out->sink == SINK_SAMPLE) {
        lua_pushlstring(H, out->sample.size > 0 ? out->sample.data : "", out->sample.size);
        lua_setfield(H, -2, "keys");
    }
    return 0;
}
