/* perilune.sim_run: runs simulations, and functions in copies of this process, for
 * lua/perilune/sim/worker.lua. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "box.h"
#include "sim_parts.h"
#include "simulation.h"

enum { HASH_DIGITS = 16, WATCHDOG_DEFAULT_US = 10000000 };

/* ---- options ---- */

static const char *field_string(lua_State *L, const char *name)
{
    (void)lua_getfield(L, 1, name);
    const char *value = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table keeps it */
    return value;
}

static struct peri_slice field_slice(lua_State *L, const char *name)
{
    size_t size;
    (void)lua_getfield(L, 1, name);
    const char *data = luaL_checklstring(L, -1, &size);
    lua_pop(L, 1); /* the table keeps it */
    return peri_slice_of(data, size);
}

static uint64_t field_integer(lua_State *L, const char *name, uint64_t otherwise)
{
    (void)lua_getfield(L, 1, name);
    uint64_t value = lua_isnil(L, -1) ? otherwise : (uint64_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return value;
}

static bool field_flag(lua_State *L, const char *name)
{
    (void)lua_getfield(L, 1, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

static enum env_log_level field_level(lua_State *L, const char *name)
{
    const char *text = field_string(L, name);
    int level = text != NULL ? env_log_level_from_name(text) : ENV_LOG_ERROR;
    luaL_argcheck(L, level >= 0, 1, "no such log level");
    return (enum env_log_level)level;
}

static void read_options(lua_State *L, struct simulation_options *options)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    options->path = field_string(L, "path");
    options->chunk = field_string(L, "chunk");
    luaL_argcheck(L, options->path != NULL && options->chunk != NULL, 1,
                  "path and chunk are missing");
    options->source = field_slice(L, "source");
    options->args = field_slice(L, "args");
    options->seed = field_integer(L, "seed", 1);
    options->time_max_us = field_integer(L, "time_us", 0);
    options->watchdog_us = field_integer(L, "watchdog_us", WATCHDOG_DEFAULT_US);
    options->turns_max = (uint32_t)field_integer(L, "turns_max", 0);
    options->trace_path = field_string(L, "trace");
    options->trace_from = field_integer(L, "trace_from", 0);
    options->trace_to = field_integer(L, "trace_to", 0);
    options->keeps_checkpoints = field_flag(L, "checkpoints");
    options->gives_history = field_flag(L, "history");
    options->echoes = field_flag(L, "echo");
    options->log_level = field_level(L, "log_level");
}

/* ---- results ---- */

static void set_bytes(lua_State *L, const char *name, const struct peri_buffer *bytes)
{
    if (bytes->size == 0)
        return;
    lua_pushlstring(L, bytes->data, bytes->size);
    lua_setfield(L, -2, name);
}

static void set_hash(lua_State *L, const char *name, uint64_t hash)
{
    char text[HASH_DIGITS + 1];
    (void)snprintf(text, sizeof text, "%016" PRIx64, hash);
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void push_failure(lua_State *L, const struct sim_failure *failure)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, failure->kind);
    lua_setfield(L, -2, "kind");
    set_bytes(L, "message", &failure->text);
    set_bytes(L, "node", &failure->node);
    set_bytes(L, "fibers", &failure->fibers);
}

/* The checkpoints as one string, so that they pass as text: HASH_DIGITS for each. */
static void push_checkpoints(lua_State *L, const struct sim_world *world)
{
    const uint64_t *hashes;
    size_t count = sim_world_checkpoints(world, &hashes);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    for (size_t i = 0; i < count; i++) {
        char text[HASH_DIGITS + 1];
        (void)snprintf(text, sizeof text, "%016" PRIx64, hashes[i]);
        luaL_addlstring(&out, text, HASH_DIGITS);
    }
    luaL_pushresult(&out);
}

static int push_result(lua_State *L)
{
    const struct simulation *run = lua_touserdata(L, 1);
    lua_createtable(L, 0, 12);
    lua_pushboolean(L, run->has_passed);
    lua_setfield(L, -2, "ok");
    if (!run->has_passed) {
        push_failure(L, &run->failure);
        lua_setfield(L, -2, "failure");
    }
    lua_pushinteger(L, (lua_Integer)run->options->seed);
    lua_setfield(L, -2, "seed");
    lua_pushnumber(L, (double)sim_world_now_us(run->world) / 1e6);
    lua_setfield(L, -2, "time");
    set_hash(L, "hash", sim_world_hash(run->world));
    sim_push_stats(L, run);
    lua_setfield(L, -2, "stats");
    if (run->options->keeps_checkpoints) {
        push_checkpoints(L, run->world);
        lua_setfield(L, -2, "checkpoints");
    }
    set_bytes(L, "expect", &run->expect);
    if (run->options->gives_history)
        set_bytes(L, "history", &run->history);
    set_bytes(L, "trace", &run->tracer.lines);
    set_bytes(L, "printed", &run->tracer.printed);
    return 1;
}

/* run(options): what came of it, or nil, message, code when it could not start. */
static int l_run(lua_State *L)
{
    struct simulation_options options = {0};
    struct peri_error err = PERI_ERROR_INIT;
    read_options(L, &options);
    const struct vm_state *vm = vm_state_of(L);
    struct simulation run = {.host = vm->env, .base = vm->options, .options = &options};
    int rc = simulation_run(&run, &err);
    int status = LUA_OK;
    if (rc == 0) {
        lua_pushcfunction(L, push_result);
        lua_pushlightuserdata(L, &run);
        status = lua_pcall(L, 1, 1, 0);
    }
    simulation_deinit(&run);
    if (rc != 0)
        return box_error(L, &err);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* ---- copies ---- */

/* Calls the function on top of the stack and writes the string that it returns. */
static int run_copy(void *data, struct env_file *out)
{
    lua_State *L = data;
    size_t size;
    if (lua_pcall(L, 0, 1, 0) != LUA_OK)
        (void)luaL_tolstring(L, -1, NULL);
    const char *bytes = lua_tolstring(L, -1, &size);
    return bytes != NULL && env_file_write(out, bytes, size, NULL) == 0 ? 0 : 1;
}

/* copy(fn, seconds): what fn returned in a copy of this process, then the signal that ended it or
 * nil, the CPU seconds and the most bytes of memory that it used; nil, message, code on failure. */
static int l_copy(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    double seconds = luaL_checknumber(L, 2);
    struct env_copy copy = {run_copy, L, (uint64_t)(seconds * 1e6)};
    struct env_process_exit exit = {0};
    struct peri_buffer output = {0};
    struct peri_error err = PERI_ERROR_INIT;
    lua_settop(L, 2);
    lua_insert(L, 1); /* the function on top */
    int rc = env_copy_run(vm_state_of(L)->env, &copy, &output, &exit, &err);
    if (rc != 0 && rc != PERI_EDEADLINE) {
        peri_buffer_deinit(&output);
        return box_error(L, &err);
    }
    (void)box_take_buffer(L, &output);
    if (exit.signal != 0)
        lua_pushinteger(L, exit.signal);
    else
        lua_pushnil(L);
    lua_pushnumber(L, (double)exit.cpu_us / 1e6);
    lua_pushinteger(L, (lua_Integer)exit.max_rss_bytes);
    return 4;
}

int luaopen_perilune_sim_run(lua_State *L);

int luaopen_perilune_sim_run(lua_State *L)
{
    static const luaL_Reg functions[] = {{"run", l_run}, {"copy", l_copy}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
