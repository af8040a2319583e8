/* Hostile task code ends in time, with an error that says why (mapreduce.md 7.2, item 11). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "env_fixture.h"
#include "vm/sandbox.h"

enum { LIMIT_MS = 100, LATE_MS = 100, MEMORY_LIMIT_MS = 5000, MEMORY = 64 << 20 };

/* Sanitizers and shared machines are slow: what must hold is that a call ends at all, soon. */
enum { SLACK = 20 };

static char printed[256];

static void on_print(void *data, const char *line, size_t size)
{
    (void)data;
    assert_true(size < sizeof printed);
    memcpy(printed, line, size);
    printed[size] = '\0';
}

static struct vm_task *create(void)
{
    struct vm_task *task = NULL;
    struct peri_error err = PERI_ERROR_INIT;
    struct vm_task_options options = {.env = env, .memory_limit_bytes = MEMORY};
    options.sandbox.directory = "tests/data/sandbox";
    options.sandbox.seed = 42;
    options.sandbox.print = on_print;
    if (vm_task_create(&task, &options, &err) != 0)
        fail_msg("%s", err.text);
    return task;
}

/* Runs the text; returns the code and leaves the error's text (or the result's) on the stack. */
static int run(struct vm_task *task, const char *text, uint64_t limit_ms)
{
    lua_State *L = vm_task_lua(task);
    assert_int_equal(luaL_loadstring(L, text), LUA_OK);
    return vm_task_call(task, 0, 1, 0, limit_ms);
}

struct hostile {
    const char *name;
    const char *text;
    int code;
    const char *error;
};

static const struct hostile table[] = {
    {"plain loop", "while true do end", PERI_ECPU, "no progress for 100 ms"},
    {"pcall loop", "while true do pcall(function() while true do end end) end", PERI_ECPU,
     "no progress for 100 ms"},
    {"coroutine loop", "coroutine.wrap(function() while true do end end)()", PERI_ECPU,
     "no progress for 100 ms"},
    {"pcall in coroutine loop",
     "while true do pcall(coroutine.wrap(function() while true do pcall(error) end end)) end",
     PERI_ECPU, "no progress for 100 ms"},
    {"backtracking pattern", "return (('a'):rep(60)):find(('a?'):rep(60)..('a'):rep(60))", 0,
     "steps"},
    {"backtracking pattern for ever",
     "while true do pcall(string.find, ('a'):rep(60), ('a?'):rep(60)..('a'):rep(60)) end",
     PERI_ECPU, "no progress for 100 ms"},
    {"string.rep bomb", "return ('x'):rep(1 << 40)", PERI_ELUA, "resulting string too large"},
    {"string.rep beyond the memory", "return ('x'):rep(200 << 20)", PERI_EMEMORY,
     "memory limit of 64 MiB reached"},
    {"table bomb", "local t = {} while true do t[#t + 1] = {} end", PERI_EMEMORY,
     "memory limit of 64 MiB reached"},
    {"huge table.concat",
     "local t, s = {}, ('x'):rep(1 << 20) for i = 1, 1000 do t[i] = s end return table.concat(t)",
     PERI_EMEMORY, "memory limit of 64 MiB reached"},
    {"comparator loop", "table.sort({3, 2, 1}, function() while true do end end)", PERI_ECPU,
     "no progress for 100 ms"},
    {"gsub callback loop", "('x'):gsub('x', function() while true do end end)", PERI_ECPU,
     "no progress for 100 ms"},
    {"spinning __gc",
     "setmetatable({}, {__gc = function() while true do end end}) collectgarbage()", PERI_ECPU,
     "no progress for 100 ms"},
    {"move for ever", "table.move(setmetatable({}, {__index = function() end}), 1, 1 << 60, 2)",
     PERI_ECPU, "no progress for 100 ms"},
    {"raw move for ever", "table.move({}, 1, 1 << 60, 2)", PERI_ECPU, "no progress for 100 ms"},
};

static void hostile_code_ends(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct vm_task *task = create();
        uint64_t start_us = env_now_us(env);
        uint64_t limit_ms = table[i].code == PERI_EMEMORY ? MEMORY_LIMIT_MS : LIMIT_MS;
        int code = run(task, table[i].text, limit_ms);
        uint64_t took_ms = (env_now_us(env) - start_us) / 1000;
        const char *text = lua_tostring(vm_task_lua(task), -1);
        print_message("%-32s %4llu ms: %s\n", table[i].name, (unsigned long long)took_ms, text);
        assert_non_null(text);
        if (table[i].code != 0) {
            assert_int_equal(code, table[i].code);
            assert_non_null(strstr(text, table[i].error));
        } else {
            assert_int_not_equal(code, 0);
        }
        assert_true(took_ms <= (limit_ms + LATE_MS) * SLACK);
        vm_task_close(task);
    }
}

static void finalizers_at_the_end_are_bounded(void **unused)
{
    (void)unused;
    static const char *const texts[] = {
        "keep = setmetatable({}, {__gc = function() while true do end end}) return 1",
        "keep = setmetatable({}, {__gc = function() while true do pcall(error) end end}) return 1",
        "keep = setmetatable({}, {__gc = function() error('x') end}) return 1",
        "keep = setmetatable({}, {__gc = function() "
        "local p = ('a?'):rep(60)..('a'):rep(60) while true do pcall(string.find, ('a'):rep(60), p)"
        " end end}) return 1",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct vm_task *task = create();
        assert_int_equal(run(task, texts[i], LIMIT_MS), 0);
        uint64_t start_us = env_now_us(env);
        vm_task_close(task);
        uint64_t took_ms = (env_now_us(env) - start_us) / 1000;
        print_message("close %zu: %llu ms\n", i, (unsigned long long)took_ms);
        assert_true(took_ms <= (uint64_t)LATE_MS * SLACK);
    }
}

static int l_progress(lua_State *L)
{
    volatile uint64_t *progress = lua_touserdata(L, lua_upvalueindex(1));
    *progress = *progress + 1;
    return 0;
}

static void progress_moves_the_deadline(void **unused)
{
    (void)unused;
    struct vm_task *task = create();
    lua_State *L = vm_task_lua(task);
    lua_pushlightuserdata(L, (void *)(uintptr_t)vm_task_progress(task));
    lua_pushcclosure(L, l_progress, 1);
    lua_setglobal(L, "progress");
    uint64_t start_us = env_now_us(env);
    int code;
    do {
        code = run(task, "for i = 1, 1000000 do progress() end return 'fine'", 200);
        assert_int_equal(code, 0);
        lua_settop(L, 0);
    } while (env_now_us(env) - start_us < 400000);
    vm_task_close(task);
}

static void a_state_lives_on_after_an_error(void **unused)
{
    (void)unused;
    struct vm_task *task = create();
    lua_State *L = vm_task_lua(task);
    assert_int_equal(run(task, "while true do end", 50), PERI_ECPU);
    assert_int_equal(run(task, "local n = 0 for i = 1, 1000 do n = n + i end return n", 50), 0);
    assert_int_equal(lua_tointeger(L, -1), 500500);
    assert_int_equal(run(task, "error('mine')", 50), PERI_ELUA);
    vm_task_close(task);
}

static void unsafe_functions_are_absent(void **unused)
{
    (void)unused;
    static const char text[] =
        "assert(not os and not io and not debug and not dofile and not loadfile)"
        "assert(not string.dump and not package.loadlib and not package.cpath)"
        "assert(not load('\\27Lua') and not load('\\27Lua', 'x', 'b'))"
        "assert(load('return 1')() == 1 and load('return x', 'n', 't', {x = 2})() == 2)"
        "assert(load(coroutine.wrap(function() coroutine.yield('return ') coroutine.yield('3')"
        " end))() == 3)"
        "print('a', 1, nil) return math.random(1 << 30)";
    struct vm_task *one = create();
    struct vm_task *two = create();
    int code = run(one, text, 0);
    if (code != 0)
        fail_msg("%s", lua_tostring(vm_task_lua(one), -1));
    assert_string_equal(printed, "a\t1\tnil\n");
    assert_int_equal(run(two, text, 0), 0);
    assert_int_equal(lua_tointeger(vm_task_lua(one), -1), lua_tointeger(vm_task_lua(two), -1));
    vm_task_close(one);
    vm_task_close(two);
}

static void require_stays_beside_the_job(void **unused)
{
    (void)unused;
    struct vm_task *task = create();
    lua_State *L = vm_task_lua(task);
    assert_int_equal(run(task, "return require('helper').twice(21)", 0), 0);
    assert_int_equal(lua_tointeger(L, -1), 42);
    static const char *const names[] = {"../job", "/etc/passwd", "absent", "os", "io"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char code[64];
        (void)snprintf(code, sizeof code, "return require('%s')", names[i]);
        assert_int_equal(run(task, code, 0), PERI_ELUA);
        assert_non_null(strstr(lua_tostring(L, -1), "not found"));
    }
    struct peri_error err = PERI_ERROR_INIT;
    assert_int_equal(vm_task_load(task, "tests/data/sandbox/none.lua", &err), -2);
    assert_int_equal(vm_task_load(task, "tests/data/sandbox/helper.lua", &err), 0);
    vm_task_close(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_code_ends),
        cmocka_unit_test(finalizers_at_the_end_are_bounded),
        cmocka_unit_test(progress_moves_the_deadline),
        cmocka_unit_test(a_state_lives_on_after_an_error),
        cmocka_unit_test(unsafe_functions_are_absent),
        cmocka_unit_test(require_stays_beside_the_job),
    };
    return cmocka_run_group_tests(tests, open_env, close_env);
}
