/* Budgets of replicated machines end at the same instruction, whatever the history and the core. */
#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "vm/budget.h"
#include "vm/preempt.h"
#include "vm/scheduler.h"
#include "vm_replica.h"

/* ---- budgets ---- */

static void test_budget_ends_at_the_same_place(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "n = 0 while true do n = n + 1 end",
        "n = 0 while true do pcall(function() while true do n = n + 1 end end) end",
        "n = 0 local function f() n = n + 1 return pcall(f) end f() repeat until false",
        "n = 0 while true do coroutine.wrap(function() n = n + 1 end)() end",
        "n = 0 while true do n = n + 1 local s = ('x'):rep(1000000) end",
        "n = 0 local s = ('x'):rep(1000) while true do n = n + 1 s = s .. s end",
        "n = 0 local t = {} for i = 1, 2000 do t[i] = i end while true do for _ in pairs(t) do n = "
        "n + 1 end end",
        "n = 0 local t = {} for i = 1, 2000 do t[i] = i % 7 end while true do table.sort(t) n = n "
        "+ 1 end",
        "n = 0 local s = ('a'):rep(300) while true do n = n + 1 s:find('.-b') end",
        "n = 0 while true do n = n + 1 xpcall(error, function() while true do n = n + 1 end end) "
        "end",
        "n = 0 setmetatable(_G, {__index = function(_, k) n = n + 1 return _G[k + 1] end}) return "
        "_G[1]",
        "n = 0 while true do n = n + 1 load(('x = 1 '):rep(1000)) end",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        lua_Integer first = 0;
        for (int run = 0; run < 3; run++) {
            struct replica replica;
            struct vm_deterministic_use use;
            replica_init(&replica, 1);
            if (run == 1) /* another history: garbage, a bigger heap */
                assert_int_equal(replica_run(&replica,
                                             "x = {} for i = 1, 9999 do x[i] = {i .. ''} end",
                                             BUDGET, NULL),
                                 0);
            replica.vm->attention = run == 2; /* and one that the core interrupts */
            int rc = replica_run(&replica, texts[i], 300000, &use);
            if (rc == PERI_ELUA) /* the stack was full before: the same everywhere, too */
                assert_non_null(strstr(lua_tostring(replica.L, -1), "overflow"));
            else
                assert_string_equal(lua_tostring(replica.L, -1),
                                    "the budget of 300000 instructions is spent");
            assert_true(rc == PERI_ECPU || rc == PERI_ELUA);
            lua_getglobal(replica.L, "n");
            lua_Integer n = lua_tointeger(replica.L, -1);
            if (run == 0)
                first = n;
            if (n != first)
                fail_msg("%s: %lld, then %lld", texts[i], (long long)first, (long long)n);
            lua_settop(replica.L, 0);
            assert_int_equal(replica_run(&replica, "return 1", BUDGET, NULL), 0);
            replica_deinit(&replica);
        }
        assert_true(first > 0);
    }
}

/* The count of a call that gives the baton to the core at every look is that of one that never
 * does. Returns what was used; *n is how far it came. */
static uint64_t run_sliced(const char *text, bool is_sliced, lua_Integer *n)
{
    struct replica replica;
    struct fiber_scheduler scheduler = {0};
    int result_count;
    int status = LUA_YIELD;
    int slices = -1;
    bool is_spent;
    replica_init(&replica, 1);
    replica.vm->scheduler = is_sliced ? &scheduler : NULL; /* only its being there counts */
    lua_State *co = lua_newthread(replica.L);
    assert_int_equal(vm_deterministic_load(co, peri_slice_of(text, strlen(text)), "@test"), LUA_OK);
    vm_budget_begin(co, 200000);
    for (; status == LUA_YIELD; slices++) {
        replica.vm->attention = is_sliced;
        replica.vm->slice_start_us = env_now_us(replica_env);
        status = lua_resume(co, replica.L, 0, &result_count);
    }
    replica.vm->attention = 0;
    uint64_t used = vm_budget_end(co, &is_spent);
    assert_true(is_sliced ? slices > 100 : slices == 0);
    assert_int_equal(is_spent, status != LUA_OK);
    lua_getglobal(replica.L, "n");
    *n = lua_tointeger(replica.L, -1);
    replica.vm->scheduler = NULL;
    replica_deinit(&replica);
    return used;
}

static void test_slices_do_not_count(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "n = 0 for i = 1, 30000 do n = n + 1 end",
        "n = 0 while true do n = n + 1 end",
        "n = 0 while true do pcall(function() for i = 1, 77 do n = n + 1 end end) end",
        "n = 0 local f = coroutine.wrap(function() while true do n = n + 1 coroutine.yield() end "
        "end) "
        "while true do f() end",
        "n = 0 local t = {} for i = 1, 300 do t[i] = i * 7 % 13 end "
        "while true do table.sort(t, function(a, b) n = n + 1 return a > b end) end",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        lua_Integer whole_n;
        lua_Integer sliced_n;
        uint64_t whole = run_sliced(texts[i], false, &whole_n);
        uint64_t sliced = run_sliced(texts[i], true, &sliced_n);
        if (whole != sliced || whole_n != sliced_n)
            fail_msg("%s: %llu and %lld, in slices %llu and %lld", texts[i],
                     (unsigned long long)whole, (long long)whole_n, (unsigned long long)sliced,
                     (long long)sliced_n);
    }
}

/* How often the loop's condition is true within a budget of 300,000. */
static lua_Integer run_loop(const char *text)
{
    struct replica replica;
    replica_init(&replica, 1);
    assert_int_equal(replica_run(&replica, text, 300000, NULL), PERI_ECPU);
    lua_getglobal(replica.L, "n");
    lua_Integer n = lua_tointeger(replica.L, -1);
    replica_deinit(&replica);
    return n;
}

/* 100,000 equal bytes cost 6,250, and a budget that is spent ends the call within VM_BUDGET_STEP
 * instructions. It is as much whether they are one object or two, which is history. */
static void test_long_strings_cost_when_compared(void **state)
{
    (void)state;
    static const char two[] = "n = 0 local a, b = ('x'):rep(100000), ('x'):rep(100000) ";
    static const char one[] =
        "n = 0 local a, c = ('x'):rep(100000), ('y'):rep(100000) local b = a ";
    static const struct {
        const char *loop;
        bool is_by_content; /* else only the time that Lua itself takes counts */
    } cases[] = {
        {"while a == b do n = n + 1 end", true},
        {"while not (a < b) do n = n + 1 end", true},
        {"while a <= b do n = n + 1 end", true},
        {"while rawequal(a, b) do n = n + 1 end", true},
        {"local t = {[a] = 1} while t[b] do n = n + 1 end", true},
        {"b = b .. 'y' while a < b do n = n + 1 end", true},
        {"b = b:sub(2) .. 'y' while a ~= b do n = n + 1 end", false},
        {"b = b .. 'y' while a ~= b do n = n + 1 end", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s%s", two, cases[i].loop);
        lua_Integer n = run_loop(text);
        if (cases[i].is_by_content != (n < 300000 / 6250 + VM_BUDGET_STEP))
            fail_msg("%s: %lld times", text, (long long)n);
        if (i > 3)
            continue;
        (void)snprintf(text, sizeof text, "%s%s", one, cases[i].loop);
        lua_Integer other = run_loop(text) - n;
        if (other < -1 || other > 1) /* an instruction more was spent on making them */
            fail_msg("%s: %lld times more", text, (long long)other);
    }
}

static void test_errors_come_through(void **state)
{
    (void)state;
    struct replica replica;
    replica_init(&replica, 1);
    assert_int_equal(replica_run(&replica, "\n error({code = 5})", BUDGET, NULL), PERI_ELUA);
    assert_true(lua_istable(replica.L, -1));
    lua_settop(replica.L, 0);
    assert_int_equal(replica_run(&replica, "\n local t = {}\n return #t.x", BUDGET, NULL),
                     PERI_ELUA);
    assert_string_equal(lua_tostring(replica.L, -1),
                        "test:3: attempt to get length of a nil value");
    lua_settop(replica.L, 0);
    replica.vm->alloc.limit_bytes = replica.vm->alloc.used_bytes + ((size_t)1 << 20);
    assert_int_equal(
        replica_run(&replica, "local t = {} while true do t[#t + 1] = {} end", BUDGET, NULL),
        PERI_EMEMORY);
    replica_deinit(&replica);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_strings_cost_when_compared),
        cmocka_unit_test(test_budget_ends_at_the_same_place),
        cmocka_unit_test(test_slices_do_not_count),
        cmocka_unit_test(test_errors_come_through),
    };
    return cmocka_run_group_tests(tests, replica_setup, replica_teardown);
}
