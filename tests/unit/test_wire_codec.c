/* MessagePack and JSON on random values, on damaged bytes, and with failing allocations. What each
 * byte means is checked in tests/spec/msgpack_spec.lua and json_spec.lua. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "wire/codec.h"
#include "wire/json.h"

enum { ROUNDS = 2000, SIZE_MAX_ANY = 1 << 20 };

static const uint64_t seed = 20261120;

static uint64_t next_random(uint64_t *random)
{
    uint64_t x = *random += UINT64_C(0x9E3779B97F4A7C15); /* splitmix64 */
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static lua_State *create_state(void)
{
    lua_State *L = luaL_newstate();
    assert_non_null(L);
    (void)luaL_newmetatable(L, WIRE_JSON_ARRAY);
    lua_settop(L, 0);
    return L;
}

/* ---- random values ---- */

static void push_string(lua_State *L, uint64_t *random, bool is_text)
{
    char bytes[300];
    size_t size = next_random(random) % (next_random(random) % 8 == 0 ? sizeof bytes : 12);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(is_text ? ' ' + next_random(random) % 90 : next_random(random) % 256);
    lua_pushlstring(L, bytes, size);
}

static void push_scalar(lua_State *L, uint64_t *random, bool is_text)
{
    uint64_t choice = next_random(random) % 5;
    if (choice == 0)
        lua_pushboolean(L, (int)(next_random(random) % 2));
    else if (choice == 1)
        lua_pushinteger(L, (lua_Integer)(next_random(random) >> next_random(random) % 64));
    else if (choice == 2)
        lua_pushinteger(L,
                        -(lua_Integer)(next_random(random) >> 1 >> next_random(random) % 63) - 1);
    else if (choice == 3)
        lua_pushnumber(L, ((double)(int64_t)next_random(random)) / 1e7);
    else
        push_string(L, random, is_text);
}

static void push_value(lua_State *L, uint64_t *random, bool is_text, int depth)
{
    uint64_t choice = next_random(random) % 4;
    luaL_checkstack(L, 4, NULL);
    if (depth == 5 || choice < 2) {
        push_scalar(L, random, is_text);
        return;
    }
    lua_Integer count = (lua_Integer)(next_random(random) % 6);
    lua_newtable(L);
    if (choice == 2 && is_text)
        luaL_setmetatable(L, WIRE_JSON_ARRAY);
    for (lua_Integer i = 1; i <= count; i++) {
        if (choice == 2)
            lua_pushinteger(L, i);
        else if (is_text)
            push_string(L, random, true);
        else
            push_scalar(L, random, false);
        push_value(L, random, is_text, depth + 1);
        lua_rawset(L, -3);
    }
}

/* ---- round trips ---- */

static void assert_same(struct peri_slice a, struct peri_slice b, int round)
{
    if (peri_slice_compare(a, b) != 0)
        fail_msg("round %d of seed %llu differs", round, (unsigned long long)seed);
}

/* Equal values have equal encodings, so comparing those of a value and of what came back compares
 * the values. */
static void msgpack_gives_back_random_values(void **state)
{
    (void)state;
    lua_State *L = create_state();
    uint64_t random = seed;
    for (int round = 0; round < ROUNDS; round++) {
        struct peri_buffer first = {0};
        struct peri_buffer second = {0};
        size_t used = 0;
        push_value(L, &random, false, 0);
        assert_int_equal(wire_encode(L, -1, NULL, SIZE_MAX_ANY, &first, NULL), 0);
        assert_int_equal(wire_decode(L, peri_buffer_slice(&first), &used, NULL), 0);
        assert_int_equal(used, first.size);
        assert_int_equal(wire_encode(L, -1, NULL, SIZE_MAX_ANY, &second, NULL), 0);
        assert_same(peri_buffer_slice(&first), peri_buffer_slice(&second), round);
        assert_int_equal(lua_gettop(L), 2);
        lua_settop(L, 0);
        peri_buffer_deinit(&first);
        peri_buffer_deinit(&second);
    }
    lua_close(L);
}

static void json_gives_back_random_values(void **state)
{
    (void)state;
    lua_State *L = create_state();
    uint64_t random = seed;
    for (int round = 0; round < ROUNDS; round++) {
        struct wire_json_options options = {.is_pretty = round % 2 == 0};
        struct peri_buffer first = {0};
        struct peri_buffer second = {0};
        push_value(L, &random, true, 0);
        assert_int_equal(wire_json_encode(L, -1, &options, &first, NULL), 0);
        assert_int_equal(wire_json_decode(L, peri_buffer_slice(&first), NULL), 0);
        assert_int_equal(wire_json_encode(L, -1, &options, &second, NULL), 0);
        assert_same(peri_buffer_slice(&first), peri_buffer_slice(&second), round);
        lua_settop(L, 0);
        peri_buffer_deinit(&first);
        peri_buffer_deinit(&second);
    }
    lua_close(L);
}

static void integers_are_exact(void **state)
{
    (void)state;
    lua_State *L = create_state();
    for (int shift = 0; shift < 63; shift++) {
        for (int64_t off = -2; off <= 2; off++) {
            for (int sign = -1; sign <= 1; sign += 2) {
                int64_t value = sign * ((INT64_C(1) << shift) + off);
                struct peri_buffer bytes = {0};
                size_t used;
                lua_pushinteger(L, value);
                assert_int_equal(wire_encode(L, -1, NULL, 9, &bytes, NULL), 0);
                assert_int_equal(wire_decode(L, peri_buffer_slice(&bytes), &used, NULL), 0);
                assert_true(lua_isinteger(L, -1));
                assert_true(lua_tointeger(L, -1) == value);
                lua_settop(L, 0);
                peri_buffer_deinit(&bytes);
            }
        }
    }
    lua_close(L);
}

/* ---- damage ---- */

/* Decoder and scanner agree where a value ends, however the bytes are cut. */
static void check_scanner(struct peri_slice bytes, size_t used, uint64_t *random)
{
    struct wire_scanner scanner;
    size_t at = 0;
    int rc = 0;
    wire_scanner_init(&scanner);
    while (rc == 0 && at < bytes.size) {
        size_t piece = 1 + next_random(random) % (bytes.size - at);
        size_t taken = 0;
        rc = wire_scanner_feed(&scanner, peri_slice_of(bytes.data + at, piece), &taken, NULL);
        at += rc >= 0 ? taken : 0;
    }
    assert_int_equal(rc, 1);
    assert_int_equal(at, used);
}

/* Exact copies on the heap, so that ASan sees a read of one byte too many. */
static void decode_damaged(lua_State *L, struct peri_slice bytes, uint64_t *random)
{
    struct peri_error err = PERI_ERROR_INIT;
    size_t used = 0;
    char *copy = malloc(bytes.size + 1);
    assert_non_null(copy);
    char *exact = realloc(copy, bytes.size > 0 ? bytes.size : 1);
    assert_non_null(exact);
    memcpy(exact, bytes.data, bytes.size);
    struct peri_slice damaged = peri_slice_of(exact, bytes.size);
    int rc = wire_decode(L, damaged, &used, &err);
    if (rc == 0)
        check_scanner(damaged, used, random);
    else
        assert_true(rc == PERI_EFORMAT || rc == PERI_ETOOBIG);
    assert_int_equal(lua_gettop(L), rc == 0);
    lua_settop(L, 0);
    if (wire_json_decode(L, damaged, &err) != 0)
        assert_string_not_equal(err.text, "");
    lua_settop(L, 0);
    free(exact);
}

static void damaged_bytes_are_refused_or_decoded(void **state)
{
    (void)state;
    lua_State *L = create_state();
    uint64_t random = seed;
    for (int round = 0; round < ROUNDS; round++) {
        struct wire_json_options options = {0};
        struct peri_buffer bytes = {0};
        bool is_json = round % 2 == 0;
        push_value(L, &random, is_json, 0);
        assert_int_equal(is_json ? wire_json_encode(L, -1, &options, &bytes, NULL)
                                 : wire_encode(L, -1, NULL, SIZE_MAX_ANY, &bytes, NULL),
                         0);
        lua_settop(L, 0);
        for (int i = 0; i < 10; i++) {
            size_t at = next_random(&random) % bytes.size;
            bytes.data[at] = (char)next_random(&random);
            size_t size = next_random(&random) % 2 == 0 ? bytes.size : at;
            decode_damaged(L, peri_slice_of(bytes.data, size), &random);
        }
        peri_buffer_deinit(&bytes);
    }
    lua_close(L);
}

/* ---- allocation failures ---- */

static int encode_both(lua_State *L, struct peri_buffer *out)
{
    struct wire_json_options options = {0};
    int rc = wire_encode(L, 1, NULL, SIZE_MAX_ANY, out, NULL);
    return rc != 0 ? rc : wire_json_encode(L, 1, &options, out, NULL);
}

static void encoding_survives_every_failed_allocation(void **state)
{
    enum { ALLOCATIONS_MAX = 1000 };
    (void)state;
    lua_State *L = create_state();
    assert_int_equal(luaL_dostring(L, "return { a = { 1, 2, { b = 'text' } }, c = 1.5 }"), LUA_OK);
    long n = 1;
    for (; n < ALLOCATIONS_MAX; n++) {
        struct peri_buffer out = {0};
        test_alloc_fail(n);
        int rc = encode_both(L, &out);
        bool has_failed = test_alloc_end();
        peri_buffer_deinit(&out);
        assert_int_equal(lua_gettop(L), 1);
        assert_true(rc == 0 || (has_failed && rc == PERI_ENOMEM));
        if (!has_failed)
            break;
    }
    assert_in_range(n, 2, ALLOCATIONS_MAX - 1);
    lua_close(L);
}

/* Lua collects garbage and tries again when an allocation fails once, so all from the n-th on must
 * fail for a decoder to notice; the state's own allocator does that. */
struct limited {
    long left; /* negative: no limit */
};

static void *limited_alloc(void *data, void *old, size_t old_size, size_t size)
{
    struct limited *limited = data;
    (void)old_size;
    if (size == 0) {
        free(old);
        return NULL;
    }
    if (limited->left == 0)
        return NULL;
    limited->left -= limited->left > 0;
    return realloc(old, size);
}

static void decoding_survives_lack_of_memory(void **state)
{
    static const char bytes[] = "\x82\xa1\x61\x93\x01\x02\xd9\x30"
                                "0123456789012345678901234567890123456789012345678\xa1\x62\x90";
    static const char text[] = "{\"a\":[1,2,\"0123456789012345678901234567890123456789012345\"]}";
    (void)state;
    struct limited limited = {-1};
    lua_State *L = lua_newstate(limited_alloc, &limited);
    assert_non_null(L);
    (void)luaL_newmetatable(L, WIRE_JSON_ARRAY);
    lua_settop(L, 0);
    int failures = 0;
    for (long n = 0; n < 100; n++) {
        struct peri_error err = PERI_ERROR_INIT;
        size_t used = 0;
        limited.left = n;
        int packed = wire_decode(L, peri_slice_of(bytes, sizeof bytes - 2), &used, &err);
        limited.left = n;
        int json = wire_json_decode(L, peri_slice_of(text, sizeof text - 1), &err);
        limited.left = -1;
        assert_int_equal(lua_gettop(L), (packed == 0) + (json == 0));
        assert_true(packed == 0 || packed == PERI_ENOMEM);
        assert_true(json == 0 || json == PERI_ENOMEM);
        failures += (packed != 0) + (json != 0);
        lua_settop(L, 0);
        (void)lua_gc(L, LUA_GCCOLLECT, 0);
    }
    assert_in_range(failures, 4, 100);
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msgpack_gives_back_random_values),
        cmocka_unit_test(json_gives_back_random_values),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(damaged_bytes_are_refused_or_decoded),
        cmocka_unit_test(encoding_survives_every_failed_allocation),
        cmocka_unit_test(decoding_survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
