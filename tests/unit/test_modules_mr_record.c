/* Record and slice userdata in a bare Lua state: methods, staleness, no allocation. */
#include <stdarg.h>
#include <stddef.h>

#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "env_fixture.h"
#include "mr_record.h"
#include "vm/state.h"

static const struct mr_input lines = {.path = "in.txt", .format = MR_FORMAT_LINES};

static int setup(void **state)
{
    static const struct vm_embedded nothing[1];
    static struct vm_options options;
    struct vm_state *vm = NULL;
    options = (struct vm_options){.env = env, .bare = true, .embedded = nothing};
    if (vm_state_create(&vm, &options, NULL) != 0)
        return -1;
    lua_State *L = vm->L;
    luaL_openlibs(L);
    mr_records_create(L);
    lua_setglobal(L, "pool");
    luaL_requiref(L, "text", luaopen_perilune_mr_text, 1);
    luaL_dostring(L, "function fails(why, f, ...) local ok, err = pcall(f, ...)"
                     " assert(not ok, 'no error')"
                     " assert(err:find(why, 1, true), err) end "
                     "function list(it) local t = {} for v in it do t[#t + 1] = tostring(v) end"
                     " return table.concat(t, '|') end");
    lua_settop(L, 0);
    *state = L;
    return 0;
}

static int teardown(void **state)
{
    vm_state_close(vm_state_of(*state));
    return 0;
}

/* Pushes the next userdata of the pool at index 1, showing record. */
static void push_record(lua_State *L, const struct mr_record *record)
{
    struct mr_records *pool = mr_records_at(L, 1);
    *mr_records_next(pool) = *record;
    mr_records_push(L, pool, 1);
}

/* Calls the chunk with a record of text as its argument. */
static void with_record(lua_State *L, const struct mr_record *record, const char *chunk)
{
    lua_getglobal(L, "pool");
    if (luaL_loadstring(L, chunk) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    push_record(L, record);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(L, -1));
    lua_settop(L, 0);
}

static struct mr_record record_of(const char *text, const struct mr_input *input)
{
    struct peri_slice data = peri_slice_of(text, strlen(text));
    return (struct mr_record){.data = data, .value = data, .offset = 7, .input = input};
}

static void run(lua_State *L, const char *text, const struct mr_input *input, const char *chunk)
{
    struct mr_record record = record_of(text, input);
    with_record(L, &record, chunk);
}

static void test_bytes(void **state)
{
    run(*state, "Hello, World 42", &lines,
        "local r = ... "
        "assert(r:str() == 'Hello, World 42' and tostring(r) == r:str())"
        "assert(#r == 15 and r:len() == 15)"
        "assert(r:sub(1, 5) == 'Hello' and r:sub(-2) == '42' and r:sub(0, 0) == '')"
        "assert(r:sub(-100, 100) == r:str() and r:sub(9, 3) == '' and r:sub(3, -100) == '')"
        "assert(r:lower() == 'hello, world 42')"
        "local a, b = r:find('World') assert(a == 8 and b == 12)"
        "assert(r:find('o', 6) == 9 and r:find('o', -100) == 5 and r:find('%') == nil)"
        "assert(r:find('', 16) == 16 and r:find('', 17) == nil)"
        "assert(r:bytes() == 72 and select('#', r:bytes(1, -1)) == 15)"
        "assert(r:file() == 'in.txt' and r:offset() == 7 and r:key() == nil)"
        "assert(r:value() == r:str())"
        "fails('no method \\'gmatch\\'', function() return r:gmatch('x') end)");
}

static void test_sub_is_string_sub(void **state)
{
    run(*state, "abcde", &lines,
        "local r = ... for i = -8, 8 do for j = -8, 8 do "
        "assert(r:sub(i, j) == ('abcde'):sub(i, j), i .. ' ' .. j) "
        "assert(select('#', r:bytes(i, j)) == select('#', ('abcde'):byte(i, j))) end end");
}

static void test_words_and_pieces(void **state)
{
    run(*state, "it's a  day_1\tx", &lines,
        "local r = ... "
        "assert(list(r:words()) == 'it|s|a|day|x')"
        "assert(list(r:words(\"%a'\")) == \"it's|a|day|x\")"
        "assert(list(r:words('%w_')) == 'it|s|a|day_1|x')"
        "assert(list(r:slices()) == 'it|s|a|day|x')"
        "assert(list(r:split(' ')) == \"it's|a||day_1\\tx\")"
        "assert(list(r:split()) == \"it's|a|day_1|x\")"
        "assert(list(r:split('  ')) == \"it's a|day_1\\tx\")"
        "fails('separator is empty', r.split, r, '')"
        "fails('a set needs', r.words, r, '')");
}

static void test_nested_loops(void **state)
{
    run(*state, "a b c", &lines,
        "local r, t = ..., {} "
        "for x in r:words() do for y in r:words() do t[#t + 1] = x .. y end end "
        "assert(table.concat(t, ' ') == 'aa ab ac ba bb bc ca cb cc')"
        "for x in r:words() do break end "
        "assert(list(r:words()) == 'a|b|c')"
        "for s in r:slices() do assert(list(s:words()) == s:str()) end");
}

static void test_fields(void **state)
{
    run(*state, " one 2  3.5 x", &lines,
        "local r = ... "
        "assert(r:field(1) == 'one' and r:field(3) == '3.5' and r:field(9) == nil)"
        "assert(r:field(2, ' ') == 'one' and r:field(1, ' ') == '')"
        "assert(math.type(r:num(2)) == 'integer' and r:num(3) == 3.5 and r:num(1) == nil)"
        "local a, b, c = r:fields(nil, 3, 1, 8) "
        "assert(a == '3.5' and b == 'one' and c == nil)"
        "a, b = r:fields(' ', 2, 2) assert(a == 'one' and b == 'one')"
        "fails('count from 1', r.field, r, 0)"
        "fails('header', r.field, r, 'name')");
    run(*state, " -12 ", &lines, "assert((...):num() == -12)");
}

static void test_csv_fields(void **state)
{
    static const struct peri_slice names[] = {{"id", 2}, {"full name", 9}, {"n", 1}};
    static const struct mr_input csv = {.path = "in.csv",
                                        .format = MR_FORMAT_CSV,
                                        .separator = ',',
                                        .names = names,
                                        .name_count = 3};
    run(*state, "1,\"Lovelace, \"\"Ada\"\"\",\"42\",", &csv,
        "local r = ... "
        "assert(r:field(2) == 'Lovelace, \"Ada\"' and r:field('full name') == r:field(2))"
        "assert(r:num('n') == 42 and r:num(1) == 1 and r:field(4) == '')"
        "assert(list(r:split()) == '1|Lovelace, \"Ada\"|42|')"
        "local n, id = r:fields(nil, 'n', 'id') assert(n == '42' and id == '1')"
        "fails(\"in.csv has no column 'x'\", r.field, r, 'x')");
}

static void test_keys(void **state)
{
    static const struct mr_input tsv = {.path = "in.tsv", .format = MR_FORMAT_TSV};
    struct mr_record record = record_of("k\tv w\tz", &tsv);
    record.key = peri_slice_of(record.data.data, 1);
    record.value = peri_slice_of(record.data.data + 2, 5);
    record.has_key = true;
    with_record(*state, &record,
                "local r = ... assert(r:key() == 'k' and r:value() == 'v w\\tz')"
                "assert(r:field(2) == 'v w' and list(r:split()) == 'k|v w|z')");
}

static void test_json(void **state)
{
    run(*state, "{\"a\":{\"b\":[10,{\"c\":\"x\"}],\"n\":null},\"f\":1.5,\"t\":true}", &lines,
        "local r = ... "
        "assert(r:json('a.b[0]') == 10 and r:json('a.b[1].c') == 'x')"
        "assert(r:json('a.b[7]') == nil and r:json('zz.y') == nil and r:json('a.n') == nil)"
        "assert(r:json('f') == 1.5 and r:json('t') == true)"
        "local all = r:json() assert(all.a.b[2].c == 'x' and #all.a.b == 2)"
        "for _, p in ipairs{'.a', 'a.', 'a..b', 'a[', 'a[]', 'a[x]', 'a[1', 'a[0]b', "
        "'[99999999999]'} do"
        " fails('is no path', r.json, r, p) end");
    run(*state, "{\"a\":", &lines,
        "fails('in.txt: record at byte 7 is not JSON', (...).json, ...)");
}

static void test_strings_have_the_same_functions(void **state)
{
    lua_State *L = *state;
    if (luaL_dostring(L, "assert(list(text.words('a-b')) == 'a|b' and text.field('x y', 2) == 'y')"
                         "assert(list(text.split('a,b', ',')) == 'a|b' and text.num('0x10') == nil)"
                         "assert(text.json('[1]', '[0]') == 1 and text.lower('AB') == 'ab')"
                         "local it = text.slices(('ab'):rep(30) .. ' c') collectgarbage() "
                         "assert(#it():str() == 60)"
                         "fails('record expected', text.key, 'x')"
                         "fails('string expected', text.words, {})"))
        fail_msg("%s", lua_tostring(L, -1));
}

/* Whatever outlives its record says so, instead of showing other bytes. */
static void test_stale(void **state)
{
    lua_State *L = *state;
    run(L, "one two", &lines, "local r = ... kept = r; it = r:words(); it() slice = r:slices()()");
    run(L, "three", &lines,
        "local r = ... "
        "fails('stale record (keep rec:str() instead)', kept.str, kept)"
        "fails('stale record', function() return #kept end)"
        "fails('stale iterator', it)"
        "fails('stale slice', slice.str, slice)"
        "kept = r assert(kept:str() == 'three')");
    lua_getglobal(L, "pool");
    mr_records_retire(mr_records_at(L, 1));
    lua_settop(L, 0);
    assert_int_equal(luaL_dostring(L, "fails('stale record', kept.str, kept)"), LUA_OK);
}

static int l_slice_of(lua_State *L)
{
    struct peri_slice bytes;
    lua_pushboolean(L, mr_record_slice(L, 1, &bytes));
    lua_pushlstring(L, lua_toboolean(L, -1) ? bytes.data : "",
                    lua_toboolean(L, -1) ? bytes.size : 0);
    return 2;
}

static void test_slices_as_arguments(void **state)
{
    lua_State *L = *state;
    lua_register(L, "slice_of", l_slice_of);
    run(L, "one two", &lines,
        "local r = ... "
        "local ok, s = slice_of(r) assert(ok and s == 'one two')"
        "for w in r:slices() do ok, last = slice_of(w) end assert(ok and last == 'two')"
        "ok = slice_of('x') assert(not ok) ok = slice_of(io.stdout) assert(not ok)"
        "kept = r; slice = r:slices()()");
    run(L, "x", &lines,
        "fails('stale record', slice_of, kept) fails('stale slice', slice_of, slice)");
}

static void test_loops_over_records_do_not_allocate(void **state)
{
    lua_State *L = *state;
    static const char chunk[] =
        "local r = ... for w in r:words() do end for w in r:split(' ') do end"
        " for w in r:slices() do end";
    for (int i = 0; i < 20; i++)
        run(L, "a b c", &lines, chunk);
    lua_getglobal(L, "pool");
    assert_int_equal(luaL_loadstring(L, chunk), LUA_OK);
    lua_gc(L, LUA_GCCOLLECT);
    lua_gc(L, LUA_GCSTOP);
    int before = lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB);
    struct mr_record record = record_of("a b c", &lines);
    for (int i = 0; i < 1000; i++) {
        lua_pushvalue(L, 2);
        push_record(L, &record);
        lua_call(L, 1, 0);
    }
    int after = lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB);
    lua_gc(L, LUA_GCRESTART);
    lua_settop(L, 0);
    assert_in_range(after - before, 0, 999); /* less than a byte for each record */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sub_is_string_sub, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_and_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nested_loops, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_csv_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_json, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strings_have_the_same_functions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slices_as_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loops_over_records_do_not_allocate, setup, teardown),
    };
    return cmocka_run_group_tests(tests, open_env, close_env);
}
