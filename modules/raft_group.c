/* Groups, as Lua sees them: opening, status, what needs no waiting. */
#include <string.h>

#include "box.h"
#include "raft.h"

struct raft_group_box *raft_check_group(lua_State *L)
{
    return luaL_checkudata(L, 1, RAFT_GROUP_METATABLE);
}

static void on_group_open(struct node_group *group, int status, const struct peri_error *err)
{
    struct raft_group_box *box = node_group_data(group);
    box->is_open = status == 0;
    if (status != 0)
        box->err = *err;
    fiber_wake(&box->opening);
}

static int group_opened(lua_State *L, int status, lua_KContext ctx)
{
    struct raft_group_box *box =
        container_of((struct fiber_wait *)ctx, struct raft_group_box, opening);
    (void)status;
    if (box->is_open && box->group != NULL) {
        lua_settop(L, 4);
        return 1;
    }
    return box->err.code != 0 ? box_error(L, &box->err) : raft_fail_closed(L);
}

size_t raft_read_members(lua_State *L, int index, struct node_member *out)
{
    size_t count = (size_t)luaL_len(L, index);
    luaL_argcheck(L, count <= RAFT_MEMBERS_MAX, index, "too many members");
    for (size_t i = 0; i < count; i++) {
        (void)lua_rawgeti(L, index, (lua_Integer)i + 1);
        (void)lua_rawgeti(L, -1, 1);
        (void)lua_rawgeti(L, -2, 2);
        out[i].id = (uint64_t)luaL_checkinteger(L, -2);
        out[i].address = lua_toboolean(L, -1) ? luaL_checkstring(L, -1) : NULL;
        lua_pop(L, 3); /* the table keeps the address */
    }
    return count;
}

/* The machine that the argument names. Errors: those of making it. */
static int open_machine(lua_State *L, int index, struct raft_group_box *box, struct peri_error *err)
{
    raft_machine_init(box, lua_toboolean(L, index));
    if (lua_type(L, index) == LUA_TSTRING && raft_kv_open(box) != 0)
        return peri_fail_plain(err, PERI_ENOMEM, "no memory for the machine");
    return lua_type(L, index) == LUA_TTABLE ? raft_lua_open(L, index, box, err) : 0;
}

static struct node_machine *machine_of(struct raft_group_box *box)
{
    if (box->lua != NULL)
        return vm_machine_node_of(box->lua);
    return box->kv != NULL ? raft_kv_machine(box) : &box->machine;
}

int raft_node_group(lua_State *L)
{
    struct raft_node_box *node_box = luaL_checkudata(L, 1, RAFT_NODE_METATABLE);
    lua_Integer id = luaL_checkinteger(L, 2);
    struct node_member members[RAFT_MEMBERS_MAX];
    struct peri_error err = PERI_ERROR_INIT;
    luaL_checktype(L, 3, LUA_TTABLE);
    fiber_check(L, "node:group");
    lua_settop(L, 4);
    size_t count = raft_read_members(L, 3, members);
    if (node_box->node == NULL)
        return raft_fail_closed(L);
    struct raft_group_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    memset(box, 0, sizeof *box);
    box->box = node_box;
    box->id = (uint64_t)id;
    peri_list_init(&box->link);
    luaL_setmetatable(L, RAFT_GROUP_METATABLE);
    lua_pushvalue(L, 1);
    (void)lua_setiuservalue(L, -2, 1);
    if (open_machine(L, 4, box, &err) != 0)
        return box_error(L, &err);
    lua_replace(L, 4); /* where group_opened looks for it */
    const struct node_group_options options = {.id = (uint64_t)id,
                                               .members = members,
                                               .member_count = count,
                                               .machine = machine_of(box),
                                               .data = box};
    box->opening = (struct fiber_wait){.what = "node:group"};
    if (node_group_open(node_box->node, &options, on_group_open, &box->group, &err) != 0)
        return box_error(L, &err);
    peri_list_append(&node_box->groups, &box->link);
    if (box->is_open || box->err.code != 0)
        return group_opened(L, 0, (lua_KContext)&box->opening);
    return fiber_suspend(L, &box->opening, group_opened);
}

static int l_group_close(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct node_group *group = box->group;
    raft_resp_close(box);
    if (group != NULL) {
        raft_forget_group(box);
        node_group_close(group);
    }
    raft_kv_close(box);
    raft_lua_close(box);
    return 0;
}

static const char *membership_name(uint8_t set)
{
    if ((set & RAFT_VOTER) != 0)
        return (set & RAFT_VOTER_OLD) != 0 ? "voter" : "incoming";
    if ((set & RAFT_VOTER_OLD) != 0)
        return "outgoing";
    return (set & RAFT_PROMOTE) != 0 ? "joining" : "learner";
}

/* In a configuration that is not joint a voter is just that. */
static const char *member_name(const struct raft_configuration *members, size_t at)
{
    if (!raft_configuration_is_joint(members) && (members->members[at] & RAFT_VOTER) != 0)
        return "voter";
    return membership_name(members->members[at]);
}

static void set_seconds_since(lua_State *L, const struct raft_group_box *box, const char *name,
                              uint64_t at_us)
{
    if (at_us == 0)
        return;
    lua_pushnumber(L, (double)(env_now_us(box->box->env) - at_us) / 1e6);
    lua_setfield(L, -2, name);
}

/* How far the leader knows a member to be; and for all: whether it is there. A follower hears of
 * its leader alone, and says nothing of others. */
static void set_progress(lua_State *L, const struct raft_group_box *box,
                         const struct node_member_status *member, enum raft_role role)
{
    static const char *const states[] = {"probe", "replicate", "snapshot"};
    const struct raft_peer *peer = &member->raft;
    if (peer->has_answered || role != RAFT_FOLLOWER)
        box_set_flag(L, "answers", peer->has_answered);
    set_seconds_since(L, box, "heard", member->heard_us);
    if (role != RAFT_LEADER)
        return;
    box_set_string(L, "progress", states[peer->state]);
    box_set_count(L, "match_index", peer->match_index);
    box_set_count(L, "next_index", peer->next_index);
    box_set_count(L, "in_flight", peer->inflight_count);
    box_set_count(L, "in_flight_bytes", peer->inflight_bytes);
    if (peer->snapshot_index != 0)
        box_set_count(L, "snapshot_index", peer->snapshot_index);
    set_seconds_since(L, box, "answered", peer->answered_us);
}

/* How the hash of its machine compared to this one's. */
static void set_compared(lua_State *L, const struct raft_group_box *box, uint64_t id)
{
    uint64_t equal = 0, differs = 0;
    if (!node_group_compared(box->group, id, &equal, &differs))
        return;
    if (equal != 0)
        box_set_count(L, "equal_index", equal);
    if (differs != 0)
        box_set_count(L, "differs_index", differs);
}

static void push_members(lua_State *L, const struct raft_group_box *box,
                         const struct node_status *status)
{
    const struct raft_configuration *members = &status->members;
    struct node_member_status member;
    lua_newtable(L);
    for (size_t i = 0; i < members->count; i++) {
        const char *address = node_group_member_address(box->group, members->ids[i]);
        lua_newtable(L);
        box_set_string(L, "is", member_name(members, i));
        if (address != NULL)
            box_set_string(L, "address", address);
        if (node_group_waits_for(box->group, members->ids[i]))
            box_set_flag(L, "awaited", true);
        set_compared(L, box, members->ids[i]);
        if (node_group_member(box->group, i, &member))
            set_progress(L, box, &member, status->raft.role);
        lua_rawseti(L, -2, (lua_Integer)members->ids[i]);
    }
}

static int l_group_status(lua_State *L)
{
    const struct raft_group_box *box = raft_check_group(L);
    struct node_status status;
    if (box->group == NULL)
        return raft_fail_closed(L);
    node_group_status(box->group, &status);
    lua_newtable(L);
    box_set_count(L, "id", status.raft.id);
    box_set_count(L, "group", status.group);
    box_set_string(L, "role", raft_role_name(status.raft.role));
    box_set_count(L, "term", status.raft.term);
    if (status.raft.leader != 0)
        box_set_count(L, "leader", status.raft.leader);
    box_set_count(L, "first_index", status.raft.base_index + 1);
    box_set_count(L, "last_index", status.raft.last_index);
    box_set_count(L, "commit_index", status.raft.commit_index);
    box_set_count(L, "applied_index", status.applied_index);
    box_set_count(L, "snapshot_index", status.raft.snapshot_index);
    box_set_count(L, "requests", status.requests);
    box_set_count(L, "priority", status.raft.priority);
    box_set_flag(L, "fenced", status.raft.is_fenced);
    box_set_flag(L, "asleep", status.raft.is_asleep);
    static const char *const healths[] = {"clean", "suspect", "damaged"};
    box_set_string(L, "health", healths[status.health]);
    if (status.health != STORE_LOG_CLEAN)
        box_set_string(L, "why", status.why);
    if (status.diverged_index != 0)
        box_set_count(L, "diverged", status.diverged_index);
    uint64_t missing_us = node_group_quorum_missing_us(box->group);
    if (missing_us != 0) {
        lua_pushnumber(L, (double)missing_us / 1e6);
        lua_setfield(L, -2, "quorum_missing");
    }
    push_members(L, box, &status);
    lua_setfield(L, -2, "members");
    return 1;
}

static int l_group_transfer(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_error err = PERI_ERROR_INIT;
    lua_Integer to = luaL_optinteger(L, 2, 0);
    if (box->group == NULL)
        return raft_fail_closed(L);
    if (node_group_transfer(box->group, (uint64_t)to, &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_group_set_priority(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_error err = PERI_ERROR_INIT;
    lua_Integer priority = luaL_checkinteger(L, 2);
    luaL_argcheck(L, priority >= 0 && priority <= RAFT_PRIORITY_MAX, 2, "no such priority");
    if (box->group == NULL)
        return raft_fail_closed(L);
    if (node_group_set_priority(box->group, (uint32_t)priority, &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_group_snapshot(lua_State *L)
{
    struct raft_group_box *box = raft_check_group(L);
    struct peri_error err = PERI_ERROR_INIT;
    if (box->group == NULL)
        return raft_fail_closed(L);
    if (node_group_snapshot(box->group, &err) != 0)
        return box_error(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

/* group:compare() */
static int l_group_compare(lua_State *L)
{
    const struct raft_group_box *box = raft_check_group(L);
    if (box->group != NULL)
        node_group_compare(box->group);
    return 0;
}

/* group:certainty(index, term): "ok", "never" or "unknown" */
static int l_group_certainty(lua_State *L)
{
    static const char *const names[] = {"ok", "never", "unknown"};
    const struct raft_group_box *box = raft_check_group(L);
    lua_Integer index = luaL_checkinteger(L, 2), term = luaL_checkinteger(L, 3);
    if (box->group == NULL)
        return raft_fail_closed(L);
    lua_pushstring(L, names[node_group_certainty(box->group, (uint64_t)index, (uint64_t)term)]);
    return 1;
}

/* group:record(): the flight recorder's bytes */
static int l_group_record(lua_State *L)
{
    const struct raft_group_box *box = raft_check_group(L);
    struct peri_buffer bytes = {NULL, 0, 0};
    if (box->group == NULL)
        return raft_fail_closed(L);
    int rc = node_group_record(box->group, &bytes);
    if (rc != 0)
        return box_fail(L, rc, rc == PERI_EINVAL ? "nothing is recorded" : peri_strerror(rc));
    return box_take_buffer(L, &bytes);
}

void raft_open_groups(lua_State *L)
{
    static const luaL_Reg groups[] = {{"status", l_group_status},
                                      {"transfer", l_group_transfer},
                                      {"set_priority", l_group_set_priority},
                                      {"snapshot", l_group_snapshot},
                                      {"certainty", l_group_certainty},
                                      {"compare", l_group_compare},
                                      {"record", l_group_record},
                                      {"close", l_group_close},
                                      {NULL, NULL}};
    raft_make_class(L, RAFT_GROUP_METATABLE, groups, l_group_close);
    raft_open_requests(L);
    raft_open_machine(L);
    raft_open_keys(L);
    raft_open_kv(L);
    raft_open_lua(L);
    raft_open_resp(L);
    lua_pop(L, 1);
}
