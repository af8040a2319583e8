#include "vm/world.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

#include "vm/bounds.h"
#include "vm/refusal.h"
#include "vm/state.h"

#define US_PER_S INT64_C(1000000)

static bool is_simulated(lua_State *L)
{
    return vm_state_of(L)->options->simulated != NULL;
}

/* The stock function kept as the first upvalue; called in our frame, it sees our arguments. */
static int call_stock(lua_State *L)
{
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* Seconds, rounded down, also before 1970. */
static lua_Integer wall_seconds(lua_State *L)
{
    int64_t us = env_wall_us(vm_state_of(L)->env);
    return (us - (us % US_PER_S + US_PER_S) % US_PER_S) / US_PER_S;
}

/* ---- os.date ---- */

/* A simulated node's zone is UTC: "%c" means "!%c". */
static int l_date(lua_State *L)
{
    size_t size;
    const char *format = luaL_optlstring(L, 1, "%c", &size);
    lua_settop(L, 2);
    bool is_prefixed = is_simulated(L) && *format != '!';
    lua_pushstring(L, is_prefixed ? "!" : "");
    lua_pushlstring(L, format, size);
    lua_concat(L, 2);
    lua_replace(L, 1);
    if (lua_isnil(L, 2)) {
        lua_pushinteger(L, wall_seconds(L));
        lua_replace(L, 2);
    }
    return call_stock(L);
}

/* ---- os.time ---- */

enum { YEAR_MAX = 400000000 }; /* stock's own limit is an int, the result's 64 bits */

static lua_Integer check_field(lua_State *L, const char *name, lua_Integer otherwise)
{
    int is_integer;
    int type = lua_getfield(L, 1, name);
    lua_Integer value = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer) {
        if (type != LUA_TNIL)
            return luaL_error(L, "field '%s' is not an integer", name);
        if (otherwise < 0)
            return luaL_error(L, "field '%s' missing in date table", name);
        value = otherwise;
    }
    if (value < -INT32_MAX || value > INT32_MAX)
        return luaL_error(L, "field '%s' is out-of-bound", name);
    lua_pop(L, 1);
    return value;
}

/* Days from 1970-01-01 to the day of the Gregorian calendar; month counts from 0 and may be any.
 * Years begin in March, so that the day that comes and goes is the last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    month -= 2;
    year += month / 12 - (month % 12 < 0);
    month = (month % 12 + 12) % 12;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_era =
        (month * 153 + 2) / 5 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day - 1;
    return era * 146097 + day_of_era - 719468;
}

/* As mktime does in stock, the table's fields become those of the time: 32 October is 1 November.
 */
static void normalise(lua_State *L, lua_Integer seconds)
{
    static const char *const names[] = {"year", "month", "day",  "hour", "min",
                                        "sec",  "yday",  "wday", "isdst"};
    lua_pushvalue(L, lua_upvalueindex(2)); /* stock's os.date */
    lua_pushliteral(L, "!*t");
    lua_pushinteger(L, seconds);
    lua_call(L, 2, 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getfield(L, -1, names[i]);
        lua_setfield(L, 1, names[i]);
    }
    lua_pop(L, 1);
}

static lua_Integer utc_of_table(lua_State *L)
{
    lua_Integer year = check_field(L, "year", -1);
    lua_Integer month = check_field(L, "month", -1);
    lua_Integer day = check_field(L, "day", -1);
    lua_Integer hour = check_field(L, "hour", 12);
    lua_Integer minute = check_field(L, "min", 0);
    lua_Integer second = check_field(L, "sec", 0);
    if (year < -YEAR_MAX || year > YEAR_MAX)
        return luaL_error(L, "field 'year' is out-of-bound");
    lua_Integer seconds = ((days_of(year, month - 1, day) * 24 + hour) * 60 + minute) * 60 + second;
    normalise(L, seconds);
    return seconds;
}

/* Upvalues: stock's os.time and os.date. */
static int l_time(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_pushinteger(L, wall_seconds(L));
        return 1;
    }
    if (!is_simulated(L))
        return call_stock(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_pushinteger(L, utc_of_table(L));
    return 1;
}

/* ---- os.clock, os.getenv, math.randomseed ---- */

static int l_clock(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)env_cpu_us(vm_state_of(L)->env) / (lua_Number)US_PER_S);
    return 1;
}

static int l_getenv(lua_State *L)
{
    lua_pushstring(L, env_variable(vm_state_of(L)->env, luaL_checkstring(L, 1)));
    return 1;
}

/* A locale is the whole process's, and orders strings and reads numbers in every state of it: there
 * is only "C". As stock does for a locale that does not exist, others give nil. */
static int l_setlocale(lua_State *L)
{
    const char *locale = luaL_optstring(L, 1, "C");
    bool is_known = *locale == '\0' || strcmp(locale, "C") == 0 || strcmp(locale, "POSIX") == 0;
    lua_pushstring(L, is_known ? "C" : NULL);
    return 1;
}

/* Without arguments the seed is env's, with them it is stock's business. */
static int l_randomseed(lua_State *L)
{
    if (lua_isnone(L, 1)) {
        lua_Integer seed[2];
        env_random(vm_state_of(L)->env, seed, sizeof seed);
        lua_pushinteger(L, seed[0]);
        lua_pushinteger(L, seed[1]);
    }
    return vm_call_kept(L); /* not in our frame: it has an upvalue of its own, the generator */
}

/* ---- what a simulation cannot repeat ---- */

#define DISK "use perilune.fs, which works on the node's disk"
#define CHILD "a child process has a clock of its own"
#define INPUT "a node has no standard input"
#define OUTPUT "a node keeps its standard output"

static const struct vm_refusal refusals[] = {
    {"os", "execute", CHILD},
    {"os", "remove", DISK},
    {"os", "rename", DISK},
    {"os", "tmpname", DISK},
    {"io", "popen", CHILD},
    {"io", "open", DISK},
    {"io", "lines", DISK},
    {"io", "input", DISK},
    {"io", "output", "use print, or perilune.fs for files"},
    {"io", "tmpfile", DISK},
    {"io", "read", INPUT},
    {"io", "close", OUTPUT},
    {"debug", "debug", INPUT},
    {"package", "loadlib", "a C library could reach the world by itself"},
    {"file", "read", INPUT},
    {"file", "lines", INPUT},
    {"file", "seek", DISK},
    {"file", "close", OUTPUT},
};

static int l_file_tostring(lua_State *L)
{
    lua_getglobal(L, LUA_IOLIBNAME);
    lua_getfield(L, -1, "stdout");
    bool is_output = lua_rawequal(L, 1, -1);
    lua_getfield(L, -2, "stderr");
    bool is_error = lua_rawequal(L, 1, -1);
    lua_pushstring(L, is_output  ? "file (standard output)"
                      : is_error ? "file (standard error)"
                                 : "file (standard input)");
    return 1;
}

static void refuse_all(lua_State *L)
{
    vm_refuse(L, refusals, sizeof refusals / sizeof *refusals, "in simulation");
    luaL_getmetatable(L, LUA_FILEHANDLE); /* stock's shows an address of the C library */
    lua_pushcfunction(L, l_file_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

/* Of the searchers only those that find Lua stay: preload, and files on package.path. */
static void keep_lua_searchers(lua_State *L)
{
    lua_getglobal(L, LUA_LOADLIBNAME);
    lua_pushliteral(L, "");
    lua_setfield(L, -2, "cpath");
    lua_getfield(L, -1, "searchers");
    for (lua_Integer slot = luaL_len(L, -1); slot > 2; slot--) {
        lua_pushnil(L);
        lua_seti(L, -2, slot);
    }
    lua_pop(L, 2);
}

/* ---- opening ---- */

/* Replaces a field of the table on top by a closure that keeps the old value. */
static void replace(lua_State *L, const char *name, lua_CFunction function)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, function, 1);
    lua_setfield(L, -2, name);
}

static void open_os(lua_State *L)
{
    lua_getglobal(L, LUA_OSLIBNAME);
    lua_getfield(L, -1, "time");
    lua_getfield(L, -2, "date");
    lua_pushcclosure(L, l_time, 2);
    lua_setfield(L, -2, "time");
    replace(L, "date", l_date);
    lua_pushcfunction(L, l_clock);
    lua_setfield(L, -2, "clock");
    lua_pushcfunction(L, l_getenv);
    lua_setfield(L, -2, "getenv");
    lua_pushcfunction(L, l_setlocale);
    lua_setfield(L, -2, "setlocale");
    lua_pop(L, 1);
}

static void open_math(lua_State *L)
{
    lua_getglobal(L, LUA_MATHLIBNAME);
    replace(L, "randomseed", l_randomseed);
    lua_getfield(L, -1, "randomseed");
    lua_call(L, 0, 0);
    lua_pop(L, 1);
}

void vm_world_prepare(lua_State *L)
{
    if (!is_simulated(L))
        return;
    lua_pushboolean(L, true);
    lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
}

void vm_world_open(lua_State *L)
{
    open_os(L);
    open_math(L);
    if (!is_simulated(L))
        return;
    refuse_all(L);
    keep_lua_searchers(L);
}
