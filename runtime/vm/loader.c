#include "vm/loader.h"

#include <lauxlib.h>

#include <stdbool.h>
#include <string.h>

#include "vm/buffer.h"

/* The stock function kept as the first upvalue; called in our frame, it sees our arguments. */
static int call_stock(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* ---- require ---- */

enum { REQUIRE_NAME = 1, REQUIRE_LOADED, REQUIRE_SEARCHERS };

/* Leaves the loader and its data on the stack. */
static void find_loader(lua_State *L, const char *name)
{
    luaL_Buffer tried;
    lua_getfield(L, lua_upvalueindex(1), "searchers");
    if (lua_type(L, REQUIRE_SEARCHERS) != LUA_TTABLE)
        luaL_error(L, "'package.searchers' must be a table");
    luaL_buffinit(L, &tried);
    for (lua_Integer i = 1;; i++) {
        luaL_addstring(&tried, "\n\t");
        if (lua_rawgeti(L, REQUIRE_SEARCHERS, i) == LUA_TNIL) {
            lua_pop(L, 1);
            luaL_buffsub(&tried, 2);
            luaL_pushresult(&tried);
            luaL_error(L, "module '%s' not found:%s", name, lua_tostring(L, -1));
        }
        lua_pushstring(L, name);
        lua_call(L, 1, 2);
        if (lua_isfunction(L, -2))
            return;
        if (lua_isstring(L, -2)) {
            lua_pop(L, 1);
            luaL_addvalue(&tried);
        } else {
            lua_pop(L, 2);
            luaL_buffsub(&tried, 2);
        }
    }
}

/* The stack ends with the loader's data and its result. */
static int require_finish(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    const char *name = lua_tostring(L, REQUIRE_NAME);
    if (!lua_isnil(L, -1))
        lua_setfield(L, REQUIRE_LOADED, name);
    else
        lua_pop(L, 1);
    if (lua_getfield(L, REQUIRE_LOADED, name) == LUA_TNIL) {
        lua_pushboolean(L, true);
        lua_copy(L, -1, -2);
        lua_setfield(L, REQUIRE_LOADED, name);
    }
    lua_rotate(L, -2, 1);
    return 2;
}

int vm_require(lua_State *L)
{
    const char *name = luaL_checkstring(L, REQUIRE_NAME);
    lua_settop(L, REQUIRE_NAME);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, REQUIRE_LOADED, name);
    if (lua_toboolean(L, -1))
        return 1;
    lua_pop(L, 1);
    find_loader(L, name);
    lua_rotate(L, -2, 1);
    lua_pushvalue(L, REQUIRE_NAME);
    lua_pushvalue(L, -3);
    lua_callk(L, 2, 1, 0, require_finish);
    return require_finish(L, LUA_OK, 0);
}

/* ---- load ---- */

enum { LOAD_CHUNK = 1, LOAD_NAME, LOAD_MODE, LOAD_SLOT = 6, LOAD_STATE };

struct load_call {
    struct vm_buffer text;
    int argument_count; /* as stock counts them: an absent env is not a nil env */
};

static int load_fail(lua_State *L)
{
    luaL_pushfail(L);
    lua_insert(L, -2);
    return 2;
}

/* All pieces are there: what stock does with a string, under the name that it gives to readers. */
static int load_text(lua_State *L, struct load_call *call)
{
    int count = call->argument_count;
    vm_buffer_push(L, &call->text);
    lua_replace(L, LOAD_CHUNK);
    if (lua_isnoneornil(L, LOAD_NAME)) {
        lua_pushliteral(L, "=(load)");
        lua_replace(L, LOAD_NAME);
    }
    lua_settop(L, count > LOAD_NAME ? count : LOAD_NAME);
    return call_stock(L);
}

static int load_continue(lua_State *L, int status, lua_KContext context)
{
    struct load_call *call = (struct load_call *)context;
    for (;;) {
        if (status != LUA_OK && status != LUA_YIELD)
            return load_fail(L);
        if (lua_gettop(L) > LOAD_STATE) {
            size_t size = 0;
            const char *piece = lua_tolstring(L, -1, &size);
            if (piece == NULL && !lua_isnil(L, -1)) {
                lua_pushliteral(L, "reader function must return a string");
                return load_fail(L);
            }
            if (size == 0)
                return load_text(L, call);
            vm_buffer_add(L, &call->text, piece, size);
        }
        lua_settop(L, LOAD_STATE);
        lua_pushvalue(L, LOAD_CHUNK);
        status = lua_pcallk(L, 0, 1, 0, context, load_continue);
    }
}

/* Upvalues: stock's load; whether bytecode is refused. */
static int l_load(lua_State *L)
{
    if (lua_toboolean(L, lua_upvalueindex(2))) {
        if (lua_gettop(L) < LOAD_MODE)
            lua_settop(L, LOAD_MODE);
        lua_pushliteral(L, "t");
        lua_replace(L, LOAD_MODE);
    }
    if (lua_type(L, LOAD_CHUNK) != LUA_TFUNCTION)
        return call_stock(L);
    luaL_optstring(L, LOAD_NAME, NULL);
    luaL_optstring(L, LOAD_MODE, NULL);
    int count = lua_gettop(L) < LOAD_SLOT ? lua_gettop(L) : LOAD_SLOT - 1;
    lua_settop(L, LOAD_SLOT - 1);
    lua_pushnil(L);
    struct load_call *call = lua_newuserdatauv(L, sizeof *call, 0);
    vm_buffer_init(&call->text, LOAD_SLOT);
    call->argument_count = count;
    return load_continue(L, LUA_OK, (lua_KContext)call);
}

/* ---- __tostring ---- */

/* Replaces the argument by what its __tostring gave, which is on top. */
static void take_text(lua_State *L, int arg)
{
    if (!lua_isstring(L, -1))
        luaL_error(L, "'__tostring' must return a string");
    lua_replace(L, arg);
}

/* Asks the __tostring of the argument, if it has one; k goes on after a yield. */
static bool ask_text(lua_State *L, int arg, lua_KFunction k)
{
    int type = lua_type(L, arg);
    if (type != LUA_TTABLE && type != LUA_TUSERDATA)
        return false;
    if (luaL_getmetafield(L, arg, "__tostring") == LUA_TNIL)
        return false;
    lua_pushvalue(L, arg);
    lua_callk(L, 1, 1, arg, k);
    take_text(L, arg);
    return true;
}

static int tostring_finish(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    take_text(L, (int)context);
    lua_settop(L, 1);
    return 1;
}

static int l_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (!ask_text(L, 1, tostring_finish))
        luaL_tolstring(L, 1, NULL);
    return 1;
}

static int print_continue(lua_State *L, int status, lua_KContext context);

static int print_from(lua_State *L, int first)
{
    int count = lua_gettop(L);
    luaL_checkstack(L, 3, NULL);
    for (int arg = first; arg <= count; arg++)
        ask_text(L, arg, print_continue);
    return call_stock(L);
}

static int print_continue(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    take_text(L, (int)context);
    return print_from(L, (int)context + 1);
}

static int l_print(lua_State *L)
{
    return print_from(L, 1);
}

/* The conversion letter of the item that starts behind a '%', or '\0'. */
static char conversion_of(const char **format)
{
    const char *p = *format + strspn(*format, "-+ #0123456789.");
    *format = *p == '\0' ? p : p + 1;
    return *p;
}

static int format_continue(lua_State *L, int status, lua_KContext context);

/* Arguments of "%s" from first on become strings; stock then formats. */
static int format_from(lua_State *L, int first)
{
    const char *format = lua_tostring(L, 1);
    int count = lua_gettop(L);
    luaL_checkstack(L, 3, NULL);
    for (int arg = 2; arg <= count && (format = strchr(format, '%')) != NULL;) {
        format++;
        char conversion = conversion_of(&format);
        if (conversion == '%')
            continue;
        if (conversion == 's' && arg >= first)
            ask_text(L, arg, format_continue);
        arg++;
    }
    return call_stock(L);
}

static int format_continue(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    take_text(L, (int)context);
    return format_from(L, (int)context + 1);
}

static int l_format(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_checkstring(L, 1);
    for (int arg = 2; arg <= count; arg++) {
        int type = lua_type(L, arg);
        if (type == LUA_TTABLE || type == LUA_TUSERDATA)
            return format_from(L, 2);
    }
    return call_stock(L);
}

/* Replaces a field of the table on top by a closure that keeps the old value, if it has one. */
static void replace(lua_State *L, const char *name, lua_CFunction function)
{
    if (lua_getfield(L, -1, name) == LUA_TFUNCTION) {
        lua_pushcclosure(L, function, 1);
        lua_setfield(L, -2, name);
    } else {
        lua_pop(L, 1);
    }
}

void vm_loader_open(lua_State *L)
{
    lua_pushglobaltable(L);
    replace(L, "load", l_load);
    replace(L, "tostring", l_tostring);
    replace(L, "print", l_print);
    if (lua_getfield(L, -1, "string") == LUA_TTABLE)
        replace(L, "format", l_format);
    lua_pop(L, 1);
    if (lua_getfield(L, -1, "package") == LUA_TTABLE) {
        lua_pushcclosure(L, vm_require, 1);
        lua_setfield(L, -2, "require");
    } else {
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void vm_loader_text_only(lua_State *L)
{
    lua_getglobal(L, "load");
    lua_getupvalue(L, -1, 1);
    lua_pushboolean(L, true);
    lua_pushcclosure(L, l_load, 2);
    lua_setglobal(L, "load");
    lua_pop(L, 1);
}
