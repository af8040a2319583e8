#include "vm/deterministic.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/buffer.h"
#include "base/error.h"
#include "vm/border.h"
#include "vm/bounds.h"
#include "vm/budget.h"
#include "vm/compare.h"
#include "vm/coroutine.h"
#include "vm/identity.h"
#include "vm/library.h"
#include "vm/ordered.h"
#include "vm/refusal.h"
#include "vm/rewrite.h"
#include "vm/stand_in.h"
#include "vm/state.h"
#include "vm/xpcall.h"

enum { CHUNK_MAX = 200 };

static const char options_key = 0; /* its address names the registry field */

#define TIME "use ctx.now, the time of the command"
#define RANDOM "use ctx.random, which every replica draws alike"
#define WORLD "a machine reaches the world through its commands only"
#define COLLECTOR "what it shows depends on the garbage collector"
#define ONE_FILE "a machine is one file"

static const struct vm_refusal refusals[] = {
    {"os", "time", TIME},
    {"os", "clock", TIME},
    {"os", "date", TIME},
    {"os", "difftime", TIME},
    {"os", "getenv", WORLD},
    {"os", "execute", WORLD},
    {"os", "exit", WORLD},
    {"os", "remove", WORLD},
    {"os", "rename", WORLD},
    {"os", "tmpname", WORLD},
    {"os", "setlocale", WORLD},
    {"io", "open", WORLD},
    {"io", "lines", WORLD},
    {"io", "popen", WORLD},
    {"io", "read", WORLD},
    {"io", "write", "use print"},
    {"math", "random", RANDOM},
    {"math", "randomseed", RANDOM},
    {"string", "dump", "bytecode is not the same on every replica"},
    {"coroutine", "close", "a coroutine that is done with needs no closing"},
    {"debug", "getinfo", WORLD},
    {"debug", "traceback", WORLD},
    {"debug", "sethook", WORLD},
    {"debug", "getmetatable", "use getmetatable"},
    {"debug", "setmetatable", "use setmetatable"},
    {NULL, "collectgarbage", COLLECTOR},
    {NULL, "dofile", ONE_FILE},
    {NULL, "loadfile", ONE_FILE},
    {NULL, "require", ONE_FILE},
    {NULL, "warn", "use print"},
};

/* ---- print ---- */

static int l_print(lua_State *L)
{
    int count = lua_gettop(L);
    luaL_Buffer line;
    luaL_buffinit(L, &line);
    for (int arg = 1; arg <= count; arg++) {
        if (arg > 1)
            luaL_addchar(&line, '\t');
        vm_identity_push_text(L, arg);
        luaL_addvalue(&line);
    }
    luaL_addchar(&line, '\n');
    luaL_pushresult(&line);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &options_key);
    const struct vm_deterministic *options = lua_touserdata(L, -1);
    struct peri_slice text;
    text.data = lua_tolstring(L, -2, &text.size);
    if (options->print != NULL)
        options->print(options->print_data, text);
    return 0;
}

/* ---- metatables ---- */

static void check_metafield(lua_State *L, const char *name)
{
    luaL_error(L, "%s is not available in a machine: what it does depends on the garbage collector",
               name);
}

static int l_setmetatable(lua_State *L)
{
    int type = lua_type(L, 2);
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    static const char *const refused[] = {"__gc", "__mode"};
    for (size_t i = 0; type == LUA_TTABLE && i < sizeof refused / sizeof *refused; i++) {
        lua_pushstring(L, refused[i]);
        if (lua_rawget(L, 2) != LUA_TNIL)
            check_metafield(L, refused[i]);
        lua_pop(L, 1);
    }
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int l_rawset(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    if (lua_type(L, 2) == LUA_TSTRING) {
        const char *name = lua_tostring(L, 2);
        if (strcmp(name, "__gc") == 0 || strcmp(name, "__mode") == 0)
            check_metafield(L, name);
    }
    lua_pushvalue(L, 1);
    if (!vm_stand_in(L, -1)) {
        lua_pop(L, 1);
        lua_rawset(L, 1);
        return 1;
    }
    lua_pop(L, 1);
    lua_settable(L, 1); /* whoever put another in its place wants to see that */
    return 1;
}

static int l_rawget(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    (void)vm_stand_in(L, 1);
    (void)lua_rawget(L, 1);
    return 1;
}

/* Makes the collector deaf to __mode, whoever writes it into a metatable and however late: stock
 * Lua looks for it by the one string that it made at first, for strings of one text are one object.
 * Here that object is given another text, so that whoever says "__mode" now means a new one.
 * No wrapper of setmetatable can do that: it sees no field that is assigned later under a name that
 * was put together at run time. Nothing else in Lua asks for the object, and what is in a table
 * already is found by the object, not by its text. (Not a text that begins with 0: lua_pushstring
 * remembers objects and compares them as strings of C.) */
static void forget_mode(lua_State *L)
{
    const char *known = lua_pushstring(L, "__mode");
    *(char *)known = '\1'; /* it lies in the state's memory, not in the program's */
    PERI_ASSERT(lua_pushstring(L, "__mode") != known);
    lua_pop(L, 2);
}

/* ---- load ---- */

int vm_deterministic_load(lua_State *L, struct peri_slice text, const char *chunk)
{
    struct peri_buffer out = {0};
    struct peri_error err = PERI_ERROR_INIT;
    const char *shown = *chunk == '@' || *chunk == '=' ? chunk + 1 : "[string]";
    if (text.size > 0 && *text.data == *LUA_SIGNATURE) {
        lua_pushfstring(L, "%s: bytecode is not available in a machine", shown);
        return LUA_ERRSYNTAX;
    }
    int rc = vm_rewrite(text, shown, &out, &err);
    if (rc == 0) {
        int status = luaL_loadbufferx(L, out.data != NULL ? out.data : "", out.size, chunk, "t");
        peri_buffer_deinit(&out);
        return status;
    }
    peri_buffer_deinit(&out); /* what follows raises */
    vm_state_of(L)->alloc.has_failed = vm_state_of(L)->alloc.has_failed || rc == PERI_ENOMEM;
    lua_pushstring(L, err.text);
    return rc == PERI_ENOMEM ? LUA_ERRMEM : LUA_ERRSYNTAX;
}

/* Pushes all that the reader function at index 1 gives. */
static void push_pieces(lua_State *L)
{
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (;;) {
        lua_pushvalue(L, 1);
        lua_call(L, 0, 1);
        size_t size = 0;
        if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "reader function must return a string");
        (void)lua_tolstring(L, -1, &size);
        if (size == 0)
            break;
        luaL_addvalue(&text);
    }
    lua_pop(L, 1);
    luaL_pushresult(&text);
}

static int l_load(lua_State *L)
{
    bool has_environment = !lua_isnone(L, 4);
    lua_settop(L, 4);
    if (lua_type(L, 1) != LUA_TSTRING) {
        luaL_checktype(L, 1, LUA_TFUNCTION);
        lua_pushliteral(L, "=(load)");
        if (lua_isnil(L, 2))
            lua_replace(L, 2);
        lua_settop(L, 4);
        push_pieces(L);
        lua_replace(L, 1);
    }
    struct peri_slice text;
    text.data = lua_tolstring(L, 1, &text.size);
    char chunk[CHUNK_MAX]; /* people see 60 bytes; a long string here would be charged, or found
                            * again by its address and not charged */
    (void)snprintf(chunk, sizeof chunk, "%s", luaL_optstring(L, 2, text.data));
    if (strchr(luaL_optstring(L, 3, "bt"), 't') == NULL)
        return luaL_error(L,
                          "load: mode '%s' is not available in a machine: bytecode is not the "
                          "same on every replica",
                          lua_tostring(L, 3));
    vm_budget_charge(L, text.size);
    if (vm_deterministic_load(L, text, chunk) != LUA_OK) {
        luaL_pushfail(L);
        lua_insert(L, -2);
        return 2;
    }
    if (has_environment) {
        lua_pushvalue(L, 4);
        if (lua_setupvalue(L, -2, 1) == NULL)
            lua_pop(L, 1);
    }
    return 1;
}

/* ---- functions that cost by the size of their first string, or that make coroutines ---- */

static int l_by_size(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING)
        vm_budget_charge(L, lua_rawlen(L, 1) / VM_BUDGET_BYTES);
    return vm_call_kept(L);
}

static int l_by_step(lua_State *L)
{
    vm_budget_charge(L, VM_BUDGET_STEP);
    return vm_call_kept(L);
}

static void wrap(lua_State *L, const char *library, const char *name, lua_CFunction function)
{
    lua_getglobal(L, library);
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void open_costs(lua_State *L)
{
    static const struct {
        const char *library;
        const char *name;
        lua_CFunction function;
    } costs[] = {
        {LUA_STRLIBNAME, "find", l_by_size},    {LUA_STRLIBNAME, "match", l_by_size},
        {LUA_STRLIBNAME, "gsub", l_by_size},    {LUA_STRLIBNAME, "gmatch", l_by_size},
        {LUA_UTF8LIBNAME, "len", l_by_size},    {LUA_UTF8LIBNAME, "codepoint", l_by_size},
        {LUA_UTF8LIBNAME, "offset", l_by_size}, {LUA_COLIBNAME, "create", l_by_step},
        {LUA_COLIBNAME, "wrap", l_by_step},
    };
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        wrap(L, costs[i].library, costs[i].name, costs[i].function);
}

/* ---- opening ---- */

void vm_deterministic_open(lua_State *L, const struct vm_deterministic *options)
{
    static const luaL_Reg own[] = {
        {"print", l_print},   {"setmetatable", l_setmetatable},
        {"rawset", l_rawset}, {"rawget", l_rawget},
        {"load", l_load},     {NULL, NULL},
    };
    struct vm_deterministic *kept = lua_newuserdatauv(L, sizeof *kept, 0);
    *kept = *options;
    lua_rawsetp(L, LUA_REGISTRYINDEX, &options_key);
    vm_library_open_pure(L);
    vm_coroutine_open(L);
    vm_library_open(L);
    vm_xpcall_open(L);
    vm_border_open(L);
    vm_ordered_open(L);
    vm_identity_open(L);
    lua_pushglobaltable(L);
    luaL_setfuncs(L, own, 0);
    lua_pop(L, 1);
    open_costs(L);
    vm_refuse(L, refusals, sizeof refusals / sizeof *refusals, "in a machine");
    forget_mode(L);
    vm_compare_open(L);
}

/* ---- calls ---- */

static int reset(lua_State *L)
{
    vm_ordered_reset(L);
    vm_identity_reset(L);
    return 0;
}

int vm_deterministic_call(lua_State *L, int argument_count, int result_count, uint64_t budget,
                          struct vm_deterministic_use *use)
{
    bool is_spent;
    int function = lua_gettop(L) - argument_count;
    lua_pushcfunction(L, reset);
    int status = lua_pcall(L, 0, 0, 0);
    if (status == LUA_OK) {
        vm_budget_begin(L, budget);
        status = lua_pcall(L, argument_count, result_count, 0);
        uint64_t used = vm_budget_end(L, &is_spent);
        if (use != NULL)
            use->instructions = used;
        if (is_spent) {
            lua_settop(L, function - 1);
            lua_pushfstring(L, "the budget of %I instructions is spent", (LUAI_UACINT)budget);
            return PERI_ECPU;
        }
    } else {
        lua_insert(L, function);
        lua_settop(L, function);
    }
    if (vm_state_of(L)->is_stopping) /* and it may have caught the error that told it so */
        return PERI_ECANCELLED;
    if (status == LUA_OK)
        return 0;
    return status == LUA_ERRMEM ? PERI_EMEMORY : PERI_ELUA;
}
