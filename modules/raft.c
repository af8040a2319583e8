/* perilune.core.raft: replicated groups; lua/perilune/raft stands in front. */
#include "raft.h"

#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "rpc_serve.h"

/* ---- options ---- */

static uint64_t integer_field(lua_State *L, int index, const char *name)
{
    (void)lua_getfield(L, index, name);
    lua_Integer value = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return (uint64_t)value;
}

static const char *string_field(lua_State *L, int index, const char *name)
{
    (void)lua_getfield(L, index, name);
    const char *text = luaL_checkstring(L, -1);
    lua_pop(L, 1); /* the table keeps it */
    return text;
}

/* Reads the table at the index; all options are there: raft/node.lua has checked them. Raises. */
static void read_options(lua_State *L, int index, struct node_options *options)
{
    struct raft_options *raft = &options->raft;
    node_options_init(options, integer_field(L, index, "id"));
    options->path = string_field(L, index, "path");
    options->listen = string_field(L, index, "listen");
    raft->heartbeat_us = integer_field(L, index, "heartbeat_us");
    raft->election_min_us = integer_field(L, index, "election_min_us");
    raft->election_max_us = integer_field(L, index, "election_max_us");
    raft->lease_margin_us = raft->election_min_us / 10;
    raft->sleep_after_us = integer_field(L, index, "sleep_after_us");
    (void)lua_getfield(L, index, "leases");
    raft->has_leases = lua_toboolean(L, -1);
    lua_pop(L, 1);
    options->requests_max = integer_field(L, index, "requests_max");
    options->snapshot_entries = integer_field(L, index, "snapshot_entries");
    options->trailing_entries = integer_field(L, index, "trailing_entries");
    options->recorder_bytes = integer_field(L, index, "recorder_bytes");
}

/* ---- nodes ---- */

static struct raft_node_box *check_node(lua_State *L)
{
    return luaL_checkudata(L, 1, RAFT_NODE_METATABLE);
}

int raft_fail_closed(lua_State *L)
{
    return box_fail(L, PERI_ECLOSED, "it was closed");
}

static void on_open(void *data, int status, const struct peri_error *err)
{
    struct raft_node_box *box = data;
    box->is_open = status == 0;
    if (status != 0)
        box->err = *err;
    fiber_wake(&box->opening);
}

static void on_event(void *data, const struct node_event *event)
{
    struct raft_node_box *box = data;
    if (box->next_event - box->first_event == RAFT_EVENTS_MAX) {
        box->first_event++;
        box->lost_events++;
    }
    box->events[box->next_event++ % RAFT_EVENTS_MAX] = *event;
    fiber_wake(&box->listening);
}

void raft_forget_group(struct raft_group_box *box)
{
    box->group = NULL;
    box->task = NULL;
    peri_list_remove(&box->link);
    fiber_wake(&box->opening);
    fiber_wake(&box->idle);
    fiber_wake(&box->applying);
    if (box->reading != NULL)
        fiber_wake(box->reading);
}

/* Outlives the box of a node whose disk is not at rest yet. */
struct raft_closing {
    struct raft_node_box *box; /* NULL: it was collected */
    struct fiber_wait wait;
    bool is_closed;
};

static void on_closed(void *data)
{
    struct raft_closing *closing = data;
    closing->is_closed = true;
    if (closing->box == NULL)
        free(closing);
    else
        fiber_wake(&closing->wait);
}

static void close_node(lua_State *L, struct raft_node_box *box)
{
    struct node *node = box->node;
    if (node == NULL)
        return;
    box->node = NULL;
    box->closing = calloc(1, sizeof *box->closing);
    if (box->closing != NULL)
        box->closing->box = box;
    for (struct peri_list *at = box->groups.next; at != &box->groups; at = at->next)
        raft_resp_close(container_of(at, struct raft_group_box, link));
    node_close(node, box->closing != NULL ? on_closed : NULL, box->closing);
    while (!peri_list_is_empty(&box->groups)) {
        struct raft_group_box *group = container_of(box->groups.next, struct raft_group_box, link);
        raft_forget_group(group);
        raft_kv_close(group);
        raft_lua_close(group);
    }
    while (!peri_list_is_empty(&box->servers))
        rpc_serve_end(L, container_of(box->servers.next, struct rpc_server_box, link));
    fiber_wake(&box->opening);
    fiber_wake(&box->listening);
}

static int closed(lua_State *L, int status, lua_KContext ctx)
{
    (void)L;
    (void)status;
    (void)ctx;
    return 0;
}

/* node:close(): ends it; in a fiber, waits until the disk is at rest. */
static int l_node_close(lua_State *L)
{
    struct raft_node_box *box = check_node(L);
    close_node(L, box);
    struct raft_closing *closing = box->closing;
    if (closing == NULL || closing->is_closed || closing->wait.fiber != NULL ||
        !lua_isyieldable(L) || fiber_current(L) == NULL)
        return 0;
    closing->wait.what = "node:close";
    return fiber_suspend(L, &closing->wait, closed);
}

static int l_node_gc(lua_State *L)
{
    struct raft_node_box *box = check_node(L);
    close_node(L, box);
    struct raft_closing *closing = box->closing;
    box->closing = NULL;
    if (closing != NULL && closing->is_closed)
        free(closing);
    else if (closing != NULL)
        closing->box = NULL; /* on_closed frees it */
    return 0;
}

static int opened(lua_State *L, int status, lua_KContext ctx)
{
    struct raft_node_box *box =
        container_of((struct fiber_wait *)ctx, struct raft_node_box, opening);
    (void)status;
    if (box->is_open) {
        lua_settop(L, 2);
        return 1;
    }
    close_node(L, box);
    return box->err.code != 0 ? box_error(L, &box->err) : raft_fail_closed(L);
}

/* open(options): a node, once its disk has been read. */
static int l_open(lua_State *L)
{
    struct peri_error err = PERI_ERROR_INIT;
    struct node_options options;
    luaL_checktype(L, 1, LUA_TTABLE);
    fiber_check(L, "raft.open");
    lua_settop(L, 1);
    read_options(L, 1, &options);
    struct rpc_context *context = rpc_context_of(L);
    struct raft_node_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    memset(box, 0, sizeof *box);
    box->env = context->env;
    peri_list_init(&box->groups);
    peri_list_init(&box->servers);
    luaL_setmetatable(L, RAFT_NODE_METATABLE);
    lua_pushvalue(L, 1);
    (void)lua_setiuservalue(L, 2, 1);
    rpc_read_identity(L, 1, context, &box->self);
    options.self = box->self;
    options.on_event = on_event;
    options.data = box;
    if (node_open(&box->node, context->env, &options, on_open, box, &err) != 0)
        return box_error(L, &err);
    box->opening = (struct fiber_wait){.what = "raft.open"};
    return fiber_suspend(L, &box->opening, opened);
}

static int l_node_address(lua_State *L)
{
    const struct raft_node_box *box = check_node(L);
    if (box->node == NULL)
        return raft_fail_closed(L);
    lua_pushstring(L, node_address(box->node));
    return 1;
}

/* node:serve(functions): functions beside those for other nodes, where it listens; a server of
 * perilune.core.rpc, which the node's table of options keeps. */
static int l_node_serve(lua_State *L)
{
    struct raft_node_box *box = check_node(L);
    struct peri_error err = PERI_ERROR_INIT;
    struct rpc_server_box *server = NULL;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (box->node == NULL || node_server(box->node) == NULL)
        return raft_fail_closed(L);
    int rc = rpc_serve_lent(L, 2, node_server(box->node), &server, &err);
    if (server == NULL)
        return box_error(L, &err);
    peri_list_append(&box->servers, &server->link); /* also what is served in part stays */
    (void)lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 3);
    (void)luaL_ref(L, -2);
    lua_settop(L, 3);
    return rc == 0 ? 1 : box_error(L, &err);
}

static int l_node_stats(lua_State *L)
{
    const struct raft_node_box *box = check_node(L);
    struct node_stats stats;
    if (box->node == NULL)
        return raft_fail_closed(L);
    node_stats(box->node, &stats);
    lua_newtable(L);
    box_set_count(L, "groups", stats.groups);
    box_set_count(L, "steps", stats.steps);
    box_set_count(L, "envelopes_sent", stats.envelopes_sent);
    box_set_count(L, "envelopes_lost", stats.envelopes_lost);
    box_set_count(L, "messages_sent", stats.messages_sent);
    box_set_count(L, "messages_heard", stats.messages_heard);
    box_set_count(L, "messages_refused", stats.messages_refused);
    box_set_count(L, "bytes_sent", stats.bytes_sent);
    box_set_count(L, "entries_applied", stats.entries_applied);
    box_set_count(L, "snapshots_taken", stats.snapshots_taken);
    box_set_count(L, "snapshots_installed", stats.snapshots_installed);
    box_set_count(L, "snapshots_sent", stats.snapshots_sent);
    box_set_count(L, "events_lost", box->lost_events);
    return 1;
}

/* ---- events ---- */

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {"follower", "pre_candidate", "candidate", "leader"};
    return names[role];
}

static int push_event(lua_State *L, struct raft_node_box *box)
{
    static const char *const names[] = {
        "role",     "members",  "snapshot_taken", "snapshot_installed",
        "repaired", "diverged", "rebuilt",        "fenced"};
    if (box->first_event == box->next_event)
        return raft_fail_closed(L);
    const struct node_event *event = &box->events[box->first_event++ % RAFT_EVENTS_MAX];
    lua_newtable(L);
    box_set_string(L, "type", names[event->type]);
    if (event->type == NODE_FENCED) {
        box_set_string(L, "code", peri_error_name(event->status));
        return 1;
    }
    box_set_count(L, "group", event->group);
    if (event->type == NODE_ROLE) {
        box_set_string(L, "role", raft_role_name(event->role));
        box_set_count(L, "term", event->term);
        if (event->peer != 0)
            box_set_count(L, "leader", event->peer);
    } else {
        box_set_count(L, "index", event->index);
    }
    if (event->type == NODE_DIVERGED)
        box_set_count(L, "member", event->peer);
    return 1;
}

static int event_continue(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return push_event(L, container_of((struct fiber_wait *)ctx, struct raft_node_box, listening));
}

/* node:event(): the next event, or nil, message, "ECLOSED". */
static int l_node_event(lua_State *L)
{
    struct raft_node_box *box = check_node(L);
    fiber_check(L, "node:event");
    if (box->listening.fiber != NULL)
        return luaL_error(L, "node:event: another fiber waits for events");
    if (box->node == NULL || box->first_event != box->next_event)
        return push_event(L, box);
    box->listening = (struct fiber_wait){.what = "events of a raft node"};
    return fiber_suspend(L, &box->listening, event_continue);
}

/* ---- the module ---- */

void raft_make_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close)
{
    (void)luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
}

int luaopen_perilune_raft(lua_State *L);

int luaopen_perilune_raft(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open", l_open}, {"replay", raft_replay}, {"recover", raft_recover}, {NULL, NULL}};
    static const luaL_Reg nodes[] = {{"group", raft_node_group},
                                     {"address", l_node_address},
                                     {"serve", l_node_serve},
                                     {"stats", l_node_stats},
                                     {"event", l_node_event},
                                     {"close", l_node_close},
                                     {NULL, NULL}};
    luaL_newlib(L, functions);
    raft_make_class(L, RAFT_NODE_METATABLE, nodes, l_node_close);
    lua_pushcfunction(L, l_node_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    raft_open_groups(L);
    return 1;
}
