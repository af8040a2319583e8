/* perilune.core.tcp: connections that carry bytes as they are; lua/perilune/tcp.lua stands in
 * front. */
#include "box.h"
#include "env/env.h"
#include "vm/fiber.h"

#define TCP_METATABLE "perilune.tcp"

enum { IN_MAX = 1 << 20 }; /* bytes that wait for the program, after which nothing is read */

/* A connection in a userdata, which outlives it. */
struct tcp_box {
    struct env_conn *conn; /* NULL: closed */
    bool is_open, is_paused;
    struct peri_buffer in; /* what has come and was not taken */
    struct peri_error err; /* how it ended; code 0: it has not */
    struct fiber_wait wait;
};

static struct tcp_box *check_tcp(lua_State *L)
{
    return luaL_checkudata(L, 1, TCP_METATABLE);
}

/* ---- what happens ---- */

static void end(struct tcp_box *box, int status)
{
    const char *why = env_conn_failure(box->conn);
    if (box->err.code == 0)
        (void)peri_fail_plain(&box->err, status, "%s", *why != '\0' ? why : peri_strerror(status));
    fiber_wake(&box->wait);
}

static void on_open(void *data, int status)
{
    struct tcp_box *box = data;
    if (status != 0) {
        end(box, status);
        return;
    }
    box->is_open = true;
    env_conn_set_idle_limit(box->conn, 0);
    fiber_wake(&box->wait);
}

static void on_message(void *data, struct peri_slice bytes)
{
    struct tcp_box *box = data;
    int rc = peri_buffer_append(&box->in, bytes.data, bytes.size);
    if (rc != 0) {
        end(box, rc);
    } else if (box->in.size > IN_MAX && !box->is_paused) {
        box->is_paused = true;
        env_conn_pause(box->conn);
    }
    fiber_wake(&box->wait);
}

static void on_close(void *data, int status)
{
    end(data, status);
}

static const struct env_conn_events events = {
    .on_open = on_open, .on_message = on_message, .on_close = on_close};

/* ---- calls ---- */

static int check_alone(lua_State *L, const struct tcp_box *box, const char *function)
{
    fiber_check(L, function);
    return box->wait.fiber != NULL ? luaL_error(L, "%s: another fiber waits for it", function) : 0;
}

static int connect_continue(lua_State *L, int status, lua_KContext ctx)
{
    struct tcp_box *box = container_of((struct fiber_wait *)ctx, struct tcp_box, wait);
    (void)status;
    if (box->err.code != 0)
        return box_error(L, &box->err);
    lua_settop(L, 2);
    return 1;
}

/* connect(address): waits until it is there. */
static int l_connect(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    const char *address = luaL_checkstring(L, 1);
    fiber_check(L, "tcp.connect");
    lua_settop(L, 1);
    struct tcp_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct tcp_box){.conn = NULL};
    peri_error_clear(&box->err);
    luaL_setmetatable(L, TCP_METATABLE);
    if (env_conn_connect_bytes(vm_state_of(L)->env, address, &events, box, &box->conn, &err) != 0)
        return box_error(L, &err);
    box->wait = (struct fiber_wait){.what = "tcp.connect"};
    return fiber_suspend(L, &box->wait, connect_continue);
}

static int recv_continue(lua_State *L, int status, lua_KContext ctx)
{
    struct tcp_box *box = container_of((struct fiber_wait *)ctx, struct tcp_box, wait);
    (void)status;
    if (box->in.size > 0) {
        lua_pushlstring(L, box->in.data, box->in.size);
        box->in.size = 0;
        if (box->is_paused && box->conn != NULL)
            env_conn_resume(box->conn);
        box->is_paused = false;
        return 1;
    }
    if (box->err.code != 0)
        return box_error(L, &box->err);
    box->wait = (struct fiber_wait){.what = "tcp.recv"};
    return fiber_suspend(L, &box->wait, recv_continue);
}

/* recv(): some bytes. */
static int l_recv(lua_State *L)
{
    struct tcp_box *box = check_tcp(L);
    check_alone(L, box, "tcp:recv");
    return recv_continue(L, LUA_OK, (lua_KContext)&box->wait);
}

/* send(bytes): they leave behind those before. */
static int l_send(lua_State *L)
{
    struct tcp_box *box = check_tcp(L);
    struct peri_slice bytes;
    bytes.data = luaL_checklstring(L, 2, &bytes.size);
    if (box->err.code != 0)
        return box_error(L, &box->err);
    int rc = bytes.size > 0 ? env_conn_send(box->conn, &bytes, 1) : 0;
    if (rc != 0)
        return box_fail(L, rc, peri_strerror(rc));
    lua_pushboolean(L, 1);
    return 1;
}

static int l_close(lua_State *L)
{
    struct tcp_box *box = check_tcp(L);
    if (box->err.code == 0)
        (void)peri_fail_plain(&box->err, PERI_ECLOSED, "the connection was closed");
    env_conn_close(box->conn);
    box->conn = NULL;
    peri_buffer_deinit(&box->in);
    fiber_wake(&box->wait);
    return 0;
}

int luaopen_perilune_tcp(lua_State *L);

int luaopen_perilune_tcp(lua_State *L)
{
    static const luaL_Reg methods[] = {{"recv", l_recv},     {"send", l_send},  {"close", l_close},
                                       {"__close", l_close}, {"__gc", l_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"connect", l_connect}, {NULL, NULL}};
    if (luaL_newmetatable(L, TCP_METATABLE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    luaL_newlib(L, functions);
    return 1;
}
