#include "mr_blame.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

enum { FIELDS_MAX = 16 };

/* ---- the message ---- */

/* Appends "key = value" of a field that is plain, at the top of the stack, to the list below it. */
static void add_field(lua_State *L, int list)
{
    bool is_plain = lua_type(L, -2) == LUA_TSTRING && !lua_istable(L, -1) &&
                    !lua_isfunction(L, -1) && !lua_isuserdata(L, -1) && !lua_isthread(L, -1);
    if (!is_plain || lua_rawlen(L, list) >= FIELDS_MAX)
        return;
    const char *quote = lua_type(L, -1) == LUA_TSTRING ? "\"" : "";
    const char *value = luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "%s = %s%s%s", lua_tostring(L, -3), quote, value, quote);
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
    lua_pop(L, 1);
}

/* Sorts the list of strings at the top: the order of lua_next is another one in every run. */
static void sort_fields(lua_State *L)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 2; i <= count; i++) {
        for (lua_Integer j = i; j > 1; j--) {
            lua_rawgeti(L, -1, j - 1);
            lua_rawgeti(L, -2, j);
            bool is_sorted = strcmp(lua_tostring(L, -2), lua_tostring(L, -1)) <= 0;
            lua_rawseti(L, -3, is_sorted ? j : j - 1);
            lua_rawseti(L, -2, is_sorted ? j - 1 : j);
        }
    }
}

static const char *push_fields(lua_State *L, int index)
{
    luaL_checkstack(L, 8, NULL);
    lua_newtable(L);
    int list = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        add_field(L, list);
    sort_fields(L);
    luaL_Buffer text;
    lua_Integer count = (lua_Integer)lua_rawlen(L, list);
    luaL_buffinit(L, &text);
    luaL_addstring(&text, count > 0 ? "(error object is a table: { " : "(error object is a table");
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, list, i);
        luaL_addvalue(&text);
        luaL_addstring(&text, i < count ? ", " : " }");
    }
    luaL_addstring(&text, count > 0 ? ")" : " value)");
    luaL_pushresult(&text);
    return lua_tostring(L, -1);
}

const char *mr_blame_message(lua_State *L, int index)
{
    if (lua_isstring(L, index) || luaL_getmetafield(L, index, "__tostring") != LUA_TNIL)
        return luaL_tolstring(L, index, NULL);
    if (lua_istable(L, index))
        return push_fields(L, index);
    return lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, index));
}

/* ---- the traceback ---- */

static bool is_ours(struct peri_slice line)
{
    static const char mark[] = "\t[C]:";
    return line.size >= sizeof mark - 1 && memcmp(line.data, mark, sizeof mark - 1) == 0;
}

struct peri_slice mr_blame_traceback(lua_State *L)
{
    static const char head[] = "stack traceback:";
    luaL_traceback(L, L, NULL, 1);
    const char *text = lua_tostring(L, -1);
    const char *first = NULL;
    const char *end = NULL;
    for (const char *line = strchr(text, '\n'); line != NULL;) {
        const char *next = strchr(line + 1, '\n');
        size_t size = next != NULL ? (size_t)(next - line) : strlen(line);
        if (!is_ours(peri_slice_of(line + 1, size - 1))) {
            first = first != NULL ? first : line;
            end = line + size;
        }
        line = next;
    }
    if (first == NULL)
        return peri_slice_of("", 0);
    lua_pushstring(L, head);
    lua_pushlstring(L, first, (size_t)(end - first));
    lua_concat(L, 2);
    lua_remove(L, -2);
    size_t size;
    text = lua_tolstring(L, -1, &size);
    return peri_slice_of(text, size);
}

/* ---- globals that are not there ---- */

static const char guard_key = 'g'; /* its address: the metatable that guards the globals */

/* What is no misspelling: programs ask for it to see which Lua they run in. */
static bool is_elsewhere(const char *name)
{
    static const char *const names[] = {"arg",     "bit",      "bit32", "debug",    "dofile",
                                        "getfenv", "io",       "jit",   "loadfile", "loadstring",
                                        "module",  "newproxy", "os",    "setfenv",  "unpack"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int l_unknown_global(lua_State *L)
{
    const char *path = lua_touserdata(L, lua_upvalueindex(1));
    lua_Debug caller;
    bool is_job = lua_type(L, 2) == LUA_TSTRING && lua_getstack(L, 1, &caller) != 0 &&
                  lua_getinfo(L, "S", &caller) != 0 && strcmp(caller.what, "main") == 0 &&
                  caller.source[0] == '@' && strcmp(caller.source + 1, path) == 0;
    if (is_job && !is_elsewhere(lua_tostring(L, 2)))
        return luaL_error(L, "there is no global '%s' (misspelt, or defined further down?)",
                          lua_tostring(L, 2));
    lua_pushnil(L);
    return 1;
}

void mr_blame_unknown_globals(lua_State *L, const char *path)
{
    lua_pushglobaltable(L);
    lua_createtable(L, 0, 1);
    lua_pushlightuserdata(L, (void *)path); /* read only */
    lua_pushcclosure(L, l_unknown_global, 1);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &guard_key);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

void mr_blame_release_globals(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &guard_key);
    lua_pushliteral(L, "__index");
    if (lua_rawget(L, -2) == LUA_TFUNCTION && lua_tocfunction(L, -1) == l_unknown_global) {
        lua_pushliteral(L, "__index");
        lua_pushnil(L);
        lua_rawset(L, -4);
    }
    lua_pop(L, 2);
}
