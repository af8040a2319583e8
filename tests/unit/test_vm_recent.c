/* Strings given again are the strings that lua_pushlstring gives, and no sum is lost or counted
 * twice, against a Lua table of sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env_fixture.h"
#include "vm/recent.h"

enum { SIZE_MAX_TRIED = 24, ROUNDS = 300000 };

static uint64_t random_below(uint64_t *seed, uint64_t limit) /* splitmix64 */
{
    uint64_t mixed = *seed += 0x9E3779B97F4A7C15u;
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EBu;
    return (mixed ^ mixed >> 31) % limit;
}

static struct vm_state *open_state(size_t limit_bytes)
{
    static const struct vm_embedded nothing[1];
    struct vm_options options = {
        .env = env, .bare = true, .embedded = nothing, .memory_limit_bytes = limit_bytes};
    struct vm_state *vm = NULL;
    assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
    return vm;
}

/* A string of a few letters, zeros among them: short ones come again and again. The bytes lie at
 * the end of memory of their own, so that a sanitizer sees what is read beyond them. */
static struct peri_slice draw(uint64_t *seed, char **memory)
{
    size_t size = random_below(seed, SIZE_MAX_TRIED);
    *memory = malloc(size + 1);
    assert_non_null(*memory);
    for (size_t i = 0; i < size; i++)
        (*memory)[i] = "ab\0"[random_below(seed, i < 3 ? 3 : 1)];
    return peri_slice_of(*memory, size);
}

static void gives_the_same_strings(void **unused)
{
    (void)unused;
    struct vm_state *vm = open_state(0);
    lua_State *L = vm->L;
    uint64_t seed = 11;
    struct vm_recent *recent = vm_recent_open(L);
    int keeper = lua_gettop(L);
    for (int i = 0; i < 20000; i++) {
        char *memory;
        struct peri_slice bytes = draw(&seed, &memory);
        struct vm_recent_word word = vm_recent_expect(recent, bytes, bytes.data + bytes.size);
        vm_recent_push_word(L, recent, keeper, &word);
        lua_pushlstring(L, bytes.data, bytes.size);
        assert_true(lua_rawequal(L, -1, -2));
        free(memory);
        lua_settop(L, keeper);
    }
    vm_state_close(vm);
}

/* What left: a Lua table of sums at stack index 1. */
static void on_leave(lua_State *L, void *data, struct peri_slice string, int64_t sum)
{
    ++*(size_t *)data;
    lua_pushlstring(L, string.data, string.size);
    lua_pushvalue(L, -1);
    lua_rawget(L, 1);
    lua_Integer known = lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_pushinteger(L, (lua_Integer)((uint64_t)known + (uint64_t)sum));
    lua_rawset(L, 1);
}

/* Adds to the string at the top what a user of the sums adds; false when it is none for sums. */
static bool add(lua_State *L, struct vm_recent *recent, int64_t integer)
{
    int top = lua_gettop(L);
    bool is_added =
        vm_recent_add(recent, lua_topointer(L, top), integer) || vm_recent_sum(L, top, integer);
    assert_int_equal(lua_gettop(L), top);
    return is_added;
}

static void expect_sums(lua_State *L, int expected)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, expected) != 0; lua_pop(L, 1), count++) {
        lua_pushvalue(L, -2);
        lua_rawget(L, 1);
        assert_int_equal(lua_tointeger(L, -1), lua_tointeger(L, -2));
        lua_pop(L, 1);
    }
    size_t left = 0;
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1))
        left++;
    assert_int_equal(left, count);
}

/* Strings come from three places: given now, given before, and made by somebody else. */
static void push_some(lua_State *L, struct vm_recent *recent, int keeper, uint64_t *seed,
                      uint64_t kinds)
{
    char name[16];
    uint64_t often = random_below(seed, 2) == 0 ? kinds / 16 : kinds;
    int size = snprintf(name, sizeof name, "%u", (unsigned)random_below(seed, often));
    struct peri_slice bytes = peri_slice_of(name, (size_t)size);
    switch (random_below(seed, 3)) {
    case 0:
        vm_recent_push(L, recent, keeper, bytes, name + sizeof name);
        break;
    case 1:
        vm_recent_push(L, recent, keeper, bytes, name + size);
        vm_recent_push(L, recent, keeper, peri_slice_of("other", 5), name + sizeof name);
        lua_pop(L, 1);
        break;
    default:
        lua_pushlstring(L, bytes.data, bytes.size);
    }
}

static void sum_everything_once(size_t limit_bytes, uint64_t kinds, size_t pages)
{
    struct vm_state *vm = open_state(limit_bytes);
    lua_State *L = vm->L;
    uint64_t seed = 12 + limit_bytes;
    size_t left = 0;
    lua_settop(L, 0);
    lua_newtable(L); /* what left */
    lua_newtable(L); /* what is expected */
    struct vm_recent_taker taker = {on_leave, &left};
    vm_recent_begin_sums(L, &taker);
    struct vm_recent *recent = vm_recent_open(L);
    for (int round = 0; round < ROUNDS; round++) {
        int64_t integer = (int64_t)random_below(&seed, 7) - 3;
        push_some(L, recent, 3, &seed, kinds);
        assert_true(add(L, recent, integer));
        lua_pushvalue(L, -1);
        lua_rawget(L, 2);
        lua_pushinteger(L, lua_tointeger(L, -1) + integer);
        lua_replace(L, -2);
        lua_rawset(L, 2);
        lua_settop(L, 3);
    }
    assert_int_equal(recent->page_mask + 1, pages);
    assert_int_equal(vm_recent_flush(L), ROUNDS);
    assert_true(left >= kinds / 2);
    expect_sums(L, 2);
    size_t before = left;
    assert_int_equal(vm_recent_flush(L), 0);
    assert_int_equal(left, before);
    vm_state_close(vm);
}

/* With less memory there are fewer slots, so that more strings make way; many kinds of strings
 * make the slots grow, as far as the memory's share allows. */
static void sums_everything_once(void **unused)
{
    (void)unused;
    sum_everything_once(0, 5000, 1);
    sum_everything_once((size_t)8 << 20, 5000, 1);
    sum_everything_once((size_t)1 << 20, 5000, 1);
    sum_everything_once(0, 60000, 4);
    sum_everything_once((size_t)16 << 20, 60000, 1);
}

/* Strings that hardly come again are not worth more memory. */
static void grows_only_for_what_comes_again(void **unused)
{
    (void)unused;
    struct vm_state *vm = open_state(0);
    lua_State *L = vm->L;
    struct vm_recent *recent = vm_recent_open(L);
    int keeper = lua_gettop(L);
    uint64_t seed = 13;
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        int size = snprintf(name, sizeof name, "%d", i);
        vm_recent_push(L, recent, keeper, peri_slice_of(name, (size_t)size), name + sizeof name);
        lua_settop(L, keeper);
    }
    assert_int_equal(recent->page_mask, 0);
    for (int i = 0; i < ROUNDS; i++) {
        char name[16];
        int size = snprintf(name, sizeof name, "%d", (int)random_below(&seed, 12000));
        vm_recent_push(L, recent, keeper, peri_slice_of(name, (size_t)size), name + sizeof name);
        lua_pushlstring(L, name, (size_t)size);
        assert_true(lua_rawequal(L, -1, -2));
        lua_settop(L, keeper);
    }
    assert_true(recent->page_mask > 0);
    vm_state_close(vm);
}

static void sums_nothing_else(void **unused)
{
    (void)unused;
    struct vm_state *vm = open_state(0);
    lua_State *L = vm->L;
    size_t left = 0;
    struct vm_recent *recent = vm_recent_open(L);
    int keeper = lua_gettop(L);
    vm_recent_push(L, recent, keeper, peri_slice_of("a", 1), "a" + 1);
    assert_false(add(L, recent, 1)); /* nobody has asked for sums */
    lua_newtable(L);
    lua_replace(L, 1);
    struct vm_recent_taker taker = {on_leave, &left};
    vm_recent_begin_sums(L, &taker);
    recent = vm_recent_open(L);
    lua_pushnil(L);
    assert_false(add(L, recent, 1));
    lua_pushinteger(L, 7);
    assert_false(add(L, recent, 1));
    lua_pushliteral(L, "");
    assert_false(add(L, recent, 1));
    lua_pushliteral(L, "sixteen bytes...");
    assert_false(add(L, recent, 1));
    lua_pushliteral(L, "fifteen bytes..");
    assert_true(add(L, recent, 1));
    vm_recent_end_sums(L);
    assert_false(add(L, recent, 1));
    assert_int_equal(vm_recent_flush(L), 1);
    assert_int_equal(left, 0);
    vm_state_close(vm);
}

/* A sum wraps as in Lua, and a sum of nothing but zeros is a sum. */
static void sums_as_lua_does(void **unused)
{
    (void)unused;
    struct vm_state *vm = open_state(0);
    lua_State *L = vm->L;
    size_t left = 0;
    lua_settop(L, 0);
    lua_newtable(L);
    struct vm_recent_taker taker = {on_leave, &left};
    vm_recent_begin_sums(L, &taker);
    struct vm_recent *recent = vm_recent_open(L);
    lua_pushliteral(L, "most");
    assert_true(add(L, recent, INT64_MAX));
    assert_true(add(L, recent, 1));
    lua_pushliteral(L, "none");
    assert_true(add(L, recent, 0));
    assert_int_equal(vm_recent_flush(L), 3);
    assert_int_equal(left, 2);
    lua_getfield(L, 1, "most");
    assert_true(lua_tointeger(L, -1) == INT64_MIN);
    lua_getfield(L, 1, "none");
    assert_int_equal(lua_type(L, -1), LUA_TNUMBER);
    vm_state_close(vm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_same_strings),
        cmocka_unit_test(sums_everything_once),
        cmocka_unit_test(grows_only_for_what_comes_again),
        cmocka_unit_test(sums_nothing_else),
        cmocka_unit_test(sums_as_lua_does),
    };
    return cmocka_run_group_tests(tests, open_env, close_env);
}
