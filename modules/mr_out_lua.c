/* mr_out_lua.c - out as map, reduce and combine see it. */
#include <lauxlib.h>
#include <string.h>

#include "mapreduce/token.h"
#include "mr_datum.h"
#include "mr_out_state.h"
#include "mr_record.h"

/* Raises after a failed call; what is not the user's doing is kept, so that pcall cannot hide it.
 */
static int raise_failure(lua_State *L, struct mr_out *out, int code)
{
    if (!mr_task_is_user_error(code))
        (void)mr_task_fail(out->task, &out->err);
    return luaL_error(L, "%s", out->err.text);
}

/* What a call under way fills when it fails. */
static struct peri_error *fresh_error(struct mr_out *out)
{
    peri_error_clear(&out->err);
    return &out->err;
}

static int l_call(lua_State *L);

/* out is a function with one upvalue: calling a userdata costs Lua half as much again. */
static struct mr_out *check_out(lua_State *L)
{
    luaL_argcheck(L, lua_tocfunction(L, 1) == l_call, 1, "out expected");
    (void)lua_getupvalue(L, 1, 1);
    struct mr_out *out = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return out;
}

/* Encodes the key at index, with the second part at second unless that is 0. */
static struct peri_slice encode_key(lua_State *L, struct mr_out *out, int index, int second)
{
    struct mr_datum parts[2];
    mr_datum_read(L, index, "the key", &parts[0]);
    if (second != 0)
        mr_datum_read(L, second, "the second key", &parts[1]);
    out->key.size = 0;
    int rc = mr_key_encode(parts, second != 0 ? 2 : 1, &out->key, fresh_error(out));
    if (rc != 0)
        (void)raise_failure(L, out, rc);
    return peri_buffer_slice(&out->key);
}

static struct peri_slice encode_value(lua_State *L, struct mr_out *out, int index)
{
    struct mr_datum value;
    mr_datum_read_value(L, index, &out->packed, &value);
    out->value.size = 0;
    int rc = mr_value_encode(&value, &out->value);
    if (rc != 0) {
        (void)peri_fail(&out->err, rc, "a value");
        (void)raise_failure(L, out, rc);
    }
    return peri_buffer_slice(&out->value);
}

/* The partition that the user's function says for the key at index, or -1 without one. Comes before
 * key and value are encoded: the function may call out itself, which uses the same scratch. */
static int64_t ask_partition(lua_State *L, struct mr_out *out, int index)
{
    struct mr_datum key;
    if (out->sink != SINK_EMIT || out->partition == LUA_NOREF)
        return -1;
    mr_datum_read(L, index, "the key", &key);
    lua_rawgeti(L, LUA_REGISTRYINDEX, out->partition);
    lua_pushvalue(L, index);
    if (lua_type(L, -1) == LUA_TUSERDATA) {
        (void)luaL_tolstring(L, -1, NULL);
        lua_remove(L, -2);
    }
    lua_pushinteger(L, out->partitions);
    lua_call(L, 2, 1);
    int is_integer = 0;
    lua_Integer part = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || part < 1 || part > (lua_Integer)out->partitions)
        luaL_error(L, "partition must return a whole number from 1 to %d, not %s",
                   (int)out->partitions, luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
    return part - 1;
}

/* part is what ask_partition said. */
static int put(lua_State *L, struct mr_out *out, int64_t part, struct peri_slice key,
               struct peri_slice value)
{
    int rc;
    if (out->held.is_holding) {
        const struct mr_held_item pair = {
            .kind = MR_HELD_PAIR, .number = part, .key = key, .value = value};
        rc = mr_out_hold(out, &pair, fresh_error(out));
    } else if (part >= 0) {
        rc = mr_emit_add_to(out->emit, (uint32_t)part, key, value, fresh_error(out));
        out->records++;
    } else {
        rc = mr_out_put(out, key, value, fresh_error(out));
    }
    return rc == 0 ? 0 : raise_failure(L, out, rc);
}

static int put_tallies(lua_State *L, struct mr_out *out, const struct mr_tally *tallies,
                       size_t count)
{
    int rc = mr_emit_add_tallies(out->emit, tallies, count, fresh_error(out));
    return rc == 0 ? 0 : raise_failure(L, out, rc);
}

static int put_string(lua_State *L, struct mr_out *out, struct peri_slice key, int64_t value)
{
    int rc = mr_emit_add_string(out->emit, key, value, fresh_error(out));
    return rc == 0 ? 0 : raise_failure(L, out, rc);
}

/* A string key for the emit table's fast path. */
static bool plain_key(lua_State *L, int index, struct peri_slice *key)
{
    int type = lua_type(L, index);
    if (type == LUA_TSTRING) {
        key->data = lua_tolstring(L, index, &key->size);
        return true;
    }
    return type == LUA_TUSERDATA && mr_record_slice(L, index, key);
}

static bool has_fast_path(const struct mr_out *out)
{
    return out->sink == SINK_EMIT && out->partition == LUA_NOREF && !out->held.is_holding;
}

/* A key that may be a string and an integer, neither to be encoded; false when they are others. */
static bool put_plainly(lua_State *L, struct mr_out *out)
{
    struct peri_slice key;
    if (!lua_isinteger(L, 2))
        return false;
    int64_t value = lua_tointeger(L, 2);
    if (out->is_summing && vm_recent_sum(L, 1, value))
        return true;
    if (!plain_key(L, 1, &key))
        return false;
    (void)put_string(L, out, key, value);
    out->records++;
    return true;
}

static int put_arguments(lua_State *L, int top)
{
    struct mr_out *out = lua_touserdata(L, lua_upvalueindex(1));
    if (top == 2 && has_fast_path(out) && put_plainly(L, out))
        return 0;
    if (top > 3)
        return luaL_error(L, "out takes key, value or key, key2, value, not %d arguments", top);
    int64_t part = ask_partition(L, out, 1);
    struct peri_slice key = encode_key(L, out, 1, top == 3 ? 2 : 0);
    return put(L, out, part, key, encode_value(L, out, top == 3 ? 3 : 2));
}

/* out(key [, key2], value). Of the outs of a state at most one sums up, so a string that has a sum
 * already need not ask which out this is. */
static int l_call(lua_State *L)
{
    struct vm_recent *recent = vm_state_of(L)->recent;
    int top = lua_gettop(L);
    bool is_added = recent != NULL && top == 2 && lua_isinteger(L, 2) &&
                    vm_recent_add(recent, lua_topointer(L, 1), lua_tointeger(L, 2));
    return is_added ? 0 : put_arguments(L, top);
}

static void put_left(lua_State *L, struct mr_out *out)
{
    size_t count = out->left.count;
    out->left.count = 0;
    (void)put_tallies(L, out, out->left.tallies, count);
}

/* Takes the sum of a string that made way for another. */
static void take_sum(lua_State *L, void *data, struct peri_slice string, int64_t sum)
{
    struct mr_out *out = data;
    struct mr_out_left *left = &out->left;
    char *bytes = left->bytes[left->count];
    memcpy(bytes, string.data, string.size);
    left->tallies[left->count++] = (struct mr_tally){peri_slice_of(bytes, string.size), sum};
    if (left->count == MR_OUT_LEFT_MAX)
        put_left(L, out);
}

void mr_out_flush(struct mr_out *out, lua_State *L)
{
    if (!out->is_summing)
        return;
    out->records += vm_recent_flush(L);
    put_left(L, out);
}

static struct peri_slice check_text(lua_State *L, int index)
{
    struct peri_slice text;
    if (lua_type(L, index) == LUA_TUSERDATA && mr_record_slice(L, index, &text))
        return text;
    text.data = luaL_checklstring(L, index, &text.size);
    return text;
}

static int put_counted_words(lua_State *L, struct mr_out *out, struct mr_words *words,
                             int64_t value)
{
    enum { BATCH = 64 };
    struct mr_tally batch[BATCH];
    size_t count;
    do {
        for (count = 0; count < BATCH && mr_words_next(words, &batch[count].string);)
            batch[count++].integer = value;
        (void)put_tallies(L, out, batch, count);
        out->records += count;
    } while (count == BATCH);
    return 0;
}

static int put_words(lua_State *L, struct mr_out *out, struct mr_words words)
{
    if (has_fast_path(out) && lua_isinteger(L, 3))
        return put_counted_words(L, out, &words, lua_tointeger(L, 3));
    struct peri_slice word;
    while (mr_words_next(&words, &word)) {
        lua_settop(L, 3);
        lua_pushlstring(L, word.data, word.size);
        int64_t part = ask_partition(L, out, 4);
        struct peri_slice key = encode_key(L, out, 4, 0);
        (void)put(L, out, part, key, encode_value(L, out, 3));
    }
    return 0;
}

/* out:words(text, value [, set]) */
static int l_words(lua_State *L)
{
    struct mr_out *out = check_out(L);
    struct peri_slice text = check_text(L, 2);
    if (lua_isnoneornil(L, 4)) {
        lua_settop(L, 3);
        return put_words(L, out, mr_words_of(text, &mr_class_letters));
    }
    struct mr_class *set = lua_newuserdatauv(L, sizeof *set, 0);
    if (mr_class_compile(set, check_text(L, 4), fresh_error(out)) != 0)
        return luaL_argerror(L, 4, out->err.text);
    lua_replace(L, 1); /* the class stays alive in the slot of out */
    lua_settop(L, 3);
    return put_words(L, out, mr_words_of(text, set));
}

/* out:sub(text, i, j [, value]); string.sub's positions */
static int l_sub(lua_State *L)
{
    struct mr_out *out = check_out(L);
    struct peri_slice text = check_text(L, 2);
    lua_Integer size = (lua_Integer)text.size;
    lua_Integer i = luaL_checkinteger(L, 3);
    lua_Integer j = luaL_optinteger(L, 4, -1);
    i = i < -size ? 1 : i < 0 ? size + i + 1 : i == 0 ? 1 : i;
    j = j < -size ? 0 : j < 0 ? size + j + 1 : j > size ? size : j;
    struct mr_datum part = {.type = MR_STRING, .string = {text.data, 0}};
    if (i <= j)
        part.string = peri_slice_of(text.data + i - 1, (size_t)(j - i + 1));
    int value_index = lua_isnone(L, 5) ? 2 : 5;
    if (out->partition != LUA_NOREF)
        lua_pushlstring(L, part.string.data, part.string.size);
    int64_t partition = ask_partition(L, out, lua_gettop(L));
    out->key.size = 0;
    int rc = mr_key_encode(&part, 1, &out->key, fresh_error(out));
    if (rc != 0)
        return raise_failure(L, out, rc);
    return put(L, out, partition, peri_buffer_slice(&out->key), encode_value(L, out, value_index));
}

static void check_name(lua_State *L, int index)
{
    size_t size;
    const char *name = luaL_checklstring(L, index, &size);
    bool is_good = size > 0 && size <= MR_OUT_NAME_MAX && strcmp(name, "part") != 0 &&
                   strcmp(name, "quarantine") != 0;
    for (size_t i = 0; i < size; i++)
        is_good = is_good && (name[i] == '_' || mr_class_letters.member[(unsigned char)name[i]] ||
                              (i > 0 && name[i] >= '0' && name[i] <= '9'));
    luaL_argcheck(L, is_good, index,
                  "an output's name has letters, digits and _, and is not part or quarantine");
}

/* out:to(name, key, value) */
static int l_to(lua_State *L)
{
    struct mr_out *out = check_out(L);
    check_name(L, 2);
    if (out->sink == SINK_GROUP || out->sink == SINK_NONE)
        return luaL_error(L, "out:to cannot be used %s",
                          out->sink == SINK_GROUP ? "in combine" : "here");
    struct peri_slice key = encode_key(L, out, 3, 0);
    struct peri_slice value = encode_value(L, out, 4);
    if (out->sink == SINK_SAMPLE)
        return 0;
    struct mr_output *output;
    if (out->held.is_holding) {
        struct mr_held_item pair = {.kind = MR_HELD_NAMED, .key = key, .value = value};
        pair.name.data = lua_tolstring(L, 2, &pair.name.size);
        int held = mr_out_hold(out, &pair, fresh_error(out));
        return held == 0 ? 0 : raise_failure(L, out, held);
    }
    int rc =
        mr_out_named(out, lua_tostring(L, 2), mr_out_named_format(out), &output, fresh_error(out));
    if (rc == 0)
        rc = mr_output_write(output, key, value, &out->err);
    return rc == 0 ? 0 : raise_failure(L, out, rc);
}

/* out:count(name [, n]) */
static int l_count(lua_State *L)
{
    struct mr_out *out = check_out(L);
    luaL_checktype(L, 2, LUA_TSTRING);
    lua_Integer n = luaL_optinteger(L, 3, 1);
    if (out->held.is_holding) {
        struct mr_held_item count = {.kind = MR_HELD_COUNT, .number = n};
        count.name.data = lua_tolstring(L, 2, &count.name.size);
        int rc = mr_out_hold(out, &count, fresh_error(out));
        return rc == 0 ? 0 : raise_failure(L, out, rc);
    }
    lua_pushvalue(L, 2);
    mr_out_count(L, out, n);
    return 0;
}

/* What a function does not have: only out has anything. */
static int l_no_method(lua_State *L)
{
    return luaL_error(L, "a function has no field '%s'; out has words, sub, to and count",
                      luaL_tolstring(L, 2, NULL));
}

/* Gives the state's functions their metatable; function is the index of one. __index is a table, as
 * it is looked at for every out:words. */
static void add_methods(lua_State *L, int function)
{
    static const luaL_Reg methods[] = {
        {"words", l_words}, {"sub", l_sub}, {"to", l_to}, {"count", l_count}, {NULL, NULL}};
    if (lua_getmetatable(L, function)) {
        lua_pop(L, 1);
        return;
    }
    lua_createtable(L, 0, 2);
    luaL_newlib(L, methods);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, l_no_method);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, function);
}

void mr_out_push(lua_State *L, struct mr_out *out)
{
    lua_pushlightuserdata(L, out);
    lua_pushcclosure(L, l_call, 1);
    add_methods(L, lua_gettop(L));
    if (!out->is_summing && out->held.size_limit == 0 && has_fast_path(out) &&
        mr_emit_is_sum(out->emit)) {
        out->taker = (struct vm_recent_taker){take_sum, out};
        vm_recent_begin_sums(L, &out->taker);
        out->is_summing = true;
    }
    if (out->counters == LUA_NOREF) {
        lua_newtable(L);
        out->counters = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}
