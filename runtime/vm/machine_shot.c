#include "vm/machine_shot.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "vm/machine_tables.h"
#include "vm/stand_in.h"
#include "vm/state.h"

enum { STACK_NEEDED = 12, UNIT_BYTES = 256 };
enum { SORT_MAX = 4096 }; /* keys that are sorted at once */
enum { CHUNK_BITS = 12, CHUNK = 1 << CHUNK_BITS };

/* What the store has: for each table of the state what commands have written over since the
 * beginning; the tables on the way; for each of them its keys, in lists of CHUNK. */
enum { STORE_OLD = 1, STORE_TABLES, STORE_KEYS, STORE_SLOTS = STORE_KEYS };

static const char nothing = 0; /* its address says: there was no such field */

/* Of a walk; indexes are of the stack. */
struct walk {
    struct vm_shot *shot;
    const struct vm_shot_pace *pace;
    size_t units;
    int old, tables, keys;
    int frames; /* below the first: for each frame its table and its old values, or nil */
    bool is_over;
};

enum { FRAME_SLOTS = 2 };

/* ---- what commands write meanwhile ---- */

static void note_old(lua_State *L, int old, int real)
{
    int key = real + 1, value = real + 2;
    lua_pushvalue(L, real);
    if (lua_rawget(L, old) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, real);
        lua_pushvalue(L, -2);
        lua_rawset(L, old);
    }
    lua_pushvalue(L, key);
    bool is_first = lua_rawget(L, -2) == LUA_TNIL;
    lua_pop(L, 1);
    if (!is_first)
        return;
    lua_pushvalue(L, key);
    if (lua_isnil(L, value))
        lua_pushlightuserdata(L, (void *)&nothing);
    else
        lua_pushvalue(L, value);
    lua_rawset(L, -3);
}

void vm_shot_note(lua_State *L, struct vm_shot *shot, int log, size_t count, bool is_undone)
{
    int top = lua_gettop(L);
    luaL_checkstack(L, STACK_NEEDED, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, shot->store);
    lua_rawgeti(L, -1, STORE_OLD);
    int old = lua_gettop(L);
    for (size_t at = 0; at < count; at++) {
        vm_tables_push_entry(L, log, at);
        bool is_new = lua_isnil(L, -1);
        if (shot->listing != NULL && lua_topointer(L, old + 1) == shot->listing &&
            (is_new || is_undone)) /* Lua may have moved its fields */
            shot->frames[shot->depth - 1].is_stale = true;
        if (!is_undone)
            note_old(L, old, old + 1);
        lua_settop(L, old);
    }
    lua_settop(L, top);
}

static void check(lua_State *L, int rc, const char *why)
{
    if (rc == PERI_ENOMEM)
        vm_state_of(L)->alloc.has_failed = true;
    if (rc != 0)
        luaL_error(L, "a value %s", why != NULL ? why : peri_strerror(rc));
}

/* ---- keys ---- */

/* The key on top, which stays, goes to the end of the frame's list. */
static void add_key(lua_State *L, const struct walk *walk, struct vm_shot_frame *frame)
{
    struct vm_shot *shot = walk->shot;
    struct wire_scalar key;
    lua_Integer chunk = (lua_Integer)(frame->count >> CHUNK_BITS) + 1;
    lua_Integer place = (lua_Integer)(frame->count & (CHUNK - 1)) + 1;
    (void)wire_read_scalar(L, -1, &key);
    if (key.type == LUA_TSTRING) {
        (void)lua_rawgeti(L, walk->keys, (lua_Integer)shot->depth);
        if (lua_rawgeti(L, -1, chunk) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_createtable(L, chunk == 1 ? 0 : CHUNK, 0);
            lua_pushvalue(L, -1);
            lua_rawseti(L, -3, chunk);
        }
        lua_pushvalue(L, -3);
        lua_rawseti(L, -2, place);
        lua_pop(L, 2);
        key.integer = (lua_Integer)frame->count;
    }
    check(L, peri_buffer_append(&shot->keys, &key, sizeof key), NULL);
    frame->count++;
}

static struct wire_scalar key_at(const struct vm_shot *shot, const struct vm_shot_frame *frame,
                                 size_t at)
{
    struct wire_scalar key;
    memcpy(&key, shot->keys.data + frame->base + at * sizeof key, sizeof key);
    return key;
}

/* Strings are those of the table itself: to make them again would take longer. */
static void push_key(lua_State *L, const struct walk *walk, const struct wire_scalar *key)
{
    if (key->type != LUA_TSTRING) {
        wire_push_scalar(L, key);
        return;
    }
    (void)lua_rawgeti(L, walk->keys, (lua_Integer)walk->shot->depth);
    (void)lua_rawgeti(L, -1, (key->integer >> CHUNK_BITS) + 1);
    (void)lua_rawgeti(L, -1, (key->integer & (CHUNK - 1)) + 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void vm_shot_sort(struct vm_shot *shot)
{
    struct vm_shot_frame *frame = &shot->frames[shot->depth - 1];
    PERI_ASSERT(frame->phase == VM_SHOT_SORTING);
    struct wire_scalar *keys = (struct wire_scalar *)(void *)(shot->keys.data + frame->base);
    size_t kept = 0;
    if (frame->count > 1)
        qsort(keys, frame->count, sizeof *keys, wire_compare_keys);
    for (size_t i = 0; i < frame->count; i++) /* a list that was stopped may have some twice */
        if (!frame->has_been_stopped || kept == 0 ||
            wire_compare_keys(&keys[kept - 1], &keys[i]) != 0)
            keys[kept++] = keys[i];
    frame->count = kept;
    shot->keys.size = frame->base + kept * sizeof *keys;
    frame->phase = VM_SHOT_SORTED;
}

/* The keys are distinct and in order. */
static bool is_array(const struct vm_shot *shot, const struct vm_shot_frame *frame)
{
    if (frame->count == 0)
        return true;
    struct wire_scalar first = key_at(shot, frame, 0), last = key_at(shot, frame, frame->count - 1);
    bool is_sequence = first.type == LUA_TNUMBER && last.type == LUA_TNUMBER && !first.is_float &&
                       !last.is_float && first.integer == 1 &&
                       last.integer == (lua_Integer)frame->count;
    for (size_t i = 1; is_sequence && i < frame->count; i++)
        is_sequence = !key_at(shot, frame, i).is_float;
    return is_sequence;
}

/* ---- the walk ---- */

/* True when the piece is large enough. */
static bool spend(struct walk *walk, size_t units)
{
    enum { LOOK = 64 };
    const struct vm_shot_pace *pace = walk->pace;
    size_t before = walk->units;
    walk->units += units;
    if (walk->units >= pace->most)
        walk->is_over = true;
    else if (pace->is_wanted != NULL && walk->units / LOOK != before / LOOK &&
             walk->units >= pace->least)
        walk->is_over = atomic_load_explicit(pace->is_wanted, memory_order_relaxed);
    return walk->is_over;
}

static int table_of(const struct walk *walk, size_t depth)
{
    return walk->frames + (int)(FRAME_SLOTS * (depth - 1)) + 1;
}

/* The real table on top gets its place among the frames. */
static void push_frame(lua_State *L, const struct walk *walk)
{
    lua_pushvalue(L, -1);
    (void)lua_rawget(L, walk->old);
}

/* The stand-in on top becomes the next frame. */
static void enter(lua_State *L, const struct walk *walk)
{
    struct vm_shot *shot = walk->shot;
    luaL_checkstack(L, STACK_NEEDED, NULL);
    if (!vm_stand_in(L, -1) || shot->depth == VM_SHOT_DEPTH_MAX)
        luaL_error(L, "the state is no tree of data");
    shot->frames[shot->depth++] = (struct vm_shot_frame){.base = shot->keys.size};
    lua_pushvalue(L, -1);
    lua_rawseti(L, walk->tables, (lua_Integer)shot->depth);
    if (lua_rawgeti(L, walk->keys, (lua_Integer)shot->depth) == LUA_TNIL) {
        lua_newtable(L);
        lua_rawseti(L, walk->keys, (lua_Integer)shot->depth);
    }
    lua_pop(L, 1);
    push_frame(L, walk);
}

/* The key on top of which the frame's table has a field: was it there in the beginning? */
static bool was_there(lua_State *L, int old)
{
    if (!lua_istable(L, old))
        return true;
    lua_pushvalue(L, -1);
    bool was = lua_rawget(L, old) != LUA_TLIGHTUSERDATA;
    lua_pop(L, 1);
    return was;
}

/* Fields that were there in the beginning, and are not any more. */
static void list_gone(lua_State *L, const struct walk *walk, struct vm_shot_frame *frame, int table)
{
    int old = table + 1;
    if (!lua_istable(L, old))
        return;
    lua_pushnil(L);
    while (lua_next(L, old) != 0) {
        bool was = !lua_islightuserdata(L, -1);
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        bool is_gone = lua_rawget(L, table) == LUA_TNIL;
        lua_pop(L, 1);
        if (was && is_gone)
            add_key(L, walk, frame);
    }
}

/* Pushes the key behind which the list goes on. */
static void push_last(lua_State *L, struct walk *walk, struct vm_shot_frame *frame)
{
    walk->shot->listing = NULL;
    if (frame->is_stale) {
        frame->count = 0;
        walk->shot->keys.size = frame->base;
    }
    if (!frame->has_been_stopped || frame->is_stale)
        lua_pushnil(L);
    else
        (void)lua_rawgeti(L, walk->tables, 0);
}

static void list(lua_State *L, struct walk *walk, struct vm_shot_frame *frame, int table)
{
    push_last(L, walk, frame);
    while (lua_next(L, table) != 0) {
        lua_pop(L, 1);
        if (was_there(L, table + 1))
            add_key(L, walk, frame);
        if (spend(walk, 1) && !frame->is_stale) {
            lua_rawseti(L, walk->tables, 0);
            walk->shot->listing = lua_topointer(L, table);
            frame->has_been_stopped = true;
            return;
        }
    }
    list_gone(L, walk, frame, table);
    frame->phase = VM_SHOT_SORTING;
}

static void begin_pairs(lua_State *L, struct vm_shot *shot, struct vm_shot_frame *frame)
{
    frame->is_array = is_array(shot, frame);
    check(L, frame->count <= UINT32_MAX ? 0 : PERI_ETOOBIG, NULL);
    check(L, shot->sink.begin(shot->sink.data, frame->is_array, (uint32_t)frame->count), NULL);
    frame->phase = VM_SHOT_PAIRS;
}

/* Pushes what the table had under the key. */
static void push_value(lua_State *L, const struct walk *walk, const struct wire_scalar *key,
                       int table)
{
    push_key(L, walk, key);
    if (lua_istable(L, table + 1)) {
        lua_pushvalue(L, -1);
        if (lua_rawget(L, table + 1) != LUA_TNIL) {
            lua_remove(L, -2);
            return;
        }
        lua_pop(L, 1);
    }
    (void)lua_rawget(L, table);
}

static void write_pair(lua_State *L, struct walk *walk, struct vm_shot_frame *frame, int table)
{
    struct vm_shot *shot = walk->shot;
    struct wire_scalar key = key_at(shot, frame, frame->at), value;
    const char *why = NULL;
    frame->at++;
    push_value(L, walk, &key, table);
    if (!frame->is_array)
        check(L, shot->sink.key(shot->sink.data, &key, &why), why);
    if (lua_type(L, -1) == LUA_TTABLE) {
        enter(L, walk);
        (void)spend(walk, 1);
        return;
    }
    (void)wire_read_scalar(L, -1, &value);
    check(L, shot->sink.scalar(shot->sink.data, &value, &why), why);
    (void)spend(walk, 1 + (value.type == LUA_TSTRING ? value.string.size / UNIT_BYTES : 0));
    lua_pop(L, 1);
}

static void leave(lua_State *L, struct vm_shot *shot)
{
    shot->depth--;
    shot->keys.size = shot->frames[shot->depth].base;
    lua_pop(L, FRAME_SLOTS);
}

/* One step on the innermost table. */
static void step(lua_State *L, struct walk *walk)
{
    struct vm_shot *shot = walk->shot;
    struct vm_shot_frame *frame = &shot->frames[shot->depth - 1];
    int table = table_of(walk, shot->depth);
    switch (frame->phase) {
    case VM_SHOT_LISTING:
        list(L, walk, frame, table);
        break;
    case VM_SHOT_SORTING:
        vm_shot_sort(shot);
        break;
    case VM_SHOT_SORTED:
        begin_pairs(L, shot, frame);
        break;
    case VM_SHOT_PAIRS:
        if (frame->at < frame->count)
            write_pair(L, walk, frame, table);
        else
            leave(L, shot);
        break;
    }
}

static bool is_to_sort(const struct vm_shot *shot)
{
    const struct vm_shot_frame *frame = &shot->frames[shot->depth - 1];
    return frame->phase == VM_SHOT_SORTING && frame->count > SORT_MAX;
}

enum vm_shot_end vm_shot_walk(lua_State *L, struct vm_shot *shot, const struct vm_shot_pace *pace)
{
    int top = lua_gettop(L);
    struct walk walk = {
        .shot = shot, .pace = pace, .old = top + 2, .tables = top + 3, .keys = top + 4};
    luaL_checkstack(L, STACK_NEEDED + FRAME_SLOTS * (int)shot->depth, NULL);
    (void)lua_rawgeti(L, LUA_REGISTRYINDEX, shot->store);
    for (int slot = 1; slot <= STORE_SLOTS; slot++)
        (void)lua_rawgeti(L, top + 1, slot);
    walk.frames = lua_gettop(L);
    for (size_t depth = 1; depth <= shot->depth; depth++) {
        (void)lua_rawgeti(L, walk.tables, (lua_Integer)depth);
        push_frame(L, &walk);
    }
    while (shot->depth > 0 && !walk.is_over && !is_to_sort(shot))
        step(L, &walk);
    lua_settop(L, top);
    if (shot->depth == 0)
        return VM_SHOT_DONE;
    return is_to_sort(shot) ? VM_SHOT_SORT : VM_SHOT_MORE;
}

/* ---- life ---- */

void vm_shot_begin(lua_State *L, struct vm_shot *shot)
{
    int root = lua_gettop(L);
    struct walk walk = {.shot = shot};
    struct peri_buffer out = shot->out;
    *shot = (struct vm_shot){.is_open = true, .store = LUA_NOREF, .out = out};
    wire_encoder_init(&shot->encoder, &shot->out, SIZE_MAX, &shot->sink);
    lua_createtable(L, STORE_SLOTS, 0);
    for (int slot = 1; slot <= STORE_SLOTS; slot++) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, root + 1, slot);
    }
    walk.old = root + 1 + STORE_OLD;
    walk.tables = root + 1 + STORE_TABLES;
    walk.keys = root + 1 + STORE_KEYS;
    lua_pushvalue(L, root + 1);
    shot->store = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, root);
    enter(L, &walk);
    lua_settop(L, root - 1);
}

void vm_shot_end(lua_State *L, struct vm_shot *shot)
{
    if (shot->is_open)
        luaL_unref(L, LUA_REGISTRYINDEX, shot->store);
    peri_buffer_deinit(&shot->out);
    peri_buffer_deinit(&shot->keys);
    *shot = (struct vm_shot){.is_open = false};
}
