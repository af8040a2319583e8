/* The sandbox of replicated machines: same contents, same behaviour, whatever the history. */
#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "env/uv.h"
#include "vm/budget.h"
#include "vm/deterministic.h"
#include "vm/preempt.h"
#include "vm/rewrite.h"
#include "vm/scheduler.h"
#include "vm/state.h"
#include "wire/codec.h"

#define BUDGET UINT64_C(10000000)
#define BYTES_MAX ((size_t)1 << 24)

static struct env *env;

struct machine {
    struct vm_options options;
    struct vm_state *vm;
    lua_State *L;
    uint64_t random;
    char printed[256];
};

/* ---- what scripts get from us ---- */

static int l_draw(lua_State *L)
{
    uint64_t *random = lua_touserdata(L, lua_upvalueindex(1));
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    lua_pushinteger(L, (lua_Integer)((*random >> 33) % (uint64_t)luaL_checkinteger(L, 1)) + 1);
    return 1;
}

static int l_encode(lua_State *L)
{
    struct peri_buffer out = {0};
    struct peri_error err = PERI_ERROR_INIT;
    if (wire_encode(L, 1, NULL, BYTES_MAX, &out, &err) != 0)
        lua_pushstring(L, err.text);
    else
        lua_pushlstring(L, out.data, out.size);
    peri_buffer_deinit(&out);
    return 1;
}

static int l_stock_length(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
    return 1;
}

static void on_print(void *data, struct peri_slice line)
{
    struct machine *machine = data;
    assert_true(line.size < sizeof machine->printed);
    memcpy(machine->printed, line.data, line.size);
    machine->printed[line.size] = '\0';
}

static int open_machine(lua_State *L)
{
    struct machine *machine = lua_touserdata(L, 1);
    struct vm_deterministic options = {.print = on_print, .print_data = machine};
    vm_deterministic_open(L, &options);
    lua_pushlightuserdata(L, &machine->random);
    lua_pushcclosure(L, l_draw, 1);
    lua_setglobal(L, "draw");
    lua_register(L, "encode", l_encode);
    lua_register(L, "stock_length", l_stock_length);
    return 0;
}

static void machine_init(struct machine *machine, uint64_t seed)
{
    *machine = (struct machine){.random = seed};
    machine->options = (struct vm_options){.env = env, .bare = true};
    assert_int_equal(vm_state_create(&machine->vm, &machine->options, NULL), 0);
    machine->L = machine->vm->L;
    lua_pushcfunction(machine->L, open_machine);
    lua_pushlightuserdata(machine->L, machine);
    assert_int_equal(lua_pcall(machine->L, 1, 0, 0), LUA_OK);
}

static void machine_deinit(struct machine *machine)
{
    vm_state_close(machine->vm);
}

/* Loads and calls text in a budget; the results are on the stack. */
static int machine_run(struct machine *machine, const char *text, uint64_t budget,
                       struct vm_deterministic_use *use)
{
    struct peri_slice slice = peri_slice_of(text, strlen(text));
    if (vm_deterministic_load(machine->L, slice, "@test") != LUA_OK)
        fail_msg("%s", lua_tostring(machine->L, -1));
    return vm_deterministic_call(machine->L, 0, 1, budget, use);
}

static char *file_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    (void)fclose(file);
    assert_true(size > 0);
    return text;
}

static void machine_run_file(struct machine *machine, const char *path)
{
    char *text = file_text(path);
    int rc = machine_run(machine, text, BUDGET, NULL);
    free(text);
    if (rc != 0)
        fail_msg("%s: %s", path, lua_tostring(machine->L, -1));
}

/* ---- the library ---- */

static void test_library(void **state)
{
    (void)state;
    struct machine machine;
    machine_init(&machine, 1);
    machine_run_file(&machine, "tests/data/vm/deterministic.lua");
    assert_int_equal(machine_run(&machine, "print(1, {}, 'x', nil)", BUDGET, NULL), 0);
    assert_string_equal(machine.printed, "1\ttable: 1\tx\tnil\n");
    assert_int_equal(machine_run(&machine, "print({})", BUDGET, NULL), 0);
    assert_string_equal(machine.printed, "table: 1\n"); /* numbers start anew with each call */
    machine_deinit(&machine);
}

/* ---- histories ---- */

enum { TABLES = 3000 };

static void test_histories_look_equal(void **state)
{
    (void)state;
    struct machine machine;
    int differ = 0;
    machine_init(&machine, 20260101);
    machine_run_file(&machine, "tests/data/vm/deterministic_history.lua");
    for (int i = 0; i < TABLES; i++) {
        lua_getfield(machine.L, -1, "compare");
        if (vm_deterministic_call(machine.L, 0, 1, BUDGET, NULL) != 0)
            fail_msg("table %d: %s", i, lua_tostring(machine.L, -1));
        differ += !lua_toboolean(machine.L, -1);
        lua_pop(machine.L, 1);
    }
    print_message("stock's # differs in %d of %d pairs\n", differ, TABLES);
    assert_true(differ > TABLES / 50); /* the test tests something */
    machine_deinit(&machine);
}

static void copy_state(struct machine *from, struct machine *to)
{
    struct peri_buffer bytes = {0};
    size_t used;
    assert_int_equal(wire_encode(from->L, -1, NULL, BYTES_MAX, &bytes, NULL), 0);
    assert_int_equal(wire_decode(to->L, peri_buffer_slice(&bytes), &used, NULL), 0);
    peri_buffer_deinit(&bytes);
}

/* Applies a command to the state on top of the stack; leaves the answer above it. */
static uint64_t apply(struct machine *machine, int library)
{
    struct vm_deterministic_use use;
    lua_getfield(machine->L, library, "apply");
    lua_pushvalue(machine->L, -2);
    if (vm_deterministic_call(machine->L, 1, 1, BUDGET, &use) != 0)
        fail_msg("%s", lua_tostring(machine->L, -1));
    return use.instructions;
}

static void assert_same_state(struct machine *a, struct machine *b)
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
    struct machine old;
    struct machine restored;
    machine_init(&old, 7);
    machine_init(&restored, 7);
    machine_run_file(&old, "tests/data/vm/deterministic_history.lua");
    machine_run_file(&restored, "tests/data/vm/deterministic_history.lua");
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
    machine_deinit(&old);
    machine_deinit(&restored);
}

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
    struct machine machine;
    uint64_t random = 99;
    int errors = 0;
    lua_State *stock = luaL_newstate();
    luaL_openlibs(stock);
    machine_init(&machine, 1);
    for (int i = 0; i < 30000; i++) {
        char expression[1024];
        char text[2048];
        random_expression(&random, 4, expression, sizeof expression);
        (void)snprintf(text, sizeof text, "%sreturn %s", surroundings, expression);
        char *expected = evaluate(stock, luaL_loadstring(stock, text));
        char *got = evaluate(
            machine.L, vm_deterministic_load(machine.L, peri_slice_of(text, strlen(text)), "=x"));
        if (strcmp(expected, got) != 0)
            fail_msg("%s is %s, not %s", expression, got, expected);
        errors += strcmp(got, "error") == 0;
        free(expected);
        free(got);
    }
    assert_true(errors < 25000); /* enough of them mean something */
    machine_deinit(&machine);
    lua_close(stock);
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
        for (int replica = 0; replica < 2; replica++) {
            struct machine machine;
            machine_init(&machine, 1);
            assert_int_equal(machine_run(&machine, histories[replica], BUDGET, NULL), 0);
            int rc = machine_run(&machine, leaks[i].text, BUDGET, NULL);
            answers[replica] = strdup(luaL_tolstring(machine.L, -1, NULL));
            if ((rc != 0) != (leaks[i].error != NULL) ||
                (rc != 0 && strstr(answers[replica], leaks[i].error) == NULL))
                fail_msg("%s: %s", leaks[i].what, answers[replica]);
            machine_deinit(&machine);
        }
        if (strcmp(answers[0], answers[1]) != 0)
            fail_msg("%s leaks: %s and %s", leaks[i].what, answers[0], answers[1]);
        free(answers[0]);
        free(answers[1]);
    }
}

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
            struct machine machine;
            struct vm_deterministic_use use;
            machine_init(&machine, 1);
            if (run == 1) /* another history: garbage, a bigger heap */
                assert_int_equal(machine_run(&machine,
                                             "x = {} for i = 1, 9999 do x[i] = {i .. ''} end",
                                             BUDGET, NULL),
                                 0);
            machine.vm->attention = run == 2; /* and one that the core interrupts */
            int rc = machine_run(&machine, texts[i], 300000, &use);
            if (rc == PERI_ELUA) /* the stack was full before: the same everywhere, too */
                assert_non_null(strstr(lua_tostring(machine.L, -1), "overflow"));
            else
                assert_string_equal(lua_tostring(machine.L, -1),
                                    "the budget of 300000 instructions is spent");
            assert_true(rc == PERI_ECPU || rc == PERI_ELUA);
            lua_getglobal(machine.L, "n");
            lua_Integer n = lua_tointeger(machine.L, -1);
            if (run == 0)
                first = n;
            if (n != first)
                fail_msg("%s: %lld, then %lld", texts[i], (long long)first, (long long)n);
            lua_settop(machine.L, 0);
            assert_int_equal(machine_run(&machine, "return 1", BUDGET, NULL), 0);
            machine_deinit(&machine);
        }
        assert_true(first > 0);
    }
}

/* The count of a call that gives the baton to the core at every look is that of one that never
 * does. Returns what was used; *n is how far it came. */
static uint64_t run_sliced(const char *text, bool is_sliced, lua_Integer *n)
{
    struct machine machine;
    struct fiber_scheduler scheduler = {0};
    int result_count;
    int status = LUA_YIELD;
    int slices = -1;
    bool is_spent;
    machine_init(&machine, 1);
    machine.vm->scheduler = is_sliced ? &scheduler : NULL; /* only its being there counts */
    lua_State *co = lua_newthread(machine.L);
    assert_int_equal(vm_deterministic_load(co, peri_slice_of(text, strlen(text)), "@test"), LUA_OK);
    vm_budget_begin(co, 200000);
    for (; status == LUA_YIELD; slices++) {
        machine.vm->attention = is_sliced;
        machine.vm->slice_start_us = env_now_us(env);
        status = lua_resume(co, machine.L, 0, &result_count);
    }
    machine.vm->attention = 0;
    uint64_t used = vm_budget_end(co, &is_spent);
    assert_true(is_sliced ? slices > 100 : slices == 0);
    assert_int_equal(is_spent, status != LUA_OK);
    lua_getglobal(machine.L, "n");
    *n = lua_tointeger(machine.L, -1);
    machine.vm->scheduler = NULL;
    machine_deinit(&machine);
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

static void test_errors_come_through(void **state)
{
    (void)state;
    struct machine machine;
    machine_init(&machine, 1);
    assert_int_equal(machine_run(&machine, "\n error({code = 5})", BUDGET, NULL), PERI_ELUA);
    assert_true(lua_istable(machine.L, -1));
    lua_settop(machine.L, 0);
    assert_int_equal(machine_run(&machine, "\n local t = {}\n return #t.x", BUDGET, NULL),
                     PERI_ELUA);
    assert_string_equal(lua_tostring(machine.L, -1),
                        "test:3: attempt to get length of a nil value");
    lua_settop(machine.L, 0);
    machine.vm->alloc.limit_bytes = machine.vm->alloc.used_bytes + ((size_t)1 << 20);
    assert_int_equal(
        machine_run(&machine, "local t = {} while true do t[#t + 1] = {} end", BUDGET, NULL),
        PERI_EMEMORY);
    machine_deinit(&machine);
}

static int setup(void **state)
{
    (void)state;
    return env_uv_create(&env, NULL);
}

static int teardown(void **state)
{
    (void)state;
    env_close(env);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library),
        cmocka_unit_test(test_histories_look_equal),
        cmocka_unit_test(test_restored_replica_follows),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_expressions_mean_the_same),
        cmocka_unit_test(test_planted_leaks),
        cmocka_unit_test(test_budget_ends_at_the_same_place),
        cmocka_unit_test(test_slices_do_not_count),
        cmocka_unit_test(test_errors_come_through),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
