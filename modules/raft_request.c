/* Proposals, changes of members and reads: fibers wait for their outcomes. */
#include <string.h>

#include "box.h"
#include "raft.h"

/* One request that a fiber waits for; a userdata on that fiber's stack. */
struct request_op {
    struct node_request request;
    struct fiber_wait wait;
    struct node_member_change change;
    bool wants_place; /* the fiber waits only until it stands in the log */
    bool is_over;
    enum node_certainty certainty;
    struct peri_error err; /* code 0: it succeeded */
    struct peri_buffer result;
};

static int l_gc(lua_State *L)
{
    struct request_op *op = luaL_checkudata(L, 1, RAFT_REQUEST_METATABLE);
    node_request_cancel(&op->request); /* no effect on one that has ended */
    peri_buffer_deinit(&op->result);
    return 0;
}

static void on_done(struct node_request *request, const struct node_outcome *outcome)
{
    struct request_op *op = container_of(request, struct request_op, request);
    op->is_over = true;
    op->certainty = outcome->certainty;
    if (outcome->err != NULL)
        op->err = *outcome->err;
    else if (peri_buffer_append(&op->result, outcome->result.data, outcome->result.size) != 0)
        (void)peri_fail(&op->err, PERI_ENOMEM, "no room for the result");
    fiber_wake(&op->wait);
}

static void on_placed(struct node_request *request)
{
    struct request_op *op = container_of(request, struct request_op, request);
    if (op->wants_place)
        fiber_wake(&op->wait);
}

static void on_cancel(struct fiber_wait *wait)
{
    node_request_cancel(&container_of(wait, struct request_op, wait)->request);
}

/* certainty, result or nil, message, code, index, term */
static int push_outcome(lua_State *L, struct request_op *op)
{
    static const char *const names[] = {"ok", "never", "unknown"};
    if (!op->is_over) /* placed, and nobody waits for more */
        node_request_cancel(&op->request);
    lua_pushstring(L, op->is_over ? names[op->certainty] : "placed");
    if (op->err.code == 0) {
        lua_pushlstring(L, op->result.data != NULL ? op->result.data : "", op->result.size);
        lua_pushnil(L);
        lua_pushnil(L);
    } else {
        lua_pushnil(L);
        lua_pushstring(L, op->err.text);
        lua_pushstring(L, peri_error_name(op->err.code));
    }
    lua_pushinteger(L, (lua_Integer)op->request.index);
    lua_pushinteger(L, (lua_Integer)op->request.term);
    return 6;
}

static int finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    return push_outcome(L, container_of((struct fiber_wait *)ctx, struct request_op, wait));
}

/* Waits for a request whose particulars the caller has filled in; the op is on top of the stack. */
static int start(lua_State *L, struct raft_group_box *box, struct request_op *op, double deadline)
{
    uint64_t due_us = env_now_us(box->box->env) + (uint64_t)(deadline * 1e6);
    uint64_t limit_us = fiber_due_us(L);
    op->request.due_us = limit_us != 0 && limit_us < due_us ? limit_us : due_us;
    op->request.on_done = on_done;
    op->request.on_placed = on_placed;
    op->request.is_patient = !op->wants_place;
    if (node_request_start(box->group, &op->request, &op->err) != 0) {
        op->is_over = true;
        op->certainty = NODE_NEVER;
        return push_outcome(L, op);
    }
    op->wait = (struct fiber_wait){.what = "a group's answer", .on_cancel = on_cancel};
    return fiber_suspend(L, &op->wait, finish);
}

static struct request_op *push_op(lua_State *L, const char *what)
{
    fiber_check(L, what);
    struct request_op *op = lua_newuserdatauv(L, sizeof *op, 0);
    memset(op, 0, sizeof *op);
    luaL_setmetatable(L, RAFT_REQUEST_METATABLE);
    return op;
}

static int fail_closed(lua_State *L)
{
    lua_pushstring(L, "never");
    return 1 + raft_fail_closed(L);
}

/* group:propose(bytes, deadline, wants_place) */
static int l_propose(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_slice body;
    body.data = luaL_checklstring(L, 2, &body.size); /* on this stack until the end */
    double deadline = luaL_checknumber(L, 3);
    bool wants_place = lua_toboolean(L, 4);
    if (box->group == NULL)
        return fail_closed(L);
    struct request_op *op = push_op(L, "group:propose");
    op->wants_place = wants_place;
    op->request.kind = NODE_PROPOSE;
    op->request.body = body;
    return start(L, box, op, deadline);
}

/* group:read(bytes, deadline, consistency) */
static int l_read(lua_State *L)
{
    static const char *const names[] = {"linearizable", "lease", "stale", NULL};
    struct raft_group_box *box = raft_check_group(L);
    struct peri_slice body;
    body.data = luaL_checklstring(L, 2, &body.size);
    double deadline = luaL_checknumber(L, 3);
    int consistency = luaL_checkoption(L, 4, "linearizable", names);
    if (box->group == NULL)
        return fail_closed(L);
    struct request_op *op = push_op(L, "group:read");
    op->request.kind = NODE_READ;
    op->request.consistency = (enum node_consistency)consistency;
    op->request.body = body;
    return start(L, box, op, deadline);
}

/* group:change(kind, id, address or nil, deadline) */
static int l_change(lua_State *L)
{
    static const char *const names[] = {"add", "voter", "learner", "remove", NULL};
    static const enum raft_change_type types[] = {RAFT_ADD_MEMBER, RAFT_ADD_VOTER, RAFT_ADD_LEARNER,
                                                  RAFT_REMOVE};
    struct raft_group_box *box = raft_check_group(L);
    int kind = luaL_checkoption(L, 2, NULL, names);
    lua_Integer id = luaL_checkinteger(L, 3);
    const char *address = luaL_optstring(L, 4, NULL);
    double deadline = luaL_checknumber(L, 5);
    if (box->group == NULL)
        return fail_closed(L);
    struct request_op *op = push_op(L, "group:change");
    op->change = (struct node_member_change){{types[kind], (uint64_t)id}, address};
    op->request.kind = NODE_CHANGE;
    op->request.changes = &op->change;
    op->request.change_count = 1;
    return start(L, box, op, deadline);
}

void raft_open_requests(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"propose", l_propose}, {"read", l_read}, {"change", l_change}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
    if (luaL_newmetatable(L, RAFT_REQUEST_METATABLE)) {
        lua_pushcfunction(L, l_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
