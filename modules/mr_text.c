/* The methods of records and slices, which are functions on strings as well. They are written once,
 * on struct mr_text; mr_text_check says what lends the bytes. */
#include "mr_text.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "mapreduce/token.h"
#include "mr_fields.h"
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

struct mr_text mr_text_check(lua_State *L)
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
    struct mr_text text = mr_text_check(L);
    luaL_argcheck(L, text.is_record, 1, "record expected");
    return &text.box->record;
}

struct peri_slice mr_text_check_bytes(lua_State *L, int arg)
{
    struct peri_slice bytes;
    bytes.data = lua_tolstring(L, arg, &bytes.size);
    if (bytes.data == NULL)
        bytes.data = luaL_checklstring(L, arg, &bytes.size); /* raises */
    return bytes;
}

/* ---- sets of characters ---- */

const struct mr_class *mr_text_push_class(lua_State *L, struct peri_slice set)
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

/* ---- iterators ---- */

static int iterate_words(lua_State *L, bool gives_slices)
{
    struct mr_text text = mr_text_check(L);
    const struct mr_class *word = &mr_class_letters;
    if (lua_isnoneornil(L, 2))
        lua_pushnil(L);
    else
        word = mr_text_push_class(L, mr_text_check_bytes(L, 2));
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
    struct mr_text text = mr_text_check(L);
    struct peri_slice needle = peri_slice_of("", 0);
    if (!lua_isnoneornil(L, 2))
        needle = mr_text_check_bytes(L, 2);
    lua_settop(L, 2); /* the needle is borrowed */
    struct mr_cursor cursor = {.kind = MR_CURSOR_LINES,
                               .of.lines = mr_lines_of(text.bytes, needle)};
    return mr_scan_return(L, &text, cursor, false);
}

/* ---- bytes ---- */

static int l_str(lua_State *L)
{
    mr_push_slice(L, mr_text_check(L).bytes);
    return 1;
}

static int l_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)mr_text_check(L).bytes.size);
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
    mr_push_slice(L, check_range(L, mr_text_check(L).bytes, 1, -1));
    return 1;
}

static int l_bytes(lua_State *L)
{
    enum { BYTES_MAX = 10000 };
    struct mr_text text = mr_text_check(L);
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
    struct peri_slice needle = mr_text_check_bytes(L, 2);
    bool is_whole = box != NULL && box->is_live && lua_gettop(L) == 2;
    size_t at = is_whole ? mr_seek_find(&box->pool->seek, &box->record, needle)
                         : find_from(L, mr_text_check(L).bytes, needle);
    if (at == SIZE_MAX)
        return mr_text_push_nil(L);
    lua_pushinteger(L, (lua_Integer)at + 1);
    lua_pushinteger(L, (lua_Integer)(at + needle.size));
    return 2;
}

static int l_lower(lua_State *L)
{
    struct mr_text text = mr_text_check(L);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, text.bytes.size);
    mr_lower(text.bytes, out);
    luaL_pushresultsize(&buffer, text.bytes.size);
    return 1;
}

static int l_json(lua_State *L)
{
    enum { WHERE_SIZE = 512 };
    struct mr_text text = mr_text_check(L);
    const struct mr_input *input = mr_text_input(&text);
    struct peri_slice path =
        lua_isnoneornil(L, 2) ? peri_slice_of("", 0) : mr_text_check_bytes(L, 2);
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
        return mr_text_push_nil(L);
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
    {"str", l_str},
    {"len", l_len},
    {"words", l_words},
    {"slices", l_slices},
    {"lines", l_lines},
    {"split", mr_fields_split},
    {"field", mr_fields_field},
    {"fields", mr_fields_fields},
    {"num", mr_fields_num},
    {"sub", l_sub},
    {"bytes", l_bytes},
    {"find", l_find},
    {"lower", l_lower},
    {"json", l_json},
    {"key", l_key},
    {"value", l_value},
    {"file", l_file},
    {"offset", l_offset},
    {NULL, NULL},
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
