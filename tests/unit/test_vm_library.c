/* The replaced library functions against stock Lua's, undisturbed and with a yield at every look.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>

#include "env_fixture.h"
#include "vm/library.h"
#include "vm/scheduler.h"
#include "vm/state.h"

static const char keep_stock[] =
    "stock = {}"
    "for _, name in ipairs{'find', 'match', 'gmatch', 'gsub', 'rep'} do stock[name] = string[name] "
    "end for _, name in ipairs{'sort', 'concat', 'insert', 'remove', 'move'} do "
    "stock[name] = table[name] end";

static void require_ok(lua_State *L, int status)
{
    if (status != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
}

/* Runs the function below its arguments on co's stack to its end, however often it yields. */
static void run_coroutine(struct vm_state *vm, lua_State *co, int argument_count)
{
    int result_count;
    int status;
    do {
        vm->slice_start_us = env_now_us(env);
        status = lua_resume(co, vm->L, argument_count, &result_count);
        argument_count = 0;
    } while (status == LUA_YIELD);
    vm->attention = 0;
    require_ok(co, status);
}

/* Runs tests/data/vm/<name> with support, seed and rounds. Under attention every look at it yields:
 * to the script's own coroutines, because the standard coroutine library is open. */
static void run_script(const char *path, lua_Integer rounds, bool attention)
{
    static const struct vm_embedded nothing[1];
    struct vm_options options = {.env = env, .bare = true, .embedded = nothing};
    struct vm_state *vm = NULL;
    struct fiber_scheduler scheduler = {0};
    uint32_t seed = 0;
    env_random(env, &seed, sizeof seed);
    print_message("%s: seed %u%s\n", path, seed, attention ? ", yielding" : "");
    assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
    lua_State *L = vm->L;
    luaL_openlibs(L);
    require_ok(L, luaL_dostring(L, keep_stock));
    vm_library_open(L);
    lua_State *co = lua_newthread(L);
    require_ok(co, luaL_loadfile(co, path));
    require_ok(co, luaL_dofile(co, "tests/data/vm/support.lua"));
    lua_pushinteger(co, seed);
    lua_pushinteger(co, rounds);
    vm->scheduler = attention ? &scheduler : NULL;
    vm->attention = attention;
    run_coroutine(vm, co, 3);
    vm->scheduler = NULL;
    vm_state_close(vm);
}

static void patterns_equal_stock(void **unused)
{
    (void)unused;
    run_script("tests/data/vm/patterns.lua", 20000, false);
    run_script("tests/data/vm/patterns.lua", 2000, true);
}

static void tables_equal_stock(void **unused)
{
    (void)unused;
    run_script("tests/data/vm/tables.lua", 2000, false);
    run_script("tests/data/vm/tables.lua", 200, true);
}

static void callbacks_may_yield(void **unused)
{
    (void)unused;
    run_script("tests/data/vm/calls.lua", 1, false);
    run_script("tests/data/vm/calls.lua", 1, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_equal_stock),
        cmocka_unit_test(tables_equal_stock),
        cmocka_unit_test(callbacks_may_yield),
    };
    return cmocka_run_group_tests(tests, open_env, close_env);
}
