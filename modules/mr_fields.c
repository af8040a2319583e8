#include "mr_fields.h"

#include <lauxlib.h>

#include "mapreduce/csv.h"
#include "mapreduce/number.h"
#include "mapreduce/token.h"
#include "mr_scan.h"

/* A cursor over the fields of text, and pushes what it borrows. The separator is the argument, or
 * the input's (CSV, or TAB for tsv), or blanks. */
static struct mr_cursor check_fields(lua_State *L, const struct mr_text *text, int arg)
{
    const struct mr_input *input = mr_text_input(text);
    struct mr_cursor cursor = {.kind = MR_CURSOR_PIECES};
    if (!lua_isnoneornil(L, arg)) {
        struct peri_slice separator = mr_text_check_bytes(L, arg);
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
        cursor.of.words = mr_words_of(text->bytes, mr_text_push_class(L, peri_slice_of("%S", 2)));
    }
    return cursor;
}

int mr_fields_split(lua_State *L)
{
    struct mr_text text = mr_text_check(L);
    struct mr_cursor cursor = check_fields(L, &text, 2);
    return mr_scan_return(L, &text, cursor, false);
}

static lua_Integer column_of(lua_State *L, const struct mr_text *text, int arg)
{
    const struct mr_input *input = mr_text_input(text);
    struct peri_slice name = mr_text_check_bytes(L, arg);
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

int mr_fields_field(lua_State *L)
{
    struct mr_text text = mr_text_check(L);
    struct mr_csv_field field;
    if (!find_field(L, &text, check_column(L, &text, 2), 3, &field))
        return mr_text_push_nil(L);
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

int mr_fields_fields(lua_State *L)
{
    struct mr_text text = mr_text_check(L);
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
        return mr_text_push_nil(L);
    if (number.is_integer)
        lua_pushinteger(L, number.integer);
    else
        lua_pushnumber(L, number.number);
    return 1;
}

int mr_fields_num(lua_State *L)
{
    struct mr_text text = mr_text_check(L);
    if (lua_isnoneornil(L, 2))
        return push_number(L, text.bytes);
    struct mr_csv_field field;
    if (!find_field(L, &text, check_column(L, &text, 2), 3, &field))
        return mr_text_push_nil(L);
    if (!field.has_quotes)
        return push_number(L, field.raw);
    mr_push_field(L, &field);
    return push_number(L, mr_text_check_bytes(L, -1));
}
