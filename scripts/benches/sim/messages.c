/* messages.c - rows of messages: 100 connections between two nodes, each of which carries ten
 * 64-byte messages back and forth. The Lua handler gets the message as a string, makes a table of
 * it, and sends its body back. */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

enum { MESSAGE_BYTES = 64, CONNECTIONS = 100 };

struct player {
    struct sim_node *node;
    struct env_conn *conn;
};

struct messages {
    struct player players[2 * CONNECTIONS];
    int count;
    lua_State *L; /* NULL: C handles; on its stack: the handler */
};

static struct messages row;

void *bench_checked(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

void bench_require(int rc)
{
    if (rc != 0) {
        (void)fprintf(stderr, "bench: %s\n", peri_strerror(rc));
        exit(EXIT_FAILURE);
    }
}

struct sim_world *bench_new_world(void)
{
    struct sim_options options = {.seed = 1};
    struct sim_world *world = NULL;
    bench_require(sim_world_create(&world, &options, NULL));
    return world;
}

int bench_start_nothing(void *data, struct sim_node *node)
{
    (void)data, (void)node;
    return 0;
}

struct sim_node *bench_new_node(struct sim_world *world, int number,
                                int (*on_start)(void *data, struct sim_node *node))
{
    struct sim_node_events events = {.on_start = on_start};
    struct sim_node *node = NULL;
    char name[16];
    (void)snprintf(name, sizeof name, "n%d", number);
    bench_require(sim_node_create(world, name, &events, NULL, &node, NULL));
    bench_require(sim_node_start(node, NULL));
    return node;
}

static uint64_t left;

void bench_begin(uint64_t events)
{
    left = events;
}

void bench_count_down(struct sim_world *world)
{
    if (--left == 0)
        sim_world_stop(world);
}

static void play(struct player *player, const char *bytes, size_t size)
{
    struct peri_slice part = {bytes, size};
    bench_require(env_conn_send(player->conn, &part, 1));
}

/* send(player, bytes) */
static int l_send(lua_State *L)
{
    size_t size = 0;
    struct player *player = &row.players[luaL_checkinteger(L, 1)];
    const char *bytes = luaL_checklstring(L, 2, &size);
    play(player, bytes, size);
    return 0;
}

static void handle_in_lua(struct player *player, struct peri_slice message)
{
    lua_State *L = row.L;
    lua_pushvalue(L, 1);
    lua_pushinteger(L, player - row.players);
    lua_pushlstring(L, message.data, message.size);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        (void)fprintf(stderr, "bench: %s\n", lua_tostring(L, -1));
        exit(EXIT_FAILURE);
    }
}

static void on_message(void *data, struct peri_slice message)
{
    struct player *player = data;
    if (row.L != NULL)
        handle_in_lua(player, message);
    else
        play(player, message.data, message.size);
    bench_count_down(sim_node_world(player->node));
}

static void on_open(void *data, int status)
{
    static const char bytes[MESSAGE_BYTES] = "ping";
    bench_require(status);
    for (int i = 0; i < PENDING / CONNECTIONS; i++)
        play(data, bytes, sizeof bytes);
}

static void on_close(void *data, int status)
{
    (void)data;
    bench_require(status);
}

static const struct env_conn_events conn_events = {on_open, on_message, NULL, on_close};

static void on_connection(void *data, struct env_conn *conn)
{
    struct player *player = &row.players[row.count++];
    *player = (struct player){data, conn};
    env_conn_accept(conn, &conn_events, player);
}

static int start_listening(void *data, struct sim_node *node)
{
    struct env_listener *listener = NULL;
    (void)data;
    return env_listener_open(sim_node_env(node), ":7000", on_connection, node, &listener, NULL);
}

static void exchange(uint64_t events)
{
    struct sim_world *world = bench_new_world();
    bench_begin(events);
    row.count = 0;
    (void)bench_new_node(world, 0, start_listening);
    struct sim_node *client = bench_new_node(world, 1, bench_start_nothing);
    (void)sim_world_run(world, 1);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct player *player = &row.players[row.count++];
        player->node = client;
        bench_require(env_conn_connect(sim_node_env(client), "n0:7000", &conn_events, player,
                                       &player->conn, NULL));
    }
    (void)sim_world_run(world, UINT64_MAX);
    sim_world_close(world);
}

void bench_messages_c(uint64_t events)
{
    exchange(events);
}

void bench_messages_lua(uint64_t events)
{
    static const char handler[] = "local send = ...\n"
                                  "local count = 0\n"
                                  "return function(player, message)\n"
                                  "  count = count + 1\n"
                                  "  local reply = { number = count, body = message }\n"
                                  "  send(player, reply.body)\n"
                                  "end";
    row.L = bench_checked(luaL_newstate());
    if (luaL_loadstring(row.L, handler) != LUA_OK)
        exit(EXIT_FAILURE);
    lua_pushcfunction(row.L, l_send);
    lua_call(row.L, 1, 1);
    exchange(events);
    lua_close(row.L);
    row.L = NULL;
}
