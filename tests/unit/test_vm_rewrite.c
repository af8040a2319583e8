/* The text of replicated machines, rewritten so that # is theirs: means what it meant. */
#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "vm/rewrite.h"
#include "vm_replica.h"

/* ---- the rewritten text ---- */

static char *rewritten(const char *text)
{
    struct peri_buffer out = {0};
    struct peri_error err = PERI_ERROR_INIT;
    int rc = vm_rewrite(peri_slice_of(text, strlen(text)), "chunk", &out, &err);
    if (rc == 0)
        assert_int_equal(peri_buffer_append(&out, "", 1), 0);
    else
        assert_int_equal(peri_buffer_append(&out, err.text, strlen(err.text) + 1), 0);
    return out.data;
}

static void test_rewrite(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"return #t", "return  \"\\0#\"^t"},
        {"return#t", "return \"\\0#\"^t"},
        {"'#', \"#\", --#\n#x", "'#', \"#\", --#\n \"\\0#\"^x"},
        {"--[[#]]#x+--[==[#]]#]==]#", "--[[#]] \"\\0#\"^x+--[==[#]]#]==] \"\\0#\"^"},
        {"[[#]]/#[=[#]]]=]<#", "[[#]]/ \"\\0#\"^[=[#]]]=]< \"\\0#\"^"},
        {"a[#a]=[#", "a[ \"\\0#\"^a]=[ \"\\0#\"^"},
        {"'\\'#',#", "'\\'#', \"\\0#\"^"},
        {"'\\\n#',#", "'\\\n#', \"\\0#\"^"},
        {"'a\\\r\n#',#", "'a\\\r\n#', \"\\0#\"^"},
        {"'a\\\n\r#',#", "'a\\\n\r#', \"\\0#\"^"},
        {"'a\\\n\n+#' #", "'a\\\n\n+ \"\\0#\"^' #"},
        {"'\\z  \n #',#", "'\\z  \n #', \"\\0#\"^"},
        {"'open\n,#", "'open\n, \"\\0#\"^"},
        {"t #x, (t) #x, t[1] #x, {} #x, '' #x, [[]] #x, 5 #x, end--\n #x",
         "t #x, (t) #x, t[1] #x, {} #x, '' #x, [[]] #x, 5 #x, end--\n #x"},
        {"return#x and#x or#x", "return \"\\0#\"^x and \"\\0#\"^x or \"\\0#\"^x"},
        {"[[open #", "[[open #"},
        {"--[[open #", "--[[open #"},
        {"--#\r#", "--#\r \"\\0#\"^"},
        {"'\\", "'\\"},
        {"-", "-"},
        {"[", "["},
        {"[==", "[=="},
        {"--", "--"},
        {"", ""},
        {"#!/usr/bin/lua\n#x", "\n \"\\0#\"^x"},
        {"#", ""},
        {"a--b#\n..#c", "a--b#\n.. \"\\0#\"^c"},
        {"x\n\ny.__mode", "chunk:3: __mode is not available in a machine: what it does depends on "
                          "the garbage collector"},
        {"'\\\n' '__gc'",
         "chunk:2: __gc is not available in a machine: what it does depends on the "
         "garbage collector"},
        {"[[\n]] [=[__gc]=]",
         "chunk:2: __gc is not available in a machine: what it does depends on "
         "the garbage collector"},
        {"x__gc = '__gc ' --__gc", "x__gc = '__gc ' --__gc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = rewritten(cases[i].text);
        assert_string_equal(out, cases[i].expected);
        free(out);
    }
}

/* Random expressions around # mean the same to stock Lua as rewritten. */
static void random_expression(uint64_t *random, int depth, char *out, size_t size)
{
    static const char *const leaves[] = {"t",      "u",  "s",     "2",    "3.5", "'a#b'",  "t[1]",
                                         "{1,#t}", "#t", "[[#]]", "f(t)", "o.t", "o:m(t)", "nil"};
    static const char *const binary[] = {"+", "-",  "*",  "/",  "//", "%", "^",   "^", "..",
                                         "<", "<=", "==", "~=", "&",  "|", "and", "or"};
    static const char *const unary[] = {"#", "#", "-", "not ", "~"};
    char left[512];
    char right[512];
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    uint32_t draw = (uint32_t)(*random >> 33);
    if (depth == 0 || draw % 5 == 0) {
        (void)snprintf(out, size, "%s", leaves[(draw >> 8) % (sizeof leaves / sizeof *leaves)]);
        return;
    }
    random_expression(random, depth - 1, left, sizeof left);
    if (draw % 5 <= 2) {
        const char *operator= unary[(draw >> 8) % (sizeof unary / sizeof *unary)];
        bool is_minus = *operator== '-' && * left == '-';
        (void)snprintf(out, size, "%s%s%s", operator, is_minus ? " " : "", left);
        return;
    }
    random_expression(random, depth - 1, right, sizeof right);
    (void)snprintf(out, size, draw % 7 == 0 ? "(%s) %s (%s)" : "%s %s %s", left,
                   binary[(draw >> 8) % (sizeof binary / sizeof *binary)], right);
}

static const char surroundings[] = "local t, u, s = { 1, 2, 3, 'x' }, setmetatable({}, { __len = "
                                   "function() return 7 end }), 'abc' "
                                   "local function f(x) return x end "
                                   "local o = { t = t, m = function(_, x) return x end } ";

/* The value's text, or that it is an error. */
static char *evaluate(lua_State *L, int status)
{
    if (status == LUA_OK)
        status = lua_pcall(L, 0, 1, 0);
    const char *text = "error";
    if (status == LUA_OK)
        text = lua_istable(L, -1) ? "table" : luaL_tolstring(L, -1, NULL);
    char *copy = strdup(text);
    lua_settop(L, 0);
    return copy;
}

static void test_expressions_mean_the_same(void **state)
{
    (void)state;
    struct replica replica;
    uint64_t random = 99;
    int errors = 0;
    lua_State *stock = luaL_newstate();
    luaL_openlibs(stock);
    replica_init(&replica, 1);
    for (int i = 0; i < 30000; i++) {
        char expression[1024];
        char text[2048];
        random_expression(&random, 4, expression, sizeof expression);
        (void)snprintf(text, sizeof text, "%sreturn %s", surroundings, expression);
        char *expected = evaluate(stock, luaL_loadstring(stock, text));
        char *got = evaluate(
            replica.L, vm_deterministic_load(replica.L, peri_slice_of(text, strlen(text)), "=x"));
        if (strcmp(expected, got) != 0)
            fail_msg("%s is %s, not %s", expression, got, expected);
        errors += strcmp(got, "error") == 0;
        free(expected);
        free(got);
    }
    assert_true(errors < 25000); /* enough of them mean something */
    replica_deinit(&replica);
    lua_close(stock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_expressions_mean_the_same),
    };
    return cmocka_run_group_tests(tests, replica_setup, replica_teardown);
}
