/* What the standard libraries show of the world, in a simulated state and in a live one. */
#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "env/pin.h"
#include "env/uv.h"
#include "env_fixed.h"
#include "vm/state.h"

#define STRING(...) #__VA_ARGS__

static const char simulated_text[] = STRING(
    local function refused(name, ...)
      local ok, message = pcall(...)
      assert(not ok, name .. " was let through");
      assert(message:find(name .. ": not available in simulation: ", 1, true), message)
    end;
    assert(os.time() == 951782400 and os.clock() == 2.5);
    assert(os.date() == "Tue Feb 29 00:00:00 2000" and os.date() == os.date("!%c"));
    assert(os.date("%Y-%j") == "2000-060" and os.date("*t").isdst == false);
    assert(os.date("a\0b%d") == "a\0b29");
    assert(os.getenv("HOME") == "/node" and os.getenv("PATH") == nil);
    assert(not pcall(os.date, "%Ez"));

    local t = { year = 2024, month = 14, day = -3, hour = 25, min = 61, sec = -1 };
    local at = os.time(t);
    assert(os.date("!%Y-%m-%d %H:%M:%S", at) == "2025-01-29 02:00:59");
    assert(t.month == 1 and t.day == 29 and t.hour == 2 and t.wday == 4 and t.yday == 29);
    for _, year in ipairs {
    1, 1583, 1900, 1969, 1970, 1972, 2000, 2023, 2024, 2100, 9999 } do
      for month = 1, 12 do
        for _, day in ipairs {
    1, 28, 29, 30, 31 } do
          local seconds = os.time { year = year, month = month, day = day, hour = 0 };
          assert(seconds % 86400 == 0);
          local back = os.date("!*t", seconds);
          assert((back.day == day and back.month == month and back.year == year) or day > 28);
          assert(os.time(back) == seconds)
        end
      end
    end;
    local function fails(text, t)
      local ok, message = pcall(os.time, t);
      assert(not ok and message:find(text, 1, true), message)
    end;
    fails("field 'day' missing in date table", { year = 2000, month = 1 });
    fails("field 'year' is not an integer", { year = "x", month = 1, day = 1 });
    fails("field 'hour' is out-of-bound", { year = 2000, month = 1, day = 1, hour = 1 << 40 });
    fails("table expected", 7);

    local first = { math.random(0), math.random() };
    math.randomseed();
    assert(math.random(0) == first[1] and math.random() == first[2]);
    math.randomseed(7);
    local seven = math.random(0);
    math.randomseed(7);
    assert(math.random(0) == seven and seven ~= first[1]);

    refused("os.execute", os.execute, "true");
    refused("os.remove", os.remove, "x");
    refused("os.rename", os.rename, "x", "y");
    refused("os.tmpname", os.tmpname);
    assert(os.setlocale() == "C" and os.setlocale("C") == "C" and os.setlocale("") == "C");
    assert(os.setlocale("de_DE.UTF-8") == nil);
    refused("io.popen", io.popen, "true");
    refused("io.open", io.open, "/dev/null");
    refused("io.lines", io.lines, "/dev/null");
    refused("io.input", io.input);
    refused("io.output", io.output);
    refused("io.tmpfile", io.tmpfile);
    refused("io.read", io.read);
    refused("io.close", io.close);
    refused("file:read", io.stdin.read, io.stdin);
    refused("file:lines", io.stdin.lines, io.stdin);
    refused("file:seek", io.stdout.seek, io.stdout);
    refused("file:close", io.stdout.close, io.stdout);
    refused("debug.debug", debug.debug);
    refused("package.loadlib", package.loadlib, "libc.so.6", "*");
    assert(tostring(io.stdout) == "file (standard output)");
    assert(tostring(io.stderr) == "file (standard error)");
    assert(not package.path:find("/leak/", 1, true) and package.cpath == "");
    assert(not pcall(require, "lfs"));
    assert(collectgarbage("count") > 0 and ("%p"):format(t):find("^0x20")));

static const char live_text[] = STRING(
    assert(os.time() == 951782400 and os.clock() == 2.5);
    assert(os.date("!%c") == "Tue Feb 29 00:00:00 2000");
    assert(os.date("!%c", 86400) == "Fri Jan  2 00:00:00 1970");
    assert(os.time(os.date("*t", 86400)) == 86400);
    assert(os.getenv("HOME") == "/node" and os.getenv("PATH") == nil); local first = math.random(0);
    math.randomseed(); assert(math.random(0) == first); assert(io.open("/dev/null"))
    : close();
    assert(tostring(io.stdout)
           : find("^file %(0x")));

static void run_text(struct env *env, const struct vm_simulated *simulated, const char *text)
{
    struct vm_options options = {.env = env, .simulated = simulated};
    struct vm_state *vm;
    assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
    if (luaL_dostring(vm->L, text))
        fail_msg("%s", lua_tostring(vm->L, -1));
    vm_state_close(vm);
}

static void run_simulated(void *data)
{
    struct vm_simulated simulated = {.slot = 1};
    run_text(data, &simulated, simulated_text);
}

static void test_simulated(void **state)
{
    (void)state;
    struct env *env;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    env_fix(env);
    (void)setenv("LUA_PATH", "/leak/?.lua", 1);
    (void)setenv("TZ", "Asia/Kathmandu", 1);
    assert_int_equal(env_pinned_call(run_simulated, env, NULL), 0);
    (void)unsetenv("LUA_PATH");
    (void)unsetenv("TZ");
    tzset();
    env_close(env);
}

static void test_live(void **state)
{
    (void)state;
    struct env *env;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    env_fix(env);
    run_text(env, NULL, live_text);
    env_close(env);
}

/* Outside of tests the clocks are the process's own. */
static void test_real_clocks(void **state)
{
    (void)state;
    struct env *env;
    assert_int_equal(env_uv_create(&env, NULL), 0);
    run_text(env, NULL, STRING(
        assert(os.time() > 1700000000 and os.getenv("PATH"));
        local from = os.clock();
        local x = 0;
        for i = 1, 1000000 do x = x + i end;
        assert(os.clock() > from and os.clock() < from + 60);
        local a = math.random(0);
        math.randomseed();
        assert(math.random(0) ~= a)));
    env_close(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_simulated),
        cmocka_unit_test(test_live),
        cmocka_unit_test(test_real_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
