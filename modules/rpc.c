/* perilune.core.rpc: calls between nodes; lua/perilune/rpc.lua stands in front. */
#include "rpc.h"

#include <inttypes.h>
#include <stdio.h>

#include "box.h"
#include "vm/fiber.h"
#include "vm/state.h"
#include "wire/codec.h"

static const char context_key; /* its address is the key of the context in the registry */

/* ---- the trace ---- */

enum { LINE_SIZE = 512, NAME_SHOWN_MAX = 60, US_PER_S = 1000000, S_PER_DAY = 86400 };

/* "12:03:04.123456 -> n2 (127.0.0.1:7100) call echo 30 B, 31 B in 0.214 ms: ok" */
static void write_trace(struct rpc_tracer *tracer, const struct rpc_trace_call *call)
{
    struct rpc_context *context = container_of(tracer, struct rpc_context, tracer);
    char line[LINE_SIZE];
    uint64_t wall_us = (uint64_t)env_wall_us(context->env);
    uint64_t of_day_s = wall_us / US_PER_S % S_PER_DAY;
    struct peri_slice outcome =
        call->outcome.size > 0 ? call->outcome : peri_slice_of("ok", strlen("ok"));
    int size = snprintf(
        line, sizeof line,
        "%02" PRIu64 ":%02" PRIu64 ":%02" PRIu64 ".%06" PRIu64 " %s %.200s %s %.*s %" PRIu64
        " B, %" PRIu64 " B in %.3f ms: %.*s\n",
        of_day_s / 3600, of_day_s / 60 % 60, of_day_s % 60, wall_us % US_PER_S,
        call->is_ours ? "->" : "<-", call->peer, call->kind,
        (int)(call->name.size < NAME_SHOWN_MAX ? call->name.size : NAME_SHOWN_MAX), call->name.data,
        call->request_bytes, call->answer_bytes, (double)call->duration_us / 1e3,
        (int)(outcome.size < NAME_SHOWN_MAX ? outcome.size : NAME_SHOWN_MAX), outcome.data);
    if (size > 0)
        (void)env_file_write(env_file_stderr(context->env), line,
                             (size_t)size < sizeof line ? (size_t)size : sizeof line - 1, NULL);
}

/* trace(on): prints each call on standard error, or stops that. */
static int l_trace(lua_State *L)
{
    rpc_context_of(L)->tracer.is_on = lua_toboolean(L, 1);
    return 0;
}

/* ---- identities ---- */

/* node(): what the surroundings call this node, or "". */
static int l_node(lua_State *L)
{
    const char *name = env_variable(rpc_context_of(L)->env, "PERILUNE_NODE");
    lua_pushstring(L, name != NULL ? name : "");
    return 1;
}

static struct peri_slice string_option(lua_State *L, int index, const char *name)
{
    size_t size;
    (void)lua_getfield(L, index, name);
    const char *text = luaL_checklstring(L, -1, &size);
    lua_pop(L, 1); /* the table keeps it */
    return peri_slice_of(text, size);
}

static uint64_t integer_option(lua_State *L, int index, const char *name)
{
    (void)lua_getfield(L, index, name);
    lua_Integer value = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return (uint64_t)value;
}

void rpc_read_identity(lua_State *L, int index, struct rpc_context *context,
                       struct rpc_identity *out)
{
    *out = (struct rpc_identity){
        .cluster = string_option(L, index, "cluster"),
        .node = string_option(L, index, "node"),
        .secret = string_option(L, index, "secret"),
        .incarnation = context->incarnation,
        .body_max = integer_option(L, index, "body_max"),
        .inflight_max = integer_option(L, index, "inflight_max"),
        .ping_ms = integer_option(L, index, "ping_ms"),
        .tracer = &context->tracer,
    };
}

int rpc_encode(lua_State *L, struct rpc_context *context, const char *name, int first,
               const char *what, size_t size_max, struct peri_error *err)
{
    int count = lua_gettop(L) - first + 1;
    int rc = wire_encode_list(L, first, count > 0 ? count : 0, what, size_max, RPC_CALLERS_LIMIT,
                              &context->scratch, err);
    if (rc == PERI_EFORMAT)
        return luaL_error(L, "%s: %s", name, err->text);
    if (rc == PERI_ETOOBIG) {
        struct peri_error why = *err;
        return peri_fail_plain(err, rc, "%.100s: %s", name, why.text);
    }
    return rc;
}

/* ---- the module ---- */

struct rpc_context *rpc_context_of(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &context_key);
    struct rpc_context *context = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return context;
}

void rpc_push_links(lua_State *L)
{
    (void)lua_rawgetp(L, LUA_REGISTRYINDEX, &context_key);
    (void)lua_getiuservalue(L, -1, 1);
    lua_remove(L, -2);
}

static int l_context_gc(lua_State *L)
{
    struct rpc_context *context = lua_touserdata(L, 1);
    peri_buffer_deinit(&context->scratch);
    return 0;
}

static void push_weak_table(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    (void)lua_setmetatable(L, -2);
}

static void create_context(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &context_key) == LUA_TNIL) {
        struct rpc_context *context = lua_newuserdatauv(L, sizeof *context, 1);
        *context = (struct rpc_context){
            .vm = vm_state_of(L), .env = vm_state_of(L)->env, .tracer = {.on_call = write_trace}};
        env_random(context->env, &context->incarnation, sizeof context->incarnation);
        push_weak_table(L);
        (void)lua_setiuservalue(L, -2, 1);
        lua_createtable(L, 0, 1);
        lua_pushcfunction(L, l_context_gc);
        lua_setfield(L, -2, "__gc");
        (void)lua_setmetatable(L, -2);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &context_key);
    }
    lua_pop(L, 1);
}

int luaopen_perilune_rpc(lua_State *L);

int luaopen_perilune_rpc(lua_State *L)
{
    static const luaL_Reg functions[] = {{"trace", l_trace}, {"node", l_node}, {NULL, NULL}};
    create_context(L);
    luaL_newlib(L, functions);
    rpc_open_peer(L);
    rpc_open_link(L);
    rpc_open_stream(L);
    rpc_open_serve(L);
    return 1;
}
