/* The methods of records and slices, which are functions on strings as well. They are written once,
 * on struct mr_text; check_text says what lends the bytes. */
#include "mr_text.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "mapreduce/csv.h"
#include "mapreduce/number.h"
#include "mapreduce/token.h"
#include "mr_record.h"
#include "mr_scan.h"

enum { CLASSES_MAX = 64 }; /* compiled sets that are kept; more are compiled again each time */

/* ---- arguments ---- */

static struct mr_text text_of_record(lua_State *L, struct mr_record_box *box)
{
    if (!box->is_live)
        mr_stale_error(L, "record");
    return (struct mr_text){box->record.data, box, box->generation, true};
}

static struct mr_text text_of_slice(lua_State *L, const struct mr_slice_box *slice)
{
    if (slice->box != NULL && slice->box->generation != slice->generation)
        mr_stale_error(L, "slice");
    return (struct mr_text){slice->bytes, (struct mr_record_box *)slice->box, slice->generation,
                            false};
}

/* The record, slice or string that is the first argument. */
static struct mr_text check_text(lua_State *L)
{
    struct mr_record_box *box = mr_record_box(L, 1);
    if (box != NULL)
        return text_of_record(L, box);
    const struct mr_slice_box *slice = mr_slice_box(L, 1);
    if (slice != NULL)
        return text_of_slice(L, slice);
    size_t size;
    const char *data = luaL_checklstring(L, 1, &size);
    return (struct mr_text){peri_slice_of(data, size), NULL, 0, false};
}

static const struct mr_record *check_record(lua_State *L)
{
    struct mr_text text = check_text(L);
    luaL_argcheck(L, text.is_record, 1, "record expected");
    return &text.box->record;
}

/* What the record's input says about its fields, or NULL for slices and strings. */
static const struct mr_input *input_of(const struct mr_text *text)
{
    return text->is_record ? text->box->record.input : NULL;
}

static struct peri_slice check_bytes(lua_State *L, int arg)
{
    struct peri_slice bytes;
    bytes.data = lua_tolstring(L, arg, &bytes.size);
    if (bytes.data == NULL)
        bytes.data = luaL_checklstring(L, arg, &bytes.size); /* raises */
    return bytes;
}

/* ---- sets of characters ---- */

/* Pushes the userdata of a set, compiled once, and returns it. */
static const struct mr_class *push_class(lua_State *L, struct peri_slice set)
{
    mr_push_slice(L, set);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, lua_upvalueindex(MR_UP_CLASSES)) == LUA_TUSERDATA) {
        lua_remove(L, -2);
        return lua_touserdata(L, -1);
    }
    lua_pop(L, 1);
    struct peri_error err = PERI_ERROR_INIT;
    struct mr_class *class = lua_newuserdatauv(L, sizeof *class, 0);
    if (mr_class_compile(class, set, &err) != 0)
        luaL_error(L, "%s", err.text);
    lua_Integer known = 0;
    if (lua_rawgeti(L, lua_upvalueindex(MR_UP_CLASSES), 1) == LUA_TNUMBER)
        known = lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (known < CLASSES_MAX) {
        lua_pushinteger(L, known + 1);
        lua_rawseti(L, lua_upvalueindex(MR_UP_CLASSES), 1);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, lua_upvalueindex(MR_UP_CLASSES));
    }
    lua_remove(L, -2);
    return class;
}

/* ---- fields ---- */

/* A cursor over the fields of text, and pushes what it borrows. The separator is the argument, or
 * the input's (CSV, or TAB for tsv), or blanks. */
static struct mr_cursor check_fields(lua_State *L, const struct mr_text *text, int arg)
{
    const struct mr_input *input = input_of(text);
    struct mr_cursor cursor = {.kind = MR_CURSOR_PIECES};
    if (!lua_isnoneornil(L, arg)) {
        struct peri_slice separator = check_bytes(L, arg);
        luaL_argcheck(L, separator.size > 0, arg, "separator is empty");
        cursor.of.pieces = mr_pieces_of(text->bytes, separator);
        lua_pushvalue(L, arg);
    } else if (input != NULL && input->format == MR_FORMAT_CSV) {
        cursor.kind = MR_CURSOR_CSV;
        cursor.of.csv = mr_csv_fields_of(text->bytes, input->separator);
        lua_pushnil(L);
    } else if (input != NULL && input->format == MR_FORMAT_TSV) {
        cursor.of.pieces = mr_pieces_of(text->bytes, peri_slice_of("\t", 1));
        lua_pushnil(L);
    } else {
        cursor.kind = MR_CURSOR_WORDS;
        cursor.of.words = mr_words_of(text->bytes, push_class(L, peri_slice_of("%S", 2)));
    }
    return cursor;
}

/* ---- iterators ---- */

static int iterate_words(lua_State *L, bool gives_slices)
{
    struct mr_text text = check_text(L);
    const struct mr_class *word = &mr_class_letters;
    if (lua_isnoneornil(L, 2))
        lua_pushnil(L);
    else
        word = push_class(L, check_bytes(L, 2));
    struct mr_cursor cursor = {.kind = MR_CURSOR_WORDS, .of.words = mr_words_of(text.bytes, word)};
    return mr_scan_return(L, &text, cursor, gives_slices);
}

static int l_words(lua_State *L)
{
    struct mr_record_box *box = mr_record_box(L, 1);
    bool goes_on = box != NULL && box->is_live && lua_isnoneornil(L, 2) && mr_scan_goes_on(L, box);
    return goes_on ? 1 : iterate_words(L, false);
}

static int l_slices(lua_State *L)
{
    return iterate_words(L, true);
}

static int l_lines(lua_State *L)
{
    struct mr_text text = check_text(L);
    struct peri_slice needle = peri_slice_of("", 0);
    if (!lua_isnoneornil(L, 2))
        needle = check_bytes(L, 2);
    lua_settop(L, 2); /* the needle is borrowed */
    struct mr_cursor cursor = {.kind = MR_CURSOR_LINES,
                               .of.lines = mr_lines_of(text.bytes, needle)};
    return mr_scan_return(L, &text, cursor, false);
}

static int l_split(lua_State *L)
{
    struct mr_text text = check_text(L);
    struct mr_cursor cursor = check_fields(L, &text, 2);
    return mr_scan_return(L, &text, cursor, false);
}

static lua_Integer column_of(lua_State *L, const struct mr_text *text, int arg)
{
    const struct mr_input *input = input_of(text);
    struct peri_slice name = check_bytes(L, arg);
    if (input == NULL || input->names == NULL)
        return luaL_argerror(L, arg, "names need an input with a header");
    for (size_t i = 0; i < input->name_count; i++)
        if (peri_slice_compare(input->names[i], name) == 0)
            return (lua_Integer)i + 1;
    return luaL_error(L, "%s has no column '%s'", input->path, name.data);
}

/* A field's number, given as such or by the column's name. */
static lua_Integer check_column(lua_State *L, const struct mr_text *text, int arg)
{
    if (lua_type(L, arg) == LUA_TSTRING)
        return column_of(L, text, arg);
    lua_Integer n = luaL_checkinteger(L, arg);
    luaL_argcheck(L, n >= 1, arg, "fields count from 1");
    return n;
}

static bool find_field(lua_State *L, const struct mr_text *text, lua_Integer n, int separator,
                       struct mr_csv_field *field)
{
    struct mr_cursor cursor = check_fields(L, text, separator);
    while (mr_cursor_next(&cursor, field))
        if (--n == 0)
            return true;
    return false;
}

/* An explicit nil: no value at all would shorten the argument list of the call around it. */
static int push_nil(lua_State *L)
{
    lua_pushnil(L);
    return 1;
}

static int l_field(lua_State *L)
{
    struct mr_text text = check_text(L);
    struct mr_csv_field field;
    if (!find_field(L, &text, check_column(L, &text, 2), 3, &field))
        return push_nil(L);
    mr_push_field(L, &field);
    return 1;
}

/* Fills the results, nil so far from `first` on, that ask for the field n. */
static void set_results(lua_State *L, const struct mr_csv_field *field, lua_Integer n, int count,
                        int first)
{
    for (int i = 0; i < count; i++) {
        if (lua_tointeger(L, 3 + i) == n) {
            mr_push_field(L, field);
            lua_replace(L, first + i);
        }
    }
}

static int l_fields(lua_State *L)
{
    struct mr_text text = check_text(L);
    int count = lua_gettop(L) - 2;
    luaL_argcheck(L, count > 0, 3,
                  "no column given, as in rec:fields(nil, 1, 3) or rec:fields(\",\", 1, 3)");
    luaL_checkstack(L, count + 8, "too many fields");
    lua_Integer last = 0;
    for (int i = 0; i < count; i++) {
        lua_Integer n = check_column(L, &text, 3 + i);
        lua_pushinteger(L, n);
        lua_replace(L, 3 + i);
        last = n > last ? n : last;
    }
    struct mr_cursor cursor = check_fields(L, &text, 2);
    int first = lua_gettop(L) + 1;
    lua_settop(L, first + count - 1);
    struct mr_csv_field field;
    for (lua_Integer n = 1; n <= last && mr_cursor_next(&cursor, &field); n++)
        set_results(L, &field, n, count, first);
    return count;
}

static int push_number(lua_State *L, struct peri_slice bytes)
{
    struct mr_number number;
    if (!mr_number_parse(bytes, &number))
        return push_nil(L);
    if (number.is_integer)
        lua_pushinteger(L, number.integer);
    else
        lua_pushnumber(L, number.number);
    return 1;
}

static int l_num(lua_State *L)
{
    struct mr_text text = check_text(L);
    if (lua_isnoneornil(L, 2))
        return push_number(L, text.bytes);
    struct mr_csv_field field;
    if (!find_field(L, &text, check_column(L, &text, 2), 3, &field))
        return push_nil(L);
    if (!field.has_quotes)
        return push_number(L, field.raw);
    mr_push_field(L, &field);
    return push_number(L, check_bytes(L, -1));
}

/* ---- bytes ---- */

static int l_str(lua_State *L)
{
    mr_push_slice(L, check_text(L).bytes);
    return 1;
}

static int l_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_text(L).bytes.size);
    return 1;
}

/* Bytes i to j as string.sub counts them. */
static struct peri_slice check_range(lua_State *L, struct peri_slice bytes, lua_Integer from,
                                     lua_Integer to)
{
    lua_Integer size = (lua_Integer)bytes.size;
    lua_Integer i = luaL_optinteger(L, 2, from);
    lua_Integer j = luaL_optinteger(L, 3, to);
    i = i > 0 ? i : i == 0 || i < -size ? 1 : size + i + 1;
    j = j > size ? size : j >= 0 ? j : j < -size ? 0 : size + j + 1;
    return i > j ? peri_slice_of("", 0) : peri_slice_of(bytes.data + i - 1, (size_t)(j - i + 1));
}

static int l_sub(lua_State *L)
{
    mr_push_slice(L, check_range(L, check_text(L).bytes, 1, -1));
    return 1;
}

static int l_bytes(lua_State *L)
{
    enum { BYTES_MAX = 10000 };
    struct mr_text text = check_text(L);
    lua_Integer first = luaL_optinteger(L, 2, 1);
    struct peri_slice range = check_range(L, text.bytes, 1, first);
    luaL_argcheck(L, range.size <= BYTES_MAX, 3, "too many bytes");
    luaL_checkstack(L, (int)range.size, "too many bytes");
    for (size_t i = 0; i < range.size; i++)
        lua_pushinteger(L, (unsigned char)range.data[i]);
    return (int)range.size;
}

static size_t find_from(lua_State *L, struct peri_slice bytes, struct peri_slice needle)
{
    lua_Integer size = (lua_Integer)bytes.size;
    lua_Integer init = luaL_optinteger(L, 3, 1);
    init = init > 0 ? init : init == 0 || init < -size ? 1 : size + init + 1;
    return init > size + 1 ? SIZE_MAX : mr_find(bytes, needle, (size_t)init - 1);
}

static int l_find(lua_State *L)
{
    struct mr_record_box *box = mr_record_box(L, 1);
    struct peri_slice needle = check_bytes(L, 2);
    bool is_whole = box != NULL && box->is_live && lua_gettop(L) == 2;
    size_t at = is_whole ? mr_seek_find(&box->pool->seek, &box->record, needle)
                         : find_from(L, check_text(L).bytes, needle);
    if (at == SIZE_MAX)
        return push_nil(L);
    lua_pushinteger(L, (lua_Integer)at + 1);
    lua_pushinteger(L, (lua_Integer)(at + needle.size));
    return 2;
}

static int l_lower(lua_State *L)
{
    struct mr_text text = check_text(L);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, text.bytes.size);
    mr_lower(text.bytes, out);
    luaL_pushresultsize(&buffer, text.bytes.size);
    return 1;
}

static int l_json(lua_State *L)
{
    enum { WHERE_SIZE = 512 };
    struct mr_text text = check_text(L);
    const struct mr_input *input = input_of(&text);
    struct peri_slice path = lua_isnoneornil(L, 2) ? peri_slice_of("", 0) : check_bytes(L, 2);
    char where[WHERE_SIZE] = "text";
    if (input != NULL)
        (void)snprintf(where, sizeof where, "%s: record at byte %" PRIu64, input->path,
                       text.box->record.offset);
    mr_json_push(L, text.bytes, path, where);
    return 1;
}

/* ---- records only ---- */

static int l_key(lua_State *L)
{
    const struct mr_record *record = check_record(L);
    if (!record->has_key)
        return push_nil(L);
    mr_push_slice(L, record->key);
    return 1;
}

static int l_value(lua_State *L)
{
    mr_push_slice(L, check_record(L)->value);
    return 1;
}

static int l_file(lua_State *L)
{
    lua_pushstring(L, check_record(L)->input->path);
    return 1;
}

static int l_offset(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_record(L)->offset);
    return 1;
}

static const luaL_Reg methods[] = {
    {"str", l_str},     {"len", l_len},       {"words", l_words}, {"slices", l_slices},
    {"lines", l_lines}, {"split", l_split},   {"field", l_field}, {"fields", l_fields},
    {"num", l_num},     {"sub", l_sub},       {"bytes", l_bytes}, {"find", l_find},
    {"lower", l_lower}, {"json", l_json},     {"key", l_key},     {"value", l_value},
    {"file", l_file},   {"offset", l_offset}, {NULL, NULL},
};

void mr_text_set_methods(lua_State *L)
{
    luaL_setfuncs(L, methods, MR_UP_COUNT);
}

int luaopen_perilune_mr_text(lua_State *L)
{
    mr_record_push_types(L);
    lua_newtable(L);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    lua_newtable(L);
    mr_text_set_methods(L);
    return 1;
}
