/* The sandbox of replicated machines: same contents, same behaviour, whatever the history. */
#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vm_replica.h"
#include "wire/codec.h"

/* ---- the library ---- */

static void test_library(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica, 1);
    replica_run_file(&replica, "tests/data/vm/deterministic.lua");
    assert_int_equal(replica_run(&replica, "print(1, {}, 'x', nil)", BUDGET, NULL), 0);
    assert_string_equal(replica.printed, "1\ttable: 1\tx\tnil\n");
    assert_int_equal(replica_run(&replica, "print({})", BUDGET, NULL), 0);
    assert_string_equal(replica.printed, "table: 1\n"); /* numbers start anew with each call */
    replica_deinit(&replica);
}

/* ---- histories ---- */

enum { TABLES = 3000 };

static void test_histories_look_equal(void **state)
{
    (void)state;
    struct replica replica;
    int differ = 0;
    replica_init(&replica, 20260101);
    replica_run_file(&replica, "tests/data/vm/deterministic_history.lua");
    for (int i = 0; i < TABLES; i++) {
        lua_getfield(replica.L, -1, "compare");
        if (vm_deterministic_call(replica.L, 0, 1, BUDGET, NULL) != 0)
            fail_msg("table %d: %s", i, lua_tostring(replica.L, -1));
        differ += !lua_toboolean(replica.L, -1);
        lua_pop(replica.L, 1);
    }
    print_message("stock's # differs in %d of %d pairs\n", differ, TABLES);
    assert_true(differ > TABLES / 50); /* the test tests something */
    replica_deinit(&replica);
}

static void copy_state(struct replica *from, struct replica *to)
{
    struct peri_buffer bytes = {0};
    size_t used;
    assert_int_equal(wire_encode(from->L, -1, NULL, BYTES_MAX, &bytes, NULL), 0);
    assert_int_equal(wire_decode(to->L, peri_buffer_slice(&bytes), &used, NULL), 0);
    peri_buffer_deinit(&bytes);
}

/* Applies a command to the state on top of the stack; leaves the answer above it. */
static uint64_t apply(struct replica *replica, int library)
{
    struct vm_deterministic_use use;
    lua_getfield(replica->L, library, "apply");
    lua_pushvalue(replica->L, -2);
    if (vm_deterministic_call(replica->L, 1, 1, BUDGET, &use) != 0)
        fail_msg("%s", lua_tostring(replica->L, -1));
    return use.instructions;
}

static void assert_same_state(struct replica *a, struct replica *b)
{
    struct peri_buffer left = {0};
    struct peri_buffer right = {0};
    assert_int_equal(wire_encode(a->L, -1, NULL, BYTES_MAX, &left, NULL), 0);
    assert_int_equal(wire_encode(b->L, -1, NULL, BYTES_MAX, &right, NULL), 0);
    assert_int_equal(left.size, right.size);
    assert_memory_equal(left.data, right.data, left.size);
    peri_buffer_deinit(&left);
    peri_buffer_deinit(&right);
}

/* One replica lives on, the other is restored from its snapshot before every command: same answers,
 * same state, and the same number of instructions. */
static void test_restored_replica_follows(void **state)
{
    (void)state;
    struct replica old;
    struct replica restored;
    replica_init(&old, 7);
    replica_init(&restored, 7);
    replica_run_file(&old, "tests/data/vm/deterministic_history.lua");
    replica_run_file(&restored, "tests/data/vm/deterministic_history.lua");
    lua_getfield(old.L, 1, "init");
    assert_int_equal(vm_deterministic_call(old.L, 0, 1, BUDGET, NULL), 0);
    for (int i = 0; i < 2000; i++) {
        copy_state(&old, &restored);
        restored.random = old.random;
        uint64_t used = apply(&old, 1);
        assert_int_equal(apply(&restored, 1), used);
        assert_string_equal(lua_tostring(old.L, -1), lua_tostring(restored.L, -1));
        lua_pop(old.L, 1);
        lua_pop(restored.L, 1);
        assert_same_state(&old, &restored);
        lua_pop(restored.L, 1);
    }
    replica_deinit(&old);
    replica_deinit(&restored);
}

/* ---- planted leaks ---- */

/* What a command could smuggle from one replica's history, clock or process into the state: refused
 * with what is in "error", or harmless: then two machines with different histories return the same.
 */
static void test_planted_leaks(void **state)
{
    (void)state;
    static const struct {
        const char *what, *text, *error;
    } leaks[] = {
        {"clock", "return os.time()", "os.time: not available in a machine: use ctx.now"},
        {"process time", "return os.clock()", "os.clock: not available in a machine"},
        {"environment", "return os.getenv 'HOME'", "os.getenv: not available in a machine"},
        {"file", "return io.open('/etc/hostname'):read()", "io.open: not available in a machine"},
        {"global randomness", "return math.random()",
         "math.random: not available in a machine: use "
         "ctx.random"},
        {"address in a string", "return ('%p'):format({})", "'%p' is not available in a machine"},
        {"address as key", "for k in pairs { [{}] = 1, [{}] = 2 } do return k end",
         "a key is a table; keys must be numbers or strings"},
        {"collector", "return collectgarbage 'count'",
         "collectgarbage: not available in a machine"},
        {"weak table", "setmetatable({}, { ['__mo' .. 'de'] = 'k' })", "__mode is not available"},
        {"weak table, named later",
         "local meta = {} local t = setmetatable({}, meta) meta['__mo' .. 'de'] = 'v' t[1] = {} "
         "for i = 1, 100000 do local garbage = { i } end "
         "return t[1] and meta['__mo' .. 'de'] or error 'cleared'",
         NULL},
        {"finalizer", "setmetatable({}, { ['__g' .. 'c'] = function() x = 1 end })",
         "__gc is not available"},
        {"bytecode", "return load('\\27Lua')()", "attempt to call a nil value"},
        {"debug", "return debug.traceback()", "debug.traceback: not available in a machine"},
        {"C library", "return require 'lfs'", "require: not available in a machine"},
        {"endless loop", "while true do end", "the budget of 10000000 instructions is spent"},
        {"order of insertion", "local s = '' for k in pairs(history) do s = s .. k end return s",
         NULL},
        {"next", "return next(history)", NULL},
        {"length with holes", "return #holes", NULL},
        {"unpack with holes", "return select('#', table.unpack(holes))", NULL},
        {"append to holes", "holes[#holes + 1] = 'x' return encode(holes)", NULL},
        {"sort with ties",
         "local t = {} for i = 1, 500 do t[i] = { i % 3, i } end "
         "table.sort(t, function(a, b) return a[1] < b[1] end) return encode(t)",
         NULL},
        {"text of a table", "return tostring(history) .. tostring({})", NULL},
        {"text of a function", "return tostring(print)", NULL},
        {"error with a position", "return select(2, pcall(function() return history < {} end))",
         NULL},
        {"floating point", "return ('%a %a'):format(math.sin(1e6), 1.1 ^ 77.7)", NULL},
        {"stack depth",
         "local n = 0 local function f() n = n + 1 return 1 + f() end pcall(f) return n", NULL},
    };
    static const char *const histories[2] = {
        "history = { a = 1, b = 2, c = 3, d = 4 } holes = { 1, 2, nil, 4, nil, nil, nil, 8 }",
        "history = {} for i = 1, 99 do history['x' .. i] = i end for i = 1, 99 do history['x' .. "
        "i] = nil end "
        "history.d, history.c, history.b, history.a = 4, 3, 2, 1 "
        "holes = {} for i = 16, 1, -1 do holes[i] = i end "
        "for _, i in ipairs { 3, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16 } do holes[i] = nil end "
        "tostring(holes) garbage = nil for i = 1, 1000 do garbage = { garbage } end"};
    for (size_t i = 0; i < sizeof leaks / sizeof *leaks; i++) {
        char *answers[2];
        for (int side = 0; side < 2; side++) {
            struct replica replica;
            replica_init(&replica, 1);
            assert_int_equal(replica_run(&replica, histories[side], BUDGET, NULL), 0);
            int rc = replica_run(&replica, leaks[i].text, BUDGET, NULL);
            answers[side] = strdup(luaL_tolstring(replica.L, -1, NULL));
            if ((rc != 0) != (leaks[i].error != NULL) ||
                (rc != 0 && strstr(answers[side], leaks[i].error) == NULL))
                fail_msg("%s: %s", leaks[i].what, answers[side]);
            replica_deinit(&replica);
        }
        if (strcmp(answers[0], answers[1]) != 0)
            fail_msg("%s leaks: %s and %s", leaks[i].what, answers[0], answers[1]);
        free(answers[0]);
        free(answers[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library),
        cmocka_unit_test(test_histories_look_equal),
        cmocka_unit_test(test_restored_replica_follows),
        cmocka_unit_test(test_planted_leaks),
    };
    return cmocka_run_group_tests(tests, replica_setup, replica_teardown);
}
