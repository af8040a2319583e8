#include "wire/walk.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

struct frame {
    const void *table;
    bool is_array;
    struct wire_scalar key; /* of the item that is being walked */
};

struct walk {
    const struct wire_sink *sink;
    const char *name;
    struct peri_error *err;
    int rc;
    struct peri_buffer keys; /* struct wire_scalar: sorted keys of the maps that are open */
    size_t depth;
    struct frame frames[WIRE_DEPTH_MAX];
};

/* ---- the place, for messages ---- */

enum { PLACE_MAX = 256, KEY_SHOWN_MAX = 60 };

static bool is_identifier(struct peri_slice text)
{
    if (text.size == 0 || text.size > KEY_SHOWN_MAX || isdigit((unsigned char)text.data[0]))
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (!isalnum((unsigned char)text.data[i]) && text.data[i] != '_')
            return false;
    return true;
}

static void show_string_key(char *out, size_t size, struct peri_slice text)
{
    char shown[KEY_SHOWN_MAX + 1];
    size_t count = text.size < KEY_SHOWN_MAX ? text.size : KEY_SHOWN_MAX;
    for (size_t i = 0; i < count; i++)
        shown[i] = isprint((unsigned char)text.data[i]) ? text.data[i] : '?';
    shown[count] = '\0';
    (void)snprintf(out, size, "[\"%s%s\"]", shown, count < text.size ? "..." : "");
}

static void show_key(char *out, size_t size, const struct wire_scalar *key)
{
    if (key->type == LUA_TBOOLEAN)
        (void)snprintf(out, size, "[%s]", key->boolean ? "true" : "false");
    else if (key->type == LUA_TNUMBER && key->is_float)
        (void)snprintf(out, size, "[%.14g]", key->number);
    else if (key->type == LUA_TNUMBER)
        (void)snprintf(out, size, "[" LUA_INTEGER_FMT "]", key->integer);
    else if (is_identifier(key->string))
        (void)snprintf(out, size, ".%.*s", (int)key->string.size, key->string.data);
    else
        show_string_key(out, size, key->string);
}

static int fail(struct walk *walk, int code, const char *why)
{
    char place[PLACE_MAX];
    (void)snprintf(place, sizeof place, "%s", walk->name);
    for (size_t i = 0; i < walk->depth; i++) {
        size_t used = strlen(place);
        show_key(place + used, sizeof place - used, &walk->frames[i].key);
    }
    return walk->rc = peri_fail_plain(walk->err, code, "%s %s", place, why);
}

static int fail_sink(struct walk *walk, int code, const char *why)
{
    if (why != NULL)
        return fail(walk, code, why);
    return walk->rc = peri_fail(walk->err, code, "%s", walk->name);
}

/* ---- keys ---- */

bool wire_read_scalar(lua_State *L, int index, struct wire_scalar *out)
{
    *out = (struct wire_scalar){.type = lua_type(L, index)};
    switch (out->type) {
    case LUA_TBOOLEAN:
        out->boolean = lua_toboolean(L, index);
        return true;
    case LUA_TNUMBER:
        out->is_float = !lua_isinteger(L, index);
        if (out->is_float)
            out->number = lua_tonumber(L, index);
        else
            out->integer = lua_tointeger(L, index);
        return true;
    case LUA_TSTRING:
        out->string.data = lua_tolstring(L, index, &out->string.size);
        return true;
    case LUA_TLIGHTUSERDATA:
        out->type = LUA_TNIL;
        return lua_touserdata(L, index) == NULL;
    default:
        return out->type == LUA_TNIL;
    }
}

/* Integer i against float f without rounding i. */
static int compare_mixed(lua_Integer i, lua_Number f)
{
    if (f >= 0x1p63)
        return -1;
    if (f < -0x1p63)
        return 1;
    lua_Integer whole = (lua_Integer)f; /* towards zero */
    if (i != whole)
        return i < whole ? -1 : 1;
    lua_Number rest = f - (lua_Number)whole;
    return rest > 0 ? -1 : rest < 0;
}

static int compare_numbers(const struct wire_scalar *a, const struct wire_scalar *b)
{
    if (a->is_float && b->is_float)
        return a->number < b->number ? -1 : a->number > b->number;
    if (a->is_float)
        return -compare_mixed(b->integer, a->number);
    if (b->is_float)
        return compare_mixed(a->integer, b->number);
    return a->integer < b->integer ? -1 : a->integer > b->integer;
}

int wire_compare_keys(const void *left, const void *right)
{
    const struct wire_scalar *a = left;
    const struct wire_scalar *b = right;
    if (a->type != b->type) /* Lua's numbering: boolean, number, string */
        return a->type < b->type ? -1 : 1;
    if (a->type == LUA_TNUMBER)
        return compare_numbers(a, b);
    if (a->type == LUA_TSTRING)
        return peri_slice_compare(a->string, b->string);
    return (int)a->boolean - (int)b->boolean;
}

/* The keys' strings stay in place: the table refers to them. */
static int collect_keys(lua_State *L, struct walk *walk, int table)
{
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        struct wire_scalar *key = &walk->frames[walk->depth - 1].key;
        lua_pop(L, 1);
        if (!wire_read_scalar(L, -1, key) || key->type == LUA_TNIL) {
            walk->depth--;
            return fail(walk, PERI_EFORMAT, "has a key that is no data");
        }
        if (peri_buffer_append(&walk->keys, key, sizeof *key) != 0)
            return fail(walk, PERI_ENOMEM, "is too large for memory");
    }
    return 0;
}

void wire_push_scalar(lua_State *L, const struct wire_scalar *scalar)
{
    if (scalar->type == LUA_TBOOLEAN)
        lua_pushboolean(L, scalar->boolean);
    else if (scalar->type == LUA_TSTRING)
        lua_pushlstring(L, scalar->string.data, scalar->string.size);
    else if (scalar->is_float)
        lua_pushnumber(L, scalar->number);
    else
        lua_pushinteger(L, scalar->integer);
}

/* ---- tables ---- */

static bool has_mark(lua_State *L, int table, const char *mark)
{
    if (mark == NULL || !lua_getmetatable(L, table))
        return false;
    luaL_getmetatable(L, mark);
    bool is_same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_same;
}

/* True when the keys are exactly 1..*count; *count is the number of keys in any case. */
static bool is_sequence(lua_State *L, int table, size_t *count)
{
    lua_Integer length = (lua_Integer)lua_rawlen(L, table);
    bool is_array = true;
    size_t keys = 0;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        keys++;
        is_array = is_array && lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 &&
                   lua_tointeger(L, -1) <= length;
    }
    *count = keys;
    return is_array && keys == (size_t)length;
}

static int walk_value(lua_State *L, struct walk *walk, int index);

static int walk_array(lua_State *L, struct walk *walk, int table, size_t count)
{
    struct frame *frame = &walk->frames[walk->depth - 1];
    for (size_t i = 1; i <= count; i++) {
        frame->key = (struct wire_scalar){.type = LUA_TNUMBER, .integer = (lua_Integer)i};
        (void)lua_rawgeti(L, table, (lua_Integer)i);
        int rc = walk_value(L, walk, lua_gettop(L));
        if (rc != 0)
            return rc;
        lua_pop(L, 1);
    }
    return 0;
}

static int walk_map(lua_State *L, struct walk *walk, int table, size_t count)
{
    struct frame *frame = &walk->frames[walk->depth - 1];
    size_t base = walk->keys.size;
    int rc = collect_keys(L, walk, table);
    if (rc != 0)
        return rc;
    if (count > 1)
        qsort(walk->keys.data + base, count, sizeof(struct wire_scalar), wire_compare_keys);
    for (size_t i = 0; i < count; i++) {
        const char *why = NULL;
        memcpy(&frame->key, walk->keys.data + base + i * sizeof frame->key, sizeof frame->key);
        wire_push_scalar(L, &frame->key);
        (void)lua_rawget(L, table);
        rc = walk->sink->key(walk->sink->data, &frame->key, &why);
        if (rc != 0)
            return fail_sink(walk, rc, why);
        rc = walk_value(L, walk, lua_gettop(L));
        if (rc != 0)
            return rc;
        lua_pop(L, 1);
    }
    walk->keys.size = base;
    return 0;
}

static int enter(lua_State *L, struct walk *walk, int table)
{
    const void *address = lua_topointer(L, table);
    for (size_t i = 0; i < walk->depth; i++)
        if (walk->frames[i].table == address)
            return fail(walk, PERI_EFORMAT, "is a cycle");
    if (walk->depth == WIRE_DEPTH_MAX)
        return fail(walk, PERI_ETOOBIG, "is nested too deep");
    walk->frames[walk->depth].table = address;
    walk->depth++;
    return 0;
}

/* Puts the table that another one stands for in its place. */
static void replace_standing(lua_State *L, int table, const void *key)
{
    if (lua_rawgetp(L, table, key) == LUA_TTABLE)
        lua_replace(L, table);
    else
        lua_pop(L, 1);
}

static int walk_table(lua_State *L, struct walk *walk, int table)
{
    size_t count;
    if (walk->sink->standing != NULL)
        replace_standing(L, table, walk->sink->standing);
    bool is_array = is_sequence(L, table, &count);
    bool is_marked = has_mark(L, table, walk->sink->array_mark);
    if (is_marked && !is_array)
        return fail(walk, PERI_EFORMAT, "is marked as an array but has other keys than 1..n");
    if (count == 0)
        is_array = is_marked || walk->sink->array_mark == NULL;
    if (count > UINT32_MAX)
        return fail(walk, PERI_ETOOBIG, "has too many items");
    int rc = enter(L, walk, table);
    if (rc != 0)
        return rc;
    rc = walk->sink->begin(walk->sink->data, is_array, (uint32_t)count);
    if (rc != 0)
        return fail_sink(walk, rc, NULL);
    rc = is_array ? walk_array(L, walk, table, count) : walk_map(L, walk, table, count);
    if (rc != 0)
        return rc;
    walk->depth--;
    rc = walk->sink->end(walk->sink->data, is_array);
    return rc == 0 ? 0 : fail_sink(walk, rc, NULL);
}

static int walk_value(lua_State *L, struct walk *walk, int index)
{
    enum { SLOTS = 6 };
    struct wire_scalar scalar;
    const char *why = NULL;
    if (!lua_checkstack(L, SLOTS))
        return fail(walk, PERI_ENOMEM, "is too large for memory");
    if (lua_type(L, index) == LUA_TTABLE)
        return walk_table(L, walk, index);
    if (!wire_read_scalar(L, index, &scalar)) {
        char text[64];
        (void)snprintf(text, sizeof text, "is a %s", lua_typename(L, lua_type(L, index)));
        return fail(walk, PERI_EFORMAT, text);
    }
    int rc = walk->sink->scalar(walk->sink->data, &scalar, &why);
    return rc == 0 ? 0 : fail_sink(walk, rc, why);
}

/* wire_push_scalar may raise for lack of memory; the walk's own memory must survive that. */
static int walk_protected(lua_State *L)
{
    struct walk *walk = lua_touserdata(L, 1);
    (void)walk_value(L, walk, 2);
    return 0;
}

int wire_walk(lua_State *L, int index, const char *name, const struct wire_sink *sink,
              struct peri_error *err)
{
    enum { SLOTS = 3 };
    struct walk walk;
    walk.sink = sink;
    walk.name = name != NULL ? name : "t";
    walk.err = err;
    walk.rc = 0;
    walk.keys = (struct peri_buffer){NULL, 0, 0};
    walk.depth = 0;
    index = lua_absindex(L, index);
    if (!lua_checkstack(L, SLOTS))
        return fail(&walk, PERI_ENOMEM, "is too large for memory");
    lua_pushcfunction(L, walk_protected);
    lua_pushlightuserdata(L, &walk);
    lua_pushvalue(L, index);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        walk.rc = peri_fail(err, PERI_ENOMEM, "%s", walk.name);
    }
    peri_buffer_deinit(&walk.keys);
    return walk.rc;
}
