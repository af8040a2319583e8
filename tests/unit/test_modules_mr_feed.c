/* Words that are found ahead, over line ends: the same that a search of each record by itself
 * finds, whatever map does with the records. */
#include "mr_fixture.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "mapreduce/reader.h"
#include "mapreduce/token.h"
#include "mr_record.h"
#include "vm/state.h"

/* What a map function may do to a record's words; all compares with string.gmatch. */
static const char map_text[] =
    "local r, way, needle = ...\n"
    "local function all(iterator) local t = {} for w in iterator do t[#t + 1] = w end\n"
    "  return table.concat(t, '|') end\n"
    "local function same(set, pattern)\n"
    "  local got, want = all(r:words(set)), all(r:str():gmatch(pattern))\n"
    "  assert(got == want, ('%s at %d: %s, not %s'):format(r:file(), r:offset(), got, want)) end\n"
    "local function finds(needle)\n"
    "  local at, to = r:find(needle)\n"
    "  local from, till = r:str():find(needle, 1, true)\n"
    "  assert(at == from and to == till, ('%s at %d: %s'):format(r:file(), r:offset(), at)) end\n"
    "finds(needle)\n"
    "if way == 0 then return\n"
    "elseif way == 1 then for w in r:words() do return end\n"
    "elseif way == 2 then same(nil, '%a+') same(nil, '%a+')\n"
    "elseif way == 3 then same('%w', '%w+')\n"
    "elseif way == 4 and r:len() < 1000 then\n"
    "  local t, n = {}, 0\n"
    "  for w in r:words() do same(nil, '%a+') t[#t + 1] = w end\n"
    "  for w in r:str():gmatch '%a+' do n = n + 1 assert(t[n] == w) end\n"
    "  assert(n == #t)\n"
    "elseif way == 5 then\n"
    "  local one, other = r:words(), r:words()\n"
    "  assert(one() == other()) assert(one() == other()) assert(all(one) == all(other))\n"
    "elseif way == 6 then finds 'a' finds 'e' finds(needle)\n"
    "else same(nil, '%a+') end\n";

/* Often, hardly ever and never found; across line ends; over the limit of what is sought ahead. */
static const char *const needles[] = {
    "b",    "ab", "xyz", "w", "e\r",
    "a\nb", "\n", "",    "Q", "ab cab cab cab cab cab cab cab cab cab c"};
enum { NEEDLE_RECORDS = 150 }; /* so many records are asked for each */

enum { TEXT_SIZE = 400000, WAYS = 7, RECORD_MAX = 400 };

static char random_byte(uint64_t *seed)
{
    static const char others[] = "   \t,,.'-7";
    uint64_t choice = random_below(seed, 60);
    if (choice == 0)
        return '\n';
    if (choice < 12)
        return others[random_below(seed, sizeof others - 1)];
    return (char)((choice < 14 ? 'A' : 'a') + (char)random_below(seed, 26));
}

/* Lines of letters and others, some empty, some with CR, some too long; the last has no end. */
static void write_text(const char *path, uint64_t *seed)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    for (int i = 0; i < TEXT_SIZE; i++) {
        char byte = random_byte(seed);
        if (byte == '\n' && random_below(seed, 3) == 0)
            fputc('\r', file);
        fputc(byte, file);
        for (int more = byte == '\n' && random_below(seed, 400) == 0 ? RECORD_MAX : 0; more > 0;
             more--)
            fputc("ab c"[more % 4], file);
    }
    fputs("the end", file);
    assert_int_equal(fclose(file), 0);
}

static struct vm_state *open_state(struct env *env)
{
    static const struct vm_embedded nothing[1];
    static struct vm_options options;
    struct vm_state *vm = NULL;
    options = (struct vm_options){.env = env, .bare = true, .embedded = nothing};
    assert_int_equal(vm_state_create(&vm, &options, NULL), 0);
    luaL_openlibs(vm->L);
    mr_records_create(vm->L);
    assert_int_equal(luaL_loadstring(vm->L, map_text), LUA_OK);
    return vm;
}

/* As long as moves says that nothing has moved, records stand one behind the other. */
static void check_place(const struct mr_record *record, uint64_t *moves, const char **end)
{
    if (record->input->moves == *moves)
        assert_true(record->data.data >= *end);
    *moves = record->input->moves;
    *end = record->data.data + record->data.size;
}

/* Runs map over a range. The more seldom_ways, the more records in a row have their words asked for
 * once, which is the usual way. Returns how many records there were. */
static size_t map_range(struct fixture *fixture, const char *format, uint64_t offset,
                        uint64_t seldom_ways, uint64_t *seed)
{
    struct mr_split split = {fixture->path[0], offset, TEXT_SIZE - offset, 0};
    struct mr_reader_options options = {.record_max_bytes = RECORD_MAX};
    struct mr_reader *reader;
    struct peri_error err = PERI_ERROR_INIT;
    struct vm_state *vm = open_state(fixture->env);
    lua_State *L = vm->L;
    struct mr_records *pool = mr_records_at(L, 1);
    size_t records = 0;
    uint64_t moves = 0;
    const char *end = NULL;
    assert_int_equal(mr_format_parse(format, &options.format, NULL), 0);
    if (options.format.format == MR_FORMAT_CHUNK)
        options.record_max_bytes = 0;
    if (options.format.format == MR_FORMAT_CSV)
        split = (struct mr_split){fixture->path[0], 0, MR_SPLIT_TO_END, 0};
    assert_int_equal(mr_reader_open(&reader, fixture->env, &split, &options, &err), 0);
    for (int rc; (rc = mr_reader_next(reader, mr_records_next(pool), &err)) != 0;) {
        if (rc < 0) {
            assert_true(mr_reader_can_skip(reader));
            continue;
        }
        check_place(&pool->boxes[pool->current]->record, &moves, &end);
        records++;
        uint64_t way = random_below(seed, WAYS + seldom_ways);
        lua_pushvalue(L, 2);
        mr_records_push(L, pool, 1);
        lua_pushinteger(L, (lua_Integer)way);
        lua_pushstring(L, needles[records / NEEDLE_RECORDS % (sizeof needles / sizeof *needles)]);
        if (lua_pcall(L, 3, 0, 0) != LUA_OK)
            fail_msg("%s", lua_tostring(L, -1));
    }
    mr_records_retire(pool);
    mr_reader_close(reader);
    vm_state_close(vm);
    return records;
}

static void test_words_are_those_of_each_record(void **state)
{
    static const char *const formats[] = {"lines", "tsv", "csv", "chunk", "fixed:100"};
    struct fixture *fixture = *state;
    uint64_t seed = 20;
    write_text(fixture->path[0], &seed);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        for (uint64_t seldom = 2; seldom <= 200; seldom *= 10) {
            size_t records = map_range(fixture, formats[i], seldom * 500, seldom, &seed);
            bool is_long = strcmp(formats[i], "chunk") == 0;
            if (records < (is_long ? 5u : 1000u))
                fail_msg("%s: only %zu records", formats[i], records);
        }
    }
    unlink(fixture->path[0]);
}

/* Counts what the feed gave of lines, each of which is asked for its words once. */
static void test_lines_are_looked_at_ahead(void **state)
{
    struct fixture *fixture = *state;
    struct vm_state *vm = open_state(fixture->env);
    lua_State *L = vm->L;
    static const char text[] = "one two\r\n\nthree four five\nsix\n";
    struct mr_input input = {.path = "in", .lines_end = text + sizeof text - 1, .moves = 1};
    struct mr_records *pool = mr_records_at(L, 1);
    static const struct {
        size_t at, size;
        unsigned waiting; /* words behind the line's own */
        size_t clear; /* of the letter e, at the first place behind the line's start, or there */
    } lines[] = {{0, 7, 0, 7}, {9, 0, 4, 9}, {10, 15, 1, 13}, {26, 3, 0, 30}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct peri_slice data = peri_slice_of(text + lines[i].at, lines[i].size);
        *mr_records_next(pool) = (struct mr_record){.data = data, .input = &input};
        lua_pushvalue(L, 2);
        mr_records_push(L, pool, 1);
        lua_pushinteger(L, -1);
        lua_pushliteral(L, "e");
        if (lua_pcall(L, 3, 0, 0) != LUA_OK)
            fail_msg("%s", lua_tostring(L, -1));
        assert_int_equal(pool->feed.found - pool->feed.given, lines[i].waiting);
        assert_int_equal(pool->seek.clear - text, lines[i].clear);
    }
    mr_records_retire(pool);
    vm_state_close(vm);
}

/* Wherever it stands, in lines that begin wherever in the pieces that are searched. */
static void test_no_place_is_missed(void **state)
{
    (void)state;
    enum { LINE = 50, LINES = 50, PLACES = LINE * LINES };
    char text[PLACES];
    struct mr_input input = {.path = "in", .lines_end = text + PLACES, .moves = 1};
    struct peri_slice needle = peri_slice_of("a place", 7);
    for (size_t place = 0; place + needle.size <= PLACES; place++) {
        struct mr_seek seek = {0};
        memset(text, 'a', sizeof text);
        memcpy(text + place, needle.data, needle.size);
        for (size_t at = LINE - 1; at < PLACES; at += LINE)
            text[at] = '\n';
        for (size_t at = 0; at < PLACES; at += LINE) {
            struct peri_slice line = peri_slice_of(text + at, LINE - 1);
            struct mr_record record = {.data = line, .input = &input};
            assert_int_equal(mr_seek_find(&seek, &record, needle), mr_find(line, needle, 0));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_words_are_those_of_each_record, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_lines_are_looked_at_ahead, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(test_no_place_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
