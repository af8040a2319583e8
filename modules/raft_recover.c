/* The data of nodes that do not run: what is there, and configurations by force. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "node/recover.h"
#include "raft.h"

#define OP_METATABLE "perilune.raft.recovery"

enum { WHY_SIZE = 192 };

/* A group as it was found, kept for the fiber. */
struct found_group {
    uint64_t group, replica, term, vote, first_index, last_index, last_term, snapshot_index;
    enum store_log_health health;
    char why[WHY_SIZE];
    struct raft_configuration members;
};

/* Has two shares: one held by a userdata of the fiber's, one by the recovery, which closes the
 * directory in order even when nobody waits any more. */
struct recover_op {
    struct fiber_wait wait;
    int shares;
    uint64_t node, index, term;
    struct found_group *groups;
    size_t count;
    struct peri_error err;
};

static void release(struct recover_op *op)
{
    if (--op->shares > 0)
        return;
    free(op->groups);
    free(op);
}

static int l_gc(lua_State *L)
{
    struct recover_op **holder = lua_touserdata(L, 1);
    if (*holder != NULL)
        release(*holder);
    *holder = NULL;
    return 0;
}

static void copy_group(struct found_group *to, const struct node_recover_found *from)
{
    const struct raft_boot *boot = &from->log->boot;
    *to = (struct found_group){.group = from->log->group,
                               .replica = from->log->replica,
                               .term = boot->term,
                               .vote = boot->vote,
                               .first_index = boot->base_index + 1,
                               .last_index = boot->last_index,
                               .last_term = node_recover_end_of(from).term,
                               .snapshot_index = from->snapshot_index,
                               .health = from->log->health};
    (void)snprintf(to->why, sizeof to->why, "%s", from->log->why);
    if (boot->configuration_count > 0)
        to->members = boot->configurations[boot->configuration_count - 1].configuration;
}

static void on_done(void *data, int status, const struct node_recovered *recovered,
                    const struct peri_error *err)
{
    struct recover_op *op = data;
    op->groups = calloc(recovered->count + 1, sizeof *op->groups);
    if (status != 0)
        op->err = *err;
    else if (op->groups == NULL)
        (void)peri_fail(&op->err, PERI_ENOMEM, "what was found");
    else {
        for (size_t i = 0; i < recovered->count; i++)
            copy_group(&op->groups[i], &recovered->groups[i]);
        op->node = recovered->node;
        op->count = recovered->count;
        op->index = recovered->index;
        op->term = recovered->term;
    }
    fiber_wake(&op->wait);
    release(op);
}

static void push_members(lua_State *L, const struct raft_configuration *members)
{
    lua_newtable(L);
    for (size_t i = 0; i < members->count; i++) {
        bool votes = raft_configuration_is_voter(members, members->ids[i]);
        lua_newtable(L);
        box_set_count(L, "id", members->ids[i]);
        box_set_string(L, "is", votes ? "voter" : "learner");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void push_group(lua_State *L, const struct found_group *group)
{
    static const char *const healths[] = {"clean", "suspect", "damaged"};
    lua_newtable(L);
    box_set_count(L, "group", group->group);
    box_set_count(L, "replica", group->replica);
    box_set_string(L, "health", healths[group->health]);
    if (group->health != STORE_LOG_CLEAN)
        box_set_string(L, "why", group->why);
    box_set_count(L, "term", group->term);
    if (group->vote != 0)
        box_set_count(L, "vote", group->vote);
    box_set_count(L, "first_index", group->first_index);
    box_set_count(L, "last_index", group->last_index);
    box_set_count(L, "last_term", group->last_term);
    box_set_count(L, "snapshot_index", group->snapshot_index);
    push_members(L, &group->members);
    lua_setfield(L, -2, "members");
}

static int finish(lua_State *L, int status, lua_KContext ctx)
{
    struct recover_op *op = container_of((struct fiber_wait *)ctx, struct recover_op, wait);
    (void)status;
    if (op->err.code != 0)
        return box_error(L, &op->err);
    lua_newtable(L);
    box_set_count(L, "node", op->node);
    if (op->index != 0) {
        box_set_count(L, "index", op->index);
        box_set_count(L, "term", op->term);
    }
    lua_createtable(L, (int)op->count, 0);
    for (size_t i = 0; i < op->count; i++) {
        push_group(L, &op->groups[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "groups");
    return 1;
}

static struct recover_op *push_op(lua_State *L)
{
    struct recover_op **holder = lua_newuserdatauv(L, sizeof(struct recover_op *), 0);
    *holder = NULL;
    if (luaL_newmetatable(L, OP_METATABLE)) {
        lua_pushcfunction(L, l_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_setmetatable(L, -2);
    struct recover_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        luaL_error(L, "not enough memory");
        return NULL;
    }
    op->shares = 1;
    op->wait.what = "raft.recover";
    *holder = op;
    return op;
}

int raft_recover(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_Integer group = luaL_checkinteger(L, 2);
    struct node_member members[RAFT_MEMBERS_MAX];
    luaL_checktype(L, 3, LUA_TTABLE);
    const struct node_recover_end end = {.term = (uint64_t)luaL_optinteger(L, 4, 0),
                                         .index = (uint64_t)luaL_optinteger(L, 5, 0)};
    fiber_check(L, "raft.recover");
    size_t count = raft_read_members(L, 3, members);
    struct recover_op *op = push_op(L);
    int rc = node_recover(vm_state_of(L)->env, path, (uint64_t)group, members, count,
                          end.index > 0 ? &end : NULL, on_done, op, &op->err);
    if (rc != 0)
        return box_error(L, &op->err);
    op->shares++;
    return fiber_suspend(L, &op->wait, finish);
}
